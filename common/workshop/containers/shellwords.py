"""Parse a shell script: its commands, and its calls of Pixi, as far as they can be known without running it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from workshop.containers.dockerfile import expand

SHELLS = ("sh", "bash", "dash", "zsh")
# The commands of Pixi that install an environment, and first solve it anew unless --locked or --frozen is given.
INSTALL_COMMANDS = ("install", "i", "reinstall", "run", "r", "shell", "shell-hook", "s")
# Words that may precede a command.
COMMAND_PREFIXES = ("exec", "time", "env", "sudo", "nice", "then", "do", "else", "if", "!", "{")
# The commands of Pixi that run a program: the words from the program's name on are the program's own.
RUN_COMMANDS = ("run", "r", "exec", "x")
# Programs that start the command after them, or that read a file of commands.
LAUNCHERS = (*COMMAND_PREFIXES, *SHELLS, "tini", "dumb-init", "source", "eval")
# The options of Pixi 0.77 whose value may be a separate word. (--offline takes a value only after an equals sign.)
OPTIONS_WITH_VALUE = frozenset(
    "--color --environment --platform --manifest-path --workspace --script --shell --skip --skip-with-deps --only "
    "--config-file --auth-file --concurrent-downloads --concurrent-solves --pinning-strategy --pypi-keyring-provider "
    "--tls-root-certs --change-ps1".split()
)
SHORT_OPTIONS = {"e": "--environment", "p": "--platform", "m": "--manifest-path", "w": "--workspace", "s": "--script"}
ALL_ENVIRONMENTS = "*"  # the environment of `pixi install --all`
LOCK_CHANGING_COMMANDS = ("add", "remove", "rm", "update", "upgrade", "lock", "init")


@dataclass(frozen=True)
class PixiCall:
    """One call of Pixi in a script.

    environment: its name (`default` if the call names none, or ALL_ENVIRONMENTS). environment_word: the same as it is
    written, with variables; empty with --all. unset: the variables in that word that have no value. lock_mode: `locked`,
    `frozen` or empty. folder: the working directory, absolute or relative to that of the script.
    """

    words: tuple[str, ...]
    command: str
    environment: str
    environment_word: str
    lock_mode: str
    manifest: str | None
    variables: dict[str, str]
    folder: str = ""
    unset: tuple[str, ...] = ()


def commands(script: str, values: Mapping[str, str]) -> list[tuple[dict[str, str], list[str]]]:
    """The simple commands of a script, each as (variables in force, words).

    values: the variables when the script starts. The words still contain their variables: `expand` fills them in.
    """
    known = dict(values)
    result: list[tuple[dict[str, str], list[str]]] = []
    for words in _simple_commands(script):
        settings = {}
        while words and (assigned := re.fullmatch(r"([A-Za-z_]\w*)=(.*)", words[0], re.DOTALL)):
            settings[assigned[1]] = expand(assigned[2], known)
            words = words[1:]
        if words and words[0] == "export":
            for word in words[1:]:
                name, sign, value = word.partition("=")
                if sign:
                    known[name] = expand(value, known)
            continue
        if not words:
            known |= settings
            continue
        scope = {**known, **settings}
        is_shell = PurePosixPath(words[0]).name in SHELLS
        script_option = (
            next((n for n, word in enumerate(words) if re.fullmatch(r"-[a-z]*c", word)), None) if is_shell else None
        )
        if script_option is not None and script_option + 1 < len(words):
            result += commands(words[script_option + 1], scope)
        else:
            result.append((scope, words))
    return result


def _simple_commands(script: str) -> list[list[str]]:
    text = re.sub(r"\\\n", " ", script).replace("\n", " ; ")
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|()")
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[list[str]] = [[]]
    try:
        for token in lexer:
            if token and set(token) <= set(";&|()"):
                words.append([])
            else:
                words[-1].append(token)
    except ValueError:  # an unclosed quote: split as well as possible
        words = [part.split() for part in re.split(r"[;&|\n]+", script)]
    cut = [list(_before_comment(part)) for part in words]
    return [part for part in cut if part]


def _before_comment(words: list[str]) -> list[str]:
    return words[: next((n for n, word in enumerate(words) if word.startswith("#")), len(words))]


def pixi_calls(script: str, values: Mapping[str, str]) -> list[PixiCall]:
    """The calls of Pixi in a script; values: the variables when it starts."""
    calls, folder = [], ""
    for variables, words in commands(script, values):
        if words[0] == "cd" and len(words) > 1:
            target = expand(words[1], variables)
            folder = target if target.startswith("/") else f"{folder}/{target}".lstrip("/") if folder else target
            continue
        start = next((n for n, word in enumerate(words) if PurePosixPath(expand(word, variables)).name == "pixi"), None)
        if start is None or (start and words[0] not in COMMAND_PREFIXES):
            continue
        calls += _calls_of(words[start + 1 :], variables, folder)
    return calls


def programs(script: str, values: Mapping[str, str]) -> list[str]:
    """The name of the program or script file that each command starts, without its folder."""
    result = []
    for _, words in commands(script, values):
        while len(words) > 1 and (
            words[0] == "." or words[0].startswith("-") or PurePosixPath(words[0]).name in LAUNCHERS
        ):
            words = words[1:]
        result.append(PurePosixPath(words[0]).name)
    return result


def exports(script: str) -> dict[str, str]:
    """The variables that a script exports, with their values."""
    known: dict[str, str] = {}
    exported = {"PATH"}  # every shell starts with PATH exported
    for words in _simple_commands(script):
        exporting = words[0] == "export"
        for word in words[1:] if exporting else words:
            name, sign, value = word.partition("=")
            if not exporting and not (sign and name.isidentifier()):
                break
            if sign:
                known[name] = expand(value, known)
            if exporting:
                exported.add(name)
    return {name: value for name, value in known.items() if name in exported}


def _calls_of(words: list[str], variables: dict[str, str], folder: str) -> list[PixiCall]:
    """The words after `pixi` as calls, one for each environment that they name."""
    command, options = _parse_options(words)
    option_names = {name for name, _ in options}
    lock_mode = "locked" if "--locked" in option_names or variables.get("PIXI_LOCKED", "") in ("true", "1") else ""
    frozen = option_names & {"--frozen", "--as-is", "--no-install"} or variables.get("PIXI_FROZEN", "") in ("true", "1")
    lock_mode = lock_mode or ("frozen" if frozen else "")
    manifest = next((expand(value, variables) for name, value in options if name == "--manifest-path"), None)
    environment_words = [value for name, value in options if name == "--environment" and value]
    if command in ("install", "i", "reinstall") and option_names & {"--all", "-a"}:
        return [PixiCall(tuple(words), command, ALL_ENVIRONMENTS, "", lock_mode, manifest, variables, folder)]
    calls = []
    for environment_word in environment_words or [variables.get("PIXI_ENVIRONMENT_NAME") or "default"]:
        unset: set[str] = set()
        environment = expand(environment_word, variables, unset)
        calls.append(
            PixiCall(
                tuple(words),
                command,
                environment,
                environment_word,
                lock_mode,
                manifest,
                variables,
                folder,
                tuple(sorted(unset)),
            )
        )
    return calls


def _parse_options(words: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """Pixi's command, and Pixi's own options with their values; an option without a value has an empty one."""
    command, options, remaining = "", [], iter(words)
    for word in remaining:
        if word == "--":
            break
        if not word.startswith("-"):
            if command in RUN_COMMANDS:
                break
            command = command or word
        elif word.startswith("--"):
            name, sign, value = word.partition("=")
            options.append((name, value if sign or name not in OPTIONS_WITH_VALUE else next(remaining, "")))
        else:
            for end, letter in enumerate(word[1:], 2):
                if letter in SHORT_OPTIONS:
                    options.append((SHORT_OPTIONS[letter], word[end:].removeprefix("=") or next(remaining, "")))
                    break
                options.append((f"-{letter}", ""))
    return command, options
