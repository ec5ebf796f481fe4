"""Rules for Slurm batch scripts, in order. Each rule relies on those above it, so a check stops at the first problem.

Each check has a table of rules that read the file and a table of rules that rehearse the script.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from workshop.jobs import batch_files, rehearsal
from workshop.jobs.job import CHECKPOINT, ArrayJob, BatchJob
from workshop.jobs.rehearsal import Rehearsal
from workshop.jobs.training_rules import training_problems
from workshop.support.rules import ERROR, Problem, Rule

MIN_MEMORY = 512  # MiB; the training needs about 400 on a CPU and 1,500 with CUDA
MIN_MINUTES = 2  # importing PyTorch and the first epoch take longer than one
MIN_NOTICE = 10  # seconds before the end of the job
OPTIONS = "the #SBATCH lines of train.sbatch"
SIGNAL = "#SBATCH --signal=B:USR1@120"

# ---------------------------------------------------------------- 5.10: what the job requests


def _gpu(job: BatchJob) -> Iterator[Problem]:
    if not job.gpu or job.gpu.split(":")[-1].split("=")[-1] == "0":
        other = f"--gres={job.options['gres']}, which is not a GPU" if "gres" in job.options else "none requested"
        yield Problem(looked_at=OPTIONS, expected="a GPU", found=job.gpu or other, next_step="#SBATCH --gres=gpu:1")


def _time_limit(job: BatchJob) -> Iterator[Problem]:
    limit = job.options.get("time", "none, so the site's default applies, which may be minutes or days")
    minutes = batch_files.time_in_minutes(limit)
    if not minutes:
        yield Problem(
            looked_at=OPTIONS,
            expected="a time limit",
            found=f"{limit}: no limit" if minutes == 0 else limit,
            next_step="#SBATCH --time=00:30:00",
        )
    elif minutes < MIN_MINUTES:
        yield Problem(
            looked_at=OPTIONS,
            expected="a time limit in which the training can finish an epoch",
            found=f"--time={limit}, which is {minutes * 60:g} seconds: two numbers are minutes and seconds",
            next_step="#SBATCH --time=00:30:00",
        )


def _memory(job: BatchJob) -> Iterator[Problem]:
    if job.memory is None:
        yield Problem(looked_at=OPTIONS, expected="memory", found="none requested", next_step="#SBATCH --mem=4G")
        return
    size = batch_files.memory_in_mib(job.memory)
    if size is None or 0 < size < MIN_MEMORY:  # 0 is all of a machine
        problem = f"{job.memory}: {size:g} MiB, too little to import PyTorch" if size else job.memory
        yield Problem(
            looked_at=OPTIONS, expected="a size with its unit, as in 4G", found=problem, next_step="#SBATCH --mem=4G"
        )


def _one_task(job: BatchJob) -> Iterator[Problem]:
    names = [name for name in ("ntasks", "ntasks-per-node") if name in job.options]
    if any(job.options[name] != "1" for name in names):
        yield Problem(
            looked_at=OPTIONS,
            expected="one task: the training is one process",
            found=f"--{names[0]}={job.options[names[0]]}",
            next_step="#SBATCH --ntasks=1",
        )


def _training(job: BatchJob) -> Iterator[Problem]:
    return training_problems(job.successful, job.folder, job.script)


def _own_folder(job: BatchJob) -> Iterator[Problem]:
    if not job.successful.value("--output"):
        yield Problem(
            looked_at="train.sbatch, rehearsed",
            expected="a separate folder for each job's run",
            found="no --output",
            next_step="--output results/exercise-2-pytorch-cu12/slurm-$SLURM_JOB_ID",
        )


def _succeeds(job: BatchJob) -> Iterator[Problem]:
    if job.successful.code != 0:
        yield Problem(
            looked_at="train.sbatch, rehearsed with a training that succeeds",
            expected="exit code 0",
            found=job.successful.failure_reason(),
            next_step="end the script with the exit code of the training",
        )


def _fails(job: BatchJob) -> Iterator[Problem]:
    if not job.failed.code:
        yield Problem(
            looked_at="train.sbatch, rehearsed with a training that fails with exit code 1",
            expected="an exit code other than 0",
            found=f"exit code {job.failed.code}, so Slurm would report the job as completed",
            next_step="wait for the training and exit with its code: code=0; wait $training || code=$?; exit $code",
        )


REQUEST_RULES = (
    Rule("gpu", ERROR, _gpu),
    Rule("time-limit", ERROR, _time_limit),
    Rule("memory", ERROR, _memory),
    Rule("one-task", ERROR, _one_task),
)
TRAINING_RULES = (
    Rule("training", ERROR, _training),
    Rule("own-folder", ERROR, _own_folder),
    Rule("success", ERROR, _succeeds),
    Rule("failure", ERROR, _fails),
)

# ---------------------------------------------------------------- 5.11: what the job does at its time limit


def _signal(job: BatchJob) -> Iterator[Problem]:
    if not job.signal:
        yield Problem(
            looked_at=OPTIONS,
            expected="a signal before the time limit",
            found="no --signal, so Slurm kills the job at the limit without a warning",
            next_step=SIGNAL,
        )


def _reserved_signal(job: BatchJob) -> Iterator[Problem]:
    if rehearsal.signal_number(job.signal_name) == rehearsal.signal_number("TERM"):
        yield Problem(
            looked_at=OPTIONS,
            expected="a signal that has no other meaning",
            found=f"--signal={job.signal}, which scancel also sends, so a cancelled job would return to the queue",
            next_step=SIGNAL,
        )


def _signal_time(job: BatchJob) -> Iterator[Problem]:
    _, has_time, seconds = job.signal.rpartition(":")[2].partition("@")
    limit = batch_files.time_in_minutes(job.options.get("time", ""))
    if has_time and (not re.fullmatch(r"\d{1,9}", seconds) or int(seconds) < MIN_NOTICE):
        yield Problem(
            looked_at=OPTIONS,
            expected="a signal early enough to finish an epoch: a minute or two before the limit",
            found=f"--signal={job.signal}",
            next_step=SIGNAL,
        )
    elif limit and int(seconds or 60) >= limit * 60:
        yield Problem(
            looked_at=OPTIONS,
            expected="a signal shortly before the time limit",
            found=f"--signal={job.signal} with --time={job.options['time']}: the signal arrives at the start",
            next_step="increase --time, or use fewer seconds in --signal",
        )


def _requeue_option(job: BatchJob) -> Iterator[Problem]:
    if "requeue" not in job.options or "no-requeue" in job.options:
        yield Problem(
            looked_at=OPTIONS,
            expected="--requeue, since some sites do not requeue jobs by default",
            found="no --requeue",
            next_step="#SBATCH --requeue",
        )


def _log_appended(job: BatchJob) -> Iterator[Problem]:
    if job.options.get("open-mode") not in ("append", "a"):
        yield Problem(
            looked_at=OPTIONS,
            expected="--open-mode=append",
            found="no such option, so a restarted job may overwrite its log",
            next_step="#SBATCH --open-mode=append",
        )


def _signal_rehearsal(job: BatchJob) -> str:
    target = "job step" if job.signals_step else "batch script"
    return f"train.sbatch, rehearsed: {job.signal_name} to the {target}"


def _job_step(job: BatchJob) -> Iterator[Problem]:
    if job.signals_step and not any(call["name"] == "srun" for call in job.signalled.calls):
        yield Problem(
            looked_at=_signal_rehearsal(job),
            expected="a job step (srun), since --signal without B: signals only job steps",
            found="no srun",
            next_step="use #SBATCH --signal=B:USR1@120 and a trap, or start the training with srun",
        )


def _passes_signal_on(job: BatchJob) -> Iterator[Problem]:
    if not job.signalled.received_signal():
        yield Problem(
            looked_at=_signal_rehearsal(job),
            expected="the training receives SIGUSR1 or SIGTERM",
            found=job.signalled.failure_reason(),
            next_step="training & trap 'kill $!' USR1; wait: bash cannot react to a signal while a command runs in the "
            "foreground",
        )


def _waits_again(job: BatchJob) -> Iterator[Problem]:
    code = job.signalled.code
    if code is None:
        yield Problem(
            looked_at=_signal_rehearsal(job),
            expected="a script that ends when the training has ended",
            found=job.signalled.failure_reason(),
            next_step="wait for the training again after the signal",
        )
    elif not job.signalled.requeued() and code > 128:
        yield Problem(
            looked_at=_signal_rehearsal(job),
            expected="a script that waits until the training has ended",
            found=f"exit code {code}, which is 128 plus the signal's number {code - 128}: the signal interrupted `wait`, and "
            "the script ended before the training",
            next_step="wait again: while kill -0 $training 2>/dev/null; do code=0; wait $training || code=$?; done",
        )


def _requeues(job: BatchJob) -> Iterator[Problem]:
    if not job.signalled.requeued():
        yield Problem(
            looked_at=_signal_rehearsal(job),
            expected="scontrol requeue with the number of the job, after the training ended with exit code 85",
            found="scontrol requeue without a number"
            if job.signalled.called("scontrol", "requeue")
            else f"exit code {job.signalled.code}",
            next_step="scontrol requeue $SLURM_JOB_ID if the training's exit code is 85",
        )


def _stays_cancelled(job: BatchJob) -> Iterator[Problem]:
    if job.cancelled.requeued():
        yield Problem(
            looked_at="train.sbatch, rehearsed: SIGTERM, as from scancel",
            expected="no requeue: otherwise nobody could cancel this job",
            found="scontrol requeue",
            next_step="requeue only after USR1: trap 'signal_received=yes; kill $training' USR1",
        )


def _requeues_forever(job: BatchJob) -> Iterator[Problem]:
    yield from _no_requeue(job.failed, "stops with a message")
    yield from _no_requeue(job.successful, "succeeds")
    yield from _no_requeue(job.signalled_and_failed, "receives the signal and stops with a message")


def _no_requeue(rehearsed: Rehearsal, outcome: str) -> Iterator[Problem]:
    if rehearsed.requeued():
        yield Problem(
            looked_at=f"train.sbatch, rehearsed with a training that {outcome}",
            expected="no requeue, with which the job would restart for ever",
            found="scontrol requeue",
            next_step="requeue only if the training's exit code is 85",
        )


def _resumes_without_checkpoint(job: BatchJob) -> Iterator[Problem]:
    if job.signalled.resumes():
        yield Problem(
            looked_at="train.sbatch, rehearsed as a new job",
            expected="no --resume without a checkpoint",
            found="--resume, with which the training would refuse to start",
            next_step=f"use --resume only if {job.run}.partial/{CHECKPOINT} exists",
        )
    elif job.restarted_without_checkpoint.resumes():
        yield Problem(
            looked_at=f"train.sbatch, rehearsed with {job.run}.partial present but without a checkpoint",
            expected="no --resume without a checkpoint",
            found="--resume, with which the training would refuse to start",
            next_step=f"use --resume only if {job.run}.partial/{CHECKPOINT} exists",
        )


def _advice_to_resume(job: BatchJob) -> str:
    """What to change if a restarted job does not continue: less if its scripts contain the option already."""
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(job.folder.glob("*.s[hb]*"))]
    if any("--resume" in line.partition("#")[0] for text in texts for line in text.splitlines()):
        return f"bash -x {job.script} shows why the training does not get the --resume that the script contains"
    return f"pass --resume to the training if $RUN.partial/{CHECKPOINT} exists"


def _resumes(job: BatchJob) -> Iterator[Problem]:
    restarted = job.restarted
    if not restarted.resumes() or restarted.value("--output") != job.run:
        yield Problem(
            looked_at=f"train.sbatch, rehearsed with {job.run}.partial/{CHECKPOINT} present",
            expected="a training that continues with --resume",
            found=f"--output {restarted.value('--output')}, no --resume"
            if restarted.training()
            else restarted.failure_reason(),
            next_step=_advice_to_resume(job),
        )


SIGNAL_RULES = (
    Rule("signal", ERROR, _signal),
    Rule("own-signal", ERROR, _reserved_signal),
    Rule("signal-time", ERROR, _signal_time),
    Rule("requeue-option", ERROR, _requeue_option),
    Rule("log-kept", ERROR, _log_appended),
)
END_RULES = (
    Rule("job-step", ERROR, _job_step),
    Rule("signal-passed-on", ERROR, _passes_signal_on),
    Rule("waits-again", ERROR, _waits_again),
    Rule("requeue", ERROR, _requeues),
    Rule("stays-cancelled", ERROR, _stays_cancelled),
    Rule("requeue-without-end", ERROR, _requeues_forever),
    Rule("resume-without-checkpoint", ERROR, _resumes_without_checkpoint),
    Rule("resume", ERROR, _resumes),
)

# ---------------------------------------------------------------- 5.12: an array with a task for each seed


def _several_tasks(job: ArrayJob) -> Iterator[Problem]:
    array = job.options.get("array", "")
    if len(job.tasks) < 2:
        yield Problem(
            looked_at="the #SBATCH lines of array.sbatch",
            expected=f"an array of at least two tasks, and at most {batch_files.MOST_TASKS:,}",
            found=f"--array={array}" if array else "no --array",
            next_step="#SBATCH --array=0-3",
        )


def _own_log(job: ArrayJob) -> Iterator[Problem]:
    log = job.options.get("output", "slurm-%A_%a.out")
    if "%a" not in log and "%j" not in log:
        yield Problem(
            looked_at="the #SBATCH lines of array.sbatch",
            expected="a separate log for each task",
            found=f"--output={log}",
            next_step="#SBATCH --output=slurm-%A-seed%a.log",
        )


def _tasks_train(job: ArrayJob) -> Iterator[Problem]:
    for index in job.rehearsed_tasks:
        yield from training_problems(job.task(index), job.folder, job.script)


def _own_seed(job: ArrayJob) -> Iterator[Problem]:
    return _distinct_values(job, "--seed", "seed")


def _own_run(job: ArrayJob) -> Iterator[Problem]:
    return _distinct_values(job, "--output", "folder")


def _distinct_values(job: ArrayJob, option: str, description: str) -> Iterator[Problem]:
    """A problem for each task without the option, or with the same value as another task."""
    seen: dict[str | None, int] = {}
    for index in job.rehearsed_tasks:
        value = job.task(index).value(option)
        if value is None or value in seen:
            shared = f"{option} {value} in tasks {seen.get(value, index)} and {index}"
            yield Problem(
                looked_at=f"{len(job.rehearsed_tasks)} tasks of array.sbatch, rehearsed",
                expected=f"a separate {description} for each task",
                found=shared if value else f"no {option}",
                next_step=f"use $SLURM_ARRAY_TASK_ID in {option}",
            )
        seen[value] = index


ARRAY_RULES = (Rule("array", ERROR, _several_tasks), Rule("own-log", ERROR, _own_log))
TASK_RULES = (
    Rule("task-training", ERROR, _tasks_train),
    Rule("own-seed", ERROR, _own_seed),
    Rule("own-run", ERROR, _own_run),
)
