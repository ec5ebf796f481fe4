"""`workshop doctor`, with stand-ins for Pixi, git, nvidia-smi, the driver's library, servers and proxies."""

import http.server
import json
import os
import platform
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import tomllib
from contextlib import contextmanager, suppress

import pytest
from conftest import ROOT, module_of
from hypothesis import given
from hypothesis import strategies as st

from pixi_workspace import disk, environments, needs
from workshop.doctor import doctor, machine, network, tools
from workshop.doctor import environments as doctor_environments
from workshop.doctor.checkout import Checkout, read_checkout
from workshop.doctor.machine import Machine
from workshop.support import hardware, report, timeouts
from workshop.support.text import satisfies

CPU_MIB = tomllib.loads((ROOT / "exercise-2-pytorch-cu12/exercise.toml").read_text())["download_mib"]["cpu"]
# Words that must appear in no report: they are the person's.
SECRETS = ("zaphod", "magrathea", "hunter2", "s3cretproxy", "betelgeuse")


@pytest.fixture
def workshop(tmp_path):
    """The workshop's manifests in a folder with a private name, with a Python route of one package."""
    root = tmp_path / "betelgeuse" / "work shop"
    (root / "exercise-1-x").mkdir(parents=True)
    shutil.copy(ROOT / "exercise-1-scipy/exercise.toml", root / "exercise-1-x")
    for name in ("pixi.toml", "pixi.lock"):
        shutil.copy(ROOT / name, root / name)
    text = '[project]\nrequires-python = ">=3.11,<3.15"\n[project.optional-dependencies]\ncpu = ["packaging>=1"]\n'
    (root / "pyproject.toml").write_text(text)
    return root


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Put a program on an otherwise empty PATH: tool("pixi", "echo pixi 0.77.0")."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(name, script):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    put.folder = folder
    return put


@pytest.fixture
def examine(workshop, tool, tmp_path):
    """Run the doctor in that workshop, as user zaphod on host magrathea, behind a proxy that does not exist."""

    def run(*words, **more):
        (tmp_path / "site").mkdir(exist_ok=True)
        lines = "import os, platform, socket\n"
        lines += "it = list(os.uname()); it[1] = 'magrathea'; os.uname = lambda it=os.uname_result(it): it\n"
        lines += "socket.gethostname = platform.node = lambda: 'magrathea'\n"
        (tmp_path / "site" / "sitecustomize.py").write_text(lines + more.pop("patch", ""))
        cleared = (
            "PIXI_EXE",
            "HTTP_PROXY",
            "http_proxy",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
            "NO_PROXY",
            "no_proxy",
            "PIP_INDEX_URL",
            "PIXI_HOME",
            "XDG_CONFIG_HOME",
            "CONDA_OVERRIDE_CUDA",
            "COLUMNS",
        )
        variables = {k: v for k, v in os.environ.items() if k not in cleared}
        proxy = "http://zaphod:hunter2@127.0.0.1:9"
        variables |= {
            "HOME": str(tmp_path / "home" / "zaphod"),
            "USER": "zaphod",
            "LOGNAME": "zaphod",
            "HTTPS_PROXY": proxy,
            "PATH": str(tool.folder),
            "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT / "common")]),
        }
        line = [sys.executable, "-m", "workshop", "doctor", *words]
        done = subprocess.run(line, cwd=workshop, env=variables | more, capture_output=True, text=True, timeout=300)
        assert "Traceback" not in done.stderr, done.stderr
        said = (done.stdout + done.stderr).lower()
        assert not [secret for secret in (*SECRETS, str(tmp_path).lower()) if secret in said], said
        return done

    return run


def rows_of(done) -> dict[str, dict]:
    return {row["what"]: row for row in json.loads(done.stdout)["rows"]}


# ---------------------------------------------------------------- the whole report


def test_without_pixi_and_network_the_python_route_is_open(examine):
    done = examine()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ready: with Python alone" in done.stdout and "next:  workshop check-all" in done.stdout
    assert "curl -fsSL https://pixi.sh/install.sh | sh  # then open a new terminal\n" in done.stdout  # in one line
    assert "\x1b" not in done.stdout and done.stdout.isascii()
    for group in ("machine", "tools", "disk", "network", "environments"):
        assert f"\n{group}\n" in "\n" + done.stdout


def test_if_no_route_is_open_the_exit_code_is_1_and_there_is_a_next_step(examine, workshop):
    text = (workshop / "pyproject.toml").read_text()
    (workshop / "pyproject.toml").write_text(text.replace("packaging>=1", "no-such-package-at-all"))
    done = examine("--json")
    document = json.loads(done.stdout)
    assert done.returncode == 1 and document["ready"] is False
    assert {k for k, row in rows_of(done).items() if row["status"] == "fail"} == {
        "Pixi",
        "conda channel",
        "Python packages",
    }
    assert document["next"] == rows_of(done)["Pixi"]["next"]
    assert "ready: no" in examine().stdout


def test_with_pixi_and_its_channel_both_routes_are_open(examine, tool, workshop):
    tool("pixi", "echo pixi 0.77.0")
    tool("git", "echo git version 2.39.5")
    with server(200) as url:
        manifest = (workshop / "pixi.toml").read_text().replace('channels = ["conda-forge"]', f'channels = ["{url}/c"]')
        (workshop / "pixi.toml").write_text(manifest)
        done = examine("--json", NO_PROXY="127.0.0.1")
    rows = rows_of(done)
    assert done.returncode == 0 and json.loads(done.stdout)["routes"] == {"pixi": True, "python": True}
    assert rows["Pixi"]["found"] == "0.77.0 (required: >=0.74)" and rows["git"]["found"] == "2.39.5"
    assert rows["conda channel"]["found"] == "127.0.0.1: answers (HTTP 200)"
    assert rows["container registry"]["status"] == "note"
    index = re.search(r'index-url = "https://([^/"]+)/', manifest)[1]
    assert rows["wheel index"]["found"].startswith(f"{index}: ")
    if platform.machine() == "x86_64" and sys.platform == "linux":
        assert rows["cpu"]["status"] == "ok" and f"{CPU_MIB} MiB to download" in rows["cpu"]["found"]


def test_two_addresses_on_one_host_are_one_row():
    checkout = Checkout(ROOT, indexes=["https://there.org/a", "https://there.org/b"], channels=["https://here.org/c"])
    assert [s.url for s in network.servers(checkout)][:2] == ["https://here.org/c", "https://there.org/a"]


def test_an_installed_environment_needs_no_channel(examine, tool, workshop):
    tool("pixi", "echo pixi 0.77.0")
    assert json.loads(examine("--json").stdout)["routes"]["pixi"] is False
    (workshop / ".pixi/envs/cpu/conda-meta").mkdir(parents=True)
    done = examine("--json")
    assert json.loads(done.stdout)["routes"]["pixi"] is True
    assert rows_of(done)["cpu"]["found"].endswith("; installed")


def test_offline_contacts_no_server(examine):
    done = examine(
        "--offline", "--json", patch="def nobody(*_, **__): raise SystemExit('asked')\nsocket.socket.connect = nobody\n"
    )
    rows = rows_of(done)
    assert done.returncode == 0 and rows["servers"]["status"] == "skip" and "conda channel" not in rows


def test_with_nothing_but_python(examine):
    """No py-rattler, no rich, no packaging: as before the first installation."""
    absent = "import sys\nfor name in ('rattler', 'rich', 'packaging', 'tomli', 'filelock'): sys.modules[name] = None\n"
    done = examine(patch=absent)
    assert done.returncode in (0, 1)
    assert "not checked: this Python has no rattler" in done.stdout
    assert "Pixi" in done.stdout and "not found" in done.stdout and "glibc" in done.stdout


# ---------------------------------------------------------------- what never answers


@contextmanager
def silent():
    """The port of a server that accepts connections and never answers: the system accepts those that wait in line."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        yield listener.getsockname()[1]


def test_the_deadlines_add_up_to_less_than_10_seconds():
    assert doctor.DEADLINE + 2 < 10 and doctor.RESPONSE_TIMEOUT < doctor.DEADLINE


SOON = "from workshop.doctor import doctor\ndoctor.DEADLINE, doctor.RESPONSE_TIMEOUT = 3.0, 1.5\n"
SILENCE = ("a proxy that accepts and is silent", "DNS that never answers", "a server that trickles")


@pytest.mark.parametrize("deadlines", [SOON, pytest.param("", marks=pytest.mark.slow)], ids=["soon", "as shipped"])
@pytest.mark.parametrize("kind", SILENCE)
def test_it_ends_if_no_server_answers(examine, tool, kind, deadlines):
    """Without a deadline it would not end: each of these waits for an hour."""
    patch = deadlines
    tool("nvidia-smi", "exec /bin/sleep 3600")
    tool("pixi", "exec /bin/sleep 3600")
    with silent() as port, trickle() as slow:
        if kind == "DNS that never answers":
            patch += "import socket, time\nsocket.getaddrinfo = lambda *a, **k: time.sleep(3600)\n"
            done = examine("--json", patch=patch, NO_PROXY="*")
        else:
            at = port if "silent" in kind else slow
            done = examine("--json", patch=patch, HTTPS_PROXY=f"http://zaphod:hunter2@127.0.0.1:{at}/s3cretproxy")
    rows = rows_of(done)
    assert done.returncode == 0
    for what in ("conda channel", "wheel index", "Python packages", "container registry"):
        assert rows[what]["status"] == "note" and "no answer within" in rows[what]["found"], rows[what]
    assert "prints no version" in rows["Pixi"]["found"] and rows["GPU"]["status"] == "note"


@contextmanager
def trickle():
    """A proxy that sends one byte of its answer every second, without end."""

    def serve(connection):
        try:
            with connection:
                while True:
                    connection.sendall(b"H")
                    time.sleep(1)
        except OSError:
            pass

    def accept(listener):
        try:
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
        except OSError:
            pass

    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        with suppress(OSError):  # macOS ends the thread when the socket is closed
            listener.shutdown(socket.SHUT_RDWR)  # on Linux, closing alone would leave the thread waiting


# ---------------------------------------------------------------- servers and proxies


@contextmanager
def server(status, headers=(), raw=None, context=None):
    """The address of a server with one answer for every request, including CONNECT."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if raw is not None:
                self.wfile.write(raw)
                return
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()

        do_CONNECT = do_GET

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        if context:
            running.socket = context.wrap_socket(running.socket, server_side=True)
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http{'s' if context else ''}://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


@pytest.fixture
def direct(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("status", [200, 204, 301, 302, 401, 403, 404, 500, 503])
def test_any_status_is_an_answer(direct, status):
    with server(status, [("Location", "http://nowhere.invalid/")]) as url:
        assert network.probe(url, 5) == network.ServerStatus(True, f"answers (HTTP {status})")


def test_failures_that_are_not_answers(direct):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert network.probe(f"http://127.0.0.1:{port}/", 5) == network.ServerStatus(False, "connection refused")
    with server(0, raw=b"220 smtp ready\r\n") as url:
        assert network.probe(url, 5) == network.ServerStatus(False, "the answer is not HTTP")
    with silent() as port:
        found = network.probe(f"http://127.0.0.1:{port}/", 0.2)
        assert found.reachable is False and found.reason.startswith("no answer within 0.2 s")
    assert "DNS has no address" in network.probe("http://nobody.invalid/", 5).reason
    assert network.probe("file:///etc/passwd", 5).reachable is None
    assert network.probe("http://[", 5).reachable is None


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate without a trusted signature, as from a proxy that intercepts TLS."""
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificate, and is not here")
    folder = tmp_path_factory.mktemp("tls")
    line = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [*line.split(), "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, check=True, capture_output=True
    )
    return folder


def test_intercepted_tls_has_its_own_message(direct, certificate, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with server(200, context=context) as url:
        found = network.probe(url, 5)
        assert found.reachable is False and found.tls and "its certificate is not trusted here" in found.reason
        row = network.row(network.Server("conda channel", url), found)
        assert "SSL_CERT_FILE" in row.next_step
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
        assert network.probe(url, 5).reachable is True  # and the advice helps
    with server(200) as url:
        found = network.probe(url.replace("http:", "https:"), 5)
        assert found.reachable is False and found.tls and found.reason.startswith("no TLS")


def test_proxies_of_the_standard_variables(direct, monkeypatch):
    far = "https://far.invalid/"
    with server(407) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        assert "requires a user name and a password" in network.probe(far, 5).reason
    with server(403) as proxy:
        monkeypatch.setenv("https_proxy", proxy)
        assert network.probe(far, 5).reason == "the proxy refuses the connection (HTTP 403) through the proxy"
    with server(200) as proxy, server(418) as near:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("http_proxy", proxy)
        assert network.probe("http://far.invalid/", 5).reason == "answers through the proxy (HTTP 200)"
        assert network.probe(near, 5).reason == "answers through the proxy (HTTP 200)"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert network.probe(near, 5).reason == "answers (HTTP 418)"
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1")
    assert network.probe(far, 5).reachable is None


@pytest.mark.parametrize(
    "proxy",
    [
        "http://zaphod:hun:ter2@s3cretproxy:80a",
        "zaphod:hunter2",
        "http://u@h:hunter2",
        "http://[hunter2",
        "hunter2://x",
        "//",
        "http://:0",
        "ä",
    ],
)
def test_an_invalid_proxy_is_not_printed(direct, monkeypatch, proxy):
    monkeypatch.setenv("https_proxy", proxy)
    found = network.probe("https://far.invalid/", 5)
    assert found.reachable is not True
    assert not any(secret in found.reason for secret in SECRETS), found.reason


@given(
    st.sampled_from([ValueError, OSError, ssl.SSLError, ConnectionError, TimeoutError, UnicodeError, KeyError]),
    st.booleans(),
)
def test_the_text_of_an_error_is_never_printed(kind, proxy):
    assert "hunter2" not in network._explain(kind("http://zaphod:hunter2@s3cretproxy/"), 5, proxy)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "proxy", ["http://zaphod:hun:ter2@s3cretproxy:80a", "http://zaphod:hunter2@s3cretproxy.invalid:3128/betelgeuse"]
)
def test_no_report_contains_the_user_or_the_proxy(examine, workshop, tool, proxy):
    """`examine` searches all output for the names; this test covers every kind of failure."""
    tool("pixi", 'echo "error: /home/zaphod/.pixi is not readable on magrathea"; exit 1')
    tool("git", "echo fatal: betelgeuse")
    tool("nvidia-smi", "echo NVIDIA-SMI has failed on magrathea for zaphod")
    for name, content in (
        ("pixi.toml", None),
        ("pixi.toml", "[zaphod"),
        ("pixi.lock", "<<<<<<< betelgeuse\n"),
        ("pixi.lock", None),
        ("pyproject.toml", "[zaphod"),
    ):
        kept = (workshop / name).read_bytes()
        (workshop / name).unlink()
        if content is not None:
            (workshop / name).write_text(content)
        for words in ((), ("--json",)):
            examine(*words, HTTPS_PROXY=proxy, PIP_INDEX_URL="https://zaphod:hunter2@far.invalid/simple")
        (workshop / name).write_bytes(kept)


# ---------------------------------------------------------------- bad input


BAD = {
    "no manifest": ("pixi.toml", None, "pixi.toml cannot be read", "workshop lock-check"),
    "broken manifest": ("pixi.toml", "[workspace", "pixi.toml cannot be read", "workshop lock-check"),
    "no lock": ("pixi.lock", None, "there is no pixi.lock", "git checkout -- pixi.lock"),
    "broken lock": ("pixi.lock", "version: 7\nplatforms: 3\n", "pixi.lock cannot be read", "workshop lock-check"),
    "binary lock": ("pixi.lock", "\0\1\2", "pixi.lock cannot be read", "workshop lock-check"),
}


@pytest.mark.parametrize("name", BAD)
def test_manifests_and_locks_that_cannot_be_read(examine, workshop, tool, name):
    tool("pixi", "echo pixi 0.77.0")
    file, content, said, step = BAD[name]
    (workshop / file).unlink()
    if content is not None:
        (workshop / file).write_text(content)
    done = examine("--json", "--offline")
    row = rows_of(done)["all"]
    assert json.loads(done.stdout)["routes"] == {"pixi": False, "python": True}
    assert row["found"] == said and row["next"].startswith(step)


@pytest.mark.parametrize(
    ("script", "said", "step"),
    [
        ("echo pixi 0.77.0", "0.77.0 (required: >=0.74)", ""),
        ("echo pixi 0.60.2", "0.60.2; the workshop requires >=0.74", "pixi self-update"),
        ("echo pixi 1.0", "1.0 (required: >=0.74)", ""),
        ("echo hello", "prints no version", "curl"),
        ("exit 3", "prints no version", "curl"),
        ("printf '\\377\\376\\000pixi'", "prints no version", "curl"),
        ("while :; do echo pixi of magrathea; done", "prints no version", "curl"),
        ("echo pixi 0.77.0; /bin/sleep 3600 &", "prints no version", "curl"),
    ],
)
def test_different_outputs_of_pixi(workshop, tool, monkeypatch, script, said, step):
    monkeypatch.setenv("HOME", str(workshop))
    monkeypatch.delenv("PIXI_EXE", raising=False)
    tool("pixi", script)
    row = tools.rows(read_checkout(workshop), tools.version_of("pixi", 1), "2.39")[0]
    assert said in row.found and row.next_step.startswith(step) and row.passed is (not step)


def test_a_pixi_that_is_not_on_the_path(workshop, tool, monkeypatch):
    monkeypatch.setenv("HOME", str(workshop))
    monkeypatch.delenv("PIXI_EXE", raising=False)
    here = read_checkout(workshop)
    assert tools.rows(here, tools.version_of("pixi", 1), None)[0].found == "not found"
    (workshop / ".pixi/bin").mkdir(parents=True)
    (workshop / ".pixi/bin/pixi").touch()
    row = tools.rows(here, tools.version_of("pixi", 1), None)[0]
    assert row.passed is False and row.next_step == "open a new terminal"


@given(st.binary(max_size=200))
def test_any_output_of_a_tool_is_handled(said):
    text = said.decode("utf-8", "replace")
    before = timeouts.run_command
    timeouts.run_command = lambda *_, **__: text
    try:
        found = hardware.gpus()
        assert all(set(gpu) <= {"driver", "gpu", "compute_capability"} for gpu in found)
        assert machine._as_versions(text) is None or isinstance(machine._as_versions(text), dict)
        version = tools.version_of("sh", 1)
        assert version == "" or version[0].isdecimal()
        assert machine.printable(text).isascii() and len(machine.printable(text)) <= 80
    finally:
        timeouts.run_command = before


@given(st.from_regex(r"\A\d{1,4}(\.\d{1,4}){1,3}\Z"), st.text(alphabet="<>=!~,.0123456789* ", max_size=20))
def test_any_version_can_be_compared_with_any_constraint(version, spec):
    assert satisfies(version, spec) in (True, False)


@pytest.mark.parametrize(
    ("version", "spec", "good"),
    [
        ("0.77.0", ">=0.71", True),
        ("0.71.0", ">=0.71", True),
        ("0.70.9", ">=0.71", False),
        ("3.13.5", ">=3.11,<3.14", True),
        ("3.14.0", ">=3.11,<3.14", False),
        ("0.9.0", ">=0.71", False),
        ("0.100.0", ">=0.71", True),
        ("1.2.3", "==1.2", True),
        ("12", ">=12.0", True),
        ("12", ">12.0", False),
        ("3.13.0rc1", ">=3.11", False),
    ],
)
def test_versions_are_compared_as_numbers(version, spec, good):
    assert satisfies(version, spec) is good


# ---------------------------------------------------------------- the tools that hang, the driver


def test_run_command_ends_the_processes_it_started(tool):
    tool("hangs", "exec /bin/sleep 3600")
    tool("many", "while :; do echo 0123456789; done")
    assert timeouts.run_command(["hangs"], 0.3) is None
    assert len(timeouts.run_command(["many"], 30)) == timeouts.OUTPUT_LIMIT
    assert timeouts.run_command(["not-there"], 1) is None
    assert timeouts.run_command([str(tool.folder)], 1) is None  # a folder
    tool("orphans", f"/bin/sleep 3600 & echo $! > '{tool.folder}/child'")
    assert timeouts.run_command(["orphans"], 2) is None  # its child holds the pipe open, and is ended with it
    child = int((tool.folder / "child").read_text())
    while subprocess.run(["/bin/ps", "-o", "stat=", "-p", str(child)], capture_output=True, text=True).stdout[
        :1
    ] not in ("", "Z"):
        time.sleep(0.05)  # without the kill it sleeps for an hour, and this with it
    tool("fails", "echo yes; exit 1")
    assert timeouts.run_command(["fails"], 5) is None


SMI = """
case "$1" in
  *compute_cap*) echo "550.54.15, 9.0, NVIDIA H200"; echo "550.54.15, 9.0, NVIDIA H200";;
  *) echo "550.54.15, NVIDIA H200";;
esac
"""


def test_gpus_as_nvidia_smi_lists_them(tool):
    tool("nvidia-smi", SMI)
    assert hardware.gpus() == [{"driver": "550.54.15", "gpu": "NVIDIA H200", "compute_capability": "9.0"}] * 2
    assert hardware.nvidia_smi() == {"driver": "550.54.15", "gpu": "NVIDIA H200"}
    # an old driver does not know the question
    tool(
        "nvidia-smi",
        'case "$1" in *compute_cap*) echo Field is not valid; exit 2;; *) echo "450.80.02, Tesla, K80";; esac',
    )
    assert hardware.gpus() == [{"driver": "450.80.02", "gpu": "Tesla, K80"}]
    tool("nvidia-smi", "echo No devices were found; exit 6")
    assert hardware.gpus() == [] and hardware.nvidia_smi() == {}
    tool("nvidia-smi", "exec /bin/sleep 3600")
    assert hardware.gpus(0.3) == []
    tool("nvidia-smi", "printf '550.1, 9.0, \\377\\376 \\033[31mGPU\\n'")
    mine = machine.inspect_machine(5)
    assert all(" " <= letter <= "~" for letter in mine.gpus[0]["gpu"])


def test_the_gpu_is_described_with_what_is_known(tool):
    tool("nvidia-smi", SMI)
    known = next(row for row in machine.rows(machine.inspect_machine(5)) if row.subject == "GPU")
    assert known.found == "2 x NVIDIA H200, compute capability 9.0"
    tool("nvidia-smi", 'case "$1" in *compute_cap*) exit 2;; *) echo "450.80.02, Tesla, K80";; esac')
    old = next(row for row in machine.rows(machine.inspect_machine(5)) if row.subject == "GPU")
    assert old.found == "Tesla, K80, compute capability not known"


LIBCUDA = """
#include <unistd.h>
int cuInit(unsigned flags) { HANG; return 0; }
int cuDriverGetVersion(int *version) { HANG; *version = 12040; return 0; }
"""


@pytest.fixture
def libcuda(tmp_path, monkeypatch):
    """Our own driver library, which supports CUDA 12.4 or hangs."""
    compiler = shutil.which("cc")
    if not compiler or sys.platform != "linux":
        pytest.skip("no C compiler on Linux: it makes the stand-in for the driver's library")
    if hardware.gpus():
        pytest.skip("a real driver is here, and goes before the stand-in")

    def build(hang):
        source = tmp_path / "cuda.c"
        source.write_text(LIBCUDA.replace("HANG", "sleep(3600)" if hang else "(void)0"))
        subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", source], check=True)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))

    return build


def test_cuda_version_comes_from_the_drivers_library(libcuda, monkeypatch):
    monkeypatch.delenv("CONDA_OVERRIDE_CUDA", raising=False)
    libcuda(hang=False)
    assert machine.inspect_machine(10).virtual["__cuda"] == "12.4"
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "11.2")
    mine = machine.inspect_machine(10)
    assert mine.virtual["__cuda"] == "11.2" and mine.overridden == ("CONDA_OVERRIDE_CUDA",)
    assert "CONDA_OVERRIDE_CUDA is set" in " ".join(row.found for row in machine.rows(mine))


def test_a_drivers_library_that_hangs_is_skipped(libcuda, monkeypatch):
    monkeypatch.delenv("CONDA_OVERRIDE_CUDA", raising=False)
    libcuda(hang=True)
    mine = machine.inspect_machine(4)
    assert mine.virtual and "__cuda" not in mine.virtual and mine.trouble[0].startswith("the driver's library")


def test_an_override_that_is_not_a_version(monkeypatch):
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "zaphod")
    mine = machine.inspect_machine(10)
    assert mine.trouble == ("the value of __cuda is not a number",) and mine.virtual and "__cuda" not in mine.virtual
    assert not any("zaphod" in row.found for row in machine.rows(mine))


# ---------------------------------------------------------------- which environments run, and why not the others


@pytest.fixture(scope="module")
def places():
    return environments.locked_environments(ROOT)[1]


def a_machine(subdir="linux-64", **virtual) -> Machine:
    base = {
        "linux": {"__unix": "0", "__linux": "6.1", "__glibc": "2.36"},
        "osx": {"__unix": "0", "__osx": "14.5"},
        "win": {"__win": "10.0.22631"},
    }[subdir.split("-")[0]]
    return Machine("a system", "an architecture", subdir, None, {**base, **virtual}, (), ())


def verdicts(places, mine, free=10**12) -> dict[str, tuple[bool | None, str]]:
    names = dict.fromkeys(place.environment for place in places)
    return {
        n: doctor_environments.runs_here([p for p in places if p.environment == n], mine, free, False)[:2]
        for n in names
    }


def running(found) -> set[str]:
    return {name for name, (good, _) in found.items() if good}


ALWAYS = {"default", "dev", "docs", "cpu", "cpu-jax", "pypi-mixed-cpu", "scale"}
ON_WINDOWS = ALWAYS - {"scale"}  # Parsl does not run there


@pytest.mark.parametrize(
    ("mine", "run"),
    [
        (a_machine(), ALWAYS),
        (a_machine(__cuda="12.4"), ALWAYS | {"cuda12", "cuda12-torch", "cuda118-jax", "pypi-mixed"}),
        (a_machine(__cuda="12.0"), ALWAYS | {"cuda12", "cuda12-torch", "cuda118-jax", "pypi-mixed"}),
        (a_machine(__cuda="11.8"), ALWAYS | {"cuda118-jax"}),
        (a_machine(__cuda="11.4"), ALWAYS),
        (a_machine(__glibc="2.17"), {"default", "docs"}),
        (a_machine("linux-aarch64"), ALWAYS),
        (a_machine("osx-arm64"), ALWAYS),
        (a_machine("win-64"), ON_WINDOWS),
        (a_machine("win-64", __cuda="12.4"), ON_WINDOWS | {"cuda12", "cuda12-torch"}),
        (a_machine("linux-aarch64", __cuda="12.4"), ALWAYS | {"cuda12", "cuda12-torch"}),
        (a_machine("win-arm64"), ON_WINDOWS),
        (a_machine("osx-64"), set()),
    ],
)
def test_which_environments_a_machine_can_run(places, mine, run):
    assert running(verdicts(places, mine)) == run


def test_reasons_why_an_environment_cannot_run(places):
    none = verdicts(places, a_machine())["cuda12"][1]
    assert none == "needs an NVIDIA driver for CUDA 12.0 (on Linux 525.60.13 or newer); none is here"
    assert "the one here supports CUDA 11.4" in verdicts(places, a_machine(__cuda="11.4"))["cuda12"][1]
    # only the platform requires a driver there: wheels cannot
    assert "its packages do not require it" in verdicts(places, a_machine())["pypi-mixed"][1]
    assert verdicts(places, a_machine(__glibc="2.17"))["cpu"][1].startswith("needs glibc 2.28, required by libraqm")
    assert (
        verdicts(places, a_machine("osx-arm64"))["cuda12"][1]
        == "locked for linux-64, linux-aarch64, win-64; this machine is osx-arm64"
    )
    assert verdicts(places, a_machine("osx-arm64", __osx="10.15"))["cpu"][1].startswith("needs macOS 11.0")


def test_a_driver_selects_the_platform_that_declares_it(places):
    assert "as linux-64-cuda12;" in verdicts(places, a_machine(__cuda="12.4"))["default"][1]
    assert "as linux-64-cuda118;" in verdicts(places, a_machine(__cuda="11.8"))["default"][1]
    assert "as linux-64;" in verdicts(places, a_machine())["default"][1]


def test_an_unknown_machine(places):
    unknown = Machine("s", "a", "linux-64", None, None, (), ())
    assert {good for good, _ in verdicts(places, unknown).values()} == {None}
    assert {good for good, _ in verdicts(places, None).values()} == {None}


@pytest.mark.parametrize(("free", "good"), [(None, True), (0, False), (300 * 2**20, False), (400 * 2**20, True)])
def test_a_full_or_unknown_disk(places, free, good):
    found = verdicts(places, a_machine(), free)
    assert found["cpu"][0] is good
    assert good or f"does not fit on the disk: {CPU_MIB} MiB to download" in found["cpu"][1]


def test_an_unknown_disk_is_reported(workshop, monkeypatch):
    def refuse(_):
        raise OSError("zaphod")

    monkeypatch.setattr(shutil, "disk_usage", refuse)
    assert disk.free(workshop) is None
    assert doctor_environments.disk_rows(read_checkout(workshop))[0].passed is None


def test_a_full_disk_closes_the_pixi_route(examine, tool, workshop):
    tool("pixi", "echo pixi 0.77.0")
    full = "import shutil\nshutil.disk_usage = lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0)\n"
    done = examine("--json", "--offline", patch=full)
    assert json.loads(done.stdout)["routes"]["pixi"] is False
    assert "does not fit" in rows_of(done)["cpu"]["found"]


def test_a_platform_requirement_that_no_package_shares():
    """Pixi 0.77 accepts an environment whose platform is not met if no package requires it: only the report says so."""
    listed = module_of(ROOT / "tests/pixi_workspace/test_environments.py")
    conda, env = listed.conda, listed.env

    only_platform = env(conda("numpy", "2"), cuda="12.0")
    good, words, _ = doctor_environments.runs_here([only_platform], a_machine(), None, False)
    assert good is False and "may install the environment with only a warning" in words
    asks = env(conda("pytorch", "2", "cuda129_0", ("__cuda >=12.4",)), cuda="12.0")
    good, words, _ = doctor_environments.runs_here([asks], a_machine(__cuda="12.2"), None, False)
    assert good is False and "for CUDA 12.4" in words and "supports CUDA 12.2" in words
    assert needs.unmet(asks, {"__cuda": "12.4"}) == ([], [])


def test_a_report_fits_80_columns_except_for_commands(examine):
    long = [line for line in examine().stdout.splitlines() if len(line) > report.PIPED_WIDTH and "next:" not in line]
    assert not long
