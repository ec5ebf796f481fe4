"""The modules of common/ that scripts need: everything that their imports reach."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

OWN_FILES = ("*.json", "py.typed")  # that modules of a package read, or that belong to it


def reached(scripts: Iterable[Path], common: Path) -> dict[str, Path]:
    """The modules that `scripts` import, directly or through others, by name, with the packages that contain them.

    An import inside a function counts, and so does one that only type checkers see: the copy must be complete.
    """
    found: dict[str, Path] = {}
    names = [name for script in scripts for name in _imported(script)]
    while names:
        name = names.pop()
        path = _file_of(name, common)
        if path is None or name in found:
            continue
        found[name] = path
        names += [*_imported(path), name.rpartition(".")[0]]
    return dict(sorted(found.items()))


def data_files(modules: dict[str, Path]) -> list[Path]:
    """The files beside these modules that belong to their packages."""
    folders = sorted({path.parent for path in modules.values()})
    return [path for folder in folders for pattern in OWN_FILES for path in sorted(folder.glob(pattern))]


def _file_of(name: str, common: Path) -> Path | None:
    """The file of a module of common/; None for a module of another package, or for another name."""
    if not name:
        return None
    base = common.joinpath(*name.split("."))
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


@cache
def _imported(path: Path) -> tuple[str, ...]:
    """What a file imports: the modules, and what could be modules of a package."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(names)


def roots_at_the_top(script: Path) -> list[str]:
    """The first parts of the names that a script imports at its top, as in `torch` for `torch.nn`."""
    body = ast.parse(script.read_text(encoding="utf-8")).body
    names = [alias.name for node in body if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in body if isinstance(node, ast.ImportFrom) and node.module]
    return sorted({name.split(".")[0] for name in names})
