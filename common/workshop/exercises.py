"""The exercises of this checkout: folders, settings from `exercise.toml`, and checks from `checks.py`."""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from workshop.errors import WorkshopError
from workshop.support import files

CACHE_NAME = "reproducible-ml-workflows"  # as in workshop.runs.data


def load_module(path: Path, name: str | None = None) -> ModuleType:
    """Load the Python file at `path` as a module. It need not be on sys.path."""
    spec = importlib.util.spec_from_file_location(name or path.stem, path)
    if spec is None or spec.loader is None:
        raise WorkshopError(
            looked_at=path, expected="a Python file", found="another kind of file", next_step=f"git checkout -- {path}"
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Exercise:
    """An exercise. settings: the content of its exercise.toml."""

    number: int
    folder: Path
    settings: dict[str, Any]

    @cached_property
    def checks(self) -> tuple[Any, ...]:
        """The checks in its checks.py (`workshop.checking.Check`)."""
        return tuple(load_module(self.folder / "checks.py", f"checks_of_exercise_{self.number}").CHECKS)


def find_all(root: Path) -> list[Exercise]:
    """All exercises, in the order of their numbers."""
    exercises = []
    for path in sorted(root.glob("exercise-[0-9]*/exercise.toml")):
        if not (name := re.fullmatch(r"exercise-(\d+)-.+", path.parent.name)):
            continue  # exercise-2b, exercise-2.orig: someone's copy
        number = int(name[1])
        if twin := next((other for other in exercises if other.number == number), None):
            advice = f"rename the copy so that it does not begin with exercise-{number}-"
            raise WorkshopError(
                looked_at=root,
                expected=f"one folder exercise-{number}-...",
                found=f"{twin.folder.name} and {path.parent.name}",
                next_step=advice,
            )
        try:
            settings = files.read_toml(path)
        except (ValueError, OSError) as error:
            raise WorkshopError(
                looked_at=path,
                expected="a TOML file that can be read",
                found=getattr(error, "strerror", None) or str(error),
                next_step=f"git diff -- {path}",
            ) from error
        exercises.append(Exercise(number, path.parent, settings))
    return sorted(exercises, key=lambda exercise: exercise.number)


def find(number: int) -> Exercise:
    """Exercise `number`. Raises WorkshopError, which lists the existing exercises, for any other number."""
    exercises = {exercise.number: exercise for exercise in find_all(root_folder())}
    if number not in exercises:
        nearest = min(exercises, key=lambda other: abs(other - number))
        raise WorkshopError(
            looked_at="the number of the exercise",
            expected=f"one of {', '.join(map(str, exercises))}",
            found=str(number),
            next_step=f"workshop check {nearest}  # {exercises[nearest].settings['title']}",
        )
    return exercises[number]


def root_folder() -> Path:
    """The root of the workshop that contains the current folder, otherwise of the one that contains this file."""
    for folder in (Path.cwd(), *Path.cwd().parents, Path(__file__).resolve().parents[2]):
        if any(folder.glob("exercise-[0-9]*/exercise.toml")):
            return folder
    raise WorkshopError(
        looked_at=Path.cwd(),
        expected="the workshop's folders exercise-1-... to exercise-5-...",
        found="none",
        next_step="cd to your clone of the workshop",
    )


def scratch_root() -> Path:
    """The folder for files of running checks: `scratch` in the cache of the workshop ($WORKSHOP_CACHE, or the user's).

    A system cleans up its folder for temporary files from time to time, also in the middle of a check. That folder is
    used only if the cache cannot be written.
    """
    from platformdirs import user_cache_path

    folder = Path(os.environ.get("WORKSHOP_CACHE") or user_cache_path(CACHE_NAME, appauthor=False)) / "scratch"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.gettempdir())
