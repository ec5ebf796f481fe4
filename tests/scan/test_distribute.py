"""The fits through executors: threads, and stand-ins that lose, refuse or break. The results are the same bytes."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from conftest import ROOT, module_of

from histfactory import Scan, compile_models, read_hypotheses
from workshop.errors import WorkshopError
from workshop.runs import search
from workshop.scan import distribute, parts, worker

[MODEL] = compile_models(read_hypotheses(*search.generate(np.random.default_rng(1)))[1])
SCAN = Scan(MODEL)
HERE = {entry["name"]: entry for entry in worker.fit_members(SCAN, range(len(MODEL.names)), 1.0, False)[0]}
POISON = MODEL.names[40]


class StandIn(Executor):
    """Runs each request at once. change: called with the number of the request and the request, before it runs."""

    def __init__(self, change: Callable[[int, dict], None] = lambda number, request: None) -> None:
        self.change, self.requests = change, []

    def submit(self, function, /, request):
        future: Future = Future()
        self.requests.append(request)
        try:
            self.change(len(self.requests), request)
            future.set_result(function(request))
        except Exception as error:
            future.set_exception(error)
        return future


def names_in(request: dict) -> list[str]:
    return parts.pickle.loads(request["part"])[0]


def fit(executor: Executor | None, names=tuple(MODEL.names), **settings):
    """The entries by name, each reported once, and the reasons of the failures."""
    entries = {}

    def report(new, _worker):
        for entry in new:
            assert entry["name"] not in entries
            entries[entry["name"]] = entry

    failures = distribute.fit_all([SCAN], names, 1.0, executor, report, **settings)
    return entries, failures


@pytest.fixture(autouse=True)
def fresh_worker(monkeypatch):
    monkeypatch.setattr(worker, "_backgrounds", {})


def test_threads_give_the_same_bytes():
    with ThreadPoolExecutor(2) as executor:
        assert fit(executor, workers=2) == (HERE, {}) == fit(None)


def test_a_part_of_a_scan_gives_the_same_bytes_with_upper_limits():
    members = [3, 50, 124]
    background = parts.pickle.loads(parts.background(SCAN))
    assert background.model.names == [] and len(parts.background(SCAN)) < 40_000
    part = parts.join(background, parts.part(MODEL, members))
    assert worker.fit_members(part, range(3), 1.0, True) == worker.fit_members(SCAN, members, 1.0, True)


def test_the_background_travels_once_and_again_to_a_worker_that_misses_it():
    executor = StandIn(lambda number, request: worker._backgrounds.clear() if number == 3 else None)
    assert fit(executor) == (HERE, {})
    assert [number for number, request in enumerate(executor.requests, 1) if request["background"]] == [
        1,
        5,
        6,
    ]  # two were on their way


@pytest.mark.parametrize("seed", range(3))
def test_requests_that_are_lost_at_random_are_sent_again(seed):
    rng = np.random.default_rng(seed)

    def lose(number, request):
        if rng.random() < 0.3 and number > 1:
            raise ConnectionError("the worker was lost")

    assert fit(StandIn(lose), workers=4) == (HERE, {})


def test_a_request_that_is_never_answered_is_sent_again(monkeypatch):
    class Silent(StandIn):
        def submit(self, function, /, request):
            future = super().submit(function, request)
            return Future() if len(self.requests) in (2, 5) else future

    monkeypatch.setattr(distribute, "LATE_SECONDS", 0.05)
    monkeypatch.setattr(distribute, "LATE", 0.0)
    monkeypatch.setattr(distribute, "TICK", 0.02)
    assert fit(Silent(), workers=2) == (HERE, {})


def test_of_two_answers_to_a_request_the_first_counts(monkeypatch):
    class Slow(StandIn):
        def submit(self, function, /, request):
            self.requests.append(request)
            return pool.submit(lambda: (time.sleep(0.3 * (len(self.requests) == 1)), function(request))[1])

    monkeypatch.setattr(distribute, "LATE_SECONDS", 0.05)
    monkeypatch.setattr(distribute, "LATE", 0.0)
    monkeypatch.setattr(distribute, "TICK", 0.02)
    with ThreadPoolExecutor(4) as pool:
        assert fit(Slow(), workers=2) == (HERE, {})


def test_a_hypothesis_that_kills_its_workers_fails_alone():
    def die(number, request):
        if POISON in names_in(request):
            raise ConnectionError("killed")

    entries, failures = fit(StandIn(die), workers=2)
    assert entries == {name: entry for name, entry in HERE.items() if name != POISON}
    assert failures == {POISON: "no result from 3 workers; the last one: ConnectionError: killed"}


def test_a_hypothesis_that_breaks_the_pool_fails_alone(capsys):
    pools = []

    def start():
        def die(number, request):
            if broken or POISON in names_in(request):
                broken.append(1)
                raise BrokenProcessPool("a process died")

        broken: list[int] = []
        pools.append(StandIn(die))
        return pools[-1]

    entries, failures = fit(start(), workers=2, restart=start)
    assert entries == {name: entry for name, entry in HERE.items() if name != POISON}
    assert failures.keys() == {POISON} and "BrokenProcessPool" in failures[POISON]
    assert len(pools) < 15 and "hypotheses again" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer on Windows")
def test_a_hypothesis_that_raises_or_never_ends_fails_alone(monkeypatch):
    real = Scan.limits

    def limits(self, mu, members, level):
        for h in members:
            if self.model.names[h] == POISON:
                if time_limit:  # the other fits must not be late, however busy the machine is
                    assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= len(names) * time_limit
                    signal.raise_signal(signal.SIGALRM)  # what the timer does in the end
                raise FloatingPointError("overflow")
        return real(self, mu, members, level)

    monkeypatch.setattr(Scan, "limits", limits)
    names = MODEL.names[38:43]
    for time_limit, reason in ((None, "FloatingPointError: overflow"), (600, "no fit within 600 s")):
        for executor in (None, StandIn()):
            entries, failures = fit(executor, names, time_limit=time_limit)
            assert failures == {POISON: reason} and entries.keys() == set(names) - {POISON}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer on Windows")
def test_the_timer_ends_a_fit(monkeypatch):
    monkeypatch.setattr(Scan, "limits", lambda *_: time.sleep(30))
    assert worker.fit_members(SCAN, [3], 1.0, False, 0.05) == ([], {MODEL.names[3]: "no fit within 0.05 s"})


def test_a_worker_with_other_versions_is_refused():
    def other(number, request):
        request["identity"] = request["identity"] | {"python": "3.99.0"}  # as a driver with this Python would send

    with pytest.raises(WorkshopError) as error:
        fit(StandIn(other))
    # The worker reports its own versions; the driver compares them with its own.
    assert "the versions of the worker" in error.value.looked_at


def test_the_message_about_versions_names_both(monkeypatch):
    here = worker.identity()
    there = here | {"lock": "0" * 64, "python": "3.99.0"}
    error = distribute._other_versions({"worker": "node7:1:2", "identity": there})
    assert error.expected == f"lock {here['lock']}, python {here['python']}" and "node7" in error.looked_at
    assert error.found == f"lock {'0' * 64}, python 3.99.0"


@pytest.mark.parametrize(
    ("error", "found", "advice"),
    [
        (ModuleNotFoundError("No module named 'workshop'"), "8 failures in a row", "PYTHONPATH"),
        (type("BadStateException", (Exception,), {})("sbatch: invalid partition"), "invalid partition", "sinfo"),
        (BrokenProcessPool("it died"), "it died", "logs"),
    ],
)
def test_if_nothing_works_the_scan_stops(error, found, advice):
    def fail(number, request):
        raise error

    with pytest.raises(WorkshopError) as stopped:
        fit(StandIn(fail))
    assert found in stopped.value.found and advice in stopped.value.next_step


@pytest.mark.parametrize(
    ("log", "found", "advice"),
    [
        (None, "no logs of them in ", "in a folder that all nodes share"),
        (
            "",
            "1 failure in a row; the last one: jobs that end before their workers are ready; the last one wrote: nothing",
            "the logs are in ",
        ),
        (
            "0: OSError: [Errno 28] No space left on device: '/scratch'\nsrun: task 0: Exited\n",
            "wrote: OSError: [Errno 28] ",
            "",
        ),
        (
            "Process SyncManager-1:\nOSError: AF_UNIX path too long\nEOFError\n",
            "wrote: OSError: AF_UNIX path",
            "TMPDIR",
        ),
        ("/bin/sh: 1: srun: not found\n", "wrote: /bin/sh: 1: srun: not found", "correct what the job wrote"),
    ],
)
def test_jobs_whose_workers_never_start(log, found, advice, tmp_path):
    if log is not None:
        (tmp_path / "submit_scripts").mkdir()
        (tmp_path / "submit_scripts" / "block-0.stderr").write_text(log)

    def fail(number, request):
        raise type("BadStateException", (Exception,), {})(
            "Job is marked as MISSING since the workers failed to register"
        )

    with pytest.raises(WorkshopError) as stopped:
        fit(StandIn(fail), logs=tmp_path)
    assert found in stopped.value.found and advice in stopped.value.next_step


def test_the_size_of_a_chunk_by_hand():
    pace = distribute.Pace()
    # Before the first result: two chunks for each worker, or what fits the caches.
    assert pace.size(natural=50, left=125, expected_workers=2) == 32
    assert pace.size(natural=50, left=10_000, expected_workers=2) == 50
    # A hypothesis takes 10 ms and the executor 0.2 s: 201 hypotheses, so that 0.2 s are a tenth of the work.
    pace.note({"busy": 0.5, "gap": None}, 50)
    pace.note({"busy": 0.5, "gap": 0.2}, 50)
    assert pace.size(natural=50, left=10_000, expected_workers=2) == 201
    # But each of 8 workers gets a share, and no chunk takes longer than a minute.
    assert pace.size(natural=50, left=80, expected_workers=8) == 10
    pace.each.clear()
    pace.note({"busy": 500.0, "gap": 0.2}, 50)
    assert pace.size(natural=50, left=10_000, expected_workers=2) == 6


def test_only_bytes_and_plain_values_travel():
    executor = StandIn()
    fit(executor, MODEL.names[:3])
    assert {type(value) for value in executor.requests[0].values()} <= {dict, str, bytes, float, bool, type(None)}
    assert {field.name for field in dataclasses.fields(MODEL.own)} >= set(parts.OF_OWN)


def test_the_tables_of_the_page_are_the_measured_ones(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "")  # the benchmark sets it for the programs of Parsl
    scale = module_of(ROOT / "benchmarks" / "scale.py")
    page = (ROOT / "docs" / "away" / "laptop-to-cluster.md").read_text(encoding="utf-8")
    for name, lines in scale.tables(json.loads((ROOT / "benchmarks" / "scale.json").read_text())).items():
        assert "\n".join(lines) in page, f"write the table {name} that `benchmarks/scale.py --tables` prints"


@pytest.mark.slow
def test_dask():
    distributed = pytest.importorskip("distributed")
    with distributed.Client(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as client:
        assert fit(client.get_executor(), workers=2) == (HERE, {})


@pytest.mark.slow
def test_the_example_of_the_page_with_dask(variables):
    pytest.importorskip("distributed")
    line = [sys.executable, ROOT / "docs" / "away" / "fit_on_dask.py"]
    process = subprocess.run(line, env=variables, capture_output=True, text=True)
    assert process.stdout == "125 hypotheses have a result, 0 have failed\n", process.stderr
