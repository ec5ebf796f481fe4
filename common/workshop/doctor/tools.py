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
    """The version that `pixi --version` or `git --version` prints; empty where it prints none; None: no such program.

    Pixi starts tasks with PIXI_EXE, its own path, which need not be on the PATH.
    """
    command = shutil.which(name) or (os.environ.get("PIXI_EXE") if name == "pixi" else None)
    if not command:
        return None
    printed = timeouts.run_command([command, "--version"], seconds) or ""
    found = re.match(rf"{name}(?: version)? (\d+(?:\.\d+){{1,3}})", printed)
    return found[1] if found else ""


def rows(here: Checkout, pixi: str | None, git: str | None) -> list[Row]:
    """Pixi, git and Python; versions are those of `version_of`."""
    return [_pixi(here.requires_pixi, pixi), _git(git), _python(here.requires_python)]


def _pixi(required: str | None, version: str | None) -> Row:
    row = partial(Row, group="tools", what="Pixi", needed=(PIXI,))
    install = INSTALL_PIXI[os.name]
    if version is None and (Path.home() / ".pixi" / "bin" / ("pixi.exe" if os.name == "nt" else "pixi")).exists():
        found = "installed, but this terminal does not find it"
        return row(good=False, found=found, next_step="open a new terminal")
    if version is None:
        return row(good=False, found="not found", next_step=f"{install}  # then open a new terminal")
    if not version:
        return row(good=False, found="there, but `pixi --version` says no version", next_step=install)
    if required and not satisfies(version, required):
        found = f"{version}, and the workshop asks for {required}"
        return row(good=False, found=found, next_step="pixi self-update")
    return row(good=True, found=_required(version, required))


def _git(version: str | None) -> Row:
    row = partial(Row, group="tools", what="git")
    if version:
        return row(good=True, found=version)
    found = "not found: reset and diff need it, updates too" if version is None else "there, but says no version"
    return row(good=False, found=found, next_step="install git with your system's package manager")


def _python(required: str | None) -> Row:
    row = partial(Row, group="tools", what="Python", needed=(PYTHON,))
    version = ".".join(map(str, sys.version_info[:3]))
    if required and not satisfies(version, required):
        return row(good=False, found=f"{version}, and the route without Pixi asks for {required}")
    if not importlib.util.find_spec("ensurepip") and sys.prefix == sys.base_prefix:
        return row(good=False, found=f"{version}, without `venv`", next_step="sudo apt-get install python3-venv")
    return row(good=bool(required) or None, found=_required(version, required))


def _required(version: str, required: str | None) -> str:
    return f"{version} ({required} is asked for)" if required else version
