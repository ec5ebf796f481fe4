"""A learner's jobs: the contents of their files, and the rehearsals of their scripts.

A rehearsal starts bash, so each one runs only when a rule needs it, and only once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from workshop.errors import WorkshopError
from workshop.exercises import root_folder
from workshop.jobs import batch_files, rehearsal
from workshop.jobs.rehearsal import Rehearsal

CHECKPOINT = "checkpoint.safetensors"
# The variables that Slurm sets for a job.
SLURM = {
    "SLURM_JOB_ID": "12",
    "SLURM_JOBID": "12",
    "SLURM_CPUS_PER_TASK": "2",
    "SLURM_NTASKS": "1",
    "SLURMD_NODENAME": "n1",
    "SLURM_JOB_NAME": "rehearsal",
    "SLURM_NNODES": "1",
}


@dataclass(frozen=True)
class Job:
    """folder: contains the job files. scratch: a folder for rehearsals, which several jobs may share."""

    folder: Path
    scratch: Path

    @cached_property
    def stage(self) -> Path:
        """A clone that contains the learner's files as both `starter` and `solution`."""
        stage = self.scratch / "stage"
        if not stage.exists():
            for path in sorted(self.folder.glob("*.sh")):
                batch_files.read_text(path, "a script for bash")
            self.scratch.mkdir(parents=True, exist_ok=True)
            exercise_2 = self.folder.parent.parent / "exercise-2-pytorch-cu12"
            folders = {f"exercise-5-container/{name}": self.folder for name in ("starter", "solution")}
            folders["exercise-2-pytorch-cu12"] = exercise_2 if exercise_2.is_dir() else root_folder() / exercise_2.name
            rehearsal.make_stage(self.scratch, folders)
        return stage

    def rehearse(
        self,
        script: str,
        outcome: str,
        variables: Mapping[str, str],
        interrupted: str = "",
        checkpoint: bool = True,
        **settings: Any,
    ) -> Rehearsal:
        """Rehearse a script in the folder.

        interrupted: the folder of a run that was stopped, after its first checkpoint or (checkpoint=False) before that.
        settings: further arguments of `rehearsal.rehearse`.
        """
        if interrupted:
            partial = self.stage / "clone" / f"{interrupted}.partial"
            if not partial.resolve().is_relative_to(self.stage.resolve()):
                raise WorkshopError(
                    looked_at=f"{script}, rehearsed",
                    expected="--output with a folder inside the clone",
                    found=interrupted,
                    next_step=f"--output results/exercise-2-pytorch-cu12/{partial.stem}",
                )
            partial.mkdir(parents=True, exist_ok=True)
            if checkpoint:
                (partial / CHECKPOINT).touch()
        return rehearsal.rehearse(self.stage, self.folder / script, outcome, dict(variables), **settings)


@dataclass(frozen=True)
class BatchJob(Job):
    """train.sbatch."""

    script: ClassVar[str] = "train.sbatch"

    @cached_property
    def options(self) -> dict[str, str]:
        """The #SBATCH options by long name. Raises WorkshopError as `read_batch` does."""
        return batch_files.read_batch(self.folder / self.script).options

    @property
    def gpu(self) -> str:
        """The GPUs that the job requests; empty if it requests none."""
        names = ("gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket")
        gpus = " ".join(self.options.get(name, "") for name in names).strip()
        tres = " ".join(self.options.get(name, "") for name in ("gres", "tres-per-task")).strip()
        return gpus or (tres if re.search(r"(?:^|[,/ ]|gres:)gpu(?![a-z])", tres) else "")

    @property
    def gpus_on_node(self) -> str:
        """The number of GPUs that the job requests for each node; empty if only their sum is known."""
        per_node = {"gres", "gpus-per-node"} & set(self.options) and "gpus" not in self.options
        number = re.search(r"[:=]?(\d+)$", self.gpu)
        return (number[1] if number else "1") if per_node else ""

    @property
    def memory(self) -> str | None:
        names = ("mem", "mem-per-cpu", "mem-per-gpu")
        return next((self.options[name] for name in names if name in self.options), None)

    @property
    def signal(self) -> str:
        """The value of --signal, as in B:USR1@120."""
        return self.options.get("signal", "")

    @property
    def signal_name(self) -> str:
        return self.signal.rpartition(":")[2].partition("@")[0]

    @property
    def signals_step(self) -> bool:
        """Whether Slurm sends the signal to the job steps instead of the batch script."""
        return "B" not in self.signal.rpartition(":")[0].upper()

    @cached_property
    def successful(self) -> Rehearsal:
        return self.rehearse(self.script, "success", SLURM)

    @cached_property
    def failed(self) -> Rehearsal:
        """Its training stops with a message and exit code 1."""
        return self.rehearse(self.script, "failure", SLURM)

    @cached_property
    def signalled(self) -> Rehearsal:
        """The signal of --signal arrives; the training saves an epoch and ends with exit code 85."""
        return self._signalled("stopped")

    @cached_property
    def signalled_and_failed(self) -> Rehearsal:
        """The signal of --signal arrives; the training stops with a message and exit code 1."""
        return self._signalled("stopped-failure")

    def _signalled(self, outcome: str) -> Rehearsal:
        number = str(rehearsal.signal_number(self.signal_name))
        return self.rehearse(self.script, outcome, SLURM, signal=number, signal_training=self.signals_step)

    @cached_property
    def cancelled(self) -> Rehearsal:
        """SIGTERM arrives, as from scancel."""
        return self.rehearse(self.script, "stopped", SLURM, signal="TERM")

    @property
    def run(self) -> str:
        """The folder of the run, as --output names it."""
        return self.signalled.value("--output") or ""

    @cached_property
    def restarted_without_checkpoint(self) -> Rehearsal:
        return self._restarted(checkpoint=False)

    @cached_property
    def restarted(self) -> Rehearsal:
        """The job starts again, and its run has a checkpoint."""
        return self._restarted(checkpoint=True)

    def _restarted(self, checkpoint: bool) -> Rehearsal:
        variables = SLURM | {"SLURM_RESTART_COUNT": "1"}
        return self.rehearse(self.script, "success", variables, interrupted=self.run, checkpoint=checkpoint)


@dataclass(frozen=True)
class ArrayJob(Job):
    """array.sbatch."""

    rehearsals: dict[int, Rehearsal] = field(default_factory=dict)
    script: ClassVar[str] = "array.sbatch"
    most_rehearsed: ClassVar[int] = 10

    @cached_property
    def options(self) -> dict[str, str]:
        """The #SBATCH options by long name. Raises WorkshopError as `read_batch` does."""
        return batch_files.read_batch(self.folder / self.script).options

    @property
    def tasks(self) -> list[int]:
        return batch_files.array_indices(self.options.get("array", ""))

    @property
    def rehearsed_tasks(self) -> list[int]:
        return self.tasks[: self.most_rehearsed]

    def task(self, index: int) -> Rehearsal:
        """The rehearsal of one task."""
        if index not in self.rehearsals:
            tasks = self.tasks
            variables = SLURM | {
                "SLURM_JOB_ID": str(12 + tasks.index(index)),
                "SLURM_ARRAY_JOB_ID": "12",
                "SLURM_ARRAY_TASK_ID": str(index),
                "SLURM_ARRAY_TASK_COUNT": str(len(tasks)),
                "SLURM_ARRAY_TASK_MIN": str(tasks[0]),
                "SLURM_ARRAY_TASK_MAX": str(tasks[-1]),
            }
            self.rehearsals[index] = self.rehearse(self.script, "success", variables)
        return self.rehearsals[index]


@dataclass(frozen=True)
class MultiJob(BatchJob):
    """multi.sbatch, on two nodes with a GPU each."""

    script: ClassVar[str] = "multi.sbatch"

    def _on_two_nodes(self, outcome: str) -> Rehearsal:
        nodes = {
            "SLURM_NNODES": "2",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_NTASKS": "2",
            "SLURM_GPUS_ON_NODE": self.gpus_on_node or "1",
        }
        names = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NODELIST": "n[1-2]"}
        return self.rehearse(self.script, outcome, SLURM | nodes | names)

    @cached_property
    def successful(self) -> Rehearsal:
        return self._on_two_nodes("success")

    @cached_property
    def failed(self) -> Rehearsal:
        return self._on_two_nodes("failure")


@dataclass(frozen=True)
class CondorJob(Job):
    """train.sub."""

    file: ClassVar[str] = "train.sub"

    @cached_property
    def submit(self) -> batch_files.SubmitFile:
        """Raises WorkshopError as `read_submit` does."""
        return batch_files.read_submit(self.folder / self.file)

    @property
    def keys(self) -> dict[str, str]:
        return self.submit.keys

    def entries(self, key: str) -> list[str]:
        """The entries of a key whose value is a list."""
        return [part.strip().removeprefix("./") for part in self.keys.get(key, "").split(",") if part.strip()]

    @property
    def executable(self) -> str:
        return self.keys.get("executable", "")

    @property
    def script(self) -> str:
        return self.executable.rsplit("/", 1)[-1]

    def _rehearsed(self, outcome: str, macros: Mapping[str, str] | None = None, **settings: Any) -> Rehearsal:
        """macros: further values by name, such as that of $(seed)."""
        variables = batch_files.environment_variables(self.submit)
        variables |= {"_CONDOR_SCRATCH_DIR": str(self.stage), "_CONDOR_SLOT": "slot1"}
        variables = {name: _filled(value, macros or {}) for name, value in variables.items()}
        words = _filled(self.keys.get("arguments", "").strip('"'), macros or {}).split()
        return self.rehearse(self.script, outcome, variables, arguments=words, **settings)

    @cached_property
    def evicted(self) -> Rehearsal:
        """SIGTERM arrives; the training saves an epoch and ends with exit code 85."""
        return self._rehearsed("stopped", signal="TERM")

    @property
    def run(self) -> str:
        """The folder of the run, as --output names it."""
        return self.evicted.value("--output") or ""

    @cached_property
    def restarted(self) -> Rehearsal:
        """The job starts again, and its run has a checkpoint."""
        return self._rehearsed("success", interrupted=self.run)

    @cached_property
    def failed(self) -> Rehearsal:
        """Its training stops with a message and exit code 1."""
        return self._rehearsed("failure")


@dataclass(frozen=True)
class SeedsJob(CondorJob):
    """seeds.sub, from which `queue` makes several jobs."""

    rehearsals: dict[int, Rehearsal] = field(default_factory=dict)
    file: ClassVar[str] = "seeds.sub"
    most_rehearsed: ClassVar[int] = 4

    @cached_property
    def jobs(self) -> list[dict[str, str]] | None:
        """The macros of each job, such as $(seed); None if `queue` takes them from somewhere else."""
        return batch_files.queued_jobs(self.submit.queue)

    def text_of(self, key: str, number: int) -> str:
        """The value of a key for one of the jobs."""
        return _filled(self.keys.get(key, ""), (self.jobs or [])[number])

    def job(self, number: int) -> Rehearsal:
        """The rehearsal of one of the jobs."""
        if number not in self.rehearsals:
            self.rehearsals[number] = self._rehearsed("success", (self.jobs or [])[number])
        return self.rehearsals[number]


def _filled(text: str, macros: Mapping[str, str]) -> str:
    """Replace $(ClusterId), $(ProcId) and the macros by their values, as HTCondor does; capitals do not matter."""
    values = {"clusterid": "12", "cluster": "12", "procid": "0", "process": "0"}
    values |= {name.lower(): value for name, value in macros.items()}
    return re.sub(r"\$\((\w+)(?::[^)]*)?\)", lambda match: values.get(match[1].lower(), match[0]), text)
