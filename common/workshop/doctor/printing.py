"""The doctor's report, for people and for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from workshop.doctor.machine import Machine
from workshop.doctor.row import PIXI, PYTHON, Row
from workshop.support import report

INDENT = 25  # columns before the findings


def as_document(
    rows: list[Row], routes: dict[str, bool], this_machine: Machine | None, next_step: str
) -> dict[str, Any]:
    """The report for machines. The keys do not change between releases."""
    listed = [
        {"group": row.group, "what": row.subject, "status": row.status, "found": row.found, "next": row.next_step}
        for row in rows
    ]
    return {
        "ready": any(routes.values()),
        "routes": {"pixi": routes[PIXI], "python": routes[PYTHON]},
        "machine": None if this_machine is None else asdict(this_machine),
        "rows": listed,
        "next": next_step,
    }


def lines(rows: list[Row], routes: dict[str, bool], next_step: str) -> list[str]:
    """The report for people. Each next step is on its own line, however long, so that it can be copied."""
    printed: list[str] = []
    group, last_step = "", ""
    for row in rows:
        if row.group != group:
            group = row.group
            printed += ["", group] if printed else [group]
        printed += report.wrap_beside(f"{row.status:5} {row.subject}", row.found, INDENT)
        if (
            row.next_step and row.passed is False and row.next_step != last_step
        ):  # usually all servers fail for the same reason
            last_step = row.next_step
            printed.append(f"{'':5} next: {last_step}")
    ready = [route for route, is_open in routes.items() if is_open]
    return [*printed, "", f"ready: {' and '.join(ready) if ready else 'no'}", f"next:  {next_step}"]
