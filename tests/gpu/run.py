"""Test this repository on an NVIDIA GPU: one command, no network, no Pixi, whatever PyTorch and JAX are installed.

    python tests/gpu/run.py --json gpu.json               # under eight minutes
    python tests/gpu/run.py --json gpu.json --only torch
    python tests/gpu/run.py --simulated                   # how it works, on a machine without a GPU

It runs the scripts of exercises 2 to 5 as you would, and watches trainings from inside (`inside_torch.py`,
`inside_jax.py`). Each check is a row: passed, failed, or cannot run, with the figure or the reason. A framework that is
missing or has no GPU is a reason; the other checks go on. Exit code 0: everything that could run passed, on a GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "common"))

from report import CANNOT_RUN, FAILED, GRAPH, HAS_GPU, PASSED, CannotRun, Failed, Report, Row, row_of

from workshop import errors, shell
from workshop.support import hardware, timeouts

HERE = Path(__file__).resolve().parent
TORCH = ROOT / "exercise-2-pytorch-cu12/solution/train.py"
JAX = ROOT / "exercise-3-jax-cu118/solution/train.py"
PREDICT = ROOT / "exercise-4-pypi-mix/solution/predict.py"
DISTRIBUTED = ROOT / "exercise-5-container/solution/train_distributed.py"
SCRIPTS = {"torch": TORCH, "jax": JAX}

TOTAL = 450  # seconds for everything: under eight minutes, with time left to end what is running
# Seconds for one process. A cold start of PyTorch alone can take half a minute, a JAX step as long to compile.
ONE_PROCESS = 90
INSIDE = 170
SEEDS = 20
SEEDS_SECONDS = 100  # no further seed is begun after these

# By the name of the module, the name on PyPI of what all scripts need, and what those of one framework need besides.
PACKAGES = {
    "numpy": "numpy",
    "safetensors": "safetensors",
    "matplotlib": "matplotlib",
    "sklearn": "scikit-learn",
    "filelock": "filelock",
    "rich": "rich",
    "platformdirs": "platformdirs",
    "rocrate": "rocrate",
}
FRAMEWORK_PACKAGES = {"torch": {"torch": "torch"}, "jax": {"jax": "jax", "flax": "flax", "optax": "optax"}}
VERSIONS_OF = re.compile(
    r"(torch|jax|flax|optax|triton|nvidia|cuda)[a-z0-9_-]*|" + "|".join(PACKAGES.values()), re.IGNORECASE
)
NO_WAITING = "no waiting for the GPU inside an epoch"


class Session:
    """What all checks share. scratch: a folder for runs. data: arguments of a training script."""

    def __init__(self, scratch: Path, report: Report, simulated: bool) -> None:
        self.scratch, self.report, self.simulated = scratch, report, simulated
        self.deadline = time.monotonic() + TOTAL
        self.data = "digits" if simulated else "digits-60k"
        self.epochs = 3
        # Torchrun's variables and those of an environment made for one device would change what is tested.
        cleared = ("WORKSHOP_DEVICE", "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "JAX_PLATFORMS", "XLA_FLAGS")
        self.variables = {name: value for name, value in os.environ.items() if name not in cleared} | {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "common"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
            "WORKSHOP_CACHE": str(scratch / "cache"),
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # the screen, or somebody else, may use this GPU too
            "PYTHONUNBUFFERED": "1",
        }

    def seconds(self, limit: float) -> float:
        """How long a process may run: `limit`, or what is left of TOTAL. Raises Failed where nothing is left."""
        left = self.deadline - time.monotonic()
        if left < 5:
            raise Failed(f"not begun: the {TOTAL} s for all checks were over")
        return min(limit, left)

    def python(self, *words: object, framework: str | None = None) -> list[str]:
        """The command line of a script. framework: the one for which a GPU is simulated, in the simulated form."""
        patched: list[str] = []
        if framework and self.simulated:
            from workshop.checking import patches

            moved = {"torch": {"images": True, "weights": True}, "jax": {"moved": True}}[framework]
            patched = patches.arguments_for([patches.patch(f"simulated_gpu_{framework}", **moved)])
        return [sys.executable, *patched, *map(str, words)]

    def train(self, framework: str, output: Path, *words: object) -> list[str]:
        """The command line of a training script, as a user types it."""
        chosen = ("--data", self.data, "--epochs", self.epochs, "--device", "cuda", "--output", output)
        return self.python(SCRIPTS[framework], *chosen, *words, framework=framework)

    def run(self, line: list[str], limit: float = ONE_PROCESS, **variables: str) -> subprocess.CompletedProcess[str]:
        """The finished command. Raises Failed where it takes too long."""
        seconds = self.seconds(limit)
        process = self.start(line, **variables)
        try:
            stdout, stderr = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"not done after {seconds:.0f} s: {_short(line)}") from None
        finally:
            timeouts.kill_group(process.pid)  # by Ctrl-C too: it is in a group of its own
        return subprocess.CompletedProcess(line, process.returncode, stdout, stderr)

    def start(self, line: list[str], **variables: str) -> subprocess.Popen[str]:
        """The command, started in a group of its own, so that whatever it starts can be ended with it."""
        return subprocess.Popen(
            line,
            cwd=ROOT,
            env=self.variables | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def must(self, line: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
        """The finished command. Raises Failed where its exit code is not 0."""
        done = self.run(line, **more)
        if done.returncode:
            raise Failed(
                f"exit code {done.returncode}: {timeouts.failure_reason(done)[:200]} ({_short(line)})",
                stdout=done.stdout[-2000:],
                stderr=done.stderr[-4000:],
            )
        return done


def _short(line: list[str]) -> str:
    """A command line for a message: the script and its arguments, without folders."""
    script = next((n for n, word in enumerate(line) if word.endswith(".py") and "run_script" not in word), 1)
    return " ".join(Path(word).name for word in line[script:])


def _record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def _outputs(folder: Path) -> dict[str, str]:
    """sha256 of each file that a run wrote (weights, figures), by its path."""
    return {output["path"]: output["sha256"] for output in _record(folder)["outputs"]}


def _must_equal(first: Path, second: Path) -> tuple[str, dict[str, Any]]:
    here, there = _outputs(first), _outputs(second)
    values = {"first": here, "second": there}
    if differing := sorted(name for name in here | there if here.get(name) != there.get(name)):
        raise Failed(f"other bytes in {', '.join(differing)}", **values)
    return f"weights {here['weights.safetensors'][:12]}, and the figures", values


# ---------------------------------------------------------------- the checks


def inside(session: Session, framework: str) -> str | None:
    """The rows of `inside_<framework>.py`. Returns why the checks that need a GPU cannot run, or None."""
    target = 0.5 if session.simulated else 0.99
    checks = [HAS_GPU, "device asserted", "bfloat16", NO_WAITING, f"{target:.0%} on {session.data}"]
    checks.append("peak memory of these trainings")
    if framework == "jax":
        checks[checks.index("bfloat16")] = "CPU and GPU logits"
    else:
        checks.append(GRAPH)
    line = session.python(
        HERE / f"inside_{framework}.py",
        *("--data", session.data, "--epochs", session.epochs, "--target", target),
        *("--seeds", 2 if session.simulated else SEEDS, "--seconds", SEEDS_SECONDS),
        *(["--simulated"] if session.simulated else []),
        framework=framework,
    )
    received: dict[str, Row] = {}
    try:
        seconds = session.seconds(INSIDE)
    except Failed as error:
        problem, done = str(error), None
    else:
        done = _stream(session, line, seconds, received)
        problem = f"not done after {seconds:.0f} s" if done.returncode == -signal.SIGTERM else ""
        problem = problem or f"ended before: {timeouts.failure_reason(done)[:200]}"
    gpu = received.get(HAS_GPU)
    reason = None if gpu and gpu.result == PASSED else (gpu.figure if gpu else problem)
    cannot = (gpu and gpu.result == CANNOT_RUN) or (done and timeouts.missing_module(done))
    for check in checks:
        if check not in received:
            values = {"stderr": done.stderr[-4000:]} if done else {}
            result = CANNOT_RUN if cannot else FAILED
            session.report.add(Row(framework, check, result, reason or problem, values))
    return reason


def _stream(
    session: Session, line: list[str], seconds: float, received: dict[str, Row]
) -> subprocess.CompletedProcess[str]:
    """Run a program and add each row when it prints it. The exit code is that of SIGTERM where it takes too long."""
    process = session.start(line)
    late = threading.Event()

    def end() -> None:
        late.set()
        timeouts.kill_group(process.pid)

    timer = threading.Timer(seconds, end)
    timer.start()
    errors_of_process: list[str] = []
    assert process.stdout is not None and process.stderr is not None
    reader = threading.Thread(target=lambda: errors_of_process.append(process.stderr.read()), daemon=True)
    reader.start()
    try:
        for text in process.stdout:
            if text.startswith("ROW "):
                row = Row(**json.loads(text.removeprefix("ROW ")))
                received[row.check] = session.report.add(row)
        process.wait()
    finally:
        timer.cancel()
        timeouts.kill_group(process.pid)
    reader.join(5)
    code = -signal.SIGTERM if late.is_set() else process.returncode
    return subprocess.CompletedProcess(line, code, "", "".join(errors_of_process))


def refused(session: Session, framework: str) -> tuple[str, dict[str, Any]]:
    """With the GPUs hidden, `--device cuda` ends with a message and leaves nothing."""
    output = session.scratch / f"{framework}-refused"
    words = ("--data", "digits", "--epochs", 1, "--device", "cuda", "--output", output)
    done = session.run([sys.executable, *map(str, (SCRIPTS[framework], *words))], CUDA_VISIBLE_DEVICES="")
    found = timeouts.failure_reason(done)
    values = {"exit_code": done.returncode, "stderr": done.stderr[-2000:]}
    if missing := timeouts.missing_module(done):
        raise CannotRun(f"there is no module {missing}")
    if done.returncode != 1 or "because of --device cuda" not in done.stderr:
        raise Failed(f"exit code {done.returncode}, {found[:200]}", **values)
    if left := [path.name for path in session.scratch.glob(f"{output.name}*")]:
        raise Failed(f"it left {', '.join(left)}", **values)
    return f"exit code 1: {found}", values


def as_user(session: Session, framework: str) -> tuple[str, dict[str, Any]]:
    """The training script from start to finish, in a process of its own."""
    output = session.scratch / f"{framework}-first"
    began = time.monotonic()
    done = session.must(session.train(framework, output))
    seconds = time.monotonic() - began
    record = _record(output)
    accuracy = next(metric["value"] for metric in record["metrics"] if metric["name"] == "test_accuracy")
    values = {
        "seconds": seconds,
        "accuracy": accuracy,
        "device": record["device"],
        "determinism": record["determinism"],
        "hyperparameters": record["hyperparameters"],
        "printed": done.stdout.splitlines(),
    }
    if record["device"]["type"] != "cuda":
        raise Failed(f"run.json names {record['device']['type']}", **values)
    if accuracy < (0.5 if session.simulated else 0.99):
        raise Failed(f"test accuracy {accuracy:.2%}", **values)
    return f"{seconds:.1f} s from start to exit, test accuracy {accuracy:.2%}, {record['device']['name']}", values


def twice(session: Session, framework: str) -> tuple[str, dict[str, Any]]:
    """The same command again writes the same bytes."""
    first, second = (session.scratch / f"{framework}-{name}" for name in ("first", "second"))
    _needs(first)
    session.must(session.train(framework, second))
    return _must_equal(first, second)


def killed(session: Session, framework: str) -> tuple[str, dict[str, Any]]:
    """Killed after its first checkpoint and resumed, the training writes the bytes of one that was not."""
    first, output = (session.scratch / f"{framework}-{name}" for name in ("first", "killed"))
    _needs(first)
    checkpoint = output.with_name(output.name + ".partial") / "checkpoint.safetensors"
    until = time.monotonic() + session.seconds(ONE_PROCESS)
    process = session.start(session.train(framework, output))
    try:
        while process.poll() is None and not checkpoint.exists() and time.monotonic() < until:
            time.sleep(0.002)
    finally:
        timeouts.kill_group(process.pid)
    _, stderr = process.communicate()
    if output.exists() or not checkpoint.exists():
        raise Failed(f"it was not interrupted after a checkpoint (exit code {process.returncode})", stderr=stderr)
    session.must(session.train(framework, output, "--resume"))
    figure, values = _must_equal(first, output)
    epochs = _record(output)["resumed_after_epochs"]
    return f"{figure}; resumed after epoch {', '.join(map(str, epochs))}", values | {"resumed_after_epochs": epochs}


def with_nccl(session: Session, framework: str) -> tuple[str, dict[str, Any]]:
    """Exercise 5's script under torchrun, one process: its group works over nccl (simulated: over gloo)."""
    output = session.scratch / "torch-nccl"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    device = "cpu" if session.simulated else "cuda"
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", 1, "--master-addr", "127.0.0.1", "--master-port")
    words = ("--data", "digits", "--device", device, "--output", output)
    done = session.must(session.python(*torchrun, port, DISTRIBUTED, *words), NCCL_DEBUG="VERSION")
    accuracy = next(m["value"] for m in _record(output)["metrics"] if m["name"] == "test_accuracy")
    version = re.search(r"NCCL version (\S+)", done.stdout + done.stderr)
    values = {"accuracy": accuracy, "nccl": version and version[1], "processes": _record(output)["processes"]}
    if not version and not session.simulated:
        raise Failed("nothing in its output shows that nccl was used", **values)
    if accuracy < 0.9:
        raise Failed(f"test accuracy {accuracy:.2%} on digits", **values)
    return f"{f'nccl {version[1]}' if version else 'gloo'}, test accuracy {accuracy:.2%} on digits", values


def logits(session: Session, framework: str) -> tuple[str, dict[str, Any]]:
    """Exercise 4's script finds the logits of one network on the CPU and on the GPU inside its tolerance."""
    source = session.scratch / "torch-first"
    _needs(source)
    there, here = session.scratch / "logits-cuda", session.scratch / "logits-cpu"
    session.must(session.python(PREDICT, source, "--device", "cuda", "--output", there, framework="torch"))
    done = session.run(session.python(PREDICT, source, "--device", "cpu", "--compare", there, "--output", here))
    if not (here / "run.json").exists():
        raise Failed(timeouts.failure_reason(done)[:200], stderr=done.stderr[-4000:])
    comparison = _record(here)["comparison"]
    tolerance = comparison["tolerance"]["relative"]
    figure = (
        f"{comparison['largest_relative']:.1e} of an image's largest logit (tolerance {tolerance:g}), labels that "
        f"differ: {comparison['labels_that_differ']} of {comparison['images']:,}"
    )
    if done.returncode or not comparison["inside"]:
        raise Failed(f"{figure}, exit code {done.returncode}", comparison=comparison)
    return figure, {"comparison": comparison}


def _needs(first: Path) -> None:
    if not (first / "run.json").exists():
        raise CannotRun("there is no run to compare with: the training above failed")


IN_PROCESSES: list[tuple[str, Callable[[Session, str], tuple[str, dict[str, Any]]], tuple[str, ...]]] = [
    ("a training as you would start it", as_user, ("torch", "jax")),
    ("the same bits twice", twice, ("torch", "jax")),
    ("the same bits after kill and resume", killed, ("torch", "jax")),
    ("CPU and GPU logits, by exercise 4's script", logits, ("torch",)),
    ("one process with nccl, by torchrun", with_nccl, ("torch",)),
]


def check_framework(session: Session, framework: str) -> None:
    """All rows of one framework."""
    report = session.report
    if missing := missing_packages(framework):
        reason = f"not installed: {', '.join(missing)}"
        checks = [HAS_GPU, *(name for name, _, frameworks in IN_PROCESSES if framework in frameworks)]
        for check in checks:
            report.add(Row(framework, check, CANNOT_RUN, reason))
        return
    reason = inside(session, framework)
    report.add(row_of(framework, "--device cuda refused without a GPU", lambda: refused(session, framework)))
    for check, function, frameworks in IN_PROCESSES:
        if framework not in frameworks:
            continue
        if reason:
            report.add(Row(framework, check, CANNOT_RUN, reason))
        else:
            report.add(row_of(framework, check, lambda function=function: function(session, framework)))


# ---------------------------------------------------------------- what there is


def missing_packages(framework: str) -> list[str]:
    """The names on PyPI of what the scripts of a framework need and is not installed."""
    wanted = PACKAGES | FRAMEWORK_PACKAGES[framework]
    return [name for module, name in wanted.items() if importlib.util.find_spec(module) is None]


def describe_machine() -> dict[str, Any]:
    """Hardware, driver and versions, without the name of its user, host or folders."""
    return {
        "system": hardware.system(),
        "cpu": hardware.cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpus": hardware.gpus(),
        "python": platform.python_version(),
    }


def installed_versions() -> dict[str, str]:
    """The version of each installed package that the figures may depend on."""
    found = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}
    return {name: found[name] for name in sorted(found, key=str.lower) if VERSIONS_OF.fullmatch(name)}


def main() -> int:
    """Read the command line, make all checks; the exit code."""
    parser = errors.Parser(description=__doc__.splitlines()[0], formatter_class=argparse.HelpFormatter)
    parser.add_argument("--json", type=Path, metavar="OUT", help="write everything measured to this file")
    parser.add_argument("--only", choices=tuple(SCRIPTS), help="the checks of one framework")
    parser.add_argument("--simulated", action="store_true", help="simulate the GPU, with a small data set")
    options = parser.parse_args()
    if options.json:
        options.json = options.json.resolve()
        options.json.parent.mkdir(parents=True, exist_ok=True)
    machine, versions = describe_machine(), installed_versions()
    gpus = "; ".join(f"{gpu['gpu']}, driver {gpu['driver']}" for gpu in machine["gpus"]) or "no NVIDIA driver answers"
    named = [f"{name} {versions[name]}" for name in ("torch", "jax", "flax", "optax", "numpy") if name in versions]
    print(f"{gpus}; {machine['cpu']}, {machine['cores']} cores; {machine['system']}")
    print(f"Python {machine['python']}, {', '.join(named)}" + (" (simulated GPU)" if options.simulated else ""))
    report = Report(
        options.json,
        schema="reproducible-ml-workflows/gpu/1",
        command=shlex.join(["python", "tests/gpu/run.py", *sys.argv[1:]]),
        began=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=shell.git(ROOT, "rev-parse", "HEAD"),
        simulated=options.simulated,
        finished=False,
        machine=machine,
        versions=versions,
    )
    with tempfile.TemporaryDirectory(prefix="workshop-gpu-", ignore_cleanup_errors=True) as scratch:
        session = Session(Path(scratch), report, options.simulated)
        for framework in [options.only] if options.only else SCRIPTS:
            check_framework(session, framework)
    return report.finish()


if __name__ == "__main__":
    with errors.errors_as_messages():
        sys.exit(main())
