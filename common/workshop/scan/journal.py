"""The journal of a scan: a line for each finished fit, from which an interrupted scan continues.

Each line is a checksum and an entry in JSON. A line that was changed, cut off or copied from another scan, or whose
entry has another form, is ignored, and its hypothesis is fitted again. Only one scan at a time writes to a journal.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from workshop import shell
from workshop.errors import WorkshopError
from workshop.scan.worker import Entry
from workshop.support.files import LARGE, read_bytes, write_atomic

CLS_KEYS, LIMIT_KEYS = ("cls_obs", "cls_exp"), ("upper_limit_obs", "upper_limit_exp")
LOG_L_KEYS = {"at_0", "at_mu", "at_mu_hat"}
TEXT_KEYS = {"reason", "note", "minimum"}


@contextmanager
def opened(path: Path, key: str) -> Iterator[tuple[dict[str, Entry], Callable[[list[Entry]], None]]]:
    """The valid entries of a journal by name, and a function that appends entries. key: identifies the scan.

    Lines that cannot be used are removed first: a new line must not be appended to one that was cut off. Raises
    WorkshopError if another process has opened the journal, or if it cannot be written, as on a full disk.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise WorkshopError(
            looked_at=path,
            expected="a journal to which no other process writes",
            found="the same scan is running already",
            next_step="wait until it has finished: `workshop runs` shows how far it is",
        ) from None
    except NotImplementedError:
        pass  # a file system without locks
    try:
        entries = read(path, key)
        valid = _lines(entries.values(), key)
        with _writing(path):
            if path.exists() and path.read_bytes().startswith(valid):  # only its end is removed, which needs no room
                os.truncate(path, len(valid))
            else:
                write_atomic(path, valid)
        with path.open("ab", buffering=0) as file:  # unbuffered: after an error, nothing is left to write

            def append(new: list[Entry]) -> None:
                rest = _lines(new, key)
                with _writing(path):
                    while rest:
                        rest = rest[file.write(rest) :]

            yield entries, append
    finally:
        lock.release()
        path.with_suffix(".lock").unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn an error of the system into a WorkshopError about the journal."""
    try:
        yield
    except OSError as error:
        raise WorkshopError(
            looked_at=path,
            expected="the journal of the scan, with a line for each finished fit, on a disk that can be written",
            found=error.strerror or str(error),
            next_step=f"make room there (`{shell.free_space()}`), and run the same command again: finished fits are kept",
        ) from error


def _lines(entries: Iterable[Entry], key: str) -> bytes:
    return "".join(line_of(entry, key) for entry in entries).encode()


def line_of(entry: Entry, key: str) -> str:
    """The line of an entry. key: identifies the scan."""
    text = json.dumps(entry)
    return f"{_checksum(text, key)} {text}\n"


def _checksum(text: str, key: str) -> str:
    return hashlib.sha256(f"{key} {text}".encode()).hexdigest()


def read(path: Path, key: str) -> dict[str, Entry]:
    """The valid entries of a journal by name. Raises WorkshopError if `path` cannot be read."""
    entries: dict[str, Entry] = {}
    try:
        content = read_bytes(path, LARGE)  # a line has at most a few hundred bytes
    except FileNotFoundError:
        return entries
    except OSError as error:
        raise WorkshopError(
            looked_at=path,
            expected="the journal of an interrupted scan",
            found=error.strerror or str(error),
            next_step="remove it, and run the same command again",
        ) from error
    for line in content.splitlines():
        try:
            checksum, _, text = line.decode("ascii").partition(" ")
            if checksum == _checksum(text, key):
                entry = json.loads(text)
                if is_entry(entry):
                    entries.setdefault(entry["name"], entry)
        except (ValueError, RecursionError):  # not ASCII, not JSON, or nested too deeply
            continue
    return entries


def is_entry(entry: object) -> bool:
    """Whether this is an entry as `worker.entry_of` writes it."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        return False
    converged = entry.get("converged")
    if not isinstance(converged, bool) or any((entry.get(key) is None) is converged for key in CLS_KEYS):
        return False
    known = {"name", "converged", "mu_hat", "q", "q_asimov", "log_l", *CLS_KEYS, *LIMIT_KEYS, *TEXT_KEYS}
    if not entry.keys() <= known or not all(isinstance(entry[key], str) for key in TEXT_KEYS & entry.keys()):
        return False
    if any((key in entry) is not (LIMIT_KEYS[0] in entry) for key in LIMIT_KEYS):
        return False
    if LIMIT_KEYS[0] in entry:
        limits = entry["upper_limit_exp"]
        if not isinstance(limits, list) or len(limits) != 5:
            return False
        if not all(limit is None or _is_number(limit) for limit in (entry["upper_limit_obs"], *limits)):
            return False
    if not converged:
        return "reason" in entry
    log_l, expected = entry.get("log_l"), entry["cls_exp"]
    if not isinstance(log_l, dict) or log_l.keys() != LOG_L_KEYS or not all(map(_is_number, log_l.values())):
        return False
    if not isinstance(expected, list) or len(expected) != 5:
        return False
    if not all(_is_number(cls) and 0 <= cls <= 1.000001 for cls in (entry["cls_obs"], *expected)):
        return False
    return all(_is_number(entry.get(key)) for key in ("mu_hat", "q", "q_asimov"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
