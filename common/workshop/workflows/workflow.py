"""Parse a GitHub workflow: its jobs, their steps, and what a step does (tests, builds, runs or pushes an image)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from workshop.errors import WorkshopError
from workshop.support import files

LARGEST = 2**16  # bytes of a workflow; ours have a few thousand

# What the commands of a step do. Without its options, a command is `PROGRAM COMMAND`.
TESTS = re.compile(r"\bpytest\b|\bpixi run\b[^\n]*\s(?:test|check)[\w-]*|\bworkshop check\b")
BUILDS = re.compile(r"\b(?:docker|podman|buildah) (?:buildx )?(?:image )?(?:build|bud)\b|\bcontainer-build\b")
RUNS = re.compile(
    r"\b(?:docker|podman) (?:container )?run\b|\bapptainer (?:exec|run|test)\b|\bcontainer-(?:run|test)\b"
)
PUSHES = re.compile(
    r"\b(?:docker|podman|buildah) (?:image |manifest )?push\b|\bapptainer push\b|\boras push\b|\bskopeo copy\b"
)


class Mapping(dict[str, Any]):
    """A mapping of a YAML file, with the line in which it begins."""

    line = 0


class _Loader(yaml.BaseLoader):
    """Every value is text, as it is written. Other loaders take the key `on` for the value true."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Mapping:
        mapping = Mapping({str(key): value for key, value in super().construct_mapping(node, deep=True).items()})
        mapping.line = node.start_mark.line + 1
        return mapping


@dataclass(frozen=True)
class Step:
    """A step of a job. position: its index in the job."""

    file: str
    job: str
    position: int
    settings: Mapping

    @property
    def location(self) -> str:
        return f"{self.file}, line {self.settings.line}"

    @property
    def uses(self) -> str:
        """The action, such as actions/checkout@v4; empty for a step with commands."""
        return str(self.settings.get("uses", ""))

    @property
    def action(self) -> str:
        return self.uses.partition("@")[0].lower()

    @property
    def inputs(self) -> dict[str, str]:
        found = self.settings.get("with")
        return {key: str(value) for key, value in found.items()} if isinstance(found, dict) else {}

    @property
    def written_script(self) -> str:
        """The commands of the step as the file contains them; empty for an action."""
        return str(self.settings.get("run", ""))

    @cached_property
    def script(self) -> str:
        """The commands without comments, on one line each, with the values of `env`."""
        text = re.sub(r"(?m)^\s*#.*$", "", self.written_script).replace("\\\n", " ")
        variables = self.settings.get("env")
        for name, value in variables.items() if isinstance(variables, dict) else ():
            text = re.sub(rf"\$(?:{re.escape(name)}\b|\{{{re.escape(name)}\}})", lambda _, v=str(value): v, text)
        return text

    @property
    def builds_by_action(self) -> bool:
        return self.action == "docker/build-push-action"

    @property
    def tests(self) -> bool:
        return bool(TESTS.search(self.script))

    @property
    def builds(self) -> bool:
        return self.builds_by_action or bool(BUILDS.search(self.script))

    @property
    def runs_image(self) -> bool:
        return bool(RUNS.search(self.script))

    @property
    def pushes(self) -> bool:
        """Whether the step puts an image into a registry."""
        if self.builds_by_action:
            outputs = self.inputs.get("outputs", "")
            return self.inputs.get("push") == "true" or "push=true" in outputs or "type=registry" in outputs
        return bool(PUSHES.search(self.script)) or "--push" in self.script.split()


@dataclass(frozen=True)
class Job:
    """A job of a workflow. needs: the names of the jobs that must succeed before it starts."""

    name: str
    settings: Mapping
    needs: tuple[str, ...]
    steps: tuple[Step, ...]

    @property
    def pushes(self) -> bool:
        return any(step.pushes for step in self.steps)


@dataclass(frozen=True)
class Workflow:
    """A workflow. triggers: the names of the events that start it."""

    path: Path
    settings: Mapping
    jobs: tuple[Job, ...]

    @property
    def steps(self) -> Iterator[Step]:
        return (step for job in self.jobs for step in job.steps)

    @property
    def triggers(self) -> set[str]:
        events = self.settings.get("on", ())
        return {events} if isinstance(events, str) else set(events)

    def comes_before(self, first: Step, second: Step) -> bool:
        """Whether `first` must have succeeded before `second` starts: above it in its job, or in a job that it needs."""
        if first.job == second.job:
            return first.position < second.position
        jobs = {job.name: job for job in self.jobs}
        waiting, seen = [second.job], set()
        while waiting:
            name = waiting.pop()
            if name in seen or name not in jobs:
                continue
            seen.add(name)
            waiting += jobs[name].needs
        return first.job in seen


def find_workflow(folder: Path) -> Path | None:
    """The workflow of a folder: the first *.yml in it or in its .github/workflows that builds an image; None if none."""
    places = (folder, folder / ".github" / "workflows")
    found = [path for place in places for path in sorted((*place.glob("*.yml"), *place.glob("*.yaml")))]
    return next((path for path in found if BUILDS.search(text := _text(path)) or "build-push-action" in text), None)


def _text(path: Path) -> str:
    try:
        return files.read_bytes(path, LARGEST).decode("utf-8", "replace")
    except OSError:
        return ""


def read_workflow(path: Path) -> Workflow:
    """Raises WorkshopError if the file cannot be read or is not a workflow."""
    try:
        settings = yaml.load(files.read_bytes(path, LARGEST), _Loader)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except yaml.MarkedYAMLError as error:
        raise _invalid(path, error) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise _unreadable(path, getattr(error, "reason", None) or type(error).__name__) from error
    jobs = settings.get("jobs") if isinstance(settings, Mapping) else None
    if not isinstance(jobs, Mapping) or not all(isinstance(job, Mapping) for job in jobs.values()):
        raise _unreadable(path, "no jobs")
    return Workflow(path, settings, tuple(_job(path, str(name), job) for name, job in jobs.items()))


def _job(path: Path, name: str, settings: Mapping) -> Job:
    steps = settings.get("steps", [])
    if not isinstance(steps, list) or not all(isinstance(step, Mapping) for step in steps):
        raise _unreadable(path, f"steps of the job {name} that are not a list of steps")
    needs = settings.get("needs", ())
    needs = (needs,) if isinstance(needs, str) else tuple(map(str, needs))
    return Job(name, settings, needs, tuple(Step(path.name, name, k, step) for k, step in enumerate(steps)))


def _invalid(path: Path, error: yaml.MarkedYAMLError) -> WorkshopError:
    """The error for a file that is not YAML, with the text of the line."""
    line = error.problem_mark.line if error.problem_mark else 0
    text = "".join(_text(path).splitlines()[line : line + 1]).strip()
    return WorkshopError(
        looked_at=f"{path.name}, line {line + 1}",
        expected="valid YAML",
        found=(error.problem or "not YAML") + (f": {text}" if 0 < len(text) <= 80 else ""),
        next_step=f"compare the indentation of line {line + 1} with the lines above; only spaces, no tabs",
    )


def _unreadable(path: Path, found: str) -> WorkshopError:
    return WorkshopError(
        looked_at=path.name,
        expected=f"a GitHub workflow of at most {LARGEST // 1024} KiB, with jobs and their steps",
        found=found,
        next_step=f"correct {path.name}; exercise-5-container/solution/image.yml is an example",
    )
