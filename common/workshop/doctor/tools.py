"""Pixi, git and Python, as the doctor finds them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from functools import partial
from pathlib import Path

from workshop.doctor.checkout import Checkout
from workshop.doctor.row import PIXI, PYTHON, Row
from workshop.support import timeouts
from workshop.support.text import satisfies

INSTALL_PIXI = {
    "nt": 'powershell -ExecutionPolicy ByPass -c "irm -useb https://pixi.sh/install.ps1 | iex"',
    "posix": "curl -fsSL https://pixi.sh/install.sh | sh",
}


def version_of(name: str, seconds: float) -> str | None:
    """The version that `pixi --version` or `git --version` prints; empty if it prints none; None without the program.

    Pixi sets PIXI_EXE to its own path, which need not be on the PATH.
    """
    command = shutil.which(name) or (os.environ.get("PIXI_EXE") if name == "pixi" else None)
    if not command:
        return None
    printed = timeouts.run_command([command, "--version"], seconds) or ""
    found = re.match(rf"{name}(?: version)? (\d+(?:\.\d+){{1,3}})", printed)
    return found[1] if found else ""


def rows(checkout: Checkout, pixi: str | None, git: str | None) -> list[Row]:
    """Pixi, git and Python; versions are those of `version_of`."""
    return [_pixi(checkout.requires_pixi, pixi), _git(git), _python(checkout.requires_python)]


def _pixi(required: str | None, version: str | None) -> Row:
    row = partial(Row, group="tools", subject="Pixi", required_by=(PIXI,))
    install = INSTALL_PIXI[os.name]
    if version is None and (Path.home() / ".pixi" / "bin" / ("pixi.exe" if os.name == "nt" else "pixi")).exists():
        found = "installed, but not on the PATH of this terminal"
        return row(passed=False, found=found, next_step="open a new terminal")
    if version is None:
        return row(passed=False, found="not found", next_step=f"{install}  # then open a new terminal")
    if not version:
        return row(passed=False, found="found, but `pixi --version` prints no version", next_step=install)
    if required and not satisfies(version, required):
        found = f"{version}; the workshop requires {required}"
        return row(passed=False, found=found, next_step="pixi self-update")
    return row(passed=True, found=_with_requirement(version, required))


def _git(version: str | None) -> Row:
    row = partial(Row, group="tools", subject="git")
    if version:
        return row(passed=True, found=version)
    found = "not found; `reset`, `diff` and updates need it" if version is None else "found, but prints no version"
    return row(passed=False, found=found, next_step="install git with your system's package manager")


def _python(required: str | None) -> Row:
    row = partial(Row, group="tools", subject="Python", required_by=(PYTHON,))
    version = ".".join(map(str, sys.version_info[:3]))
    if required and not satisfies(version, required):
        return row(passed=False, found=f"{version}; the route without Pixi requires {required}")
    if not importlib.util.find_spec("ensurepip") and sys.prefix == sys.base_prefix:
        return row(passed=False, found=f"{version}, without `venv`", next_step="sudo apt-get install python3-venv")
    return row(passed=bool(required) or None, found=_with_requirement(version, required))


def _with_requirement(version: str, required: str | None) -> str:
    return f"{version} (required: {required})" if required else version
