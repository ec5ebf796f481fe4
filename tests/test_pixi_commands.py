"""Every `pixi ...` command of the repository is one that Pixi 0.77 takes: on pages, in messages, scripts and workflows.

Only the command line is read: subcommands, options and their values, the number of arguments, and whether environment,
platform and task are in the manifest. What Pixi takes is in tests/data/pixi-cli.json, read from its `--help`.
"""

import ast
import io
import json
import re
import shlex
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import render_pages
from conftest import DATA, ROOT

from pixi_workspace import manifest as manifests

CLI = json.loads((DATA / "pixi-cli.json").read_text(encoding="utf-8"))["commands"]
# Only a Pixi that was downloaded lists this command in its --help; the one that was read was built from source.
CLI["pixi self-update"] = {"arguments": [], "options": {}, "commands": {}}
CLI["pixi"]["commands"]["self-update"] = []

PROGRAMS = {"python", "torchrun"}  # what `pixi run` starts besides tasks
FILLED_IN = "{}"  # stands for what is filled in later: a variable, or a part of an f-string
PATTERNS = (
    "*.md",
    "*.toml",
    ".ci/*",
    ".github/**/*",
    ".devcontainer/*",
    "docs/**/*",
    "benchmarks/*",
    "common/**/*",
    "exercise-*/**/*",
)
MADE = {".pixi", "results", "__pycache__", ".pytest_cache", "workshop.egg-info"}
NOT_TEXT = {".lock", ".png", ".pyc", ".sif"}


def files_with_commands() -> list[Path]:
    paths = {path for pattern in PATTERNS for path in ROOT.glob(pattern) if path.is_file()}
    paths = {path for path in paths if path.suffix not in NOT_TEXT and not MADE & set(path.parts)}
    paths = {path for path in paths if path.parent.name != "templates"}  # of new projects: tests/new reads them
    return sorted(path for path in paths if re.search(r"\bpixi [a-z{-]", path.read_text(encoding="utf-8")))


# ---------------------------------------------------------------- finding commands


def commands_in(path: Path) -> Iterator[tuple[Path | None, list[str]]]:
    """The commands in a file: the folder in which each is typed (None: the root or the exercise's), and its words."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        text = render_pages.BLOCK.sub("", text)  # lines of files that are read themselves
        for block in re.findall(r"(?sm)^ *```[^`\n]*\n(.*?)^ *```$", text):
            folder = ROOT
            for line in block.replace("\\\n", " ").splitlines():
                if moved := re.match(r"cd (\S+)", line):
                    folder = (folder / moved[1]).resolve()
                yield from ((folder, words) for words in commands_in_text(line))
        texts = re.findall(r"(?s)`([^`]+)`", re.sub(r"(?sm)^ *```.*?^ *```$", "", text))
    else:
        texts = texts_of_python(text) if path.suffix == ".py" else [text]
    for part in texts:
        yield from ((None, words) for words in commands_in_text(part))


def texts_of_python(source: str) -> Iterator[str]:
    """The strings of a Python file; of docstrings and comments only what stands between backticks."""
    left_out = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            left_out.add(node.value)
            yield from re.findall(r"`([^`]+)`", node.value.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "split":
            left_out.add(node.func.value)  # a list of names
        elif isinstance(node, ast.JoinedStr):
            left_out |= set(node.values)
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else FILLED_IN for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in left_out:
            yield node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield from re.findall(r"`([^`]+)`", token.string)


def commands_in_text(text: str) -> Iterator[list[str]]:
    """The words after each `pixi` that begins a command, up to the end of the command."""
    text = text.replace("\\\n", " ")
    text = re.sub(r"\{\{.*?\}\}|\$\{+\w.*?\}+|\$\w+|\$\((?!pixi)[^()]*\)", FILLED_IN, text)
    for start in re.finditer(r"(?<![\w./-])pixi (?=[a-z{-])", text):
        yield words_of(text[start.end() :].split("\n")[0])


def words_of(line: str) -> list[str]:
    """The words of a command, as a shell splits them. In a sentence a comma, a colon, a dot or a bracket ends it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()<>`")
    lexer.whitespace_split = True
    words = []
    try:
        for word in lexer:
            if set(word) <= set(";&|()<>`"):
                break
            words.append(FILLED_IN if word == "..." else word.rstrip(",.:"))
            if word.endswith((",", ".", ":")) and word != "...":
                break
    except ValueError:  # a quotation mark of the text around the command
        return words_of(line[: max(line.rfind('"'), line.rfind("'"))])
    return words


# ---------------------------------------------------------------- reading a command


def problem_with(words: list[str], workspaces: list[manifests.Manifest]) -> str | None:
    """Why Pixi would refuse the command in each of these workspaces; None where one of them takes it."""
    name, words = "pixi", list(words)
    while words and not words[0].startswith("-"):
        known = {alias: command for command, aliases in CLI[name]["commands"].items() for alias in (command, *aliases)}
        if not known or words[0] == FILLED_IN:
            break
        if words[0] not in known:
            return f"{name} has no command {words[0]}"
        name = f"{name} {known[words.pop(0)]}"
    if name == "pixi":
        known_options = CLI[name]["options"]
        return None if not words or words[0] == FILLED_IN or words[0] in known_options else f"pixi has no {words[0]}"
    values, arguments = {}, []
    options = CLI[name]["options"]
    by_short_name = {option["short"]: long for long, option in options.items() if "short" in option}
    while words:
        word, equals, value = words.pop(0).partition("=")
        if word == "--" and not equals:
            arguments += words
            break
        if not word.startswith("-"):
            arguments.append(word + equals + value)
            if name in ("pixi run", "pixi exec"):  # what follows is for the task
                arguments += words
                break
            continue
        word = by_short_name.get(word, word)
        if word not in options:
            return f"{name} has no option {word}"
        if "value" not in options[word]:
            if equals:
                return f"{word} of {name} takes no value"
            continue
        allowed = options[word].get("values")
        if not equals and allowed == ["true", "false"] and (not words or words[0] not in allowed):
            continue  # --offline is short for --offline=true
        if not equals and not words:
            return f"{word} of {name} takes a value"
        values[word] = value if equals else words.pop(0)
        if allowed and values[word] not in allowed:
            return f"{word} of {name} takes one of {allowed}"
    if not arguments and not values:
        return None  # a sentence that names the command
    return problem_with_arguments(name, arguments) or problem_in_every_workspace(name, values, arguments, workspaces)


def problem_with_arguments(name: str, arguments: list[str]) -> str | None:
    expected = CLI[name]["arguments"]
    if FILLED_IN in arguments:
        return None
    if len(arguments) < sum(argument["required"] for argument in expected):
        return f"{name} takes {expected[len(arguments)]['name']}"
    if len(arguments) > len(expected) and not (expected and expected[-1]["many"]):
        return f"{name} does not take {arguments[len(expected)]}"
    return None


def problem_in_every_workspace(name, values, arguments, workspaces) -> str | None:
    problems = [problem_in(workspace, name, values, arguments) for workspace in workspaces]
    return None if None in problems or not problems else problems[0]


def problem_in(workspace: manifests.Manifest, name: str, values: dict[str, str], arguments: list[str]) -> str | None:
    """Whether the environment, the platform and the task are in the manifest."""
    changes_it = name.startswith(("pixi add", "pixi workspace", "pixi task", "pixi remove"))
    environment = values.get("--environment", FILLED_IN)
    if not changes_it and not (is_filled_in(environment) or environment in workspace.environments):
        return f"no environment {environment} in {workspace.path}"
    platform = values.get("--platform", FILLED_IN)
    if not changes_it and not (is_filled_in(platform) or platform in {p.name for p in workspace.platforms}):
        return f"no platform {platform} in {workspace.path}"
    if name != "pixi run" or not arguments or is_filled_in(arguments[0]) or arguments[0] in PROGRAMS:
        return None
    task, rest = workspace.tasks().get(arguments[0]), arguments[1:]
    if task is None:
        return f"no task {arguments[0]} in {workspace.path}"
    if "args" not in task.table:
        return None
    typed = rest[: rest.index("--")] if "--" in rest else rest
    if len(typed) > len(task.table["args"]) or any(word.startswith("-") for word in typed):
        return f"the task {task.name} takes {typed} only after --"
    for word, argument in zip(typed, task.table["args"], strict=False):
        choices = argument.get("choices") if isinstance(argument, dict) else None
        if choices and word not in choices:
            return f"the task {task.name} takes one of {choices}, not {word}"
    return None


def is_filled_in(word: str) -> bool:
    return FILLED_IN in word or word.isupper()


@cache
def manifest_at(folder: Path) -> manifests.Manifest:
    return manifests.load(folder / "pixi.toml")


def workspaces_of(folder: Path | None, path: Path) -> list[manifests.Manifest]:
    """Those that a command may be about. In a starter it is the finished one, as its page describes the way there.

    None for lessons on Pixi and CUDA: their readers make workspaces, whose environments are in no manifest here.
    """
    if path.parent in (ROOT / "docs/pixi", ROOT / "docs/cuda"):
        return []
    exercise = (folder or path).relative_to(ROOT).parts[:1]
    solution = ROOT.joinpath(*exercise, "solution")
    own = [manifest_at(solution)] if exercise and (solution / "pixi.toml").exists() else []
    return own if own and folder else [manifest_at(ROOT), *own]


# ---------------------------------------------------------------- tests


@pytest.mark.parametrize("path", files_with_commands(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pixi_takes_every_command(path):
    for folder, words in commands_in(path):
        assert problem_with(words, workspaces_of(folder, path)) is None, shlex.join(["pixi", *words])


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("pixi lok", "no command lok"),
        ("pixi workspace platforms add linux-64", "no command platforms"),
        ("pixi --lock", "pixi has no --lock"),
        ("pixi lock --dry", "no option --dry"),
        ("pixi lock --check=yes", "--check of pixi lock takes no value"),
        ("pixi lock pixi.toml", "pixi lock does not take pixi.toml"),
        ("pixi add --feature", "--feature of pixi add takes a value"),
        ("pixi add --feature test", "pixi add takes SPEC"),
        ("pixi add --color blue numpy", "--color of pixi add takes one of"),
        ("pixi run chek 2", "no task chek"),
        ("pixi run -e gpu train-torch", "no environment gpu"),
        ("pixi install --environment gpu", "no environment gpu"),
        ("pixi list -e cpu --platform linux-46", "no platform linux-46"),
        ("pixi run train-torch --epochs 1", "only after --"),
        ("pixi run train-torch solutoin", "one of ['starter', 'solution'], not solutoin"),
    ],
)
def test_a_wrong_command_is_found(command, problem):
    [words] = commands_in_text(command)
    assert problem in str(problem_with(words, [manifest_at(ROOT)]))


PAGE = """\
Type `pixi lock --check`, or
```bash pixi
cd exercise-1-scipy/starter
pixi run limits   # then: pixi run -e test python x.py
```
"""
PROGRAM = '''\
"""As `pixi lock` does. What pixi does is not a command."""
print(f"next: pixi tree -e {name} -i cudnn, then pixi lock", "python pixi uv".split())  # `pixi info`
'''


@pytest.mark.parametrize(
    ("name", "text", "commands"),
    [
        ("page.md", PAGE, ["run limits", "run -e test python x.py", "lock --check"]),
        ("program.py", PROGRAM, ["lock", "tree -e {} -i cudnn", "lock", "info"]),
        ("job.yml", "run: pixi run --locked test -m slow\n", ["run --locked test -m slow"]),
        ("Dockerfile", 'RUN pixi install \\\n  --environment "${ENVIRONMENT}"\n', ["install --environment {}"]),
    ],
)
def test_commands_are_found(tmp_path, name, text, commands):
    (tmp_path / name).write_text(text)
    found = list(commands_in(tmp_path / name))
    assert sorted(" ".join(words) for _, words in found) == sorted(commands)
    assert name != "page.md" or found[0][0] == ROOT / "exercise-1-scipy" / "starter"
