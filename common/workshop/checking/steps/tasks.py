"""What a task of a manifest would start: which script, in which folder, and in which environments it is visible.

A task is judged by this, and not by its text: it may start Python with options, through torchrun, after `cd`, with a
variable or with an argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pixi_workspace import manifest as manifests
from pixi_workspace.manifest import Environment, Manifest, Task
from pixi_workspace.manifest.platforms import platforms_of
from pixi_workspace.platforms import Platform, selector_matches
from workshop import shell
from workshop.containers.shellwords import split_commands
from workshop.support.files import list_files

PYTHON = re.compile(r"(i?python|pythonw)[\d.]*(\.exe)?")
# Options of Python with a value that may be a separate word, and those with which it starts no script.
WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
WITHOUT_SCRIPT = ("-c", "-V", "-VV", "-h", "--version", "--help")
# Programs that start the command after them.
PREFIXES = ("time", "env", "exec", "nohup", "command", "nice", "srun")
# Programs, and modules of Python, that start a Python script: everything before its name are options.
LAUNCHERS = ("torchrun", "accelerate", "mpirun", "mpiexec", "horovodrun", "coverage", "deepspeed", "ipython")
LAUNCHING_MODULES = (
    "torch.distributed.run",
    "torch.distributed.launch",
    "accelerate.commands.launch",
    "cProfile",
    "profile",
    "trace",
    "pdb",
    "coverage",
)


@dataclass(frozen=True)
class Started:
    """A Python script that a command would start. path: None if it depends on an argument or a variable.

    folder: the working directory; None if it cannot be known.
    """

    name: str
    path: Path | None
    folder: Path | None


@dataclass(frozen=True)
class Visible:
    """A task where it can be run: in an environment, on some of its platforms."""

    task: Task
    environment: str
    platforms: tuple[str, ...]


def visible_tasks(manifest: Manifest) -> Iterator[Visible]:
    """The tasks of every environment. If a task has a default environment, only there, since it runs there."""
    for environment in manifest.environments.values():
        found: dict[int, tuple[Task, list[str]]] = {}
        for platform in platforms_of(manifest, environment.features):
            for task in tasks_of(environment, platform).values():
                found.setdefault(id(task), (task, []))[1].append(platform.name)
        for task, platforms in found.values():
            if task.default_environment in (None, environment.name):
                yield Visible(task, environment.name, tuple(platforms))


def tasks_of(environment: Environment, platform: Platform) -> dict[str, Task]:
    """The tasks that an environment has on a platform, by name."""
    found: dict[str, Task] = {}
    for feature in reversed(environment.features):
        for target in feature.targets:
            if target.selector is None or selector_matches(target.selector, platform):
                found |= target.tasks
    return found


def all_tasks(manifest: Manifest) -> list[tuple[Task, str]]:
    """All tasks, each with the feature in which it is, also if no environment contains it.

    A name may be there several times: for several systems, or in several features.
    """
    inline = [f for environment in manifest.environments.values() for f in environment.features if f.inline]
    return [
        (task, feature.name)
        for feature in [*manifest.features.values(), *inline]
        for target in feature.targets
        for task in target.tasks.values()
    ]


def started_by(task: Task, root: Path) -> Iterator[Started]:
    """The Python scripts that a task would start. root: the folder of the manifest."""
    values = _arguments(task)
    folder: Path | None = root / _filled(str(task.table.get("cwd", "")), values, root)
    words = [str(word) for word in task.cmd] if isinstance(task.cmd, list) else None
    for command in [words] if words is not None else _commands(str(task.cmd or "")):
        command = [_filled(word, values, root) for word in command]
        if command[0] == "cd" and len(command) > 1:
            folder = None if folder is None or _is_open(command[1]) else folder / command[1]
        elif script := _script_of(command):
            name, relative = script
            is_open = folder is None or _is_open(relative)
            yield Started(name, None if is_open else (folder or root) / relative, folder)


def words_starting(task: Task, script: str, values: dict[str, str]) -> list[str] | None:
    """The words of the command of a task that starts a script (its name without .py); None if none does.

    values: those of the task's arguments.
    """
    for command in [[str(word) for word in task.cmd]] if isinstance(task.cmd, list) else _commands(str(task.cmd or "")):
        words = [_filled(word, values, Path()) for word in command]
        if (started := _script_of(words)) and started[0] == script:
            return words
    return None


def folder_of(task: Task, root: Path) -> Path | None:
    """The working directory that a task names; None if it names none, or one that depends on a variable."""
    cwd = _filled(str(task.table.get("cwd", "")), _arguments(task), root)
    return root / cwd if cwd and not _is_open(cwd) else None


def required_tasks(task: Task) -> list[str]:
    """The names of the tasks that run before this one."""
    before = task.table.get("depends-on", task.table.get("depends_on", []))
    steps = before if isinstance(before, list) else [before]
    return [str(step["task"] if isinstance(step, dict) else step) for step in steps]


def _arguments(task: Task) -> dict[str, str]:
    """The arguments of a task that have a default, with their values."""
    listed = [argument for argument in task.table.get("args", []) if isinstance(argument, dict)]
    return {argument["arg"]: argument["default"] for argument in listed if "default" in argument}


def _filled(word: str, values: dict[str, str], root: Path) -> str:
    """A word with the task's arguments, and the variables that Pixi sets to the folder of the manifest, filled in."""
    word = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: values.get(match[1], match[0]), word)
    folder = root.as_posix()
    return re.sub(r"\$\{?(PIXI_PROJECT_ROOT|PIXI_WORKSPACE_ROOT)\b\}?", lambda _: folder, word)


def _is_open(word: str) -> bool:
    """Whether a word depends on an argument or a variable whose value is not known."""
    return "{{" in word or "$" in word


def _commands(script: str) -> Iterator[list[str]]:
    """The simple commands of a script, without the assignments before them; none if a quote is not closed."""
    kept = re.sub(r"\{\{\s*(.*?)\s*\}\}", lambda match: "{{" + match[1].replace(" ", "") + "}}", script)
    try:
        words = [words for words, _ in split_commands(kept)]
    except ValueError:
        return
    for command in words:
        while command and re.fullmatch(r"[A-Za-z_]\w*=.*", command[0], re.DOTALL):
            command = command[1:]
        if command and command[0] == "export":
            continue
        if command:
            yield command


def _script_of(words: Sequence[str]) -> tuple[str, str] | None:
    """The name of the script that a command starts, without .py, and its path; None if it starts none."""
    words = list(words)
    while words and (words[0] in PREFIXES or re.fullmatch(r"[A-Za-z_]\w*=.*", words[0], re.DOTALL)):
        words = words[1:]
        while words and (words[0].startswith("-") or words[0].isdigit()):  # srun -n 2, nice -n 5
            words = words[1:]
    if words[:2] == ["pixi", "run"]:
        words = words[2:]
        while words and words[0].startswith("-"):
            words = words[2 if words[0] in ("-e", "--environment") else 1 :]
    if not words:
        return None
    program = PurePosixPath(words[0].replace("\\", "/")).name
    if PYTHON.fullmatch(program):
        return _script_of_python(words[1:])
    if program in LAUNCHERS:
        inner = next((n for n, word in enumerate(words) if n and PYTHON.fullmatch(PurePosixPath(word).name)), None)
        return _script_of_python(words[inner + 1 :]) if inner else _script_of_launcher(words[1:])
    return None


def _script_of_python(words: list[str]) -> tuple[str, str] | None:
    """The script that Python starts with these words: after its options, by path or by `-m`."""
    while words:
        word, *words = words
        if word in WITH_VALUE:
            words = words[1:]
        elif word in WITHOUT_SCRIPT or word == "-":
            return None
        elif module := re.fullmatch(r"-[a-zA-Z]*m(.*)", word):
            name = module[1] or (words.pop(0) if words else "")
            return _script_of_launcher(words) if name in LAUNCHING_MODULES else _module(name)
        elif not word.startswith("-"):
            return _file(word)
        elif not word.startswith("--") and word.endswith("c"):
            return None
    return None


def _script_of_launcher(words: list[str]) -> tuple[str, str] | None:
    """The script among the words of a program such as torchrun: the first that ends in .py, or a module after -m."""
    for number, word in enumerate(words):
        if word in ("-m", "--module") and number + 1 < len(words):
            return _module(words[number + 1])
        if word.endswith(".py") or "{{" in word:
            return _file(word)
    return None


def _file(word: str) -> tuple[str, str]:
    path = word.replace("\\", "/")
    return PurePosixPath(path).name.removesuffix(".py"), path


def _module(name: str) -> tuple[str, str]:
    return name.rsplit(".", 1)[-1], f"{name.replace('.', '/')}.py"


def problem_with_folder(task: Task, root: Path) -> str | None:
    """Why a task cannot start in its folder."""
    folder = folder_of(task, root)
    return (
        None
        if folder is None or folder.is_dir()
        else f"there is no folder {task.table['cwd']} in the folder of the manifest"
    )


def problem_with_file(started: list[Started], scripts: tuple[str, ...], root: Path) -> str | None:
    """Why a task cannot start its script: no such file. A folder may have a manifest only, without any such script."""
    if any(script.path is None or script.path.is_file() for script in started):
        return None
    present = [name for name in list_files(root) if Path(name).name.removesuffix(".py") in scripts]
    if not present:
        return None
    path = started[0].path
    assert path is not None
    where = f"the workspace contains {present[0]}; a task runs in the folder of the manifest, or in its `cwd`"
    return f"there is no file {shell.relative(path)} ({where})"


def problem_with_place(
    manifest: Manifest, variants: list[tuple[Task, str]], known: set[str], unsuitable: Callable[[str, bool], str | None]
) -> str | None:
    """Why a task can run in no environment; None if it can run in one, on all of its platforms.

    If a task has no default environment and the environment `default` contains it, Pixi starts it only there.
    variants: the definitions of the task, for example one for each system, each with its feature. known: all tasks.
    """
    task, feature = variants[0]
    default = task.default_environment
    if default is not None and default not in manifest.environments:
        return f"its default-environment {default} does not exist"
    if missing := [name for name in required_tasks(task) if "{{" not in name and name not in known]:
        return f"it depends on the task {missing[0]}, which does not exist"
    places: dict[str, list[str]] = {}  # environments, each with the platforms on which the task is visible
    for place in visible_tasks(manifest):
        if any(place.task is variant for variant, _ in variants):
            places.setdefault(place.environment, []).extend(place.platforms)
    if not places and default is not None:
        return f"it is in the feature {feature}, which its default-environment {default} does not contain"
    if not places:
        return f"it is in the feature {feature}, which no environment contains"
    if default is None and "default" in places:
        places = {"default": places["default"]}
    reasons = []
    for name, found in places.items():
        everywhere = [platform.name for platform in platforms_of(manifest, manifest.environments[name].features)]
        if without := [platform for platform in everywhere if platform not in found]:
            reasons.append(f"it exists only on {', '.join(found)}, not on {', '.join(without)}")
        elif reason := unsuitable(name, default is not None):
            reasons.append(reason)
        else:
            return None
    return reasons[0]


def missing_packages(
    manifest: Manifest, environment: str, platform: Platform, needed: dict[str, tuple[str, ...]]
) -> list[str]:
    """Which packages a script needs that an environment does not request on a platform.

    needed: by the name to show, the packages of which one is enough.
    """
    requested = {*manifests.conda_specs(manifest, environment, platform)}
    requested |= {*manifests.pypi_specs(manifest, environment, platform)}
    return [name for name, either in needed.items() if not requested & set(either)]
