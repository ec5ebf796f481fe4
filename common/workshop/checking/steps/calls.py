"""What tasks hand on to the tasks before them: the values of their arguments, as Pixi fills them in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from pixi_workspace.manifest import Task
from workshop.checking.steps import tasks

PLACEHOLDER = re.compile(r"\{\{\s*(\w+)")


@dataclass(frozen=True)
class Call:
    """A task, and the values of its arguments by their names."""

    task: Task
    values: dict[str, str]

    @property
    def command(self) -> str:
        """The command with the values filled in."""
        words = self.task.cmd if isinstance(self.task.cmd, list) else [str(self.task.cmd or "")]
        return " ".join(filled(str(word), self.values) for word in words)

    def files(self, key: str) -> list[str]:
        """The `inputs` or `outputs` of the task, with the values filled in."""
        return [filled(str(name), self.values).removeprefix("./") for name in self.task.table.get(key) or ()]

    def options(self, script: str) -> dict[str, str] | None:
        """The options in the command that starts a script, as {"--seed": "20"}; None if none starts it."""
        words = tasks.words_starting(self.task, script, self.values)
        if words is None:
            return None
        found = {}
        for word, following in zip(words, [*words[1:], ""], strict=True):
            if word.startswith("--"):
                name, equals, value = word.partition("=")
                found[name] = value if equals else following
        return found


def arguments_of(task: Task) -> dict[str, str | None]:
    """The arguments of a task, in their order, each with its default, if it has one."""
    listed = [{"arg": entry} if isinstance(entry, str) else entry for entry in task.table.get("args", [])]
    return {entry["arg"]: entry.get("default") for entry in listed}


def filled(text: str, values: dict[str, str]) -> str:
    """The text with the values of arguments filled in."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: values.get(match[1], match[0]), text)


def unknown_placeholders(task: Task) -> list[str]:
    """The names in `{{ }}` in a task that are not among its arguments. Pixi itself defines `pixi`."""
    parts = [task.table.get(key, "") for key in ("cmd", "inputs", "outputs", "depends-on")]
    names = dict.fromkeys(PLACEHOLDER.findall(str(parts)))
    return [name for name in names if name not in arguments_of(task) and name != "pixi"]


def calls(task: Task, values: dict[str, str], by_name: dict[str, Task], above: tuple[str, ...] = ()) -> Iterator[Call]:
    """The calls of the tasks before a task, each as often as it is named, and then that of the task itself."""
    before = task.table.get("depends-on", task.table.get("depends_on", []))
    for step in before if isinstance(before, list) else [before]:
        entry: dict[str, Any] = step if isinstance(step, dict) else {"task": step}
        earlier = by_name.get(entry["task"])
        if earlier is None or earlier.name in (task.name, *above):
            continue
        given = _given(entry.get("args", []), earlier)
        inner = {name: filled(value, values) for name, value in given.items()}
        yield from calls(earlier, inner, by_name, (*above, task.name))
    yield Call(task, values)


def _given(listed: Sequence[Any], task: Task) -> dict[str, str]:
    """The values of a task's arguments, of which some are listed: in their order, or as {name = value}."""
    defaults = arguments_of(task)
    given = {name: default for name, default in defaults.items() if default is not None}
    for name, value in zip(defaults, listed, strict=False):
        given |= {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {name: str(value)}
    return given


def covers(patterns: Sequence[str], file: str) -> bool:
    """Whether one of the patterns of `inputs` or `outputs` matches a file in the folder of the manifest."""
    return any(fnmatch(file.removeprefix("./"), pattern.removeprefix("**/")) for pattern in patterns)
