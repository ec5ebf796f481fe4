"""The fits of a scan, in chunks, in one or several processes. Each result is reported as soon as it is available."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np

from histfactory import Scan
from histfactory.inference import Limits
from histfactory.likelihood import saturated_log_likelihood
from histfactory.model import Model
from workshop.errors import WorkshopError
from workshop.runs import search

ATTEMPTS = 3  # for a chunk whose worker process dies
Chunk = tuple[int, list[int]]  # the index of the scan, and the positions of its hypotheses
Entry = dict[str, Any]  # an entry of limits.json, without labels

# Set once in each process, so that the models are not sent with every chunk.
_scans: list[Scan] = []


def set_scans(scans: list[Scan]) -> None:
    """Set the scans of this process."""
    _scans[:] = scans


def start_worker(scans: list[Scan]) -> None:
    """The initializer of worker processes. A worker ends with the process that started it, however that ends."""
    set_scans(scans)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def fit_chunk(scan_index: int, members: list[int], mu: float, upper_limit: bool = False) -> list[Entry]:
    """The limits of some hypotheses of one model; executors call this function."""
    model = _scans[scan_index].model
    limits = _scans[scan_index].limits(mu, members, search.LEVEL if upper_limit else None)
    return [entry_of(model, limits, i, h, upper_limit) for i, h in enumerate(members)]


def entry_of(model: Model, limits: Limits, i: int, h: int, upper_limit: bool) -> Entry:
    """The entry of hypothesis h of a model, from element i of its limits. Without numbers if a fit did not converge."""
    converged = bool(limits.converged[i])
    entry: Entry = {"name": model.names[h], "cls_obs": None, "cls_exp": None, "converged": converged}
    if converged:
        log_l = (saturated_log_likelihood(model, h) - limits.nll[i]).tolist()
        entry |= {
            "cls_obs": float(limits.cls_obs[i]),
            "cls_exp": limits.cls_exp[i].tolist(),
            "mu_hat": float(limits.mu_hat[i]),
            "q": float(limits.q[i]),
            "q_asimov": float(limits.q_asimov[i]),
            "log_l": dict(zip(("at_0", "at_mu", "at_mu_hat"), log_l, strict=True)),
        }
        if limits.several[i]:
            entry["minimum"] = "several found"
    else:
        entry["reason"] = limits.reason[i]
    if not model.has_signal[h]:
        entry["note"] = "no signal in any channel: CLs is 1"
    if upper_limit:
        observed, *expected = [float(x) if np.isfinite(x) else None for x in limits.upper_limit[i]]
        entry |= {"upper_limit_obs": observed, "upper_limit_exp": expected}
        if converged and model.has_signal[h] and None in (observed, *expected):
            bound = f"{model.upper[h, model.poi]:g}, the upper bound of {model.parameters[model.poi]!r}"
            entry["note"] = f"no upper limit (null) where CLs is above {search.LEVEL} up to {bound}, or a fit failed"
    return entry


def fit_all(
    scans: list[Scan],
    names: Iterable[str],
    mu: float,
    executor_for: Callable[[list[Scan], int], Executor | None],
    report: Callable[[list[Entry]], None],
    upper_limit: bool = False,
) -> None:
    """Fit the named hypotheses in chunks, and call `report` with the entries of each chunk.

    `executor_for(scans, n)` returns a new `concurrent.futures` executor for n chunks, or None to fit in this process.
    If a worker process is killed, a new executor gets the unfinished chunks. Raises WorkshopError after ATTEMPTS.
    """
    names = set(names)
    settings: tuple[Any, ...] = (mu, True) if upper_limit else (mu,)
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
                report(fit_chunk(scan_index, members, *settings))
            return
        unfinished = []
        with executor:
            try:
                futures = {executor.submit(fit_chunk, *chunk, *settings): chunk for chunk in chunks}
                for future in as_completed(futures):
                    try:
                        report(future.result())
                    except BrokenProcessPool:
                        unfinished.append(futures[future])
            except KeyboardInterrupt:  # do not wait for the fits that are running
                executor.shutdown(wait=False, cancel_futures=True)
                for worker in multiprocessing.active_children():
                    worker.terminate()
                raise
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
