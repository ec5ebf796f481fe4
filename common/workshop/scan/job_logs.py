"""Why a job failed, from the text that its processes wrote to stderr. Parsl keeps it in a file for each job."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

FILES = ("*.stderr", "*.sh.err")  # of the providers for Slurm and HTCondor, and of the one for this machine
LABEL = re.compile(r"^ *(\d+): ")  # `srun -l` writes the number of the process before each line
TRACEBACK, IGNORED = "Traceback (most recent call last):", "Exception ignored in"
EXCEPTION = re.compile(r"(?:\w+\.)*([A-Z]\w*)(?:: .*)?")  # the line after a traceback
LINKS = ("During handling of the above exception", "The above exception was the direct cause")


def last_error(folder: Path) -> str:
    """The reason for which the last job failed that has one in its log, or "" if there are no logs.

    If no log contains an exception, this is what the last job wrote (`last_line`).
    """
    paths = sorted((path for name in FILES for path in folder.rglob(name)), key=lambda path: path.stat().st_mtime)
    logs = [path.read_text(errors="replace") for path in reversed(paths)]
    return next(filter(None, map(cause, logs)), "") or (last_line(logs[0]) if logs else "")


def cause(log: str) -> str:
    """The first exception in a log, or "": later ones are often its consequences, in another process of the job.

    If this exception led to others in the same process, the last one of them is added: either can be the clearer one.
    """
    processes: dict[str, list[tuple[int, str]]] = {}
    for number, line in enumerate(log.splitlines()):
        label = LABEL.match(line)
        text = line[label.end() :] if label else line
        processes.setdefault(label[1] if label else "", []).append((number, text.rstrip()))
    chains = filter(None, map(_first_chain, processes.values()))
    chain = [text for _, text in min(chains, default=[])]
    return "; then ".join(dict.fromkeys((chain[0], chain[-1]))) if chain else ""


def _first_chain(lines: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    """The first exception among the numbered lines of a process, and those to which Python links it.

    Other processes may write between the lines of a traceback. Without a traceback, which syntax errors do not have,
    the name of an exception must end in `Error`.
    """
    chain: list[tuple[int, str]] = []
    in_traceback, linked, ignored = False, True, False
    for number, line in lines:
        exception = EXCEPTION.fullmatch(line)
        if line == TRACEBACK:
            if not linked:
                break
            in_traceback = True
        elif line.startswith(LINKS):
            linked = True
        elif line.startswith(IGNORED):
            ignored = True
        elif exception and ignored:
            in_traceback = ignored = False
        elif exception and (in_traceback or (not chain and exception[1].endswith("Error"))):
            chain.append((number, line))
            in_traceback = linked = False
    return chain


def last_line(log: str) -> str:
    """The last line of a log. Preferred are lines that neither srun wrote about others, nor Python as a warning."""
    lines = [LABEL.sub("", line, count=1).rstrip() for line in log.splitlines() if line.strip()]
    chosen = [line for line in lines if not line.startswith((" ", "srun: ")) and "Warning: " not in line]
    return (chosen or lines or ["nothing"])[-1].strip()
