"""The command `workshop new`: what it refuses, and the new folder, which is complete or not there at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from workshop import shell
from workshop.errors import WorkshopError
from workshop.new import files, recipe, workspace
from workshop.new.recipe import Names, Recipe
from workshop.support.files import umask


def main(folder: str, number: int, name: str | None) -> int:
    """Make the project `folder` from exercise `number` and print what to type there; 0.

    Raises WorkshopError, and leaves nothing behind, if the folder or the name is not possible.
    """
    chosen = recipe.read(number)
    target = require_free(folder, chosen)
    option = f"--name {name}" if name is not None else f"of the folder {target.name}; --name gives another one"
    names = recipe.names_for(target.name if name is None else name, chosen, option)
    write(target, chosen, names)
    task = workspace.task_of(chosen)
    print(
        f"{shell.relative(target)}: the project {names.project}, from exercise {number}; its package is {names.package}"
    )
    print(f"next:      cd {shell.quoted(target)}")
    print(f"           pixi run {task}  # then: pixi run test; README.md there lists the commands without Pixi")
    return 0


def require_free(folder: str, chosen: Recipe) -> Path:
    """The folder for the project. Raises WorkshopError if it is not empty, inside the clone or not possible."""
    number, expected = chosen.exercise.number, "a new or empty folder outside this clone"
    again = f"workshop new {shell.word(str(Path(os.path.relpath(chosen.root.parent)) / 'my-project'))} --from {number}"

    def refuse(looked_at: object, found: str) -> WorkshopError:
        return WorkshopError(looked_at=looked_at, expected=expected, found=found, next_step=again)

    try:
        target = Path(folder).expanduser().resolve()
        if target.is_relative_to(chosen.root.resolve()):
            raise refuse(target, "a folder inside the clone, whose git would take it for a part of the tutorial")
        if target == Path.cwd():
            raise refuse(target, "the current folder, which the new one would replace")
        if target.is_dir() and (inside := sorted(path.name for path in target.iterdir())):
            raise refuse(target, f"a folder with {inside[0]} in it")
        if target.exists() and not target.is_dir():
            raise refuse(target, "a file of that name")
        if not target.parent.is_dir():
            raise refuse(target.parent, "no such folder")
    except (RuntimeError, OSError, ValueError) as error:  # no such user, a loop of links, a zero byte, no permission
        raise refuse(f"the folder {folder!r}", getattr(error, "strerror", None) or str(error)) from None
    return target


def write(target: Path, chosen: Recipe, names: Names) -> None:
    """Write all files into a folder beside `target`, and rename it at the end. Raises WorkshopError if it cannot."""
    temporary = target
    try:
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        for path, content in files.project(chosen, names).items():
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            (temporary / path).write_bytes(content)
        workspace.write_lock(temporary, chosen)
        for script in temporary.rglob("*.sh"):
            script.chmod(script.stat().st_mode | 0o111)
        temporary.chmod(0o777 & ~umask())  # mkdtemp creates folders that only their owner can read
        if target.exists():
            target.rmdir()  # empty; not every system replaces it on rename
        temporary.rename(target)
    except OSError as error:
        raise WorkshopError(
            looked_at=error.filename or target.parent,
            expected="a folder in which you can write, on a disk with free space",
            found=error.strerror or str(error),
            next_step=f"workshop new DIR --from {chosen.exercise.number}, with another folder",
        ) from error
    finally:
        if temporary != target:
            shutil.rmtree(temporary, ignore_errors=True)
