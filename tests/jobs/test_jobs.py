"""Batch scripts and submit files: strict parsing, and rehearsals with stand-ins."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, module_of

from workshop.checking import checks
from workshop.errors import WorkshopError
from workshop.jobs import batch_files, rehearsal

FOLDER = ROOT / "exercise-5-container"
NUMBERS = ("5.10", "5.11", "5.12", "5.13", "5.14", "5.16")  # 5.15 trains
CHECKS = [check for check in module_of(FOLDER / "checks.py").CHECKS if check.number in NUMBERS]
needs_bash = pytest.mark.skipif(not rehearsal.bash(), reason="the job scripts are tried by bash")


class Jobs:
    """Exercise 5 with only the checks of its jobs."""

    checks = tuple(CHECKS)


@needs_bash
def test_the_solution_passes_and_the_starter_fails_every_check(tmp_path):
    for name, wanted in (("solution", "ok"), ("starter", "fail")):
        workspace = checks.Workspace(FOLDER / name, tmp_path / name)
        results = {check.number: answer for check, answer in checks.run_checks(Jobs.checks, workspace)}
        assert {answer.status for answer in results.values()} == {wanted}, results


@needs_bash
def test_a_rehearsal_leaves_the_learners_files_as_they_are(learner, tmp_path):
    before = {path.name: path.read_bytes() for path in learner.folder.iterdir() if path.is_file()}
    list(checks.run_checks(Jobs.checks, checks.Workspace(learner.folder, tmp_path / "scratch")))
    assert {path.name: path.read_bytes() for path in learner.folder.iterdir()} == before


def test_shellcheck_finds_nothing_in_the_job_scripts():
    shellcheck = shutil.which("shellcheck", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    if not shellcheck:
        pytest.skip(
            "shellcheck is not installed: the extra test has it, except for Linux on ARM, where PyPI has no wheel of it"
        )
    scripts = [
        *FOLDER.glob("*/*.sh"),
        *FOLDER.glob("*/*.sbatch"),
        *(ROOT / "tests").rglob("*.sh"),
        *(ROOT / "common").rglob("*.sh"),
    ]
    process = subprocess.run([shellcheck, "-x", *scripts], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0 and len(scripts) >= 9, process.stdout


# Other correct job files: a single file, a job step, short options, another container engine.
ONE_FILE = """#!/bin/bash
#SBATCH -J seeds -N 1 -n1 -c 2
#SBATCH --gpus-per-node=a100:1 --mem-per-cpu 2000
#SBATCH -t 1-00
#SBATCH --signal=B:USR2@300 --requeue --open-mode append
#SBATCH -o log-%j.txt   # one a job
module load apptainer
run=results/exercise-2-pytorch-cu12/job-$SLURM_JOB_ID
options=""
test -f "$run.partial/checkpoint.safetensors" && options=--resume
pass() { kill -TERM "$child"; }
trap pass USR2
apptainer exec --nv my.sif python exercise-2-pytorch-cu12/solution/train.py --device cuda --output "$run" $options &
child=$!
wait $child; code=$?
while kill -0 $child 2>/dev/null; do wait $child; code=$?; done
if [ $code = 85 ]; then scontrol requeue $SLURM_JOB_ID; fi
exit $code
"""
JOB_STEP = """#!/usr/bin/env bash
#SBATCH --gpus=1
#SBATCH --mem=4G --time=90
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
run=results/exercise-2-pytorch-cu12/$SLURM_JOB_ID
more=()
[ -e "$run.partial/checkpoint.safetensors" ] && more=(--resume)
export WORKSHOP_DEVICE=cuda
srun .venv/bin/python exercise-2-pytorch-cu12/solution/train.py --output="$run" ${more[@]+"${more[@]}"}
code=$?
[ $code -ne 85 ] || scontrol requeue "$SLURM_JOB_ID"
exit $code
"""
ARRAY = """#!/bin/bash
#SBATCH --array=3,5-9:2%2
#SBATCH --gres=gpu:1 --mem=4G --time=30
seeds=(x x x 11 x 13 x 17 x 19)
exec podman run --rm --device nvidia.com/gpu=all -v "$PWD:/work" -w /work train python exercise-2-pytorch-cu12/solution/train.py \\
  --device cuda --seed "${seeds[$SLURM_ARRAY_TASK_ID]}" --output "results/run-$SLURM_ARRAY_TASK_ID"
"""
SUBMIT = """
universe = vanilla
+SingularityImage = "unused"
container_image = docker://example.org/train@sha256:0123
executable = train.sh
environment = "TRAIN_IN=python PYTHON=python RUN=out/run-$(ProcId) SEED=$(number)"
request_gpus = 1
require_gpus = Capability >= 8.0 && GlobalMemoryMb >= 20000
request_memory = 4000
request_disk = 20000000
should_transfer_files = yes
transfer_input_files = ./common, \\
    exercise-2-pytorch-cu12
transfer_output_files = out
when_to_transfer_output = on_exit_or_evict
checkpoint_exit_code = 85
on_exit_hold = !ExitBySignal && (ExitCode =!= 0)
arguments = --flag $(number)
Log = $(Cluster).log
queue number in (
  1
  2
)
"""

ALTERNATIVES = {
    "one file with short options": {"train.sbatch": ONE_FILE},
    "a job step, which Slurm tells itself": {"train.sbatch": JOB_STEP},
    "an array with podman and a table of seeds": {"array.sbatch": ARRAY},
    "another submit file": {"train.sub": SUBMIT},
    "singularity": {"train.sh": ("(apptainer exec", "(singularity exec")},
    "packed": {"train.sh": ("TRAIN_IN:-image", "TRAIN_IN:-packed")},
    "an interpreter": {"train.sh": ("TRAIN_IN:-image", "TRAIN_IN:-python")},
}


# Each rehearses every job, which takes a second.
SLOW = ("one file with short options", "packed", "an interpreter")


@needs_bash
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in ALTERNATIVES]
)
def test_other_correct_job_files_pass(learner, tmp_path, name):
    for file, change in ALTERNATIVES[name].items():
        if isinstance(change, tuple):
            learner(file, *change)
        else:
            (learner.folder / file).write_text(change)
    if name == "one file with short options":  # the array is the solution's, which needs the solution's train.sbatch
        shutil.copy(FOLDER / "solution" / "train.sbatch", learner.folder / "whole.sbatch")
        learner("array.sbatch", "solution/train.sbatch", "solution/whole.sbatch")
    if name == "a job step, which Slurm tells itself":
        shutil.copy(FOLDER / "solution" / "train.sbatch", learner.folder / "whole.sbatch")
        learner("array.sbatch", "solution/train.sbatch", "solution/whole.sbatch")
    workspace = checks.Workspace(learner.folder, tmp_path / "scratch")
    results = {check.number: answer for check, answer in checks.run_checks(Jobs.checks, workspace)}
    assert {answer.status for answer in results.values()} == {"ok"}, results


def test_options_are_read_as_sbatch_reads_them(tmp_path):
    path = tmp_path / "job.sbatch"
    path.write_text(
        "#!/bin/sh\n# a comment\n\n#SBATCH --partit=gpu --comment='two words' -N2-4 -p debug # the last one counts\n"
        "##SBATCH --nodes=9\n#SBATCH --exclusive --nice=5\n#SBATCH -c 3\necho\n"
    )
    assert batch_files.read_batch(path).options == {
        "partition": "debug",
        "comment": "two words",
        "nodes": "2-4",
        "exclusive": "",
        "nice": "5",
        "cpus-per-task": "3",
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--tiem=3", "--time"),
        ("--mem", "a value for --mem"),
        ("--mail=me", "short for several options"),
        ("--hold=yes", "--hold without a value"),
        ("time=3", "--time"),
        ("--comment='open", "every quote closed"),
        ("hetjob", "one job"),
    ],
)
def test_options_that_sbatch_would_refuse(tmp_path, line, message):
    path = tmp_path / "job.sbatch"
    path.write_text(f"#!/bin/sh\n#SBATCH {line}\n")
    with pytest.raises(WorkshopError) as caught:
        batch_files.read_batch(path)
    assert "line 2" in caught.value.looked_at and message in str(caught.value)


def test_files_that_are_not_job_files(tmp_path):
    for name, read in (("train.sbatch", batch_files.read_batch), ("train.sub", batch_files.read_submit)):
        with pytest.raises(WorkshopError, match="no such file"):
            read(tmp_path / name)
        (tmp_path / name).write_bytes(b"\xff\xfe")
        with pytest.raises(WorkshopError, match="decode"):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("30", 30), ("30:30", 30.5), ("1:30:00", 90), ("2-0", 2880), ("1-1:30", 1530), ("0-0:1:30", 1.5), ("soon", None)],
)
def test_slurm_time_formats(limit, minutes):
    assert batch_files.time_in_minutes(limit) == minutes
