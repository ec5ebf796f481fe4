"""`workshop watch N`: run the checks again after every save, and show the last result."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from workshop import exercises
from workshop.checking import check
from workshop.errors import has_four_parts, message_of
from workshop.support.files import list_files
from workshop.support.terminal import unfiltered

# Seconds between two looks at the files: file events do not work on network disks and in containers.
POLL_INTERVAL = 0.5
SETTLE_TIME = 0.3  # seconds without a change before a save counts as complete: editors write in several steps


def _snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Modification time and size of every file of the starter."""
    found = {}
    for name, path in list_files(folder).items():
        try:
            status = path.stat()
            found[name] = (status.st_mtime_ns, status.st_size)
        except OSError:
            pass  # being saved right now, or a broken link
    return found


def main(number: int) -> NoReturn:
    """Check the starter of exercise `number` again whenever a file is saved, until Ctrl-C."""
    folder = exercises.find(number).folder / "starter"
    while True:
        before_save = _snapshot(folder)
        if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            print("\x1b[2J\x1b[3J\x1b[H", end="", file=unfiltered(sys.stdout))
        else:
            print(f"--- {time.strftime('%H:%M:%S')}")
        try:
            check.main(str(number), None, go_on=False, as_json=False)
        except Exception as error:  # a folder that has just been removed may come back
            if not (has_four_parts(error) or isinstance(error, OSError)):
                raise
            print(message_of(error) if has_four_parts(error) else f"found: {error}", file=sys.stderr)
        print(f"watching {folder.name}/ of exercise {number}; press Ctrl-C to stop", flush=True)
        while _snapshot(folder) == before_save:
            time.sleep(POLL_INTERVAL)
        before = None
        while before != (before := _snapshot(folder)):
            time.sleep(SETTLE_TIME)
