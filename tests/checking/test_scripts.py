"""What learners' scripts do on the way to right ones: they are run with limits, and nothing beside them is lost."""

import os
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from workshop.checking import scripts, warm
from workshop.errors import WorkshopError

LINUX = sys.platform == "linux"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "common")}
WAYS = [(), ("numpy",)] if LINUX else [()]  # in an interpreter of its own, and forked from a warm one


@pytest.fixture(params=WAYS, ids=lambda modules: "warm" if modules else "fresh")
def run(request, tmp_path):
    """Run a text as a script: run("print(1)", "argument", VARIABLE="value")."""
    folder = tmp_path / "Übung 1" / "starter"  # with a space, and a letter that is not ASCII
    folder.mkdir(parents=True)
    (folder / "pixi.toml").write_text("[workspace]\n")

    def go(text, *arguments, before="", **variables):
        (folder / "script.py").write_text(text, encoding="utf-8")
        return scripts.run(folder / "script.py", arguments, ENVIRONMENT | variables, before, request.param)

    go.folder = folder
    return go


def test_what_a_script_sees_and_says(run):
    (run.folder / "sibling.py").write_text("")
    text = "import sys, os, sibling\nprint(sys.argv[1:], os.environ['NAME'], __name__, sys.argv[0] == __file__)\n"
    done = run(text + "print('ärger', file=sys.stderr)\nsys.exit(7)\n", "a b", "ü", NAME="x", PYTHONUTF8="1")
    assert (done.returncode, done.stdout) == (7, "['a b', 'ü'] x __main__ True\n")
    assert done.stderr == "ärger\n"


def test_before_it_runs(run):
    done = run("import json\nprint(json.dumps(1))", before="import json\njson.dumps = lambda _: 'patched'")
    assert done.stdout == "patched\n"


def test_at_its_end(run):
    """What is registered for the exit runs; an exception is exit code 1 and a traceback; a signal is negative."""
    assert run("import atexit\natexit.register(print, 'bye')").stdout == "bye\n"
    done = run("1 / 0")
    assert done.returncode == 1 and done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")
    if os.name == "posix":
        assert run("import os\nos.kill(os.getpid(), 9)").returncode == -9


@pytest.mark.parametrize(
    "text, code, stdout, stderr",
    [
        ("import sys\nsys.exit()", 0, "", ""),
        ("import sys\nsys.exit('no file')", 1, "", "no file\n"),
        ("import sys\nsys.exit(True)", 1, "", ""),
        ("import sys\nsys.exit(-1)", 255, "", ""),
        ("import sys\nsys.stdout.write('half a line')", 0, "half a line", ""),
        ("import sys\nprint('said')\nsys.stdout.close()\nsys.stdout = None", 0, "said\n", ""),
        (
            "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()",
            0,
            "late\n",
            "",
        ),
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()", 0, "", ""),
        ("import atexit, sys\natexit.register(print, 'bye')\nsys.exit(3)", 3, "bye\n", ""),
        ("from concurrent.futures import ThreadPoolExecutor as P\nP().submit(print, 'done')", 0, "done\n", ""),
    ],
)
def test_it_ends_as_in_an_interpreter_of_its_own(run, text, code, stdout, stderr):
    done = run(text)
    assert (done.returncode, done.stdout, done.stderr) == (code, stdout, stderr)


@pytest.mark.parametrize("end", ["", "import sys\nsys.exit(2)", "1 / 0", "loop = [file]\nloop.append(loop)"])
@pytest.mark.parametrize("mode", ["w", "wb", "w+b"])
def test_files_that_nobody_has_closed_are_written(run, end, mode):
    what = "b'said'" if "b" in mode else "'said'"
    run(
        f"file = open('result', '{mode}')\nfile.write({what})\nkeep = lambda: file\n{end}".replace(
            "'result'", "__file__ + '.txt'"
        )
    )
    assert (run.folder / "script.py.txt").read_text() == "said"


def test_an_exception_at_the_end_is_told(run):
    done = run("import atexit\natexit.register(lambda: 1 / 0)\nprint('here')")
    assert (done.returncode, done.stdout) == (0, "here\n") and "ZeroDivisionError" in done.stderr


def test_random_numbers_without_a_seed_differ(run):
    """Also in two forks of one interpreter."""
    pytest.importorskip("numpy")
    text = "import random, uuid, numpy\nprint(random.random(), numpy.random.rand(), uuid.uuid4())"
    assert len({word for _ in range(3) for word in run(text).stdout.split()}) == 9


def test_a_script_that_has_no_end(run, monkeypatch):
    monkeypatch.setattr(scripts, "TIME_LIMIT", 1)
    with pytest.raises(WorkshopError) as raised:
        run("while True:\n    pass")
    assert "still running" in raised.value.found and "within 1 s" in raised.value.expected


def test_and_what_it_has_started(run, monkeypatch, tmp_path):
    """A process that the script leaves behind neither holds the check up nor lives on."""
    mark = tmp_path / "mark"
    child = f"import os, time\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    begin = time.monotonic()
    done = run(
        f"import subprocess, sys, os, time\nsubprocess.Popen([sys.executable, '-c', {child!r}])\n"
        f"while not os.path.exists({str(mark)!r}): time.sleep(0.01)\ntime.sleep(0.2)\nprint('done')"
    )
    assert done.stdout == "done\n" and time.monotonic() - begin < 300
    if os.name == "posix":
        for _ in range(100):
            state = subprocess.run(["ps", "-o", "stat=", "-p", mark.read_text()], capture_output=True, text=True)
            if state.stdout.strip()[:1] in ("", "Z"):
                break
            time.sleep(0.1)
        else:
            pytest.fail("what the script started still runs")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_script_that_prints_without_end(run, monkeypatch, stream):
    monkeypatch.setattr(scripts, "OUTPUT_LIMIT", 2**20)
    with pytest.raises(WorkshopError) as raised:
        run(f"import sys\nwhile True:\n    print('x' * 10000, file=sys.{stream})")
    assert "more than 1 MiB" in raised.value.found


def test_a_script_that_removes_its_folder(run):
    (run.folder / "deep").mkdir()
    (run.folder / "deep" / "notes.md").write_text("mine")
    (run.folder / "results").mkdir()
    with pytest.raises(WorkshopError) as raised:
        run("import shutil, os\nshutil.rmtree(os.path.dirname(__file__))")
    assert "put back" in raised.value.found and "script.py" in raised.value.next_step
    assert (run.folder / "pixi.toml").read_text() == "[workspace]\n"
    assert (run.folder / "deep" / "notes.md").read_text() == "mine"
    assert "rmtree" in (run.folder / "script.py").read_text()
    assert sorted(p.name for p in run.folder.iterdir()) == ["deep", "pixi.toml", "script.py"]


def test_what_is_saved_while_it_runs_stays(run):
    """The learner may save a file at that moment: only what is gone is put back."""
    run("import os\nopen(os.path.join(os.path.dirname(__file__), 'pixi.toml'), 'w').write('edited')")
    assert (run.folder / "pixi.toml").read_text() == "edited"


@pytest.mark.skipif(not LINUX, reason="interpreters are forked on Linux alone")
def test_without_its_server_a_script_runs_all_the_same(tmp_path):
    (tmp_path / "script.py").write_text("print('here')")
    for _ in range(2):
        assert scripts.run(tmp_path / "script.py", (), ENVIRONMENT, "", ("no_such_module",)).stdout == "here\n"
        process, _ = warm._servers[(ENVIRONMENT["PYTHONPATH"], "no_such_module")]
        process.kill()
        process.wait()
    too_long = ENVIRONMENT | {f"LONG{k}": "x" * 100_000 for k in range(4)}  # for one message
    assert scripts.run(tmp_path / "script.py", (), too_long, "", ("json",)).stdout == "here\n"
