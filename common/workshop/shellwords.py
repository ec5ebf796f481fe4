"""The commands in a piece of shell, as far as a reader sees them without running it; and those that call Pixi."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from workshop.dockerfile import expand

SHELLS = ("sh", "bash", "dash", "zsh")
# What makes Pixi solve or install, where neither --locked nor --frozen holds it to the lock.
INSTALLING = ("install", "i", "reinstall", "run", "r", "shell", "shell-hook", "s")
# What may stand before a command and leave it the command that is run.
BEFORE = ("exec", "time", "env", "sudo", "nice", "then", "do", "else", "if", "!", "{")
CHANGING = ("add", "remove", "rm", "update", "upgrade", "lock", "init")


@dataclass(frozen=True)
class PixiCall:
    """A call of Pixi. environment: as named, `default` where none is; unset: variables in the name without a value.

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
        found.append(_call(words[start + 1 :], variables, folder))
    return found


def exports(script: str) -> dict[str, str]:
    """The variables that a script exports, as far as they can be told."""
    found: dict[str, str] = {}
    for words in _simple(script):
        exported = words[0] == "export"
        for word in words[1:] if exported else []:
            name, sign, value = word.partition("=")
            if sign:
                found[name] = expand(value, found)
    return found


def _call(words: list[str], variables: dict[str, str], folder: str) -> PixiCall:
    does = next((word for word in words if not word.startswith("-")), "")
    written = _option(words, ("-e", "--environment")) or variables.get("PIXI_ENVIRONMENT_NAME") or "default"
    unset: set[str] = set()
    environment = expand(written, variables, unset)
    flags = [word for word in words if word in ("--locked", "--frozen", "--as-is", "--no-install")]
    held = "locked" if "--locked" in flags or variables.get("PIXI_LOCKED", "") in ("true", "1") else ""
    if not held and (flags or variables.get("PIXI_FROZEN", "") in ("true", "1")):
        held = "frozen"
    manifest = _option(words, ("--manifest-path", "-m"))
    manifest = manifest and expand(manifest, variables)
    return PixiCall(tuple(words), does, environment, written, held, manifest, variables, folder, tuple(sorted(unset)))


def _option(words: list[str], names: tuple[str, ...]) -> str | None:
    for number, word in enumerate(words):
        if word in names and number + 1 < len(words):
            return words[number + 1]
        for name in names:
            if word.startswith(f"{name}="):
                return word[len(name) + 1 :]
            if len(name) == 2 and word.startswith(name) and len(word) > 2 and word[2] != "-":
                return word[2:]
    return None
