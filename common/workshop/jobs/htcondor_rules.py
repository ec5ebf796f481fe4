"""Rules for HTCondor submit files (5.13 and 5.14), in order.

Each rule relies on those above it, so a check stops at the first problem.

SUBMIT_RULES read the file; SCRIPT_RULES rehearse its script. QUEUE_RULES and SEED_RULES do so for several jobs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from workshop.jobs import batch_files
from workshop.jobs.job import CHECKPOINT, CondorJob, SeedsJob
from workshop.jobs.training_rules import training_problems
from workshop.support.rules import ERROR, Problem, Rule

MIN_MEMORY, MIN_DISK = 512, 512  # MiB; without a unit, HTCondor takes memory as MiB and disk as KiB
MIN_RUNTIME = 12  # the CUDA of the environment cuda12
MIN_CAPABILITY = 7.5  # where conda-forge's PyTorch for CUDA 12.9 begins
MAX_CAPABILITY = 20  # more than any GPU has: 75 is 7.5 without its point


# ---------------------------------------------------------------- what the job requests


def _image_of(job: CondorJob) -> str:
    return job.keys.get("container_image") or job.keys.get("docker_image") or ""


def _container(job: CondorJob) -> Iterator[Problem]:
    universe, image = job.keys.get("universe", "container").lower(), _image_of(job)
    if not image or universe not in ("container", "docker", "vanilla"):
        yield Problem(
            looked_at=job.file,
            expected="the container universe and an image",
            found=f"universe {universe}, image {image or 'none'}",
            next_step="universe = container, and container_image = train-cuda12.sif",
        )


def _fixed_image(job: CondorJob) -> Iterator[Problem]:
    image = _image_of(job)
    name = image.rsplit("/", 1)[-1]
    is_fetched = "://" in image or "docker_image" in job.keys  # otherwise it is a file
    if image.startswith(("osdf://", "pelican://", "https://", "file://")) and name.endswith(".sif"):
        return  # a file as well
    if "@sha256:" not in image and is_fetched and (":" not in name or name.endswith(":latest")):
        yield Problem(
            looked_at=job.file,
            expected="an image with its digest, or a file",
            found=f"{image}, which may be another image tomorrow",
            next_step="docker://NAME@sha256:..., or a .sif file",
        )


def _gpu(job: CondorJob) -> Iterator[Problem]:
    gpus = job.keys.get("request_gpus", "")
    if not re.fullmatch(r"\d{1,9}", gpus) or int(gpus) < 1:
        yield Problem(
            looked_at=job.file,
            expected="a GPU",
            found=f"request_gpus = {gpus}" if gpus else "none requested",
            next_step="request_gpus = 1",
        )


def _capability(job: CondorJob) -> Iterator[Problem]:
    conditions = " ".join(job.keys.get(key, "") for key in ("require_gpus", "requirements")).lower()
    if "gpus_minimum_capability" not in job.keys and "capability" in conditions:
        return  # the learner's own condition
    minimum = job.keys.get("gpus_minimum_capability", "")
    is_number = re.fullmatch(r"\d{1,9}(\.\d{1,9})?", minimum)
    if not is_number or not MIN_CAPABILITY <= float(minimum) <= MAX_CAPABILITY:
        too_high = ", more than any GPU has" if is_number and float(minimum) > MAX_CAPABILITY else ""
        yield Problem(
            looked_at=job.file,
            expected=f"a GPU that this PyTorch can use: capability {MIN_CAPABILITY} or newer",
            found=f"gpus_minimum_capability = {minimum}{too_high}" if minimum else "any",
            next_step="gpus_minimum_capability = 7.5",
        )


def _driver(job: CondorJob) -> Iterator[Problem]:
    if "require_gpus" in job.keys:
        return  # the learner's own condition
    minimum = job.keys.get("gpus_minimum_runtime", "")
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", minimum) or float(minimum) < MIN_RUNTIME:
        yield Problem(
            looked_at=job.file,
            expected=f"a machine whose driver supports CUDA {MIN_RUNTIME:g} or newer",
            found=f"gpus_minimum_runtime = {minimum}" if minimum else "any driver",
            next_step="gpus_minimum_runtime = 12.0",
        )


def _memory_and_disk(job: CondorJob) -> Iterator[Problem]:
    for key, least, unit in (("request_memory", MIN_MEMORY, 1), ("request_disk", MIN_DISK, 2**-10)):
        size = batch_files.condor_size_in_mib(job.keys.get(key, ""), unit)
        if size is not None and size < least:
            yield Problem(
                looked_at=job.file,
                expected=f"{key} of at least {least} MiB",
                found=f"{key} = {job.keys[key]}, which is {size:g} MiB",
                next_step=f"write the size with its unit, as in {key} = 4 GB",
            )
        if key not in job.keys:
            yield Problem(
                looked_at=job.file,
                expected=key,
                found="none, so the pool's default applies, which is too small",
                next_step=f"{key} = ...",
            )


def _log(job: CondorJob) -> Iterator[Problem]:
    if "log" not in job.keys:
        yield Problem(
            looked_at=job.file,
            expected="a log of the job's events",
            found="none",
            next_step="log = htcondor-$(ClusterId).log",
        )


# ---------------------------------------------------------------- which files are transferred


def _transfers(job: CondorJob) -> Iterator[Problem]:
    if job.keys.get("should_transfer_files", "if_needed").lower() == "no":
        yield Problem(
            looked_at=job.file,
            expected="files transferred with the job",
            found="should_transfer_files = NO",
            next_step="should_transfer_files = YES",
        )


def _input_files(job: CondorJob) -> Iterator[Problem]:
    inputs = job.entries("transfer_input_files")
    for folder in ("common", "exercise-2-pytorch-cu12"):
        if f"{folder}/" in inputs:
            yield Problem(
                looked_at=f"transfer_input_files in {job.file}",
                expected=f"the folder {folder}",
                found=f"{folder}/, which transfers the contents without the folder",
                next_step=f"{folder} without the slash",
            )
        elif not any(folder in part.split("/") for part in inputs):
            yield Problem(
                looked_at=f"transfer_input_files in {job.file}",
                expected=f"{folder}, in a list with commas",
                found=", ".join(inputs) or "nothing is transferred",
                next_step="transfer_input_files = common, exercise-2-pytorch-cu12",
            )


def _output_files(job: CondorJob) -> Iterator[Problem]:
    for part in job.entries("transfer_output_files"):
        if part.endswith("/"):
            yield Problem(
                looked_at=f"transfer_output_files in {job.file}",
                expected=f"the folder {part.rstrip('/')}",
                found=f"{part}, which transfers the contents without the folder",
                next_step=f"{part.rstrip('/')} without the slash",
            )
    if not job.entries("transfer_output_files"):
        yield Problem(
            looked_at=job.file,
            expected="the folder of the run in transfer_output_files",
            found="none, so HTCondor transfers back new files but no new folders",
            next_step="transfer_output_files = results",
        )


# ---------------------------------------------------------------- how it ends


def _checkpoint_code(job: CondorJob) -> Iterator[Problem]:
    code = job.keys.get("checkpoint_exit_code", "none: the job would end after its first checkpoint")
    if code != "85":
        yield Problem(
            looked_at=job.file,
            expected="checkpoint_exit_code = 85, the exit code of a training that can be continued",
            found=code,
            next_step="checkpoint_exit_code = 85",
        )


def _eviction(job: CondorJob) -> Iterator[Problem]:
    transfer_when = job.keys.get("when_to_transfer_output", "on_exit").lower()
    if transfer_when != "on_exit_or_evict":
        yield Problem(
            looked_at=job.file,
            expected="a checkpoint that an eviction transfers back",
            found=f"when_to_transfer_output = {transfer_when}, which loses everything since the last exit with 85",
            next_step="when_to_transfer_output = ON_EXIT_OR_EVICT",
        )
    elif job.keys.get("should_transfer_files", "yes").lower() == "if_needed":
        yield Problem(
            looked_at=job.file,
            expected="should_transfer_files = YES",
            found="IF_NEEDED, which does not work with ON_EXIT_OR_EVICT",
            next_step="should_transfer_files = YES",
        )


def _hold(job: CondorJob) -> Iterator[Problem]:
    hold = job.keys.get("on_exit_hold")
    if hold and re.search(r"(?<![=!<>])=(?![=?!])", hold):
        yield Problem(
            looked_at=f"on_exit_hold in {job.file}",
            expected="== to compare two values",
            found=f"on_exit_hold = {hold}",
            next_step="on_exit_hold = ExitBySignal == false && ExitCode == 1",
        )
    for code, should_hold in ((1, True), (0, False)):
        # `evaluate_expression` returns None if the value depends on anything unknown.
        if hold is None or batch_files.evaluate_expression(hold, code) is (not should_hold):
            state = (
                "that HTCondor holds, so that you read its message" if should_hold else "that HTCondor does not hold"
            )
            no_hold = "no on_exit_hold, so HTCondor restarts the job or removes it as finished"
            yield Problem(
                looked_at=job.file,
                expected=f"a job with exit code {code} {state}",
                found=no_hold if hold is None else f"on_exit_hold = {hold}",
                next_step="on_exit_hold = ExitBySignal == false && ExitCode == 1",
            )


SUBMIT_RULES = (
    Rule("container", ERROR, _container),
    Rule("fixed-image", ERROR, _fixed_image),
    Rule("gpu", ERROR, _gpu),
    Rule("capability", ERROR, _capability),
    Rule("driver", ERROR, _driver),
    Rule("memory-and-disk", ERROR, _memory_and_disk),
    Rule("log", ERROR, _log),
    Rule("transfer", ERROR, _transfers),
    Rule("input-files", ERROR, _input_files),
    Rule("output-files", ERROR, _output_files),
    Rule("checkpoint-code", ERROR, _checkpoint_code),
    Rule("eviction", ERROR, _eviction),
    Rule("hold", ERROR, _hold),
)

# ---------------------------------------------------------------- what its script does


def _executable(job: CondorJob) -> Iterator[Problem]:
    # Jobs are submitted from the clone's root, or from the folder of a learner's own workspace.
    paths = (job.stage / "clone" / job.executable, job.folder / job.executable)
    if not job.executable or not any(path.is_file() for path in paths) or not (job.folder / job.script).is_file():
        yield Problem(
            looked_at=f"executable in {job.file}",
            expected=f"a script in the same folder as {job.file}, given by its path from the clone's root",
            found=job.executable or "none",
            next_step="executable = exercise-5-container/starter/train.sh",
        )


def _training(job: CondorJob) -> Iterator[Problem]:
    return training_problems(job.evicted, job.folder, job.script)


def _run_transferred(job: CondorJob) -> Iterator[Problem]:
    output = [part.rstrip("/") for part in job.entries("transfer_output_files")]
    checkpoint = [part.rstrip("/") for part in job.entries("transfer_checkpoint_files")] or output
    for folders, key in ((output, "transfer_output_files"), (checkpoint, "transfer_checkpoint_files")):
        if not any(f"{job.run}.partial/".startswith((f"{folder}/", f"{folder}.")) for folder in folders):
            yield Problem(
                looked_at=f"{key} in train.sub",
                expected=f"the folder that contains the run and its checkpoint: {job.run}",
                found=", ".join(folders),
                next_step=f"{key} = {job.run.split('/')[0] or 'results'}",
            )


def _passes_signal_on(job: CondorJob) -> Iterator[Problem]:
    received, code = job.evicted.received_signal(), job.evicted.code
    if not received or code != 85:
        yield Problem(
            looked_at=f"{job.script}, rehearsed: SIGTERM, as at an eviction",
            expected="a training that receives the signal, and exit code 85",
            found=f"exit code {code}, signal {'received' if received else 'not received'}",
            next_step='start the training with exec "${command[@]}", so that it replaces the script',
        )


def _resumes_without_checkpoint(job: CondorJob) -> Iterator[Problem]:
    if job.evicted.resumes():
        yield Problem(
            looked_at=f"{job.script}, rehearsed as a new job",
            expected="no --resume without a checkpoint",
            found="--resume",
            next_step=f"use --resume only if {job.run}.partial/{CHECKPOINT} exists",
        )


def _resumes(job: CondorJob) -> Iterator[Problem]:
    if not job.restarted.resumes():
        yield Problem(
            looked_at=f"{job.script}, rehearsed with {job.run}.partial/{CHECKPOINT} present",
            expected="a training that continues with --resume",
            found="no --resume",
            next_step=f'if [ -e "$RUN.partial/{CHECKPOINT}" ]; then command+=(--resume); fi',
        )


def _exit_codes(job: CondorJob) -> Iterator[Problem]:
    if job.failed.code != 1 or job.restarted.code != 0:
        yield Problem(
            looked_at=f"{job.script}, rehearsed",
            expected="the exit code of the training as that of the script",
            found=f"{job.failed.code} after a training that ended with 1, {job.restarted.code} after one that ended with 0",
            next_step="make the training the script's last command, with exec",
        )


SCRIPT_RULES = (
    Rule("executable", ERROR, _executable),
    Rule("training", ERROR, _training),
    Rule("run-comes-back", ERROR, _run_transferred),
    Rule("signal-passed-on", ERROR, _passes_signal_on),
    Rule("resume-without-checkpoint", ERROR, _resumes_without_checkpoint),
    Rule("resume", ERROR, _resumes),
    Rule("exit-codes", ERROR, _exit_codes),
)

# ---------------------------------------------------------------- 5.14: a job for each seed, from one submit file


def _several_jobs(job: SeedsJob) -> Iterator[Problem]:
    if job.jobs is None or len(job.jobs) < 2:
        yield Problem(
            looked_at=f"queue in {job.file}",
            expected=f"several jobs, at most {batch_files.MOST_TASKS:,}, from a list in the file",
            found=f"queue {job.submit.queue}".strip() + ("" if job.jobs is None else ", which submits one job"),
            next_step="queue seed in (0, 1, 2, 3)",
        )


def _own_logs(job: SeedsJob) -> Iterator[Problem]:
    for key in ("output", "error"):
        names = [job.text_of(key, number) for number in range(min(len(job.jobs or ()), job.most_rehearsed))]
        if job.keys.get(key) and len(set(names)) < len(names):
            yield Problem(
                looked_at=f"{key} in {job.file}",
                expected="a separate file for each job",
                found=f"{names[0]} for jobs 0 and 1",
                next_step=f"use $(seed) or $(ProcId) in {key}",
            )


def _own_values(job: SeedsJob) -> Iterator[Problem]:
    rehearsed = range(min(len(job.jobs or ()), job.most_rehearsed))
    for option, what in (("--seed", "seed"), ("--output", "folder")):
        seen: dict[str | None, int] = {}
        for number in rehearsed:
            value = job.job(number).value(option)
            if value is None or value in seen:
                yield Problem(
                    looked_at=f"{len(rehearsed)} jobs of {job.file}, rehearsed",
                    expected=f"a separate {what} for each job",
                    found=f"{option} {value} in jobs {seen[value]} and {number}" if value else f"no {option}",
                    next_step=f"use the variable of queue, as in $(seed), for the {what}",
                )
            seen.setdefault(value, number)


def _jobs_train(job: SeedsJob) -> Iterator[Problem]:
    return training_problems(job.job(0), job.folder, job.script)


QUEUE_RULES = (
    Rule("several-jobs", ERROR, _several_jobs),
    Rule("container", ERROR, _container),
    Rule("fixed-image", ERROR, _fixed_image),
    Rule("own-logs", ERROR, _own_logs),
)
SEED_RULES = (
    Rule("executable", ERROR, _executable),
    Rule("job-training", ERROR, _jobs_train),
    Rule("own-values", ERROR, _own_values),
)
