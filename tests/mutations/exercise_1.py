"""Exercise 1: platforms, features, environments, the lock, the seed, the formula of CLs."""

import re

import mutations

SCRIPT, ITS_CHECKS = "exclusion.py", ("1.6", "1.7")

MAIN = "    runs.main(exclude, exercise=EXERCISE, script=__file__, description=__doc__, seed=SEED)\n"
GROUP = 'test = { features = ["test"], solve-group = "default" }'

# What learners do, the check that has to notice it first, and words that its answer must contain.
MISTAKES = {
    "Linux alone": (
        "1.1",
        "linux-64; missing, for example: osx-arm64, win-64",
        [("pixi.toml", '"linux-64", "linux-aarch64", "osx-arm64", "win-64"', '"linux-64"')],
    ),
    "no Windows": ("1.1", "missing, for example: win-64", [("pixi.toml", ', "win-64"', "")]),
    "broken TOML": ("1.1", "table declaration", [("pixi.toml", "[environments]", "[environments")]),
    "no pytest": ("1.2", "default, test: none of them contains it", [("pixi.toml", 'pytest = ">=8"', 'ruff = "*"')]),
    "pytest for everybody": (
        "1.2",
        "pytest among the dependencies of every environment",
        [("pixi.toml", 'filelock = ">=3.16"', 'filelock = ">=3.16"\npytest = ">=8"')],
    ),
    "no environment to test in": ("1.3", "default: no such pair", [("pixi.toml", GROUP, "")]),
    "no solve group": ("1.3", "default: default, test: none", [("pixi.toml", GROUP, 'test = ["test"]')]),
    "two solve groups": (
        "1.3",
        "default: default, test: other",
        [("pixi.toml", GROUP, GROUP.replace('"default"', '"other"'))],
    ),
    "what is tested is not there where it is tested": (
        "1.3",
        "default, test: no such pair",
        [("pixi.toml", GROUP, GROUP.replace(" }", ", no-default-feature = true }"))],
    ),
    "the two in two groups that are named": (
        "1.3",
        "default: other, test: default",
        [("pixi.toml", 'default = { solve-group = "default" }', 'default = { solve-group = "other" }')],
    ),
    "a task that only names the script": (
        "1.4",
        "limits: echo exclusion.py",
        [("pixi.toml", 'cmd = "python exclusion.py"', 'cmd = "echo exclusion.py"')],
    ),
    "a task for another script": (
        "1.4",
        "limits: python other.py",
        [("pixi.toml", 'cmd = "python exclusion.py"', 'cmd = "python other.py"')],
    ),
    "no task": ("1.4", "limits: echo later", [("pixi.toml", 'cmd = "python exclusion.py"', 'cmd = "echo later"')]),
    "what is tested is another build than what is used": (
        "1.5",
        "rich on linux-64",
        [  # which two environments of one solve group never have: default is in none
            ("pixi.toml", 'default = { solve-group = "default" }\n', ""),
            lambda folder: mutations.other_build(folder, "test", "rich"),
        ],
    ),
    "stale lock": ("1.5", "numpy >=99", [("pixi.toml", 'numpy = ">=1.26"', 'numpy = ">=99"')]),
    "merge markers in the lock": (
        "1.5",
        "merge markers",
        [("pixi.lock", "environments:\n", "<<<<<<< HEAD\nenvironments:\n")],
    ),
    "unseeded": (
        "1.6",
        "limits.json of two runs with --seed 1",
        [("exclusion.py", "default_rng(seed)", "default_rng()")],
    ),
    "a constant for the seed": (
        "1.6",
        "limits.json of --seed 1 and --seed 2",
        [("exclusion.py", "default_rng(seed)", "default_rng(7)")],
    ),
    "a script that does nothing": ("1.6", "no run.json", [("exclusion.py", MAIN, "    pass\n")]),
    "a script that breaks": (
        "1.6",
        "TypeError: 'NoneType' object is not callable",
        [("exclusion.py", MAIN, MAIN.replace("(exclude,", "(None,"))],
    ),
    "a name that is misspelt": ("1.6", "nunpy", [("exclusion.py", "import numpy as np", "import nunpy as np")]),
    "a submodule that is misspelt": (
        "1.6",
        "numpy.rnadom",
        [("exclusion.py", "import histfactory\n", "import histfactory\nimport numpy.rnadom\n")],
    ),
    "a question to the person": ("1.6", "EOF when reading a line", [("exclusion.py", MAIN, "    input()\n" + MAIN)]),
    "a record that is none": (
        "1.6",
        "run.json",
        [
            (
                "exclusion.py",
                MAIN,
                "    import pathlib\n    import sys\n\n"
                '    folder = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])\n    folder.mkdir(parents=True)\n'
                "    (folder / 'run.json').write_text('{\"outputs\": [1]}')\n",
            )
        ],
    ),
    "limits that are no numbers": (
        "1.7",
        "no finite value",
        [
            (
                "exclusion.py",
                "return p_signal /",
                "p_signal = np.where(p_signal < 0.3, np.nan, p_signal)\n    return p_signal /",
            )
        ],
    ),
    "four bands for five": ("1.7", "cls_exp", [("exclusion.py", "cls[h, 1:]", "cls[h, 1:5]")]),
    "no limits": (
        "1.6",
        "the outputs in run.json",
        [("exclusion.py", "excluded, _ = search.write_limits(", "excluded, _ = (lambda *_: (0, False))(")],
    ),
    "CLs+b for CLs": (
        "1.7",
        "CLs of signal_350_0, observed",
        [("exclusion.py", "p_signal / (1 - p_background)", "p_signal")],
    ),
    "divided by the wrong p-value": (
        "1.7",
        "CLs of signal_350_0, observed",
        [("exclusion.py", "/ (1 - p_background)", "/ p_background")],
    ),
    "observed and expected mixed up": (
        "1.7",
        "CLs of signal_350_0, observed",
        [("exclusion.py", "float(cls[h, 0])", "float(cls[h, 3])")],
    ),
}


def work_as_default(folder):
    """In the lock, `work` holds what `default` holds, which is still there."""
    path = folder / "pixi.lock"
    text = path.read_text()
    block = re.search(r"^  default:\n(?:    .*\n)+", text, re.MULTILINE)[0]
    path.write_text(text.replace("packages:\n- ", block.replace("  default:\n", "  work:\n") + "packages:\n- ", 1))


# Other correct answers: manifest and lock, without the script.
ALTERNATIVES = {
    "other names": [
        ("pixi.toml", 'default = { solve-group = "default" }\n', ""),
        ("pixi.toml", GROUP, 'work = { solve-group = "g" }\ncheck = { features = ["test"], solve-group = "g" }'),
        ("pixi.lock", "\n  test:\n", "\n  check:\n"),
        work_as_default,
    ],
    "tables": [
        ("pixi.toml", GROUP, ""),
        (
            "pixi.toml",
            "[tasks.limits]",
            '[environments.test]\nfeatures = ["test"]\nsolve-group = "default"\n\n[tasks.limits]',
        ),
    ],
    "an environment with dependencies of its own": [
        ("pixi.toml", GROUP, 'test = { solve-group = "default", dependencies = { pytest = ">=8" } }'),
        ("pixi.toml", '[feature.test.dependencies]\npytest = ">=8"\n', ""),
        ("pixi.toml", "[feature.test.tasks.test]", "[tasks.test]"),
    ],
    "a module as a task": [("pixi.toml", 'cmd = "python exclusion.py"', 'cmd = "python -m exclusion && pytest"')],
    "a task with an argument": [
        ("pixi.toml", 'cmd = "python exclusion.py"', 'cmd = "python {{ script }}.py"\nargs = ["script"]')
    ],
    "a task as one line": [
        ("pixi.toml", "[tasks.limits]\n", "[tasks]\nfit = "),
        ("pixi.toml", "fit = cmd = ", "fit = "),
        ("pixi.toml", 'description = "Limits of', '# "'),
    ],
}
