"""Shared by several tests: the repository's root, a separate cache, and the training script as a command."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import forked
import in_process
import mutations
import numpy as np
import old_stack as old_stack_of_tests
import pytest
import reaper

from workshop.checking import checks, preload
from workshop.exercises import load_module
from workshop.runs import data

ROOT = Path(__file__).resolve().parents[1]
SOLUTION = ROOT / "exercise-2-pytorch-cu12/solution/train.py"
STARTER = ROOT / "exercise-2-pytorch-cu12/starter/train.py"
DATA = ROOT / "tests" / "data"  # its README.md describes each file
module_of = load_module  # a script as a module, whatever folder it lies in


def pytest_addoption(parser):
    parser.addoption(
        "--system",
        action="store_true",
        help="also the tests that install packages of the system, start daemons or mount (with -m slow, to which they belong)",
    )
    parser.addoption(
        "--run-htcondor",
        action="store_true",
        help="with --system: the jobs of exercise 5 in a pool of HTCondor (root, 700 MiB, minutes)",
    )


def pytest_sessionstart(session):
    """Everything that a test starts ends with the test's process, even if that is killed, and hears signals."""
    # A shell has what it starts in the background ignore Ctrl-C, and nohup has it ignore SIGHUP. Processes inherit that,
    # but not a handler.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    only_hands_out = session.config.getoption("numprocesses", None) and not hasattr(session.config, "workerinput")
    if not only_hands_out and not session.config.option.collectonly:
        reaper.start()


@pytest.hookimpl(tryfirst=True)  # before pytest looks at -m
def pytest_collection_modifyitems(config, items):
    """A test of the system, or of the old JAX stack, is slow; the first also needs --system."""
    for item in items:
        if system := item.get_closest_marker("system"):
            item.add_marker("slow")
            if not config.getoption("--system"):
                item.add_marker(pytest.mark.skip(reason=f"{system.args[0]}: --system"))
        if "old_stack" in item.fixturenames:
            item.add_marker("slow")
    longest_first = {name: rank for rank, name in enumerate(IN_ONE_PROCESS + LONG)}
    items.sort(key=lambda item: longest_first.get(item.path.name, len(longest_first)))


# What these files make for their tests, or import into the process of pytest, takes long: one process has it. (Images, a
# Slurm, an old JAX, the book, trainings; torch and pyhf. pytest-xdist's own marks for this, xdist_group, are without
# effect under pytest 9.2.) The longest start first, so that no process is still busy long after the others.
IN_ONE_PROCESS = (
    "test_scan_on_slurm.py",
    "test_image.py",
    "test_book.py",
    "test_slurm.py",
    "test_determinism.py",
    "test_jax.py",
    "test_training.py",
    "test_exercise_4.py",
    "test_exercises.py",
    "test_bad_input.py",
    "test_histfactory_oracle.py",
    "test_workflows.py",
    "test_structure.py",
    "test_cuda_graph.py",
    "test_htcondor.py",
)
LONG = ("test_run.py", "test_kept.py", "test_new.py", "test_mutations.py", "test_engines.py")  # single tests of minutes


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config) -> int:
    """One process more than there are cores: many tests wait for a process that they have started. Slow ones wait more."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + (2 if config.option.markexpr == "slow" else 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class ByTestOrFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file.endswith(IN_ONE_PROCESS) else nodeid

        def _pending_of(self, workload) -> int:
            """Forget what has been done: xdist counts it all again after each test."""
            for scope in [scope for scope, done in workload.items() if all(done.values())]:
                del workload[scope]
            return super()._pending_of(workload)

    return ByTestOrFile(config, log)


@pytest.fixture(scope="session")
def written_by_pixi(tmp_path_factory) -> Path:
    """The workspaces of tests/data/written-by-pixi, each a folder with its manifest and its lock."""
    folder = tmp_path_factory.mktemp("data") / "written-by-pixi"
    shutil.copytree(DATA / "written-by-pixi", folder)
    with tarfile.open(folder / "locks.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def variables(tmp_path_factory) -> dict[str, str]:
    """The environment of the commands under test: one thread, a cache of the session, no wish for a device."""
    cleared = ("WORKSHOP_DEVICE", "XDG_CACHE_HOME", "RANK", "WORLD_SIZE", "PIXI_ENVIRONMENT_NAME", "PIXI_PROJECT_ROOT")
    cleared += ("JAX_PLATFORMS", "XLA_FLAGS")
    kept = {k: v for k, v in os.environ.items() if k not in cleared}
    base = tmp_path_factory.getbasetemp()
    cache = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"  # one for all processes of pytest
    cache.mkdir(exist_ok=True)
    return kept | forked.SETTLED | {"WORKSHOP_CACHE": str(cache), "PYTHONPATH": str(ROOT / "common")}


@pytest.fixture(scope="session")
def command(variables):
    """Run a command line in a folder: command(SOLUTION, "--data", "digits", cwd=..., WORKSHOP_DEVICE="cuda").

    It runs in a fork of an interpreter that has imported the framework (`forked.py`); fresh: in one of its own.
    """

    def run(*words, cwd=ROOT, timeout=300, interpreter=(sys.executable,), fresh=False, **changed):
        pytest.importorskip("torch", reason="the training scripts need torch: install the extra cpu")
        words = list(map(str, words))
        if not fresh and words[:2] == ["-m", "workshop"] and interpreter == (sys.executable,):
            return in_process.workshop(words[2:], cwd, variables | changed)
        if not fresh and interpreter == (sys.executable,) and not any(map(forked.is_read_by_imports, changed)):
            return forked.run(words, cwd, for_forks(variables) | changed, timeout)
        return subprocess.run(
            [*interpreter, *words],
            cwd=cwd,
            env=variables | changed,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    return run


def for_forks(variables):
    """The environment of a fork: JAX keeps what it has compiled."""
    return variables | preload.variables() | {"JAX_COMPILATION_CACHE_DIR": f"{variables['WORKSHOP_CACHE']}/xla"}


@pytest.fixture(scope="session")
def two_processes(variables):
    """Run a script in two processes, as torchrun does: two_processes(SCRIPT, "--data", "digits"); the finished two."""
    return lambda *words: forked.run_two(list(map(str, words)), ROOT, variables)


@pytest.fixture(scope="session")
def old_stack() -> Path:
    """The interpreter of exercise 3's frozen stack."""
    try:
        return old_stack_of_tests.interpreter()
    except old_stack_of_tests.CannotBeMade as problem:
        pytest.skip(f"no frozen JAX stack here: {problem}")


@pytest.fixture
def refused():
    """Assert that a finished command printed one message of four lines, exit code 1, no traceback; returns its text."""

    def look(done, *words):
        assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        for start in ("looked at:", "expected:", "found:", "next:"):
            assert sum(line.startswith(start) for line in done.stderr.splitlines()) == 1, done.stderr
        for word in words:
            assert word in done.stderr, (word, done.stderr)
        return done.stderr

    return look


@pytest.fixture(scope="session")
def one_epoch(command, tmp_path_factory) -> Path:
    """The folder of a run of the solution: digits, one epoch, seed 3, on the CPU."""
    place = tmp_path_factory.mktemp("runs") / "one-epoch"
    done = command(SOLUTION, "--data", "digits", "--epochs", 1, "--seed", 3, "--device", "cpu", "--output", place)
    assert done.returncode == 0, done.stderr
    return place


def changing(folder):
    """A function that changes a file of a folder, which is its attribute `folder`: change("pixi.toml", "find",
    "replace").
    """

    def change(file, find, replace):
        text = (folder / file).read_text()
        assert find in text, find
        (folder / file).write_text(text.replace(find, replace))

    change.folder = folder
    return change


@pytest.fixture
def learner(request, tmp_path):
    """A copy of the solution in the test module's FOLDER, to be changed: learner("pixi.toml", "find", "replace")."""
    folder = tmp_path / "learner" / "solution"
    shutil.copytree(request.module.FOLDER / "solution", folder, ignore=shutil.ignore_patterns("__pycache__"))
    mutations.make_common(folder)

    return changing(folder)


@pytest.fixture
def without(tmp_path, monkeypatch):
    """Hide frameworks from the scripts that checks run: without("jax", "flax")."""

    def hide(*frameworks):
        shadow = tmp_path / "shadow"
        shadow.mkdir()
        for name in frameworks:
            text = f'raise ModuleNotFoundError("No module named {name!r}", name={name!r})\n'
            (shadow / f"{name}.py").write_text(text)
        for package in ("workshop", "pixi_workspace", "histfactory"):
            (shadow / package).symlink_to(ROOT / "common" / package)
        monkeypatch.setattr(checks, "__file__", str(shadow / "x" / "y" / "z.py"))  # which gives a script its PYTHONPATH

    return hide


@pytest.fixture
def forks_alone(monkeypatch):
    """Make checks run scripts only in forks, even where they need a new interpreter, which takes seconds to start."""
    run = checks.Workspace.run
    monkeypatch.setattr(checks.Workspace, "run", lambda self, *words, fresh=False, **more: run(self, *words, **more))


def answers(exercise, folder, tmp_path, only=()) -> dict:
    """The result of each check of an exercise on a folder, by its number; only: the numbers of the checks to run."""
    chosen = tuple(check for check in exercise.checks if not only or check.number in only)
    return {c.number: result for c, result in checks.run_checks(chosen, checks.Workspace(folder, tmp_path / "scratch"))}


def first_failure(exercise, folder, tmp_path, only=()) -> tuple[str | None, checks.Result | None]:
    """The number of the first check that fails, and its result, which has all four parts of a message."""
    chosen = tuple(check for check in exercise.checks if not only or check.number in only)
    for check, answer in checks.run_checks(chosen, checks.Workspace(folder, tmp_path / "scratch")):
        if answer.status == "fail":
            for part in (answer.looked_at, answer.expected, answer.found, answer.next_step):
                assert part, answer
            return check.number, answer
    return None, None


def logits_in_numpy(tensors, images):
    """A forward pass in float64 NumPy, written from the layers' definitions alone: (n, 10)."""
    x = ((data.as_28x28(images).astype(np.float64) / 255 - 0.22) / 0.30)[:, None]

    def conv(x, name, stride, padding):
        kernel, bias = tensors[f"{name}.weight"].astype(np.float64), tensors[f"{name}.bias"]
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
        return np.einsum("nchwij,ocij->nohw", windows, kernel, optimize=True) + bias[:, None, None]

    x = np.maximum(conv(x, "conv1", 4, 2), 0)
    x = np.maximum(conv(x, "conv2", 1, 2), 0).transpose(0, 2, 3, 1).reshape(len(x), -1)
    x = np.maximum(x @ tensors["fc1.weight"].T + tensors["fc1.bias"], 0)
    return x @ tensors["fc2.weight"].T + tensors["fc2.bias"]


def record_of(place: Path) -> dict:
    return json.loads((place / "run.json").read_text())


def sha_of(place: Path, name: str = "weights.safetensors") -> str:
    return next(o["sha256"] for o in record_of(place)["outputs"] if o["path"] == name)
