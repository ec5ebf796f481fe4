"""Exercise 1: lines of the solution's manifest that several of these lists change."""

LIMITS = "python exclusion.py --experiment experiment.json --limits limits.json --seed {{ seed }}"
OPTIONS = LIMITS.removeprefix("python exclusion.py ")
ARGUMENT = '[{ arg = "seed", default = "20" }]'
AFTER_EXPERIMENT = 'depends-on = [{ task = "experiment", args = ["{{ seed }}"] }]'
GROUP = 'test = { features = ["test"], solve-group = "default" }'
# The same workspace with a feature instead of tables of the environment `test`.
AS_FEATURE = [
    (
        "pixi.toml",
        '[environments.test]\nsolve-group = "default"\n\n[environments.test.dependencies]',
        "[feature.test.dependencies]",
    ),
    ("pixi.toml", "[environments.test.tasks.test]", "[feature.test.tasks.test]"),
    (
        "pixi.toml",
        '[environments]\ndefault = { solve-group = "default" }\n',
        f'[environments]\ndefault = {{ solve-group = "default" }}\n{GROUP}\n',
    ),
]
