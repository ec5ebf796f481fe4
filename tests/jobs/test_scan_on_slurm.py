"""`workshop scan --executor parsl` on a real Slurm with two nodes, with workers, managers, nodes and drivers that end.

The scan is the same in each test: 125 hypotheses with upper limits, half a minute of work for one core. By hand, with the
same test and 10,000 hypotheses without upper limits:

    HYPOTHESES=10000 pytest -n 0 -m slow --system tests/jobs/test_scan_on_slurm.py -k random
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import later
import pytest
import reaper
import slurm_here
from conftest import ROOT, module_of

from workshop.scan import engines

later.or_skip("parsl", reason="install the extra scale")
slurm = slurm_here.slurm  # a fixture
pytestmark = [
    pytest.mark.system("installs and starts a Slurm"),
    pytest.mark.skipif(sys.platform != "linux", reason="Slurm is for Linux"),
]
HYPOTHESES = int(os.environ.get("HYPOTHESES", 125))
LIMIT = 300 if HYPOTHESES <= 1000 else 3000  # seconds


@pytest.fixture(scope="module")
def search(tmp_path_factory, variables):
    """The options that name the search, and its limits.json from one process."""
    folder = tmp_path_factory.mktemp("search")
    n_bins, words = (200, ["--upper-limit"]) if HYPOTHESES <= 1000 else (100, [])
    workspace, patchset = module_of(ROOT / "benchmarks" / "scan.py").synthetic(n_bins, 30, HYPOTHESES)
    for name, document in (("workspace", workspace), ("patchset", patchset)):
        (folder / f"{name}.json").write_text(json.dumps(document))
        words += [f"--{name}", str(folder / f"{name}.json")]
    line = [sys.executable, "-m", "workshop", "scan", *words, "--output", folder / "one"]
    subprocess.run(line, env=variables, check=True, capture_output=True)
    return words, (folder / "one" / "limits.json").read_bytes()


class OnSlurm:
    """A scan on the Slurm of the tests, and its jobs."""

    def __init__(self, slurm, variables, folder, words):
        self.folder, self.words = folder, words
        self.variables = {k: v for k, v in variables.items() if not k.startswith("SLURM_")}
        self.variables["SLURM_CONF"] = str(slurm / "slurm.conf")

    def configure(self, **changed):
        """The shipped configuration with the lines that a user changes: two jobs with one worker each."""
        text = (engines.CONFIGS / "slurm.py").read_text()
        lines = {
            '# address="login1.example.org"': 'address="127.0.0.1"',
            "max_workers_per_node=2": "max_workers_per_node=1",
            "cores_per_node=2": "cores_per_node=1",
            "init_blocks=1": "init_blocks=2",
            "max_blocks=4": "max_blocks=2",
            "heartbeat_period=10": "heartbeat_period=2",
            "heartbeat_threshold=60": "heartbeat_threshold=10",
        }
        for old, new in (lines | changed).items():
            assert old in text, old
            text = text.replace(old, new)
        text += "SlurmProvider.status_polling_interval = 5  # seconds; Parsl's own value is 60\n"
        (self.folder / "my-slurm.py").write_text(text)

    def start(self, output="out"):
        line = [sys.executable, "-m", "workshop", "scan", *self.words, "--executor", "parsl"]
        line += ["--config", "my-slurm.py", "--output", str(self.folder / output)]
        return subprocess.Popen(line, env=self.variables, cwd=self.folder, stderr=subprocess.PIPE, text=True)

    def slurm(self, *words):
        return subprocess.run(words, env=self.variables, capture_output=True, text=True, check=True).stdout

    def lines(self):
        """How many fits the journal has."""
        return sum(path.read_bytes().count(b"\n") for path in self.folder.glob(".scan-*.jsonl"))

    def wait_for_lines(self, process, n):
        deadline = time.monotonic() + LIMIT
        while self.lines() < n:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def managers(self):
        """The processes that start the workers of each job."""
        return pids("-f", f"{engines.WORKERS}.*{self.folder}")

    def workers(self):
        """The processes that fit. The first process that a manager starts is a server for the others."""
        return [worker for manager in self.managers() for worker in pids("-P", str(manager), "-f", "spawn_main")[1:]]

    def finished(self, process, output="out"):
        _, err = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, err
        deadline = time.monotonic() + 60
        while self.slurm("squeue", "-h"):
            assert time.monotonic() < deadline, "a job was not cancelled"
            time.sleep(0.2)
        return (self.folder / output / "limits.json").read_bytes(), err


def pids(*words):
    """What pgrep finds."""
    return list(map(int, subprocess.run(["pgrep", *words], capture_output=True, text=True).stdout.split()))


@pytest.fixture
def on_slurm(slurm, variables, tmp_path, search):
    scan = OnSlurm(slurm, variables, tmp_path, search[0])
    scan.configure()
    yield scan
    # It fails for a node that no test has drained.
    subprocess.run(["scontrol", "update", "nodename=n1", "state=resume"], env=scan.variables, capture_output=True)


def test_a_killed_worker_a_killed_manager_and_a_drained_node_change_no_byte(on_slurm, search):
    process = on_slurm.start()
    on_slurm.wait_for_lines(process, 1)
    os.kill(on_slurm.workers()[0], signal.SIGKILL)
    on_slurm.wait_for_lines(process, 20)
    on_slurm.slurm("scontrol", "update", "nodename=n1", "state=drain", "reason=test")
    on_slurm.wait_for_lines(process, 30)
    os.kill(on_slurm.managers()[-1], signal.SIGKILL)
    assert on_slurm.finished(process)[0] == search[1]


def test_workers_killed_at_random_moments_change_no_byte(on_slurm, search):
    rng, kills = random.Random(20), 6 if HYPOTHESES <= 1000 else 40
    process, killed = on_slurm.start(), 0
    for fits_before in sorted(rng.sample(range(1, HYPOTHESES * 9 // 10), kills)):
        while on_slurm.lines() < fits_before and process.poll() is None:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 1))
        if workers := on_slurm.workers():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(rng.choice(workers), signal.SIGKILL)
                killed += 1
    content, err = on_slurm.finished(process)
    print(f"{killed} workers killed")  # shown by pytest -s
    assert killed >= kills // 2, err
    assert content == search[1], err


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_a_driver_that_ends_leaves_no_job_and_continues(on_slurm, search, name):
    process = on_slurm.start()
    on_slurm.wait_for_lines(process, 20)
    process.send_signal(signal.Signals[name])
    process.wait(timeout=60)
    deadline = time.monotonic() + 60
    while on_slurm.slurm("squeue", "-h"):  # the workers notice that nobody answers; after Ctrl-C they are cancelled
        assert time.monotonic() < deadline, "a job is still there"
        time.sleep(0.5)
    content, err = on_slurm.finished(on_slurm.start())
    assert content == search[1] and f"of {HYPOTHESES} hypotheses were fitted before" in err


def test_fits_that_never_end_are_listed_and_can_be_tried_again(on_slurm, search):
    process = on_slurm.start()
    on_slurm.wait_for_lines(process, 1)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    kept, on_slurm.words = on_slurm.lines(), [*on_slurm.words, "--time-limit", "0.001"]
    _, err = on_slurm.start("limited").communicate(timeout=LIMIT)
    entries = json.loads((on_slurm.folder / "limited" / "limits.json").read_text())["hypotheses"]
    failed = [entry["reason"] for entry in entries if not entry["converged"]]
    assert failed == ["no fit within 0.001 s"] * (HYPOTHESES - kept), err
    on_slurm.words = search[0]
    assert on_slurm.finished(on_slurm.start())[0] == search[1]


PYTHONPATH = "PYTHONPATH={os.environ.get('PYTHONPATH', '')}"  # in the shipped configuration


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({'partition="debug"': 'partition="nowhere"'}, "invalid partition"),
        ({PYTHONPATH: "PYTHONPATH=FOLDER/empty"}, "worker_init"),
        ({PYTHONPATH: "PYTHONPATH=FOLDER/common"}, "the versions of the worker"),
    ],
    ids=["partition", "no clone", "another clone"],
)
def test_a_partition_or_a_module_that_the_nodes_do_not_have(on_slurm, tmp_path, changed, part):
    hiding = tmp_path / "empty" / "workshop"  # the package, also where it is installed
    hiding.mkdir(parents=True)
    (hiding / "__init__.py").touch()
    shutil.copytree(ROOT / "common", tmp_path / "common", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "common/histfactory/inference.py").open("a") as file:
        file.write("# another version\n")
    on_slurm.configure(**{old: new.replace("FOLDER", str(tmp_path)) for old, new in changed.items()})
    has_four_parts(on_slurm.start(), part)


def has_four_parts(process, part):
    """The scan ends with a message that contains this part."""
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1 and part in err and "Traceback" not in err, err
    assert all(f"{name}:" in err for name in ("looked at", "expected", "found", "next")), err


def fill(disk):
    """Use up the space of a small disk, and then its files."""
    with contextlib.suppress(OSError):
        for number in range(1000):
            (disk / f"filler-{number}").write_bytes(b"x" * 16_384)
    with contextlib.suppress(OSError):
        for number in range(1000, 2000):
            (disk / f"filler-{number}").touch()


def test_a_disk_of_the_nodes_that_fills_up(on_slurm, search):
    disk = Path(tempfile.mkdtemp(dir="/tmp"))  # a short path: the workers put sockets there, whose paths have 107 bytes
    reaper.owns(disk)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=900", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root can mount")
    try:
        on_slurm.configure(
            **{
                'label="slurm",': f'label="slurm", worker_logdir_root="{disk}",',
                'worker_init=f"export ': f'worker_init=f"cd {disk}; export TMPDIR={disk} ',
            }
        )
        process = on_slurm.start()
        on_slurm.wait_for_lines(process, 10)
        fill(disk)
        on_slurm.wait_for_lines(process, on_slurm.lines() + 10)  # workers that run need no disk
        for manager in on_slurm.managers():  # the next ones do
            os.kill(manager, signal.SIGKILL)
        has_four_parts(process, "No space left on device")
        for path in disk.glob("filler-*"):
            path.unlink()
        content, err = on_slurm.finished(on_slurm.start())
        assert content == search[1] and f"of {HYPOTHESES} hypotheses were fitted before" in err
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
        disk.rmdir()


def test_a_folder_that_the_nodes_do_not_share(on_slurm, slurm, tmp_path):
    slurm_here.restart_nodes(
        slurm, ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {tmp_path}; exec "$@"', "sh"]
    )
    try:
        has_four_parts(on_slurm.start(), f"no logs of them in {tmp_path}/.scan-")
    finally:
        slurm_here.restart_nodes(slurm)
