"""The doctor's report, for people and for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from workshop.doctor.machine import Machine
from workshop.doctor.row import PIXI, PYTHON, Row
from workshop.support import report

INDENT = 25  # columns before what was found


def as_document(rows: list[Row], routes: dict[str, bool], mine: Machine | None, next_step: str) -> dict[str, Any]:
    """The report for machines; the keys stay."""
    listed = [
        {"group": row.group, "what": row.what, "status": row.status, "found": row.found, "next": row.next_step}
        for row in rows
    ]
    return {
        "ready": any(routes.values()),
        "routes": {"pixi": routes[PIXI], "python": routes[PYTHON]},
        "machine": None if mine is None else asdict(mine),
        "rows": listed,
        "next": next_step,
    }


def lines(rows: list[Row], routes: dict[str, bool], next_step: str) -> list[str]:
    """The report for people. Next steps stand on a line of their own, however long, so that they can be pasted."""
    printed: list[str] = []
    group, last_step = "", ""
    for row in rows:
        if row.group != group:
            group = row.group
            printed += ["", group] if printed else [group]
        printed += report.wrap_beside(f"{row.status:5} {row.what}", row.found, INDENT)
        if row.next_step and row.good is False and row.next_step != last_step:  # mostly, servers share one reason
            last_step = row.next_step
            printed.append(f"{'':5} next: {last_step}")
    ways = [route for route, is_open in routes.items() if is_open]
    return [*printed, "", f"ready: {' and '.join(ways) if ways else 'no'}", f"next:  {next_step}"]
