"""One line of the doctor's report, and the two routes that it may be needed for."""

from __future__ import annotations

from dataclasses import dataclass

PIXI, PYTHON = "with Pixi", "with Python alone"


@dataclass(frozen=True)
class Row:
    """One thing that was looked at.

    good: None where it could not be looked at. needed: the routes that need it. status: `ok`, `note`, `fail` or `skip`,
    as `judgement.judge` decides.
    """

    group: str
    what: str
    good: bool | None
    found: str
    next_step: str = ""
    needed: tuple[str, ...] = ()
    status: str = ""
