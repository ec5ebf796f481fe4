"""A disk of the driver's machine that fills up: one message, no half-written file, and the scan continues from its journal."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import reaper

from workshop import cli
from workshop.errors import WorkshopError
from workshop.runs.search import contour
from workshop.scan import command, journal

pytest.importorskip("jsonpatch")
PARTS = ["looked at", "expected", "found", "next"]


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """In the block, this process can write no file beyond `size` bytes: a write is cut off there, as on a full disk."""
    resource = pytest.importorskip("resource", reason="no limits of a process on Windows")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_cannot_be_written_costs_no_finished_fit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(contour, "draw", lambda *_: False)  # drawing takes longer than the rest

    def scan(*words: str) -> int:
        options = ["--executor", "threads", "--workers", "2", "--only", "signal_5*", "--output", *words]
        monkeypatch.setattr(sys, "argv", ["workshop", "scan", *options])
        try:
            return cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)

    def journal_lines() -> list[bytes]:
        return next(tmp_path.glob(".scan-*.jsonl")).read_bytes().splitlines(keepends=True)

    assert scan(str(tmp_path / "whole")) == 0
    whole = (tmp_path / "whole" / "limits.json").read_bytes()
    capsys.readouterr()
    with largest_file(1000):
        assert scan(str(tmp_path / "out")) == 1
    message = capsys.readouterr().err
    assert [line.partition(":")[0] for line in message.splitlines()] == PARTS and "File too large" in message
    assert ".jsonl" in message and "finished fits are kept" in message
    *kept, last = journal_lines()
    assert sum(map(len, kept)) + len(last) == 1000 and kept and not last.endswith(b"\n")
    assert sorted(path.name for path in tmp_path.iterdir())[1:] == ["whole"]  # nothing of the run
    with largest_file(len(whole) - 1):
        assert scan(str(tmp_path / "out")) == 1
    message = capsys.readouterr().err
    assert f"{len(kept)} of " in message and "limits.json" in message and "run the same command to continue" in message
    assert sorted(path.name for path in tmp_path.iterdir())[1:] == ["whole"]
    assert scan(str(tmp_path / "out")) == 0
    n = whole.count(b'"name"')
    assert f"{n} of {n} hypotheses were fitted before" in capsys.readouterr().err
    assert (tmp_path / "out" / "limits.json").read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


ENTRIES = [
    {"name": f"hypothesis {n}", "cls_obs": None, "cls_exp": None, "converged": False, "reason": "why"} for n in range(5)
]
JOURNAL = "".join(journal.line_of(entry, "KEY") for entry in ENTRIES)


def test_a_journal_that_is_cut_off_anywhere_continues_without_a_second_copy(tmp_path):
    path = tmp_path / "journal.jsonl"
    for size in range(0, len(JOURNAL), 61):
        path.write_text(JOURNAL[:size])
        with largest_file(len(JOURNAL)), journal.opened(path, "KEY") as (kept, append):
            assert list(kept.values()) == ENTRIES[: JOURNAL[:size].count("\n")]
            inode = path.stat().st_ino
            append([entry for entry in ENTRIES if entry["name"] not in kept])
        assert path.read_text() == JOURNAL and path.stat().st_ino == inode


def test_a_journal_that_cannot_be_rewritten_stays(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text("damaged\n" + JOURNAL)
    message = r"journal\.jsonl[\s\S]*too large"
    with largest_file(500), pytest.raises(WorkshopError, match=message), journal.opened(path, "KEY"):
        pass
    assert path.read_text() == "damaged\n" + JOURNAL and list(tmp_path.iterdir()) == [path]
    with journal.opened(path, "KEY") as (kept, _):
        assert list(kept.values()) == ENTRIES and path.read_text() == JOURNAL


@pytest.fixture
def disk() -> Iterator[Path]:
    """A disk of 1 MiB."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    reaper.owns(folder)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        folder.rmdir()
        pytest.skip("only root can mount")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
    folder.rmdir()


@pytest.mark.system("mounts a disk")
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
@pytest.mark.parametrize("kind", ["threads", "processes", "parsl"])
def test_a_scan_on_a_full_disk_ends_with_a_message_and_continues(kind, disk, tmp_path, variables):
    if kind == "parsl":
        pytest.importorskip("parsl", reason="install the extra scale")
    assert command.main(["--output", str(tmp_path / "whole")]) == 0

    def scan(room: int) -> subprocess.CompletedProcess[str]:
        """The scan on the disk, with `room` bytes left on it."""
        filler = disk / "filler"
        filler.unlink(missing_ok=True)
        filler.write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - room))
        line = [sys.executable, "-m", "workshop", "scan", "--executor", kind, "--output", str(disk / "out")]
        return subprocess.run(line, env=variables, cwd=tmp_path, capture_output=True, text=True)

    # Parsl's logs and keys take 60 KiB; then the journal, limits.json and the figures find no room.
    for room in (16_384, 100_000, 160_000):
        process = scan(room)
        lines = [
            line for line in process.stderr.splitlines() if "fitted before" not in line and "are saved" not in line
        ]
        assert process.returncode == 1 and [line.partition(":")[0] for line in lines] == PARTS, process.stderr
        assert "No space left on device" in process.stderr
        assert not list(disk.glob("out*")) and not list(disk.glob("**/*.part"))
    process = scan(400_000)
    assert process.returncode == 0 and "hypotheses were fitted before" in process.stderr, process.stderr
    assert (disk / "out" / "limits.json").read_bytes() == (tmp_path / "whole" / "limits.json").read_bytes()
    assert sorted(path.name for path in disk.iterdir()) == ["filler", "out"]
