"""Parsers for batch scripts (Slurm) and submit files (HTCondor), stricter than sbatch and condor_submit.

sbatch ignores an option below the first command. condor_submit takes a misspelt key for a variable of yours and prints
only a warning. Without these parsers you would notice either mistake after a night in the queue. jobs.json contains the
options of sbatch and the keys of HTCondor.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from workshop import shell
from workshop.errors import WorkshopError
from workshop.support import files
from workshop.support.text import closest_match

MOST_LINES, LONGEST_LINE = 10_000, 10_000  # of a job file; reading that much takes a second
LONGEST_VALUE = 100_000  # characters of a value with its macros filled in
MOST_TASKS = 100_000  # of an array; Slurm's default limit is 1,001
LONGEST_EXPRESSION = 1000  # characters
NAMES_FILE = Path(__file__).with_name("jobs.json")
# Macros that HTCondor defines for every submit file.
PREDEFINED_MACROS = {
    "cluster",
    "clusterid",
    "process",
    "procid",
    "item",
    "itemindex",
    "row",
    "step",
    "node",
    "submit_file",
    "submit_time",
    "year",
    "month",
    "day",
    "arch",
    "opsys",
    "opsysver",
    "opsysandver",
    "dollar",
    "is_linux",
    "is_windows",
}


@dataclass(frozen=True)
class BatchScript:
    """A batch script: its text, and its #SBATCH options by long name (of two equal options, the last one counts)."""

    path: Path
    text: str
    options: dict[str, str]


@dataclass(frozen=True)
class SubmitFile:
    """A submit file: its keys in lower case with their values, with each $(NAME) that the file defines filled in."""

    path: Path
    keys: dict[str, str]
    queue: str  # what follows `queue`


@cache
def known_names() -> dict[str, Any]:
    return json.loads(NAMES_FILE.read_text(encoding="utf-8"))


def read_text(path: Path, what: str) -> str:
    """The file's text. Raises WorkshopError if it is missing, is not UTF-8, or has Windows line endings."""
    try:
        text = files.read_bytes(path).decode()
    except FileNotFoundError:
        raise WorkshopError(
            looked_at=path, expected=what, found="no such file", next_step=f"git checkout -- {shell.quoted(path)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        found = str(error.strerror) if isinstance(error, OSError) else str(error)
        raise WorkshopError(
            looked_at=path, expected=what, found=found, next_step=f"file {shell.quoted(path)}"
        ) from error
    number, longest = text.count("\n"), max(map(len, text.split("\n")))
    if "\0" in text or number > MOST_LINES or longest > LONGEST_LINE:
        found = f"{number:,} lines, the longest of {longest:,} characters"
        raise WorkshopError(
            looked_at=path,
            expected=f"{what} of at most {MOST_LINES:,} lines of {LONGEST_LINE:,} characters, without zero bytes",
            found="a zero byte" if "\0" in text else found,
            next_step=f"file {shell.quoted(path)}",
        )
    if "\r\n" in text:
        advice = f"sed -i 's/\\r$//' {shell.quoted(path)}"
        raise WorkshopError(
            looked_at=path,
            expected="Unix line endings (LF)",
            found="Windows line endings (CRLF), which sbatch and bash do not accept",
            next_step=advice,
        )
    return text


def read_batch(path: Path) -> BatchScript:
    """The options of a batch script: its #SBATCH lines above the first command.

    Raises WorkshopError if the first line is not `#!...`, if sbatch does not know an option or its value is missing, if
    a line looks like an option but is a comment for sbatch, or if an option is below the first command.
    """
    text = read_text(path, "a batch script")
    lines = text.splitlines()
    if not lines or not lines[0].startswith("#!"):
        raise WorkshopError(
            looked_at=f"the first line of {path.name}",
            expected="the interpreter, as in #!/usr/bin/env bash",
            found=repr(lines[0] if lines else ""),
            next_step="make #!/usr/bin/env bash the first line",
        )
    options: dict[str, str] = {}
    first_command = ""
    for number, line in enumerate(lines, 1):
        where = f"{path.name}, line {number}"
        if line.startswith("#SBATCH"):
            if first_command:
                raise WorkshopError(
                    looked_at=where,
                    expected="every #SBATCH line above the first command",
                    found=f"it is below {first_command!r}, where sbatch ignores it",
                    next_step="move it above the first command",
                )
            options |= parse_options(line.removeprefix("#SBATCH"), where)
        elif re.match(r"\s*#[ \t]*S?BATCH\s+-", line, re.IGNORECASE):  # ##SBATCH is a deliberate comment
            raise WorkshopError(
                looked_at=where,
                expected="#SBATCH at the beginning of the line, in capitals and without spaces",
                found=f"{line!r}, which sbatch takes for a comment",
                next_step="write #SBATCH, or remove the line",
            )
        elif line.strip() and not line.lstrip().startswith("#"):
            first_command = first_command or line.strip()
    return BatchScript(path, text, options)


def parse_options(text: str, where: str) -> dict[str, str]:
    """Options of sbatch by long name. Raises WorkshopError for an unknown option or a missing value."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        raise WorkshopError(
            looked_at=where,
            expected="options with every quote closed",
            found=f"{text.strip()} ({error})",
            next_step="close the quote",
        ) from None
    options, name_table = {}, known_names()["sbatch"]
    kinds = {name: kind for kind, table in name_table.items() for name in table}
    letters = {letter: name for table in name_table.values() for name, letter in table.items() if letter}
    name = value = ""
    while words:
        word = words.pop(0)
        if word.lower() in ("hetjob", "packjob"):
            raise WorkshopError(
                looked_at=where,
                expected="one job",
                found=f"{word}: a heterogeneous job of several components",
                next_step="remove the line",
            )
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            # Like getopt, sbatch accepts any prefix that only one option has.
            matches = [name] if name in kinds else [other for other in kinds if other.startswith(name)]
            if len(matches) != 1 or not name:
                suggestion = " or ".join(
                    f"--{other}" for other in matches[:3]
                ) or f"--{closest_match(name, kinds) or ''}".rstrip("-")
                problem = (
                    f"--{name}, which sbatch does not know"
                    if not matches
                    else f"--{name}, which is short for several options"
                )
                raise WorkshopError(
                    looked_at=where, expected="options of sbatch", found=problem, next_step=suggestion or "man sbatch"
                )
            name = matches[0]
        elif word.startswith("-") and word[1:2] in letters:
            name = letters[word[1]]
            equals, value = bool(word[2:]), word[2:]
        else:
            if value and word not in kinds and re.fullmatch(r"[\w.:]+", word):
                joined = value if name == "time" else value + (":" if name == "gres" else "") + word
                joined = joined.strip("=:")
                raise WorkshopError(
                    looked_at=where,
                    expected=f"a value of --{name} without a space",
                    found=text.strip(),
                    next_step=f"#SBATCH --{name}={joined}",
                )
            suggestion = closest_match(word.strip("-").split("=")[0], kinds)
            raise WorkshopError(
                looked_at=where,
                expected="options of sbatch, which begin with -- or -",
                found=repr(word),
                next_step=f"--{suggestion}" if suggestion else "man sbatch",
            )
        if kinds[name] == "required" and not equals:
            if not words:
                raise WorkshopError(
                    looked_at=where, expected=f"a value for --{name}", found="none", next_step=f"--{name}=..."
                )
            value = words.pop(0)
        if kinds[name] == "no" and equals:
            raise WorkshopError(
                looked_at=where, expected=f"--{name} without a value", found=value, next_step=f"--{name}"
            )
        options[name] = value
    return options


def read_submit(path: Path) -> SubmitFile:
    """The keys of a submit file.

    Raises WorkshopError for a line that is not valid, for a key that HTCondor does not know and that the file does not
    use as $(key), for a $(NAME) without a definition, and for a file without `queue`.
    """
    text = read_text(path, "a submit file")
    # The items of `queue` may be on separate lines, in parentheses.
    text = re.sub(r"(?im)^([ \t]*queue\b[^(\n]*\()([^)]*)", lambda m: m[1] + " ".join(m[2].split()), text)
    keys: dict[str, str] = {}
    lines: dict[str, int] = {}
    queue, continued = None, ""
    parts: list[str] = []
    multiline_key: tuple[str, str] | None = None  # key and end mark of a value over several lines (@=)
    for number, raw_line in enumerate(text.splitlines(), 1):
        where = f"{path.name}, line {number}"
        if multiline_key:
            if raw_line.strip() != f"@{multiline_key[1]}":
                parts.append(raw_line.strip())
                continue
            keys[multiline_key[0]] = " ".join(parts)
            multiline_key, parts = None, []
            continue
        line, continued = continued + raw_line.strip(), ""
        if line.startswith("#") or not line:
            continue
        if line.endswith("\\"):
            continued = line[:-1]
            continue
        if re.match(r"(if|elif|else|endif|include|use|error|warning)\b(?!\s*=)", line, re.IGNORECASE):
            continue
        if match := re.match(r"queue\b(?!\s*=)(.*)", line, re.IGNORECASE):
            queue = match[1].strip()
            continue
        if match := re.match(r"(\+?[\w.]+)\s*@=(\w+)\s*$", line):
            multiline_key, keys[match[1].lower()], lines[match[1].lower()] = (match[1].lower(), match[2]), "", number
        elif match := re.match(r"(\+?[\w.]+)\s*=\s*(.*)$", line):
            comment = re.search(r"\s#.*", match[2])
            if comment and '"' not in match[2]:
                raise WorkshopError(
                    looked_at=where,
                    expected="comments on lines of their own: in a value, # has no meaning for HTCondor",
                    found=repr(line),
                    next_step=f"{line.removesuffix(comment[0])}, and the comment above it",
                )
            keys[match[1].lower()], lines[match[1].lower()] = match[2].strip(), number
        else:
            raise WorkshopError(
                looked_at=where,
                expected="key = value, queue, or a comment",
                found=repr(line),
                next_step="write it as key = value",
            )
    if multiline_key:
        keys[multiline_key[0]] = " ".join(parts)
    _check_names(path, keys, lines, queue)
    return SubmitFile(path, {key: _expanded(key, keys, {}, path) for key in keys}, queue or "")


def _check_names(path: Path, keys: dict[str, str], lines: dict[str, int], queue: str | None) -> None:
    table = known_names()["htcondor"]
    values = [*keys.values(), queue or ""]
    used = {name.lower() for value in values for name in re.findall(r"\$\w*\((\w+)", value)}  # $INT(seed,%03d) as well
    # $(seed:0) has a default, and $$(Name) is an attribute of the machine: neither needs a definition.
    needed = {name.lower() for value in values for name in re.findall(r"(?<!\$)\$\((\w+)\)", value)}
    for key in keys:
        is_known = (
            key in table["keys"] or key.startswith(tuple(table["prefixes"])) or key.endswith(tuple(table["suffixes"]))
        )
        # HTCondor takes request_gpu for a resource of that name, which no machine has. A pool may have others, as in
        # request_fpgas.
        resource = f"{key}s"
        if key.startswith("request_") and resource in table["keys"]:
            raise WorkshopError(
                looked_at=f"{path.name}, line {lines[key]}",
                expected="a resource that the machines of the pool have",
                found=f"{key}, which HTCondor takes for a resource of another name; did you mean {resource}?",
                next_step=f"{resource} = {keys[key]}",
            )
        if not is_known and key not in used:
            suggestion = closest_match(key, table["keys"])
            advice = f"{suggestion} = ..." if suggestion else f"remove it, or use it as $({key})"
            raise WorkshopError(
                looked_at=f"{path.name}, line {lines[key]}",
                expected="a key that HTCondor knows, or a variable that the file uses as $(name)",
                found=f"{key}, which condor_submit would take for an unused variable",
                next_step=advice,
            )
    if queue is None:
        raise WorkshopError(
            looked_at=path.name,
            expected="a line `queue` at the end",
            found="none, so condor_submit would submit no job",
            next_step="queue",
        )
    variables = {word.lower() for word in re.split(r"[\s,]+", re.split(r"\b(?:in|from|matching)\b", queue)[0])}
    for name in sorted(needed - set(keys) - PREDEFINED_MACROS - variables):
        raise WorkshopError(
            looked_at=path.name,
            expected="a definition of every $(NAME)",
            found=f"$({name}), which is not defined",
            next_step=f"{name} = ...",
        )


def _expanded(key: str, keys: dict[str, str], expanded: dict[str, str], path: Path, above: tuple[str, ...] = ()) -> str:
    """The value of a key with its macros filled in. A macro that leads back to itself, or too far, stays as it is.

    expanded: the values that are known already. Raises WorkshopError for a value that grows too long.
    """
    if key not in expanded:
        above, length = (*above, key), 0

        def replaced(match: re.Match[str]) -> str:
            nonlocal length
            name = match[1].lower()
            if name not in keys:
                return match[2] or match[0]
            text = match[0] if name in above or len(above) > 20 else _expanded(name, keys, expanded, path, above)
            length += len(text)
            if length > LONGEST_VALUE:
                raise WorkshopError(
                    looked_at=f"{key} in {path.name}",
                    expected=f"at most {LONGEST_VALUE:,} characters once its macros are filled in",
                    found="more: macros that contain one another several times",
                    next_step=f"shorten {key}",
                )
            return text

        expanded[key] = re.sub(r"\$\((\w+)(?::([^)]*))?\)", replaced, keys[key])
    return expanded[key]


def environment_variables(submit: SubmitFile) -> dict[str, str]:
    """The variables that a submit file sets, as "A=1 B='x y'" or in the old form A=1;B=2."""
    value = submit.keys.get("environment") or submit.keys.get("env") or ""
    if value.startswith('"') and value.endswith('"') and len(value) > 1:
        try:
            words = shlex.split(value[1:-1].replace('""', '"'))
        except ValueError as error:
            raise WorkshopError(
                looked_at=f"environment in {submit.path.name}",
                expected="every quote closed",
                found=str(error),
                next_step="close the quote",
            ) from None
    else:
        words = [word.strip() for word in value.split(";")]
    return dict(word.split("=", 1) for word in words if "=" in word)


def evaluate_expression(expression: str, code: int) -> bool | None:
    """The value of a ClassAd expression in ExitCode and ExitBySignal, for a job that exited with `code`.

    None if it depends on anything else or is not valid.
    """
    text = re.sub(r"(?i)\bExitBySignal\b", "False", re.sub(r"(?i)\bExitCode\b", str(code), expression))
    text = re.sub(r"(?i)\btrue\b", "True", re.sub(r"(?i)\bfalse\b", "False", text))
    text = text.replace("=?=", "==").replace("=!=", "!=").replace("&&", " and ").replace("||", " or ")
    text = re.sub(r"!(?!=)", " not ", text)
    if len(text) > LONGEST_EXPRESSION:
        return None
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    allowed_nodes = (
        ast.Expression,
        ast.BoolOp,
        ast.And,
        ast.Or,
        ast.UnaryOp,
        ast.Not,
        ast.Compare,
        ast.Constant,
        ast.Eq,
        ast.NotEq,
        ast.Lt,
        ast.LtE,
        ast.Gt,
        ast.GtE,
    )
    if not all(isinstance(node, allowed_nodes) for node in ast.walk(tree)):
        return None
    try:
        # Safe: the tree contains only constants and the operators above.
        return bool(eval(compile(tree, "expression", "eval"), {"__builtins__": {}}))
    except (TypeError, RecursionError):
        return None


def queued_jobs(queue: str) -> list[dict[str, str]] | None:
    """The macros of each job that a `queue` statement submits, as in `2`, `seed in (0, 1)` or `2 a, b in ...`.

    None if the items are in a file or come from a pattern of names, and if there are more than MOST_TASKS jobs.
    """
    match = re.fullmatch(r"(\d{1,6})?\s*(?:([\w,\s]*?)\s*\bin\s*\((.*)\))?", queue.strip(), re.IGNORECASE | re.DOTALL)
    if match is None:
        return None
    repeats, items = int(match[1] or 1), [{}]
    if match[3] is not None:
        names = [name for name in re.split(r"[\s,]+", match[2]) if name] or ["Item"]
        words = [word for word in re.split(r"[\s,]+", match[3].strip()) if word]
        items = [{names[0]: word} for word in words]
    if repeats * len(items) > MOST_TASKS:
        return None
    jobs = [item for item in items for _ in range(repeats)]
    return [item | {"ProcId": str(k), "Process": str(k)} for k, item in enumerate(jobs)]


def array_indices(array: str) -> list[int]:
    """The task indices of --array, as in 0-15:4%2 or 1,3,5-7.

    Empty if the value is not valid, or has more than MOST_TASKS tasks.
    """
    result: list[int] = []
    for part in array.split("%")[0].split(",") if array else []:
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?(?::(\d{1,9}))?", part, re.ASCII)
        if match is None:
            return []
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1) or 1
        tasks = range(first, last + 1, step)
        if len(result) + len(tasks) > MOST_TASKS:
            return []
        result += tasks
    return result


def memory_in_mib(memory: str) -> float | None:
    """A memory size of sbatch (MiB, or a number with K, M, G or T) in MiB; None if it is not valid."""
    match = re.fullmatch(r"(\d{1,18})([KMGT]?)B?", memory, re.IGNORECASE)
    return int(match[1]) * {"K": 2**-10, "": 1, "M": 1, "G": 2**10, "T": 2**20}[match[2].upper()] if match else None


def condor_size_in_mib(size: str, unit: float) -> float | None:
    """A size of HTCondor in MiB, such as 4 GB, 4096 or 4G; None for an expression. unit: MiB of a bare number."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", size.strip(), re.IGNORECASE)
    factors = {"K": 2**-10, "": unit, "M": 1, "G": 2**10, "T": 2**20}
    return float(match[1]) * factors[match[2].upper()] if match else None


def time_in_minutes(limit: str) -> float | None:
    """A time limit of Slurm (minutes, m:s, h:m:s, d-h, d-h:m or d-h:m:s) in minutes; None if it is not valid."""
    match = re.fullmatch(r"(?:(\d{1,9})-)?(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?", limit)
    if not match:
        return None
    days, *rest = match.groups()
    numbers = [int(part) for part in rest if part is not None]
    if days is not None:
        hours, mins, seconds = (numbers + [0, 0])[:3]
        return int(days) * 1440 + hours * 60 + mins + seconds / 60
    hours, mins, seconds = {1: (0, numbers[0], 0), 2: (0, *numbers), 3: tuple(numbers)}[len(numbers)]
    return hours * 60 + mins + seconds / 60
