"""Parse a Dockerfile: its instructions with their line numbers, and its stages with the variables at each step.

Written from Docker's reference of the format: parser directives, continued lines with comments and empty lines inside
them, heredocs, the JSON form, ARG and FROM with build arguments, and stages that start from other stages. No library on
PyPI parses heredocs and stages. hadolint does, and `container-check` runs it as well if it is installed.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from workshop.errors import WorkshopError
from workshop.support import files

INSTRUCTIONS = frozenset(
    "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME "
    "WORKDIR".split()
)
SHELLS = ("sh", "bash", "dash", "zsh")
# Instructions with a JSON form. In all others a bracket has no special meaning.
JSON_FORM = ("ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME")
# Arguments that the builder sets. In FROM they have a value even if no ARG declares them.
PREDEFINED_ARGS = {
    "TARGETPLATFORM": "linux/amd64",
    "BUILDPLATFORM": "linux/amd64",
    "TARGETOS": "linux",
    "BUILDOS": "linux",
    "TARGETARCH": "amd64",
    "BUILDARCH": "amd64",
    "TARGETVARIANT": "",
    "BUILDVARIANT": "",
    "TARGETSTAGE": "",
}
# Limits, far above what a container file needs, so that no file takes more than seconds or fills the memory.
LONGEST_LINE = 65_535  # characters; BuildKit's own limit
MOST_INSTRUCTIONS = 1000
MOST_LINES = 100_000
MOST_TEXT = 2**17  # characters of all instructions together, without comments
LONGEST_INSTRUCTION = 2**15  # characters with the heredocs that a shell executes
MOST_HEREDOCS = 20  # of an instruction
MOST_VARIABLES = 1000  # of a stage
LONGEST_VALUE = 2**15  # characters of a variable
LONGEST_PATH = 4096  # of a working directory, as in Linux
LONGEST_EXPANSION = 2**20  # characters of a text with its variables replaced
LONGEST_PATTERN = 1000  # characters of a value from which a pattern is cut, as in ${NAME#*/}
# A word that starts a heredoc: in a Dockerfile as BuildKit defines it, and in a shell script.
_HEREDOC = re.compile(r"\d*<<(-?)([^<]+)$")
_SHELL_HEREDOC = re.compile(r"\d*<<(-?)([\"']?)([A-Za-z_][\w.]*)\2(?=[;&|>)]|$)")
# ARG NAME = VALUE, or ARG NAME= followed by the name of an image. Docker takes the words for names of arguments.
_SPACED_ARG = re.compile(r"^\w+(?:[ \t]+=|=[ \t]+[\w.-]*[:/@])")
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:?[-+?]|##?|%%?|//?)((?:[^{}]|\$\{[^{}]*\})*))?\})")


@dataclass(frozen=True)
class Instruction:
    """One instruction. flags: its `--name=value` as pairs. text: the rest, with continued lines joined."""

    name: str
    flags: tuple[tuple[str, str], ...]
    text: str
    heredocs: tuple[str, ...]
    line: int

    @cached_property
    def words(self) -> list[str]:
        """The list of the JSON form, or the words of the text with their quotes."""
        listed = self.exec_form
        return split(self.text) if listed is None else listed

    @cached_property
    def exec_form(self) -> list[str] | None:
        """The list of the JSON form, as in CMD ["python", "train.py"]; None in the shell form.

        Like BuildKit, this ignores what follows the list.
        """
        if self.name not in JSON_FORM or not self.text.startswith("["):
            return None
        try:
            listed, _ = json.JSONDecoder().raw_decode(self.text)
        except (ValueError, RecursionError):
            return None
        return listed if isinstance(listed, list) and all(isinstance(word, str) for word in listed) else None

    @cached_property
    def script(self) -> str:
        """The shell script that the instruction runs: its text, then the heredocs that a shell executes."""
        listed = self.exec_form
        if listed is not None:
            return shlex.join(listed)
        scripts = [body for body in self.heredocs if runs_heredoc(self.text) and _is_shell_script(body)]
        return "\n".join([self.text, *scripts])

    @property
    def content(self) -> str:
        """The text with all heredocs, those that are data included."""
        return "\n".join([self.text, *self.heredocs])

    def flag(self, name: str) -> str | None:
        return next((value for key, value in self.flags if key == name), None)


@dataclass(frozen=True)
class Step:
    """An instruction in its stage, with the arguments and variables (`values`) and the WORKDIR in force before it."""

    instruction: Instruction
    values: dict[str, str]
    workdir: str

    @cached_property
    def words(self) -> list[str]:
        """The words of the instruction with variables replaced."""
        return [expand(word, self.values) for word in self.instruction.words]


@dataclass
class Stage:
    """A stage, evaluated with the build arguments. env, user, labels and the others are those at its end.

    base: the image in FROM with variables replaced, or the name of the stage `parent`. unset: the variables in FROM
    that have no value.
    """

    number: int
    name: str
    base: str
    line: int
    parent: Stage | None = None
    unset: tuple[str, ...] = ()
    steps: list[Step] = field(default_factory=list)
    arguments: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str | None = None
    entrypoint: Instruction | None = None
    command: Instruction | None = None
    healthcheck: Instruction | None = None

    def lineage(self) -> list[Stage]:
        """This stage and the stages that it starts from, the earliest first."""
        stages: list[Stage] = [self]
        while stages[-1].parent is not None:
            stages.append(stages[-1].parent)
        return stages[::-1]


def read(path: Path) -> list[Instruction]:
    """The instructions of a Dockerfile. Raises WorkshopError, with the line, if it is not valid."""
    try:
        content = files.read_bytes(path)
    except OSError as error:
        next_step = "name another file, or create this one"
        raise WorkshopError(
            looked_at=path, expected="a Dockerfile", found=str(error.strerror), next_step=next_step
        ) from error
    return parse(content.decode("utf-8-sig", errors="replace"), path)


def parse(text: str, path: Path) -> list[Instruction]:
    """The instructions in `text`; `path` appears in messages."""
    if "\0" in text or "\ufffd" in text:
        raise _syntax_error(path, 1, "text in UTF-8", "bytes that are not UTF-8")
    lines = text.replace("\r\n", "\n").split("\n")
    if len(lines) > MOST_LINES:
        raise _syntax_error(path, MOST_LINES + 1, f"at most {MOST_LINES:,} lines", f"{len(lines):,}")
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            raise _syntax_error(path, number, f"at most {LONGEST_LINE:,} characters", f"{len(line):,}")
    escape = _escape(lines)
    continuation = re.compile(re.escape(escape) + r"[ \t]*$")
    instructions, number, length = [], 0, 0
    while number < len(lines):
        start, parts, continues = number, [], True
        while continues and number < len(lines):
            line = lines[number]
            number += 1
            if not line.strip() or line.lstrip().startswith("#"):
                if not parts:
                    start = number
                    continues = False
                continue  # Docker also skips them inside a continued line
            continues = continuation.search(line) is not None
            parts.append(continuation.sub("", line) if continues else line)
        text_so_far = "".join(parts)
        if not text_so_far.strip():
            continue
        length += len(text_so_far)
        if len(instructions) >= MOST_INSTRUCTIONS or length > MOST_TEXT or len(text_so_far) > LONGEST_INSTRUCTION:
            raise _too_large(path, start + 1)
        match = re.match(r"\s*(\S+)\s*(.*)", text_so_far, re.DOTALL)
        assert match is not None  # the line is not blank
        name, rest = match[1].upper(), match[2].strip()
        if name not in INSTRUCTIONS:
            raise _syntax_error(path, start + 1, "an instruction such as FROM, COPY or RUN", repr(match[1][:60]))
        if not rest:
            raise _syntax_error(path, start + 1, f"something after {name}", "the end of the line")
        flags, rest = _flags(rest)
        if not rest:
            raise _syntax_error(path, start + 1, f"something after {name}", f"nothing but --{flags[-1][0]}")
        bodies = []
        if name in ("RUN", "COPY", "ADD") and not rest.startswith("["):
            for opening in list(filter(None, map(_HEREDOC.match, split(rest))))[:MOST_HEREDOCS]:
                end = expand(opening[2], {})
                body, number = _heredoc(lines, number, end, bool(opening[1]))
                if body is None:
                    raise _syntax_error(path, start + 1, f"a line {end} that ends the heredoc", "none")
                bodies.append(body)
        instruction = Instruction(name, flags, rest, tuple(bodies), start + 1)
        length += sum(map(len, bodies))
        if length > MOST_TEXT or (name == "RUN" and len(instruction.script) > LONGEST_INSTRUCTION):
            raise _too_large(path, start + 1)
        if name in ("ENV", "LABEL") and (incomplete := _without_value(instruction)):
            raise _syntax_error(path, start + 1, f"a value for {incomplete}: {name} NAME=VALUE", f"{name} {rest[:60]}")
        if name == "ARG" and (spaced := _SPACED_ARG.search(rest)):
            expected = "no spaces around =, as in ARG NAME=VALUE"
            raise _syntax_error(path, start + 1, expected, f"ARG {rest[: spaced.end()][:60]}")
        instructions.append(instruction)
    return instructions


def _escape(lines: list[str]) -> str:
    """The escape character: a backslash, unless a directive in the first lines names another one."""
    for line in lines:
        directive = re.fullmatch(r"#\s*([A-Za-z]+)\s*=\s*(.+?)\s*", line)
        if directive is None:
            break
        if directive[1].lower() == "escape" and directive[2] in ("\\", "`"):
            return directive[2]
    return "\\"


def _flags(rest: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """The `--name=value` flags at the start of the text, and the rest of it."""
    flags = []
    while match := re.match(r"--([a-z][\w-]*)(?:=(\"[^\"]*\"|\S*))?(?:\s+|$)", rest):
        flags.append((match[1], (match[2] or "").strip('"')))
        rest = rest[match.end() :]
    return tuple(flags), rest


def _heredoc(lines: list[str], number: int, end: str, strip_tabs: bool) -> tuple[str | None, int]:
    body = []
    while number < len(lines):
        line = lines[number].lstrip("\t") if strip_tabs else lines[number]
        number += 1
        if line == end:
            return "\n".join(body), number
        body.append(line)
    return None, number


def _too_large(path: Path, line: int) -> WorkshopError:
    limits = (
        f"at most {MOST_INSTRUCTIONS:,} instructions, {MOST_TEXT // 1024:,} KiB, and {LONGEST_INSTRUCTION // 1024} KiB"
    )
    return _syntax_error(path, line, f"{limits} for one of them", "more, without the comments")


def _syntax_error(path: Path, line: int, expected: str, found: str) -> WorkshopError:
    return WorkshopError(
        looked_at=f"{path}, line {line}", expected=expected, found=found, next_step=f"correct line {line}"
    )


def heredoc_end(line: str) -> str | None:
    """The word that ends the first heredoc of a line; None without a heredoc."""
    opening = next(filter(None, map(_SHELL_HEREDOC.match, split(line))), None)
    return opening[3] if opening else None


def runs_heredoc(command: str) -> bool:
    """Whether the command executes its heredoc: it has no program of its own, or it is a shell or a pipe to one."""
    if re.search(rf"\|[ \t]*(?:sudo[ \t]+)?(?:[^\s|]*/)?(?:{'|'.join(SHELLS)})\b", command[command.find("<<") :]):
        return True
    part = re.split(r"&&|\|\||[;&|]", command[: command.find("<<")])[-1]
    words = [word for word in split(part) if not re.match(r"\d*[<>]|[A-Za-z_]\w*=", word)]
    return not words or words[0].rsplit("/", 1)[-1] in SHELLS


def _is_shell_script(body: str) -> bool:
    """False for a script whose first line names an interpreter other than a shell."""
    interpreter = re.match(r"#!\s*(\S+)[ \t]*(\S*)", body)
    return interpreter is None or any(word.rsplit("/", 1)[-1] in SHELLS for word in interpreter.groups())


def split(text: str) -> list[str]:
    """The words of a text, separated by white space outside quotes. The quotes are kept."""
    words, word, quote, escaped = [], "", "", False
    for character in text:
        if escaped:
            word, escaped = word + character, False
        elif character == "\\" and quote != "'":
            word, escaped = word + character, True
        elif quote:
            word += character
            quote = "" if character == quote else quote
        elif character in "\"'":
            word, quote = word + character, character
        elif character.isspace():
            if word:
                words.append(word)
            word = ""
        else:
            word += character
    return [*words, word] if word else words


def expand(word: str, values: Mapping[str, str], unset: set[str] | None = None) -> str:
    """A word with its quotes removed and its variables replaced, as in ${NAME:-cpu}.

    unset: a set to which the names of variables without a value are added. Raises WorkshopError if the result is too
    long: variables that contain one another several times double at each step.
    """
    result, position, quote = "", 0, ""
    while position < len(word):
        if len(result) > LONGEST_EXPANSION:
            raise _too_long(f"{word[:60]} ...", LONGEST_EXPANSION)
        character = word[position]
        if character == "\\" and quote != "'" and position + 1 < len(word):
            result, position = result + word[position + 1], position + 2
        elif character in "\"'" and quote in ("", character):
            quote, position = ("" if quote else character), position + 1
        elif character == "$" and quote != "'" and (match := _VARIABLE.match(word, position)):
            result += _parameter_value(match, values, unset)
            position = match.end()
        else:
            result, position = result + character, position + 1
    return result


def _too_long(name: str, limit: int) -> WorkshopError:
    return WorkshopError(
        looked_at=f"the variables in {name}",
        expected=f"at most {limit:,} characters once they are filled in",
        found="more: variables that contain one another several times",
        next_step="shorten the variables",
    )


def assign(values: dict[str, str], name: str, value: str) -> None:
    """Set a variable. Raises WorkshopError if its value is too long, or if there are too many variables."""
    if len(value) > LONGEST_VALUE:
        raise _too_long(name[:60], LONGEST_VALUE)
    values[name] = value
    if len(values) > MOST_VARIABLES:
        raise WorkshopError(
            looked_at=f"the variables before {name[:60]}",
            expected=f"at most {MOST_VARIABLES:,}",
            found="more",
            next_step="use fewer variables",
        )


def _parameter_value(match: re.Match[str], values: Mapping[str, str], unset: set[str] | None) -> str:
    name, operator, operand = match[1] or match[2], match[3] or "", match[4] or ""
    value = values.get(name)
    usable_value = None if value == "" and operator.startswith(":") else value
    if operator in (":-", "-"):
        return expand(operand, values, unset) if usable_value is None else usable_value
    if operator in (":+", "+"):
        return "" if usable_value is None else expand(operand, values, unset)
    if value is None and unset is not None:
        unset.add(name)
    value = value or ""
    if operator and len(value) > LONGEST_PATTERN:
        return value
    if operator in ("#", "##", "%", "%%") and value:
        lengths = range(len(value) + 1) if len(operator) == 1 else range(len(value), -1, -1)
        pattern = expand(operand, values, unset)
        if len(pattern) > LONGEST_PATTERN:
            return value
        for length in lengths:
            cut = value[:length] if operator[0] == "#" else value[len(value) - length :]
            if fnmatch.fnmatchcase(cut, pattern):
                return value[length:] if operator[0] == "#" else value[: len(value) - length]
    if operator in ("/", "//"):
        pattern, _, new = expand(operand, values, unset).partition("/")
        if len(pattern) > LONGEST_PATTERN:
            return value
        regex = re.sub(r"\\[Zz]$", "", fnmatch.translate(pattern))  # without the end of the text
        return re.sub(regex, lambda found: new if found[0] else "", value, count=1 if operator == "/" else 0)
    return value


def pairs(instruction: Instruction) -> list[tuple[str, str | None]]:
    """The names and values of ARG, ENV or LABEL, as written; the value is None for an ARG without a default."""
    first, *rest = instruction.text.split(None, 1)
    if instruction.name != "ARG" and "=" not in first:  # the old form: ENV NAME all the rest
        return [(first, "".join(rest).strip())]
    result = []
    for word in split(instruction.text):
        name, sign, value = word.partition("=")
        result.append((name.strip("\"'"), value if sign else None))
    return result


def _without_value(instruction: Instruction) -> str | None:
    """The first name in an ENV or LABEL that has no value, which Docker refuses; None if all have one."""
    first, *rest = instruction.text.split(None, 1)
    if rest and "=" not in first:  # the old form: ENV NAME VALUE
        return None
    return next((word for word in split(instruction.text) if "=" not in word), None)


def stages(instructions: list[Instruction], build_args: Mapping[str, str], path: Path) -> list[Stage]:
    """The stages, evaluated with the build arguments. Raises WorkshopError if there is no FROM."""
    global_args = dict(PREDEFINED_ARGS)
    result: list[Stage] = []
    for instruction in instructions:
        if instruction.name == "FROM":
            result.append(_new_stage(instruction, global_args, result))
        elif result:
            _apply(result[-1], instruction, global_args, build_args)
        elif instruction.name == "ARG":
            for name, default in pairs(instruction):
                if name in build_args:
                    global_args[name] = build_args[name]
                elif default is not None:
                    assign(global_args, name, expand(default, global_args))
        else:
            raise _syntax_error(path, instruction.line, "FROM first, or ARG", instruction.name)
    if not result:
        raise WorkshopError(
            looked_at=path, expected="a FROM instruction", found="none", next_step="begin with FROM and an image"
        )
    return result


def _new_stage(instruction: Instruction, global_args: dict[str, str], earlier: list[Stage]) -> Stage:
    unset: set[str] = set()
    words = instruction.words
    base = expand(words[0], global_args, unset)
    name = words[2].lower() if len(words) == 3 and words[1].upper() == "AS" else str(len(earlier))
    parent = next((stage for stage in reversed(earlier) if stage.name == base.lower()), None)
    if parent is None:
        return Stage(len(earlier), name, base, instruction.line, None, tuple(sorted(unset)))
    return Stage(
        len(earlier),
        name,
        base,
        instruction.line,
        parent,
        (),
        [],
        dict(parent.arguments),
        dict(parent.env),
        dict(parent.labels),
        parent.workdir,
        parent.user,
        parent.entrypoint,
        parent.command,
        parent.healthcheck,
    )


def _apply(stage: Stage, instruction: Instruction, global_args: dict[str, str], build_args: Mapping[str, str]) -> None:
    """Append the instruction to the stage as a step, and apply its effect."""
    values = stage.arguments | stage.env
    if stage.steps and stage.steps[-1].values == values:
        values = stage.steps[-1].values  # one dictionary for the steps between two ENV
    stage.steps.append(Step(instruction, values, stage.workdir))
    name = instruction.name
    if name == "ARG":
        for key, default in pairs(instruction):
            value = build_args.get(key, global_args.get(key) if default is None else expand(default, values))
            if value is not None:
                assign(stage.arguments, key, value)
    elif name in ("ENV", "LABEL"):
        target = stage.env if name == "ENV" else stage.labels
        for key, value in pairs(instruction):
            assign(target, expand(key, values), expand(value or "", values))
    elif name == "USER":
        stage.user = expand(instruction.text, values)
    elif name == "WORKDIR":
        stage.workdir = absolute(expand(instruction.text, values), stage.workdir)
        if len(stage.workdir) > LONGEST_PATH:
            raise _too_long("WORKDIR", LONGEST_PATH)
    elif name == "ENTRYPOINT":
        stage.entrypoint = None if instruction.exec_form == [] else instruction
        if not any(step.instruction.name == "CMD" for step in stage.steps):
            stage.command = None  # a new ENTRYPOINT resets the CMD of the base image
    elif name == "CMD":
        stage.command = None if instruction.exec_form == [] else instruction
    elif name == "HEALTHCHECK":
        stage.healthcheck = None if instruction.text.upper() == "NONE" else instruction


def health_command(healthcheck: Instruction) -> Instruction:
    """The command of a HEALTHCHECK, as a CMD instruction."""
    return replace(healthcheck, name="CMD", text=re.sub(r"(?i)^CMD\s*", "", healthcheck.text))


def absolute(path: str, workdir: str) -> str:
    """A path inside an image, made absolute and normalized: without `.`, `..` and double slashes."""
    parts: list[str] = []
    for part in (path if path.startswith("/") else f"{workdir}/{path}").split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)
