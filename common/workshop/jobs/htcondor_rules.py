"""Rules for the submit file of HTCondor (5.9), in the order in which they are asked. A rule relies on those above it: where
one finds a problem, the ones below it are not asked. The first table reads; the second rehearses the script."""

from __future__ import annotations

import re
from collections.abc import Iterator

from workshop.jobs import batch_files, training_rules
from workshop.jobs.job import CHECKPOINT, CondorJob
from workshop.rules import ERROR, Problem, Rule

LEAST_CAPABILITY = 7.5  # where conda-forge's PyTorch for CUDA 12.9 begins


# ---------------------------------------------------------------- what the job asks for


def _image_of(job: CondorJob) -> str:
    return job.keys.get("container_image") or job.keys.get("docker_image") or ""


def _container(job: CondorJob) -> Iterator[Problem]:
    universe, image = job.keys.get("universe", "container").lower(), _image_of(job)
    if not image or universe not in ("container", "docker", "vanilla"):
        yield Problem(
            looked_at=job.file,
            expected="the container universe, with an image",
            found=f"universe {universe}, image {image or 'none'}",
            next_step="universe = container, and container_image = train-cuda12.sif",
        )


def _fixed_image(job: CondorJob) -> Iterator[Problem]:
    image = _image_of(job)
    name = image.rsplit("/", 1)[-1]
    is_fetched = "://" in image or "docker_image" in job.keys  # else it is a file
    if "@sha256:" not in image and is_fetched and (":" not in name or name.endswith(":latest")):
        yield Problem(
            looked_at=job.file,
            expected="an image by its digest, or a file",
            found=f"{image}: another one tomorrow",
            next_step="docker://NAME@sha256:..., or a .sif file",
        )


def _gpu(job: CondorJob) -> Iterator[Problem]:
    gpus = job.keys.get("request_gpus", "")
    if not gpus.isdecimal() or int(gpus) < 1:
        yield Problem(
            looked_at=job.file,
            expected="a GPU",
            found=f"request_gpus = {gpus}" if gpus else "none asked for",
            next_step="request_gpus = 1",
        )


def _capability(job: CondorJob) -> Iterator[Problem]:
    conditions = " ".join(job.keys.get(key, "") for key in ("require_gpus", "requirements")).lower()
    if "gpus_minimum_capability" not in job.keys and "capability" in conditions:
        return  # the learner's own condition
    least = job.keys.get("gpus_minimum_capability", "")
    if not re.fullmatch(r"\d+(\.\d+)?", least) or float(least) < LEAST_CAPABILITY:
        yield Problem(
            looked_at=job.file,
            expected=f"a GPU that this PyTorch can use: capability {LEAST_CAPABILITY} or newer",
            found=f"gpus_minimum_capability = {least}" if least else "any",
            next_step="gpus_minimum_capability = 7.5",
        )


def _memory_and_disk(job: CondorJob) -> Iterator[Problem]:
    for key in ("request_memory", "request_disk"):
        if key not in job.keys:
            yield Problem(
                looked_at=job.file,
                expected=key,
                found="none: the pool's default is too small for an image",
                next_step=f"{key} = ...",
            )


def _log(job: CondorJob) -> Iterator[Problem]:
    if "log" not in job.keys:
        yield Problem(
            looked_at=job.file,
            expected="a log of what becomes of the job",
            found="none",
            next_step="log = htcondor-$(ClusterId).log",
        )


# ---------------------------------------------------------------- what travels with it


def _transfers(job: CondorJob) -> Iterator[Problem]:
    if job.keys.get("should_transfer_files", "if_needed").lower() == "no":
        yield Problem(
            looked_at=job.file,
            expected="files that travel with the job",
            found="should_transfer_files = NO",
            next_step="should_transfer_files = YES",
        )


def _input_files(job: CondorJob) -> Iterator[Problem]:
    sent = job.listed("transfer_input_files")
    for folder in ("common", "exercise-2-pytorch-cu12"):
        if f"{folder}/" in sent:
            yield Problem(
                looked_at=f"transfer_input_files in {job.file}",
                expected=f"{folder}, the folder",
                found=f"{folder}/ sends what is in it, and not the folder",
                next_step=f"{folder} without the slash",
            )
        elif not any(folder in part for part in sent):
            yield Problem(
                looked_at=f"transfer_input_files in {job.file}",
                expected=folder,
                found=", ".join(sent) or "nothing is sent",
                next_step="transfer_input_files = common, exercise-2-pytorch-cu12",
            )


def _output_files(job: CondorJob) -> Iterator[Problem]:
    if not job.listed("transfer_output_files"):
        yield Problem(
            looked_at=job.file,
            expected="the folder of the run in transfer_output_files",
            found="none: HTCondor brings new files back, and no folders",
            next_step="transfer_output_files = results",
        )


# ---------------------------------------------------------------- how it ends


def _checkpoint_code(job: CondorJob) -> Iterator[Problem]:
    code = job.keys.get("checkpoint_exit_code", "none: the job would be over when it has kept an epoch")
    if code != "85":
        yield Problem(
            looked_at=job.file,
            expected="checkpoint_exit_code 85, with which the training says that it goes on",
            found=code,
            next_step="checkpoint_exit_code = 85",
        )


def _eviction(job: CondorJob) -> Iterator[Problem]:
    when = job.keys.get("when_to_transfer_output", "on_exit").lower()
    if when != "on_exit_or_evict":
        yield Problem(
            looked_at=job.file,
            expected="that an eviction brings the checkpoint back",
            found=f"when_to_transfer_output = {when}: what it wrote since it last ended with 85 is lost",
            next_step="when_to_transfer_output = ON_EXIT_OR_EVICT",
        )
    elif job.keys.get("should_transfer_files", "yes").lower() == "if_needed":
        yield Problem(
            looked_at=job.file,
            expected="should_transfer_files = YES",
            found="IF_NEEDED, which ON_EXIT_OR_EVICT excludes",
            next_step="should_transfer_files = YES",
        )


def _hold(job: CondorJob) -> Iterator[Problem]:
    hold = job.keys.get("on_exit_hold")
    for code, wanted in ((1, True), (0, False)):
        # `holds` is None where the expression depends on more than can be known here.
        if hold is None or batch_files.holds(hold, code) is (not wanted):
            become = "held, so that a person reads its message" if wanted else "not held"
            missing = "no on_exit_hold: it is tried again, or gone as if done"
            yield Problem(
                looked_at=job.file,
                expected=f"that a job which ends with {code} is {become}",
                found=missing if hold is None else f"on_exit_hold = {hold}",
                next_step="on_exit_hold = ExitBySignal == false && ExitCode == 1",
            )


SUBMIT_RULES = (
    Rule("container", ERROR, _container),
    Rule("fixed-image", ERROR, _fixed_image),
    Rule("gpu", ERROR, _gpu),
    Rule("capability", ERROR, _capability),
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
    # From the clone's root, where the job is submitted; a workspace of one's own may be submitted from its folder.
    paths = (job.stage / "clone" / job.executable, job.folder / job.executable)
    if not job.executable or not any(path.is_file() for path in paths) or not (job.folder / job.script).is_file():
        yield Problem(
            looked_at="executable in train.sub",
            expected="a script that lies beside it, by its path from the clone's root",
            found=job.executable or "none",
            next_step="executable = exercise-5-container/starter/train.sh",
        )


def _training(job: CondorJob) -> Iterator[Problem]:
    return training_rules.no_training(job.evicted, job.script)


def _insists_on_gpu(job: CondorJob) -> Iterator[Problem]:
    return training_rules.trains_without_gpu(job.evicted, job.script)


def _gpu_in_container(job: CondorJob) -> Iterator[Problem]:
    return training_rules.container_without_gpu(job.evicted, job.script)


def _run_comes_back(job: CondorJob) -> Iterator[Problem]:
    output = [part.rstrip("/") for part in job.listed("transfer_output_files")]
    checkpoint = [part.rstrip("/") for part in job.listed("transfer_checkpoint_files")] or output
    for folders, key in ((output, "transfer_output_files"), (checkpoint, "transfer_checkpoint_files")):
        if not any(f"{job.run}.partial/".startswith((f"{folder}/", f"{folder}.")) for folder in folders):
            yield Problem(
                looked_at=f"{key} in train.sub",
                expected=f"the folder that the run and its checkpoint are in: {job.run}",
                found=", ".join(folders),
                next_step=f"{key} = {job.run.split('/')[0] or 'results'}",
            )


def _passes_signal_on(job: CondorJob) -> Iterator[Problem]:
    heard, code = job.evicted.heard(), job.evicted.code
    if not heard or code != 85:
        yield Problem(
            looked_at=f"{job.script}, rehearsed: SIGTERM, as at an eviction",
            expected="that the training is told, and exit code 85",
            found=f"exit code {code}, {'told' if heard else 'not told'}",
            next_step='exec "${command[@]}": the training in the place of the script',
        )


def _resumes_nothing(job: CondorJob) -> Iterator[Problem]:
    if job.evicted.resumes():
        yield Problem(
            looked_at=f"{job.script}, rehearsed as a new job",
            expected="no --resume where there is no checkpoint",
            found="--resume",
            next_step=f"--resume only where {job.run}.partial/{CHECKPOINT} is",
        )


def _resumes(job: CondorJob) -> Iterator[Problem]:
    if not job.restarted.resumes():
        yield Problem(
            looked_at=f"{job.script}, rehearsed with {job.run}.partial/{CHECKPOINT} there",
            expected="that it goes on by --resume",
            found="no --resume",
            next_step=f'if [ -e "$RUN.partial/{CHECKPOINT}" ]; then command+=(--resume); fi',
        )


def _exit_codes(job: CondorJob) -> Iterator[Problem]:
    if job.ends_badly.code != 1 or job.restarted.code != 0:
        yield Problem(
            looked_at=f"{job.script}, rehearsed",
            expected="the exit code of the training",
            found=f"{job.ends_badly.code} for 1, {job.restarted.code} for 0",
            next_step="let the training be the script's last command, by exec",
        )


SCRIPT_RULES = (
    Rule("executable", ERROR, _executable),
    Rule("training", ERROR, _training),
    Rule("insists-on-gpu", ERROR, _insists_on_gpu),
    Rule("gpu-in-container", ERROR, _gpu_in_container),
    Rule("run-comes-back", ERROR, _run_comes_back),
    Rule("signal-passed-on", ERROR, _passes_signal_on),
    Rule("resume-without-checkpoint", ERROR, _resumes_nothing),
    Rule("resume", ERROR, _resumes),
    Rule("exit-codes", ERROR, _exit_codes),
)
