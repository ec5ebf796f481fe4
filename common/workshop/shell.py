"""Commands to type in the current folder (the advice in messages must work when pasted), and calls of git."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

WINDOWS = os.name == "nt"


def current_folder() -> Path | None:
    """The current folder; None if it has been removed, or replaced by another folder of its name."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def relative(path: Path) -> str:
    """The path relative to the current folder; absolute if it is outside."""
    here = current_folder()
    return path.relative_to(here).as_posix() if here and path.is_relative_to(here) else str(path)


def word(text: str) -> str:
    """One word of a command, safe to paste into bash or, on Windows, into PowerShell."""
    if not WINDOWS:
        return shlex.quote(text)
    return text if re.fullmatch(r"[\w@%+=:,./\\~-]+", text) else "'" + text.replace("'", "''") + "'"


def quoted(path: Path) -> str:
    """`relative`, safe to paste into a shell."""
    return word(relative(path))


def in_venv(command: str) -> str:
    """A command of the environment `.venv` in the root folder, as in `.venv/bin/pip` or `.venv\\Scripts\\pip`."""
    return f".venv\\Scripts\\{command}" if WINDOWS else f".venv/bin/{command}"


def in_folder(folder: Path, command: str) -> str:
    """A command that runs in another folder without changing the current one. A comment stays at the end."""
    command, mark, comment = command.partition("  # ")
    inside = f"pushd {quoted(folder)}; {command}; popd" if WINDOWS else f"(cd {quoted(folder)} && {command})"
    return inside + mark + comment


def free_space() -> str:
    """The command that shows the free space of the disks."""
    return "Get-PSDrive" if WINDOWS else "df -h"


def first_command() -> str:
    """The first command of the route without Pixi, as README.md gives it: install everything and check it."""
    steps = [in_venv('pip install -e ".[cpu,test]"'), in_venv("workshop check-all")]
    # Windows PowerShell 5 has no `&&`.
    return "; ".join(["py -m venv .venv", *steps]) if WINDOWS else " && ".join(["python3 -m venv .venv", *steps])


def python(folder: Path | None = None) -> str:
    """The command that starts this interpreter: `pixi run -e NAME python` under Pixi, otherwise the interpreter's path.

    folder: where the command is typed, if not in the current folder. WORKSHOP_REVISION is set in images, which set
    PIXI_ENVIRONMENT_NAME but contain no Pixi.
    """
    if "WORKSHOP_REVISION" not in os.environ and (name := os.environ.get("PIXI_ENVIRONMENT_NAME")):
        return f"pixi run -e {word(name)} python"
    path = relative(Path(sys.executable)) if sys.executable else "python"
    here = folder.absolute() if folder else current_folder()
    in_clone = here and any(Path(path).is_relative_to(parent / ".venv") for parent in here.parents)
    if here and sys.executable and (in_clone or (folder and not Path(path).is_absolute())):
        path = Path(os.path.relpath(sys.executable, here)).as_posix()
    path = word(path)
    return f"& {path}" if path.startswith("'") and WINDOWS else path  # PowerShell runs a path in quotes only after `&`


def script(path: Path, *words: str) -> str:
    """The command that runs a script with these arguments, with torchrun if this process was started by it."""
    start = python()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        here = os.environ.get("LOCAL_WORLD_SIZE", "2")
        start += f" -m torch.distributed.run --nproc-per-node {here}"
    return " ".join([start, quoted(path), *map(word, words)])


def git_bytes(folder: Path, *words: str) -> bytes | None:
    """The output of git in a folder; None if git fails, is missing or takes longer than 30 seconds."""
    # In a git hook these variables may point to another checkout.
    variables = {k: v for k, v in os.environ.items() if k not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")}
    line = ["git", "-C", str(folder), *words]
    try:
        process = subprocess.run(line, capture_output=True, timeout=30, env=variables)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout if process.returncode == 0 else None


def git(folder: Path, *words: str) -> str | None:
    """`git_bytes` as text, without the white space around it."""
    printed = git_bytes(folder, *words)
    return None if printed is None else printed.decode("utf-8", "replace").strip()
