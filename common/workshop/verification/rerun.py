"""A run made again: the recorded script at the recorded revision, with the recorded arguments, in a scratch folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from workshop.exercises import root_folder
from workshop.runs.records import provenance
from workshop.support.files import sha256_of
from workshop.support.hardware import nvidia_smi
from workshop.verification.checkout import Checkout
from workshop.verification.comparing.comparison import arguments_of
from workshop.verification.received import PARENT, CannotTell, Received

# They choose a GPU of the machine of that time, and say nothing about this one.
OF_THAT_MACHINE = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")


def again(run: Received, checkout: Checkout, scratch: Path) -> Received:
    """The new run, in a folder under `scratch`. Raises CannotTell, with the script's own message, where it fails."""
    line = command_line(run, checkout, scratch / "run")
    variables = {k: v for k, v in os.environ.items() if not k.startswith(provenance.NUMERIC_VARIABLES)}
    variables |= {k: v for k, v in run.record["variables"].items() if k not in OF_THAT_MACHINE}
    if "--device" in line[-2:]:
        variables.pop("WORKSHOP_DEVICE", None)
    variables |= {"PYTHONPATH": str(checkout.path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(line, cwd=checkout.folder, env=variables, capture_output=True)
    path = scratch / "run" / "run.json"
    if not path.is_file():
        printed = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["nothing was printed"]
        found = (
            next((text for text in printed if text.startswith("found:")), printed[-1]).removeprefix("found:").strip()
        )
        step = next((text for text in printed if text.startswith("next:")), "").removeprefix("next:").strip()
        if "--output" in step:  # of the script; the rerun chooses its own
            step = "TMPDIR=ANOTHER_FOLDER workshop verify RUN"
        raise CannotTell(
            looked_at=f"the rerun of {run.record['script']['path']}",
            expected="a finished run",
            found=f"exit code {done.returncode}: {found[:400]}",
            next_step=step or f"pixi run -e {run.record['environment'].get('name', 'cpu')} verify RUN",
        )
    return Received(path.parent, json.loads(path.read_bytes()), [])


def command_line(run: Received, checkout: Checkout, output: Path) -> list[str]:
    """What starts the rerun. Options of the first run that name its folder are left out."""
    start = [sys.executable]
    processes = run.record.get("processes", 1)
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    words = [_present(word, checkout) for word in arguments_of(run.record)]
    if parent := run.record.get("parent"):
        words.append(str(parent_of(run, parent)))
    words += ["--output", str(output)]
    if run.record["device"]["type"] == "cuda" and not nvidia_smi().get("gpu"):
        words += ["--device", "cpu"]
    return [*start, str(checkout.script), *words]


def _present(word: str, checkout: Checkout) -> str:
    """A word as an absolute path if it names a file of your repository that the checkout lacks; otherwise unchanged."""
    path = checkout.repository / word
    if word.startswith("-") or (checkout.folder / word).exists() or not path.exists():
        return word
    return str(path.resolve())


def parent_of(run: Received, parent: dict[str, Any]) -> Path:
    """The folder of the run that this one continues, known by the sha256 of its run.json: packed, where the arguments
    say, or in results/."""
    named = [Path(word) for word in run.record["argv"][1:] if Path(word).name in (parent["run"], "run.json")]
    folders = [
        run.folder / PARENT,
        *(path.parent if path.name == "run.json" else path for path in named),
        *(path.parent for path in (root_folder() / "results").glob("*/*/run.json")),
    ]
    for folder in [*folders, run.folder.parent.parent / parent["exercise"] / parent["run"]]:
        path = folder / "run.json"
        if path.is_file() and sha256_of(path) == parent["sha256"]:
            return folder.resolve()
    raise CannotTell(
        looked_at=f"the run {parent['run']} of {parent['exercise']}, which this one continues",
        expected=f"its folder in results/, with a run.json of sha256 {parent['sha256'][:16]}...",
        found="not here",
        next_step=f"copy it to results/{parent['exercise']}/{parent['run']}, or send this run by `workshop pack`",
    )
