"""A job script tried out where there is no cluster: run by bash, with stand-ins for Slurm, containers and the training.

What a script does is seen from what it calls and from its exit code, so it may be written in any way. Each stand-in
notes its call; the one for the training ends well or badly, or waits for the signal and ends with 85, as the real one.
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

from workshop import timeouts
from workshop.errors import WorkshopError

NAMES = (
    "python",
    "python3",
    "apptainer",
    "singularity",
    "podman",
    "docker",
    "srun",
    "pixi",
    "uv",
    "torchrun",
    "timeout",
    "scontrol",
    "sbatch",
    "scancel",
    "squeue",
    "pixi-unpack",
    "nvidia-smi",
    "module",
    "ml",
)
LIMIT = 30  # seconds; nothing in a rehearsal takes one
LEFT_BEHIND = 1  # seconds for a training whose script has ended before it
TOLD_LIMIT = 10  # seconds after the signal: a script that is deaf to it waits for ever, and a learner for the answer

TASK = "train-torch"  # the workspace's own task, which trains as well
STAND_IN = (
    rf"""
TASK = {TASK!r}
"""
    + r"""
import json, os, re, signal, sys, time
name, *words = sys.argv[1:]
home = os.environ["REHEARSAL"]

def note(**said):
    with open(os.path.join(home, "calls"), "a") as file:
        file.write(json.dumps({"name": name, "words": words, "pid": os.getpid(), **said}) + "\n")

if name == "pixi-unpack":
    note()
    place = next((b for a, b in zip(words, words[1:]) if a in ("-o", "--output-directory")), ".")
    place = next((w.split("=", 1)[1] for w in words if w.startswith("--output-directory=")), place)
    os.makedirs(os.path.join(place, "env", "bin"), exist_ok=True)
    for python in ("python", "python3"):
        os.symlink(os.path.join(home, "bin", "python"), os.path.join(place, "env", "bin", python))
    with open(os.path.join(place, "activate.sh"), "w") as file:
        file.write('export PATH="%s:$PATH"\n' % os.path.abspath(os.path.join(place, "env", "bin")))
    sys.exit(0)
if name == "timeout":  # for the rehearsal, the time is never over
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] in ("-s", "-k", "--signal", "--kill-after") else words[1:]
    os.execvp(words[1], words[1:])
script = next((i for i, word in enumerate(words) if word.endswith(".sh")), None)
if script is not None and name not in ("scontrol", "sbatch", "module", "ml"):
    note(inside=True)
    os.execvp("bash", ["bash", *words[script:]])
if name in ("scontrol", "sbatch", "scancel", "squeue", "nvidia-smi", "module", "ml") or not any(
    word.endswith(".py") or word == TASK for word in words
):
    note()
    sys.exit(0)

heard = []
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda number, _: heard.append(number))
note(trains=True, device=os.environ.get("WORKSHOP_DEVICE", ""))
ends = os.environ["REHEARSAL_ENDS"]
if ends.startswith("stopped"):
    while not heard and os.path.exists(home):
        time.sleep(0.02)
    note(heard=[signal.Signals(number).name for number in heard])
    sys.exit(85 if ends == "stopped" else 1)
sys.exit({"well": 0, "badly": 1}[ends])
"""
)


@dataclass(frozen=True)
class Rehearsed:
    """What a script called, and how it ended. code: None where it did not end."""

    calls: list[dict]
    code: int | None
    stderr: str

    def training(self) -> dict | None:
        """The call that trains; None where there was none."""
        return next((call for call in self.calls if call.get("trains")), None)

    def words(self) -> list[str]:
        """Every word of the calls on the way to the training, and of its own."""
        return [word for call in self.calls if call.get("trains") or call.get("inside") for word in call["words"]]

    def value(self, option: str) -> str | None:
        """The value of an option of the training, as in --seed 1 or --seed=1."""
        words = (self.training() or {"words": []})["words"]
        # Those behind the script: podman has a --device too.
        words = words[next((i for i, word in enumerate(words) if word.endswith(".py") or word == TASK), 0) :]
        after = next((b for a, b in zip(words, words[1:], strict=False) if a == option), None)
        return next((word.split("=", 1)[1] for word in words if word.startswith(f"{option}=")), after)

    def heard(self) -> bool:
        """Whether the training was told by a signal that it listens to."""
        return any(call.get("heard") for call in self.calls)

    def requeued(self) -> bool:
        """Whether the job has put itself back into the queue."""
        return any(call["name"] == "scontrol" and call["words"][:1] == ["requeue"] for call in self.calls)

    def complaint(self) -> str:
        lines = self.stderr.strip().splitlines()
        return lines[-1] if lines else f"exit code {self.code}, and no word why"


def bash() -> str | None:
    """Where bash is; None on a machine without it."""
    return shutil.which("bash") if os.name == "posix" else None


def stage(scratch: Path, exercises: dict[str, Path]) -> Path:
    """A clone to rehearse in: the exercises' folders, an interpreter and stand-ins; nothing of the real one is touched."""
    place = scratch / "stage"
    (place / "stand-ins" / "bin").mkdir(parents=True)
    (place / "stand-ins" / "stand_in.py").write_text(STAND_IN)
    for name in NAMES:
        path = place / "stand-ins" / "bin" / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{place}/stand-ins/stand_in.py" {name} "$@"\n')
        path.chmod(0o755)
    for folder in (".venv/bin", "env/bin"):
        (place / "clone" / folder).mkdir(parents=True)
        for python in ("python", "python3"):
            (place / "clone" / folder / python).symlink_to(place / "stand-ins" / "bin" / "python")
        (place / "clone" / folder / "activate").write_text(f'PATH="{place / "clone" / folder}:$PATH"\n')
    for name, folder in exercises.items():
        (place / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, place / "clone" / name, ignore=shutil.ignore_patterns("__pycache__", ".pixi", "*.lock"))
    return place


def rehearse(
    place: Path,
    script: Path,
    ends: str,
    variables: dict[str, str],
    signal: str = "",
    to_training: bool = False,
    arguments: Sequence[str] = (),
) -> Rehearsed:
    """Run a script on the stage, as the job system would: in the clone's root, from a copy that lies elsewhere.

    ends: how the training ends: well, badly, or stopped, by `signal`, which the script gets once it trains (or, with
    to_training, the training itself, as Slurm does for its job steps); stopped-badly: by the signal, but with a message
    and exit code 1.
    """
    (place / "stand-ins" / "calls").write_text("")
    copy = place / "slurm_script"
    shutil.copy(script, copy)
    for name in set(_images(script.read_text(encoding="utf-8", errors="replace"))):  # it may ask whether they are there
        if not (place / "clone" / name).exists() and not name.startswith(("/", "..", "-")):
            (place / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
            (place / "clone" / name).touch()
    bins = place / "stand-ins" / "bin"
    environment = {
        "PATH": f"{bins}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(place),
        "TMPDIR": str(place),
        "USER": "learner",
        "REHEARSAL": str(place / "stand-ins"),
        "REHEARSAL_ENDS": ends,
        **variables,
    }
    if "SLURM_JOB_ID" in variables:
        environment["SLURM_SUBMIT_DIR"] = str(place / "clone")
    said = open(place / "stderr", "w")  # no pipe: a training that its script has left behind would hold it open
    process = subprocess.Popen(
        [bash(), str(copy), *arguments],
        cwd=place / "clone",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=said,
        start_new_session=True,
    )
    try:
        if signal:
            _tell(process, place, signal, to_training)
        code = process.wait(TOLD_LIMIT if signal else LIMIT)
        _wait_for_group(process.pid, LEFT_BEHIND)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        timeouts.end_group(process.pid)
        process.wait()
        said.close()
    stderr = (place / "stderr").read_text(errors="replace") if code is not None else "it did not end"
    return Rehearsed(_calls(place), code, stderr)


def _wait_for_group(number: int, seconds: float) -> None:
    """Until no process of the group is left, or the time is over."""
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            os.killpg(number, 0)
            time.sleep(0.02)
    except ProcessLookupError:
        pass


def _images(text: str) -> list[str]:
    return re.findall(r"[\w./-]*\w\.(?:sif|tar)\b", text)


def _calls(place: Path) -> list[dict]:
    return [json.loads(line) for line in (place / "stand-ins" / "calls").read_text().splitlines()]


def _tell(process: subprocess.Popen, place: Path, signal: str, to_training: bool) -> None:
    """Send the signal once the training has begun; nothing where the script ends before that."""
    deadline = time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < deadline:
        if training := next((call for call in _calls(place) if call.get("trains")), None):
            os.kill(training["pid"] if to_training else process.pid, signal_number(signal))
            return
        time.sleep(0.02)


def signal_number(name: str) -> int:
    """USR1, SIGUSR1 or 10. Raises WorkshopError for no signal."""
    text = name.upper().removeprefix("SIG")
    found = int(text) if text.isdecimal() else getattr(signals, f"SIG{text}", None)
    if not found or not 0 < found < 65:
        raise WorkshopError(
            looked_at="the signal",
            expected="USR1, or another one by name or number",
            found=repr(name),
            next_step="USR1",
        )
    return found
