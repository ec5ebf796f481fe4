"""One line of a comparison of two runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One thing in both runs. same: None where it cannot be judged. note: why, or what follows."""

    name: str
    recorded: Any
    here: Any
    same: bool | None
    note: str = ""
