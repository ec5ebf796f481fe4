"""Odd variables, users and interpreters: a command works or prints one message, without a traceback."""

import os
import shutil
import subprocess
import sys

import attack
import learner
import pytest

from workshop import exercises
from workshop.errors import WorkshopError, errors_as_messages
from workshop.runs import data, options
from workshop.runs.frameworks import processes

EXCLUSION = attack.ROOT / "exercise-1-scipy" / "solution" / "exclusion.py"
TORCHRUN = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
GROUPS = {
    "no port": ({"MASTER_PORT": None}, "MASTER_PORT"),
    "an empty port": ({"MASTER_PORT": ""}, "MASTER_PORT"),
    "a port that is text": ({"MASTER_PORT": "http"}, "MASTER_PORT"),
    "a port that is too large": ({"MASTER_PORT": "70000"}, "MASTER_PORT"),
    "no processes": ({"WORLD_SIZE": "0"}, "WORLD_SIZE"),
    "fewer than no processes": ({"WORLD_SIZE": "-1"}, "WORLD_SIZE"),
    "text": ({"WORLD_SIZE": "two"}, "WORLD_SIZE"),
    "a number of 10,000 digits": ({"WORLD_SIZE": "1" * 10_000}, "WORLD_SIZE"),
    "digits of another script": ({"WORLD_SIZE": "٣"}, "WORLD_SIZE"),
    "a rank that is too large": ({"RANK": "2"}, "RANK"),
    "a negative rank": ({"RANK": "-1"}, "RANK"),
    "a rank with control characters": ({"RANK": "\x1b[2J"}, "RANK"),
}


@pytest.mark.parametrize("case", GROUPS)
def test_variables_of_torchrun(monkeypatch, case):
    changed, said = GROUPS[case]
    for name, value in (TORCHRUN | changed).items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(WorkshopError) as raised:
        processes.rank()
    assert said in str(raised.value) and len(str(raised.value)) < 1000


def test_world_size_alone_is_of_another_program(monkeypatch):
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "0")
    assert processes.rank() == 0 and not processes.is_distributed()


def test_no_home_folder(monkeypatch, tmp_path, capsys):
    """With a uid that has no name, where HOME is not set either."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORKSHOP_CACHE", raising=False)
    for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "HOMEPATH", "HOMEDRIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(SystemExit), errors_as_messages():
        data.cache_folder()
    assert "HOME" in capsys.readouterr().err
    assert exercises.scratch_root().is_absolute() and list(tmp_path.iterdir()) == []


def test_without_docstrings(monkeypatch):
    """As under `python -OO`."""
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert options.read(None, training=True).resume is False


VARIABLES = {
    "no docstrings": {"PYTHONOPTIMIZE": "2"},
    "no backend of that name": {"MPLBACKEND": "nonsense"},
    "an empty backend": {"MPLBACKEND": ""},
    "a backend that needs a screen": {"MPLBACKEND": "TkAgg", "DISPLAY": None},
    "ASCII alone": {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"},
    "Latin-1": {"PYTHONIOENCODING": "latin-1"},
    "no variables but the path": {"HOME": None, "USER": None, "LOGNAME": None, "LANG": None, "TERM": None},
    "a home folder that does not exist": {"HOME": "/nonexistent/home"},
    "warnings are errors": {"PYTHONWARNINGS": "error"},
    "no bytecode": {"PYTHONDONTWRITEBYTECODE": "1"},
    "a locale that does not exist": {"LC_ALL": "xx_YY.UTF-8"},
    "one column": {"COLUMNS": "1"},
    "columns that are text": {"COLUMNS": "many"},
    "a terminal that nobody knows": {"TERM": "nonsense"},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", VARIABLES)
def test_a_script_in_odd_surroundings(tmp_path, case):
    if case == "no docstrings":  # the first time, Python compiles NumPy, SciPy and all others, which takes seconds
        line = [sys.executable, "-OO", "-c", "import workshop.runs, scipy.stats, scipy.optimize, matplotlib.pyplot"]
        subprocess.run(line, check=True)
    done = attack.start(
        EXCLUSION, "--output", tmp_path / "run", interpreter=(), **({"WORKSHOP_CACHE": tmp_path} | VARIABLES[case])
    )
    assert attack.answered(done) and done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "run.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("case", VARIABLES)
@pytest.mark.parametrize("words", [("progress",), ("hint", "7"), ("check", "7")], ids=lambda words: words[0])
def test_a_command_in_odd_surroundings(tmp_path, case, words):
    learner.workshop(tmp_path)
    done = attack.start(*words, cwd=tmp_path, **({"WORKSHOP_CACHE": tmp_path / "cache"} | VARIABLES[case]))
    assert attack.answered(done) and done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() != 0 or not shutil.which("setpriv"), reason="needs root, setpriv"
)
def test_a_user_without_a_name_and_a_home(tmp_path):
    """As in many containers. The interpreter must be one that every user can start."""
    python = "/usr/bin/python3"
    version = "import sys; print(sys.version_info >= (3, 11))"
    if subprocess.run([python, "-c", version], capture_output=True, text=True).stdout != "True\n":
        pytest.skip("no other Python")
    shutil.copytree(attack.ROOT / "common", tmp_path / "common", ignore=shutil.ignore_patterns("__pycache__"))
    learner.workshop(tmp_path)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != folder.parent and folder.is_relative_to("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    line = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", python, "-m", "workshop", "doctor"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "common"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*line, "--offline"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="pipes")
@pytest.mark.parametrize("words", [("progress",), ("hint", "7"), ("check", "7"), ("diff", "7", "--spoil"), ("--help",)])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">/dev/full", "| true"])
def test_streams_that_are_closed_or_full(tmp_path, words, closed):
    """One message at most, whatever is left to print it on."""
    learner.workshop(tmp_path, "print('mine')\n")
    line = f"{sys.executable} -m workshop {' '.join(words)} {closed}"
    environment = os.environ | {"PYTHONPATH": str(attack.ROOT / "common"), "WORKSHOP_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, done.stderr
