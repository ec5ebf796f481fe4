"""Exercise 1: other correct answers."""

import re

from .lines import AFTER_EXPERIMENT, ARGUMENT, AS_FEATURE, GROUP, LIMITS, OPTIONS


def work_as_default(folder):
    """In the lock, `work` holds what `default` holds, which is still there."""
    path = folder / "pixi.lock"
    text = path.read_text()
    block = re.search(r"^  default:\n(?:    .*\n)+", text, re.MULTILINE)[0]
    path.write_text(text.replace("packages:\n- ", block.replace("  default:\n", "  work:\n") + "packages:\n- ", 1))


# Manifest and lock, without the script.
ALTERNATIVES = {
    "other names": [
        *AS_FEATURE,
        ("pixi.toml", 'default = { solve-group = "default" }\n', ""),
        ("pixi.toml", GROUP, 'work = { solve-group = "g" }\ncheck = { features = ["test"], solve-group = "g" }'),
        ("pixi.lock", "\n  test:\n", "\n  check:\n"),
        work_as_default,
    ],
    "tables": [
        *AS_FEATURE,
        ("pixi.toml", GROUP, ""),
        (
            "pixi.toml",
            "[tasks.limits]",
            '[environments.test]\nfeatures = ["test"]\nsolve-group = "default"\n\n[tasks.limits]',
        ),
    ],
    "an environment as one line": [
        *AS_FEATURE,
        ("pixi.toml", GROUP, 'test = { solve-group = "default", dependencies = { pytest = ">=8" } }'),
        ("pixi.toml", '[feature.test.dependencies]\npytest = ">=8"\n', ""),
        ("pixi.toml", "[feature.test.tasks.test]", "[tasks.test]"),
    ],
    "a module as a task": [("pixi.toml", f'cmd = "{LIMITS}"', f'cmd = "python -m exclusion {OPTIONS} && pytest"')],
    "options of Python": [("pixi.toml", f'"{LIMITS}"', f'"python -u -W ignore -X dev exclusion.py {OPTIONS}"')],
    "a task by torchrun": [
        ("pixi.toml", f'"{LIMITS}"', f'"torchrun --standalone --nproc-per-node 1 exclusion.py {OPTIONS}"')
    ],
    "a variable and a prefix": [
        ("pixi.toml", f'"{LIMITS}"', f'"SEED=1 time python3 $PIXI_PROJECT_ROOT/exclusion.py {OPTIONS}"')
    ],
    "a task for each system": [
        (
            "pixi.toml",
            "[tasks.limits]",
            "[target.win.tasks]\nlimits = 'python ./exclusion.py'\n\n[target.unix.tasks.limits]",
        )
    ],
    "a list of words": [
        (
            "pixi.toml",
            f'cmd = "{LIMITS}"',
            f"cmd = {['python', '-B', 'exclusion.py', *OPTIONS.rsplit(' ', 3)[0].split(), '{{ seed }}']}",
        )
    ],
    "the module of a profiler": [("pixi.toml", f'"{LIMITS}"', f'"python -m cProfile -o out exclusion.py {OPTIONS}"')],
    "a script by its folder": [
        ("pixi.toml", f'cmd = "{LIMITS}"', f'cmd = "python ./exclusion.py {OPTIONS}"\ncwd = "."')
    ],
    "a later pytest": [("pixi.toml", 'pytest = ">=8"', 'pytest = ">=8.2,<10"')],
    "any pytest, since the lock has a new one": [("pixi.toml", 'pytest = ">=8"', 'pytest = "*"')],
    "a task with an argument": [
        (
            "pixi.toml",
            f'{LIMITS}"\nargs = [{{ arg = "seed", default = "20" }}',
            f'python {{{{ script }}}}.py {OPTIONS}"\nargs = [{{ arg = "seed", default = "20" }}, {{ arg = "script", default = "exclusion" }}',
        )
    ],
    "a task as one line": [
        ("pixi.toml", "[tasks.limits]\n", "[tasks]\nlimits.cmd = "),
        ("pixi.toml", "limits.cmd = cmd = ", "limits.cmd = "),
        (
            "pixi.toml",
            f"\nargs = {ARGUMENT}\n{AFTER_EXPERIMENT}",
            f"\nlimits.args = {ARGUMENT}\nlimits.{AFTER_EXPERIMENT}",
        ),
        ("pixi.toml", '\ninputs = ["exclusion.py", "exp', '\nlimits.inputs = ["exclusion.py", "exp'),
        ("pixi.toml", '\noutputs = ["limits.json"]', '\nlimits.outputs = ["limits.json"]'),
        ("pixi.toml", '\ndescription = "Limits', '\nlimits.description = "Limits'),
    ],
    "arguments by their name": [("pixi.toml", 'args = ["{{ seed }}"]', 'args = [{ seed = "{{seed}}" }]')],
    "arguments with other names": [
        ("pixi.toml", '"seed", default = "20"', '"number", default = "7"'),
        ("pixi.toml", "{{ seed }}", "{{number}}"),
        ("pixi.toml", "--seed {{", "--seed={{"),
    ],
    "files with other names": [
        (
            "pixi.toml",
            "python draw.py --seed {{ seed }}",
            "python draw.py --seed {{ seed }} && mv experiment.json e.json",
        ),
        ("pixi.toml", '"experiment.json"', '"e.json"'),
        ("pixi.toml", "--experiment experiment.json", "--experiment ./e.json"),
    ],
    "a figure after both": [
        (
            "pixi.toml",
            'depends-on = [{ task = "limits", ',
            'depends-on = [{ task = "experiment", args = ["{{ seed }}"] }, { task = "limits", ',
        )
    ],
    "one task that draws and fits": [
        ("pixi.toml", f'"{LIMITS}"', f'"python draw.py --seed {{{{ seed }}}} && {LIMITS}"'),
        ("pixi.toml", AFTER_EXPERIMENT + '\ninputs = ["exclusion.py", "experiment.json", ', 'inputs = ["*.py", '),
        ("pixi.toml", 'outputs = ["limits.json"]', 'outputs = ["limits.json", "experiment.json"]'),
    ],
    "the folder of the clone, for each system": [
        (
            "pixi.toml",
            '[activation.env]\nPYTHONPATH = "../../common"',
            '[target.unix.activation.env]\nPYTHONPATH = "$PIXI_PROJECT_ROOT/../../common"\n\n'
            '[target.win.activation.env]\nPYTHONPATH = "%PIXI_PROJECT_ROOT%\\\\..\\\\..\\\\common"',
        )
    ],
    "a feature for the tests": AS_FEATURE,
    "inputs as patterns": [
        ("pixi.toml", '"exclusion.py", "experiment.json", "pixi.lock"', '"*.py", "experiment.json", "./pixi.*"')
    ],
    "two tasks, in a workspace without the script of the figure": [
        lambda folder: (folder / "figure.py").unlink(),
        ("pixi.toml", '[tasks.figure]\ncmd = "python figure.py"\n', '[tasks.figure]\ncmd = "echo figure"\n'),
    ],
}
