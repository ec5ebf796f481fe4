"""Parse a shell script: its commands, and its calls of Pixi, as far as they can be known without running it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import PurePosixPath

from workshop.containers.dockerfile import SHELLS, assign, expand, heredoc_end, runs_heredoc
from workshop.errors import WorkshopError

# The commands of Pixi that install an environment, and first solve it again unless --locked or --frozen is given.
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
MAX_DEPTH = 20  # of `$(...)` and `sh -c` inside one another
MAX_SUBSTITUTIONS = 100  # in one script
_MARK = re.compile(r"\0(\d+)\0")  # a substitution that was cut out of a script
MOST_COMMANDS = 2000  # in one script
MOST_ENVIRONMENTS = 20  # that one call of Pixi names
ALL_ENVIRONMENTS = "*"  # the environment of `pixi install --all`
LOCK_CHANGING_COMMANDS = ("add", "remove", "rm", "update", "upgrade", "lock", "init")


@dataclass(frozen=True)
class PixiCall:
    """One call of Pixi in a script.

    environment: its name (`default` if the call names none, or ALL_ENVIRONMENTS). environment_word: the same as it is
    written, with variables; empty with --all. unset: the variables in that word that have no value. lock_mode:
    `locked`, `frozen` or empty. folder: the working directory, absolute or relative to that of the script.
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


def commands(script: str, values: Mapping[str, str], depth: int = 0) -> list[tuple[dict[str, str], list[str]]]:
    """The simple commands of a script, each as (variables in force, words).

    values: the variables when the script starts. The words still contain their variables: `expand` fills them in.
    Commands in `$(...)` precede the command that contains them. depth: the number of surrounding scripts.
    """
    known = dict(values)
    result: list[tuple[dict[str, str], list[str]]] = []
    scope = dict(known)  # shared by the commands between two assignments
    script, substitutions = _cut_out(_without_data(script))
    for words in _simple_commands(script):
        if depth < MAX_DEPTH:
            for number in _MARK.findall(" ".join(words)):
                inner = commands(substitutions[int(number)], known, depth + 1)
                result += [
                    command for command in inner if command[1][0] != "cd"
                ]  # a subshell changes only its own folder
        words = [_MARK.sub("", word) for word in words]
        settings = {}
        while words and (assigned := re.fullmatch(r"([A-Za-z_]\w*)=(.*)", words[0], re.DOTALL)):
            assign(settings, assigned[1], expand(assigned[2], known))
            words = words[1:]
        if words and words[0] == "export":
            for word in words[1:]:
                name, sign, value = word.partition("=")
                if sign:
                    assign(known, name, expand(value, known))
            continue
        if not words:
            for name, value in settings.items():
                assign(known, name, value)
            continue
        scope = {**known, **settings} if settings or scope != known else scope
        is_shell = PurePosixPath(words[0]).name in SHELLS
        script_option = (
            next((n for n, word in enumerate(words) if re.fullmatch(r"-[a-z]*c", word)), None) if is_shell else None
        )
        if script_option is not None and script_option + 1 < len(words):
            result += commands(words[script_option + 1], scope, depth + 1) if depth < MAX_DEPTH else []
        else:
            result.append((scope, words))
    return result


def _without_data(script: str) -> str:
    """The script without its heredocs, except those that a shell executes."""
    lines, result, number = script.split("\n"), [], 0
    last = {line.strip(): position for position, line in enumerate(lines)}
    while number < len(lines):
        line = lines[number]
        is_run = runs_heredoc(line) if "<<" in line else False
        result.append(line)
        number += 1
        end = heredoc_end(line) if "<<" in line else None
        if end is None or last.get(end, -1) < number:
            continue
        while lines[number].strip() != end:
            if is_run:
                result.append(lines[number])
            number += 1
        number += 1
    return "\n".join(result)


def _cut_out(script: str) -> tuple[str, list[str]]:
    """The script without comments, with each `$(...)` and `...` outside single quotes replaced by \\0N\\0; their texts."""
    script = script.replace("\0", "")  # which no shell accepts, and which marks a substitution here
    parts, substitutions, quote, position = [], [], "", 0
    closed = True  # an unclosed `$(` is looked for only once
    while position < len(script):
        character = script[position]
        if character == "\\" and quote != "'":
            parts.append(script[position : position + 2])
            position += 2
            continue
        if character == "#" and not quote and (position == 0 or script[position - 1] in " \t\n;&|("):
            end = script.find("\n", position)
            position = end if end >= 0 else len(script)
            continue
        start, end = position + 1, -1
        if quote != "'" and len(substitutions) < MAX_SUBSTITUTIONS:
            if character == "$" and closed and script.startswith("(", start):
                start += 1
                end = _closing_parenthesis(script, start)
                closed = end >= 0
            elif character == "`":
                end = script.find("`", start)
        if end >= 0:
            parts.append(f"\0{len(substitutions)}\0")
            substitutions.append(script[start:end])
            position = end + 1
            continue
        if character in "\"'" and quote in ("", character):
            quote = "" if quote else character
        parts.append(character)
        position += 1
    return "".join(parts), substitutions


def _closing_parenthesis(script: str, position: int) -> int:
    """The position of the parenthesis that closes the one before `position`; -1 without one."""
    depth, quote = 1, ""
    while position < len(script):
        character = script[position]
        if character == "\\" and quote != "'":
            position += 1
        elif character in "\"'" and quote in ("", character):
            quote = "" if quote else character
        elif not quote and character in "()":
            depth += 1 if character == "(" else -1
            if depth == 0:
                return position
        position += 1
    return -1


def split_commands(script: str) -> Iterator[tuple[list[str], str]]:
    """The simple commands of a script, each with the sign that follows it. Raises ValueError at an unclosed quote."""
    text = re.sub(r"\\\n", " ", script).replace("\n", " ; ")
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|()")
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    for token in lexer:
        if token and set(token) <= set(";&|()"):
            if words:
                yield words, token
            words = []
        else:
            words.append(token)
    if words:
        yield words, ""


def _simple_commands(script: str) -> list[list[str]]:
    try:
        found = [words for words, _ in split_commands(script)]
    except ValueError:  # an unclosed quote: split as well as possible
        found = [words for part in re.split(r"[;&|\n]+", script) if (words := part.split())]
    if len(found) > MOST_COMMANDS:
        raise WorkshopError(
            looked_at=f"a script that begins with {_MARK.sub('$(...)', ' '.join(found[0]))[:60]}",
            expected=f"at most {MOST_COMMANDS:,} commands",
            found=f"{len(found):,}",
            next_step="put them into a file, and COPY it",
        )
    return found


def pixi_calls(script: str, values: Mapping[str, str]) -> list[PixiCall]:
    """The calls of Pixi in a script; values: the variables when it starts."""
    return _pixi_calls(script, tuple(values.items())) if "pixi" in script or "$" in script else []


@lru_cache(maxsize=2048)  # several rules need the same calls
def _pixi_calls(script: str, values: tuple[tuple[str, str], ...]) -> list[PixiCall]:
    calls, folder = [], ""
    for variables, words in commands(script, dict(values)):
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
    """The variables that a script exports, with their values. Branches that are not taken export nothing."""
    known: dict[str, str] = {}
    exported = {"PATH"}  # every shell starts with PATH exported
    for words in _executed(_cut_out(_without_data(script))[0], known):
        words = [_MARK.sub("", word) for word in words]
        exporting = words[0] == "export"
        for word in words[1:] if exporting else words:
            name, sign, value = word.partition("=")
            if not exporting and not (sign and name.isidentifier()):
                break
            if sign:
                assign(known, name, expand(value, known))
            if exporting:
                exported.add(name)
    return {name: value for name, value in known.items() if name in exported}


_CASE = re.compile(r"\bcase\s+(\S+)\s+in\b(.*?)\besac\b", re.DOTALL)
CONDITION_WORDS = ("if", "elif", "then", "else", "fi")


def _executed(script: str, known: Mapping[str, str]) -> Iterator[list[str]]:
    """The simple commands of a script that it would execute; those in a branch whose condition is unknown as well.

    known: the variables, which the caller updates between two commands.
    """
    rest, branch = script, ""
    while "esac" in rest and (case := _CASE.search(rest)):
        yield from _executed_lines(rest[: case.start()], known)
        value = expand(case[1].strip("\"'"), known)
        for branch in case[2].split(";;"):
            patterns, sign, body = branch.partition(")")
            names = [pattern.strip(" \t\n(\"'") for pattern in patterns.split("|")]
            if sign and any(fnmatchcase(value, name) for name in names):
                yield from _executed(body, known)
                break
        rest = rest[case.end() :]
    yield from _executed_lines(rest, known)


def _executed_lines(script: str, known: Mapping[str, str]) -> Iterator[list[str]]:
    """As `_executed`, for a script without `case`: `if`, `&&` and `||` with tests of texts."""
    branches: list[tuple[bool, bool]] = []  # of the surrounding ifs: whether this one is executed, whether one was
    joined, met = "", True  # the sign before the command, and the result of the command before it
    for words, sign in _commands_with_signs(script):
        before, joined = joined, sign
        while words and words[0] in CONDITION_WORDS:
            word, *words = words
            if word == "if":
                branches.append((_is_met(words, known) and all(now for now, _ in branches), False))
                words = []
            elif word == "elif" and branches:
                taken = any(branches.pop())
                branches.append((not taken and _is_met(words, known), taken))
                words = []
            elif word == "else" and branches:
                taken = any(branches.pop())
                branches.append((not taken, taken))
            elif word == "fi" and branches:
                branches.pop()
        if not words or not all(now for now, _ in branches):
            continue
        if (before == "&&" and not met) or (before == "||" and met):
            continue
        met = _is_met(words, known)
        yield words


def _is_met(words: list[str], known: Mapping[str, str]) -> bool:
    """Whether a test of two texts, or of one, holds; True for every other command."""
    negated = words[:1] == ["!"]
    words = [expand(word, known) for word in words[1 if negated else 0 :]]
    if not words or words[0] not in ("[", "[[", "test"):
        return True
    operands = [word for word in words[1:] if word not in ("]", "]]")]
    if operands[:1] == ["!"]:
        negated, operands = not negated, operands[1:]
    if len(operands) == 3 and operands[1] in ("=", "==", "!="):
        pattern = operands[2] if words[0] == "[[" else re.sub(r"([*?[])", r"[\1]", operands[2])
        met = fnmatchcase(operands[0], pattern) == (operands[1] != "!=")
    elif len(operands) <= 2 and operands[:1] in (["-n"], ["-z"]):
        met = (operands[1:2] not in ([], [""])) == (operands[0] == "-n")
    else:
        return True
    return met != negated


def _commands_with_signs(script: str) -> Iterator[tuple[list[str], str]]:
    """As `split_commands`, and nothing more after an unclosed quote."""
    with suppress(ValueError):
        yield from split_commands(script)


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
    calls, called = [], tuple(words)
    for environment_word in environment_words[:MOST_ENVIRONMENTS] or [
        variables.get("PIXI_ENVIRONMENT_NAME") or "default"
    ]:
        unset: set[str] = set()
        environment = expand(environment_word, variables, unset)
        calls.append(
            PixiCall(
                called,
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
