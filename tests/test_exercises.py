"""What holds for every exercise: its furniture, its TODOs and their checks, its place in the root's manifest."""

import re

import pytest
from conftest import ROOT

from workshop import checks, manifest

EXERCISES = checks.exercises(ROOT)


@pytest.fixture(params=EXERCISES, ids=lambda exercise: exercise.folder.name)
def exercise(request):
    return request.param


def test_it_has_its_furniture(exercise):
    for name in (
        "README.md",
        "exercise.toml",
        "checks.py",
        "starter/pixi.toml",
        "solution/pixi.toml",
        "solution/pixi.lock",
    ):
        assert (exercise.folder / name).is_file(), name
    assert {
        "title", "goal", "minutes", "environments", "tasks", "starter_fails_at", "download_mib", "check_all",
    } == set(exercise.about)  # fmt: skip


def test_environments_and_tasks_of_exercise_toml_exist(exercise):
    root = manifest.load(ROOT / "pixi.toml")
    assert set(exercise.about["environments"]) <= set(root.environments)
    assert set(exercise.about["tasks"]) <= set(root.tasks())


def test_each_todo_has_its_check_and_each_check_its_todo(exercise):
    text = "".join(path.read_text() for path in (exercise.folder / "starter").iterdir() if path.is_file())
    todos = set(re.findall(r"TODO\((\d\.\d+)\)", text))
    assert todos == {check.number for check in exercise.checks}
    solution = (path for path in (exercise.folder / "solution").glob("*.*") if path.suffix != ".lock")
    assert "TODO" not in "".join(path.read_text() for path in solution)
    for check in exercise.checks:
        assert len(check.hints) == 3 and all(len(hint) > 20 for hint in check.hints)
        assert check.number in (exercise.folder / "README.md").read_text()
