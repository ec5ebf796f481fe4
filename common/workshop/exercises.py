"""The exercises of this checkout: folders, settings from `exercise.toml`, and checks from `checks.py`."""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from workshop import shell
from workshop.errors import WorkshopError
from workshop.support import files

LEFT_BEHIND = 2 * 86400  # seconds after which no check can still use its folder
CACHE_NAME = "reproducible-ml-workflows"  # as in workshop.runs.data

LARGEST = 8 * 2**20  # bytes of exercise.toml and checks.py
# The tables and entries of exercise.toml that the commands need, with their types.
REQUIRED = {"title": str, "environments": list, "starter_fails_at": str, "starter": dict}
REQUIRED_TO_RUN = {
    "script": str,
    "arguments": list,
    "metric": str,
    "at_least": (int, float),
}  # in the table check_all, if any


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

    @property
    def workspace(self) -> Path:
        """The folder in which the learner works: `starter`, unless exercise.toml names one that the learner makes."""
        return self.folder / self.settings.get("workspace", "starter")

    @cached_property
    def checks(self) -> tuple[Any, ...]:
        """The checks in its checks.py (`workshop.checking.Check`). Raises WorkshopError if that file is broken."""
        path = self.folder / "checks.py"
        try:
            _require_file(path)
            found = tuple(load_module(path, f"checks_of_exercise_{self.number}").CHECKS)
            if not found or not all(hasattr(check, "requirement") for check in found):
                raise TypeError("CHECKS is not a list of Check")
            return found
        except ModuleNotFoundError:
            raise  # of a package that this environment lacks
        except (Exception, SystemExit) as error:
            raise WorkshopError(
                looked_at=path,
                expected="a Python file with the list CHECKS",
                found=f"{type(error).__name__}: {error}",
                next_step=f"git diff -- {shell.quoted(path)}",
            ) from error

    def checks_of(self, which: str) -> tuple[Any, ...]:
        """The checks that `which` names: all (`5`), those of a part of the exercise (`5b`), or one (`5.7`).

        Raises WorkshopError if there is no such check or part.
        """
        parts: dict[str, dict[str, Any]] = self.settings.get("parts", {})
        listed = parts[which]["checks"] if which in parts else [which]
        chosen = tuple(check for check in self.checks if which == str(self.number) or check.number in listed)
        if not chosen:
            raise WorkshopError(
                looked_at="the number of the check",
                expected=f"one of {', '.join([*parts, *(check.number for check in self.checks)])}",
                found=which,
                next_step=f"workshop check {self.number}",
            )
        return chosen


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
            settings = _read_settings(path)
        except (ValueError, OSError) as error:
            raise WorkshopError(
                looked_at=path,
                expected="a TOML file that can be read",
                found=getattr(error, "strerror", None) or str(error),
                next_step=f"git diff -- {shell.quoted(path)}",
            ) from error
        exercises.append(Exercise(number, path.parent, settings))
    return sorted(exercises, key=lambda exercise: exercise.number)


def _require_file(path: Path) -> None:
    """Raise ValueError for a pipe or a device, which might never end, for a file of more than LARGEST bytes, and for a
    link to another kind of file, whose content no message may quote.
    """
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise ValueError(f"not a file of at most {LARGEST // 2**20} MiB")
    if path.resolve().suffix != path.suffix:
        raise ValueError("a link to another kind of file")


def _read_settings(path: Path) -> dict[str, Any]:
    """The content of an exercise.toml. Raises ValueError or OSError if it cannot be used."""
    _require_file(path)
    settings = files.read_toml(path)
    tables = [("", settings, REQUIRED)]
    if "check_all" in settings:
        tables.append(("check_all.", settings["check_all"], REQUIRED_TO_RUN))
    for prefix, table, required in tables:
        for key, kind in required.items():
            if not isinstance(table, dict) or not isinstance(table.get(key), kind):
                raise ValueError(f"no {prefix}{key}, or one of another type")
    if not re.fullmatch(r"\w+", str(settings.get("workspace", "starter"))):
        raise ValueError("a workspace that is not the name of a folder")
    for name, sha256 in settings["starter"].items():
        parts = name.replace("\\", "/").split("/")
        if not isinstance(sha256, str) or {"", ".", ".."} & set(parts) or ":" in parts[0]:
            raise ValueError(f"{name!r} in [starter], which is not a file of the starter")
    return settings


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
    here = shell.current_folder()
    for folder in (*([here, *here.parents] if here else []), Path(__file__).resolve().parents[2]):
        if any(folder.glob("exercise-[0-9]*/exercise.toml")):
            return folder
    raise WorkshopError(
        looked_at=here or "the current folder, which was removed",
        expected="the workshop's folders exercise-1-... to exercise-5-...",
        found="none",
        next_step="cd to your clone of the workshop",
    )


def scratch_root() -> Path:
    """The folder for files of running checks: `scratch` in the cache of the workshop ($WORKSHOP_CACHE, or the user's).

    A system cleans up its folder for temporary files from time to time, also in the middle of a check. That folder is
    used only if the cache cannot be written. What a check that was killed has left here is removed after two days.
    """
    from platformdirs import user_cache_path

    try:
        folder = Path(os.environ.get("WORKSHOP_CACHE") or user_cache_path(CACHE_NAME, appauthor=False)) / "scratch"
        if folder.is_absolute():  # older releases of platformdirs return `~/.cache` where no home folder is known
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                for path in folder.iterdir():
                    if time.time() - path.stat().st_mtime > LEFT_BEHIND:
                        files.remove_folder(path)
                return folder
    except (OSError, RuntimeError):
        pass
    return Path(tempfile.gettempdir())
