"""What runs in a worker: some hypotheses are fitted, and the worker proves that it has the same code as the driver.

The driver is the process of `workshop scan`. It calls `fit_request` in the workers, which may be threads, processes of
this machine, or processes on other machines.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import platform
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from histfactory import Limits, Model, Scan, saturated_log_likelihood
from workshop.runs import search
from workshop.runs.records.provenance import numpy_cpu
from workshop.scan import THREAD_VARIABLES, parts
from workshop.support.hardware import cores

Entry = dict[str, Any]  # an entry of limits.json, without labels
COMMON = Path(__file__).resolve().parents[2]
CODE = ("histfactory", "workshop/scan", "workshop/runs/search")  # what the numbers depend on, in common/
MOST_KEPT = 4  # backgrounds in the memory of a worker

_backgrounds: dict[str, Scan] = {}
_last_end = threading.local()  # .time: when the last fit of this thread ended


class TimeLimit(Exception):
    """The fit took longer than --time-limit."""


def fit_request(request: dict[str, Any]) -> dict[str, Any]:
    """Fit the hypotheses of a request, which `distribute` makes.

    Returns a dictionary with `worker`, and one of these: `identity`, if this worker has other versions; `missing`, if it
    needs the background first; `entries` and `failed` (reasons by name), with `busy`, the seconds of the fits, `gap`,
    the seconds since this worker's last fit (None for its first one), `simd`, its instruction sets, and `crowded`, a
    sentence if the workers on this machine have too few cores, else "".
    """
    sender = {"worker": f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"}
    if request["identity"] != identity():
        return sender | {"identity": identity()}
    key = request["key"]
    if request["background"] is not None:
        while len(_backgrounds) >= MOST_KEPT:
            _backgrounds.pop(next(iter(_backgrounds)), None)
        _backgrounds[key] = pickle.loads(request["background"])
    background = _backgrounds.get(key)
    if background is None:
        return sender | {"missing": True}
    scan = parts.join(background, request["part"])
    start = time.monotonic()
    gap = start - _last_end.time if hasattr(_last_end, "time") else None
    members = range(len(scan.model.names))
    entries, failed = fit_members(scan, members, request["mu"], request["upper_limit"], request["time_limit"])
    _last_end.time = time.monotonic()
    return sender | {"entries": entries, "failed": failed, "busy": _last_end.time - start, "gap": gap} | machine()


def fit_members(
    scan: Scan, members: Sequence[int], mu: float, upper_limit: bool, time_limit: float | None = None
) -> tuple[list[Entry], dict[str, str]]:
    """The entries of some hypotheses, and the reasons of those that raise or exceed the time limit, by name.

    If the fits of the members fail together, each is fitted alone, with the same result as together.
    """
    try:
        with _seconds(time_limit and time_limit * len(members)):
            limits = scan.limits(mu, members, search.LEVEL if upper_limit else None)
            return [entry_of(scan.model, limits, i, h, upper_limit) for i, h in enumerate(members)], {}
    except Exception as error:  # whatever NumPy or an unusual model raises: the other hypotheses have to go on
        if len(members) == 1:
            reason = (
                f"no fit within {time_limit:g} s"
                if isinstance(error, TimeLimit)
                else f"{type(error).__name__}: {error}"
            )
            return [], {scan.model.names[members[0]]: reason}
    alone = [fit_members(scan, [h], mu, upper_limit, time_limit) for h in members]
    return [entry for entries, _ in alone for entry in entries], {
        k: v for _, failed in alone for k, v in failed.items()
    }


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


@cache
def identity() -> dict[str, str]:
    """What must be equal in the driver and in each worker: lock, code, Python, NumPy and SciPy."""
    code = hashlib.sha256()
    for folder in CODE:
        for path in sorted((COMMON / folder).rglob("*.py")):
            code.update(path.relative_to(COMMON).as_posix().encode() + path.read_bytes())
    lock = COMMON.parent / "pixi.lock"
    return {
        "lock": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else "none",
        "code": code.hexdigest(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }


@cache
def machine() -> dict[str, str]:
    """What the driver is told about this machine: `simd` and `crowded` (`fit_request`).

    The number of workers is known where Parsl has started them.
    """
    return {"simd": simd(), "crowded": crowded(int(os.environ.get("PARSL_WORKER_COUNT", 1)), cores())}


def simd() -> str:
    """The instruction sets of this processor that NumPy uses: with others, the last digits differ."""
    return numpy_cpu()


def crowded(workers: int, available: int) -> str:
    """A sentence if the threads of these workers are more than the available cores, else ""."""
    values = {name: int(text) for name in THREAD_VARIABLES if (text := os.environ.get(name, "")).isdecimal()}
    name = max(values, key=lambda name: values[name], default="")
    threads = values.get(name, 1)
    if workers * threads <= available:
        return ""
    each = f" with {threads} threads each" if threads > 1 else ""
    advice = f"set {name}=1" if threads > 1 else "more workers than cores make nothing faster"
    return f"{workers} worker{'s' * (workers != 1)}{each} share {available} core{'s' * (available != 1)}: {advice}"


@contextmanager
def _seconds(limit: float | None) -> Iterator[None]:
    """Raise TimeLimit in the block after `limit` seconds. Without effect in threads and on Windows: they have no timer."""
    if not limit or not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def start_process() -> None:
    """The initializer of worker processes of this machine. A worker ends with the driver, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
