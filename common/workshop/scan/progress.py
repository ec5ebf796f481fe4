"""What you can watch while a scan runs: a progress bar, a figure, and the line of `workshop runs`."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from workshop.runs import search
from workshop.runs.records.record import PROGRESS
from workshop.scan.worker import Entry
from workshop.support.files import write_atomic
from workshop.support.terminal import unfiltered

BAR = 30  # characters
ALIVE = 60.0  # seconds after its last result in which a worker counts as alive
EVERY = 1.0  # seconds between two updates of the file for `workshop runs`
DRAWING_SHARE = 0.05  # of the driver's time: what drawing the figure may take
RECENT = 50  # results from which the speed is computed


class Progress:
    """Shows how far a scan is. `update` is called with each result, and once a second without one.

    folder: the folder of the run in progress, for `workshop runs`. figure: the file of --live, or None. labels, values:
    the coordinates of each hypothesis by its name.
    """

    def __init__(
        self,
        total: int,
        entries: dict[str, Entry],
        folder: Path,
        figure: Path | None,
        labels: list[str],
        values: dict[str, list],
    ) -> None:
        self.total, self.entries, self.folder, self.figure = total, entries, folder, figure
        self.labels, self.values = labels, values
        self.seen: dict[str, float] = {}  # when each worker sent its last result
        self.recent: deque[tuple[float, int]] = deque([(time.monotonic(), len(entries))], maxlen=RECENT)
        self.next_file = self.next_figure = 0.0

    def update(self, worker: str = "") -> None:
        """Show the entries so far. worker: who sent the last ones."""
        now, n = time.monotonic(), len(self.entries)
        if worker:
            self.seen[worker] = now
            self.recent.append((now, n))
        status = self.status(now)
        if sys.stderr.isatty():
            filled = BAR * n // self.total
            line = f"\r[{'#' * filled}{'.' * (BAR - filled)}] {status_line(status)}\x1b[K"
            print(line, end="\n" if n == self.total else "", file=unfiltered(sys.stderr), flush=True)
        if now >= self.next_file:
            self.next_file = now + EVERY
            with suppress(OSError):  # on a full disk, for instance: the scan itself needs no such file
                write_atomic(self.folder / PROGRESS, json.dumps(status | {"text": status_line(status)}).encode())
        if self.figure and (now >= self.next_figure or n == self.total):
            self.draw(self.figure)

    def status(self, now: float) -> dict:
        """How many hypotheses are done, of how many; by how many workers, at which speed; and how long the rest takes."""
        (first_time, first_n), n = self.recent[0], len(self.entries)
        per_second = (n - first_n) / max(now - first_time, 1e-9)
        return {
            "done": n,
            "total": self.total,
            "workers": sum(now - seen < ALIVE for seen in self.seen.values()),
            "per_hour": round(3600 * per_second),
            "seconds_left": round((self.total - n) / per_second) if per_second > 0 else None,
        }

    def draw(self, figure: Path) -> None:
        """Draw the contour of the entries so far."""
        start = time.monotonic()
        converged = [
            entry | {"labels": dict(zip(self.labels, self.values[name], strict=True))}
            for name, entry in list(self.entries.items())
            if entry["converged"]
        ]
        if len(converged) > 2:
            search.draw_contour(
                figure, self.labels, converged, f"{len(self.entries)} of {self.total} hypotheses", vector=False
            )
        end = time.monotonic()
        self.next_figure = end + (end - start) / DRAWING_SHARE

    def close(self) -> None:
        """End the line of the bar, and remove the file for `workshop runs`, which is no part of the result."""
        if sys.stderr.isatty() and len(self.entries) < self.total:
            print(file=sys.stderr)
        (self.folder / PROGRESS).unlink(missing_ok=True)


def status_line(status: dict) -> str:
    """A line such as `50/125, 2 workers, 1200 an hour, 0:03:45 left`."""
    workers = f"{status['workers']} worker{'s' * (status['workers'] != 1)}"
    text = f"{status['done']}/{status['total']}, {workers}, {status['per_hour']} an hour"
    if status["seconds_left"] is not None:
        hours, rest = divmod(status["seconds_left"], 3600)
        text += f", {hours}:{rest // 60:02d}:{rest % 60:02d} left"
    return text
