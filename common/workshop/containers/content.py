"""Whether what an image starts can be found in it: the script of its command, the folders of PYTHONPATH, its labels."""

from __future__ import annotations

import re
from collections.abc import Iterator

from workshop.containers import dockerfile
from workshop.containers.dockerfile import Step
from workshop.containers.images import Finding, Image, copy_of

# RUN steps that may bring anything; what they bring is not known here.
_BRINGS = re.compile(r"\b(git|curl|wget|tar|unzip|pip|uv|cp|mv|ln|rsync)\b")


def findings(image: Image) -> list[Finding]:
    """What the last stage names and does not hold."""
    steps = [step for stage in image.final.lineage() for step in stage.steps]
    return [*_labels(image, steps), *_command(image, steps), *_python_path(image, steps)]


def _labels(image: Image, steps: list[Step]) -> Iterator[Finding]:
    declared: set[str] = set()
    for step in steps:
        if step.instruction.name == "ARG":
            declared |= {key for key, _ in dockerfile.pairs(step.instruction)}
        elif step.instruction.name == "LABEL":
            used = re.findall(r"\$\{?(\w+)", step.instruction.text)
            if empty := [name for name in used if name not in declared and name not in step.values]:
                yield Finding(
                    "label-empty",
                    "error",
                    image.where(step.instruction),
                    "arguments that are declared in this stage: one above FROM holds for FROM alone",
                    f"no ARG {empty[0]}, so the label is empty",
                    f"ARG {empty[0]}=",
                )


def _command(image: Image, steps: list[Step]) -> Iterator[Finding]:
    last = image.final
    for instruction in filter(None, (last.entrypoint, last.command)):
        for word in (word for word in dockerfile.split(instruction.script) if word.strip("'\"").endswith(".py")):
            word = dockerfile.expand(word.strip("'\""), last.env)
            if not word.startswith("/") and not any(step.instruction.name == "WORKDIR" for step in steps):
                yield Finding(
                    "workdir",
                    "error",
                    image.where(instruction),
                    "WORKDIR, from which the path is meant",
                    f"no WORKDIR: {word} is looked for in /",
                    "WORKDIR /workshop, before what is copied",
                )
            elif not _arrives(image, steps, dockerfile.absolute(word, last.workdir), folder=False):
                yield Finding(
                    "code-not-copied",
                    "error",
                    image.where(instruction),
                    f"{word} in the last stage",
                    "nothing copies it there",
                    f"COPY {word.lstrip('/')} {word}",
                )


def _python_path(image: Image, steps: list[Step]) -> Iterator[Finding]:
    last = image.final
    for entry in filter(None, last.env.get("PYTHONPATH", "").split(":")):
        if not entry.startswith("/") or not _arrives(image, steps, dockerfile.absolute(entry, "/"), folder=True):
            found = "nothing copies anything there" if entry.startswith("/") else "not from the root"
            yield Finding(
                "python-path",
                "error",
                f"{image.path.name}, PYTHONPATH of the last stage",
                "a folder of the image, with the code that is imported",
                f"{entry}: {found}",
                "COPY common/workshop common/workshop, and ENV PYTHONPATH=/workshop/common",
            )


def _arrives(image: Image, steps: list[Step], path: str, folder: bool) -> bool:
    """Whether a step copies this file, or something in this folder; True where that cannot be known."""

    def within(inner: str, outer: str) -> bool:
        return inner == outer or inner.startswith(outer.rstrip("/") + "/")

    for step in steps:
        if step.instruction.name == "RUN" and _BRINGS.search(step.instruction.script):
            return True
        if (copied := copy_of(step)) is None:
            continue
        origin, sources, target = copied
        if origin or not sources:  # of another stage, or a heredoc
            if within(path, target) or (folder and within(target, path)):
                return True
        for source in sources if not origin else ():
            there = image.context / source.strip("/")
            into = len(sources) > 1 or dockerfile.expand(step.instruction.words[-1], step.values).endswith(("/", "."))
            if there.is_dir():
                place = target
            else:
                place = f"{target.rstrip('/')}/{source.rstrip('/').rsplit('/', 1)[-1]}" if into else target
            if folder and within(place, path):
                return True
            if within(path, place):
                inside = path[len(place.rstrip("/")) :].lstrip("/")
                if not there.is_dir() or (there / inside).exists():
                    return True
    return False
