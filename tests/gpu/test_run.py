"""run.py without a GPU: its table, its JSON and its exit code; and, slowly, all of it with simulated GPUs."""

import importlib.util
import json
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from report import CANNOT_RUN, FAILED, GRAPH, HAS_GPU, PASSED, CannotRun, Failed, Report, Row, row_of

from workshop.exercises import load_module

RUN = ROOT / "tests/gpu/run.py"


@pytest.fixture(scope="module")
def run():
    return load_module(RUN, "gpu_run")


@pytest.fixture
def session(run, tmp_path):
    return run.Session(tmp_path, Report(tmp_path / "gpu.json"), simulated=False)


def raising(error):
    def measure():
        raise error

    return measure


def test_a_row_for_each_result():
    assert row_of("torch", "a", lambda: ("1 s", {"seconds": 1})).result == PASSED
    failed = row_of("torch", "a", raising(Failed("2 s", seconds=2)))
    assert (failed.result, failed.figure, failed.values) == (FAILED, "2 s", {"seconds": 2})
    missing = row_of("torch", "a", raising(CannotRun("no GPU")))
    assert (missing.result, missing.figure) == (CANNOT_RUN, "no GPU")
    broken = row_of("torch", "a", raising(ZeroDivisionError("division by zero\nmore")))
    assert (broken.result, broken.figure) == (FAILED, "ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ({HAS_GPU: PASSED, "bits": PASSED}, 0),
        ({HAS_GPU: PASSED, "bits": CANNOT_RUN}, 0),
        ({HAS_GPU: PASSED, "bits": FAILED}, 1),
        ({HAS_GPU: CANNOT_RUN, "refused": PASSED}, 1),  # nothing ran on a GPU
        ({}, 1),
    ],
)
def test_the_table_the_file_and_the_exit_code(results, code, tmp_path, capsys):
    report = Report(tmp_path / "gpu.json", machine={"gpus": []})
    for number, (check, result) in enumerate(results.items(), start=1):
        report.add(Row("torch", check, result, f"figure {number}", {"n": number}))
        stored = json.loads((tmp_path / "gpu.json").read_text())  # after each row
        assert [row["check"] for row in stored["rows"]] == list(results)[:number]
        assert stored["rows"][-1]["values"] == {"n": number} and stored["machine"] == {"gpus": []}
    assert report.finish() == code
    printed = capsys.readouterr().out.splitlines()
    for line, (check, result) in zip(printed[1:], results.items(), strict=False):
        assert line.startswith("torch") and check in line and result in line and "figure" in line
    assert json.loads((tmp_path / "gpu.json").read_text())["counts"]["failed"] == list(results.values()).count(FAILED)
    assert ("nothing was tested on one" in printed[-1]) == (results.get(HAS_GPU) != PASSED)


def test_a_missing_package_is_named_and_the_other_framework_goes_on(run, session, monkeypatch):
    real = importlib.util.find_spec
    hidden = ("optax", "rocrate")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in hidden else real(name, *more))
    run.check_framework(session, "jax")
    rows = session.report.rows
    assert len(rows) > 3 and {row.result for row in rows} == {CANNOT_RUN}
    assert "optax" in rows[0].figure and "rocrate" in rows[0].figure


INSIDE = """
import json, time
row = {"framework": "torch", "check": "a GPU that it can use", "result": RESULT, "figure": "a GPU"}
print("epoch 1/3")
print("ROW " + json.dumps(row), flush=True)
END
"""


@pytest.mark.parametrize(
    ("result", "end", "expected", "reason"),
    [
        (PASSED, "raise ValueError('out of luck')", FAILED, "out of luck"),
        (PASSED, "time.sleep(60)", FAILED, "not done after"),
        (CANNOT_RUN, "", CANNOT_RUN, "a GPU"),
    ],
)
def test_a_program_that_ends_before_its_last_row(run, session, monkeypatch, tmp_path, result, end, expected, reason):
    program = INSIDE.replace("RESULT", repr(result)).replace("END", end)
    (tmp_path / "inside_torch.py").write_text(program)
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(run, "INSIDE", 3)
    began = time.monotonic()
    assert run.inside(session, "torch") == (None if result == PASSED else "a GPU")
    assert time.monotonic() - began < 30
    first, *others = session.report.rows
    assert first.check == HAS_GPU and first.result == result
    assert len(others) == 6 and all(row.result == expected and reason in row.figure for row in others), others


def test_when_the_time_is_over_nothing_more_is_begun(run, session):
    session.deadline = time.monotonic()
    row = row_of("torch", "bits", lambda: session.run([sys.executable, "-c", "pass"]))
    assert row.result == FAILED and "not begun" in row.figure


def test_a_process_that_takes_too_long_is_ended(session):
    line = [sys.executable, "-c", "import time; time.sleep(60)"]
    began = time.monotonic()
    row = row_of("torch", "bits", lambda: session.run(line, limit=1))
    assert row.result == FAILED and "not done after 1 s" in row.figure and time.monotonic() - began < 30


DTYPES = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
import inside_torch
from report import row_of

for bf16_in_training, bf16_in_evaluation in ((True, False), (False, False), (False, True)):
    network, dtypes = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2)), {}
    inside_torch.remember_dtypes(network, dtypes)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16_in_training):
        network(torch.ones(3, 4)).sum().backward()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16_in_evaluation):
        network(torch.ones(3, 4))
    print(row_of("torch", "bfloat16", lambda: inside_torch.must_compute_in("torch.bfloat16", dtypes)).result)
"""


def test_the_row_bfloat16_is_about_training_and_not_about_evaluation(command, tmp_path):
    script = tmp_path / "dtypes.py"
    script.write_text(DTYPES)
    done = command(script, RUN.parent)
    assert done.returncode == 0 and done.stdout.split() == [PASSED, FAILED, FAILED], done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_all_of_it_with_a_simulated_gpu(command, framework, tmp_path):
    pytest.importorskip(framework)
    done = command(RUN, "--simulated", "--only", framework, "--json", tmp_path / "gpu.json", timeout=550)
    stored = json.loads((tmp_path / "gpu.json").read_text())
    assert done.returncode == 0 and stored["finished"], done.stdout + done.stderr
    rows = {row["check"]: row for row in stored["rows"]}
    cannot = {check for check, row in rows.items() if row["result"] == CANNOT_RUN}
    assert all("simulated" in rows[check]["figure"] for check in cannot)
    of_framework = {"torch": {"bfloat16", GRAPH}, "jax": {"no waiting for the GPU inside an epoch"}}
    assert cannot == of_framework[framework] | {"peak memory of these trainings"}
    assert len(rows) == (13 if framework == "torch" else 10), sorted(rows)
    assert rows["the same bits after kill and resume"]["values"]["resumed_after_epochs"]
    assert len(rows["50% on digits"]["values"]["runs"]) == 2
    assert str(Path.home()) not in (tmp_path / "gpu.json").read_text()
