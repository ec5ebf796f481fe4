"""Exercise 1: platforms, packages, environments, tasks, the lock, the seed, the run, the repository, the formula of CLs."""

import re
import subprocess

import mutations

SCRIPT, ITS_CHECKS = "exclusion.py", ("1.6", "1.7", "1.8", "1.9")

MAIN = "    runs.main(exclude, exercise=EXERCISE, script=__file__, description=__doc__, seed=SEED, add_options=add_options)\n"
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


def forget(folder, package):
    """Take a package out of the lock."""
    path = folder / "pixi.lock"
    path.write_text(re.sub(rf"(?m)^ +- conda: \S+/{package}-\S+\n", "", path.read_text()))


def remove_lock(folder):
    (folder / "pixi.lock").unlink()


def stage(folder, *names):
    """Add files to a new repository, without a commit."""
    for words in (["init", "-q"], ["add", *names]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)


def commit(folder, *names):
    """Make the folder a repository with these files in its only commit."""
    git = ["git", "-C", str(folder), "-c", "user.name=me", "-c", "user.email=me@example.org"]
    for words in (["init", "-q"], ["add", *names], ["commit", "-q", "-m", "Limits"]):
        subprocess.run([*git, *words], check=True)


# What learners do, the check that has to notice it first, and words that its answer must contain.
MISTAKES = {
    "Linux alone": (
        "1.1",
        "linux-64; missing, for example: osx-arm64, win-64",
        [("pixi.toml", '"linux-64", "linux-aarch64", "osx-arm64", "win-64"', '"linux-64"')],
    ),
    "no Windows": ("1.1", "missing, for example: win-64", [("pixi.toml", ', "win-64"', "")]),
    "broken TOML in a table of another step": (
        "1.3",
        "pixi.toml, line 54: [environments",
        [*AS_FEATURE, ("pixi.toml", "[environments]", "[environments")],
    ),
    "broken TOML in the platforms": ("1.1", "pixi.toml, line ", [("pixi.toml", '"osx-arm64", ', '"osx-arm64" ')]),
    "broken TOML in a feature": ("1.3", "pixi.toml, line 61", [("pixi.toml", 'pytest = ">=8"', "pytest = >=8")]),
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
    "a key twice": (
        "1.3",
        "pytest is there twice",
        [("pixi.toml", 'pytest = ">=8"', 'pytest = ">=8"\npytest = ">=9"')],
    ),
    "a table twice": (
        "1.3",
        "the table [feature.test.dependencies] is there twice",
        [*AS_FEATURE, ("pixi.toml", "[environments]", '[feature.test.dependencies]\nruff = "*"\n\n[environments]')],
    ),
    "a package in the feature's own table": (
        "1.3",
        "did you mean [feature.test.dependencies]",
        [*AS_FEATURE, ("pixi.toml", "[feature.test.dependencies]", "[feature.test]")],
    ),
    "a feature without the word feature": (
        "1.3",
        "did you mean [feature.test.dependencies]",
        [*AS_FEATURE, ("pixi.toml", "[feature.test.dependencies]", "[test.dependencies]")],
    ),
    "features for feature": (
        "1.3",
        "did you mean [feature.test.dependencies]",
        [*AS_FEATURE, ("pixi.toml", "[feature.test", "[features.test")],
    ),
    "a table that is misspelt": (
        "1.3",
        "did you mean 'environments'",
        [*AS_FEATURE, ("pixi.toml", "[environments]", "[enviroments]")],
    ),
    "a table of tasks that is misspelt": (
        "1.4",
        "did you mean 'tasks'",
        [("pixi.toml", "[tasks.limits]", "[task.limits]")],
    ),
    "platforms that are misspelt": (
        "1.1",
        "did you mean 'platforms'",
        [("pixi.toml", "platforms = [", "platform = [")],
    ),
    "a list that is not closed": ("1.1", "pixi.toml, line 9: platforms", [("pixi.toml", '"win-64"]', '"win-64"')]),
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
    "a feature that does not exist": (
        "1.3",
        "did you mean 'test'",
        [*AS_FEATURE, ("pixi.toml", 'features = ["test"]', 'features = ["tests"]')],
    ),
    "a version that ends in the middle": (
        "1.3",
        "the condition is not complete",
        [("pixi.toml", 'pytest = ">=8"', 'pytest = ">=8,"')],
    ),
    "no scipy": ("1.2", "no scipy", [("pixi.toml", 'scipy = ">=1.15"\n', ""), lambda folder: forget(folder, "scipy")]),
    "no Python": ("1.2", "no python on", [("pixi.toml", 'python = "3.12.*"\n', "")]),
    "no package of the run record": (
        "1.2",
        "no rocrate (only in pixi.lock, which is out of date) on linux-64",
        [("pixi.toml", 'rocrate = ">=0.14"\n', "")],
    ),
    "two packages missing": (
        "1.2",
        "no filelock, no rocrate on linux-64",
        [("pixi.toml", 'filelock = ">=3.16"\n', ""), ("pixi.toml", 'rocrate = ">=0.14"\n', ""), remove_lock],
    ),
    "a package that is misspelt": (
        "1.2",
        "no scipy (you request 'scipi': did you mean 'scipy'?)",
        [("pixi.toml", "scipy = ", "scipi = ")],
    ),
    "other packages that are misspelt": (
        "1.2",
        "no numpy (you request 'numpi': did you mean 'numpy'?), no rocrate (you request 'rocreate'",
        [("pixi.toml", "numpy = ", "numpi = "), ("pixi.toml", "rocrate = ", "rocreate = ")],
    ),
    "Python that is misspelt": (
        "1.2",
        "no python (you request 'pythom': did you mean 'python'?)",
        [("pixi.toml", "python = ", "pythom = ")],
    ),
    "a comma for the point": ("1.2", "python 3,12", [("pixi.toml", '"3.12.*"', '"3,12"')]),
    "bounds that exclude each other": ("1.2", "numpy <2.0,>2.5", [("pixi.toml", '">=1.26"', '"<2.0,>2.5"')]),
    "bounds of PyPI that exclude each other": (
        "1.2",
        "numpy <2.0,>2.5",
        [
            ("pixi.toml", 'numpy = ">=1.26"\n', ""),
            ("pixi.toml", "[environments]\n", '[pypi-dependencies]\nnumpy = "<2.0,>2.5"\n\n[environments]\n'),
        ],
    ),
    "a Python that the scripts do not support": ("1.2", ">=3.11,<3.15", [("pixi.toml", '"3.12.*"', '"3.10.*"')]),
    "an old SciPy": ("1.2", "scipy >=1.15", [("pixi.toml", 'scipy = ">=1.15"', 'scipy = "1.9.*"')]),
    "a way to a folder that does not exist": (
        "1.2",
        "learner/common does not exist",
        [("pixi.toml", '"../../common"', '"../common"')],
    ),
    "a way to a folder with something else": (
        "1.2",
        "learner/solution does not contain it",
        [("pixi.toml", '"../../common"', '"$PIXI_PROJECT_ROOT"')],
    ),
    "no way to the shared code": (
        "1.2",
        "PYTHONPATH is not set",
        [("pixi.toml", '[activation.env]\nPYTHONPATH = "../../common"\n', "")],
    ),
    "no pytest": (
        "1.3",
        "no environment contains pytest; your environments: default, test",
        [("pixi.toml", 'pytest = ">=8"', 'ruff = "*"')],
    ),
    "pytest for everybody": (
        "1.3",
        "pytest among the dependencies of every environment",
        [("pixi.toml", 'filelock = ">=3.16"', 'filelock = ">=3.16"\npytest = ">=8"')],
    ),
    "tests on one system": (
        "1.3",
        "linux-64; missing: osx-arm64, win-64",
        [
            *AS_FEATURE,
            (
                "pixi.toml",
                "[feature.test.dependencies]",
                '[feature.test]\nplatforms = ["linux-64"]\n\n[feature.test.dependencies]',
            ),
        ],
    ),
    "tests without Windows": (
        "1.3",
        "missing: win-64",
        [
            *AS_FEATURE,
            (
                "pixi.toml",
                "[feature.test.dependencies]",
                '[feature.test]\nplatforms = ["linux-64", "linux-aarch64", "osx-arm64"]\n\n[feature.test.dependencies]',
            ),
        ],
    ),
    "an old pytest": ("1.3", "pytest <8", [("pixi.toml", 'pytest = ">=8"', 'pytest = "<8"')]),
    "one old pytest": ("1.3", "pytest 7.4.*", [("pixi.toml", 'pytest = ">=8"', 'pytest = "7.4.*"')]),
    "an old pytest from PyPI": (
        "1.3",
        "pytest <8",
        [
            *AS_FEATURE,
            (
                "pixi.toml",
                '[feature.test.dependencies]\npytest = ">=8"',
                '[feature.test.pypi-dependencies]\npytest = "<8"',
            ),
        ],
    ),
    "an old pytest among others": ("1.3", "pytest >=6,<8", [("pixi.toml", 'pytest = ">=8"', 'pytest = ">=6,<8"')]),
    "tests on one system, by another feature": (
        "1.3",
        "linux-64; missing: osx-arm64, win-64",
        [
            *AS_FEATURE,
            ("pixi.toml", 'features = ["test"]', 'features = ["test", "here"]'),
            ("pixi.toml", "[environments]", '[feature.here]\nplatforms = ["linux-64"]\n\n[environments]'),
        ],
    ),
    "alone in a solve group": (
        "1.3",
        "test is alone in its group",
        [*AS_FEATURE, ("pixi.toml", 'default = { solve-group = "default" }\n', "")],
    ),
    "alone in a group of its own": (
        "1.3",
        "default: none, test: test; test is alone",
        [
            *AS_FEATURE,
            ("pixi.toml", 'default = { solve-group = "default" }\n', ""),
            ("pixi.toml", GROUP, GROUP.replace('"default"', '"test"')),
        ],
    ),
    "the two exchanged": (
        "1.3",
        "pytest, but not in test",
        [
            *AS_FEATURE,
            (
                "pixi.toml",
                'default = { solve-group = "default" }',
                'default = { features = ["test"], solve-group = "g" }',
            ),
            ("pixi.toml", GROUP, 'test = { solve-group = "g" }'),
        ],
    ),
    "nothing to work with": (
        "1.2",
        "no python on linux-64",
        [
            *AS_FEATURE,
            (
                "pixi.toml",
                'default = { solve-group = "default" }\n',
                'default = { features = [], no-default-feature = true, solve-group = "default" }\n',
            ),
            ("pixi.lock", "\n  default:\n", "\n  other:\n"),
        ],
    ),
    "no environment to test in": ("1.3", "default: no such pair", [*AS_FEATURE, ("pixi.toml", GROUP, "")]),
    "no solve group": ("1.3", "default: default, test: none", [*AS_FEATURE, ("pixi.toml", GROUP, 'test = ["test"]')]),
    "two solve groups": (
        "1.3",
        "default: default, test: other",
        [*AS_FEATURE, ("pixi.toml", GROUP, GROUP.replace('"default"', '"other"'))],
    ),
    "what is tested is not there where it is tested": (
        "1.3",
        "default, test: no such pair",
        [*AS_FEATURE, ("pixi.toml", GROUP, GROUP.replace(" }", ", no-default-feature = true }"))],
    ),
    "the two in two groups that are named": (
        "1.3",
        "default: other, test: default",
        [*AS_FEATURE, ("pixi.toml", 'default = { solve-group = "default" }', 'default = { solve-group = "other" }')],
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
    "what is tested is another build than what is used": (
        "1.5",
        "rich: environments of the solve group 'default' hold different packages",
        [lambda folder: mutations.other_build(folder, "test", "rich")],
    ),
    "the solution's lock for another set of platforms": (
        "1.5",
        "a copy of the lock in exercise-1-scipy/solution, which belongs to another manifest: the lock is also for linux-aarch64",
        [("pixi.toml", '"linux-64", "linux-aarch64", ', '"linux-64", ')],
    ),
    "the solution's lock for other names": (
        "1.5",
        "your manifest has the environment check, the lock does not",
        [*AS_FEATURE, ("pixi.toml", GROUP, GROUP.replace("test =", "check ="))],
    ),
    "stale lock": ("1.5", "numpy >=99", [("pixi.toml", 'numpy = ">=1.26"', 'numpy = ">=99"')]),
    "merge markers in the lock": (
        "1.5",
        "merge markers",
        [("pixi.lock", "environments:\n", "<<<<<<< HEAD\nenvironments:\n")],
    ),
    "a run with another lock": (
        "1.7",
        "earlier ran in default with another lock (0000",
        [lambda folder: mutations.record_run(folder, "exercise-1-scipy", "pixi", "default", "0" * 64)],
    ),
    "a run in another environment": (
        "1.7",
        "earlier ran in work, which is not in your manifest",
        [lambda folder: mutations.record_run(folder, "exercise-1-scipy", "pixi", "work")],
    ),
    "files that are added, but not committed": (
        "1.8",
        'git commit -m "Limits of 125 signal hypotheses")',
        [lambda folder: stage(folder, "pixi.toml", "pixi.lock", "exclusion.py", "draw.py", "figure.py")],
    ),
    "one file that is not added": (
        "1.8",
        "git add draw.py figure.py)  # then: git commit; without Pixi, leave out .gitignore and .gitattributes",
        [lambda folder: stage(folder, "pixi.toml", "pixi.lock", "exclusion.py")],
    ),
    "a lock that is not committed": (
        "1.8",
        "not committed",
        [lambda folder: commit(folder, "pixi.toml", "exclusion.py", "draw.py")],
    ),
    "a lock that was changed after the commit": (
        "1.8",
        "the committed file differs from the one on disk",
        [
            lambda folder: commit(folder, "pixi.toml", "pixi.lock", "exclusion.py", "draw.py"),
            ("pixi.lock", "version: 7\n", "version: 7\n\n"),
        ],
    ),
    "a script that is not committed": (
        "1.8",
        "figure.py in the last commit",
        [lambda folder: commit(folder, "pixi.toml", "pixi.lock", "exclusion.py", "draw.py")],
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
    "a mistake in the line of a later step": (
        "1.9",
        "exclusion.py, line 41: return p_signal / (1 - p_backgruond)",
        [("exclusion.py", "(1 - p_background)", "(1 - p_backgruond)")],
    ),
    "a line of a later step that is not finished": (
        "1.9",
        "exclusion.py, line 41",
        [("exclusion.py", "return p_signal / (1 - p_background)", "return p_signal / (1 - p_background")],
    ),
    "a mistake in the line of this step": (
        "1.6",
        "exclusion.py, line 31",
        [("exclusion.py", "default_rng(seed)", "default_rng(sead)")],
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
        "1.9",
        "no finite value",
        [
            (
                "exclusion.py",
                "return p_signal /",
                "p_signal = np.where(p_signal < 0.3, np.nan, p_signal)\n    return p_signal /",
            )
        ],
    ),
    "four bands for five": ("1.9", "cls_exp", [("exclusion.py", "cls[h, 1:]", "cls[h, 1:5]")]),
    "no limits": (
        "1.6",
        "the outputs in run.json",
        [("exclusion.py", "excluded, _ = search.write_limits(", "excluded, _ = (lambda *_: (0, False))(")],
    ),
    "CLs+b for CLs": (
        "1.9",
        "CLs of signal_350_0, observed",
        [("exclusion.py", "p_signal / (1 - p_background)", "p_signal")],
    ),
    "divided by the wrong p-value": (
        "1.9",
        "CLs of signal_350_0, observed",
        [("exclusion.py", "/ (1 - p_background)", "/ p_background")],
    ),
    "observed and expected mixed up": (
        "1.9",
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
