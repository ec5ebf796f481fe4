"""Machines on which little works: no stdout, no threads, a full disk; and a report that names nobody's server."""

import os
import subprocess
import sys
import threading

import attack
import pytest
from conftest import ROOT

from workshop.doctor import network
from workshop.doctor.checkout import Checkout
from workshop.support import timeouts

posix = pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX closes the streams")


@posix
@pytest.mark.slow
@pytest.mark.parametrize("words", ["doctor --offline", "lock-check", "environments", "progress", "runs", "hint 2"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams(words, closed):
    """A command runs as if its output went to nowhere."""
    line = f'"{sys.executable}" -m workshop {words} {closed}'
    variables = os.environ | {"PYTHONPATH": str(ROOT / "common")}
    done = subprocess.run(["sh", "-c", line], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60)
    usual = subprocess.run(["sh", "-c", line.removesuffix(closed)], cwd=ROOT, env=variables, capture_output=True)
    assert done.returncode == usual.returncode and "Traceback" not in done.stderr, done.stderr


@posix
def test_a_closed_stdout(tmp_path):
    line = f'"{sys.executable}" -m workshop lock-check "{tmp_path}" 2>&1 >&- | cat'
    variables = os.environ | {"PYTHONPATH": str(ROOT / "common")}
    done = subprocess.run(["sh", "-c", line], env=variables, capture_output=True, text=True, timeout=60)
    assert done.stdout.count("looked at:") == 1 and "Traceback" not in done.stdout


def test_a_machine_without_threads(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    attack.refused(attack.call("doctor", "--offline"), "can't start new thread", "ulimit -u")


def test_a_program_without_threads(monkeypatch):
    """Inside a thread of the doctor it counts as a program that does not answer."""
    monkeypatch.setattr(timeouts.subprocess, "Popen", lambda *_, **__: (_ for _ in ()).throw(BlockingIOError()))
    assert timeouts.run_command(["x"], 1) is None


SERVERS = {
    "https://zaphod.magrathea.example/simple": "a server of your own",
    "https://zaphod:hunter2@magrathea.example:8443/conda": "a server of your own",
    "https://10.20.30.40/simple": "a server of your own",
    "https://notanaconda.org/x": "a server of your own",
    "https://anaconda.org.magrathea.example/x": "a server of your own",
    "https://conda.anaconda.org/conda-forge": "conda.anaconda.org",
    "https://download.pytorch.org/whl/cu124": "download.pytorch.org",
    "https://ghcr.io/v2/": "ghcr.io",
    "http://[": "?",
    "": "?",
    "\x1b[2J": "?",
}


@pytest.mark.parametrize("url", SERVERS)
def test_servers_that_the_report_may_name(url):
    row = network.row(network.Server("Python packages", url), network.ServerStatus(True, "answers"))
    assert row.found.startswith(SERVERS[url]) and "magrathea" not in row.found and row.found.isprintable()


def test_a_manifest_with_thousands_of_servers(monkeypatch):
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    urls = [f"https://{number}.invalid/" for number in range(10_000)]
    assert len(network.servers(Checkout(ROOT, channels=urls, indexes=urls))) == 2 * network.MOST_SERVERS + 2
