"""The verdict of a Pixi on the PATH that is newer than the one whose rules are mirrored here."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from rattler import Version

from pixi_workspace.manifest import PIXI_VERSION

START_SECONDS, CHECK_SECONDS = 10, 120
# What Pixi prints, by verdict; the first that is found counts.
SIGNS = (
    ("lock-error", "failed to load lock file"),
    ("out-of-date", "not up-to-date"),
    ("out-of-date", "failed to solve"),
    ("manifest-error", "pixi.toml:"),
    ("manifest-error", "pyproject.toml:"),
)


def find_newer_pixi() -> tuple[str, str] | None:
    """Path and version of the `pixi` on the PATH; None if there is none, or none that is newer."""
    path = shutil.which("pixi")
    if path is None:
        return None
    printed = _run([path, "--version"], START_SECONDS)
    version = re.search(r"\d+\.\d+\.\d+", printed[1]) if printed else None
    if version is None or Version(version[0]) <= Version(PIXI_VERSION):
        return None
    return path, version[0]


def ask_pixi(path: str, manifest: Path) -> tuple[str, str]:
    """The verdict of this Pixi and the first line of its reason. It writes nothing (`--dry-run`)."""
    found = _run([path, "lock", "--check", "--dry-run", "--manifest-path", str(manifest)], CHECK_SECONDS)
    if found is None:
        return "cannot-tell", f"pixi lock --check did not end within {CHECK_SECONDS} s"
    code, text = found
    if code == 0:
        return "up-to-date", ""
    words = " ".join(re.sub(r"[│╭╰├─▶×·]", " ", text).split())
    reason = words.partition("Error: ")[2] or words
    for verdict, sign in SIGNS:
        if sign in words.lower():
            return verdict, reason[:200]
    return "cannot-tell", reason[:200]


def _run(command: list[str], seconds: float) -> tuple[int, str] | None:
    try:
        found = subprocess.run(
            command, capture_output=True, timeout=seconds, stdin=subprocess.DEVNULL, encoding="utf-8", errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.returncode, found.stdout + found.stderr
