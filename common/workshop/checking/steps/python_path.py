"""Where PYTHONPATH of a manifest leads: a folder that does not exist is noticed before the script stops."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from pixi_workspace.manifest import Manifest
from pixi_workspace.manifest.model import Feature
from workshop.checking.steps import tasks

VARIABLE = "PYTHONPATH"
ROOT_VARIABLE = re.compile(r"\$\{?PIXI_(?:PROJECT|WORKSPACE)_ROOT\b\}?|%PIXI_(?:PROJECT|WORKSPACE)_ROOT%")
FOLDER = re.compile(r"(?:[A-Za-z]:(?=[\\/]))?[^;:]+")  # one entry: `:` and `;` separate them, except in `C:\`


def problem_with_path(manifest: Manifest, features: Iterable[Feature], package: str) -> str | None:
    """Why PYTHONPATH, as an environment with these features sets it, does not lead to a package.

    None if it does, or if this cannot be told: a script of the activation sets it, or an unknown variable is in it.
    """
    targets = [target for feature in features for target in feature.targets]
    if any(target.activation_scripts for target in targets):
        return None
    values = [target.activation_env[VARIABLE] for target in targets if VARIABLE in target.activation_env]
    if not values:
        settings = [task.table.get("env") for task, _ in tasks.all_tasks(manifest)]
        values = [str(env[VARIABLE]) for env in settings if isinstance(env, dict) and VARIABLE in env]
    if not values:
        return f"{VARIABLE} is not set"
    return next((problem for value in values if (problem := _problem_with_value(value, manifest, package))), None)


def _problem_with_value(value: str, manifest: Manifest, package: str) -> str | None:
    root = manifest.path.parent.resolve()
    filled = ROOT_VARIABLE.sub(lambda _: root.as_posix(), value).replace("\\", "/")
    entries = [entry.strip() for entry in FOLDER.findall(filled)]
    if any(re.search(r"[$%~]", entry) for entry in entries):
        return None
    if os.name != "nt" and any(re.match(r"[A-Za-z]:/", entry) for entry in entries):
        return None  # a folder of Windows, which only Windows can look at
    folders = [Path(os.path.normpath(root / entry)) for entry in entries]
    if any((folder / package).is_dir() for folder in folders):
        return None
    shown = ", ".join(
        f"{folder} {'does not contain it' if folder.is_dir() else 'does not exist'}" for folder in folders
    )
    return f'{VARIABLE} = "{value}": {shown or "no folder"}'
