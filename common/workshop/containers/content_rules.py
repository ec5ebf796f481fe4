"""Rules for what the last stage refers to and so must contain: the arguments in its labels, the scripts that it starts,
and the folders in PYTHONPATH."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from workshop.containers import dockerfile
from workshop.containers.dockerfile import Instruction, Step
from workshop.containers.images import Image, parse_copy
from workshop.support.rules import ADVICE, ERROR, Finding, Problem, Rule, findings_of

# A RUN with one of these commands may create any file.
MOST_ENTRIES = 100  # of PYTHONPATH that are looked at
_CREATES_FILES = re.compile(r"\b(git|curl|wget|tar|unzip|pip|uv|cp|mv|ln|rsync)\b")


def content_findings(image: Image) -> list[Finding]:
    """Findings about the labels of the last stage, about the scripts that it starts, and about its manifest."""
    scripts = findings_of(started_scripts(image), SCRIPT_RULES)
    return [*findings_of([image], LABEL_RULES), *scripts, *findings_of([image], MANIFEST_RULES)]


def record_findings(image: Image) -> list[Finding]:
    """A finding if the last stage lacks the manifest or the lock, whose sha256 the record of a run contains."""
    return [*findings_of([image], RECORD_RULES)]


def python_path_findings(image: Image) -> list[Finding]:
    """Findings about PYTHONPATH in the last stage."""
    return [*findings_of([image], PYTHON_PATH_RULES)]


def _empty_labels(image: Image) -> Iterator[Problem]:
    declared: set[str] = set()
    for step in _steps(image):
        if step.instruction.name == "ARG":
            declared |= {name for name, _ in dockerfile.pairs(step.instruction)}
        elif step.instruction.name == "LABEL":
            used = re.findall(r"\$\{?(\w+)", step.instruction.text)
            if empty := [name for name in used if name not in declared and name not in step.values]:
                yield Problem(
                    looked_at=image.location(step.instruction),
                    expected="arguments that this stage declares: an ARG above FROM applies only to FROM",
                    found=f"no ARG {empty[0]}, so the label is empty",
                    next_step=f"ARG {empty[0]}=",
                )


def _empty_paths(image: Image) -> Iterator[Problem]:
    """An argument of another stage, or of the lines above the first FROM, that a path or a variable needs here."""
    known = {name for i in image.instructions if i.name == "ARG" for name, _ in dockerfile.pairs(i)}
    for step in _steps(image):
        instruction = step.instruction
        if instruction.name == "ARG":
            known -= {name for name, _ in dockerfile.pairs(instruction)}
        elif instruction.name in ("COPY", "ADD", "WORKDIR", "ENV"):
            used = re.findall(r"\$(?:(\w+)|\{(\w+)\})", instruction.text)
            names = [name for name in map("".join, used) if name in known and name not in step.values]
            if names:
                what = "value" if instruction.name == "ENV" else "path"
                yield Problem(
                    looked_at=image.location(instruction),
                    expected="arguments that this stage declares: an ARG above FROM applies only to FROM",
                    found=f"no ARG {names[0]} in this stage, so the {what} is empty",
                    next_step=f"ARG {names[0]} in this stage, above this line",
                )
                return


@dataclass(frozen=True)
class Script:
    """A Python script that an ENTRYPOINT or CMD starts. path: as written there, with variables replaced."""

    image: Image
    instruction: Instruction
    path: str

    @property
    def has_folder(self) -> bool:
        """Whether the working directory is known, or not needed because the path is absolute."""
        return self.path.startswith("/") or any(step.instruction.name == "WORKDIR" for step in _steps(self.image))


def started_scripts(image: Image) -> Iterator[Script]:
    last = image.final_stage
    for instruction in filter(None, (last.entrypoint, last.command)):
        for word in (word.strip("'\"") for word in dockerfile.split(instruction.script)):
            if word.endswith(".py"):
                yield Script(image, instruction, dockerfile.expand(word, last.env))


def _no_workdir(script: Script) -> Iterator[Problem]:
    if not script.has_folder:
        yield Problem(
            looked_at=script.image.location(script.instruction),
            expected="a WORKDIR for the relative path",
            found=f"no WORKDIR, so the path is /{script.path}",
            next_step="WORKDIR /workshop, above the COPY lines",
        )


def _script_not_copied(script: Script) -> Iterator[Problem]:
    path = dockerfile.absolute(script.path, script.image.final_stage.workdir)
    if script.has_folder and not _is_created(script.image, path, folder=False):
        yield Problem(
            looked_at=script.image.location(script.instruction),
            expected=f"{script.path} in the last stage",
            found="no step copies it to that path",
            next_step=f"COPY {script.path.lstrip('/')} {script.path}",
        )


def _python_path(image: Image) -> Iterator[Problem]:
    entries = dict.fromkeys(image.final_stage.env.get("PYTHONPATH", "").split(":"))
    for entry in list(filter(None, entries))[:MOST_ENTRIES]:
        if not entry.startswith("/"):
            found = "not an absolute path"
        elif not _is_created(image, dockerfile.absolute(entry, "/"), folder=True):
            found = "no step copies anything to that path"
        else:
            continue
        yield Problem(
            looked_at=f"{image.path.name}, PYTHONPATH of the last stage",
            expected="folders in the image that contain the imported code",
            found=f"{entry}: {found}",
            next_step="COPY common/workshop common/workshop, and ENV PYTHONPATH=/workshop/common",
        )


def _manifest_not_copied(image: Image) -> Iterator[Problem]:
    manifest = image.final_stage.env.get("PIXI_PROJECT_MANIFEST", "")
    for path in (manifest, manifest.rpartition("/")[0] + "/pixi.lock"):
        if manifest.startswith("/") and not _is_created(image, path, folder=False):
            yield Problem(
                looked_at=f"{image.path.name}, PIXI_PROJECT_MANIFEST of the last stage",
                expected=f"{path} in the last stage: the record of a run contains the sha256 of the lock",
                found="no step copies it to that path",
                next_step="COPY pixi.toml pixi.lock ./",
            )
            return


def _no_record(image: Image) -> Iterator[Problem]:
    workspace = image.install.prefix.partition("/.pixi/")[0] if image.install else image.final_stage.workdir
    names = ("pixi.toml", "pixi.lock")
    for folder in dict.fromkeys((image.final_stage.workdir, workspace)):
        if all(_is_created(image, f"{folder.rstrip('/')}/{name}", folder=False) for name in names):
            return
    yield Problem(
        looked_at=f"{image.path.name}, the last stage (line {image.final_stage.line})",
        expected="the manifest and the lock in the last stage: the record of a run contains the sha256 of the lock",
        found="no step of this stage copies both",
        next_step="COPY pixi.toml pixi.lock ./",
    )


LABEL_RULES = (Rule("label-empty", ERROR, _empty_labels), Rule("argument-empty", ERROR, _empty_paths))
RECORD_RULES = (Rule("manifest-missing", ADVICE, _no_record),)
MANIFEST_RULES = (Rule("manifest-missing", ADVICE, _manifest_not_copied),)
SCRIPT_RULES = (Rule("workdir", ERROR, _no_workdir), Rule("code-not-copied", ERROR, _script_not_copied))
PYTHON_PATH_RULES = (Rule("python-path", ERROR, _python_path),)


def _steps(image: Image) -> list[Step]:
    return [step for stage in image.final_stage.lineage() for step in stage.steps]


def _is_inside(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def _is_created(image: Image, path: str, folder: bool) -> bool:
    """Whether a step copies this file, or something into this folder; True if that is unknown."""
    return any(_step_creates(image, step, path, folder) for step in _steps(image))


def _step_creates(image: Image, step: Step, path: str, folder: bool) -> bool:
    if step.instruction.name == "RUN":
        return bool(_CREATES_FILES.search(step.instruction.content))
    if (copied := parse_copy(step)) is None:
        return False
    origin, sources, target = copied
    if origin or not sources:  # from another stage, or a heredoc
        return _is_inside(path, target) or (folder and _is_inside(target, path))
    into_folder = len(sources) > 1 or step.words[-1].endswith(("/", "."))
    for source in sources:
        source_path = image.context / source.strip("/")
        name = source.rstrip("/").rsplit("/", 1)[-1]
        target_path = f"{target.rstrip('/')}/{name}" if into_folder and not source_path.is_dir() else target
        if folder and _is_inside(target_path, path):
            return True
        rest = path[len(target_path.rstrip("/")) :].lstrip("/")
        if _is_inside(path, target_path) and (not source_path.is_dir() or (source_path / rest).exists()):
            return True
    return False
