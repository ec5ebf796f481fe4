"""`workshop reset N` restores the starter as it was shipped; `workshop diff N` compares yours with the solution.

exercise.toml contains the sha256 of each shipped file, and the file itself is found in the history of the checkout, so
this also works after you have committed your changes.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from workshop import exercises, shell
from workshop.checking import progress
from workshop.checking.steps import continuation
from workshop.errors import WorkshopError
from workshop.exercises import Exercise
from workshop.support.files import list_files, open_regular, read_text, sha256_of, write_atomic
from workshop.support.terminal import one_line, printable, unfiltered


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


def reset(number: int, yes: bool, source: str | None = None) -> int:
    """Restore the starter as it was shipped, after a copy of its files; return the exit code.

    The copy is complete before the first file changes, and each file moves into it before the shipped one takes its
    place. If this is killed, or a file is saved meanwhile, nothing is lost, and the same command continues. source: a
    workspace of the earlier exercise, from which this starter continues. Raises WorkshopError if that workspace does not
    pass its checks, or if confirmation is needed and there is no terminal.
    """
    exercise = exercises.find(number)
    folder = exercise.folder / "starter"
    base = continuation.base_lock(exercise)
    if source is None and is_as_shipped(exercise):
        base.unlink(missing_ok=True)
        print(f"{shell.relative(folder)} is as it was shipped: nothing to do")
        _point_to_own_workspace(exercise)
        return 0
    content, current = shipped_files(exercise), list_files(folder)
    if source is not None:
        content |= continuation.files_from(exercise, source, content)
    differ = [name for name, path in current.items() if name not in content or content[name] != _read_bytes(path)]
    names = ", ".join(differ + sorted(content.keys() - current.keys()))
    print(f"to be restored in {shell.relative(folder)}: {one_line(names)}")
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
    backup = _back_up(exercise, current)
    if current:
        print(f"your version: {shell.relative(backup)}")
    if folder.is_symlink():
        _set_aside(folder, backup / folder.name)
    for name in differ:
        _set_aside(folder / name, backup / name)
    for name, text in content.items():
        _restore(folder, name, text, backup)
    if source is not None:
        write_atomic(base, content["pixi.lock"])
        print(f"{shell.relative(folder)} continues from your workspace, with a current JAX added to its manifest")
        print(f"next:      {shell.in_folder(folder, 'pixi lock')}  # adds the packages of JAX, and keeps all others")
        return 0
    base.unlink(missing_ok=True)
    if is_as_shipped(exercise):
        print(f"{shell.relative(folder)} is as it was shipped")
    else:
        print(f"{shell.relative(folder)} is as it was shipped, except for what was saved there in the meantime")
    _point_to_own_workspace(exercise)
    return 0


def _point_to_own_workspace(exercise: exercises.Exercise) -> None:
    """Print where the learner's work is, in an exercise whose workspace is not the starter."""
    if exercise.workspace.name == "starter":
        return
    workspace = shell.relative(exercise.workspace)
    if exercise.workspace.is_dir():
        print(f"your own work is in {workspace}, which this command does not change: remove that folder to start over")
    else:
        print(f"you work in {workspace}, which does not exist yet: README.md of the exercise describes how to make it")


def _restore(folder: Path, name: str, content: bytes, backup: Path) -> None:
    """Write one file of the shipped starter. Whatever is in its way, such as a link, moves into the copy."""
    path = folder / name
    for place in (folder, *(folder / parent for parent in reversed(path.relative_to(folder).parents[:-1]))):
        if place.is_symlink() or not place.is_dir():
            _set_aside(place, backup / place.relative_to(folder.parent))
            place.mkdir(parents=True)
    while path.is_symlink() or _read_bytes(path) != content:
        _set_aside(path, backup / name)
        try:
            with open(path, "xb") as file:
                file.write(content)
        except FileExistsError:  # it was saved at this moment
            continue
    if content.startswith(b"#!") and name.endswith((".sh", ".py")) and not path.stat().st_mode & 0o100:
        path.chmod(0o755)  # executable, as in git


def _set_aside(path: Path, kept: Path) -> None:
    """Move a file into the copy of the learner's version, in one step, so that the copy contains its last save."""
    if not os.path.lexists(path):
        return
    number, target = 1, kept
    while target.is_dir() or (path.is_dir() and os.path.lexists(target)):
        number += 1
        target = kept.with_name(f"{kept.name}-{number}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(path, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        aside = path.with_name(f".{path.name}.{os.getpid()}")  # .workshop is on another disk
        os.replace(path, aside)
        shutil.move(aside, target)


def _read_bytes(path: Path) -> bytes | None:
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError:  # a broken link, a folder, a pipe
        return None


def _back_up(exercise: Exercise, files: dict[str, Path]) -> Path:
    """Make a dated copy of the files, complete or not at all; return its folder."""
    backups = exercise.folder.parent / ".workshop" / "backups"
    stem = f"{exercise.folder.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    number = 1
    while (final := backups / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    partial = final.with_name(f"{final.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    for name, path in files.items():
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or path.is_file():  # else a pipe or a socket, or it has just been removed
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
    mine, solution = list_files(exercise.workspace), list_files(exercise.folder / "solution")
    root = exercise.folder.parent.resolve()
    mine = {name: path for name, path in mine.items() if path.is_file() and path.resolve().is_relative_to(root)}
    same = True
    for name in sorted(mine.keys() & solution.keys()):
        if name.endswith(".lock"):
            continue  # thousands of lines that no person has written
        texts = _read_lines(mine[name]), _read_lines(solution[name])
        for line in difflib.unified_diff(
            *texts, fromfile=f"{exercise.workspace.name}/{name}", tofile=f"solution/{name}", lineterm=""
        ):
            print(_coloured(printable(line)), file=unfiltered(sys.stdout))
            same = False
    if same:
        print("no difference")
    return 0


def _read_lines(path: Path) -> list[str]:
    return read_text(path).splitlines()


def _coloured(line: str) -> str:
    """The line in green, red or cyan on a terminal, unless NO_COLOR is set."""
    colour = {"+": "32", "-": "31", "@": "36"}.get(line[:1])
    if colour is None or not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return line
    return f"\x1b[{colour}m{line}\x1b[0m"
