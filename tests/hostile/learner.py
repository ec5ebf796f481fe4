"""A small workshop with one exercise, whose only check runs a script: what a learner's folder can do to the commands."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

CHECKS = """
from workshop.checking.checks import Check, fail, ok


def runs(workspace):
    done = workspace.run("script.py", str(workspace.scratch))
    if done.returncode:
        return fail(looked_at="script.py", expected="exit code 0", found=(done.stderr.splitlines() or ["nothing"])[-1], next_step="edit it")
    return ok(done.stdout.strip())


CHECKS = [Check("7.1", "the script runs", ("a first hint", "a second hint", "a third hint"), runs)]
"""
SETTINGS = """
title = "A title"
environments = ["cpu"]
starter_fails_at = "7.1"

[starter]
"script.py" = "{sha256}"
"""
SCRIPT = "print('said')\n"


def workshop(root: Path, script: str = SCRIPT) -> Path:
    """Make the workshop in the folder `root`; returns the folder of its starter. script: the learner's text."""
    folder = root / "exercise-7-x"
    for name in ("starter", "solution"):
        (folder / name).mkdir(parents=True)
        (folder / name / "script.py").write_text(SCRIPT, encoding="utf-8")
    (folder / "checks.py").write_text(CHECKS, encoding="utf-8")
    sha256 = hashlib.sha256((folder / "starter" / "script.py").read_bytes()).hexdigest()
    (folder / "exercise.toml").write_text(SETTINGS.format(sha256=sha256), encoding="utf-8")
    (folder / "starter" / "script.py").write_text(script, encoding="utf-8", errors="surrogateescape")
    return folder / "starter"


def content_of(folder: Path) -> dict[str, bytes | str]:
    """Every file of a folder, and the target of every link."""
    found, waiting = {}, [str(folder)]
    while waiting:
        for entry in os.scandir(waiting.pop()):
            if entry.is_symlink():
                found[entry.path] = os.readlink(entry.path)
            elif entry.is_dir():
                waiting.append(entry.path)
            elif entry.is_file():
                found[entry.path] = Path(entry.path).read_bytes()
    return found
