"""CONTRIBUTING.md, followed to the letter in a copy of the repository; and the files that contributors' tools read."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

import workshop
from pixi_workspace import manifest

yaml = pytest.importorskip("ruamel.yaml", reason="it reads the hooks and the forms: install the extra test")

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EDIT = re.compile(
    r"In\s`(?P<file>[^`]+)`, (?P<where>above|below|at the end of) `(?P<line>[^`]+)`:\n\n```\w+\n(?P<text>.*?)```", re.S
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def section(title: str) -> str:
    """The text under a heading of CONTRIBUTING.md."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def edit(root: Path, title: str) -> list[str]:
    """Make the edits that a section describes; the files that changed."""
    changed = []
    for found in EDIT.finditer(section(title)):
        path = root / found["file"]
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        number = next(n for n, line in enumerate(lines) if line.startswith(found["line"]))
        if found["where"] == "below":
            number += 1
        elif found["where"] == "at the end of":
            number = next(n for n, line in enumerate(lines) if n > number and line.startswith(("]", "}")))
        text = found["text"].rstrip("\n") + "\n"
        if found["where"] == "above":
            text += "\n\n" if path.suffix == ".py" else "\n"
        path.write_text("".join([*lines[:number], text, *lines[number:]]), encoding="utf-8")
        changed.append(found["file"])
    return changed


def commands(title: str) -> list[str]:
    """The commands in the blocks of a section, without those of Pixi."""
    blocks = "".join(re.findall(r"```bash\n(.*?)```", section(title), re.S)).replace("\\\n", " ")
    return [line for line in blocks.splitlines() if not line.startswith("pixi ")]


def follow(root: Path, command: str, exit_code: int = 0) -> str:
    """Run a command of the page in a copy of the repository, with this interpreter; what it prints."""
    words = shlex.split(command)
    if words[0] == "python":
        words[0] = sys.executable
    elif words[0].startswith(".venv/bin/"):
        words[:1] = [sys.executable, "-m", words[0].removeprefix(".venv/bin/")]
    else:
        words = ["bash", "-c", command]
    variables = os.environ | {"PYTHONPATH": str(root / "common"), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.run(words, cwd=root, env=variables, capture_output=True, text=True)
    assert process.returncode == exit_code, f"{command}\n{process.stdout[-3000:]}{process.stderr[-3000:]}"
    return process.stdout


@pytest.fixture
def clone(tmp_path) -> Path:
    """A copy of the repository without what is made by running it."""
    made = (".git", ".venv", ".pixi", ".workshop", "results", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis")
    return Path(shutil.copytree(ROOT, tmp_path / "clone", ignore=shutil.ignore_patterns(*made)))


def test_one_test_runs_as_shown(clone):
    line = next(line for line in commands("Your first change") if "pytest" in line)
    assert " passed" in follow(clone, line + " -p no:cacheprovider")


def test_a_check_is_added_as_shown(clone):
    assert len(edit(clone, "Add a check")) == 6
    pin, check, _ = commands("Add a check")
    assert follow(clone, pin).split() == []  # this check needs no change of the starter
    (clone / "exercise-1-scipy/solution/exclusion.py").unlink()  # the checks that run it fail, at once
    found = json.loads(follow(clone, f"{check} --all --json", exit_code=1))
    assert {"number": "1.10", "status": "ok"}.items() <= found["checks"][-1].items()


@pytest.mark.slow  # it runs the script of exercise 1 several times
def test_an_added_check_passes_the_tests_as_shown(clone):
    pytest.importorskip("jsonpatch", reason="exercise 1's script needs it")
    edit(clone, "Add a check")
    pin, check, tests = commands("Add a check")
    follow(clone, pin)
    assert "1.10" in follow(clone, check)
    assert " passed" in follow(clone, f"{tests} -p no:cacheprovider")


@pytest.mark.slow  # it runs a whole exercise twice
@pytest.mark.skipif(os.name == "nt", reason="the commands are for bash, with perl")
def test_an_exercise_is_added_as_shown(clone):
    pytest.importorskip("jsonpatch", reason="exercise 1's script needs it")
    for command in commands("Add an exercise"):
        printed = follow(clone, command)
    assert "0 failed" in printed and "6.9" in printed  # of check-all, the last one
    tests = "python -m pytest -n 0 -o addopts= -p no:cacheprovider tests/exercises/test_exercises.py tests/checking"
    assert "failed" not in follow(clone, f"{tests} -k 'exercise-6 or test_every_check_has_a_mistake or 6-no'")


def test_an_environment_is_declared_as_shown(clone):
    assert edit(clone, "Add an environment") == ["pixi.toml", "pixi.toml"]
    root = manifest.load(clone / "pixi.toml")
    names = [feature.name for feature in root.environments["tables"].features]
    assert {"science", "cpu", "tables"} <= set(names)
    line = [sys.executable, "-m", "workshop", "lock-check"]
    variables = os.environ | {"PYTHONPATH": str(clone / "common")}
    process = subprocess.run(line, cwd=clone, env=variables, capture_output=True, text=True)
    assert (
        process.returncode == 1 and "out-of-date" in process.stdout and "tables" in process.stdout
    )  # until `pixi lock`


@pytest.mark.system("solves an environment with Pixi")
def test_an_environment_is_locked_as_shown(clone):
    if not (pixi := shutil.which("pixi")):
        pytest.skip("Pixi is not installed here")
    edit(clone, "Add an environment")
    solved = subprocess.run([pixi, "lock"], cwd=clone, capture_output=True, text=True)
    assert solved.returncode == 0, solved.stderr
    assert follow(clone, "python -m workshop lock-check").startswith("up-to-date")
    assert "tables" in follow(clone, "python -m workshop environments")


# ---------------------------------------------------------------- the files for tools


def read_yaml(path: Path):
    return yaml.YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


def test_hooks_have_the_versions_of_the_extras():
    extras = PROJECT["optional-dependencies"]
    pinned = {Requirement(line).name: line for line in extras["test"] + extras["dev"]}
    (local,) = read_yaml(ROOT / ".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    for hook in local["hooks"]:
        for line in hook["additional_dependencies"]:
            name = Requirement(line).name
            assert pinned.get(name, line) == line, hook["id"]
    names = [hook["id"] for hook in local["hooks"]]
    assert {"ruff", "ruff-format", "codespell", "taplo-format", "large-files", "arrows"} <= set(names)


@pytest.mark.system("installs the hooks from PyPI")
def test_the_hooks_pass_and_find_a_spelling_mistake(clone):
    pytest.importorskip("pre_commit", reason="pre-commit is not installed: install the extra dev")
    for words in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *words], cwd=clone, check=True)
    follow(clone, "python -m pre_commit run --all-files")
    mistake = "sepe" + "rate"  # in two pieces, or the hook would find it here
    (clone / "README.md").write_text(f"A {mistake} line.\n")
    line = [sys.executable, "-m", "pre_commit", "run", "codespell", "--all-files"]
    process = subprocess.run(line, cwd=clone, capture_output=True, text=True)
    assert process.returncode == 1 and f"{mistake} ==> separate" in process.stdout


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml"),
        ("vendor.github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("vendor.citation-file-format", "CITATION.cff"),
    ],
)
def test_forms_and_citation_fit_their_schemas(schema, pattern):
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed: install the extra test")
    files = list(ROOT.glob(pattern))
    assert files
    line = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)]
    process = subprocess.run(line, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr


def test_the_dev_container_has_the_images_of_exercise_5():
    folder = ROOT / ".devcontainer"
    settings = json.loads((folder / "devcontainer.json").read_text(encoding="utf-8"))
    first, second = re.findall(r"^FROM (\S+)", (folder / settings["build"]["dockerfile"]).read_text(), re.M)
    solution = (ROOT / "exercise-5-container/solution/Dockerfile").read_text(encoding="utf-8")
    assert f"ARG PIXI_IMAGE={first}\n" in solution and f"ARG BASE_IMAGE={second}\n" in solution
    for task in re.findall(r"pixi run (?:--locked )?(\S+)", settings["postCreateCommand"]):
        assert task in manifest.load(ROOT / "pixi.toml").tasks()
    for name in re.findall(r"--environment (\S+)", settings["postCreateCommand"]):
        assert name in manifest.load(ROOT / "pixi.toml").environments


@pytest.mark.system("downloads the schema of dev containers")
def test_the_dev_container_fits_its_schema():
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed: install the extra test")
    file = ROOT / ".devcontainer/devcontainer.json"
    schema = json.loads(file.read_text(encoding="utf-8"))["$schema"].replace(
        "devContainer.schema", "devContainer.base.schema"
    )
    line = [sys.executable, "-m", "check_jsonschema", "--schemafile", schema, str(file)]
    process = subprocess.run(line, capture_output=True, text=True)
    if "FailedDownloadError" in process.stdout + process.stderr or "request error" in process.stderr.lower():
        pytest.skip("the schema cannot be downloaded here")
    assert process.returncode == 0, process.stdout + process.stderr


def test_vs_code_finds_the_packages():
    settings = json.loads((ROOT / ".vscode/settings.json").read_text(encoding="utf-8"))
    assert "common" in settings["python.analysis.extraPaths"]
    recommended = json.loads((ROOT / ".vscode/extensions.json").read_text(encoding="utf-8"))["recommendations"]
    assert {settings[language]["editor.defaultFormatter"] for language in ("[python]", "[toml]")} <= set(recommended)


def test_one_version_everywhere():
    citation = read_yaml(ROOT / "CITATION.cff")
    released, date = re.search(r"^## (\d+\.\d+\.\d+) \(([\d-]+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.M).groups()
    workspace = tomllib.loads((ROOT / "pixi.toml").read_text(encoding="utf-8"))["workspace"]
    assert workshop.__version__ == citation["version"] == workspace["version"] == released
    assert str(citation["date-released"]) == date
