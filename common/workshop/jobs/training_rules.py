"""Rules about the training that a rehearsed script starts, for both Slurm and HTCondor."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from workshop.jobs import rehearsal
from workshop.jobs.rehearsal import Rehearsal
from workshop.support.rules import Problem

DEVICE = r"\bDEVICE=|--device\b"  # a line of a script that sets the device


def file_with(pattern: str, folder: Path, script: str) -> str:
    """The name of the file that contains a regular expression: the script itself, or one that it calls."""
    for path in (folder / script, *sorted(folder.glob("*.sh"))):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        if any(re.search(pattern, line.partition("#")[0]) for line in lines):
            return path.name
    return script


def script_problems(rehearsed: Rehearsal, folder: Path, script: str) -> Iterator[Problem]:
    """A problem if the training's script does not exist. folder: contains the job's files."""
    if missing := rehearsed.missing_script():
        yield Problem(
            looked_at=f"{file_with(re.escape(missing), folder, script)}, rehearsed in the root of the clone",
            expected="the path of a script that exists",
            found=f"{missing}: no such file",
            next_step="correct the path of the script",
        )


def training_problems(rehearsed: Rehearsal, folder: Path, script: str) -> Iterator[Problem]:
    """Problems unless the script trains exercise 2's network and stops if it gets no GPU. folder: contains the scripts."""
    training, looked_at = rehearsed.training(), f"{script}, rehearsed"
    if training is None:
        yield Problem(
            looked_at=looked_at,
            expected="the script runs exercise-2-pytorch-cu12/.../train.py",
            found=rehearsed.failure_reason(),
            next_step=f"bash -x {script} shows where it stops",
        )
        return
    words = training["words"]
    if not any("train.py" in word or word == rehearsal.TASK for word in words):
        yield Problem(
            looked_at=looked_at, expected="the script runs train.py", found=" ".join(words), next_step="run train.py"
        )
    yield from script_problems(rehearsed, folder, script)
    device = rehearsed.value("--device") or training["device"]
    if training["name"] == "pixi" and any("cuda12" in word for word in words):
        device = device or "cuda"  # activating this environment sets WORKSHOP_DEVICE=cuda
    if device != "cuda" and "WORKSHOP_DEVICE=cuda" not in rehearsed.words():
        trains_without = device in ("auto", "cpu")
        effect = (
            "which also trains on the CPU"
            if trains_without
            else "which train.py refuses; it accepts auto, cpu and cuda"
        )
        yield Problem(
            looked_at=f"{file_with(DEVICE, folder, script)}, rehearsed",
            expected="a training that stops if it gets no GPU",
            found=f"--device {device}, {effect}" if device else "no --device",
            next_step="add --device cuda: without it, a job that gets no GPU trains on the CPU",
        )
    for call in rehearsed.calls:
        name, options = call["name"], " ".join(call["words"])
        if not {"exec", "run", "shell"} & set(call["words"]):
            continue  # podman load, apptainer --version
        if name in ("apptainer", "singularity") and "--nv" not in options:
            yield Problem(
                looked_at=looked_at,
                expected="--nv, which makes the host's GPU visible in the container",
                found=f"{name} {options}",
                next_step="apptainer exec --nv",
            )
        if name in ("podman", "docker") and "--gpus" not in options and "nvidia" not in options:
            yield Problem(
                looked_at=looked_at,
                expected="an option that makes the host's GPU visible in the container",
                found=f"{name} {options}",
                next_step="podman run --device nvidia.com/gpu=all",
            )
