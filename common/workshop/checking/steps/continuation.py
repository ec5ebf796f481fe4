"""`workshop reset 3 --from PATH`: a starter that continues from the learner's own workspace of an earlier exercise."""

from __future__ import annotations

import re
from pathlib import Path

from pixi_workspace import manifest as manifests
from workshop import exercises, shell
from workshop.checking import checks
from workshop.checking.steps import requirements
from workshop.errors import WorkshopError
from workshop.exercises import Exercise
from workshop.support.files import read_bytes, read_text, remove_folder

TODO = re.compile(r"(?m)^# TODO\(\d+\.\d+\).*\n(?:# .*\n)*")  # a paragraph of the starter
FEATURE = re.compile(r"(?ms)^# A current JAX.*?(?=^# TODO)")  # what the starter adds to the earlier exercise
PLATFORMS = re.compile(r"(?m)^platforms = \[.*\]$")


def base_lock(exercise: Exercise) -> Path:
    """The lock of the workspace from which the starter continues; no such file if it is the shipped starter."""
    return exercise.folder.parent / ".workshop" / f"base-{exercise.number}.lock"


def files_from(exercise: Exercise, source: str, shipped: dict[str, bytes]) -> dict[str, bytes]:
    """The starter's files, with manifest and lock of the workspace `source` (a folder, or the earlier exercise's number).

    shipped: the starter's files as they were shipped; what they add to the earlier exercise is added here as well.
    Raises WorkshopError if the exercise does not continue another one, or if that workspace does not pass its checks.
    """
    again = f"workshop reset {exercise.number}  # continues from our solution"
    if "continues" not in exercise.settings:
        raise WorkshopError(
            looked_at="--from",
            expected="exercise 3, which continues exercise 2",
            found=f"exercise {exercise.number}",
            next_step=f"workshop reset {exercise.number}",
        )
    earlier = exercises.find(exercise.settings["continues"])
    folder = Path(source)
    if not folder.exists() and folder.name == str(earlier.number):
        folder = earlier.workspace
    _require_passing(earlier, folder, again)
    path = manifests.find(folder)
    text = _continued(read_text(path), shipped["pixi.toml"].decode(), exercise.folder.name, manifests.load(path))
    return {"pixi.toml": text.encode(), "pixi.lock": read_bytes(path.with_name("pixi.lock"), 2**26)}


def _require_passing(earlier: Exercise, folder: Path, again: str) -> None:
    """Raise WorkshopError unless the workspace passes the checks of the earlier exercise up to that of the lock."""
    last = next(n for n, check in enumerate(earlier.checks) if check.needs_pixi)
    chosen = earlier.checks[: last + 1]
    workspace = checks.Workspace(folder.resolve())
    try:
        for check, result in checks.run_checks(chosen, workspace):
            if result.status == "fail":
                raise WorkshopError(
                    looked_at=folder,
                    expected=f"a workspace that passes checks {chosen[0].number} to {chosen[-1].number}",
                    found=f"check {check.number} fails: {result.found}",
                    next_step=f"workshop check {earlier.number} {shell.quoted(folder)}; or {again}",
                )
    finally:
        remove_folder(workspace.scratch)
    if manifests.find(folder).name != "pixi.toml":
        raise WorkshopError(
            looked_at=folder, expected="a pixi.toml", found=manifests.find(folder).name, next_step=again
        )


def _continued(text: str, shipped: str, name: str, manifest: manifests.Manifest) -> str:
    """The learner's manifest with what the shipped starter adds: its header, the current JAX, and the TODOs."""
    header = re.match(r"(?:#.*\n)+\n", shipped)
    feature = FEATURE.search(shipped)
    assert header and feature
    plain = [
        p for p in manifest.platforms if not requirements.declared_cuda(p) and p.subdir in ("linux-64", "osx-arm64")
    ]
    listed = ", ".join(f'"{platform.name}"' for platform in plain)
    text = TODO.sub("", re.sub(r"\A(?:#.*\n)+", "", text)).strip()
    text = re.sub(r'(?m)^name = ".*"$', f'name = "{name}"', text, count=1)
    text = re.sub(r'default-environment = "[^"]*"', 'default-environment = "jax"', text)
    tables = PLATFORMS.sub(f"platforms = [{listed}]", feature[0]) + '[environments.jax]\nfeatures = ["jax"]\n'
    todos = "\n".join(TODO.findall(shipped))
    return f"{header[0]}{text}\n\n{tables}\n{todos}"
