"""`workshop slurm-train` and `workshop htcondor-train`: submit exercise 5's jobs on the login node of a cluster.

They first check what would otherwise fail after hours in the queue: the commands, the files and the folder of the run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from workshop import shell
from workshop.errors import WorkshopError
from workshop.exercises import root_folder
from workshop.jobs import batch_files

EXERCISE = "exercise-5-container"
# Matches the messages of Slurm's commands when they cannot reach a controller.
NO_CONTROLLER = re.compile(r"Unknown host|resolve_ctls|Unable to contact|Connection refused|establish a configuration")
RUNS = "results/exercise-2-pytorch-cu12"
# For each kind of environment: the variable that names its file (train.sh uses it), the default, and the command that
# creates it.
ENVIRONMENTS = {
    "image": (
        "IMAGE",
        "train-cuda12.sif",
        f"apptainer build --build-arg ENVIRONMENT=cuda12 train-cuda12.sif {EXERCISE}/solution/apptainer.def",
    ),
    "packed": ("PACKED", "environment.tar", "pixi exec pixi-pack --environment cuda12 --platform linux-64 pixi.toml"),
    "python": ("PYTHON", ".venv/bin/python", 'python3 -m venv .venv && .venv/bin/pip install -e ".[cpu]"'),
}


def slurm_train(
    environment: str,
    version: str,
    seeds: bool,
    run: str | None,
    sbatch_options: list[str],
    as_json: bool,
    **training_options: object,
) -> int:
    """Submit train.sbatch or array.sbatch, after `sbatch --test-only`; return the exit code.

    seeds: submit array.sbatch, with one task for each seed. run: the folder of the run; each task of an array appends
    -seedN. training_options: data, seed, epochs and device of the training; None keeps the script's default.
    Raises WorkshopError if the job cannot be submitted or the run's folder is not empty.
    """
    if seeds and training_options["seed"] is not None:
        raise WorkshopError(
            looked_at="--seeds --seed",
            expected="one of the two",
            found="both",
            next_step=f"workshop slurm-train --seed {training_options['seed']}",
        )
    root = root_folder()
    path = root / EXERCISE / version / ("array.sbatch" if seeds else "train.sbatch")
    batch = batch_files.read_batch(path)
    command = _command_path("sbatch")
    options = batch.options | batch_files.parse_options(shlex.join(sbatch_options), "the options for sbatch")
    tasks = batch_files.array_indices(options.get("array", ""))
    variables = {name.upper(): str(value) for name, value in training_options.items() if value is not None}
    variables |= {"TRAIN_IN": environment, **_environment(root, environment)}
    runs = []
    if run is not None:
        variables["RUN"] = str(_new_run_folder(run))
        runs = [str(_new_run_folder(f"{run}-seed{task}")) for task in tasks] if seeds else [variables["RUN"]]
    command_line = [command, *sbatch_options, shell.relative(path) if root == Path.cwd() else str(path)]
    trial = _trial_submission(command_line, root, variables)
    if "test-only" in options:
        print(trial)
        return 0
    process = _run([*command_line[:1], "--parsable", *command_line[1:]], root, variables)
    if process.returncode:
        raise WorkshopError(
            looked_at=shlex.join(command_line), expected="a job in the queue", found=_reason(process), next_step="sinfo"
        )
    job = process.stdout.strip().split(";")[0]
    pattern = re.sub("%[jA]", job, options.get("output", "slurm-%j.out"))
    logs = [root / re.sub("%a", str(task), pattern) for task in tasks or [0]]
    if as_json:
        print(json.dumps({"job": job, "logs": [str(log) for log in logs], "runs": runs or None}))
    else:
        listed = ", ".join(shell.relative(log) for log in logs)
        print(f"job {job}\nlog: {listed}\nstate: squeue -j {job}\ncancel: scancel {job}")
    return 0


def _trial_submission(line: list[str], root: Path, variables: dict[str, str]) -> str:
    """The output of `sbatch --test-only`, which submits nothing. Raises WorkshopError if the job cannot run here."""
    process = _run([*line[:1], "--test-only", *line[1:]], root, variables)
    if process.returncode and NO_CONTROLLER.search(process.stderr):
        raise WorkshopError(
            looked_at="sbatch --test-only",
            expected="an answer from Slurm's controller, as on the login node of a cluster",
            found=_reason(process),
            next_step=f"on another machine, train without Slurm: {_local_command()}",
        )
    if process.returncode:
        raise WorkshopError(
            looked_at=f"sbatch --test-only {shlex.join(line[1:])}",
            expected="a job that this cluster can run",
            found=_reason(process),
            next_step="sinfo -o '%P %l %c %m %G' lists the nodes; request less, as in: workshop slurm-train --gres=none",
        )
    return process.stderr.strip()


def htcondor_train(version: str, seed: int | None, run: str | None, condor_options: list[str]) -> int:
    """Submit train.sub; return the exit code.

    Raises WorkshopError if the job cannot be submitted or the run's folder is not empty.
    """
    root = root_folder()
    path = root / EXERCISE / version / "train.sub"
    submit = batch_files.read_submit(path)
    command = _command_path("condor_submit")
    image = submit.keys.get("container_image", "")
    if image and "://" not in image and not (root / image).exists():
        raise WorkshopError(
            looked_at=root / image,
            expected="the image in which the job trains",
            found="no such file",
            next_step=ENVIRONMENTS["image"][2],
        )
    names = [f"seed={seed}"] if seed is not None else []
    if run is not None:
        run_folder = _new_run_folder(run)
        if not run_folder.is_relative_to(root):
            raise WorkshopError(
                looked_at="--run",
                expected="a folder inside the clone, to which HTCondor transfers the results",
                found=str(run_folder),
                next_step=f"--run {RUNS}/{run_folder.name}",
            )
        names.append(f"run={run_folder.relative_to(root).as_posix()}")
    process = _run([command, *names, *condor_options, str(path.relative_to(root))], root, {})
    if process.returncode:
        raise WorkshopError(
            looked_at=f"condor_submit {path.name}",
            expected="a job in the queue",
            found=_reason(process),
            next_step="condor_status",
        )
    print(process.stdout.strip())
    print("state: condor_q\nwhy it waits: condor_q -better-analyze\ncancel: condor_rm NUMBER")
    return 0


def _command_path(name: str) -> str:
    if command := shutil.which(name):
        return command
    system = "Slurm" if name == "sbatch" else "HTCondor"
    raise WorkshopError(
        looked_at=f"{name} in the folders of PATH",
        expected=f"the command of {system}, as on the login node of a cluster",
        found="no such command",
        next_step=f"on another machine, train without {system}: {_local_command()}",
    )


def _local_command() -> str:
    """The command for the same training without a batch system."""
    return shell.script(root_folder() / "exercise-2-pytorch-cu12" / "solution" / "train.py")


def _environment(root: Path, environment: str) -> dict[str, str]:
    """The variable that names the environment's file. Raises WorkshopError if the file is missing."""
    variable, default, advice = ENVIRONMENTS[environment]
    value = os.environ.get(variable, default)
    exists = shutil.which(value) if variable == "PYTHON" and "/" not in value else (root / value).exists()
    if not exists:
        raise WorkshopError(
            looked_at=f"{variable}={value}, in which the job would train",
            expected="that file",
            found="no such file",
            next_step=f"{advice}  # or set {variable}",
        )
    return {variable: value}


def _new_run_folder(run: str) -> Path:
    """The absolute path of the run's folder. Raises WorkshopError if it is a file or not empty."""
    folder = Path(os.path.abspath(os.path.expanduser(run)))
    if folder.is_dir() and any(folder.iterdir()):
        problem = "a finished run" if (folder / "run.json").exists() else "a folder with other files in it"
        raise WorkshopError(
            looked_at=folder,
            expected="a new folder for the run of the job",
            found=problem,
            next_step="name another place with --run",
        )
    if folder.exists() and not folder.is_dir():
        raise WorkshopError(
            looked_at=folder,
            expected="a new folder for the run of the job",
            found="a file",
            next_step="name another place with --run",
        )
    return folder


def _run(line: list[str], root: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, cwd=root, env=os.environ | variables, capture_output=True, text=True, errors="replace")


def _reason(process: subprocess.CompletedProcess[str]) -> str:
    """Why a command failed: the first line of stderr that is not empty."""
    lines = [line.strip() for line in process.stderr.splitlines() if line.strip() and not line.startswith('Try "')]
    return lines[0] if lines else f"exit code {process.returncode}, and no message"
