"""One line of the doctor's report, and the names of the two routes."""

from __future__ import annotations

from dataclasses import dataclass

PIXI, PYTHON = "with Pixi", "with Python alone"


@dataclass(frozen=True)
class Row:
    """One check and its result.

    passed: None if it could not be checked. required_by: the routes that need it. status: `ok`, `note`, `fail` or
    `skip`, set by `routes.judge`.
    """

    group: str
    subject: str
    passed: bool | None
    found: str
    next_step: str = ""
    required_by: tuple[str, ...] = ()
    status: str = ""
