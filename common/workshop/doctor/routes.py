"""Which routes are open on this machine, and what to type next."""

from __future__ import annotations

from dataclasses import replace

from workshop import shell
from workshop.doctor.checkout import Checkout
from workshop.doctor.row import PIXI, PYTHON, Row

ASK_FOR_HELP = "read the README, or send this report to the instructors"


def judge(rows: list[Row], checkout: Checkout) -> tuple[list[Row], dict[str, bool]]:
    """The rows with their status, and whether each route is open: nothing that it requires is known to be missing."""
    closed = {route for row in rows if row.passed is False for route in row.required_by}
    if not checkout.packages:
        closed.add(PYTHON)
    routes = {route: route not in closed for route in (PIXI, PYTHON)}
    status = {True: "ok", None: "skip", False: "note"}
    if_required = "note" if any(routes.values()) else "fail"
    judged = [
        replace(row, status=if_required if row.passed is False and row.required_by else status[row.passed])
        for row in rows
    ]
    return judged, routes


def next_step(rows: list[Row], routes: dict[str, bool], checkout: Checkout) -> str:
    """What to type next."""
    if routes[PIXI]:
        return "pixi run train-torch"
    if routes[PYTHON]:
        return "workshop check-all" if checkout.has_packages() else shell.first_command()
    steps = [row.next_step for row in rows if row.passed is False and row.required_by and row.next_step]
    return steps[0] if steps else ASK_FOR_HELP
