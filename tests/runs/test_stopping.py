"""A training that receives a stop signal: it finishes the epoch, exits with code 85 and resumes to the same weights."""

import os
import signal
import subprocess
import sys
import time

import forked
import jsonschema
import pytest
from conftest import ROOT, SOLUTION, STARTER, record_of, sha_of

from workshop.runs import stopping
from workshop.runs.records import crate, provenance, record

JAX = ROOT / "exercise-3-jax-cu118/solution/train.py"
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no signals to send")


def arguments(place, *more, epochs=3):
    return ("--data", "digits", "--epochs", epochs, "--seed", 5, "--device", "cpu", "--output", place, *more)


def started(variables, script, *words):
    return forked.start(["-u", *map(str, (script, *words))], ROOT, variables)


def after(process, start):
    """Read until a line begins with `start`."""
    for line in process.stdout:
        if line.startswith(start):
            return
    process.kill()
    pytest.fail(f"no {start!r}: {process.communicate()[1]}")


def module_of(name):
    return {"torch": SOLUTION, "jax": JAX, "starter": STARTER}[name]


@posix
@pytest.mark.parametrize(
    ("framework", "name"),
    [
        ("torch", "SIGUSR1"),
        pytest.param("starter", "SIGTERM", marks=pytest.mark.slow),
        pytest.param("jax", "SIGTERM", marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_finishes_its_epoch_and_resumes_to_the_same_weights(
    command, variables, tmp_path, framework, name
):
    script = module_of(framework)
    if framework == "jax":
        pytest.importorskip("flax", reason="this script needs JAX: install the extra cpu")
    place = tmp_path / "stopped"
    process = started(variables, script, *arguments(place))
    after(process, "epoch 1/3")
    process.send_signal(getattr(signal, name))
    out, err = process.communicate()
    assert process.returncode == stopping.EXIT_CODE == 85, err
    assert "Traceback" not in err and "continue with:" in err and f"stopped by {name}: " in err
    done = 1 + out.count("\nepoch ") + out.startswith("epoch ")
    assert f"{done} of 3 epochs are done and kept" in err and done < 3  # it did not run to the end
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped.partial"]
    again = command(script, *arguments(place, "--resume"))
    whole = command(script, *arguments(tmp_path / "whole"))
    assert again.returncode == whole.returncode == 0, again.stderr
    assert record_of(place)["resumed_after_epochs"] == [done]
    if framework != "starter":  # the shipped one is not seeded: that is what step 2.7 is about
        assert sha_of(place) == sha_of(tmp_path / "whole")


@posix
def test_a_stop_before_the_first_epoch_leaves_nothing(variables, tmp_path):
    """The request comes while the data set is being generated; no epoch starts after it."""
    start = tmp_path / "start.py"
    start.write_text(
        "import os, runpy, signal, sys\nfrom workshop.runs import data\nload = data.load\n"
        "def ask(name):\n    os.kill(os.getpid(), signal.SIGTERM)\n    return load(name)\ndata.load = ask\n"
        f"sys.argv[0] = {str(SOLUTION)!r}\nrunpy.run_path({str(SOLUTION)!r}, run_name='__main__')\n"
    )
    process = started(variables, start, *arguments(tmp_path / "run"))
    out, err = process.communicate()
    assert process.returncode == 85 and "epoch 1" not in out, err
    assert err.strip() == "stopped by SIGTERM: no epoch was done yet; exit code 85"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["start.py"]


@posix
def test_the_same_request_twice_is_one(command, variables, tmp_path):
    """A job system signals the job script and the training, and the script passes the signal on."""
    process = started(variables, SOLUTION, *arguments(tmp_path / "run"))
    after(process, "epoch 1/3")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGUSR1)
    _, err = process.communicate()
    assert process.returncode == 85 and "epochs are done and kept" in err, err


@posix
def test_a_second_request_stops_at_once(variables, tmp_path):
    """An endless epoch: only a second, later request ends the training."""
    start = tmp_path / "start.py"
    start.write_text(
        "import runpy, sys, time\nfrom workshop.runs import data\norder = data.epoch_order\n"
        "def endless(seed, epoch, n):\n"
        "    while epoch == 1:\n        print('here', flush=True)\n        time.sleep(0.1)\n"
        "    return order(seed, epoch, n)\ndata.epoch_order = endless\n"
        f"sys.argv[0] = {str(SOLUTION)!r}\nrunpy.run_path({str(SOLUTION)!r}, run_name='__main__')\n"
    )
    process = started(variables, start, *arguments(tmp_path / "run"))
    after(process, "here")
    begin, sent = time.monotonic(), 0
    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
        sent += 1
        after(process, "here") if sent < 3 else time.sleep(0.1)
    _, err = process.communicate()
    assert process.returncode == 85 and time.monotonic() - begin >= stopping.SAME_REQUEST_SECONDS, err
    assert "Traceback" not in err and "continue with:" in err
    assert (tmp_path / "run.partial" / record.CHECKPOINT).exists() and not (tmp_path / "run").exists()


@posix
def test_requests_are_ignored_while_the_run_is_moved(variables, tmp_path):
    """Requests around the rename, a second apart, and one at the interpreter's end: a complete run, exit code 0."""
    start = tmp_path / "start.py"
    start.write_text(
        "import atexit, os, runpy, signal, sys, time\nrename = os.rename\n"
        "def ask(*_):\n    os.kill(os.getpid(), signal.SIGUSR1)\n"
        "def slow(*paths):\n    ask()\n    time.sleep(1.2)\n    ask()\n    rename(*paths)\n    ask()\n"
        "os.rename = slow\natexit.register(ask)\n"
        f"sys.argv[0] = {str(SOLUTION)!r}\nrunpy.run_path({str(SOLUTION)!r}, run_name='__main__')\n"
    )
    process = started(variables, start, *arguments(tmp_path / "run", epochs=1))
    _, err = process.communicate()
    assert process.returncode == 0, err
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert "run.json" in left and not left & {record.CHECKPOINT, record.LOCK}


@pytest.mark.slow
@posix
def test_two_processes_stop_after_the_same_epoch(variables, tmp_path):
    """torchrun forwards its own SIGTERM to both; a signal to the second process alone has no effect."""
    port = str(24000 + os.getpid() % 20000)
    torchrun = ("torch.distributed.run", "--nproc-per-node", "2", "--master-port", port)
    script = ROOT / "exercise-5-container/solution/train_distributed.py"
    line = [sys.executable, "-u", "-m", *torchrun, str(script), *map(str, arguments(tmp_path / "run", epochs=400))]
    process = subprocess.Popen(line, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    after(process, "epoch 1/400")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode != 0
    assert err.count("epochs are done and kept; exit code 85") == 1, err
    assert (tmp_path / "run.partial" / record.CHECKPOINT).exists()


SLURM = {
    "SLURM_JOB_ID": "125",
    "SLURM_ARRAY_JOB_ID": "123",
    "SLURM_ARRAY_TASK_ID": "2",
    "SLURMD_NODENAME": "gpu07",
    "SLURM_RESTART_COUNT": "1",
}


@pytest.fixture
def outside(monkeypatch):
    for name in (*SLURM, "_CONDOR_JOB_AD", "_CONDOR_SLOT"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_job_as_its_scheduler_describes_it(outside, tmp_path):
    assert provenance.job() is None
    for name, value in SLURM.items():
        outside.setenv(name, value)
    assert provenance.job() == {
        "scheduler": "slurm",
        "id": "125",
        "array": "123",
        "task": 2,
        "node": "gpu07",
        "restarts": 1,
    }
    for name in SLURM:
        outside.delenv(name)
    ad = tmp_path / ".job.ad"
    ad.write_text('ClusterId = 7\nNumJobStarts = 2\nProcId = 0\nRemoteHost = "slot1_1@node3"\nCmd = "train.sh"\n')
    outside.setenv("_CONDOR_JOB_AD", str(ad))
    assert provenance.job() == {
        "scheduler": "htcondor",
        "id": "7.0",
        "array": "7",
        "task": 0,
        "node": "slot1_1@node3",
        "restarts": 2,
    }
    ad.unlink()  # another namespace: better no word of the job than no run
    assert provenance.job() is None


def test_the_job_is_in_the_record_and_in_the_crate(outside, tmp_path):
    import json

    for name, value in SLURM.items():
        outside.setenv(name, value)
    (tmp_path / "train.py").write_text("# a script\n")
    run = record.start("exercise-0", str(tmp_path / "train.py"), str(tmp_path / "run"), seed=0)
    (run.folder / "result.txt").write_text("1\n")
    said = {"determinism": {}, "device": {"type": "cpu", "name": "x"}, "metrics": [{"name": "m", "value": 1}]}
    place = record.finish(run, (), seed=0, dataset={"name": "d", "sha256": "0" * 64}, **said)
    document = record_of(place)
    jsonschema.validate(document, json.loads(record.SCHEMA_FILE.read_text()))
    assert document["job"]["id"] == "125"
    graph = {e["@id"]: e for e in json.loads((place / "ro-crate-metadata.json").read_text())["@graph"]}
    assert graph["#run"]["identifier"] == {"@id": "#job"} and graph["#job"]["value"] == "125"
    assert "task 2 of 123" in graph["#job"]["description"] and "gpu07" in graph["#job"]["description"]
    assert "#job" not in crate.describe(document | {"job": None}, b"")
