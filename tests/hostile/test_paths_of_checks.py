"""`check N PATH` on a workspace in which something else has the name of a file: each ends with a result, and nothing hangs."""

import shutil

import attack
import pytest
from conftest import ROOT

from workshop import exercises
from workshop.checking import checks

FILES = [
    (1, "pixi.toml"),
    (1, "pixi.lock"),
    (1, "exclusion.py"),
    (2, "pixi.toml"),
    (2, "pixi.lock"),
    (2, "train.py"),
    (4, "predict.py"),
    (5, "Dockerfile"),
    (5, "apptainer.def"),
    (5, "train.sbatch"),
    (5, "array.sbatch"),
    (5, "train.sub"),
    (5, "train.sh"),
]


def first_results(number, folder, scratch):
    """The results of an exercise up to the first failure, as `check` finds them."""
    exercise = exercises.find(number)
    found = []
    for check, result in checks.run_checks(exercise.checks, checks.Workspace(folder, scratch)):
        found.append((check.number, result))
        if result.status == "fail":
            break
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", [attack.fifo, attack.device, attack.endless_link], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(("number", "name"), FILES)
def test_a_file_that_is_none(tmp_path, monkeypatch, number, name, kind):
    monkeypatch.setattr(attack, "SECONDS", 60)  # the exercises' own scripts may run before
    monkeypatch.setattr(attack, "HANGS_AFTER", 120)
    source = exercises.find(number).folder / "solution"
    folder = tmp_path / source.parent.name / "solution"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__", ".pixi"))
    if number == 5:  # it belongs to the workspace around it
        for other in ("pixi.toml", "pixi.lock"):
            shutil.copy(ROOT / other, tmp_path)
        shutil.copytree(ROOT / "exercise-2-pytorch-cu12/solution", tmp_path / "exercise-2-pytorch-cu12/solution")
    (folder / name).unlink()
    kind(folder / name)
    found = attack.call(number, folder, tmp_path / "scratch", function=first_results).returncode
    assert found[-1][1].status in ("fail", "skip"), found
