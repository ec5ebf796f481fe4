"""Ending well when a job system asks for it: the epoch under way is finished, its checkpoint is written, exit code 85.

Slurm and HTCondor announce the end of a job by a signal, some time before they kill it. What a training does then:

    with stopping.catch_signals() as stop_signal:
        for epoch in range(epochs_done, n_epochs):
            stopping.stop_if(stop_signal(), epoch, n_epochs)
            ...                                       # one epoch, and its checkpoint
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# "Run me again, I go on from here": the code that HTCondor's manual has self-checkpointing jobs end with. It is none of
# Python's (1, 2), of a shell's (126, 127) nor of a signal's (128 and above).
EXIT_CODE = 85
# Slurm's request to stop and HTCondor's; Slurm's is passed on by the job script. Windows has no SIGUSR1.
SIGNALS = ("SIGTERM", "SIGUSR1")
# Seconds in which further signals are the same request: a job system may tell the script and the training, and the
# script passes it on.
SAME_REQUEST_SECONDS = 1.0


@contextmanager
def catch_signals() -> Iterator[Callable[[], str | None]]:
    """In the block, SIGTERM and SIGUSR1 are requests to stop. Yields a function: the name of the signal received, or None.

    A second request, more than SAME_REQUEST_SECONDS after the first, ends the block at once by SystemExit(EXIT_CODE): someone
    who asks twice cannot wait for the rest of the epoch.
    """
    received: list[tuple[str, float]] = []

    def note(number: int, _frame: object) -> None:
        now = time.monotonic()
        if not received:
            received.append((signal.Signals(number).name, now))
        elif now - received[0][1] > SAME_REQUEST_SECONDS:
            raise SystemExit(EXIT_CODE)

    before = {}
    for name in SIGNALS:
        if number := getattr(signal, name, None):
            before[number] = signal.signal(number, note)
    try:
        yield lambda: received[0][0] if received else None
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is not signal.SIG_IGN:  # else ignore_signals() has been called
                signal.signal(number, signal.SIG_IGN if received else handler)  # it is ending: no request is heard


def ignore_signals() -> None:
    """From here on a request is not heard, to the end of the process: what is left is done sooner than stopped.

    For the moment when a run is filed: between its last byte and exit code 0 it must not end as if it were unfinished.
    Signals that nobody is listening to keep their meaning.
    """
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
            signal.signal(number, signal.SIG_IGN)


def stop_if(stop_signal: str | None, epochs_done: int, n_epochs: int) -> None:
    """Between two epochs: if a signal asked for it, print what is kept and raise SystemExit(EXIT_CODE)."""
    if stop_signal is None:
        return
    if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun started, the first one speaks
        kept = f"{epochs_done} of {n_epochs} epochs are done and kept" if epochs_done else "no epoch was done yet"
        print(f"stopped by {stop_signal}: {kept}; exit code {EXIT_CODE}", file=sys.stderr, flush=True)
    raise SystemExit(EXIT_CODE)
