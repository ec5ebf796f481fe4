"""Exercise 1: mistakes in the tasks."""

from .lines import AFTER_EXPERIMENT, ARGUMENT, AS_FEATURE, LIMITS

# What learners do, the check that has to notice it first, and words that its answer must contain.
MISTAKES = {
    "broken TOML in a task": (
        "1.4",
        'cmd = python exclusion.py"',
        [("pixi.toml", f'cmd = "{LIMITS}"', 'cmd = python exclusion.py"')],
    ),
    "a key of a task that is misspelt": (
        "1.4",
        "the unknown key 'command'; did you mean 'cmd'?",
        [("pixi.toml", 'cmd = "python draw.py', 'command = "python draw.py')],
    ),
    "a table of tasks that is misspelt": (
        "1.4",
        "did you mean 'tasks'",
        [("pixi.toml", "[tasks.limits]", "[task.limits]")],
    ),
    "the last list, which is not closed": (
        "1.4",
        "pixi.toml, line 65: more = [1",
        [
            (
                "pixi.toml",
                'test_exclusion.py"\ndescription = "Test the formula for CLs"\n',
                'test_exclusion.py"\nmore = [1\n',
            )
        ],
    ),
    "a task that only names the script": (
        "1.4",
        "limits: echo exclusion.py",
        [("pixi.toml", f'cmd = "{LIMITS}"', 'cmd = "echo exclusion.py"')],
    ),
    "a task for another script": (
        "1.4",
        "limits: python other.py",
        [("pixi.toml", f'cmd = "{LIMITS}"', 'cmd = "python other.py"')],
    ),
    "a script that is not there": (
        "1.4",
        "exclusion.py (the workspace contains exclusion.py; a task runs in the folder of the manifest",
        [("pixi.toml", f'cmd = "{LIMITS}"', 'cmd = "python starter/exclusion.py"')],
    ),
    "a script without its ending": (
        "1.4",
        "the workspace contains exclusion.py",
        [("pixi.toml", f'cmd = "{LIMITS}"', 'cmd = "python exclusion"')],
    ),
    "a folder that is not there": (
        "1.4",
        "there is no folder nowhere",
        [("pixi.toml", f'cmd = "{LIMITS}"', 'cmd = "python exclusion.py"\ncwd = "nowhere"')],
    ),
    "a folder in which the script is not": (
        "1.4",
        "there is no file",
        [("pixi.toml", f'cmd = "{LIMITS}"', 'cmd = "python exclusion.py"\ncwd = ".."')],
    ),
    "a change of folder to nowhere": (
        "1.4",
        "there is no file",
        [("pixi.toml", f'cmd = "{LIMITS}"', 'cmd = "cd nowhere && python exclusion.py"')],
    ),
    "a task in a feature that no environment contains": (
        "1.4",
        "it is in the feature spare, which no environment contains",
        [*AS_FEATURE, ("pixi.toml", "[tasks.limits]", "[feature.spare.tasks.limits]")],
    ),
    "a task in the feature for tests": (
        "1.4",
        "it exists only in test, and not in default, where you work",
        [*AS_FEATURE, ("pixi.toml", "[tasks.limits]", "[feature.test.tasks.limits]")],
    ),
    "a task that its default environment does not have": (
        "1.4",
        "which its default-environment default does not contain",
        [
            *AS_FEATURE,
            ("pixi.toml", "[tasks.limits]", "[feature.test.tasks.limits]"),
            ("pixi.toml", '\ndescription = "Limits', '\ndefault-environment = "default"\ndescription = "Limits'),
        ],
    ),
    "a task whose default environment does not exist": (
        "1.4",
        "its default-environment work does not exist",
        [("pixi.toml", '\ndescription = "Limits', '\ndefault-environment = "work"\ndescription = "Limits')],
    ),
    "a task for Windows alone": (
        "1.4",
        "only on win-64, not on linux-64",
        [("pixi.toml", "[tasks.limits]", "[target.win.tasks.limits]")],
    ),
    "a task after one that does not exist": (
        "1.4",
        "it depends on the task prepare, which does not exist",
        [("pixi.toml", 'depends-on = [{ task = "experiment"', 'depends-on = [{ task = "prepare"')],
    ),
    "only the version of Python": (
        "1.4",
        "python -V exclusion.py",
        [("pixi.toml", f'cmd = "{LIMITS}"', 'cmd = "python -V exclusion.py"')],
    ),
    "a module that is not there": (
        "1.4",
        "there is no file",
        [("pixi.toml", f'cmd = "{LIMITS}"', 'cmd = "python -m solution.exclusion"')],
    ),
    "an argument whose default is not there": (
        "1.4",
        "there is no file",
        [
            (
                "pixi.toml",
                f'{LIMITS}"\nargs = [',
                'python {{ folder }}/exclusion.py"\nargs = [{ arg = "folder", default = "src" }, ',
            )
        ],
    ),
    "limits without an experiment": (
        "1.4",
        "depends-on: nothing; tasks that run draw.py: experiment",
        [("pixi.toml", 'depends-on = [{ task = "experiment", args = ["{{ seed }}"] }]\n', "")],
    ),
    "no task that draws": (
        "1.4",
        "depends-on: experiment; tasks that run draw.py: none",
        [("pixi.toml", 'cmd = "python draw.py --seed {{ seed }}"', 'cmd = "echo {{ seed }}"')],
    ),
    "a task that always draws": ("1.4", "no outputs", [("pixi.toml", 'outputs = ["experiment.json"]\n', "")]),
    "no task for the figure": (
        "1.4",
        "tasks that run figure.py: none",
        [("pixi.toml", 'cmd = "python figure.py"', 'cmd = "echo figure"')],
    ),
    "a figure of old limits": (
        "1.4",
        "depends-on: nothing; tasks that run exclusion.py: limits",
        [("pixi.toml", 'depends-on = [{ task = "limits", args = ["{{ seed }}"] }]\n', "")],
    ),
    "limits that are always computed": ("1.4", "no outputs", [("pixi.toml", 'outputs = ["limits.json"]\n', "")]),
    "limits of the packages of last year": (
        "1.4",
        "no pixi.lock among the inputs",
        [("pixi.toml", '"experiment.json", "pixi.lock"]', '"experiment.json"]')],
    ),
    "a figure that is always drawn": (
        "1.4",
        "no inputs",
        [("pixi.toml", 'inputs = ["figure.py", "limits.json"]\n', "")],
    ),
    "a figure that is only half named": (
        "1.4",
        "no contour.svg among the outputs (contour.png)",
        [("pixi.toml", 'outputs = ["contour.png", "contour.svg"]', 'outputs = ["contour.png"]')],
    ),
    "another seed in one task, if you type none": (
        "1.4",
        "experiment: seed 2026, limits: seed 20, figure: seed 20",
        [("pixi.toml", f"args = {ARGUMENT}\ninputs", f"args = {ARGUMENT.replace('20', '2026')}\ninputs")],
    ),
    "a seed without a default": (
        "1.4",
        "the argument seed has no default",
        [("pixi.toml", f"args = {ARGUMENT}\ninputs", 'args = ["seed"]\ninputs')],
    ),
    "another experiment than that of the limits": (
        "1.4",
        "python draw.py --seed 20",
        [("pixi.toml", AFTER_EXPERIMENT, 'depends-on = ["experiment"]')],
    ),
    "other limits than those of the figure": (
        "1.4",
        "after `pixi run figure 90`",
        [("pixi.toml", 'depends-on = [{ task = "limits", args = ["{{ seed }}"] }]', 'depends-on = ["limits"]')],
    ),
    "no seed": (
        "1.4",
        "figure has no argument for the seed",
        [
            ("pixi.toml", f"args = {ARGUMENT}\n", ""),
            ("pixi.toml", " --seed {{ seed }}", ""),
            ("pixi.toml", ', args = ["{{ seed }}"]', ""),
        ],
    ),
    "the name of the seed for its value": (
        "1.4",
        "python draw.py --seed seed",
        [("pixi.toml", AFTER_EXPERIMENT, AFTER_EXPERIMENT.replace("{{ seed }}", "seed"))],
    ),
    "an argument that is misspelt": (
        "1.4",
        "{{ sed }}; its args: seed; did you mean 'seed'?",
        [("pixi.toml", "draw.py --seed {{ seed }}", "draw.py --seed {{ sed }}")],
    ),
    "one brace for two": (
        "1.4",
        "python draw.py --seed { seed }",
        [("pixi.toml", "draw.py --seed {{ seed }}", "draw.py --seed { seed }")],
    ),
    "limits of a file that no task writes": (
        "1.4",
        "--experiment exp.json; outputs of experiment: experiment.json",
        [("pixi.toml", "--experiment experiment.json", "--experiment exp.json")],
    ),
    "a file that the script does not write": (
        "1.4",
        "--experiment exp.json, a name that draw.py does not use",
        [("pixi.toml", "experiment.json", "exp.json")],
    ),
    "limits that are not copied": ("1.4", "no --limits", [("pixi.toml", " --limits limits.json", "")]),
    "an input that is misspelt": (
        "1.4",
        "no exclusion.py among the inputs (exclusions.py, experiment.json",
        [("pixi.toml", '["exclusion.py", "exp', '["exclusions.py", "exp')],
    ),
    "an experiment that is no input": (
        "1.4",
        "--experiment experiment.json; inputs of limits: exclusion.py, experiments.json",
        [("pixi.toml", '["exclusion.py", "experiment.json"', '["exclusion.py", "experiments.json"')],
    ),
    "a task without a description": (
        "1.4",
        "no description",
        [("pixi.toml", 'description = "Draw the observed counts of one experiment"\n', "")],
    ),
    "no task": ("1.4", "limits: echo later", [("pixi.toml", f'cmd = "{LIMITS}"', 'cmd = "echo later"')]),
}
