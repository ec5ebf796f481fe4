"""The executors of `workshop scan --executor`: threads and processes of this machine, Parsl, and Globus Compute."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import runpy
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histfactory import Model, numbers_of_hypothesis
from workshop import shell
from workshop.errors import WorkshopError
from workshop.scan import worker

KINDS = ("threads", "processes", "parsl", "globus")
# Numbers of one hypothesis from which threads are chosen (benchmarks/scale.py --only workers). 1Lbb has 9,732, and
# processes are faster; with 1,000 bins there are 103,551, and threads are as fast. Nothing was measured in between.
LARGE = 100_000
WORKERS = "process_worker_pool.py"  # Parsl's program that starts the workers of a node
SUBMITS_WITH = {"SlurmProvider": "sbatch", "CondorProvider": "condor_submit"}  # providers of Parsl, and their programs
CONFIGS = Path(__file__).with_name("configs")


@dataclass
class Engine:
    """An open executor.

    workers: how many to expect. restart: a new executor in place of one that has broken, or None. logs: the folder with
    the logs of its jobs, if it has jobs.
    """

    executor: Executor
    workers: int
    restart: Callable[[], Executor] | None = None
    logs: Path | None = None


def threads_or_processes(models: Sequence[Model], time_limit: float | None) -> str:
    """The faster kind for fits on several cores of this machine: threads start at once and share one copy of the data.

    Only processes can keep a time limit.
    """
    large = min(map(numbers_of_hypothesis, models)) >= LARGE
    return "threads" if large and time_limit is None else "processes"


@contextmanager
def opened(kind: str, config: str | None, workers: int, scratch: Path) -> Iterator[Engine]:
    """The executor of this kind. At the end of the block its workers end, and jobs that it submitted are cancelled.

    scratch: a folder for the logs of Parsl, which its workers must be able to read. Raises WorkshopError if the
    configuration is not one, or if the engine does not start.
    """
    if kind == "threads":
        with _threads(workers) as engine:
            yield engine
    elif kind == "processes":
        with _processes(workers) as engine:
            yield engine
    elif kind == "parsl":
        with (
            _without_errors_of_logging(),
            _parsl(Path(config) if config else CONFIGS / "this_machine.py", scratch) as engine,
        ):
            yield engine
    else:
        with _globus(Path(config or CONFIGS / "globus.py")) as engine:
            yield engine


@contextmanager
def _threads(workers: int) -> Iterator[Engine]:
    pool = ThreadPoolExecutor(workers)
    try:
        yield Engine(pool, workers)
    finally:  # after Ctrl-C, Python itself waits for the fits that are running
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _processes(workers: int) -> Iterator[Engine]:
    # Never a fork of this process, which may have threads. The fork server is a new process that imports NumPy once.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([worker.__name__])
    pools: list[ProcessPoolExecutor] = []

    def start() -> Executor:
        for pool in pools:
            pool.shutdown(wait=False)
        pools.append(ProcessPoolExecutor(workers, mp_context=context, initializer=worker.start_process))
        return pools[-1]

    try:
        yield Engine(start(), workers, start)
    except BaseException:  # do not wait for the fits that are running
        processes = list((getattr(pools[-1], "_processes", None) or {}).values())  # shutdown forgets them
        pools[-1].shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        raise
    pools[-1].shutdown()


@contextmanager
def _parsl(config_file: Path, scratch: Path) -> Iterator[Engine]:
    _put_scripts_on_the_path()
    import parsl
    from parsl.concurrent import ParslPoolExecutor
    from parsl.jobs.error_handlers import simple_error_handler

    config = _variable(config_file, _read(config_file), "config", parsl.Config, "a parsl.Config")
    if config.run_dir == "runinfo":  # Parsl's default: a folder in the current one
        config.run_dir = str(scratch)
    for executor in config.executors:
        _require_program(config_file, getattr(executor, "provider", None))
        if getattr(executor, "interchange_launch_cmd", None) == ["interchange.py"]:  # Parsl's default
            executor.interchange_launch_cmd = [sys.executable, "-m", "workshop.scan.interchange"]
        if getattr(executor, "block_error_handler", None) is simple_error_handler:  # Parsl's default
            executor.block_error_handler = _give_up_after_failed_jobs
    try:
        kernel = parsl.load(config)
    except Exception as error:
        parsl.clear()
        raise _not_started(config_file, error) from error
    try:
        yield Engine(ParslPoolExecutor(dfk=kernel), _workers_of(config), logs=Path(config.run_dir))
    finally:
        # Parsl ends its interchange first, and a thread that still submits a task would then wait for it for ever.
        kernel._task_launch_pool.shutdown(cancel_futures=True)
        kernel.cleanup()  # ends the workers and cancels the jobs, without waiting for the fits that are running
        parsl.clear()
    shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _without_errors_of_logging() -> Iterator[None]:
    """Parsl writes a log beside the journal. On a full disk, Python would print a traceback for each of its lines."""
    before, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        logging.raiseExceptions = before


def _require_program(config_file: Path, provider: object) -> None:
    """Raise WorkshopError if the program with which a provider of Parsl submits jobs is missing."""
    program = SUBMITS_WITH.get(type(provider).__name__)
    if program and not shutil.which(program):
        raise WorkshopError(
            looked_at=f"--config {config_file}",
            expected=f"the program {program}, with which Parsl submits jobs",
            found=f"no {program} on the PATH",
            next_step="type the command on a machine that submits jobs (a login or submit node), or run without a "
            "cluster: --executor processes",
        )


def _give_up_after_failed_jobs(executor: Any, status: dict[str, Any]) -> None:
    """Parsl's rule, under which all jobs have to fail, and another one for jobs that stop starting in the middle.

    Without the second rule, Parsl submits jobs for ever if, for instance, a disk of the nodes is full. It needs three
    failed jobs in a row while no other job runs or waits.
    """
    from parsl.jobs.error_handlers import simple_error_handler, windowed_error_handler

    simple_error_handler(executor, status)
    if all(job.terminal for job in status.values()):
        windowed_error_handler(executor, status)


@contextmanager
def _globus(config_file: Path) -> Iterator[Engine]:
    variables = _read(config_file)
    executor = _variable(
        config_file, variables, "executor", Executor, "an executor, as globus_compute_sdk.Executor(endpoint_id=...)"
    )
    try:
        yield Engine(executor, _variable(config_file, variables, "workers", int, "a whole number"))
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()


def _workers_of(config: Any) -> int:
    """How many workers a configuration of Parsl can start."""
    total = 0
    for executor in config.executors:
        provider, each = getattr(executor, "provider", None), getattr(executor, "workers_per_node", 1)
        total += each * getattr(provider, "max_blocks", 1) * getattr(provider, "nodes_per_block", 1)
    return max(1, int(total))


def _put_scripts_on_the_path() -> None:
    """Parsl looks up its programs on the PATH, where they are only if the environment is activated."""
    if shutil.which(WORKERS):
        return
    folder = Path(sys.executable).parent
    if not (folder / WORKERS).exists():
        raise WorkshopError(
            looked_at=f"the environment in {sys.prefix}",
            expected=f"Parsl, whose program {WORKERS} lies beside the interpreter",
            found=f"no {WORKERS} there or on the PATH",
            next_step="with Pixi: pixi run -e scale scan --executor parsl; without: pip install -e '.[cpu,scale]'",
        )
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"


def _read(config_file: Path) -> dict[str, Any]:
    """The variables of a configuration, which is a Python file. Raises WorkshopError if it raises."""
    try:
        return runpy.run_path(str(config_file))
    except (Exception, SystemExit) as error:
        if isinstance(error, OSError) and error.filename == str(config_file):
            found = error.strerror or str(error)
        else:
            lines = [
                frame.lineno
                for frame in traceback.extract_tb(error.__traceback__)
                if frame.filename == str(config_file)
            ]
            line = f" (line {lines[-1]})" if lines else ""
            found = f"{type(error).__name__}: {error}{line}"
        raise WorkshopError(
            looked_at=f"--config {config_file}",
            expected="a Python file that defines the configuration",
            found=found,
            next_step=f"pip install {error.name.replace('_', '-')}"
            if isinstance(error, ModuleNotFoundError) and error.name
            else f"start from one of the files in {CONFIGS}",
        ) from error


def _variable(config_file: Path, variables: dict[str, Any], name: str, kind: type, expected: str) -> Any:
    """A variable of a configuration. Raises WorkshopError if it is missing or of another type."""
    if isinstance(variables.get(name), kind):
        return variables[name]
    raise WorkshopError(
        looked_at=f"--config {config_file}",
        expected=f"the variable {name}, {expected}",
        found=f"{name} is {type(variables[name]).__name__}" if name in variables else f"no variable {name}",
        next_step=f"start from one of the files in {CONFIGS}",
    )


def _not_started(config_file: Path, error: Exception) -> WorkshopError:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = f"make room in the folder of --output (`{shell.free_space()}`), and run the same command again"
    else:
        advice = (
            "is the job system there, and are its partition and account right (`sinfo`, `condor_status`)? Correct the "
            "configuration, or run without a cluster: --executor processes"
        )
    return WorkshopError(
        looked_at=f"Parsl, started with {config_file}",
        expected="an engine that starts and submits its first job",
        found=f"{type(error).__name__}: {' '.join(str(error).split())}",
        next_step=advice,
    )
