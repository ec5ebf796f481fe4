"""Solutions that are broken in the ways in which learners break them, and others that are right.

For each exercise a module or a package with MISTAKES, each a name, the check that has to notice it first, words that its
answer must contain and the changes; and ALTERNATIVES, other correct answers. A change is (file, text to find, text
instead), or a function of the folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

Change = tuple[str, str, str] | Callable[[Path], None]


def apply(changes: list[Change], folder: Path) -> None:
    """Make the changes in a copy of a solution; a text that is not there is an error of the list."""
    for change in changes:
        if callable(change):
            change(folder)
            continue
        file, find, replace = change
        text = (folder / file).read_text(encoding="utf-8")
        assert find in text, (file, find)
        (folder / file).write_text(text.replace(find, replace), encoding="utf-8")


def merged(*modules: ModuleType) -> dict[str, tuple[str, str, list[Change]]]:
    """The mistakes of several modules. Two with the same name are an error of the lists."""
    mistakes = [mistake for module in modules for mistake in module.MISTAKES.items()]
    names = [name for name, _ in mistakes]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
    return dict(mistakes)


def make_common(folder: Path) -> None:
    """The folder to which `../../common` leads from a copied workspace, as in the clone; its code is not needed."""
    (folder / "../../common/workshop").resolve().mkdir(parents=True, exist_ok=True)


def record_run(folder: Path, exercise: str, kind: str, name: str | None, lock: str | None = None) -> None:
    """A finished run beside the script, as one of `pixi run` leaves it. lock: its sha256 (default: of the one there)."""
    lock = lock or hashlib.sha256((folder / "pixi.lock").read_bytes()).hexdigest()
    environment = {"kind": kind, "name": name, "lock": {"path": "pixi.lock", "sha256": lock}}
    run = folder / "results" / exercise / "earlier"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"environment": environment, "outputs": []}), encoding="utf-8")


def other_build(folder: Path, environment: str, package: str) -> None:
    """In the lock, another build of a package in one environment, which meets the same constraints as the one before."""
    text = (folder / "pixi.lock").read_text(encoding="utf-8")
    head, _, packages = text.partition("\npackages:\n")
    start = head.index(f"\n  {environment}:\n")
    line = next(line for line in head[start:].splitlines() if f"/{package}-" in line)
    url = line.split("conda: ")[1]
    other = url.replace(".conda", "9.conda").replace(".tar.bz2", "9.tar.bz2")  # a higher build number
    end = head.find("\n  ", start + 3)
    while head[end + 3] == " ":  # to the next environment
        end = head.find("\n  ", end + 3)
        if end < 0:
            end = len(head)
            break
    head = head[:start] + head[start:end].replace(url, other) + head[end:]
    block = next(b for b in packages.split("\n- ") if b.removeprefix("- ").startswith(f"conda: {url}\n"))
    block = block.removeprefix("- ").rstrip()
    digest = next(part.split()[1] for part in block.splitlines() if part.strip().startswith("sha256:"))
    again = block.replace(url, other).replace(digest, "0" * 64)
    (folder / "pixi.lock").write_text(f"{head}\npackages:\n{packages.rstrip()}\n- {again}\n", encoding="utf-8")
