"""Exercise 5's jobs on a real Slurm: a controller and two nodes on this machine, each with a simulated GPU.

tests/jobs/install_slurm.sh installs and starts it. Slurm's record of finished jobs (jobcomp/filetxt) tells how they
ended. The jobs train on the CPU, with the interpreter of the tests.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import later
import pytest
import slurm_here
from conftest import ROOT, SOLUTION, record_of, sha_of

from workshop.runs.records import record

later.or_skip("torch", reason="the jobs train: install the extra cpu")
slurm = slurm_here.slurm  # a fixture
pytestmark = [
    pytest.mark.system("installs and starts a Slurm"),
    pytest.mark.skipif(sys.platform != "linux", reason="Slurm is for Linux"),
]
JOBS = ROOT / "exercise-5-container" / "solution"
LIMIT = 300  # seconds after which the test of a job that hangs fails; normal jobs take less than a tenth


@pytest.fixture
def cluster(slurm, variables, tmp_path):
    return Cluster(slurm, variables, tmp_path)


class Cluster:
    """Submits jobs of the solution in a separate folder that contains only what they need."""

    def __init__(self, slurm, variables, folder):
        self.slurm, self.folder = slurm, folder
        for name in ("common", "exercise-2-pytorch-cu12", "exercise-5-container"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.lock"))
        self.variables = {k: v for k, v in variables.items() if not k.startswith("SLURM_")} | {
            "SLURM_CONF": str(slurm / "slurm.conf"),
            "TRAIN_IN": "python",
            "PYTHON": sys.executable,
            "DEVICE": "cpu",
            "DATA": "digits",
            "EPOCHS": "2",
        }

    def run(self, *words, **changed):
        line = list(map(str, words))
        return subprocess.run(line, cwd=self.folder, env=self.variables | changed, capture_output=True, text=True)

    def submit(self, script="train.sbatch", *options, **changed):
        """Submit a job and return its number."""
        words = ("sbatch", "--parsable", "--cpus-per-task=1", "--mem=1G", *options)
        process = self.run(*words, f"exercise-5-container/solution/{script}", **changed)
        assert process.returncode == 0, process.stderr
        return process.stdout.strip()

    def ended(self, job, n=1):
        """Slurm's record of how each of the job's n tasks ended, (state, exit code), once none of them is in the queue."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            if not self.run("squeue", "-h", "-j", job).stdout.strip():
                records = self.records(job)
                if len(records) >= n:
                    return records
            time.sleep(0.1)
        raise AssertionError(self.run("scontrol", "show", "job", job).stdout + self.logs())

    def records(self, job):
        path = self.slurm / "jobs.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        rows = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
        first, tasks = int(job), {}
        for row in rows:
            if int(row["JobId"]) >= first:
                tasks[row["JobId"]] = (row["JobState"], row["ExitCode"])
        return list(tasks.values())

    def wait_for(self, path):
        """Wait until the training has written the file."""
        deadline = time.monotonic() + LIMIT
        while not path.exists():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.02)

    def wait_until_queued_again(self, job, and_go_on=True):
        deadline = time.monotonic() + LIMIT
        while self.run("squeue", "-h", "-j", job, "-o", "%T").stdout.strip() != "PENDING":
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.05)
        # Slurm lets a requeued job wait for two minutes, until its old credential has expired. Release this one earlier,
        # but not in the second in which the credential was revoked: the node would confuse the new one with it.
        time.sleep(2)
        assert not and_go_on or self.run("scontrol", "update", f"JobId={job}", "StartTime=now").returncode == 0

    def logs(self):
        return "".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("slurm-*.log")))


def test_a_job_trains_and_writes_its_record(cluster):
    job = cluster.submit()
    assert cluster.ended(job) == [("COMPLETED", "0:0")], cluster.logs()
    run = cluster.folder / "results" / "exercise-2-pytorch-cu12" / f"slurm-{job}"
    run_record = record_of(run)
    assert run_record["job"] == {
        "scheduler": "slurm",
        "id": job,
        "array": None,
        "task": None,
        "node": run_record["job"]["node"],
        "restarts": 0,
    }
    assert run_record["job"]["node"] in ("n1", "n2") and run_record["device"] == run_record["device"] | {
        "type": "cpu",
        "threads": 1,
    }
    assert "test accuracy" in (cluster.folder / f"slurm-{job}.log").read_text()


@pytest.mark.parametrize("how", ["scancel --signal", "scontrol requeue"])
def test_a_requeued_job_ends_with_the_same_weights(cluster, command, tmp_path, how):
    """Slurm sends the signal, or an operator requeues the job, which kills it: either way it continues to the same weights."""
    epochs = "12"
    run = tmp_path / "results" / "job"
    job = cluster.submit("train.sbatch", EPOCHS=epochs, RUN=str(run))
    cluster.wait_for(tmp_path / "results" / "job.partial" / record.CHECKPOINT)
    if how == "scancel --signal":
        assert cluster.run("scancel", "--signal=USR1", "--batch", job).returncode == 0
    elif how == "scontrol requeue":
        assert cluster.run("scontrol", "requeue", job).returncode == 0
    cluster.wait_until_queued_again(job)
    log = (tmp_path / f"slurm-{job}.log").read_text()
    assert not run.exists()
    if how != "scontrol requeue":
        assert "stopped by SIGTERM: " in log and "back into the queue" in log
    assert cluster.ended(job)[-1] == ("COMPLETED", "0:0"), cluster.logs()
    run_record = record_of(run)
    assert run_record["job"]["id"] == job and run_record["job"]["restarts"] == 1
    assert len(run_record["resumed_after_epochs"]) == 1 and 1 <= run_record["resumed_after_epochs"][0] < int(epochs)
    uninterrupted = command(
        SOLUTION, "--data", "digits", "--epochs", epochs, "--device", "cpu", "--output", tmp_path / "whole"
    )
    assert uninterrupted.returncode == 0 and sha_of(run) == sha_of(tmp_path / "whole")
    assert (tmp_path / f"slurm-{job}.log").read_text().startswith(log[:200])  # the second start appended to the log


def test_slurm_signals_the_job_before_its_time_limit(cluster, tmp_path):
    """A limit of two minutes, with the signal one minute before; Slurm checks the limits every half minute."""
    run = tmp_path / "results" / "job"
    job = cluster.submit("train.sbatch", "--time=2", "--signal=B:USR1@60", EPOCHS="5000", RUN=str(run))
    cluster.wait_for(tmp_path / "results" / "job.partial" / record.CHECKPOINT)
    cluster.wait_until_queued_again(job, and_go_on=False)
    log = cluster.logs()
    assert "stopped by SIGTERM: " in log and "back into the queue" in log and "DUE TO TIME LIMIT" not in log
    assert (tmp_path / "results" / "job.partial" / record.CHECKPOINT).exists()
    assert cluster.run("scancel", job).returncode == 0


def test_an_array_trains_four_seeds(cluster, command, tmp_path):
    job = cluster.submit("array.sbatch")
    assert cluster.ended(job, n=4) == [("COMPLETED", "0:0")] * 4, cluster.logs()
    home = cluster.folder / "results" / "exercise-2-pytorch-cu12"
    runs = [record_of(home / f"slurm-{job}-seed{seed}") for seed in range(4)]
    assert [run["seed"] for run in runs] == [run["job"]["task"] for run in runs] == [0, 1, 2, 3]
    assert {run["job"]["array"] for run in runs} == {job} and len({run["job"]["id"] for run in runs}) == 4
    assert len({sha_of(home / f"slurm-{job}-seed{seed}") for seed in range(4)}) == 4
    uninterrupted = command(
        SOLUTION, "--data", "digits", "--epochs", 2, "--seed", 2, "--device", "cpu", "--output", tmp_path / "2"
    )
    assert uninterrupted.returncode == 0 and sha_of(home / f"slurm-{job}-seed2") == sha_of(tmp_path / "2")


def test_the_first_job_prints_where_it_runs(cluster):
    job = cluster.submit("../starter/first.sbatch")
    assert cluster.ended(job) == [("COMPLETED", "0:0")], cluster.logs()
    log = cluster.logs()
    assert f"job {job} in the partition debug, for the account " in log and re.search("on the node n[12], with", log)


def test_two_nodes_train_one_network(cluster, two_processes, tmp_path):
    """A torchrun on each node; the weights are those of two processes on one machine, byte for byte."""
    stand_in = tmp_path / "bin" / "scontrol"  # no name server knows the nodes n1 and n2, which are this machine
    stand_in.parent.mkdir()
    stand_in.write_text("#!/bin/sh\necho 127.0.0.1\n")
    stand_in.chmod(0o755)
    run = tmp_path / "results" / "job"
    path = f"{stand_in.parent}{os.pathsep}{cluster.variables['PATH']}"
    job = cluster.submit("multi.sbatch", RUN=str(run), PATH=path)
    assert cluster.ended(job) == [("COMPLETED", "0:0")], cluster.logs()
    run_record = record_of(run)
    assert run_record["processes"] == 2 and run_record["job"]["id"] == job
    words = ("--data", "digits", "--epochs", 2, "--device", "cpu", "--output", tmp_path / "here")
    for done in two_processes(JOBS / "train_distributed.py", *words):
        assert done.returncode == 0, done.stderr
    assert sha_of(run) == sha_of(tmp_path / "here")


def test_a_missing_gpu_is_reported_in_the_log(cluster):
    """The node has a GPU that torch cannot use: the job stops at once and is not requeued."""
    job = cluster.submit(DEVICE="cuda")
    assert cluster.ended(job) == [("FAILED", "1:0")]
    log = cluster.logs()
    assert "looked at: the GPU, because of --device cuda" in log and "back into the queue" not in log
    assert not (cluster.folder / "results").exists() or not list((cluster.folder / "results").rglob("run.json"))


def test_a_cancelled_job_keeps_its_epoch_and_another_revision_refuses_it(cluster, tmp_path):
    """A cancelled job is not requeued.

    After a change of the script, its run gives one message, and the job is not requeued.
    """
    run = tmp_path / "results" / "job"
    job = cluster.submit(EPOCHS="5000", RUN=str(run))
    checkpoint = tmp_path / "results" / "job.partial" / record.CHECKPOINT
    cluster.wait_for(checkpoint)
    assert cluster.run("scancel", job).returncode == 0
    assert [state for state, _ in cluster.ended(job)] == ["CANCELLED"]
    log = cluster.logs()
    assert "stopped by SIGTERM: " in log and "back into the queue" not in log
    before = checkpoint.read_bytes()
    script = tmp_path / "exercise-2-pytorch-cu12" / "solution" / "train.py"
    script.write_text(script.read_text().replace("LR = 8e-3", "LR = 7e-3"))
    job = cluster.submit(EPOCHS="5000", RUN=str(run))
    assert cluster.ended(job) == [("FAILED", "1:0")]
    log = (tmp_path / f"slurm-{job}.log").read_text()
    assert log.count("looked at:") == 1 and "checkpoint.safetensors" in log and "back into the queue" not in log
    assert checkpoint.read_bytes() == before


def test_a_finished_run_is_not_trained_again(cluster, tmp_path):
    run = tmp_path / "results" / "job"
    job = cluster.submit(RUN=str(run))
    assert cluster.ended(job) == [("COMPLETED", "0:0")]
    before = (run / "run.json").read_bytes()
    job = cluster.submit(RUN=str(run))  # by hand, where `workshop slurm-train` would have refused
    assert cluster.ended(job) == [("FAILED", "1:0")] and "a finished run" in cluster.logs()
    assert (run / "run.json").read_bytes() == before


def test_slurm_train_submits(cluster, command, slurm):
    process = command(
        "-m",
        "workshop",
        "slurm-train",
        "python",
        "--device",
        "cpu",
        "--data",
        "digits",
        "--epochs",
        1,
        "--run",
        cluster.folder / "run",
        "--json",
        "--output=mine-%j.log",
        **cluster.variables,
    )
    assert process.returncode == 0, process.stderr
    job = json.loads(process.stdout)["job"]
    (log,) = map(Path, json.loads(process.stdout)["logs"])
    assert log.name == f"mine-{job}.log" and json.loads(process.stdout)["runs"] == [str(cluster.folder / "run")]
    try:
        assert cluster.ended(job) == [("COMPLETED", "0:0")], log.read_text()
        assert record_of(cluster.folder / "run")["job"]["id"] == job
    finally:
        log.unlink(missing_ok=True)


def test_slurm_train_refuses_before_anything_is_queued(cluster, command, refused, slurm, tmp_path):
    queued = cluster.run("squeue", "-h").stdout
    words = ("-m", "workshop", "slurm-train", "python", "--device", "cpu", "--run", tmp_path / "run")
    text = refused(command(*words, "--mem=64G", **cluster.variables), "Requested node configuration")
    assert "sinfo" in text
    refused(command(*words, "--", "--tiem=3", **cluster.variables), "--tiem", "--time")
    (tmp_path / "run-seed2").mkdir()
    (tmp_path / "run-seed2" / "run.json").write_text("{}")
    refused(command(*words, "--seeds", **cluster.variables), "run-seed2", "a finished run")
    refused(command(*words, "--seeds", "--seed", 3, **cluster.variables), "one of the two")
    tried = command(*words, "--test-only", **cluster.variables)
    assert tried.returncode == 0 and "to start at" in tried.stdout, tried.stdout + tried.stderr
    nobody = tmp_path / "nobody.conf"
    nobody.write_text((slurm / "slurm.conf").read_text().replace("SlurmctldPort=", "SlurmctldPort=1\n#"))
    text = refused(
        command(*words, **cluster.variables | {"SLURM_CONF": str(nobody)}), "controller", "train without Slurm:"
    )
    assert "sinfo" not in text
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    refused(command(*words, **cluster.variables), "a finished run", "--run")
    assert cluster.run("squeue", "-h").stdout == queued
