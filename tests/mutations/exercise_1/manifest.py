"""Exercise 1: mistakes in the platforms, the packages and the environments."""

import re
import subprocess

from .lines import AS_FEATURE, GROUP


def forget(folder, package):
    """Take a package out of the lock."""
    path = folder / "pixi.lock"
    path.write_text(re.sub(rf"(?m)^ +- conda: \S+/{package}-\S+\n", "", path.read_text()))


def change_root(folder):
    """What a command of Pixi leaves that is typed in the root of the clone."""
    root = folder.parent.parent
    (folder.parent / "exercise.toml").touch()
    (root / "pixi.toml").write_text("[dependencies]\n")
    subprocess.run(["git", "-C", str(root), "init", "-q"], check=True)
    subprocess.run(["git", "-C", str(root), "add", "pixi.toml"], check=True)
    (root / "pixi.toml").write_text('[dependencies]\nscipy = "*"\n')


def remove_lock(folder):
    (folder / "pixi.lock").unlink()


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
    "platforms that are misspelt": (
        "1.1",
        "did you mean 'platforms'",
        [("pixi.toml", "platforms = [", "platform = [")],
    ),
    "a list that is not closed": ("1.1", "pixi.toml, line 9: platforms", [("pixi.toml", '"win-64"]', '"win-64"')]),
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
    "packages added in the root of the clone": (
        "1.2",
        "type there: git checkout -- pixi.toml; then type them in learner/solution; otherwise edit",
        [("pixi.toml", 'scipy = ">=1.15"\n', ""), lambda folder: forget(folder, "scipy"), change_root],
    ),
    "environments added in the root of the clone": (
        "1.3",
        "in the root of the clone, a change in pixi.toml",
        [("pixi.toml", 'pytest = ">=8"', 'ruff = "*"'), change_root],
    ),
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
}
