"""The problems of a training that a rehearsed script starts, for Slurm and HTCondor alike."""

from __future__ import annotations

from collections.abc import Iterator

from workshop.jobs import rehearsal
from workshop.jobs.rehearsal import Rehearsal
from workshop.support.rules import Problem


def training_problems(rehearsed: Rehearsal, script: str) -> Iterator[Problem]:
    """The script has to train exercise 2's network on a GPU, and must not fall back to the CPU."""
    training, looked_at = rehearsed.training(), f"{script}, rehearsed"
    if training is None:
        yield Problem(
            looked_at=looked_at,
            expected="the script runs exercise-2-pytorch-cu12/.../train.py",
            found=rehearsed.failure_reason(),
            next_step=f"bash -x {script}: see where it stops",
        )
        return
    words = training["words"]
    if not any("train.py" in word or word == rehearsal.TASK for word in words):
        yield Problem(
            looked_at=looked_at, expected="the script runs train.py", found=" ".join(words), next_step="run train.py"
        )
    device = rehearsed.value("--device") or training["device"]
    if training["name"] == "pixi" and any("cuda12" in word for word in words):
        device = device or "cuda"  # activating this environment sets WORKSHOP_DEVICE
    if device != "cuda" and "WORKSHOP_DEVICE=cuda" not in rehearsed.words():
        yield Problem(
            looked_at=looked_at,
            expected="the training stops if it gets no GPU",
            found=f"--device {device or 'is missing'}",
            next_step="add --device cuda: without it, a job that gets no GPU trains on the CPU",
        )
    for call in rehearsed.calls:
        name, options = call["name"], " ".join(call["words"])
        if not {"exec", "run", "shell"} & set(call["words"]):
            continue  # podman load, apptainer --version
        if name in ("apptainer", "singularity") and "--nv" not in options:
            yield Problem(
                looked_at=looked_at,
                expected="apptainer with --nv",
                found=f"{name} {options}",
                next_step="apptainer exec --nv",
            )
        if name in ("podman", "docker") and "--gpus" not in options and "nvidia" not in options:
            yield Problem(
                looked_at=looked_at,
                expected="a GPU in the container",
                found=f"{name} {options}",
                next_step="podman run --device nvidia.com/gpu=all",
            )
