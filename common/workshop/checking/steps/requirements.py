"""What the checks of several exercises require of a workspace: of its features, tasks, packages, script and lock.

A function `problem_with_...` returns the failed result, or None if there is no problem.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable

from pixi_workspace import manifest as manifests
from pixi_workspace.errors import WorkspaceError
from pixi_workspace.fit import lockcheck
from pixi_workspace.manifest import CondaSpec
from pixi_workspace.manifest.model import Feature
from pixi_workspace.manifest.platforms import platforms_of
from pixi_workspace.platforms import Platform, selector_matches
from workshop import shell
from workshop.checking.checks import Result, Workspace, edit, fail, ok, skip
from workshop.checking.steps import copied_lock, tasks
from workshop.support.files import is_safe_file, read_text
from workshop.support.text import closest_match


def all_features(workspace: Workspace) -> list[Feature]:
    """All features of the manifest, including those defined in an environment's own table."""
    environments = workspace.manifest.environments.values()
    return [*workspace.manifest.features.values(), *(feature for e in environments for feature in e.features)]


def declared_cuda(platform: Platform) -> str | None:
    """The CUDA version that a platform declares, such as `12.0`."""
    return platform.version_of("__cuda")


def platforms_for(workspace: Workspace, feature: Feature) -> list[Platform]:
    """The platforms on which Pixi solves a feature: its own, or those of its environments if it has none of its own."""
    manifest = workspace.manifest
    users = [e.features for e in manifest.environments.values() if feature.name in {f.name for f in e.features}]
    groups = [(feature,)] if feature.platforms is not None or not users else users
    names = {platform.name for features in groups for platform in platforms_of(manifest, features)}
    return [platform for platform in manifest.platforms if platform.name in names]


def exact_by_mistake(specs: Iterable[CondaSpec], series: Iterable[str]) -> str | None:
    """What is wrong with a version such as `0.4`, which Pixi reads as exactly 0.4; None if there is no such version.

    series: the versions without their last number, such as "0.4".
    """
    wanted = set(series)
    for spec in specs:
        if (version := str(spec.fields.get("version", "*"))) in wanted:
            return f"{spec.name} {version} means exactly version {version}; write {version}.*"
    return None


def device_set_by(workspace: Workspace, features: Iterable[Feature], platform: Platform | None = None) -> str | None:
    """What activating some features sets WORKSHOP_DEVICE to, by a table or by a script; None if it does not set it.

    platform: where; None: on any platform.
    """
    variable = workspace.device_variable
    assigned = re.compile(ASSIGNED.format(variable), re.IGNORECASE)
    found = None
    for target in (target for feature in reversed(list(features)) for target in feature.targets):
        if target.selector and platform is not None and not selector_matches(target.selector, platform):
            continue
        found = target.activation_env.get(variable, found)
        for name in target.activation_scripts:
            path = workspace.manifest.path.parent / name
            text = read_text(path) if is_safe_file(path) else ""
            for line in text.splitlines():
                if match := assigned.match(line):
                    found = match[1]
    return found


# In a script of bash, of PowerShell or of cmd.
ASSIGNED = r"""\s*(?:export\s+|set\s+|\$env:)?{}\s*=\s*["']?(\w+)"""


def requires_gpu(workspace: Workspace, environment: str) -> bool:
    """Whether activating the environment sets WORKSHOP_DEVICE=cuda, on any platform."""
    return device_set_by(workspace, workspace.manifest.environments[environment].features) == "cuda"


def problem_with_device(workspace: Workspace, feature: Feature, number: str) -> Result | None:
    """The failed result unless activating the feature for the GPU names the GPU as device; number: of the step.

    Another feature may do it, if every environment with the first one has the other one as well.
    """
    manifest, variable = workspace.manifest, workspace.device_variable
    users = [e for e in manifest.environments.values() if feature.name in {f.name for f in e.features}]
    groups = [e.features for e in users] or [(feature,)]
    places = [(features, platform) for features in groups for platform in platforms_of(manifest, features)]
    values = [device_set_by(workspace, features, platform) for features, platform in places]
    if all(value == "cuda" for value in values):
        return None
    value, platform = next((v, p) for v, (_, p) in zip(values, places, strict=True) if v != "cuda")
    variables = [name for f in (feature, manifest.features["default"]) for t in f.targets for name in t.activation_env]
    near = closest_match(variable, [name.upper() for name in variables if name != variable], 0.8)
    misspelt = next((name for name in variables if name.upper() == near), None)
    holders = dict.fromkeys(f.name for f in all_features(workspace) if device_set_by(workspace, [f]) == "cuda")
    found = "the variable is not set, so a training that finds no GPU would use the CPU without a word"
    path: tuple[str, ...] = ("feature", feature.name)
    if value is None and "cuda" in values:
        found = f"the variable is not set on {platform.name}"
    elif value is not None:
        found = f'{variable} = "{value}", which is not the name of a GPU'
        path = ("feature", feature.name, "activation", "env", variable)
    elif misspelt:
        found, path = f"{misspelt}, which no script reads", ("feature", feature.name, "activation", "env", misspelt)
    elif holders:
        found += f"; only {', '.join(holders)} sets it"
    return fail(
        looked_at=f"{workspace.at(*path)}: the activation of the feature {feature.name}",
        expected=f"{variable} set to cuda, which tells the script that the environment is for a GPU",
        found=found,
        next_step=edit(workspace, number),
    )


def problem_with_script(workspace: Workspace, script: str) -> Result | None:
    """The result if the script is missing: fail in an exercise's own folder, skip in any other; None if it exists."""
    path = workspace.folder / script
    if path.is_file():
        return None
    if workspace.in_exercise:
        advice = f"git checkout -- {script}"
        return fail(
            looked_at=path,
            expected="the script of the exercise",
            found="no such file" if not path.exists() else "not a file",
            next_step=advice,
        )
    return skip(f"no {script} in {workspace.folder.name}")


def has_task_running(
    workspace: Workspace,
    scripts: tuple[str, ...],
    number: str,
    unsuitable: Callable[[str, bool], str | None] = lambda environment, is_default: None,
    described: bool = False,
) -> Result:
    """Whether a task runs one of `scripts` (names without .py) in Python, in an environment where it can run.

    number: of the step. unsuitable: why the task cannot run in an environment; is_default: whether the task names it.
    described: whether the task must also have a description.
    """
    manifest, root = workspace.manifest, workspace.manifest.path.parent
    defined = tasks.all_tasks(manifest)
    candidates = []
    for task, feature in defined:
        started = [script for script in tasks.started_by(task, root) if script.name in scripts or "{{" in script.name]
        if started:
            problem = tasks.problem_with_folder(task, root) or tasks.problem_with_file(started, scripts, root)
            candidates.append((task, feature, problem))
    expected = f"a task{' with a description' if described else ''} that runs {scripts[0]}.py with Python"
    if not candidates:
        shown = ", ".join(f"{task.name}: {task.cmd or 'only other tasks'}" for task, _ in defined) or "no task"
        where = f"{workspace.at('tasks', defined[0][0].name if defined else '')}: tasks"
        return fail(looked_at=where, expected=expected, found=shown, next_step=edit(workspace, number))
    problems = []
    for name in dict.fromkeys(task.name for task, *_ in candidates):
        variants = [(task, feature) for task, feature, problem in candidates if task.name == name and problem is None]
        problem = next((problem for task, _, problem in candidates if task.name == name), None)
        if variants:
            problem = tasks.problem_with_place(manifest, variants, {task.name for task, _ in defined}, unsuitable)
            if problem is None and described and not any(task.description for task, _ in variants):
                problem = "the task has no description"
            if problem is None:
                return ok(f"{name}: {variants[0][0].cmd}")
        problems.append((name, problem))
    name, problem = problems[0]
    task, feature, _ = next(candidate for candidate in candidates if candidate[0].name == name)
    where = ("tasks", name) if feature == "default" else ("feature", feature, "tasks", name)
    return fail(
        looked_at=f"{workspace.at(*where)}: the task {name}",
        expected=expected,
        found=f"{task.cmd}: {problem}",
        next_step=edit(workspace, number),
    )


def missing_for_script(
    workspace: Workspace, environment: str, platform: Platform, script: str, needed: dict[str, tuple[str, ...]]
) -> list[str]:
    """Which packages the workspace's script needs that an environment lacks; none if the folder has no such script.

    needed: by the name to show, the packages of which one is enough. A package that the lock contains counts as well,
    unless the lock is out of date. A name may be followed by a remark in brackets: what was probably meant.
    """
    if not (workspace.folder / script).is_file():
        return []
    missing = tasks.missing_packages(workspace.manifest, environment, platform, needed)
    if not missing:
        return []
    try:
        locked = {package.name for package in workspace.lock.environments[environment].packages[platform.name]}
    except (OSError, KeyError, WorkspaceError):
        locked = set()
    if locked and workspace.verdict.verdict != "out-of-date":
        missing = [name for name in missing if not locked & set(needed[name])]
    requested = {
        *manifests.conda_specs(workspace.manifest, environment, platform),
        *manifests.pypi_specs(workspace.manifest, environment, platform),
    }
    unknown = requested.difference(*needed.values())
    found = []
    for name in missing:
        meant = next(filter(None, (closest_match(either, unknown, SIMILAR) for either in needed[name])), None)
        if meant:
            found.append(f"{name} (you request '{meant}': did you mean '{name}'?)")
        elif locked & set(needed[name]):
            found.append(f"{name} (only in pixi.lock, which is out of date)")
        else:
            found.append(name)
    return found


SIMILAR = 0.75  # of a mistyped name to the right one: `torch` is no `pooch`


def misnamed_environment(workspace: Workspace, for_gpu: Iterable[str], for_cpu: Iterable[str]) -> str | None:
    """What is wrong with the name of an environment: it names the CPU and the packages are for a GPU, or the reverse.

    Other names are free.
    """
    for_gpu, for_cpu = set(for_gpu), set(for_cpu)
    for name in workspace.manifest.environments:
        words = set(re.split(r"[^a-z]+", name))
        if "cpu" in words and not words & {"cuda", "gpu"} and name in for_gpu - for_cpu:
            return f"{name} contains the packages for a GPU"
        if words & {"cuda", "gpu"} and "cpu" not in words and name in for_cpu - for_gpu:
            return f"{name} contains the packages for a CPU"
    return None


SHOWN = 3  # reasons why a lock is out of date


def problem_with_lock(workspace: Workspace) -> Result | None:
    """The failed result if the workspace's lock is out of date; None if it is up to date.

    If `pixi` is on the PATH, `pixi lock --check` decides: its failure counts even if we find no problem.
    """
    verdict = workspace.verdict
    path = workspace.manifest.path.with_name("pixi.lock")
    shown_path = shell.relative(path)
    if verdict.verdict == "up-to-date":
        problem = stale_according_to_pixi(workspace)
        return (
            fail(looked_at=shown_path, expected="up-to-date", found=problem, next_step="pixi lock") if problem else None
        )
    found = verdict.verdict
    if copied := copied_lock.explain(workspace.manifest, path):
        return fail(
            looked_at=shown_path,
            expected="a lock for the environments and platforms of your manifest",
            found=copied,
            next_step="change these in your manifest, or write a lock of your own: pixi lock",
        )
    places: dict[str, str] = {}  # what is wrong, once, and where it is first
    for reason in verdict.reasons:
        where = " on ".join(filter(None, (reason.environment, reason.platform)))
        places.setdefault(lockcheck.describe(reason), f" [{where}]" if where else "")
    shown = [f"{what}{where}" for what, where in list(places.items())[:SHOWN]]
    if shown:
        more = f"; and {len(places) - SHOWN} more, which workshop lock-check lists" if len(places) > SHOWN else ""
        found += f": {'; '.join(shown)}{more}"
    return fail(looked_at=shown_path, expected="up-to-date", found=found, next_step=verdict.next_step)


PIXI_LIMIT = 60  # seconds for `pixi lock --check`, which takes one second if it downloads nothing
PIXI_STALE = "lock file not up-to-date with the workspace"  # Pixi 0.77's words


def stale_according_to_pixi(workspace: Workspace) -> str | None:
    """The complaint of `pixi lock --check` about the lock; None if there is none, or if Pixi is missing or fails.

    --dry-run keeps Pixi 0.77 from rewriting a stale lock. Without a network Pixi fails because it cannot solve again,
    so only its sentence about a stale lock counts.
    """
    pixi = shutil.which("pixi")
    if not pixi:
        return None
    # The PIXI_ variables of an activated environment point to another workspace than this one.
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PIXI_")}
    line = [pixi, "lock", "--check", "--dry-run", "--manifest-path", str(workspace.manifest.path)]
    try:
        process = subprocess.run(
            line,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=variables,
            timeout=PIXI_LIMIT,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return f"pixi lock --check: {PIXI_STALE}" if process.returncode != 0 and PIXI_STALE in process.stderr else None
