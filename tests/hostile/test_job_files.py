"""Batch scripts and submit files that double, repeat or count without end, and jobs that fill the disk when rehearsed."""

import os
import shutil
import time

import attack
import pytest
from conftest import ROOT

from workshop.errors import WorkshopError, errors_as_messages
from workshop.jobs import batch_files, rehearsal
from workshop.jobs.job import ArrayJob, BatchJob, CondorJob

BASH = "#!/bin/bash\n"
LETTERS = [f"a{i}" for i in range(60)]


def submit(*lines, queue="queue\n"):
    return "\n".join(("executable = train.sh", *lines, queue))


# What the batch script contains, and what the message contains; nothing: any answer will do.
SCRIPTS = {
    "an array of 200 million": (f"{BASH}#SBATCH --array=0-200000000\n", ""),
    "a hundred thousand arrays": (f"{BASH}#SBATCH --array={'0-99999,' * 1000}1\n", ""),
    "an array of digits": (f"{BASH}#SBATCH --array=0-{'9' * 5000}\n", ""),
    "an array in steps of digits": (f"{BASH}#SBATCH --array=0-9:{'9' * 5000}\n", ""),
    "an array of other digits": (f"{BASH}#SBATCH --array=\u0660-\u0669\n", ""),
    "memory of digits": (f"{BASH}#SBATCH --mem={'9' * 5000}G\n", ""),
    "time of digits": (f"{BASH}#SBATCH --time={'9' * 5000}\n", ""),
    "a signal of digits": (f"{BASH}#SBATCH --signal=B:{'9' * 5000}@{'9' * 5000}\n", ""),
    "a long option": (f"{BASH}#SBATCH --{'a' * 9000}\n", "sbatch"),
    "a long line": (f"{BASH}#SBATCH --mem={'9' * 1_000_000}\n", "characters"),
    "twenty thousand lines": (BASH + "#SBATCH --mem=4G\n" * 20_000, "lines"),
    "five thousand options": (BASH + "#SBATCH --mem=4G\n" * 3000, ""),
    "open quotes": (BASH + "#SBATCH " + '" ' * 4001 + "\n", "quote"),
    "a zero byte": (f"{BASH}#SBATCH --mem=\0\n", "zero byte"),
    "no line": ("", "first line"),
}
SUBMIT_FILES = {
    "doubling macros": (
        submit(
            "a0 = xxxx",
            *(f"{b} = $({a})$({a})" for a, b in zip(LETTERS, LETTERS[1:], strict=False)),
            "arguments = $(a59)",
        ),
        "characters",
    ),
    "doubling macros with defaults": (
        submit(
            "a0 = xxxx",
            *(f"{b} = $({a}:1)$({a}:2)" for a, b in zip(LETTERS, LETTERS[1:], strict=False)),
            "arguments = $(a59)",
        ),
        "characters",
    ),
    "a macro of itself": (submit("a = $(a)$(a)", "arguments = $(a)"), ""),
    "a circle of macros": (submit("a = $(b)$(b)", "b = $(a)$(a)", "arguments = $(a)"), ""),
    "a chain of macros": (submit("a0 = x", *(f"a{i + 1} = $(a{i})" for i in range(3000)), "arguments = $(a3000)"), ""),
    "open macros": (submit("arguments = " + "$(" * 4000), ""),
    "dollars": (submit("arguments = " + "$" * 9000), ""),
    "a long key": (submit(f"{'a' * 9000} = 1"), "line"),
    "a value of many lines": (submit("arguments @=end", *["x"] * 9000, "@end"), ""),
    "a value of many lines without end": (submit("arguments @=end", *["x"] * 9000), "queue"),
    "a continued line": (submit("arguments = x \\", *["x \\"] * 9000), "queue"),
    "twenty thousand lines": (submit(*["a = 1"] * 20_000), "lines"),
    "empty lines": (submit(*[""] * 9000), ""),
    "an open queue": (submit(queue="queue x in (\n" * 5000), ""),
    "an expression of brackets": (submit("on_exit_hold = " + "(" * 9000), ""),
    "an expression of signs": (submit("on_exit_hold = " + "!" * 9000 + "1"), ""),
    "an expression of ands": (submit("on_exit_hold = " + "ExitCode == 1 && " * 500 + "true"), ""),
    "a number of digits": (submit(f"request_gpus = {'9' * 5000}", f"gpus_minimum_capability = {'9' * 5000}"), ""),
    "an environment with open quotes": (submit('environment = "' + "' " * 4001 + '"'), ""),
    "no queue": (submit(queue=""), "queue"),
}


def read_all(kind, folder):
    """What the rules read of a job, without a rehearsal."""
    with errors_as_messages():
        job = kind(folder, folder / "scratch")
        if kind is CondorJob:
            batch_files.environment_variables(job.submit)
            batch_files.evaluate_expression(job.keys.get("on_exit_hold", ""), 1)
            return len(job.keys)
        batch_files.memory_in_mib(job.options.get("mem", ""))
        batch_files.time_in_minutes(job.options.get("time", ""))
        return len(batch_files.array_indices(job.options.get("array", "")))


def examine(folder, kind, name, text, said):
    (folder / name).write_text(text)
    done = attack.call(kind, folder, function=read_all)
    if said:
        attack.refused(done, said)
    elif done.stderr:
        attack.refused(done)


@pytest.mark.parametrize("name", SCRIPTS)
def test_batch_scripts(tmp_path, name):
    examine(tmp_path, BatchJob, "train.sbatch", *SCRIPTS[name])


@pytest.mark.parametrize("name", SUBMIT_FILES)
def test_submit_files(tmp_path, name):
    examine(tmp_path, CondorJob, "train.sub", *SUBMIT_FILES[name])


def test_an_array_of_many_tasks():
    assert batch_files.array_indices("0-200000000") == batch_files.array_indices("0-99999,0-99999") == []
    assert batch_files.array_indices("3,5-9:2%2") == [3, 5, 7, 9]
    assert len(batch_files.array_indices("0-99999")) == 100_000


# ---------------------------------------------------------------- rehearsals

needs_bash = pytest.mark.skipif(not rehearsal.bash(), reason="no bash here")


@pytest.fixture
def rehearse(tmp_path, monkeypatch):
    """Rehearse a script within a second or two."""
    monkeypatch.setattr(rehearsal, "TIME_LIMIT", 1)
    monkeypatch.setattr(rehearsal, "SIGNAL_LIMIT", 2)
    monkeypatch.setattr(rehearsal, "ORPHAN_LIMIT", 0.1)
    folder = tmp_path / "learner"
    folder.mkdir()
    stage = rehearsal.make_stage(tmp_path / "scratch", {"exercise-5-container/solution": folder})

    def run(script, outcome="success", **settings):
        (folder / "job.sh").write_text(f"#!/bin/bash\n{script}\n")
        return rehearsal.rehearse(stage, folder / "job.sh", outcome, settings.pop("variables", {}), **settings)

    run.stage = stage
    return run


@needs_bash
def test_a_job_that_prints_for_ever(rehearse):
    for script in ("yes >&2", "yes", "while :; do echo x >&2; done"):
        started = time.monotonic()
        done = rehearse(script)
        assert done.code != 0 and len(done.stderr) <= rehearsal.MOST_READ
        assert time.monotonic() - started < 20 and rehearsal._size_of(rehearse.stage) < 64 * 2**20


@needs_bash
def test_a_job_that_fills_the_disk(rehearse, monkeypatch):
    monkeypatch.setattr(rehearsal, "MOST_WRITTEN", 8 * 2**20)
    monkeypatch.setattr(rehearsal, "TIME_LIMIT", 20)
    done = rehearse("for i in $(seq 1000); do head -c 1000000 /dev/zero > file$i; done; sleep 60")
    assert done.code is None and "writes more than" in done.stderr


JOBS = {
    "calls that are no calls": 'echo "[1, {" >> "$REHEARSAL/calls"; echo "[]" >> "$REHEARSAL/calls"',
    "deep calls": 'printf "%0100000d" 0 | tr 0 "[" >> "$REHEARSAL/calls"',
    "calls of other types": """echo '{"name": 1, "words": [7], "pid": "x", "trains": 1}' >> "$REHEARSAL/calls" """,
    "calls that are a pipe": 'rm "$REHEARSAL/calls"; mkfifo "$REHEARSAL/calls"',
    "calls that are a folder": 'rm "$REHEARSAL/calls"; mkdir "$REHEARSAL/calls"',
    "calls that are a device": 'ln -sf /dev/zero "$REHEARSAL/calls"',
    "no calls": 'rm "$REHEARSAL/calls"',
    "a copy of the script that is a pipe": 'rm "$HOME/slurm_script"; mkfifo "$HOME/slurm_script"',
    "bytes that are no text": "printf '\\377\\0\\033[2J' >&2",
    "a limit on files that it ignores": "trap '' XFSZ; head -c 40000000 /dev/zero > big || echo failed >&2",
    "an end by a signal": "kill -9 $$",
    "a name of an image that is too long": f"echo {'a' * 5000}.sif",
    "a thousand images": " ".join(f"a{i}/b.sif" for i in range(1000)),
}


@needs_bash
@pytest.mark.parametrize("name", JOBS)
def test_jobs(rehearse, name):
    """Each leaves nothing behind that harms the next rehearsal."""
    done = attack.call(JOBS[name], function=rehearse).returncode
    assert done.training() is None
    again = rehearse('python train.py --output "$RUN"', variables={"RUN": "results/x", "PATH": os.defpath})
    assert again.code == 0 and again.value("--output") == "results/x", again


@needs_bash
def test_a_job_that_names_a_process_of_somebody_else(rehearse):
    """The signal goes only to processes that the rehearsal started."""
    line = '{"name": "python", "words": ["train.py"], "pid": PID, "trains": true}'.replace("PID", str(os.getpid()))
    done = rehearse(f"echo '{line}' >> \"$REHEARSAL/calls\"; sleep 0.3", "stopped", signal="USR1", signal_training=True)
    assert done.code == 0  # SIGUSR1 would have ended this process


@needs_bash
def test_a_run_outside_the_clone(tmp_path):
    """The rehearsal of a restart makes the run's folder, but never outside the stage."""
    folder = tmp_path / "exercise-5-container" / "solution"
    shutil.copytree(ROOT / "exercise-5-container/solution", folder, ignore=lambda *_: {"pixi.lock", ".pixi"})
    job = BatchJob(folder, tmp_path / "scratch")
    with pytest.raises(WorkshopError, match="inside the clone"):
        job.rehearse("train.sh", "success", {}, interrupted=str(tmp_path / "precious"))
    assert not (tmp_path / "precious.partial").exists()


@needs_bash
def test_a_learners_folder_with_things_that_are_no_files(tmp_path):
    folder = tmp_path / "exercise-5-container" / "starter"
    shutil.copytree(ROOT / "exercise-5-container/solution", folder, ignore=lambda *_: {"pixi.lock", ".pixi"})
    for number, kind in enumerate(attack.NO_FILES):
        kind(folder / f"thing{number}")
    for number in range(3):
        (folder / f"loop{number}").symlink_to(".")
    (folder / "root").symlink_to("/")
    stage = attack.call(function=lambda: BatchJob(folder, tmp_path / "scratch").stage).returncode
    copied = stage / "clone/exercise-5-container/starter"
    assert sorted(p.name for p in copied.iterdir() if p.name.startswith(("thing", "loop", "root"))) == [
        "thing4",
        "thing5",
    ]
    assert (copied / "train.sh").read_bytes() == (folder / "train.sh").read_bytes()


def test_tasks_of_an_array(tmp_path):
    (tmp_path / "array.sbatch").write_text(f"{BASH}#SBATCH --array=0-99999\n")
    job = ArrayJob(tmp_path, tmp_path / "scratch")
    assert job.rehearsed_tasks == list(range(10))
