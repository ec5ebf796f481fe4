"""`workshop reset N` restores the starter as it was shipped; `workshop diff N` compares yours with the solution.

exercise.toml contains the sha256 of each shipped file, and the file itself is found in the history of the checkout, so
this also works after you have committed your changes.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from workshop import exercises, shell
from workshop.checking import progress
from workshop.errors import WorkshopError
from workshop.exercises import Exercise
from workshop.support.files import list_files, sha256_of, write_atomic


def is_as_shipped(exercise: Exercise) -> bool:
    """Whether every file of the starter is as it was shipped."""
    files = list_files(exercise.folder / "starter")
    try:
        return {name: sha256_of(path) for name, path in files.items()} == exercise.settings["starter"]
    except OSError:
        return False


def shipped_files(exercise: Exercise) -> dict[str, bytes]:
    """The content of the shipped starter, by file: from the starter itself, or from the history of the checkout.

    Raises WorkshopError if a file is in neither.
    """
    return {name: shipped_file(exercise, name) for name in exercise.settings["starter"]}


def shipped_file(exercise: Exercise, name: str) -> bytes:
    """The content of one file of the shipped starter. Raises WorkshopError as `shipped` does."""
    sha256 = exercise.settings["starter"][name]
    versions = _versions(exercise.folder, f"starter/{name}")
    found = next((text for text in versions if hashlib.sha256(text).hexdigest() == sha256), None)
    if found is None:
        raise WorkshopError(
            looked_at=f"{exercise.folder / 'starter' / name}, as it was shipped",
            expected="a version of it in the history of this checkout",
            found="none with the sha256 in exercise.toml (no git, or not a clone)",
            next_step=f"clone the workshop again, next to this clone, and copy {exercise.folder.name}/starter from there",
        )
    return found


def _versions(folder: Path, name: str) -> Iterator[bytes]:
    """Versions of a file of an exercise, most likely first: on disk, in the last commit, in earlier commits."""
    if (content := _read_bytes(folder / name)) is not None:
        yield content
    history = (shell.git(folder, "log", "--all", "--format=%H", "--", name) or "").split()
    for commit in ("HEAD", "@{upstream}", *history):
        if content := shell.git_bytes(folder, "show", f"{commit}:./{name}"):
            yield content


def reset(number: int, yes: bool) -> int:
    """Restore the starter as it was shipped, after a copy of its files; return the exit code.

    The copy is complete before the first file changes, and each file is replaced in one step. If this is killed,
    nothing is lost, and the same command continues. Raises WorkshopError if confirmation is needed and there is no
    terminal.
    """
    exercise = exercises.find(number)
    folder = exercise.folder / "starter"
    if is_as_shipped(exercise):
        print(f"{shell.relative(folder)} is as it was shipped: nothing to do")
        return 0
    content, current = shipped_files(exercise), list_files(folder)
    differ = [name for name, path in current.items() if content.get(name) != _read_bytes(path)]
    print(f"to be restored in {shell.relative(folder)}: {', '.join(differ + sorted(content.keys() - current.keys()))}")
    if not yes:
        if not sys.stdin.isatty():
            raise WorkshopError(
                looked_at="the terminal, to ask for confirmation",
                expected="a terminal, or the option --yes",
                found="no terminal",
                next_step=f"workshop reset {number} --yes",
            )
        try:
            answer = input("Restore the starter? A copy of your version is kept. [y/N] ")
        except EOFError:  # Ctrl-D
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            print("nothing was changed")
            return 1
    if current:
        print(f"your version: {shell.relative(_back_up(exercise, current))}")
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / name, text)
        if text.startswith(b"#!") and name.endswith((".sh", ".py")) and not (folder / name).stat().st_mode & 0o100:
            (folder / name).chmod(0o755)  # executable, as in git
    for name in current.keys() - content.keys():
        (folder / name).unlink(missing_ok=True)
    print(f"{shell.relative(folder)} is as it was shipped")
    return 0


def _read_bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:  # a broken link, a socket
        return None


def _back_up(exercise: Exercise, files: dict[str, Path]) -> Path:
    """Make a dated copy of the files, complete or not at all; return its folder."""
    backups = exercise.folder.parent / ".workshop" / "backups"
    stem = f"{exercise.folder.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    number = 1
    while (final := backups / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    partial = final.with_name(f"{final.name}.{os.getpid()}.partial")
    for name, path in files.items():
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, partial / name, follow_symlinks=False)
    os.rename(partial, final)
    return final


def diff(number: int, spoil: bool) -> int:
    """Print the differences between the learner's files and the solution, once all checks pass (or with `spoil`)."""
    exercise = exercises.find(number)
    if not spoil and not progress.all_pass(exercise):
        raise WorkshopError(
            looked_at=f"the progress of exercise {number}",
            expected="all checks passed with the files as they are now",
            found="not yet, or the files have changed since",
            next_step=f"workshop check {number}  # or: workshop diff {number} --spoil",
        )
    mine, solution = list_files(exercise.folder / "starter"), list_files(exercise.folder / "solution")
    same = True
    for name in sorted(mine.keys() & solution.keys()):
        if name.endswith(".lock"):
            continue  # thousands of lines that no person has written
        texts = _read_lines(mine[name]), _read_lines(solution[name])
        for line in difflib.unified_diff(*texts, fromfile=f"starter/{name}", tofile=f"solution/{name}", lineterm=""):
            print(_coloured(line))
            same = False
    if same:
        print("no difference")
    return 0


def _read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _coloured(line: str) -> str:
    """The line in green, red or cyan on a terminal, unless NO_COLOR is set."""
    colour = {"+": "32", "-": "31", "@": "36"}.get(line[:1])
    if colour is None or not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return line
    return f"\x1b[{colour}m{line}\x1b[0m"
