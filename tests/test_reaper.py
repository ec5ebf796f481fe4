"""What tests start ends with them, and what they write has room: the two helpers that see to it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import reaper
import room
from conftest import ROOT

# A process that runs tests: it forks, starts a daemon, as Slurm's are, a child without its variables, and a daemon
# without them that is at work in a folder of the tests.
TESTS = """
import os, subprocess, sys, time
import reaper
from pathlib import Path
reaper.start()
folder = Path(sys.argv[1])
reaper.owns(folder / "images")
print(os.environ[reaper.VARIABLE], flush=True)
sleep = ["sleep", "300"]
if os.fork() == 0:
    os.setsid()
    daemon = subprocess.Popen(sleep, start_new_session=True)
    child = subprocess.Popen(["sh", "-c", "env -i sleep 300 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    other = subprocess.Popen(sleep, start_new_session=True, env={}, cwd=folder / "images")
    print(os.getpid(), daemon.pid, child.stdout.readline().strip(), other.pid, flush=True)
    time.sleep(300)
time.sleep(300)
"""


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def wait_until(condition, what):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def tests_in_a_process(tmp_path):
    """A process that runs tests, the numbers of what it has started, and its folder."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "large").write_text("of the tests")
    (tmp_path / "precious").write_text("not of the tests")
    variables = {name: value for name, value in os.environ.items() if name != reaper.VARIABLE}
    process = subprocess.Popen(
        [sys.executable, "-c", TESTS, str(tmp_path)],
        env=variables | {"PYTHONPATH": str(ROOT / "tests")},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    mark, numbers = process.stdout.readline().strip(), process.stdout.readline().split()
    yield process, mark, list(map(int, numbers)), tmp_path
    process.kill()
    process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="the reaper looks into /proc")
def test_what_a_killed_process_has_started_ends_with_it(tests_in_a_process):
    process, mark, started, folder = tests_in_a_process
    assert len(started) == 4 and all(map(running, started))
    others = subprocess.Popen(["sleep", "300"])
    try:
        os.killpg(process.pid, signal.SIGKILL)  # as when a job is ended with its whole process group
        process.wait()
        wait_until(lambda: not any(map(running, started)), started)
        wait_until(lambda: not (folder / "images").exists(), "the folder of the tests")
        wait_until(lambda: not reaper._list_of_folders(mark).exists(), "the list of folders")
        assert running(others.pid) and (folder / "precious").exists()
    finally:
        others.kill()
        others.wait()


@pytest.mark.system("mounts a small disk")
@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="mounting needs root")
def test_mounts_of_a_killed_process_are_undone(tests_in_a_process):
    process, _, started, folder = tests_in_a_process
    (folder / "images" / "disk").mkdir()
    line = ["mount", "--bind", str(ROOT), str(folder / "images" / "disk")]  # what must never be removed through it
    if subprocess.run(line, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    process.kill()
    process.wait()
    wait_until(lambda: not (folder / "images").exists(), "the folder of the tests")
    assert not reaper.mounts_in(folder) and (ROOT / "README.md").exists()


def test_what_does_not_fit_is_told_before_it_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "file_system_of", lambda _: "ext4")
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: type("Usage", (), {"free": room.SPARE + 2 * room.GIB}))
    assert room.problem(tmp_path, room.GIB) is None
    assert "7.0 GiB free, and 8.0 GiB are needed" in room.problem(tmp_path, 3 * room.GIB)
    monkeypatch.setattr(room, "file_system_of", lambda _: "tmpfs")
    assert "is memory (tmpfs)" in room.problem(tmp_path, room.GIB)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no shared memory that is a folder here")
def test_memory_is_told_from_a_disk(tmp_path):
    assert room.file_system_of(Path("/dev/shm")) == "tmpfs"
    assert room.file_system_of(Path("/proc/self")) == "proc"
    assert room.file_system_of(tmp_path) not in ("", "proc")
