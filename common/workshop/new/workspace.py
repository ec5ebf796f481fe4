"""The manifest, the lock and the requirements of a project: those of the exercise's solution, with pytest."""

from __future__ import annotations

import re
from pathlib import Path

import pixi_workspace
from pixi_workspace.manifest import Manifest, conda_specs
from pixi_workspace.manifest.platforms import platforms_of
from workshop.new import wording
from workshop.new.recipe import Names, Recipe

# What PyPI calls packages of conda-forge that have another name there.
ON_PYPI = {"matplotlib-base": "matplotlib", "pytorch-cpu": "torch", "pytorch": "torch"}
TEST_TASK = """cmd = "python -m pytest"
description = "Test the project: two short runs give the same result, and every run has a complete record"
"""
TEST_FEATURE = f"""[feature.test.dependencies]
pytest = ">=8"

[feature.test.tasks.test]
{TEST_TASK}
# One solve group: the tests run with the same packages as the scripts.
[environments]
"""
TRAIN_TASK = """
[tasks.train]
cmd = "python @script@"
description = "Train the network whose runs the other tasks continue"
default-environment = "@cpu@"
"""


def task_of(recipe: Recipe) -> str:
    """The task that runs the first script."""
    tasks = pixi_workspace.load(recipe.solution / "pixi.toml").tasks()
    return next((name for name, task in tasks.items() if recipe.scripts[0].name in str(task.cmd)), "train")


def manifest(recipe: Recipe, names: Names) -> str:
    """The text of pixi.toml: the solution's, without the path to common/, with an environment and a task for tests."""
    path = recipe.solution / "pixi.toml"
    text = path.read_text(encoding="utf-8")
    task = task_of(recipe)
    text = _replace(r'(?m)^name = ".*"$', 'name = "@project@"', text)
    text = _replace(r"that the shared code in common/ imports", "that the code in @package@/ imports", text)
    text = _replace(
        r"(?m)^# Make the shared code in common/ importable\.\n(?:\[(?:target\..*|activation\.env\])\n.+\n\n?)+",
        "",
        text,
    )
    if "tasks.test]\n" in text:
        text = _replace(r"(?m)(?<=tasks\.test\]\n)(?:.+\n)+", TEST_TASK, text)
    else:
        group = f'solve-group = "{recipe.cpu}" }}'
        both = rf'{recipe.cpu} = {{ features = [\1], {group}\ntest = {{ features = [\1, "test"], {group}'
        text = _replace(r"(?m)^\[environments\]\n", TEST_FEATURE, text)
        text = _replace(rf"(?m)^{recipe.cpu} = \[(.+)\]$", both, text)
    if f"[tasks.{task}]" not in text:
        text += TRAIN_TASK
    source = path.relative_to(recipe.root).as_posix()
    return wording.rewrite(text, source, names, {"@cpu@": recipe.cpu, "@script@": recipe.scripts[0].name})


def _replace(pattern: str, replacement: str, text: str) -> str:
    """The text with one replacement, which must be possible."""
    text, n = re.subn(pattern, replacement, text, count=1)
    assert n, f"nothing matches {pattern}"
    return text


def write_lock(folder: Path, recipe: Recipe) -> None:
    """Write pixi.lock and requirements.txt for the pixi.toml in `folder`, with the versions of the repository."""
    whole, part = (pixi_workspace.load(path / "pixi.toml") for path in (recipe.root, folder))
    (folder / "pixi.lock").write_bytes(pixi_workspace.cut(whole, part))
    pinned = (recipe.root / "requirements.txt").read_text(encoding="utf-8")
    versions = dict(re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", pinned))
    lines = [f"{name}=={versions[name]}\n" if name in versions else f"{name}\n" for name in packages(part, recipe.cpu)]
    head = "# For Python 3.11 to 3.14 without Pixi, on the CPU: pip install -r requirements.txt\n"
    (folder / "requirements.txt").write_text(head + "".join(lines), encoding="utf-8", newline="\n")


def packages(manifest: Manifest, environment: str) -> list[str]:
    """The Python packages that an environment of the manifest requests, and pytest, as PyPI calls them."""
    platform = platforms_of(manifest, manifest.environments[environment].features)[0]
    names = set(conda_specs(manifest, environment, platform)) - {"python"} | {"pytest"}
    return sorted({ON_PYPI.get(name, name) for name in names})
