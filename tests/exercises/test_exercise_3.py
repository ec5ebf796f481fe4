"""Exercise 3 as a room: what learners do wrong is caught by its check, what they do otherwise passes."""

import re
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, answers, module_of
from mutations.exercise_3 import ASSERTION

from pixi_workspace import lock as locks
from pixi_workspace import manifest
from workshop import exercises
from workshop.checking import checks
from workshop.checking.steps import continuation
from workshop.errors import WorkshopError

FOLDER = ROOT / "exercise-3-jax-cu118"
EXERCISE = next(exercise for exercise in exercises.find_all(ROOT) if exercise.number == 3)


def test_the_starter_is_exercise_2_with_jax_beside_it():
    """The environments of exercise 2 are locked in it, and in the solution, package for package."""
    module = module_of(FOLDER / "checks.py")
    before = checks.Workspace(ROOT / "exercise-2-pytorch-cu12" / "solution")
    for side in ("starter", "solution"):
        now = checks.Workspace(FOLDER / side)
        for name in ("default", "cpu", "cuda12"):
            was, found = module.locked_records(before.lock, name), module.locked_records(now.lock, name)
            assert was and all(found[platform] == was[platform] for platform in was), (side, name)


@pytest.mark.slow
def test_the_shipped_starter_fails_in_its_script_too(tmp_path, trains):
    """Its manifest: tests/exercises/test_exercises.py. Its keys and its step are the mistakes `no seed` and `not compiled`."""
    workspace = checks.Workspace(FOLDER / "starter", tmp_path / "scratch")
    answer = next(check.run(workspace) for check in EXERCISE.checks if check.number == "3.5")
    assert answer.status == "fail" and answer.found == "the script trained on the CPU and ended with exit code 0"
    starter = (FOLDER / "starter" / "train.py").read_text()
    for wrong in ("PRNGKey(np.random.randint(2**31))", "    return train_step\n"):
        assert wrong in starter


@pytest.fixture
def trains(variables, monkeypatch):
    """For checks that run the script: the data sets of the session."""
    pytest.importorskip("jax", reason="these checks train")
    monkeypatch.setenv("WORKSHOP_CACHE", variables["WORKSHOP_CACHE"])


@pytest.mark.slow
def test_another_correct_script_passes(learner, tmp_path, trains, forks_alone):
    """The learner's own assertion, a step compiled under another name, and a key that is split."""
    learner(
        "train.py",
        ASSERTION,
        "    arrays = [images, *jax.tree_util.tree_leaves(state)]\n"
        "    if any(a.devices() != {device} for a in arrays):\n        raise SystemExit('some array is elsewhere')\n",
    )
    learner("train.py", "jax.random.PRNGKey(seed)", "jax.random.split(jax.random.PRNGKey(seed))[0]")
    learner("train.py", "jax.jit(train_step, donate_argnums=0)", 'jax.jit(train_step, donate_argnames=["state"])')
    found = answers(EXERCISE, learner.folder, tmp_path)
    assert {answer.status for number, answer in found.items() if number != "3.8"} == {"ok"}, found


def test_a_workspace_from_elsewhere_is_not_compared_with_ours(tmp_path, learner):
    learner("pixi.toml", 'cuda12 = ["cuda12"]', 'gpu = ["cuda12"]')
    learner("pixi.lock", "\n  cuda12:\n", "\n  gpu:\n")
    (learner.folder / "train.py").unlink()
    found = answers(EXERCISE, learner.folder, tmp_path)
    assert found["3.4"].status == "ok" and "not compared" in found["3.4"].found


@pytest.fixture
def shipped_then(written_by_pixi, monkeypatch):
    """Checks that compare with the lock which the starter had when Pixi wrote those: theirs, without what was added."""
    module = module_of(FOLDER / "checks.py")
    lock = locks.read(written_by_pixi / "exercise-3-starter-by-hand" / "pixi.lock")
    old = {p.name for p in lock.platforms if "__cuda=11.8" not in p.virtual_packages}
    environments = {
        name: replace(e, packages={row: found for row, found in e.packages.items() if row in old})
        for name, e in lock.environments.items()
        if name != "cuda118-jax"
    }
    assert len(old) == len(lock.platforms) - 1 and set(environments) == set(module.UNCHANGED)
    monkeypatch.setattr(module, "shipped_lock", lambda _: replace(lock, environments=environments))
    return module


@pytest.mark.parametrize("way", ["by-hand", "by-commands"])
def test_what_pixi_locks_for_a_learner_passes(written_by_pixi, shipped_then, tmp_path, way):
    """`default` on the new platform holds another Python than the solution's: nothing was locked there before."""
    folder = tmp_path / "learner"
    shutil.copytree(written_by_pixi / f"exercise-3-starter-{way}", folder)
    if way == "by-commands":  # Pixi had no command for the variable at that time: the page has the learner write it
        before = checks.Workspace(folder, tmp_path / "before")
        assert "the variable is not set" in shipped_then.has_frozen_jax(before).found
        with open(folder / "pixi.toml", "a") as file:
            file.write('\n[feature.cuda118.activation.env]\nWORKSHOP_DEVICE = "cuda"\n')
    workspace = checks.Workspace(folder, tmp_path / "scratch")
    found = {check.number: answer for check, answer in checks.run_checks(tuple(shipped_then.CHECKS), workspace)}
    assert {number: found[number].status for number in ("3.1", "3.2", "3.3", "3.4")} == dict.fromkeys(
        ("3.1", "3.2", "3.3", "3.4"), "ok"
    ), found
    assert "are unchanged" in found["3.4"].found


@pytest.mark.parametrize("name", ["default", "jax"])
def test_a_package_that_changed_on_an_old_platform_does_not(written_by_pixi, shipped_then, tmp_path, name):
    workspace = checks.Workspace(written_by_pixi / "exercise-3-starter-by-hand", tmp_path / "scratch")
    environment = workspace.lock.environments[name]
    first, *others = environment.packages["linux-64"]
    environment.packages["linux-64"] = (replace(first, version="0.0.1"), *others)
    answer = shipped_then.compare_with_shipped_lock(workspace)
    assert answer.status == "fail" and f"for {name} on linux-64" in answer.looked_at
    assert answer.found.startswith("1 removed and 1 added") and f"{first.name} 0.0.1" in answer.found


def test_the_shipped_lock_is_found_when_the_learner_has_written_another(tmp_path):
    """In the history of the checkout. Outside a checkout the check is skipped: it neither passes nor fails."""
    exercise = tmp_path / "workshop" / FOLDER.name
    shutil.copytree(FOLDER, exercise, ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-C", exercise.parent, "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "as shipped"]):
        subprocess.run([*git, *words], check=True)
    for name in ("pixi.toml", "pixi.lock"):
        shutil.copy(exercise / "solution" / name, exercise / "starter" / name)
    module = module_of(exercise / "checks.py")

    def judged():
        workspace = checks.Workspace(exercise / "starter", Path(tempfile.mkdtemp(dir=tmp_path)))
        return module.is_locked(workspace)

    assert judged().status == "ok" and "are unchanged" in judged().found
    shutil.rmtree(exercise.parent / ".git")
    assert judged().status == "skip" and "cannot tell" in judged().found


def test_what_pixis_own_commands_write(written_by_pixi, tmp_path):
    """The platform passes. The feature is empty there: Pixi cannot solve it beside the Python of exercise 2."""
    found = answers(EXERCISE, written_by_pixi / "exercise-3", tmp_path)
    assert found["3.1"].status == "ok"
    assert found["3.2"].status == "fail" and found["3.2"].found == "none"


@pytest.mark.parametrize("frameworks", [("jax",), ("jax", "flax")], ids=lambda names: names[-1])
def test_in_an_environment_without_jax_the_script_is_not_judged(learner, tmp_path, without, frameworks):
    without(*frameworks)
    found = answers(EXERCISE, learner.folder, tmp_path)
    assert [found[f"3.{k}"].status for k in range(4, 8)] == ["ok", "skip", "skip", "skip"], found


EARLIER = ROOT / "exercise-2-pytorch-cu12"


def test_a_starter_continues_from_ones_own_exercise_2(tmp_path):
    """As `workshop reset 3 --from`: the learner's manifest and lock, and what the shipped starter adds."""
    shipped = {name: (FOLDER / "starter" / name).read_bytes() for name in EXERCISE.settings["starter"]}
    folder = tmp_path / "mine"
    shutil.copytree(EARLIER / "solution", folder)
    text = (folder / "pixi.toml").read_text().replace("cuda12 = ", "gpu = ")
    (folder / "pixi.toml").write_text(text)
    lock = (folder / "pixi.lock").read_text().replace("\n  cuda12:\n", "\n  gpu:\n")
    (folder / "pixi.lock").write_text(lock)
    files = continuation.files_from(EXERCISE, str(folder), shipped)
    assert files["pixi.lock"] == (folder / "pixi.lock").read_bytes()
    (tmp_path / "pixi.toml").write_bytes(files["pixi.toml"])
    found = manifest.load(tmp_path / "pixi.toml")
    assert set(found.environments) == {"default", "cpu", "gpu", "jax"}
    assert found.tasks()["train"].default_environment == "jax"
    todos = set(re.findall(r"TODO\((\d\.\d)\)", files["pixi.toml"].decode()))
    assert todos == {"3.1", "3.2", "3.3", "3.4", "3.8"}


def test_an_exercise_2_that_does_not_pass_gets_one_message():
    with pytest.raises(WorkshopError, match=r"2\.1 fails.*none of them declares cuda") as error:
        continuation.files_from(EXERCISE, str(EARLIER / "starter"), {})
    assert "workshop check 2 " in error.value.next_step and "workshop reset 3" in error.value.next_step
    two = next(exercise for exercise in exercises.find_all(ROOT) if exercise.number == 2)
    with pytest.raises(WorkshopError, match="exercise 3, which continues exercise 2"):
        continuation.files_from(two, "1", {})
