"""Stopping when a job system sends a signal: the current epoch is finished, its checkpoint written, exit code 85.
Ctrl-C ends a script at once, with exit code 130.

Slurm and HTCondor announce the end of a job by a signal, some time before they kill it. A training handles it like
this:

    with stopping.catch_signals() as stop_signal:
        for epoch in range(epochs_done, n_epochs):
            stopping.stop_if(stop_signal(), epoch, n_epochs)
            ...                                       # one epoch, and its checkpoint
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# The exit code that HTCondor's manual recommends for jobs that have written a checkpoint and are to be run again.
# Python (1, 2), shells (126, 127) and signals (128 and above) do not use it.
EXIT_CODE = 85
# HTCondor sends SIGTERM; Slurm sends SIGUSR1 to the job script, which passes it on. Windows has no SIGUSR1.
SIGNALS = ("SIGTERM", "SIGUSR1")
# Seconds in which further signals count as the same request: the training may receive a signal twice, from the job
# system and from the job script.
SAME_REQUEST_SECONDS = 1.0


_clean_ups: list[Callable[[], None]] = []  # what to do before Ctrl-C ends this process


def exit_on_ctrl_c() -> None:
    """From now on, Ctrl-C ends this process at once with one line and exit code 130, after the clean-ups.

    KeyboardInterrupt would pass through a framework whose threads go on computing: that ends in a crash, in a traceback
    of a callback, or nowhere. Does nothing in threads, and where Ctrl-C is ignored or handled by the script itself.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)


def _exit(*_: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # This may interrupt any line, also one that prints: a clean-up that fails must not keep the process alive.
    for clean_up in reversed(_clean_ups):
        with contextlib.suppress(Exception):
            clean_up()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    if os.environ.get("LOCAL_RANK", "0") == "0":  # only the first process of torchrun prints
        # On a terminal, first end the line of a progress bar and show the cursor, which the bar hides.
        os.write(2, b"\r\x1b[K\x1b[?25h" * os.isatty(2) + b"interrupted\n")
    os._exit(130)


@contextmanager
def clean_up_on_ctrl_c(clean_up: Callable[[], None]) -> Iterator[None]:
    """In the block, Ctrl-C ends this process as after `exit_on_ctrl_c`, and calls `clean_up` before."""
    before = signal.getsignal(signal.SIGINT)
    exit_on_ctrl_c()
    _clean_ups.append(clean_up)
    try:
        yield
    finally:
        _clean_ups.remove(clean_up)
        if before is signal.default_int_handler and signal.getsignal(signal.SIGINT) is _exit:
            signal.signal(signal.SIGINT, before)


@contextmanager
def catch_signals() -> Iterator[Callable[[], str | None]]:
    """In the block, SIGTERM and SIGUSR1 are requests to stop. Yields a function that returns the signal's name, or
    None.

    A second request, more than SAME_REQUEST_SECONDS after the first, raises SystemExit(EXIT_CODE) at once instead of
    waiting for the end of the epoch.
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
                signal.signal(
                    number, signal.SIG_IGN if received else handler
                )  # the run is ending, so further signals are ignored


def ignore_signals() -> None:
    """Ignore requests to stop and Ctrl-C until the process ends: the rest takes less time than stopping.

    Call this before a run is moved to its final path, since a finished run must not end with exit code 85. Signals that
    this module does not handle keep their effect.
    """
    for name in (*SIGNALS, "SIGINT"):
        number = getattr(signal, name, None)
        not_ours = (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler, None)
        if number and signal.getsignal(number) not in not_ours:
            signal.signal(number, signal.SIG_IGN)


def stop_if(stop_signal: str | None, epochs_done: int, n_epochs: int) -> None:
    """Between two epochs: if there was a signal, print what is saved and raise SystemExit(EXIT_CODE)."""
    if stop_signal is None:
        return
    if os.environ.get("RANK", "0") == "0":  # only the first process of torchrun prints
        kept = f"{epochs_done} of {n_epochs} epochs are done and kept" if epochs_done else "no epoch was done yet"
        print(f"stopped by {stop_signal}: {kept}; exit code {EXIT_CODE}", file=sys.stderr, flush=True)
    raise SystemExit(EXIT_CODE)
