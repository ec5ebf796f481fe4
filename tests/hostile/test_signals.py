"""Ctrl-C at any moment ends a command or a script with exit code 130 and one line, and nothing runs on."""

import os
import random
import signal
import subprocess
import sys
import time

import attack
import ctrl_c
import learner
import pytest

from workshop.runs.records import record

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no signal for one process")

# A script of the workshop, which trains nothing: READY is printed at the moment of the signal.
SCRIPT = """
from workshop import runs
{imports}

def work(run):
    {body}
    run.finish(("numpy",), dataset={{"name": "d", "sha256": "0" * 64}}, metrics=[{{"name": "m", "value": 1}}])

if __name__ == "__main__":
    runs.main(work, exercise="exercise-0", script=__file__, description=__doc__, {settings})
"""
READY = "import sys, time; print('ready', flush=True)"
SWALLOW = "\nwhile True:\n    try: time.sleep(60)\n    except BaseException: pass\n"


def body(text):
    return READY + "\n    " + text.strip().replace("\n", "\n    ")


# For each moment: what a module that is imported contains, the body of the function, and further settings.
MOMENTS = {
    "while a module is imported": (f"{READY}\ntime.sleep(60)", "pass", ""),
    "while a module is imported that ignores it": (f"{READY}{SWALLOW}", "pass", ""),
    "while a module is imported that fails then": (
        f"{READY}\ntry: time.sleep(60)\nexcept BaseException: raise ImportError('no')",
        "pass",
        "",
    ),
    "while it computes": ("", body("while True: sum(range(1000))"), ""),
    "while it sleeps": ("", body("time.sleep(60)"), ""),
    "in a callback that ignores it": ("", body(SWALLOW), ""),
    "in a callback that turns it into another error": (
        "",
        body("try: time.sleep(60)\nexcept BaseException: raise RuntimeError('a callback failed')"),
        "",
    ),
    "while an object is deleted": (
        "class Slow:\n    def __del__(self):\n        import sys, time\n        print('ready', flush=True)\n        time.sleep(60)",
        "import module\n    thing = module.Slow()\n    del thing",
        "",
    ),
    "while it sorts with a key": (
        "",
        body("def key(x):\n    time.sleep(0.01)\n    return x\nwhile True: sorted(range(100), key=key)"),
        "",
    ),
    "while it prints": ("", body("while True: print('x' * 1000)"), ""),
    "while it writes a file": (
        "",
        body(
            "from workshop.support.files import write_atomic\nwhile True: write_atomic(run.folder / 'x', b'x' * 10_000)"
        ),
        "",
    ),
    "while it waits for a thread": (
        "",
        body(
            "import threading\nthread = threading.Thread(target=time.sleep, args=(60,))\nthread.start()\nthread.join()"
        ),
        "",
    ),
    "while it waits for a process": (
        "",
        body("import subprocess\nsubprocess.run([sys.executable, '-c', 'import time; time.sleep(3)'])"),
        "",
    ),
    "in a training": ("", body("time.sleep(60)"), "epochs=3"),
    "at the end of the interpreter": (
        "import atexit\ndef slow():\n    import time\n    print('ready', flush=True)\n    time.sleep(60)\natexit.register(slow)",
        "raise SystemExit(0)",
        "",
    ),
}
FAST = ("while a module is imported that ignores it", "in a callback that ignores it")


def start(words, cwd, **variables):
    return subprocess.Popen(
        ctrl_c.python(*words),
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(attack.ROOT / "common"), "OMP_NUM_THREADS": "1"} | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def interrupt(process, times=1):
    """Send Ctrl-C when the process has printed `ready`; returns what it printed on stderr."""
    try:
        for line in process.stdout:
            if line.startswith("ready"):
                break
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.01)
        _, err = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return err


@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.slow)], ids=["once", "three times"])
@pytest.mark.parametrize("moment", [m if m in FAST else pytest.param(m, marks=pytest.mark.slow) for m in MOMENTS])
def test_ctrl_c_ends_a_script_with_130_and_one_line(tmp_path, moment, times):
    module, text, settings = MOMENTS[moment]
    (tmp_path / "module.py").write_text(module)
    (tmp_path / "script.py").write_text(SCRIPT.format(imports="import module", body=text, settings=settings))
    process = start(["script.py", "--output", "run"], tmp_path)
    err = interrupt(process, times)
    assert (process.returncode, err) == (130, "interrupted\n")
    assert not (tmp_path / "run").exists() and not (tmp_path / "run.partial").exists()


@pytest.mark.slow
def test_ctrl_c_while_the_run_is_moved_ends_with_a_finished_run(tmp_path):
    (tmp_path / "module.py").write_text(
        "import os, time\nrename = os.rename\n"
        "def slow(*paths):\n    print('ready', flush=True)\n    time.sleep(1)\n    rename(*paths)\nos.rename = slow\n"
    )
    (tmp_path / "script.py").write_text(SCRIPT.format(imports="import module", body="pass", settings=""))
    process = start(["script.py", "--output", "run"], tmp_path)
    err = interrupt(process)
    assert (process.returncode, err) == (0, "") and (tmp_path / "run" / "run.json").exists()
    assert not (tmp_path / "run.partial").exists()


@pytest.mark.slow
def test_a_script_that_ignores_ctrl_c_keeps_doing_so(tmp_path):
    """As after `nohup`, and with a handler of its own."""
    text = SCRIPT.format(imports="", body=body("time.sleep(0.5)"), settings="")
    (tmp_path / "script.py").write_text("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + text)
    process = start(["script.py", "--output", "run"], tmp_path)
    assert (interrupt(process), process.returncode) == ("", 0)


# ---------------------------------------------------------------- the commands of the workshop

SHADOWS = ("argparse", "workshop.errors", "workshop.cli", "tomllib", "workshop.exercises", "filelock")


@pytest.mark.slow
@pytest.mark.parametrize("module", SHADOWS)
def test_ctrl_c_while_a_command_is_imported(tmp_path, module):
    """A finder stops at the import of the module, where the signal then arrives."""
    learner.workshop(tmp_path)
    (tmp_path / "start.py").write_text(
        "import runpy, sys, time\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}:\n            print('ready', flush=True)\n            time.sleep(60)\n"
        "sys.meta_path.insert(0, Finder())\n"
        f"sys.modules.pop({module!r}, None)\n"
        "sys.argv = ['workshop', 'hint', '7']\n"
        "runpy.run_module('workshop', run_name='__main__', alter_sys=True)\n"
    )
    process = start(["start.py"], tmp_path)
    err = interrupt(process)
    assert (process.returncode, err) == (130, "interrupted\n")


# ---------------------------------------------------------------- frameworks

JAX = attack.ROOT / "exercise-3-jax-cu118" / "solution" / "train.py"
TORCH = attack.ROOT / "exercise-2-pytorch-cu12" / "solution" / "train.py"


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(5))
@pytest.mark.parametrize("script", [JAX, TORCH], ids=["jax", "torch"])
def test_ctrl_c_at_a_random_moment_of_a_training(tmp_path, script, attempt):
    pytest.importorskip("flax" if script is JAX else "torch", reason="install the extra cpu")
    process = start(
        [script, "--data", "digits", "--epochs", 400, "--device", "cpu", "--output", tmp_path / "run"], tmp_path
    )
    time.sleep(random.Random(attempt).uniform(0.3, 15))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    lines = err.splitlines()
    assert process.returncode == 130 and lines[-1] == "interrupted", err
    assert all(line.startswith("the last checkpoint is kept") for line in lines[:-1]), err
    left = {path.name for path in (tmp_path / "run.partial").glob("*")} if lines[:-1] else set()
    assert not (tmp_path / "run").exists() and (record.CHECKPOINT in left) == bool(lines[:-1])


# ---------------------------------------------------------------- the workers of a scan

SCAN = """
import os, sys
from workshop.scan import command, distribute

def slow(*_):
    open(sys.argv[1], "a").write(f"{os.getpid()}\\n")
    while True: pass

distribute.fit_request = slow
if __name__ == "__main__":
    from workshop import cli
    sys.exit(cli.main(["scan", "--workers", "2", "--output", sys.argv[2]]))
"""


def ended(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(") ")[2][0] in "ZX"
    except OSError:
        return True


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"])
def test_the_workers_of_a_scan_end_with_it(tmp_path, name):
    pids = tmp_path / "pids"
    pids.touch()
    (tmp_path / "scan.py").write_text(SCAN)
    process = start(["scan.py", pids, tmp_path / "run"], tmp_path)
    deadline = time.monotonic() + 60
    try:
        while not pids.read_text():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.Signals[name])
        process.wait(timeout=30)
        while not all(ended(pid) for pid in pids.read_text().split()):
            assert time.monotonic() < deadline, "a worker runs on"
            time.sleep(0.05)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        for pid in pids.read_text().split():
            if not ended(pid):
                os.kill(int(pid), signal.SIGKILL)
        _, err = process.communicate()
    if name == "SIGINT":
        assert (process.returncode, err) == (130, "interrupted\n")
    assert not (tmp_path / "run").exists()
