"""Rehearse a job script without a cluster: bash runs it, with stand-ins for Slurm, containers and the training.

A script is judged by the commands that it calls and by its exit code, so it may be written in any way. Each stand-in
records its call. The stand-in for the training succeeds, fails, or waits for a signal and then ends with exit code 85,
as the real training does.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal as signals
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workshop.errors import WorkshopError
from workshop.jobs.stand_in import TASK
from workshop.support import timeouts

REPLACED_COMMANDS = (
    "python python3 apptainer singularity podman docker srun pixi uv torchrun timeout scontrol sbatch scancel squeue "
    "pixi-unpack nvidia-smi module ml"
).split()
TIME_LIMIT = 30  # seconds for a rehearsal; a correct script takes less than one
ORPHAN_LIMIT = 1  # seconds for a training to end after its script
SIGNAL_LIMIT = 10  # seconds after the signal; a script that ignores the signal would wait for ever

STAND_IN = Path(__file__).with_name("stand_in.py")


@dataclass(frozen=True)
class Rehearsal:
    """The commands that a script called, its exit code (None if it did not end), and what it wrote to stderr."""

    calls: list[dict]
    code: int | None
    stderr: str

    def training(self) -> dict | None:
        """The call that starts the training, or None."""
        return next((call for call in self.calls if call.get("trains")), None)

    def words(self) -> list[str]:
        """The words of the call that starts the training, and of the calls that led to it."""
        return [word for call in self.calls if call.get("trains") or call.get("inside") for word in call["words"]]

    def value(self, option: str) -> str | None:
        """The value of an option of the training (--seed 1 or --seed=1); None without that option."""
        words = (self.training() or {"words": []})["words"]
        # Only the words after the script: podman, for one, has its own --device.
        words = words[next((i for i, word in enumerate(words) if word.endswith(".py") or word == TASK), 0) :]
        after = next((b for a, b in zip(words, words[1:], strict=False) if a == option), None)
        return next((word.split("=", 1)[1] for word in words if word.startswith(f"{option}=")), after)

    def resumes(self) -> bool:
        """Whether the training was started with --resume."""
        training = self.training()
        return training is not None and "--resume" in training["words"]

    def received_signal(self) -> bool:
        """Whether the training received SIGTERM or SIGUSR1, which it handles."""
        return any(call.get("received") for call in self.calls)

    def requeued(self) -> bool:
        """Whether the job put itself back into the queue."""
        return any(call["name"] == "scontrol" and call["words"][:1] == ["requeue"] for call in self.calls)

    def failure_reason(self) -> str:
        """The last line of stderr, or the exit code."""
        lines = self.stderr.strip().splitlines()
        return lines[-1] if lines else f"exit code {self.code}, and no message"


def bash() -> str | None:
    """The path of bash; None on a machine without it."""
    return shutil.which("bash") if os.name == "posix" else None


def make_stage(scratch: Path, exercises: dict[str, Path]) -> Path:
    """Create a folder for rehearsals: a clone with copies of the given folders, and the stand-ins. Return its path."""
    stage = scratch / "stage"
    bin_folder, clone = stage / "stand-ins" / "bin", stage / "clone"
    bin_folder.mkdir(parents=True)
    for name in REPLACED_COMMANDS:
        shutil.copyfile(STAND_IN.with_suffix(".sh"), bin_folder / name)
        (bin_folder / name).chmod(0o755)
    for environment in (clone / ".venv/bin", clone / "env/bin"):
        environment.mkdir(parents=True)
        for python in ("python", "python3"):
            (environment / python).symlink_to(bin_folder / "python")
        (environment / "activate").write_text(f'PATH="{environment}:$PATH"\n')
    for name, folder in exercises.items():
        shutil.copytree(folder, clone / name, ignore=shutil.ignore_patterns("__pycache__", ".pixi", "*.lock"))
    return stage


def rehearse(
    stage: Path,
    script: Path,
    outcome: str,
    variables: dict[str, str],
    signal: str = "",
    signal_training: bool = False,
    arguments: Sequence[str] = (),
) -> Rehearsal:
    """Run a script as the batch system would: in the clone's root, from a copy that is in another folder.

    outcome: how the training ends: success; failure (a message and exit code 1); stopped (by `signal`, with exit code
    85); stopped-failure (by `signal`, with a message and exit code 1). The script receives the signal once the training
    runs; with signal_training, the training itself receives it, as Slurm does for job steps.
    """
    (stage / "stand-ins" / "calls").write_text("")
    copy = stage / "slurm_script"
    shutil.copy(script, copy)
    _make_images(stage / "clone", script)
    # Not a pipe, which a training that outlives its script would keep open.
    with open(stage / "stderr", "w") as stderr:
        process = subprocess.Popen(
            [bash() or "bash", str(copy), *arguments],
            cwd=stage / "clone",
            env=_environment(stage, outcome, variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            if signal:
                _send(signal, process, stage, signal_training)
            code = process.wait(SIGNAL_LIMIT if signal else TIME_LIMIT)
            _wait_for_group(process.pid, ORPHAN_LIMIT)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            timeouts.kill_group(process.pid)
            process.wait()
    text = (stage / "stderr").read_text(errors="replace") if code is not None else "it did not end"
    return Rehearsal(_calls(stage), code, text)


def _make_images(clone: Path, script: Path) -> None:
    """Create empty files for the images that a script names, since it may check that they exist."""
    for name in set(re.findall(r"[\w./-]*\w\.(?:sif|tar)\b", script.read_text(encoding="utf-8", errors="replace"))):
        if not name.startswith(("/", "..", "-")) and not (clone / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).touch()


def _environment(stage: Path, outcome: str, variables: dict[str, str]) -> dict[str, str]:
    environment = {
        "PATH": f"{stage / 'stand-ins' / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(stage),
        "TMPDIR": str(stage),
        "USER": "learner",
        "REHEARSAL": str(stage / "stand-ins"),
        "REHEARSAL_OUTCOME": outcome,
        "REHEARSAL_PYTHON": sys.executable,
        "REHEARSAL_STAND_IN": str(STAND_IN),
        **variables,
    }
    if "SLURM_JOB_ID" in variables:
        environment["SLURM_SUBMIT_DIR"] = str(stage / "clone")
    return environment


def _wait_for_group(number: int, seconds: float) -> None:
    """Wait until no process of the group is left, but at most `seconds`."""
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            os.killpg(number, 0)
            time.sleep(0.02)
    except ProcessLookupError:
        pass


def _calls(stage: Path) -> list[dict]:
    return [json.loads(line) for line in (stage / "stand-ins" / "calls").read_text().splitlines()]


def _send(signal: str, process: subprocess.Popen, stage: Path, signal_training: bool) -> None:
    """Send the signal as soon as the training runs; do nothing if the script ends before that."""
    deadline = time.monotonic() + TIME_LIMIT
    while process.poll() is None and time.monotonic() < deadline:
        if training := next((call for call in _calls(stage) if call.get("trains")), None):
            os.kill(training["pid"] if signal_training else process.pid, signal_number(signal))
            return
        time.sleep(0.02)


def signal_number(name: str) -> int:
    """The number of a signal such as USR1, SIGUSR1 or 10. Raises WorkshopError if there is no such signal."""
    text = name.upper().removeprefix("SIG")
    number = int(text) if text.isdecimal() else getattr(signals, f"SIG{text}", None)
    if not number or not 0 < number < 65:
        raise WorkshopError(
            looked_at="the signal",
            expected="USR1, or another signal by name or number",
            found=repr(name),
            next_step="USR1",
        )
    return number
