"""Exercise 3 as a room: what learners do wrong is caught by its check, what they do otherwise passes."""

import pytest
from conftest import ROOT, answers, module_of
from mutations.exercise_3 import ASSERTION

from workshop import exercises
from workshop.checking import checks

FOLDER = ROOT / "exercise-3-jax-cu118"
SHARED = ROOT.parent / "shared"
EXERCISE = next(exercise for exercise in exercises.find_all(ROOT) if exercise.number == 3)


def test_the_starter_is_exercise_2_with_jax_beside_it():
    """The environments of exercise 2 are locked in it, and in the solution, package for package."""
    module = module_of(FOLDER / "checks.py")
    before = checks.Workspace(ROOT / "exercise-2-pytorch-cu12" / "solution")
    for side in ("starter", "solution"):
        now = checks.Workspace(FOLDER / side)
        for name in ("default", "cpu", "cuda12"):
            was = module.locked_records(before.lock, before.manifest.platforms, name)
            found = module.locked_records(now.lock, now.manifest.platforms, name)
            assert was and all(found[platform] == was[platform] for platform in was), (side, name)


def test_the_shipped_starter_fails_in_its_script_too(tmp_path, trains):
    """Its manifest: tests/exercises/test_exercises.py. Its keys and its step are the mistakes `no seed` and `not compiled`."""
    workspace = checks.Workspace(FOLDER / "starter", tmp_path / "scratch")
    answer = next(check.judge(workspace) for check in EXERCISE.checks if check.number == "3.5")
    assert answer.status == "fail" and answer.found == "it trained on the CPU and said nothing"
    starter = (FOLDER / "starter" / "train.py").read_text()
    for wrong in ("PRNGKey(time.time_ns() % 2**31)", "    return train_step\n"):
        assert wrong in starter


@pytest.fixture
def trains(variables, monkeypatch):
    """For checks that run the script: the data sets of the session."""
    pytest.importorskip("jax", reason="these checks train")
    monkeypatch.setenv("WORKSHOP_CACHE", variables["WORKSHOP_CACHE"])


def test_another_correct_script_passes(learner, tmp_path, trains):
    """The learner's own assertion, a step compiled under another name, and a key that is split."""
    learner(
        "train.py",
        ASSERTION,
        "    arrays = [x, *jax.tree_util.tree_leaves(state)]\n"
        "    if any(a.devices() != {dev} for a in arrays):\n        sys.exit('some array is elsewhere')\n",
    )
    learner("train.py", "jax.random.PRNGKey(seed)", "jax.random.split(jax.random.PRNGKey(seed))[0]")
    learner("train.py", "jax.jit(train_step, donate_argnums=0)", "jax.jit(train_step)")
    found = answers(EXERCISE, learner.folder, tmp_path)
    assert {answer.status for answer in found.values()} == {"ok"}, found


def test_a_workspace_from_elsewhere_is_not_compared_with_ours(tmp_path, learner):
    learner("pixi.toml", 'cuda12 = ["cuda12"]', 'gpu = ["cuda12"]')
    learner("pixi.lock", "\n  cuda12:\n", "\n  gpu:\n")
    (learner.folder / "train.py").unlink()
    found = answers(EXERCISE, learner.folder, tmp_path)
    assert found["3.4"].status == "ok" and "not compared" in found["3.4"].found


@pytest.mark.skipif(not (SHARED / "written-by-pixi").exists(), reason="../shared is not here")
def test_what_pixis_own_commands_write(tmp_path):
    """The platform passes. The feature is empty there: Pixi cannot solve it beside the Python of exercise 2."""
    found = answers(EXERCISE, SHARED / "written-by-pixi" / "ex3", tmp_path)
    assert found["3.1"].status == "ok"
    assert found["3.2"].status == "fail" and found["3.2"].found == "none"


@pytest.mark.parametrize("frameworks", [("jax",), ("jax", "flax")], ids=lambda names: names[-1])
def test_in_an_environment_without_jax_the_script_is_not_judged(learner, tmp_path, without, frameworks):
    without(*frameworks)
    found = answers(EXERCISE, learner.folder, tmp_path)
    assert [found[f"3.{k}"].status for k in range(4, 8)] == ["ok", "skip", "skip", "skip"], found
