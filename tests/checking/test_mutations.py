"""Each broken solution is caught by the check that it names and by no earlier one; each alternative passes."""

import importlib
import shutil

import mutations
import pytest
from conftest import ROOT, answers, first_failure

from workshop import exercises
from workshop.jobs import rehearsal

EXERCISES = {e.number: e for e in exercises.find_all(ROOT)}
MODULES = {number: importlib.import_module(f"mutations.exercise_{number}") for number in EXERCISES}
MISTAKES = [(number, name) for number, module in MODULES.items() for name in module.MISTAKES]
STATIC = [
    (number, name) for number, name in MISTAKES if MODULES[number].MISTAKES[name][0] not in MODULES[number].ITS_CHECKS
]
ALTERNATIVES = [(number, name) for number, module in MODULES.items() for name in module.ALTERNATIVES]
# What the script of an exercise cannot do without; exercise 5's are tried with stand-ins, by bash.
NEEDS = {1: "jsonpatch", 2: "torch", 3: "jax", 4: "torch"}


@pytest.mark.parametrize("number", EXERCISES)
def test_every_check_has_its_own_mistake(number):
    assert {check for check, *_ in MODULES[number].MISTAKES.values()} == {c.number for c in EXERCISES[number].checks}


@pytest.fixture
def copied(tmp_path):
    """The folder of a copy of an exercise's solution with some changes."""

    def copy(number, changes):
        folder = tmp_path / "learner" / "solution"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(EXERCISES[number].folder / "solution", folder, ignore=ignored)
        if not (folder / "pixi.toml").exists():  # an exercise with the root's manifest
            for name in ("pixi.toml", "pixi.lock"):
                shutil.copy(ROOT / name, tmp_path / "learner" / name)
        mutations.make_common(folder)
        mutations.apply(changes, folder)
        return folder

    return copy


@pytest.mark.parametrize(("number", "name"), STATIC)
def test_a_mistake_is_caught_by_its_check(number, name, copied, tmp_path):
    """By this check alone; that those before it pass is for the slow tests."""
    check, words, changes = MODULES[number].MISTAKES[name]
    found, said = first_failure(EXERCISES[number], copied(number, changes), tmp_path, (check,))
    assert found == check, said
    assert words in f"{said.looked_at}\n{said.expected}\n{said.found}\n{said.next_step}", said


@pytest.mark.slow
@pytest.mark.parametrize(("number", "name"), MISTAKES)
def test_mistakes_are_caught_by_their_check_and_by_no_earlier_one(
    number, name, copied, tmp_path, variables, monkeypatch
):
    check, words, changes = MODULES[number].MISTAKES[name]
    if check in MODULES[number].ITS_CHECKS:
        if number in NEEDS or check == "5.15":
            pytest.importorskip(NEEDS.get(number, "torch"), reason="this check runs the script")
        elif not rehearsal.bash():
            pytest.skip("this check tries a job script, by bash")
        monkeypatch.setenv("WORKSHOP_CACHE", variables["WORKSHOP_CACHE"])
    found, said = first_failure(EXERCISES[number], copied(number, changes), tmp_path)
    assert found == check, said
    assert words in f"{said.looked_at}\n{said.expected}\n{said.found}\n{said.next_step}", said


@pytest.mark.parametrize(("number", "name"), ALTERNATIVES)
def test_other_correct_manifests_pass(number, name, copied, tmp_path):
    module = MODULES[number]
    folder = copied(number, module.ALTERNATIVES[name])
    (folder / module.SCRIPT).unlink()  # the manifest and the lock are the matter here
    found = {number: answer.status for number, answer in answers(EXERCISES[number], folder, tmp_path).items()}
    assert found == {c.number: "skip" if c.number in module.ITS_CHECKS else "ok" for c in EXERCISES[number].checks}


SCRIPTS = [(number, name) for number, module in MODULES.items() for name in getattr(module, "SCRIPTS", {})]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "name"), SCRIPTS)
def test_other_correct_scripts_pass(number, name, copied, tmp_path, variables, monkeypatch):
    pytest.importorskip(NEEDS[number], reason="these checks run the script")
    monkeypatch.setenv("WORKSHOP_CACHE", variables["WORKSHOP_CACHE"])
    module = MODULES[number]
    runs = [c.number for c in EXERCISES[number].checks if c.number in module.ITS_CHECKS and not c.needs_pixi]
    found = answers(EXERCISES[number], copied(number, module.SCRIPTS[name]), tmp_path, runs)
    assert {answer.status for answer in found.values()} == {"ok"}, found
