"""Checks with Pixi on the PATH: its verdict on a lock, and its environments for a GPU. Pixi is a stand-in."""

import os
import shutil

import pytest
from conftest import ROOT, answers

from workshop import exercises
from workshop.checking import check_all, checks
from workshop.checking.steps import requirements

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
EXERCISE_2 = next(e for e in exercises.find_all(ROOT) if e.number == 2)


@pytest.fixture
def pixi(tmp_path, monkeypatch):
    """Put a `pixi` at the front of the PATH: pixi("exit 0"); its call log."""
    calls = tmp_path / "calls"

    def put(script):
        path = tmp_path / "bin" / "pixi"
        path.parent.mkdir()
        path.write_text(f'#!/bin/sh\necho "$PIXI_PROJECT_NAME $*" >> {calls}\n{script}\n')
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
        return lambda: calls.read_text().splitlines()

    return put


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (f'echo "Error:   x {requirements.PIXI_STALE}" >&2; exit 1', "fail"),
        ("exit 0", "ok"),
        # Without a network it cannot solve: that is no evidence against the lock.
        ('echo "error sending request for url" >&2; exit 1', "ok"),
        ("exec no-such-program", "ok"),
    ],
    ids=["stale", "content", "no network", "broken"],
)
def test_pixi_decides_whether_a_lock_is_up_to_date(pixi, monkeypatch, tmp_path, script, status):
    calls = pixi(script)
    monkeypatch.setenv("PIXI_PROJECT_NAME", "another-workspace")  # that of the shell we are in
    folder = tmp_path / "learner" / "solution"
    shutil.copytree(EXERCISE_2.folder / "solution", folder)
    before = (folder / "pixi.lock").read_bytes()
    judge = next(check.run for check in EXERCISE_2.checks if check.number == "2.5")
    answer = judge(checks.Workspace(folder, tmp_path / "scratch"))
    assert answer.status == status, answer
    assert answer.status == "ok" or "pixi lock --check" in answer.found
    assert calls() == [f" lock --check --dry-run --manifest-path {folder / 'pixi.toml'}"]
    assert (folder / "pixi.lock").read_bytes() == before


def test_pixi_is_not_called_for_a_lock_that_we_find_stale(pixi, tmp_path):
    calls = pixi("exit 0")
    folder = tmp_path / "learner" / "solution"
    shutil.copytree(EXERCISE_2.folder / "solution", folder)
    (folder / "pixi.toml").write_text(
        (folder / "pixi.toml").read_text().replace('safetensors = ">=0.5"', 'safetensors = ">=9"')
    )
    judge = next(check.run for check in EXERCISE_2.checks if check.number == "2.5")
    assert judge(checks.Workspace(folder, tmp_path / "scratch")).status == "fail"
    with pytest.raises(FileNotFoundError):
        calls()


@pytest.mark.parametrize("number", [2, 3, 4])
def test_the_environments_for_a_gpu_are_run_through_pixi(pixi, monkeypatch, number):
    """With a GPU and installed CPU builds: run in each CUDA environment, from the lock."""
    exercise = next(e for e in exercises.find_all(ROOT) if e.number == number)
    calls = pixi('echo "found:     the stand-in trains nothing" >&2; exit 1')
    monkeypatch.setattr(check_all, "nvidia_smi", lambda: [{"name": "pretended"}])
    real = check_all.run_and_judge

    def judged(exercise, arguments, interpreter=()):
        assert "cuda" in arguments and "cpu" not in arguments
        if not interpreter:
            return checks.fail(
                looked_at="torch", expected="a build for CUDA", found=check_all.CPU_BUILD, next_step="pixi run"
            )
        return real(exercise, arguments, interpreter)

    monkeypatch.setattr(check_all, "run_and_judge", judged)
    rows = list(check_all.solution_runs_on_gpu(exercise))
    named = [name for name in exercise.settings["environments"] if "cpu" not in name.split("-")]
    assert [row.what for row in rows] == [f"solution runs on the GPU, in {name}" for name in named]
    for row, call, name in zip(rows, calls(), named, strict=True):
        assert row.result.status == "fail" and "the stand-in trains nothing" in row.result.found
        assert f"run --locked --manifest-path {ROOT / 'pixi.toml'} -e {name} python" in call
        assert "--device cuda" in call and "train.py" in call


def test_without_pixi_the_row_contains_the_command(monkeypatch):
    monkeypatch.setattr(check_all, "nvidia_smi", lambda: [{"name": "pretended"}])
    monkeypatch.setattr(check_all.shutil, "which", lambda _: None)
    said = checks.fail(looked_at="torch", expected="a build for CUDA", found=check_all.CPU_BUILD, next_step="pixi run")
    monkeypatch.setattr(check_all, "run_and_judge", lambda *_: said)
    rows = list(check_all.solution_runs_on_gpu(EXERCISE_2))
    assert {row.result.status for row in rows} == {"skip"}
    assert "pixi run -e cuda12 check-all" in rows[0].result.found


@pytest.mark.parametrize("number", [2, 3, 4])
def test_a_workspace_with_more_of_everything_passes(number, tmp_path):
    """The root's manifest: more platforms, features, environments and tasks than the exercise asks for."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("pixi.toml", "pixi.lock"):
        shutil.copy(ROOT / name, folder)
    exercise = next(e for e in exercises.find_all(ROOT) if e.number == number)
    assert {answer.status for answer in answers(exercise, folder, tmp_path).values()} == {"ok", "skip"}
