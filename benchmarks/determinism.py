"""What changes the bits of a result, and what does not? Each exercise again and again, with one change at a time.

    python benchmarks/determinism.py                        # every exercise, 20 kills each: half an hour on two cores
    python benchmarks/determinism.py --exercise 5 --together    # one of them, and what must not change a byte at once
    python benchmarks/determinism.py --output benchmarks/determinism.json
    python benchmarks/determinism.py --table benchmarks/determinism.json   # the table of docs/determinism.md

Compared are the outputs that run.json lists, byte for byte. First what must not change a byte: another run, another
virtual environment, clock, locale, and so on (UNCHANGED), and a kill at a random moment after which the run is resumed.
Then what may (CHANGED), with its effect: the largest difference of a number relative to the largest number of its
array, and the differences of the metrics. Runs to be killed are forks of an interpreter that has imported the framework
(tests/forked.py), so that most kills hit the training; all others are processes of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "common"), str(ROOT / "tests")]

import forked  # noqa: E402

from workshop import errors  # noqa: E402
from workshop.checking import preload  # noqa: E402
from workshop.runs import options  # noqa: E402
from workshop.support import files  # noqa: E402
from workshop.support.hardware import cpu_name, glibc  # noqa: E402

TRAINING = ("--data", "digits", "--epochs", "3", "--seed", "5", "--device", "cpu")
PARENT = "PARENT"  # stands for the folder of a run of exercise 2
NOT_COMPARED = ("run.json", "ro-crate-metadata.json")  # they contain times and paths
CLEARED = ("WORKSHOP_DEVICE", "PIXI_ENVIRONMENT_NAME", "XLA_FLAGS", "JAX_PLATFORMS", "RANK", "WORLD_SIZE")


@dataclass(frozen=True)
class Subject:
    """A script with its arguments. framework: what computes. processes: started by torchrun if more than one."""

    exercise: int
    name: str
    script: str
    arguments: tuple[str, ...]
    framework: str
    processes: int = 1

    @property
    def resumable(self) -> bool:
        return "--epochs" in self.arguments


SUBJECTS = (
    Subject(1, "limits", "exercise-1-scipy/solution/exclusion.py", (), "numpy"),
    Subject(2, "training", "exercise-2-pytorch-cu12/solution/train.py", TRAINING, "torch"),
    Subject(3, "training", "exercise-3-jax-cu118/solution/train.py", TRAINING, "jax"),
    Subject(4, "prediction", "exercise-4-pypi-mix/solution/predict.py", (PARENT, "--device", "cpu"), "torch"),
    Subject(4, "fine-tuning", "exercise-4-pypi-mix/solution/finetune.py", (PARENT, *TRAINING[4:]), "torch"),
    Subject(5, "two processes", "exercise-5-container/solution/train_distributed.py", TRAINING, "torch", 2),
)


@dataclass(frozen=True)
class Where:
    """The surroundings of a run. python: the interpreter. root: the checkout. process: more arguments of Popen.
    prefix: what starts the interpreter."""

    python: str = sys.executable
    root: Path = ROOT
    variables: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    process: tuple[tuple[str, Any], ...] = ()
    processes: int | None = None
    prefix: tuple[str, ...] = ()


class CannotChange(Exception):
    """The reason why something cannot be changed on this machine."""


class Session:
    """A scratch folder with the runs. parent: the run of exercise 2 that exercise 4 reads."""

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.number = scratch, 0
        (scratch / "home").mkdir()

    def variables(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in CLEARED}
        return kept | forked.SETTLED | {"WORKSHOP_CACHE": str(self.scratch / "home")}

    def folder(self) -> Path:
        """The path of a new run, in a folder of its own."""
        self.number += 1
        above = self.scratch / f"run-{self.number}"
        above.mkdir()
        return above / "run"

    def parent(self) -> Path:
        folder = self.scratch / "parent" / "run"
        if not folder.exists():
            folder.parent.mkdir()
            words = [str(ROOT / SUBJECTS[1].script), *SUBJECTS[1].arguments, "--output", str(folder)]
            finished(forked.run(words, ROOT, self.fork_variables(), 600), words)
        return folder

    def fork_variables(self) -> dict[str, str]:
        cache = {"JAX_COMPILATION_CACHE_DIR": str(self.scratch / "xla"), "PYTHONPATH": str(ROOT / "common")}
        return self.variables() | preload.variables() | cache

    def words(self, subject: Subject, where: Where, output: Path) -> list[str]:
        words = [str(self.parent()) if word == PARENT else word for word in subject.arguments]
        return [str(where.root / subject.script), *words, *where.arguments, "--output", str(output)]

    def run(self, subject: Subject, where: Where = Where()) -> Path:
        """The folder of a run in a process of its own."""
        output = self.folder()
        line = [*where.prefix, where.python]
        if (where.processes or subject.processes) > 1:
            line += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(subject.processes)]
        line += self.words(subject, where, output)
        variables = self.variables() | {"PYTHONPATH": str(where.root / "common")} | dict(where.variables)
        process: dict[str, Any] = {"cwd": where.root} | dict(where.process)
        finished(subprocess.run(line, env=variables, capture_output=True, text=True, **process), line)
        return output

    def killed(self, subject: Subject, seconds: float) -> Path:
        """The folder of a run that was killed after so many seconds, and then resumed if it had saved an epoch."""
        output = self.folder()
        words = self.words(subject, Where(), output)
        processes = self.forks(subject, words)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(process.poll() is None for process in processes):
            time.sleep(0.002)
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate()
        if not output.exists():
            saved = output.with_name("run.partial").joinpath("checkpoint.safetensors").exists()
            self.complete(subject, [*words, *(["--resume"] if saved else [])])
        return output

    def complete(self, subject: Subject, words: list[str]) -> None:
        """Run to the end in forks."""
        run = forked.run_two if subject.processes == 2 else lambda *line: [forked.run(*line, 600)]
        for done in run(words, ROOT, self.fork_variables()):
            finished(done, words)

    def forks(self, subject: Subject, words: list[str]) -> list[Any]:
        if subject.processes == 2:
            return forked.start_two(words, ROOT, self.fork_variables())
        return [forked.start(words, ROOT, self.fork_variables())]


def finished(done: subprocess.CompletedProcess[str], words: list[str]) -> None:
    """Raise WorkshopError unless a run ended well."""
    if done.returncode != 0:
        raise errors.WorkshopError(
            looked_at=" ".join(words),
            expected="a finished run",
            found=f"exit code {done.returncode}: {(done.stderr or done.stdout)[-500:]}",
            next_step="run this command by itself",
        )


def outputs_of(run: Path) -> dict[str, str]:
    """The sha256 of each output, by its path."""
    return {path.name: files.sha256_of(path) for path in sorted(run.iterdir()) if path.name not in NOT_COMPARED}


# ---------------------------------------------------------------- what must not change a byte


def another_venv(session: Session) -> Where:
    """A virtual environment at another path, which finds the packages of this one."""
    folder = session.scratch / "another venv"
    venv.create(folder, symlinks=os.name != "nt")
    scheme = {"base": str(folder), "platbase": str(folder)}
    there = Path(sysconfig.get_path("purelib", "venv", scheme))
    here = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    (there / "packages.pth").write_text("".join(f"{path}\n" for path in here))
    scripts = Path(sysconfig.get_path("scripts", "venv", scheme))
    return Where(python=str(scripts / Path(sys.executable).name))


def clock(session: Session) -> Where:
    """The date ten years from now, by a library that the system loads before all others."""
    if sys.platform != "linux" or not (compiler := shutil.which("cc")):
        raise CannotChange("needs Linux and a C compiler")
    library = session.scratch / "shifted_clock.so"
    source = ROOT / "benchmarks" / "shifted_clock.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return Where(variables=(("LD_PRELOAD", str(library)),))


def locale(session: Session) -> Where:
    """German numbers and dates: a comma in 0,5."""
    folder = session.scratch / "locales"
    folder.mkdir()
    if not shutil.which("localedef"):
        raise CannotChange("needs localedef, which makes a locale")
    line = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(folder / "de_DE.UTF-8")]
    if subprocess.run(line, capture_output=True).returncode > 1:
        raise CannotChange("localedef has no German locale here")
    return Where(variables=(("LOCPATH", str(folder)), ("LC_ALL", "de_DE.UTF-8"), ("LANG", "de_DE.UTF-8")))


def time_zone(session: Session) -> Where:
    return Where(variables=(("TZ", "Asia/Kathmandu"),))


def hash_seed(session: Session) -> Where:
    return Where(variables=(("PYTHONHASHSEED", "4294967295"),))


def umask(session: Session) -> Where:
    if os.name == "nt":
        raise CannotChange("Windows has no umask")
    return Where(process=(("umask", 0o077),))


def working_directory(session: Session) -> Where:
    folder = session.scratch / "somewhere else"
    folder.mkdir()
    return Where(process=(("cwd", folder),))


def checkout_path(session: Session) -> Where:
    """A copy of the repository in a folder with a space and a letter that is not ASCII."""
    root = session.scratch / "å copy" / "clone"
    ignored = shutil.ignore_patterns(".git", "results", "tests", "__pycache__", ".pixi", ".venv")
    shutil.copytree(ROOT, root, ignore=ignored)
    return Where(root=root)


def user(session: Session) -> Where:
    """A user without a name, in a namespace of its own, who may read what you may read."""
    prefix = ("unshare", "--user", "--map-user=1234", "--map-group=1234")
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        raise CannotChange("needs Linux and the right to make a user namespace")
    variables = (("HOME", str(session.scratch / "home")), ("USER", "nobody"), ("LOGNAME", "nobody"))
    return Where(variables=variables, prefix=prefix)


def one_core(session: Session) -> Where:
    """One core instead of all, with the same number of threads."""
    if not hasattr(os, "sched_setaffinity"):
        raise CannotChange("this system cannot bind a process to a core")
    core = min(os.sched_getaffinity(0))
    return Where(process=(("preexec_fn", lambda: os.sched_setaffinity(0, {core})),))


IN_A_FORK = "in a fork"
TOGETHER = "all of these at once"
UNCHANGED: dict[str, Callable[[Session], Where]] = {
    "another run": lambda session: Where(),
    "a third run": lambda session: Where(),
    "a fourth run": lambda session: Where(),
    "a fifth run": lambda session: Where(),
    "another virtual environment": another_venv,
    "the clock": clock,
    "the locale": locale,
    "the time zone": time_zone,
    "the hash seed": hash_seed,
    "the umask": umask,
    "the working directory": working_directory,
    "the path of the checkout": checkout_path,
    "the user": user,
    "one core": one_core,
}


def together(wheres: dict[str, Where | str]) -> dict[str, Where | str]:
    """All changes in one run, which shows as much if nothing changes a byte; and the other runs in forks."""
    return {change: IN_A_FORK for change in list(wheres)[:4]} | {TOGETHER: combined(wheres)}


def combined(wheres: dict[str, Where | str]) -> Where:
    """All changes at once."""
    every = [where for where in wheres.values() if isinstance(where, Where)]
    return Where(
        python=next((where.python for where in every if where.python != sys.executable), sys.executable),
        root=next((where.root for where in every if where.root != ROOT), ROOT),
        variables=tuple(pair for where in every for pair in where.variables),
        process=tuple(pair for where in every for pair in where.process),
        prefix=tuple(word for where in every for word in where.prefix),
    )


# ---------------------------------------------------------------- what may change them


def numpy_without_its_fastest() -> str:
    """NumPy's instruction sets beyond its baseline, for NPY_DISABLE_CPU_FEATURES."""
    return " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", []))


# name: (frameworks, variables, arguments, rows of `workshop verify` that show it)
CHANGED: dict[str, tuple[tuple[str, ...], dict[str, str], tuple[str, ...], tuple[str, ...]]] = {
    "two threads": (("torch", "jax"), {}, ("--threads", "2"), ("device: threads", "setting threads", "arguments")),
    "two threads of the BLAS": (("numpy",), {"OPENBLAS_NUM_THREADS": "2"}, (), ("variable OPENBLAS_NUM_THREADS",)),
    "PyTorch without AVX-512": (("torch",), {"ATEN_CPU_CAPABILITY": "avx2"}, (), ("variable ATEN_CPU_CAPABILITY", "setting cpu_capability")),
    "PyTorch without AVX": (("torch",), {"ATEN_CPU_CAPABILITY": "default"}, (), ("variable ATEN_CPU_CAPABILITY", "setting cpu_capability")),
    "oneDNN without AVX-512": (("torch",), {"ONEDNN_MAX_CPU_ISA": "AVX2"}, (), ("variable ONEDNN_MAX_CPU_ISA",)),
    "MKL without AVX-512": (("torch",), {"MKL_ENABLE_INSTRUCTIONS": "AVX2"}, (), ("variable MKL_ENABLE_INSTRUCTIONS",)),
    "NumPy without AVX2 and AVX-512": (("numpy", "torch", "jax"), {"NPY_DISABLE_CPU_FEATURES": numpy_without_its_fastest()}, (), ("variable NPY_DISABLE_CPU_FEATURES", "setting numpy_cpu")),
    "OpenBLAS for an older processor": (("numpy",), {"OPENBLAS_CORETYPE": "Haswell"}, (), ("variable OPENBLAS_CORETYPE",)),
    "the C library without AVX2 and FMA": (("numpy", "torch", "jax"), {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F"}, (), ("variable GLIBC_TUNABLES",)),
    "XLA without AVX-512": (("jax",), {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}, (), ("variable XLA_FLAGS", "setting xla_flags")),
    "XLA without AVX": (("jax",), {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"}, (), ("variable XLA_FLAGS", "setting xla_flags")),
    "XLA with inexact arithmetic": (("jax",), {"XLA_FLAGS": "--xla_cpu_enable_fast_math=true"}, (), ("variable XLA_FLAGS", "setting xla_flags")),
    "another seed": (("numpy", "torch", "jax"), {}, ("--seed", "6"), ("seed", "arguments")),
}  # fmt: skip


def effect(run: Path, other: Path) -> dict[str, Any]:
    """How far two runs are apart: the numbers of their files, and their metrics."""
    found: dict[str, Any] = {}
    for path in sorted(run.iterdir()):
        if path.suffix == ".safetensors":
            found[path.name] = max(map(_apart, *(_arrays(folder / path.name) for folder in (run, other))), default=0.0)
        elif path.name == "limits.json":
            first, second = (json.loads((folder / path.name).read_bytes())["hypotheses"] for folder in (run, other))
            pairs = zip(first, second, strict=True)
            found["cls"] = max(abs(a - b) for x, y in pairs for a, b in zip(_cls(x), _cls(y), strict=True))
    metrics = [{m["name"]: m["value"] for m in _record(folder)["metrics"]} for folder in (run, other)]
    return found | {name: abs(value - metrics[1][name]) for name, value in metrics[0].items()}


def _record(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_bytes())


def _cls(entry: dict[str, Any]) -> list[float]:
    return [entry["cls_obs"], *entry["cls_exp"]]


def _arrays(path: Path) -> list[np.ndarray]:
    from safetensors.numpy import load_file

    return [array for _, array in sorted(load_file(path).items())]


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference, relative to the largest number of the array."""
    difference = np.abs(one.astype(np.float64) - other).max()
    return float(difference / max(np.abs(one).max(), np.finfo(np.float32).tiny))


# ---------------------------------------------------------------- measuring


def measure(session: Session, subject: Subject, wheres: dict[str, Where | str], kills: int) -> Iterator[dict[str, Any]]:
    """One row for each change of the surroundings of a subject, and one for all kills."""
    head = {"exercise": subject.exercise, "what": subject.name}
    start = time.monotonic()
    first = session.run(subject)
    seconds, expected = time.monotonic() - start, outputs_of(first)
    for change, where in wheres.items():
        if where == IN_A_FORK:
            other = session.folder()
            session.complete(subject, session.words(subject, Where(), other))
            yield {**head, "change": change, "must_not": True, "same_bytes": outputs_of(other) == expected}
        elif isinstance(where, str):
            yield {**head, "change": change, "skipped": where}
        else:
            other = session.run(subject, where)
            same = outputs_of(other) == expected
            yield {**head, "change": change, "must_not": True, "same_bytes": same} | (
                {} if same else {"effect": effect(first, other)}
            )
    if kills:
        yield {
            **head,
            "change": "kills at random moments",
            "must_not": True,
            **killed(session, subject, expected, kills),
        }
    for change, (frameworks, variables, arguments, shown_as) in CHANGED.items():
        if subject.framework in frameworks and not (subject.exercise == 4 and change == "another seed"):
            other = session.run(subject, Where(variables=tuple(variables.items()), arguments=arguments))
            same = outputs_of(other) == expected
            yield {
                **head,
                "change": change,
                "must_not": False,
                "same_bytes": same,
                "shown_as": shown_as,
                "effect": effect(first, other),
            }
    if subject.processes > 1:
        other = session.run(subject, Where(processes=1))
        yield {
            **head,
            "change": "one process",
            "must_not": False,
            "same_bytes": outputs_of(other) == expected,
            "shown_as": ("processes",),
            "effect": effect(first, other),
        }
    print(f"exercise {subject.exercise}, {subject.name}: {seconds:.0f} s each", file=sys.stderr)


def killed(session: Session, subject: Subject, expected: dict[str, str], kills: int) -> dict[str, Any]:
    """So many runs, each killed at a random moment and resumed: how many were resumed, and whether all are the same."""
    chance = random.Random(subject.exercise)
    start = time.monotonic()
    session.complete(subject, session.words(subject, Where(), session.folder()))  # imports the framework
    start, output = time.monotonic(), session.folder()
    session.complete(subject, session.words(subject, Where(), output))
    seconds = time.monotonic() - start
    same = [outputs_of(output) == expected]
    resumed = 0
    for _ in range(kills):
        output = session.killed(subject, chance.uniform(0, seconds))
        same.append(outputs_of(output) == expected)
        resumed += bool(_record(output).get("resumed_after_epochs"))
    return {"same_bytes": all(same), "kills": kills, "resumed": resumed, "seconds_of_a_run": round(seconds, 3)}


def surroundings(session: Session) -> dict[str, Where | str]:
    """What UNCHANGED makes, or the reason why it cannot be made here."""
    found: dict[str, Where | str] = {}
    for change, make in UNCHANGED.items():
        try:
            found[change] = make(session)
        except CannotChange as reason:
            found[change] = str(reason)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    number = options.whole_number
    parser.add_argument("--exercise", type=number("--exercise", 1), metavar="N", help="only this exercise")
    parser.add_argument(
        "--together", action="store_true", help="what must not change a byte in one run, which is faster"
    )
    parser.add_argument("--kills", type=number("--kills", 0), default=20, metavar="N", help="of each (default 20)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--table", type=Path, metavar="FILE", help="measure nothing, print the rows of this file")
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table(json.loads(arguments.table.read_text(encoding="utf-8"))["rows"])))
        return 0
    rows = []
    with tempfile.TemporaryDirectory(prefix="workshop-determinism-") as folder:
        session = Session(Path(folder))
        wheres = surroundings(session)
        wheres = together(wheres) if arguments.together else wheres
        for subject in SUBJECTS:
            if arguments.exercise in (None, subject.exercise):
                for row in measure(session, subject, wheres, arguments.kills):
                    rows.append(row)
                    print(line_of(row), flush=True)
                    if arguments.output:  # after each row: all of them take half an hour
                        write(arguments.output, rows)
    wrong = [row for row in rows if row.get("must_not") and not row["same_bytes"]]
    return 1 if wrong else 0


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    machine = {"cpu": cpu_name(), "glibc": glibc(), "numpy_cpu": numpy_without_its_fastest()}
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    head = f' "what": {json.dumps(__doc__.splitlines()[0])},\n "machine": {json.dumps(machine)},\n'
    files.write_atomic(path, f'{{\n{head} "rows": [\n{lines}\n ]\n}}\n'.encode())


def table(rows: list[dict[str, Any]]) -> list[str]:
    """What may change the bits, as a table in Markdown: a row for each change, a column for each subject."""
    names = [f"{subject.exercise} {subject.name}" for subject in SUBJECTS]
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for change in dict.fromkeys(row["change"] for row in rows if row.get("must_not") is False):
        cells = {f"{row['exercise']} {row['what']}": row for row in rows if row["change"] == change}
        lines.append(f"| {change} | " + " | ".join(_cell(cells.get(name)) for name in names) + " |")
    return lines


def _cell(row: dict[str, Any] | None) -> str:
    """The largest effect on the numbers of the outputs; `same` for the same bytes."""
    if row is None:
        return ""
    numbers = [value for name, value in row["effect"].items() if name == "cls" or name.endswith(".safetensors")]
    return "same" if row["same_bytes"] else f"{max(numbers):.0e}"


def line_of(row: dict[str, Any]) -> str:
    """A row for people."""
    head = f"exercise {row['exercise']}, {row['what']}: {row['change']}: "
    if "skipped" in row:
        return head + f"skipped: {row['skipped']}"
    numbers = ", ".join(f"{name} {value:.2g}" for name, value in row.get("effect", {}).items() if value)
    kills = f", {row['kills']} times, {row['resumed']} of them resumed" if "kills" in row else ""
    return head + ("the same bytes" if row["same_bytes"] else f"OTHER BYTES ({numbers})") + kills


if __name__ == "__main__":
    with errors.errors_as_messages():
        sys.exit(main())
