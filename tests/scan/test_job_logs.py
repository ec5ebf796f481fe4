"""What the scan quotes from the logs of failed jobs. The texts are those of real programs (tests/data/README.md)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import ROOT

from workshop.scan import job_logs

LOGS = ROOT / "tests" / "data" / "job_logs"
CAUSES = {
    "long-socket-path": "OSError: AF_UNIX path too long",  # before the EOFError of the process that waits for it
    "full-disk": "OSError: [Errno 28] No space left on device: '/scratch/block-0'",
    "full-disk-chained": "FileNotFoundError: [Errno 2] No such file or directory: '/scratch/logs/block-0'; "
    "then OSError: [Errno 28] No space left on device: '/scratch/logs'",
    "no-temporary-folder": "FileNotFoundError: [Errno 2] No usable temporary directory found in ['/scratch']",
    "driver-out-of-reach": "ConnectionError: No viable ZMQ url from: tcp://127.0.0.1:1",
    "other-package": "ImportError: cannot import name 'curvezmq' from 'parsl' (/home/me/empty/parsl/__init__.py)",
    "process-pool": "OSError: [Errno 28] No space left on device: '/scratch/a'",
    "raised-from": "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0); "
    "then RuntimeError: no settings",
    "syntax-error": "SyntaxError: '(' was never closed",
    "exception-ignored": "zmq.error.ZMQError: Address already in use",
    "two-processes": "OSError: [Errno 28] No space left on device: '/scratch/block-0'",  # of process 1, the first to fail
    "no-such-program": "",
    "cancelled": "",
}
LAST_LINES = {
    "no-such-program": "/home/me/nocmd.sh: line 2: process_worker_pool.py: command not found",
    "cancelled": "slurmstepd-n1: error: *** STEP 19.0 ON n1 CANCELLED AT 2026-11-27T10:49:11 ***",
}


def text_of(name: str) -> str:
    return (LOGS / f"{name}.txt").read_text()


def test_every_log_is_tested() -> None:
    assert sorted(CAUSES) == sorted(path.stem for path in LOGS.iterdir())


@pytest.mark.parametrize("name", CAUSES)
def test_the_cause_is_the_first_exception_and_the_last_one_that_it_led_to(name: str) -> None:
    text = text_of(name)
    assert job_logs.cause(text) == CAUSES[name]
    # `srun -l` writes the number of the process before each line.
    assert job_logs.cause("".join(f" 7: {line}\n" for line in text.splitlines())) == CAUSES[name] or "1: " in text


@pytest.mark.parametrize("name", LAST_LINES)
def test_without_an_exception_the_last_line_that_states_a_reason_counts(name: str) -> None:
    assert job_logs.last_line(text_of(name)) == LAST_LINES[name]


@pytest.mark.parametrize("name", ["full-disk", "driver-out-of-reach"])
def test_lines_of_two_processes_without_labels(name: str) -> None:
    """Both processes of a node fail for the same reason, and the lines of their tracebacks alternate."""
    lines = text_of(name).splitlines()
    assert job_logs.cause("\n".join(line for line in lines for _ in range(2))) == CAUSES[name]


def test_the_newest_log_with_an_exception_counts(tmp_path: Path) -> None:
    (tmp_path / "submit_scripts").mkdir()
    assert job_logs.last_error(tmp_path) == ""
    for age, (file, name) in enumerate(
        [
            ("block-3.stderr", "cancelled"),
            ("block-2.sh.err", "long-socket-path"),  # a job on this machine
            ("block-1.stderr", "driver-out-of-reach"),
        ]
    ):
        path = tmp_path / "submit_scripts" / file
        path.write_text(text_of(name))
        os.utime(path, (1000 - age, 1000 - age))
    assert job_logs.last_error(tmp_path) == CAUSES["long-socket-path"]
    (tmp_path / "submit_scripts" / "block-1.stderr").unlink()
    (tmp_path / "submit_scripts" / "block-2.sh.err").unlink()
    assert job_logs.last_error(tmp_path) == LAST_LINES["cancelled"]
