"""`workshop watch`: run the checks again after every save, show the last result, and go on to the next exercise."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workshop import exercises, route, shell
from workshop.checking import check, progress
from workshop.checking.checks import Result
from workshop.errors import has_four_parts, message_of
from workshop.exercises import Exercise
from workshop.support import report
from workshop.support.files import list_files
from workshop.support.keys import Keys
from workshop.support.terminal import one_line, unfiltered

# Seconds between two looks at the files: file events do not work on network disks and in containers.
POLL_INTERVAL = 0.5
KEY_INTERVAL = 0.05  # seconds between two looks at the keyboard
SETTLE_TIME = 0.3  # seconds without a change before a save counts as complete: editors write in several steps
KEYS = "keys: h hint, l list, n next exercise, c check all, o open in your editor, q quit"


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


def main(number: int | None) -> int:
    """Check the starter of an exercise again whenever a file is saved, until the key q or Ctrl-C; returns 0.

    number: default: the first exercise with a check that does not pass. When every check of an exercise passes, the
    next unfinished one follows by itself, unless this one had passed before you named it.
    """
    exercise = exercises.find(number) if number is not None else progress.first_unfinished()
    if exercise is None:
        report.print_text(route.as_typed_here(progress.next_step()))
        return 0
    stay = number is not None and progress.all_pass(exercise)
    go_on, clear = False, True  # after the first failure; the screen
    with Keys() as keys:
        while True:
            before_save = _snapshot(exercise.workspace)
            _begin(clear)
            failed, clear = _check(exercise, go_on), True
            if "q" in keys.typed():  # all other keys that you typed while the checks ran are dropped
                return 0
            if following := _after_done(exercise, stay):
                exercise, go_on, clear = following, False, False
                continue
            _print_footer(exercise, keys)
            key = _wait(exercise, failed, before_save, keys)
            if key == "q":
                return 0
            go_on = key == "c"
            if key == "n":
                exercise, stay = progress.after(exercise), True


def _begin(clear: bool) -> None:
    if clear and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        print("\x1b[2J\x1b[3J\x1b[H", end="", file=unfiltered(sys.stdout))
    elif clear:
        print(f"--- {time.strftime('%H:%M:%S')}")


def _check(exercise: Exercise, go_on: bool) -> Result | None:
    """Run the checks and print their results; returns the first that failed."""
    with _problems_printed():
        rows = check.run(str(exercise.number), None, go_on=go_on)
        return next((result for _, result in rows if result.status == "fail"), None)
    return None


@contextmanager
def _problems_printed() -> Iterator[None]:
    """Print a problem with the files instead of ending: a folder that has just been removed may come back."""
    try:
        yield
    except Exception as error:
        if not (has_four_parts(error) or isinstance(error, OSError)):
            raise
        text = message_of(error) if has_four_parts(error) else f"found: {error}"
        print(route.as_typed_here(text), file=sys.stderr)


def _after_done(exercise: Exercise, stay: bool) -> Exercise | None:
    """If every check passes, print so; returns the next unfinished exercise, unless the learner stays with this one."""
    with _problems_printed():
        if progress.all_pass(exercise):
            report.print_text(route.as_typed_here(progress.done(exercise)))
            if not stay and (following := progress.first_unfinished()):
                title = one_line(following.settings["title"])
                report.print_text(f"\ngoing on to exercise {following.number}: {title}\n")
                return following
    return None


def _print_footer(exercise: Exercise, keys: Keys) -> None:
    with _problems_printed():
        report.print_text(progress.summary())
    how = KEYS if keys.available else "press Ctrl-C to stop"
    report.print_text(f"watching {exercise.workspace.name}/ of exercise {exercise.number}; {how}")


def _wait(exercise: Exercise, failed: Result | None, before_save: dict[str, tuple[int, int]], keys: Keys) -> str:
    """Wait for a save, or for the key n, c or q, which is returned. The other keys of KEYS are obeyed meanwhile."""
    folder = exercise.workspace
    while _snapshot(folder) == before_save:
        until = time.monotonic() + POLL_INTERVAL
        while time.monotonic() < until:
            for key in keys.typed():
                if key in "ncq":
                    return key
                with keys.paused():
                    _obey(key, exercise, failed)
            time.sleep(KEY_INTERVAL)
    before = None
    while before != (before := _snapshot(folder)):
        time.sleep(SETTLE_TIME)
    return ""


def _obey(key: str, exercise: Exercise, failed: Result | None) -> None:
    """Print a hint or the list, or open the file of the problem in an editor."""
    with _problems_printed():
        if key == "h":
            print()
            progress.hint(str(exercise.number), None)
        elif key == "l":
            print()
            progress.show(as_json=False)
        elif key == "o":
            _open(exercise.workspace, failed)


def _open(folder: Path, failed: Result | None) -> None:
    """Open the file of the first failure in VS Code, if this is a terminal in it, else in $VISUAL or $EDITOR."""
    place = check.place_of(folder, failed.looked_at) if failed else None
    path, line = place or (folder / "pixi.toml", 1)
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    if os.environ.get("TERM_PROGRAM") == "vscode" and (code := shutil.which("code")):
        words = [code, "--goto", f"{path}:{line}"]
    elif editor and shutil.which(shlex.split(editor)[0]):
        words = [*shlex.split(editor), str(path)]
    else:
        found = f"{editor}, which is not installed" if editor else "no variable VISUAL or EDITOR"
        report.print_text(
            f"\nno editor: {found}; set it before `watch`, as in VISUAL=nano, or open {shell.relative(path)}"
        )
        return
    subprocess.run(words, check=False)
