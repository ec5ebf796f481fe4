"""The commands in a piece of shell, as far as a reader sees them without running it; and those that call Pixi."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from workshop.containers.dockerfile import expand

SHELLS = ("sh", "bash", "dash", "zsh")
# What makes Pixi solve or install, where neither --locked nor --frozen holds it to the lock.
INSTALLING = ("install", "i", "reinstall", "run", "r", "shell", "shell-hook", "s")
# What may stand before a command and leave it the command that is run.
BEFORE = ("exec", "time", "env", "sudo", "nice", "then", "do", "else", "if", "!", "{")
# Of those, whatever stands behind the first word that is no option belongs to the command.
RUNNING = ("run", "r", "exec", "x")
# What starts the command that stands behind it, or reads a file of commands.
STARTING = (*BEFORE, *SHELLS, "tini", "dumb-init", "source", "eval")
# The options of Pixi 0.77 that take a value in a word of its own. (--offline has one only behind a sign.)
VALUED = frozenset(
    "--color --environment --platform --manifest-path --workspace --script --shell --skip --skip-with-deps --only "
    "--config-file --auth-file --concurrent-downloads --concurrent-solves --pinning-strategy --pypi-keyring-provider "
    "--tls-root-certs --change-ps1".split()
)
SHORT = {"e": "--environment", "p": "--platform", "m": "--manifest-path", "w": "--workspace", "s": "--script"}
ALL = "*"  # the environment of `pixi install --all`
CHANGING = ("add", "remove", "rm", "update", "upgrade", "lock", "init")


@dataclass(frozen=True)
class PixiCall:
    """A call of Pixi. environment: as named, `default` where none is, ALL; unset: variables in it without a value.

    held: locked, frozen, or nothing. folder: where `cd` went before it, absolute or from where the script begins.
    """

    words: tuple[str, ...]
    does: str
    environment: str
    written: str
    held: str
    manifest: str | None
    variables: dict[str, str]
    folder: str = ""
    unset: tuple[str, ...] = ()


def commands(script: str, values: Mapping[str, str]) -> list[tuple[dict[str, str], list[str]]]:
    """(variables set for it, words) of each simple command, variables of `values` put in; words as far as known."""
    known = dict(values)
    found: list[tuple[dict[str, str], list[str]]] = []
    for words in _simple(script):
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
        inside = {**known, **settings}
        shell = PurePosixPath(words[0]).name in SHELLS
        flag = next((n for n, word in enumerate(words) if re.fullmatch(r"-[a-z]*c", word)), None) if shell else None
        if flag is not None and flag + 1 < len(words):
            found += commands(words[flag + 1], inside)
        else:
            found.append((inside, words))
    return found


def _simple(script: str) -> list[list[str]]:
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
    except ValueError:  # quotes that do not close: what can be seen is seen
        words = [part.split() for part in re.split(r"[;&|\n]+", script)]
    cut = [list(_before_comment(part)) for part in words]
    return [part for part in cut if part]


def _before_comment(words: list[str]) -> list[str]:
    return words[: next((n for n, word in enumerate(words) if word.startswith("#")), len(words))]


def pixi_calls(script: str, values: Mapping[str, str]) -> list[PixiCall]:
    """The calls of Pixi that a script makes."""
    found, folder = [], ""
    for variables, words in commands(script, values):
        if words[0] == "cd" and len(words) > 1:
            place = expand(words[1], variables)
            folder = place if place.startswith("/") else f"{folder}/{place}".lstrip("/") if folder else place
            continue
        start = next((n for n, word in enumerate(words) if PurePosixPath(expand(word, variables)).name == "pixi"), None)
        if start is None or (start and words[0] not in BEFORE):
            continue
        found += _calls(words[start + 1 :], variables, folder)
    return found


def programs(script: str, values: Mapping[str, str]) -> list[str]:
    """The program, or the file of commands, that each command of a script starts, without its folder."""
    found = []
    for _, words in commands(script, values):
        while len(words) > 1 and (
            words[0] == "." or words[0].startswith("-") or PurePosixPath(words[0]).name in STARTING
        ):
            words = words[1:]
        found.append(PurePosixPath(words[0]).name)
    return found


def exports(script: str) -> dict[str, str]:
    """The variables that a script exports, as far as they can be told."""
    known: dict[str, str] = {}
    exported = {"PATH"}  # it is, wherever a shell begins
    for words in _simple(script):
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


def _calls(words: list[str], variables: dict[str, str], folder: str) -> list[PixiCall]:
    """A call for each of the environments that it names."""
    does, options = _options(words)
    given = {name for name, _ in options}
    held = "locked" if "--locked" in given or variables.get("PIXI_LOCKED", "") in ("true", "1") else ""
    frozen = given & {"--frozen", "--as-is", "--no-install"} or variables.get("PIXI_FROZEN", "") in ("true", "1")
    held = held or ("frozen" if frozen else "")
    manifest = next((expand(value, variables) for name, value in options if name == "--manifest-path"), None)
    named = [value for name, value in options if name == "--environment" and value]
    if does in ("install", "i", "reinstall") and given & {"--all", "-a"}:
        return [PixiCall(tuple(words), does, ALL, "", held, manifest, variables, folder)]
    found = []
    for written in named or [variables.get("PIXI_ENVIRONMENT_NAME") or "default"]:
        unset: set[str] = set()
        environment = expand(written, variables, unset)
        found.append(
            PixiCall(tuple(words), does, environment, written, held, manifest, variables, folder, tuple(sorted(unset)))
        )
    return found


def _options(words: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """The command of Pixi, and the options that are Pixi's own, each with its value or nothing."""
    does, options, left = "", [], iter(words)
    for word in left:
        if word == "--":
            break
        if not word.startswith("-"):
            if does in RUNNING:
                break
            does = does or word
        elif word.startswith("--"):
            name, sign, value = word.partition("=")
            options.append((name, value if sign or name not in VALUED else next(left, "")))
        else:
            for place, letter in enumerate(word[1:], 2):
                if letter in SHORT:
                    options.append((SHORT[letter], word[place:].removeprefix("=") or next(left, "")))
                    break
                options.append((f"-{letter}", ""))
    return does, options
