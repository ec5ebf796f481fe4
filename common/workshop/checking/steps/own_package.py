"""Projects that `workshop new` made: their code is in a package of another name, which their variables contain as well."""

from __future__ import annotations

from pathlib import Path

TUTORIAL = "workshop"
MARK = "runs/frameworks/device.py"  # reads the variable for the device


def package_of(folder: Path) -> str:
    """The package that the scripts in `folder` import instead of `workshop`; `workshop` if there is none."""
    found = sorted(path.parents[2].name for path in folder.glob(f"*/{MARK}"))
    return found[0] if found else TUTORIAL


def variable(name: str, package: str) -> str:
    """The name of a variable such as WORKSHOP_DEVICE in a project with this package."""
    return name.replace(f"{TUTORIAL.upper()}_", f"{package.upper()}_", 1)
