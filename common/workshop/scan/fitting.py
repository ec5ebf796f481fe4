"""The fits of a scan, in chunks, in one or several processes. Each result is reported as soon as it is available."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from histfactory import Scan
from workshop.errors import WorkshopError

ATTEMPTS = 3  # for a chunk whose worker process dies
Chunk = tuple[int, list[int]]  # the index of the scan, and the positions of its hypotheses
Entry = dict[str, Any]  # an entry of limits.json, without labels

# Set once in each process, so that the models are not sent with every chunk.
_scans: list[Scan] = []


def set_scans(scans: list[Scan]) -> None:
    """Set the scans of this process; the initializer of worker processes."""
    _scans[:] = scans


def fit_chunk(scan_index: int, members: list[int], mu: float) -> list[Entry]:
    """The limits of some hypotheses of one model; executors call this function."""
    model = _scans[scan_index].model
    limits = _scans[scan_index].limits(mu, members)
    entries = []
    for i, h in enumerate(members):
        converged = bool(limits.converged[i])
        entry = {
            "name": model.names[h],
            "cls_obs": float(limits.cls_obs[i]) if converged else None,
            "cls_exp": limits.cls_exp[i].tolist() if converged else None,
            "converged": converged,
        }
        if not model.has_signal[h]:
            entry["note"] = "no signal in any channel: CLs is 1"
        entries.append(entry)
    return entries


def fit_all(
    scans: list[Scan],
    names: Iterable[str],
    mu: float,
    executor_for: Callable[[list[Scan], int], Executor | None],
    report: Callable[[list[Entry]], None],
) -> None:
    """Fit the named hypotheses in chunks, and call `report` with the entries of each chunk.

    `executor_for(scans, n)` returns a new `concurrent.futures` executor for n chunks, or None to fit in this process.
    If a worker process is killed, a new executor gets the unfinished chunks. Raises WorkshopError after ATTEMPTS.
    """
    names = set(names)
    chunks: list[Chunk] = []
    for scan_index, scan in enumerate(scans):
        members = [h for h, name in enumerate(scan.model.names) if name in names]
        chunks += [(scan_index, chunk.tolist()) for chunk in scan.chunks(members)]
    for attempt in range(ATTEMPTS):
        if not chunks:
            return
        executor = executor_for(scans, len(chunks))
        if executor is None:
            set_scans(scans)
            for scan_index, members in chunks:
                report(fit_chunk(scan_index, members, mu))
            return
        unfinished = []
        with executor:
            futures = {executor.submit(fit_chunk, *chunk, mu): chunk for chunk in chunks}
            for future in as_completed(futures):
                try:
                    report(future.result())
                except BrokenProcessPool:
                    unfinished.append(futures[future])
        if unfinished and attempt + 1 < ATTEMPTS:
            print(f"\na worker process died; fitting {len(unfinished)} chunks again", file=sys.stderr)
        chunks = unfinished
    if chunks:
        scan_index, members = chunks[0]
        raise WorkshopError(
            looked_at="the worker processes",
            expected="processes that run until their fits are finished",
            found=f"killed {ATTEMPTS} times, at {scans[scan_index].model.names[members[0]]} and others",
            next_step="run the same command with --workers 1: it continues with the unfinished fits",
        )


def read_journal(path: Path) -> dict[str, Entry]:
    """The entries of an interrupted scan by name.

    Lines that cannot be read, such as a truncated last one, are ignored.
    """
    entries: dict[str, Entry] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                entries[entry["name"]] = entry
            except (ValueError, KeyError, TypeError):
                continue
    return entries
