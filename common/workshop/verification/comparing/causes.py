"""What a difference between two records was measured to do to the results, from benchmarks/determinism.json."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from workshop.exercises import root_folder

MEASURED = "benchmarks/determinism.json"
KNOWN = "known to change the bits of this exercise"


def measured(difference: str, exercise: str) -> str:
    """What a difference, such as `variable ATEN_CPU_CAPABILITY`, did to the outputs of an exercise; empty if unknown."""
    rows = [row for row in _rows() if difference in row.get("shown_as", ()) and row["change"] != "another seed"]
    here = [row for row in rows if exercise.startswith(f"exercise-{row['exercise']}-")]
    changed = [row for row in here if not row["same_bytes"]]
    if changed:
        return f"{KNOWN}: {'; '.join(map(_effect, changed))} ({MEASURED})"
    if here:
        return f"did not change a bit where it was measured ({MEASURED})"
    return ""


def _effect(row: dict[str, Any]) -> str:
    numbers = [f"{name} by {value:.2g}" for name, value in row["effect"].items() if value]
    return f"{row['change']} changed {', '.join(numbers) or 'bytes, but no number'}"


@cache
def _rows() -> list[dict[str, Any]]:
    try:
        return json.loads((root_folder() / MEASURED).read_text(encoding="utf-8"))["rows"]
    except (OSError, ValueError, KeyError):
        return []  # installed without the repository
