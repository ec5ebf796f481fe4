"""`workshop progress` and `workshop hint`: results of the checks, and how many hints were printed.

A result is stored with the content that it belongs to: the sha256 over the files of the starter and the checks. It
counts only for that content: not after an edit or a `git pull`, but again if you undo the edit before the next check.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workshop import exercises, route, shell
from workshop.checking.checks import Check, Result
from workshop.errors import WorkshopError
from workshop.exercises import Exercise
from workshop.support import report
from workshop.support.files import list_files, read_bytes, sha256_of, write_atomic
from workshop.support.terminal import one_line

VERSION = 1
LARGE = 64 * 2**20  # bytes from which a file counts by its size and time: no exercise has such a file
# The entry of a check that has not run yet.
EMPTY_ENTRY = {"status": "not asked", "content": "", "hints": 0, "asked_since_hint": True}
STATUSES = ("ok", "fail", "skip", "not asked")


def _file(exercise: Exercise) -> Path:
    return exercise.folder.parent / ".workshop" / f"progress-{exercise.number}.json"


def content_hash(exercise: Exercise) -> str:
    """sha256 over everything that a result depends on: the files of the starter and the checks themselves."""
    digest = hashlib.sha256()
    files = list_files(exercise.workspace)
    files |= {f"../{path.name}": path for path in exercise.folder.glob("*checks.py")}
    for name, path in sorted(files.items()):
        try:
            status = path.stat()
            large = f"{status.st_size} bytes, {status.st_mtime_ns}" if status.st_size > LARGE else None
            digest.update(os.fsencode(f"{name}\0{large or sha256_of(path)}\n"))
        except OSError:
            digest.update(os.fsencode(f"{name}\0unreadable\n"))
    return digest.hexdigest()


def _is_valid(entry: Any) -> bool:
    """Whether an entry has the form that `record_results` and `hint` write."""
    return (
        isinstance(entry, dict)
        and entry.get("status") in STATUSES
        and isinstance(entry.get("content"), str)
        and entry.get("hints") in range(4)
        and isinstance(entry.get("asked_since_hint"), bool)
    )


def _read(exercise: Exercise) -> dict[str, dict[str, Any]]:
    """The entries by number of the check. Damaged ones are dropped, with one note."""
    path = _file(exercise)
    try:
        stored = json.loads(read_bytes(path))
        entries = stored["checks"] if stored["version"] == VERSION else {}
        valid = {number: entry for number, entry in entries.items() if _is_valid(entry)}
        damaged = len(valid) < len(entries)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        valid, damaged = {}, True
    if damaged:
        print(f"note: {shell.relative(path)} is damaged; the entries that cannot be read are dropped", file=sys.stderr)
    return valid


def _update(exercise: Exercise, change: Callable[[dict[str, dict[str, Any]]], None]) -> None:
    """Change the entries and write them, under a lock so that two terminals do not overwrite each other's entries.

    A file that cannot be written causes only a note: the result itself matters more.
    """
    from filelock import FileLock, Timeout

    path = _file(exercise)
    try:
        path.parent.mkdir(exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=10):
            entries = _read(exercise)
            change(entries)
            text = json.dumps({"version": VERSION, "checks": entries}, indent=1, sort_keys=True)
            write_atomic(path, f"{text}\n".encode())
    except (OSError, Timeout, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        print(f"note: {shell.relative(path)} could not be written ({reason})", file=sys.stderr)


def record_results(exercise: Exercise, rows: list[tuple[Check, Result]], content: str) -> None:
    """Store the results of the checks for `content`."""

    def change(entries: dict[str, dict[str, Any]]) -> None:
        for check, result in rows:
            entry = entries.get(check.number, EMPTY_ENTRY)
            entries[check.number] = entry | {"status": result.status, "content": content, "asked_since_hint": True}

    _update(exercise, change)


def current_status(exercise: Exercise) -> dict[str, str]:
    """For each check the result with the files as they are now (`ok`, `fail`, `skip`), `changed` or `not asked`."""
    entries, content = _read(exercise), content_hash(exercise)
    found = {}
    for check in exercise.checks:
        entry = entries.get(check.number, EMPTY_ENTRY)
        counts = entry["content"] == content or entry["status"] == "not asked"
        found[check.number] = entry["status"] if counts else "changed"
    return found


def all_pass(exercise: Exercise, which: str = "") -> bool:
    """Whether every check has passed with the files as they are now; one that needs Pixi may also be skipped.

    which: only the checks of this part, such as `5b`.
    """
    now = current_status(exercise)
    chosen = exercise.checks_of(which or str(exercise.number))
    return all(now[check.number] in (("ok", "skip") if check.needs_pixi else ("ok",)) for check in chosen)


def _all() -> list[Exercise]:
    return exercises.find_all(exercises.root_folder())


def first_unfinished() -> Exercise | None:
    """The first exercise with a check that does not pass with the files as they are now."""
    return next((exercise for exercise in _all() if not all_pass(exercise)), None)


def after(exercise: Exercise) -> Exercise:
    """The exercise with the next number, or the first one after the last."""
    found = _all()
    return next((other for other in found if other.number > exercise.number), found[0])


def done(exercise: Exercise) -> str:
    """The line about an exercise of which every check passes."""
    return f"exercise {exercise.number} is done; workshop diff {exercise.number} compares your files with the solution"


def next_step() -> str:
    """A line with the command that checks the first unfinished exercise."""
    exercise = first_unfinished()
    if exercise is None:
        return "next:      all exercises are done: workshop new ../my-project --from 2 makes a project of your own"
    return f"next:      workshop watch {exercise.number}  # {one_line(exercise.settings['title'])}"


def summary() -> str:
    """How many checks of all exercises pass, with a bar."""
    statuses = [status for exercise in _all() for status in current_status(exercise).values()]
    passed, room = sum(status == "ok" for status in statuses), 20
    filled = room * passed // max(len(statuses), 1)
    return f"{passed} of {len(statuses)} checks pass  [{'#' * filled}{'.' * (room - filled)}]"


def home() -> int:
    """Print what passes in every exercise, and the command to type next; returns 0."""
    show(as_json=False)
    report.print_text(route.as_typed_here(f"\n{next_step()}\nall commands: workshop --help"))
    return 0


def show(as_json: bool) -> int:
    """Print what passes in every exercise; returns 0."""
    rows = [(exercise, current_status(exercise)) for exercise in _all()]
    if as_json:
        listed = [{"exercise": e.number, "title": e.settings["title"], "checks": now} for e, now in rows]
        print(json.dumps({"exercises": listed}, indent=2))
        return 0
    marks = {"ok": "+", "fail": "x", "skip": "s", "changed": "?", "not asked": "."}
    longest = max((len(now) for _, now in rows), default=0)
    for exercise, now in rows:
        passed = sum(status == "ok" for status in now.values())
        line = "".join(marks[status] for status in now.values())
        title = one_line(exercise.settings["title"])
        report.print_text(f"{exercise.number}  {line:<{longest}}  {passed} of {len(now)}  {title}")
    report.print_text("\n+ passes   x fails   s skipped   ? edited since: check again   . not checked yet")
    return 0


def hint(which: str, level: int | None, watching: bool = False) -> int:
    """Print a hint for check `which` (`2.4`), or for the first check that fails of an exercise or a part; returns 0.

    which: the number of the check (`2.4`), of the exercise (`2`) or of the part (`5b`). watching: whether a save checks
    again, and a key prints the next hint.
    Each `workshop check` after a hint unlocks the next one; `level` prints up to that hint at once. Raises
    WorkshopError if there is no such exercise or check.
    """
    found = re.fullmatch(r"([0-9]+)(\.[0-9]+|[a-z])?\.?", which)
    if not found:
        raise WorkshopError(
            looked_at="the number of the exercise",
            expected="2, or 2.4 for one of its checks",
            found=repr(which),
            next_step="workshop hint 2",
        )
    number, rest = int(found[1]), found[2] or ""
    which = f"{number}{rest}"
    exercise = exercises.find(number)
    named = exercise.checks_of(which)
    now = current_status(exercise)
    check = named[0] if rest.startswith(".") else next((c for c in named if now[c.number] != "ok"), None)
    if check is None:
        done = f"all checks of exercise {which} pass; workshop diff {number} compares your files with the solution"
        report.print_text(route.as_typed_here(done))
        return 0
    chosen = check.number
    entry = _read(exercise).get(chosen, EMPTY_ENTRY)
    earned = entry["hints"] + (1 if entry["asked_since_hint"] else 0)
    shown = level or max(1, min(earned, len(check.hints)))
    report.print_text(f"{check.number}  {check.requirement}\n")
    for k, text in enumerate(check.hints[:shown], 1):
        report.print_text(f"hint {k}:  {text}")
    again = which if rest.isalpha() else number
    if watching:
        more = "the key h then prints the next hint" if shown < len(check.hints) else "there are no more hints"
        advice = f"edit the file and save it; {more}"
    elif shown < len(check.hints):
        advice = f"edit the file, then workshop check {again}; only after that check does workshop hint {again} print hint {shown + 1}"
    else:
        advice = f"workshop check {again}; there are no more hints: workshop diff {number} --spoil shows the solution"
    report.print_text(route.as_typed_here(f"\nnext:    {advice}"))

    def change(entries: dict[str, dict[str, Any]]) -> None:
        known = entries.get(chosen, EMPTY_ENTRY)
        entries[chosen] = known | {"hints": max(shown, known["hints"]), "asked_since_hint": False}

    _update(exercise, change)
    return 0
