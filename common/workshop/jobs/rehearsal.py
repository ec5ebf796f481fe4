"""Rehearse a job script without a cluster: bash runs it, with stand-ins for Slurm, containers and the training.

A script is judged by the commands that it calls and by its exit code, so it may be written in any way. Each stand-in
records its call. The stand-in for the training succeeds, fails, or waits for a signal and then ends with exit code 85,
as the real training does.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal as signals
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workshop.errors import WorkshopError
from workshop.jobs.stand_in import TASK
from workshop.support import files, timeouts

REPLACED_COMMANDS = (
    "python python3 apptainer singularity podman docker srun pixi uv torchrun timeout scontrol sbatch scancel squeue "
    "pixi-unpack nvidia-smi module ml hostname"
).split()
TIME_LIMIT = 30  # seconds for a rehearsal; a correct script takes less than one
ORPHAN_LIMIT = 1  # seconds for a training to end after its script
SIGNAL_LIMIT = 10  # seconds after the signal; a script that ignores the signal would wait for ever

LARGEST_FILE = 16 * 2**20  # bytes; what the script prints is one file
MOST_WRITTEN = 256 * 2**20  # bytes in all files together
MOST_READ = 2**16  # bytes of what it prints
MOST_IMAGES = 20
MOST_CALLS = 10_000

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

    def missing_script(self) -> str:
        """The path of the training's script if there is no such file; otherwise empty."""
        return str((self.training() or {}).get("missing") or "")

    def received_signal(self) -> bool:
        """Whether the training received SIGTERM or SIGUSR1, which it handles."""
        return any(call.get("received") for call in self.calls)

    def requeued(self) -> bool:
        """Whether the job put itself back into the queue."""
        calls = (call["words"] for call in self.called("scontrol", "requeue"))
        return any(word[:1].isdecimal() for words in calls for word in words[1:])

    def called(self, name: str, command: str) -> list[dict]:
        """The calls of a program with this command, as of scontrol with requeue."""
        return [call for call in self.calls if call["name"] == name and call["words"][:1] == [command]]

    def failure_reason(self) -> str:
        """The last line of stderr, or the exit code."""
        lines = self.stderr.strip().splitlines()
        return lines[-1] if lines else f"exit code {self.code}, and no message"


def bash() -> str | None:
    """The path of bash; None on a machine without it."""
    return shutil.which("bash") if os.name == "posix" else None


def make_stage(scratch: Path, exercises: dict[str, Path]) -> Path:
    """Create a folder for rehearsals: a clone with copies of the given folders, and the stand-ins. Return its path.

    Only ordinary files are copied: a pipe, a device or a link to a folder might never end.
    """
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
        shutil.copytree(folder, clone / name, ignore=_not_copied)
    return stage


def _not_copied(folder: str, names: list[str]) -> set[str]:
    left_out = {"__pycache__", ".pixi"} | {name for name in names if name.endswith(".lock")}
    paths = {name: Path(folder, name) for name in names}
    return left_out | {n for n, p in paths.items() if not files.is_safe_file(p) and (p.is_symlink() or not p.is_dir())}


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
    calls, copy = stage / "stand-ins" / "calls", stage / "slurm_script"
    content = files.read_bytes(script)
    for path, text in ((calls, b""), (copy, content)):  # an earlier script may have made something else of it
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(text)
    _make_images(stage / "clone", content.decode("utf-8", "replace"))
    program = bash() or "bash"
    # Not a pipe, which a training that outlives its script would keep open.
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            [program, "-c", f'ulimit -f {LARGEST_FILE // 1024}; exec "$@"', "bash", program, str(copy), *arguments],
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
            code, problem = _wait(process, stage, SIGNAL_LIMIT if signal else TIME_LIMIT), "it did not end"
            _wait_for_group(process.pid, ORPHAN_LIMIT)
        except _TooMuch:
            code, problem = None, f"it writes more than {MOST_WRITTEN // 2**20} MiB"
        except subprocess.TimeoutExpired:
            code, problem = None, "it did not end"
        finally:
            timeouts.kill_group(process.pid)
            process.wait()
        stderr.seek(0)
        text = stderr.read(MOST_READ).decode("utf-8", "replace") if code is not None else problem
    return Rehearsal(_calls(stage), code, text)


class _TooMuch(Exception):
    """The script has written too much."""


def _wait(process: subprocess.Popen, stage: Path, seconds: float) -> int:
    """The exit code of a script. Raises TimeoutExpired, and _TooMuch if it fills the disk."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return process.wait(min(0.2, max(0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                raise
            if _size_of(stage) > MOST_WRITTEN:
                raise _TooMuch from None


def _size_of(folder: Path) -> int:
    """Bytes that the files in a folder take on the disk."""
    paths = (os.path.join(base, name) for base, _, names in os.walk(folder) for name in names)
    total = 0
    for path in paths:
        with contextlib.suppress(OSError):  # removed in the meantime
            total += os.lstat(path).st_blocks * 512
    return total


def _make_images(clone: Path, script: str) -> None:
    """Create empty files for the images that a script names, since it may check that they exist."""
    found = (re.match(r".*\w\.(?:sif|tar)\b", words) for words in re.findall(r"[\w./-]+", script))
    for name in list(dict.fromkeys(match[0] for match in found if match))[:MOST_IMAGES]:
        if not name.startswith(("/", "-")) and ".." not in name.split("/"):
            with contextlib.suppress(OSError):  # such as a name that is too long
                (clone / name).parent.mkdir(parents=True, exist_ok=True)
                (clone / name).touch()


def _environment(stage: Path, outcome: str, variables: dict[str, str]) -> dict[str, str]:
    path = variables.get("PATH") or os.environ.get("PATH", os.defpath)
    environment = {
        "HOME": str(stage),
        "TMPDIR": str(stage),
        "USER": "learner",
        **variables,
        "PATH": f"{stage / 'stand-ins' / 'bin'}{os.pathsep}{path}",
        "REHEARSAL": str(stage / "stand-ins"),
        "REHEARSAL_OUTCOME": outcome,
        "REHEARSAL_PYTHON": sys.executable,
        "REHEARSAL_STAND_IN": str(STAND_IN),
    }
    if "SLURM_JOB_ID" in variables:
        environment["SLURM_SUBMIT_DIR"] = str(stage / "clone")
        environment["HOSTNAME"] = variables["SLURMD_NODENAME"]
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
    """What the stand-ins recorded. The script can write into their file too: anything else is skipped."""
    try:
        lines = files.read_bytes(stage / "stand-ins" / "calls").decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    calls = []
    for line in lines[:MOST_CALLS]:
        with contextlib.suppress(ValueError, RecursionError):
            call = json.loads(line)
            if isinstance(call, dict) and _is_call(call):
                calls.append(call)
    return calls


def _is_call(call: dict) -> bool:
    words, lists = call.get("words"), (call.get("words"), call.get("received", []))
    texts = all(isinstance(entry, list) and all(isinstance(word, str) for word in entry) for entry in lists)
    return words is not None and texts and isinstance(call.get("name"), str) and type(call.get("pid")) is int


def _send(signal: str, process: subprocess.Popen, stage: Path, signal_training: bool) -> None:
    """Send the signal as soon as the training runs; do nothing if the script ends before that."""
    deadline = time.monotonic() + TIME_LIMIT
    while process.poll() is None and time.monotonic() < deadline:
        if training := next((call for call in _calls(stage) if call.get("trains")), None):
            with contextlib.suppress(OSError):  # it has just ended
                # Only a process of this script: the file with its number is one that the script can edit.
                if os.getsid(training["pid"]) == process.pid:
                    os.kill(training["pid"] if signal_training else process.pid, signal_number(signal))
            return
        time.sleep(0.02)


def signal_number(name: str) -> int:
    """The number of a signal such as USR1, SIGUSR1 or 10. Raises WorkshopError if there is no such signal."""
    text = name.upper().removeprefix("SIG")
    number = int(text[:9]) if text.isdecimal() else getattr(signals, f"SIG{text}", None)
    if not number or not 0 < number < 65:
        raise WorkshopError(
            looked_at="the signal",
            expected="USR1, or another signal by name or number",
            found=repr(name),
            next_step="USR1",
        )
    return number
