"""A Slurm for tests: a controller and two nodes on this machine, which install_slurm.sh installs and starts."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import reaper

SCRIPT = Path(__file__).with_name("install_slurm.sh")


def free_ports(n):
    """The first of n consecutive free ports, below those that the system assigns to other programs."""
    for first in range(17000 + os.getpid() % 7000, 32000, n):
        try:
            for port in range(first, first + n):
                with socket.socket() as probe:
                    probe.bind(("", port))
            return first
        except OSError:
            continue
    pytest.skip("no free ports")


def restart_nodes(folder, around=()):
    """Start both nodes again, with this command around the daemon."""
    variables = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    for name in ("n1", "n2"):
        pid = int((folder / f"slurmd-{name}.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < deadline, f"slurmd of {name} does not end"
            time.sleep(0.05)
        subprocess.run([*around, "slurmd", "-N", name], env=variables, check=True)
    deadline = time.monotonic() + 30
    sinfo = ["sinfo", "-h", "-N", "-t", "idle", "-o", "%N"]
    while subprocess.run(sinfo, env=variables, capture_output=True, text=True).stdout.split() != ["n1", "n2"]:
        assert time.monotonic() < deadline, "no two idle nodes"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The folder of a running Slurm, which contains slurm.conf."""
    installed = subprocess.run([SCRIPT, "install"], capture_output=True, text=True)
    if installed.returncode:
        reason = (installed.stderr.strip() or installed.stdout.strip() or "no word why").splitlines()[-1]
        pytest.skip(f"Slurm cannot be installed here: {reason}")
    folder = tmp_path_factory.mktemp("slurm")
    reaper.owns(folder)
    ports = {"SLURM_TEST_PORT": str(free_ports(3))}
    try:
        started = subprocess.run([SCRIPT, "start", folder], env=os.environ | ports, capture_output=True, text=True)
        if started.returncode:
            pytest.skip(f"Slurm does not start here: {started.stderr.strip()[-800:]}")
        yield folder
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True)
