"""The commands of the workshop as you type them, on the route that you chose: Pixi or Python alone."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from workshop import shell

# The commands of the workshop that are tasks in pixi.toml as well.
TASKS = (
    "doctor",
    "check",
    "hint",
    "progress",
    "watch",
    "reset",
    "diff",
    "check-all",
    "lock-check",
    "environments",
    "drivers",
    "package",
    "audit",
    "container-check",
    "container-build",
    "container-run",
    "container-test",
    "verify",
    "runs",
    "compare",
    "pack",
    "reproduce-readme",
    "new",
    "scan",
    "slurm-train",
    "htcondor-train",
)


def as_typed_here(text: str) -> str:
    """The text with its `workshop` commands as you type them here: `pixi run check 2`, or `.venv/bin/workshop check 2`.

    They stay as they are where neither a task of Pixi nor the workshop's program was the one that you started.
    """
    start = ""
    if "WORKSHOP_REVISION" not in os.environ and "PIXI_ENVIRONMENT_NAME" in os.environ:
        start = "pixi run"
    elif Path(sys.argv[0]).stem == "workshop" and not shutil.which("workshop"):
        start = shell.quoted(Path(sys.argv[0]).absolute())
    if not start:
        return text
    return re.sub(rf"(?<![\w./\\-])workshop (?=({'|'.join(TASKS)})(?![\w-]))", lambda _: f"{start} ", text)
