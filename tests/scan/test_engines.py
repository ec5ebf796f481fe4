"""`scan --executor`: Parsl on this machine, Globus Compute by a stand-in, invalid configurations, journal, progress."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT

from workshop import cli
from workshop.errors import WorkshopError
from workshop.runs.records import record
from workshop.scan import command, engines, journal, options, progress, worker
from workshop.support import hardware
from workshop.verification import listing

pytest.importorskip("jsonpatch")

GLOBUS = """
from concurrent.futures import ThreadPoolExecutor

class Executor(ThreadPoolExecutor):
    "The interface of globus_compute_sdk.Executor that the scan uses: submit, shutdown."
    def __init__(self, endpoint_id):
        super().__init__(2)

executor = Executor(endpoint_id="00000000-0000-0000-0000-000000000000")
workers = 2
"""


def limits(tmp_path: Path, *words: str, output: str = "out") -> bytes:
    assert command.main([*words, "--output", str(tmp_path / output)]) == 0
    return (tmp_path / output / "limits.json").read_bytes()


def test_globus_compute_by_a_stand_in_and_the_live_figure(tmp_path):
    """Globus Compute needs an account and its cloud. The stand-in has the same interface."""
    (tmp_path / "globus.py").write_text(GLOBUS)
    words = ["--only", "signal_5*"]
    live = ["--live", str(tmp_path / "live.png")]
    globus = ["--executor", "globus", "--config", str(tmp_path / "globus.py")]
    assert limits(tmp_path, *words, *globus, *live) == limits(tmp_path, *words, output="here")
    assert (tmp_path / "live.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("config = 5", "config is int"),
        ("", "no variable config"),
        ("x = 1\nraise RuntimeError('not today')", "RuntimeError: not today (line 2)"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("config = (", "SyntaxError"),
        ("import no_such_module", "No module named 'no_such_module'"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_configuration(text, part, tmp_path):
    path = tmp_path / "config.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(WorkshopError, match="--config") as error:
        engines._variable(path, engines._read(path), "config", dict, "a parsl.Config")
    assert part in error.value.found


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--executor", "slurm"], "invalid choice: 'slurm'"),
        (["--executor", "parsl", "--workers", "2"], "--workers 2"),
        (["--config", "x.py"], "no --executor"),
        (["--executor", "processes", "--config", "x.py"], "--executor processes"),
        (["--executor", "threads", "--time-limit", "5"], "--executor threads"),
        (["--time-limit", "0"], "--time-limit"),
        (["--time-limit", "soon"], "'soon'"),
    ],
)
def test_options_that_do_not_go_together(words, part):
    with pytest.raises(WorkshopError, match=part):
        options.parse_arguments(words)


def test_parsl_without_its_programs(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(WorkshopError, match=r"no process_worker_pool\.py"):
        engines._put_scripts_on_the_path()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / engines.WORKERS).touch()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    engines._put_scripts_on_the_path()
    assert os.environ["PATH"].startswith(str(tmp_path / "bin"))


@pytest.mark.parametrize(("provider", "program"), [("SlurmProvider", "sbatch"), ("CondorProvider", "condor_submit")])
def test_a_machine_that_cannot_submit_jobs(provider, program, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorkshopError, match=f"no {program} on the PATH"):
        engines._require_program(tmp_path / "my-slurm.py", type(provider, (), {})())
    (tmp_path / program).touch(mode=0o755)
    engines._require_program(tmp_path / "my-slurm.py", type(provider, (), {})())
    engines._require_program(tmp_path / "my-slurm.py", None)


def test_a_journal_has_one_writer_and_whole_lines(tmp_path):
    path = tmp_path / "journal.jsonl"
    entry = {"name": "a", "cls_obs": None, "cls_exp": None, "converged": False, "reason": "why"}
    line = journal.line_of(entry, "KEY")
    path.write_text(line + line[:40])  # cut off in the middle of a line
    with journal.opened(path, "KEY") as (entries, append):
        assert entries == {"a": entry} and path.read_text() == line
        append([entry | {"name": "b"}])
        with pytest.raises(WorkshopError, match="running already"), journal.opened(path, "KEY"):
            pass
    with journal.opened(path, "KEY") as (entries, _):
        assert entries.keys() == {"a", "b"}
    path.write_text(line[:40])
    with journal.opened(path, "KEY") as (entries, _):
        assert entries == {} and path.read_text() == ""


def test_what_failed_is_listed_and_tried_again(tmp_path, monkeypatch, capsys):
    real = command.Scan.limits

    def raises(self, mu, members, level):
        if any(self.model.names[h] == "signal_500_0" for h in members):
            raise FloatingPointError("overflow")
        return real(self, mu, members, level)

    monkeypatch.setattr(command.Scan, "limits", raises)
    words = ["--only", "signal_500_*", "--output"]
    assert command.main([*words, str(tmp_path / "a")]) == 1
    assert "signal_500_0 (FloatingPointError: overflow)" in capsys.readouterr().err
    entries = json.loads((tmp_path / "a" / "limits.json").read_text())["hypotheses"]
    assert [entry["name"] for entry in entries if not entry["converged"]] == ["signal_500_0"]
    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):  # Ctrl-C before the first fit
        context.setattr(command, "Scan", lambda *_: signal.raise_signal(signal.SIGINT))
        command.main([*words, str(tmp_path / "b")])
    assert "finished fits are saved" in capsys.readouterr().err
    monkeypatch.setattr(command.Scan, "limits", real)
    assert command.main([*words, str(tmp_path / "b")]) == 0
    assert f"{len(entries) - 1} of {len(entries)} hypotheses were fitted before" in capsys.readouterr().err
    assert not list(tmp_path.glob(".scan*"))


def test_progress_by_hand(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    entries = {}
    shown = progress.Progress(120, entries, tmp_path, None, [], {})
    for number in range(60):
        clock[0] += 1
        entries[number] = {}
        shown.update(f"worker {number % 2}")
    # 49 hypotheses in the last 49 s.
    assert shown.status(clock[0]) == {"done": 60, "total": 120, "workers": 2, "per_hour": 3600, "seconds_left": 60}
    assert progress.status_line(shown.status(clock[0])) == "60/120, 2 workers, 3600 an hour, 0:01:00 left"
    assert shown.status(clock[0] + 61)["workers"] == 0


def test_workshop_runs_lists_a_scan(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "results" / "exercise-1-scipy" / "mine.partial"
    folder.mkdir(parents=True)
    progress.Progress(10, {}, folder, None, [], {}).update()
    monkeypatch.setattr(listing, "root_folder", lambda: tmp_path)
    lock = record._lock_folder(folder)
    assert listing.main(as_json=False) == 0
    assert "mine.partial: running, 0/10, 0 workers, 0 an hour" in capsys.readouterr().out
    lock.release()
    assert listing.main(as_json=False) == 0
    assert "mine.partial: interrupted, 0/10" in capsys.readouterr().out


def test_cores_of_a_control_group_and_of_a_slurm_job(tmp_path, monkeypatch):
    (tmp_path / "cgroup").write_text("0::/job/step\n")
    (tmp_path / "root" / "job" / "step").mkdir(parents=True)
    assert hardware.cgroup_cores(tmp_path / "cgroup", tmp_path / "root") is None
    (tmp_path / "root" / "job" / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "root" / "job" / "step" / "cpu.max").write_text("max 100000\n")
    assert hardware.cgroup_cores(tmp_path / "cgroup", tmp_path / "root") == 1.5
    # Version 1, as in a container whose own group is mounted at the top: the path of the group does not exist there.
    (tmp_path / "cgroup1").write_text("5:cpuset:/x\n4:cpu,cpuacct:/docker/1f\n")
    (tmp_path / "root" / "cpu").mkdir()
    for quota, cores in (("-1", None), ("50000", 0.5)):
        (tmp_path / "root" / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (tmp_path / "root" / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
        assert hardware.cgroup_cores(tmp_path / "cgroup1", tmp_path / "root") == cores
    assert hardware.cgroup_cores(tmp_path / "none", tmp_path / "root") is None
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert hardware.cores() == 1


def test_too_many_workers_are_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "cores", lambda: 1)
    engine = engines.Engine(ThreadPoolExecutor(1), 1)
    monkeypatch.setattr(engines, "opened", lambda *_: engines.contextmanager(lambda: iter([engine]))())
    limits(tmp_path, "--only", "signal_500_*", "--workers", "3")
    assert "3 workers share 1 core: more workers than cores make nothing faster" in capsys.readouterr().err


def test_threads_of_the_workers_that_are_more_than_the_cores_are_reported(monkeypatch):
    for name in worker.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert worker.crowded(2, 2) == ""
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert worker.crowded(1, 4) == ""
    assert worker.crowded(2, 4) == "2 workers with 4 threads each share 4 cores: set OMP_NUM_THREADS=1"


def test_processes_are_no_forks_of_this_process_which_may_have_threads(monkeypatch):
    """From Python 3.12 on, such a fork raises a DeprecationWarning, and it can block."""
    methods = []

    def pool(workers, mp_context, initializer):
        methods.append(mp_context.get_start_method())
        return ThreadPoolExecutor(1)

    monkeypatch.setattr(engines, "ProcessPoolExecutor", pool)
    with engines.opened("processes", None, 2, Path()):
        pass
    assert methods in (["forkserver"], ["spawn"])


def test_threads_for_large_likelihoods_and_processes_for_others(tmp_path, monkeypatch):
    models = [SimpleNamespace(size=size) for size in (engines.LARGE, 2 * engines.LARGE)]
    monkeypatch.setattr(engines, "numbers_of_hypothesis", lambda model: model.size)
    assert engines.threads_or_processes(models, None) == "threads"
    assert engines.threads_or_processes(models, 5.0) == "processes"  # threads keep no time limit
    assert engines.threads_or_processes([*models, SimpleNamespace(size=engines.LARGE - 1)], None) == "processes"
    words = ["--only", "signal_5*"]
    assert limits(tmp_path, *words, "--executor", "threads") == limits(tmp_path, *words, output="here")


# ---------------------------------------------------------------- Parsl on this machine


@pytest.fixture
def parsl():
    pytest.importorskip("parsl", reason="install the extra scale")
    if sys.platform == "win32":
        pytest.skip("Parsl does not run on Windows")


def scan(variables, tmp_path, *words, output="out"):
    line = [sys.executable, "-m", "workshop", "scan", *words, "--output", str(tmp_path / output)]
    return subprocess.Popen(
        line, env=variables, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.slow
def test_parsl_on_this_machine_gives_the_same_bytes(tmp_path, variables, parsl):
    process = scan(variables, tmp_path, "--executor", "parsl")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert (tmp_path / "out" / "limits.json").read_bytes() == limits(tmp_path, output="here")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "out"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_an_interrupted_scan_on_parsl_continues(tmp_path, variables, parsl, name):
    whole = limits(tmp_path, "--upper-limit", output="here")
    process = scan(variables, tmp_path, "--upper-limit", "--executor", "parsl")
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size for path in tmp_path.glob(".scan-*.jsonl")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, getattr(signal, name))
    _, err = process.communicate(timeout=60)
    if name == "SIGINT":
        assert process.returncode == 130 and "finished fits are saved" in err and "Traceback" not in err, err
    process = scan(variables, tmp_path, "--upper-limit", "--executor", "parsl", output="again")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0 and "were fitted before" in err, err
    assert (tmp_path / "again" / "limits.json").read_bytes() == whole


INTERRUPTED_WHILE_A_THREAD_SENDS = """
import pathlib, sys, threading, time
import parsl
from parsl.executors.high_throughput import zmq_pipes
from workshop.scan import engines

send, sending = zmq_pipes.TasksOutgoing.put, threading.Event()

def send_late(pipe, message):
    sending.set()
    time.sleep(1)
    interchange = parsl.dfk().executors["this_machine"].interchange_proc
    print("to an interchange that runs" if interchange.poll() is None else "to one that has ended")
    send(pipe, message)

zmq_pipes.TasksOutgoing.put = send_late
with engines.opened("parsl", None, 1, pathlib.Path(sys.argv[1])) as engine:
    engine.executor.submit(pow, 2, 3)
    sending.wait()
    raise KeyboardInterrupt
"""


@pytest.mark.slow
def test_parsl_ends_after_ctrl_c_while_one_of_its_threads_sends(tmp_path, variables, parsl):
    """Without its interchange, the thread would wait for ever, or the program would abort."""
    words = [sys.executable, "-c", INTERRUPTED_WHILE_A_THREAD_SENDS, str(tmp_path)]
    done = subprocess.run(words, env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout == "to an interchange that runs\n", done.stderr
    assert done.returncode == 130 and "Traceback" not in done.stderr, done.stderr


def test_the_help_lists_the_executors(capsys):
    with pytest.raises(SystemExit):
        cli.main(["scan", "--help"])
    assert "{threads,processes,parsl,globus}" in capsys.readouterr().out
    assert {path.name for path in engines.CONFIGS.glob("*.py")} == {
        "globus.py",
        "htcondor.py",
        "slurm.py",
        "this_machine.py",
    }
    assert ROOT in engines.CONFIGS.parents
