"""Learners' scripts with mistakes: they run with limits, and no file of the learner is lost."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from conftest import ROOT

from workshop.checking import fork_server, scripts
from workshop.checking.patches import patch
from workshop.errors import WorkshopError
from workshop.support.files import sha256_of

LINUX = sys.platform == "linux"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "common")}
WAYS = [(), ("numpy",)] if LINUX else [()]  # in an interpreter of its own, and forked from a warm one


@pytest.fixture(params=WAYS, ids=lambda modules: "warm" if modules else "fresh")
def run(request, tmp_path):
    """Run a text as a script: run("print(1)", "argument", VARIABLE="value")."""
    folder = tmp_path / "Übung 1" / "starter"  # with a space, and a letter that is not ASCII
    folder.mkdir(parents=True)
    (folder / "pixi.toml").write_text("[workspace]\n")

    def go(text, *arguments, patches=(), **variables):
        (folder / "script.py").write_text(text, encoding="utf-8")
        return scripts.run(folder / "script.py", arguments, ENVIRONMENT | variables, patches, request.param)

    go.folder = folder
    return go


def has_ended(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return state.strip()[:1] in ("", "Z")


def wait_until(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_arguments_variables_and_output_of_a_script(run):
    (run.folder / "sibling.py").write_text("")
    text = "import sys, os, sibling\nprint(sys.argv[1:], os.environ['NAME'], __name__, sys.argv[0] == __file__)\n"
    done = run(text + "print('ärger', file=sys.stderr)\nsys.exit(7)\n", "a b", "ü", NAME="x", PYTHONUTF8="1")
    assert (done.returncode, done.stdout) == (7, "['a b', 'ü'] x __main__ True\n")
    assert done.stderr == "ärger\n"


def test_a_script_keeps_its_encoding_and_future_imports(run):
    """With its own encoding, and only its own `from __future__` imports."""
    assert run("# coding: latin-1\ndef f(x: print('Annotation')): pass").stdout == "Annotation\n"
    done = run("import pickle\nclass Net: pass\nprint(type(pickle.loads(pickle.dumps(Net()))) is Net)")
    assert done.stdout == "True\n", done.stderr
    done = run("def broken(:")
    assert done.returncode == 1 and done.stderr.rstrip().endswith("SyntaxError: invalid syntax")


def test_patches_run_first_and_in_order(run, tmp_path):
    """Each has its own settings, and otherwise a script runs as without patches."""
    (run.folder / "sibling.py").write_text("")
    patch = tmp_path / "patch.py"
    patch.write_text(
        "import json\ndumps = json.dumps\n\n"
        "def install(word):\n    before = json.dumps\n    json.dumps = lambda value: word + before(value)\n"
    )
    text = "import sys, json, sibling\nprint(json.dumps(1), sys.argv[1:], __name__, sys.argv[0] == __file__)"
    done = run(text, "a b", patches=[(str(patch), {"word": "second "}), (str(patch), {"word": "first "})])
    assert done.stdout == "first second 1 ['a b'] __main__ True\n", done.stderr


def test_exit_handlers_exceptions_and_signals(run):
    """Exit handlers run; an exception gives exit code 1 and a traceback; a signal gives a negative code."""
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
def test_a_fork_ends_like_a_new_interpreter(run, text, code, stdout, stderr):
    done = run(text)
    assert (done.returncode, done.stdout, done.stderr) == (code, stdout, stderr)


@pytest.mark.parametrize("end", ["", "import sys\nsys.exit(2)", "1 / 0", "loop = [file]\nloop.append(loop)"])
@pytest.mark.parametrize("mode", ["w", "wb", "w+b"])
def test_open_files_are_written_at_the_end(run, end, mode):
    what = "b'said'" if "b" in mode else "'said'"
    text = f"import sys\nfile = open(sys.argv[1], '{mode}')\nfile.write({what})\nkeep = lambda: file\n{end}"
    run(text, str(run.folder / "result"))
    assert (run.folder / "result").read_text() == "said"


def test_an_exception_at_the_end_is_reported(run):
    done = run("import atexit\natexit.register(lambda: 1 / 0)\nprint('here')")
    assert (done.returncode, done.stdout) == (0, "here\n") and "ZeroDivisionError" in done.stderr


def test_random_numbers_without_a_seed_differ(run):
    """Also in two forks of one interpreter."""
    pytest.importorskip("numpy")
    text = "import random, uuid, numpy\nprint(random.random(), numpy.random.rand(), uuid.uuid4())"
    assert len({word for _ in range(3) for word in run(text).stdout.split()}) == 9


def test_an_endless_script_is_stopped(run, monkeypatch):
    monkeypatch.setattr(scripts, "TIME_LIMIT", 1)
    with pytest.raises(WorkshopError) as raised:
        run("while True:\n    pass")
    assert "still running" in raised.value.found and "within 1 s" in raised.value.expected


def test_children_of_a_script_are_stopped(run, monkeypatch, tmp_path):
    """A child that the script leaves behind neither delays the check nor survives it."""
    mark = tmp_path / "mark"
    child = f"import os, time\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    begin = time.monotonic()
    done = run(
        f"import subprocess, sys, os, time\nsubprocess.Popen([sys.executable, '-c', {child!r}])\n"
        f"while not os.path.exists({str(mark)!r}): time.sleep(0.01)\ntime.sleep(0.2)\nprint('done')"
    )
    assert done.stdout == "done\n" and time.monotonic() - begin < 300
    if os.name == "posix":
        wait_until(lambda: has_ended(int(mark.read_text())))


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_script_that_prints_endlessly_is_stopped(run, monkeypatch, stream):
    monkeypatch.setattr(scripts, "OUTPUT_LIMIT", 2**20)
    with pytest.raises(WorkshopError) as raised:
        run(f"import sys\nwhile True:\n    print('x' * 10000, file=sys.{stream})")
    assert "more than 1 MiB" in raised.value.found


@pytest.fixture
def learners_files(run):
    """Files of the learner in the script's folder, and a function that compares them with the originals."""
    (run.folder / "deep").mkdir()
    (run.folder / "deep" / "notes.md").write_text("mine")
    (run.folder / "linked.md").symlink_to("deep/notes.md")
    (run.folder / "linked").symlink_to("deep")
    (run.folder / "loop").symlink_to("..")
    (run.folder.parent / "data").mkdir()
    (run.folder.parent / "data" / "table.csv").write_text("1")
    (run.folder / "data").symlink_to("../data")

    def content():
        files = [path for path in run.folder.parent.rglob("*") if path.is_file() and path.name != "script.py"]
        return {path: path.read_text() for path in files}

    return content


HARMFUL = {
    "truncates": "open('pixi.toml', 'w').close()",
    "appends": "open(os.path.join(folder, 'deep', 'notes.md'), 'a').write('more')",
    "writes through a link to a file": "open('linked.md', 'w').write('other')",
    "writes through a link to a folder": "open('linked/notes.md', 'w').write('other')",
    "writes through a link that leads out of the folder": "open('data/table.csv', 'w').write('other')",
    "replaces": "os.replace(os.path.join(folder, 'pixi.toml'), os.path.join(folder, 'deep', 'notes.md'))",
    "removes its folder": "shutil.rmtree(folder)",
    "removes what is around its folder": "shutil.rmtree(os.path.dirname(os.path.dirname(folder)))",
    "replaces its folder": "os.rename(folder, folder + '.old'), os.mkdir(folder)",
    "adds": "open('new', 'w').write('x')",
}


@pytest.mark.skipif(os.name == "nt", reason="links of a folder's own need rights there")
@pytest.mark.parametrize("harm", HARMFUL.values(), ids=HARMFUL)
def test_the_learners_files_are_out_of_reach(run, learners_files, harm):
    before = learners_files()
    assert len(before) == 4
    try:
        run(f"import os, shutil\nfolder = os.path.dirname(os.path.abspath(__file__))\n{harm}")
    except WorkshopError as removed:
        assert "your own files are untouched" in removed.found and "script.py" in removed.next_step
        assert harm.startswith(("shutil.rmtree", "os.re"))
    assert learners_files() == before


def test_a_script_that_removes_files_gets_a_message(run):
    with pytest.raises(WorkshopError) as raised:
        run("import os\nos.remove('pixi.toml')")
    assert raised.value.found == "pixi.toml removed; your own files are untouched"


def test_the_copy_looks_like_the_original(run):
    """In everything that a script may look up: names of its folders, files beside it, `common/` two folders up."""
    (run.folder / "deep").mkdir()
    (run.folder / "deep" / "notes.md").write_text("mine")
    (run.folder / "results" / "run").mkdir(parents=True)
    (run.folder / "results" / "run" / "run.json").write_text("{}")
    text = """
import hashlib, os
from pathlib import Path
here = Path(__file__).resolve()
print(here.parent.name, here.parent.parent.name, Path.cwd() == here.parent)
print(sorted(str(path.relative_to(here.parent)) for path in here.parent.rglob("*") if path.is_file()))
print((here.parents[2] / "common" / "workshop" / "__init__.py").is_file() or os.name == "nt")
print(hashlib.sha256(here.read_bytes()).hexdigest())
"""
    assert run(text, PYTHONUTF8="1").stdout.splitlines() == [
        "starter Übung 1 True",
        str(["deep/notes.md", "pixi.toml", "script.py"]),
        "True",
        sha256_of(run.folder / "script.py"),
    ]


def test_messages_name_the_learners_files(run):
    done = run("import sys\nprint(__file__)\n1 / 0", PYTHONUTF8="1")
    script = str(run.folder / "script.py")
    assert done.stdout == f"{script}\n" and f'File "{script}", line 3' in done.stderr


def test_a_script_that_is_named_from_its_own_folder(run, monkeypatch):
    (run.folder / "script.py").write_text("import os\nprint(os.path.basename(os.getcwd()))")
    monkeypatch.chdir(run.folder)
    assert scripts.run(Path("script.py"), (), ENVIRONMENT).stdout == "starter\n"


def test_with_another_interpreter(run):
    (run.folder / "script.py").write_text("import sys\nprint(sys.flags.isolated, sys.argv[1:], __name__)")
    for patches in ((), [patch("fixed_experiment", seed=1)]):
        done = scripts.run(run.folder / "script.py", ("a",), ENVIRONMENT, patches, (), (sys.executable, "-I"))
        assert done.stdout == "1 ['a'] __main__\n", done.stderr


def test_large_files_are_not_copied(run, monkeypatch):
    monkeypatch.setattr(scripts, "COPIED_BYTES", 1000)
    for name, size in (("small", 900), ("small-too", 50), ("weights.safetensors", 2000)):
        (run.folder / name).write_bytes(bytes(size))
    (run.folder / "broken").symlink_to("nowhere")
    done = run("import os\nprint(sorted(os.listdir()))")
    assert done.stdout == "['pixi.toml', 'script.py', 'small', 'small-too']\n"
    monkeypatch.setattr(scripts, "COPIED_FILES", 0)
    assert run("import os\nprint(sorted(os.listdir()))").stdout == "['script.py']\n"


def test_the_copy_is_removed(run, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = sorted(tmp_path.iterdir())
    run("open('large', 'w').write('x')")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(os.name == "nt", reason="SIGSTOP")
def test_a_suspended_script_is_killed(run, monkeypatch):
    monkeypatch.setattr(scripts, "TIME_LIMIT", 1)
    with pytest.raises(WorkshopError):
        run("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)")


@pytest.mark.skipif(not LINUX, reason="interpreters are forked on Linux alone")
def test_a_script_runs_without_the_fork_server(tmp_path):
    (tmp_path / "script.py").write_text("print('here')")
    for _ in range(2):
        assert scripts.run(tmp_path / "script.py", (), ENVIRONMENT, (), ("no_such_module",)).stdout == "here\n"
        process, _ = fork_server._servers[(ENVIRONMENT["PYTHONPATH"], "no_such_module")]
        process.kill()
        process.wait()
    too_long = ENVIRONMENT | {f"LONG{k}": "x" * 100_000 for k in range(4)}  # for one message
    assert scripts.run(tmp_path / "script.py", (), too_long, (), ("json",)).stdout == "here\n"


CHECK = """
import os, sys
from pathlib import Path
from workshop.checking import scripts
scripts.run(Path(sys.argv[1]), [sys.argv[2]], dict(os.environ), (), sys.argv[3:])
"""


@pytest.mark.skipif(not LINUX, reason="elsewhere no process ends with another one")
@pytest.mark.parametrize("modules", WAYS, ids=lambda modules: "warm" if modules else "fresh")
def test_a_script_ends_with_the_check_that_is_killed(modules, tmp_path):
    """An endless script would otherwise never end."""
    script, mark = tmp_path / "starter" / "script.py", tmp_path / "mark"
    script.parent.mkdir()
    script.write_text("import os, sys\nprint(os.getpid(), file=open(sys.argv[1], 'w'), flush=True)\nwhile True: pass")
    check = subprocess.Popen(
        [sys.executable, "-c", CHECK, script, mark, *modules], env=ENVIRONMENT | {"TMPDIR": str(tmp_path)}
    )
    wait_until(lambda: mark.exists() and mark.read_text())
    check.kill()
    check.wait()
    wait_until(lambda: has_ended(int(mark.read_text())))
