"""The table of `run.py`: one row for each check, printed as soon as it is known and kept in JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PASSED, FAILED, CANNOT_RUN = "passed", "failed", "cannot run"
HAS_GPU = "a GPU that it can use"  # the check on which all others depend that need one
GRAPH = "a step recorded as a CUDA graph"


class Failed(Exception):
    """What was found where a check does not hold. values: the single values that led to it."""

    def __init__(self, found: str, **values: Any) -> None:
        super().__init__(found)
        self.values = values


class CannotRun(Exception):
    """Why a check cannot be made here."""


@dataclass
class Row:
    """One check. figure: what was measured, or the reason where it failed or cannot run. values: every single value."""

    framework: str
    check: str
    result: str
    figure: str
    values: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def row_of(framework: str, check: str, measure: Callable[[], tuple[str, dict[str, Any]]]) -> Row:
    """The row of one check, whatever happens in it. measure: returns figure and values, or raises."""
    began = time.monotonic()
    try:
        result, (figure, values) = PASSED, measure()
    except Failed as error:
        result, figure, values = FAILED, str(error), error.values
    except CannotRun as error:
        result, figure, values = CANNOT_RUN, str(error), {}
    except Exception as error:  # a mistake in the check itself, or an error of a library: the other checks go on
        lines = str(error).strip().splitlines() or ["no message"]
        result, figure, values = FAILED, f"{type(error).__name__}: {lines[0][:200]}", {"error": str(error)[-2000:]}
    return Row(framework, check, result, figure, values, round(time.monotonic() - began, 3))


class Report:
    """All rows so far. After each one it is printed, and the whole is written to `path`, if there is one."""

    def __init__(self, path: Path | None, **head: Any) -> None:
        self.path, self.head, self.rows = path, head, []
        self._began = time.monotonic()
        self._write()
        print(f"{'':9}{'check':46}{'result':12}figure", flush=True)

    def add(self, row: Row) -> Row:
        """Print a row and write the file anew."""
        self.rows.append(row)
        print(f"{row.framework:9}{row.check:46}{row.result:12}{row.figure}", flush=True)
        self._write()
        return row

    def count(self, result: str) -> int:
        """How many rows have this result."""
        return sum(row.result == result for row in self.rows)

    def exit_code(self) -> int:
        """0 if everything that could run passed and a GPU was there for at least one framework, else 1."""
        has_gpu = any(row.check == HAS_GPU and row.result == PASSED for row in self.rows)
        return 0 if has_gpu and not self.count(FAILED) else 1

    def finish(self) -> int:
        """Print the totals, write the file for the last time, and return the exit code."""
        self.head["finished"] = True
        self._write()
        totals = ", ".join(f"{result}: {self.count(result)}" for result in (PASSED, FAILED, CANNOT_RUN))
        print(f"{totals}; {self.head['seconds']:.0f} s" + (f"; written: {self.path}" if self.path else ""))
        if not any(row.check == HAS_GPU and row.result == PASSED for row in self.rows):
            print("neither PyTorch nor JAX can use a GPU here: nothing was tested on one")
        return self.exit_code()

    def _write(self) -> None:
        self.head["seconds"] = round(time.monotonic() - self._began, 1)
        if self.path:
            counts = {result.replace(" ", "_"): self.count(result) for result in (PASSED, FAILED, CANNOT_RUN)}
            document = self.head | {"counts": counts, "rows": [asdict(row) for row in self.rows]}
            beside = self.path.with_name(self.path.name + ".part")
            beside.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
            beside.replace(self.path)
