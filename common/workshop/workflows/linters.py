"""The findings of zizmor (security) and actionlint (syntax) about a workflow, if they are installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from workshop.support.rules import ERROR, Finding

LIMIT = 20  # seconds; each takes less than one


def linter_findings(path: Path) -> list[Finding]:
    """The first finding of each linter; none from a linter that is not installed or does not end in time."""
    return [finding for finding in (_zizmor(path), _actionlint(path)) if finding]


def installed() -> list[str]:
    """The names of the linters that are installed."""
    return [name for name in ("zizmor", "actionlint") if _program(name)]


def _program(name: str) -> str | None:
    """The path of a program beside this interpreter or on the PATH."""
    return shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


def _output(name: str, *words: str) -> str:
    program = _program(name)
    if program is None:
        return ""
    try:
        line = [program, *words]
        return subprocess.run(line, capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""


def _zizmor(path: Path) -> Finding | None:
    text = _output("zizmor", "--offline", "--no-progress", "--format", "json", str(path))
    try:
        first = next(iter(json.loads(text or "[]")), None)
        if first is None:
            return None
        row = first["locations"][0]["concrete"]["location"]["start_point"]["row"] + 1
        return _finding("zizmor", path, row, first["desc"], first["ident"], first["url"])
    except (ValueError, LookupError, TypeError):
        return None


def _actionlint(path: Path) -> Finding | None:
    match = re.search(r":(\d+):\d+: (.*) \[([\w-]+)\]", _output("actionlint", "-no-color", "-oneline", str(path)))
    return _finding("actionlint", path, int(match[1]), match[2], match[3], "") if match else None


def _finding(linter: str, path: Path, line: int, found: str, rule: str, url: str) -> Finding:
    return Finding(
        name=f"{linter}: {rule}",
        level=ERROR,
        looked_at=f"{path.name}, line {line}",
        expected=f"a workflow in which {linter} finds nothing",
        found=found,
        next_step=url or f"{linter} {path.name}",
    )
