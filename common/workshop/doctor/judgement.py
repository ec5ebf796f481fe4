"""Which route is open on this machine, and what to type next."""

from __future__ import annotations

from dataclasses import replace

from workshop import shell
from workshop.doctor.checkout import Checkout
from workshop.doctor.row import PIXI, PYTHON, Row

CONTACT = "look into the README, or send this report to the instructors"


def judge(rows: list[Row], here: Checkout) -> tuple[list[Row], dict[str, bool]]:
    """The rows with their status, and which routes are open: those for which nothing is known to be missing."""
    closed = {route for row in rows if row.good is False for route in row.needed}
    if not here.packages:
        closed.add(PYTHON)
    routes = {route: route not in closed for route in (PIXI, PYTHON)}
    status = {True: "ok", None: "skip", False: "note"}
    in_the_way = "note" if any(routes.values()) else "fail"
    judged = [replace(row, status=in_the_way if row.good is False and row.needed else status[row.good]) for row in rows]
    return judged, routes


def advice(rows: list[Row], routes: dict[str, bool], here: Checkout) -> str:
    """What to type next."""
    if routes[PIXI]:
        return "pixi run train-torch"
    if routes[PYTHON]:
        return "workshop check-all" if here.has_packages() else shell.first_command()
    steps = [row.next_step for row in rows if row.good is False and row.needed and row.next_step]
    return steps[0] if steps else CONTACT
