"""What an exercise contributes to a project, and the names of the project."""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from workshop import exercises, shell
from workshop.errors import WorkshopError
from workshop.exercises import Exercise

# Names of other packages that the scripts, the tests or the jobs of a project import or use.
TAKEN = frozenset(
    "conftest filelock flax histfactory jax jaxlib jobs jsonpatch matplotlib numpy optax packaging pip pixi "
    "pixi_workspace platformdirs pooch pytest requests results rich rocrate safetensors scipy sklearn test tests torch "
    "torchvision workshop yaml".split()
)


@dataclass(frozen=True)
class Recipe:
    """What `[new]` in an exercise.toml lists. Paths are relative to the exercise's `solution/`.

    scripts: the first one is what `train` (or the task that runs it), the image and the jobs run. cpu, gpu: names of
    environments; gpu is empty if the exercise has none. tests, data: further files to copy.
    """

    exercise: Exercise
    scripts: tuple[Path, ...]
    cpu: str
    gpu: str
    tests: tuple[Path, ...]
    data: tuple[Path, ...]

    @property
    def solution(self) -> Path:
        return self.exercise.folder / "solution"

    @property
    def root(self) -> Path:
        return self.exercise.folder.parent


def read(number: int) -> Recipe:
    """The recipe of exercise `number`. Raises WorkshopError if there is no such exercise, or no project to make of it."""
    known = {exercise.number: exercise for exercise in exercises.find_all(exercises.root_folder())}
    possible = [str(n) for n, exercise in known.items() if "new" in exercise.settings]
    if number not in known:
        raise WorkshopError(
            looked_at=f"--from {number}",
            expected=f"the number of an exercise: {', '.join(possible)}",
            found="no exercise of that number",
            next_step=f"workshop new DIR --from {min(possible, key=lambda n: abs(int(n) - number), default='2')}",
        )
    exercise = known[number]
    solution, table = exercise.folder / "solution", exercise.settings.get("new")
    if table is None or not (solution / "pixi.toml").is_file():
        missing = "its solution has no manifest" if solution.is_dir() else "it has no solution"
        raise WorkshopError(
            looked_at=f"--from {number}",
            expected=f"an exercise whose solution is a workspace: {', '.join(possible) or 'none here'}",
            found=f"{exercise.folder.name}: {missing}"
            + (" of its own; its image and its jobs are part of every new project" if solution.is_dir() else ""),
            next_step=f"workshop new DIR --from {possible[-1] if possible else 2}",
        )
    paths = {
        key: tuple((solution / name).resolve() for name in table.get(key, ())) for key in ("scripts", "tests", "data")
    }
    return Recipe(exercise, cpu=table["cpu"], gpu=table.get("gpu", ""), **paths)


@dataclass(frozen=True)
class Names:
    """project: as in `my-classifier`. package: the name to import, as in `my_classifier`."""

    project: str
    package: str

    @property
    def variable(self) -> str:
        """The beginning of the names of its environment variables, as in MY_CLASSIFIER."""
        return self.package.upper()


def names_for(text: str, recipe: Recipe, option: str) -> Names:
    """The names of a project that is called `text`. Raises WorkshopError if Python could not import its package.

    option: where the name comes from, for the message.
    """
    project = re.sub(r"[-_.\s]+", "-", text).strip("-").lower()
    package = project.replace("-", "_")
    problem = None
    if not re.fullmatch(r"[a-z][a-z0-9_]*", package):
        problem = (
            "Python could not import a package of that name: it takes letters a to z, digits and -, a letter first"
        )
    elif keyword.iskeyword(package) or keyword.issoftkeyword(package):
        problem = f"{package} is a keyword of Python"
    elif package in sys.stdlib_module_names:
        problem = f"{package} is a module of Python's standard library"
    elif package in TAKEN | {script.stem for script in recipe.scripts}:
        problem = f"{package} is the name of a module or folder that the project needs"
    if problem:
        raise WorkshopError(
            looked_at=f"the name of the project ({option})",
            expected="a name that can also be that of a Python package, such as my-classifier",
            found=f"{text!r}: {problem}",
            next_step=f"workshop new DIR --from {recipe.exercise.number} --name {shell.word(suggestion(package))}",
        )
    return Names(project, package)


def suggestion(package: str) -> str:
    """A name that is possible, similar to one that is not."""
    words = [word for word in re.split(r"[^a-z0-9]+", package) if word]
    return "-".join(["my", *words]) if words else "my-project"
