"""`workshop watch`: after every save, run the checks again that it affects, show all results, and go on by itself."""

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
from workshop.checking.kept.results import KeptResults
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
OPEN_AT_LINE = ("nano", "vi", "vim", "nvim", "emacs", "emacsclient", "micro", "kak")  # editors that take `+12 FILE`
KEYS = "keys: h hint, l list, n next exercise, c check all, o open in your editor, q quit"


def main(which: str | None) -> int:
    """Check the starter of an exercise again whenever a file is saved, until the key q or Ctrl-C; returns 0.

    which: an exercise (`2`), a part (`5b`) or a check (`2.7`); default: the first exercise with a check that does not
    pass. When every check of it passes, the next unfinished exercise or part follows by itself, unless this one had
    passed before you named it.
    """
    if which is None:
        exercise = progress.first_unfinished()
        if exercise is None:
            report.print_text(route.as_typed_here(progress.next_step()))
            return 0
        target = Target(exercise, str(exercise.number))
    else:
        target = Target(exercises.find(check.number_in(which)), which)
        target.exercise.checks_of(which)  # raises WorkshopError if there is no such part
    stay = which is not None and progress.all_pass(target.exercise, which)
    go_on, clear = False, True  # after the first failure; the screen
    with Keys() as keys:
        while True:
            before_save = _snapshot(target.exercise)
            _begin(clear)
            failed, clear = _check(target, go_on, keys), True
            if "q" in keys.typed():  # all other keys that you typed while the checks ran are dropped
                return 0
            if following := _after_done(target, stay):
                target, go_on, clear = following, False, False
                continue
            _print_footer(target, keys)
            key = _wait(target, failed, before_save, keys)
            if key == "q":
                return 0
            go_on = key == "c"
            if key == "n":
                target, stay = target.following(), True


class Target:
    """What is watched: an exercise, or a part or a check of it, which is called `which`; and its earlier results."""

    def __init__(self, exercise: Exercise, which: str) -> None:
        self.exercise, self.which = exercise, which
        self.kept = KeptResults(exercise.workspace)

    @property
    def name(self) -> str:
        """As in `exercise 5`, `part 5b` or `check 5.7`."""
        kind = "check" if "." in self.which else "exercise" if self.which.isdecimal() else "part"
        return f"{kind} {self.which}"

    @property
    def title(self) -> str:
        """As in `exercise 5: The same environment in an image`."""
        part = self.exercise.settings.get("parts", {}).get(self.which, self.exercise.settings)
        return f"{self.name}: {one_line(part['title'])}"

    def following(self) -> Target:
        """The next part of the exercise, if this is one; otherwise the next exercise, or the first after the last."""
        parts = list(self.exercise.settings.get("parts", {}))
        if self.which in parts[:-1]:
            return Target(self.exercise, parts[parts.index(self.which) + 1])
        exercise = progress.after(self.exercise)
        return Target(exercise, str(exercise.number))

    def next_unfinished(self) -> Target | None:
        """The first unfinished part of the exercise, if this is one; otherwise the first unfinished exercise."""
        parts = self.exercise.settings.get("parts", {})
        for part in parts if self.which in parts else ():
            if not progress.all_pass(self.exercise, part):
                return Target(self.exercise, part)
        exercise = progress.first_unfinished()
        return Target(exercise, str(exercise.number)) if exercise else None


def _snapshot(exercise: Exercise) -> dict[str, tuple[int, int]]:
    """Modification time and size of every file of the starter, of its runs, and of the last commit of its repository."""
    folder, runs = exercise.workspace, Path("results") / exercise.folder.name
    paths = dict(list_files(folder))
    for base in (folder, exercise.folder.parent):
        paths |= {str(path): path for path in (base / runs).glob("*/run.json")}  # of a finished run: a check needs one
    paths[".git/logs/HEAD"] = folder / ".git" / "logs" / "HEAD"
    found = {}
    for name, path in paths.items():
        try:
            status = path.stat()
            found[name] = (status.st_mtime_ns, status.st_size)
        except OSError:
            pass  # being saved right now, or a broken link
    return found


def _begin(clear: bool) -> None:
    if clear and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        print("\x1b[2J\x1b[3J\x1b[H", end="", file=unfiltered(sys.stdout))
    elif clear:
        print(f"--- {time.strftime('%H:%M:%S')}")


def _check(target: Target, go_on: bool, keys: Keys) -> Result | None:
    """Run the checks that a save affects, and print all results; returns the first that failed.

    Hints are for the key h; where there are no keys, the first one is printed at once.
    """
    with _problems_printed():
        rows = check.run(target.which, None, go_on=go_on, hints=0 if keys.available else 1, kept=target.kept)
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


def _after_done(target: Target, stay: bool) -> Target | None:
    """If every check passes, print so; returns the next unfinished exercise or part, unless the learner stays here."""
    with _problems_printed():
        if progress.all_pass(target.exercise, target.which):
            whole = target.which == str(target.exercise.number)
            line = progress.done(target.exercise) if whole else f"{target.name} is done"
            report.print_text(route.as_typed_here(line))
            if not stay and (following := target.next_unfinished()):
                report.print_text(f"\ngoing on to {following.title}\n")
                return following
    return None


def _print_footer(target: Target, keys: Keys) -> None:
    with _problems_printed():
        report.print_text(progress.summary())
    how = KEYS if keys.available else "press Ctrl-C to stop"
    report.print_text(f"watching {target.exercise.workspace.name}/ of {target.name}; {how}")


def _wait(target: Target, failed: Result | None, before_save: dict[str, tuple[int, int]], keys: Keys) -> str:
    """Wait for a save, or for the key n, c or q, which is returned. The other keys of KEYS are obeyed meanwhile."""
    while _snapshot(target.exercise) == before_save:
        until = time.monotonic() + POLL_INTERVAL
        while time.monotonic() < until:
            for key in keys.typed():
                if key in "ncq":
                    return key
                with keys.paused():
                    _obey(key, target, failed)
            time.sleep(KEY_INTERVAL)
    before = None
    while before != (before := _snapshot(target.exercise)):
        time.sleep(SETTLE_TIME)
    return ""


def _obey(key: str, target: Target, failed: Result | None) -> None:
    """Print a hint or the list, or open the file of the problem in an editor."""
    with _problems_printed():
        if key == "h":
            print()
            progress.hint(target.which, None, watching=True)
        elif key == "l":
            print()
            progress.show(as_json=False)
        elif key == "o":
            _open(target.exercise.workspace, failed)


def _open(folder: Path, failed: Result | None) -> None:
    """Open the file of the first failure in VS Code, if this is a terminal in it, else in $VISUAL or $EDITOR."""
    place = check.place_of(folder, failed.looked_at) if failed else None
    path, line = place or (folder / "pixi.toml", 1)
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    try:
        command = shlex.split(editor)
    except ValueError:  # a quote that is not closed
        command = []
    if os.environ.get("TERM_PROGRAM") == "vscode" and (code := shutil.which("code")):
        words = [code, "--goto", f"{path}:{line}"]
    elif command and shutil.which(command[0]):
        at = [f"+{line}"] if Path(command[0]).stem in OPEN_AT_LINE else []
        words = [*command, *at, str(path)]
    else:
        found = f"{editor}, which is not installed" if editor else "no variable VISUAL or EDITOR"
        report.print_text(
            f"\nno editor: {found}; set it before `watch`, as in VISUAL=nano, or open {shell.relative(path)}"
        )
        return
    subprocess.run(words, check=False)
