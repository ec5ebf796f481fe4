"""The checks of exercise 5, in the order in which a learner meets them."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workshop import containers, jobs
from workshop.checking.checks import Check, Part, Result, Workspace, edit, fail, ok, skip
from workshop.checking.steps.blame import SHELL_ERROR
from workshop.containers import Image
from workshop.errors import WorkshopError
from workshop.support.rules import Finding, Rule, findings_of


def container_files(workspace: Workspace, definitions: bool) -> list[Path]:
    """The Dockerfiles of the folder, or its Apptainer definitions."""
    listed = [file for file in sorted(workspace.folder.iterdir()) if containers.is_container_file(file)]
    return [file for file in listed if containers.is_definition(file) == definitions]


def advice_to_restore(workspace: Workspace, name: str) -> str:
    """How to get a missing file: from git in the exercise's own folder, elsewhere by writing one."""
    own = (workspace.folder.parent / "exercise.toml").is_file()
    return f"git checkout -- {name}" if own else f"write one; exercise-5-container/solution/{name} is an example"


def images_of(workspace: Workspace) -> list[Image]:
    """The Dockerfile with its default environment and, if the manifest has one for Linux, with a GPU environment."""
    found = container_files(workspace, definitions=False)
    if not found:
        advice = advice_to_restore(workspace, "Dockerfile")
        raise WorkshopError(
            looked_at=workspace.folder, expected="a Dockerfile or a Containerfile", found="none", next_step=advice
        )
    image = containers.load_image(found[0])
    if image.workspace is None:
        raise WorkshopError(
            looked_at=found[0],
            expected="a pixi.toml in its folder or above it",
            found="none",
            next_step="workshop check 5 PATH  # the folder of a Pixi workspace",
        )
    if containers.environment_argument(image) is None:
        return [image]
    known = image.workspace.environments
    gpu = [name for name in ("cuda12", *known) if name in known and containers.load_image(found[0], name).required_cuda]
    return [image, *(containers.load_image(found[0], name) for name in gpu[:1] if name != image.environment)]


def first_problem(workspace: Workspace, number: str, file: str, found: list[Finding], summary: str) -> Result:
    """The first finding as a failed check, errors before advice; ok if there is none. number: of the step."""
    first = next(iter(sorted(found, key=lambda finding: finding.level != "error")), None)
    return ok(summary) if first is None else failed(workspace, number, file, first)


# Advice that helps to find a mistake. The advice of the other findings would be the answer, which is for the hints.
PLACE = "exercise-5-container/(?:starter|solution)/"
DIAGNOSES = ("bash -x", "sed ", "file ", "git ")


def failed(workspace: Workspace, number: str, file: str, finding: Finding) -> Result:
    """The failed check for a finding. number: of the step. file: the one that the step edits."""
    named = file_of(workspace, finding, file)
    rehearsed = re.sub(r"\S*/slurm_script\b", named, finding.found)  # the name of the copy that bash has run
    found = re.sub(f"{PLACE}(?=[a-z])", "", rehearsed)
    broken = SHELL_ERROR.search(found)
    if broken and (workspace.folder / broken[1]).is_file():
        named = broken[1]
    diagnosis = finding.next_step if finding.next_step.startswith(DIAGNOSES) else ""
    return fail(
        looked_at=finding.looked_at,
        expected=finding.expected,
        found=f"{found} ({finding.name})",
        next_step=diagnosis or edit(workspace, number, named),
    )


def file_of(workspace: Workspace, finding: Finding, file: str) -> str:
    """The file that a finding names, if it is in the folder; otherwise `file`."""
    named = re.match(r"[\w.-]+", finding.looked_at)
    return named[0] if named and (workspace.folder / named[0]).is_file() else file


def bases_are_pinned(workspace: Workspace) -> Result:
    image = images_of(workspace)[0]
    outside = dict.fromkeys(stage.base.partition("@")[0] for stage in image.stages if stage.parent is None)
    found = [f for f in containers.base_findings(image) if f.name != "stage-unknown"]
    return first_problem(workspace, "5.1", image.path.name, found, ", ".join(outside))


def installs_the_lock(workspace: Workspace) -> Result:
    images = images_of(workspace)
    found = [finding for image in images for finding in containers.lock_findings(image)]
    return first_problem(
        workspace,
        "5.2",
        images[0].path.name,
        found,
        f"pixi install --locked for {' or '.join(str(image.environment) for image in images)}",
    )


def last_stage_is_minimal(workspace: Workspace) -> Result:
    images = images_of(workspace)
    found = [
        finding for image in images for finding in containers.base_findings(image) if finding.name == "stage-unknown"
    ]
    found += [finding for image in images for finding in containers.last_stage_findings(image)]
    found += containers.content_findings(images[0])
    return first_problem(
        workspace,
        "5.3",
        images[0].path.name,
        found,
        f"the environment at its original path, user {images[0].final_stage.user}, no Pixi",
    )


def is_activated(workspace: Workspace) -> Result:
    images = images_of(workspace)
    found = [finding for image in images for finding in containers.activation_findings(image)]
    found += containers.python_path_findings(images[0])
    gpu = next((f", and {image.environment} uses the host's driver" for image in images if image.required_cuda), "")
    return first_problem(
        workspace, "5.4", images[0].path.name, found, f"ENV sets PATH, CONDA_PREFIX and the manifest's variables{gpu}"
    )


def is_defined_for_apptainer(workspace: Workspace) -> Result:
    definitions = container_files(workspace, definitions=True)
    if not definitions:
        advice = advice_to_restore(workspace, "apptainer.def")
        return fail(
            looked_at=workspace.folder, expected="an Apptainer definition (*.def)", found="none", next_step=advice
        )
    variants = [
        (file, name) for file in definitions for name in dict.fromkeys((None, containers.gpu_environment(file)))
    ]
    found = [finding for file, name in variants for finding in containers.definition_findings(file, name)]
    if not found and not any(containers.find_install(containers.read_definition(file)) for file in definitions):
        return fail(
            looked_at=definitions[0],
            expected="a definition that installs from the lock",
            found="no call of Pixi in %post",
            next_step=edit(workspace, "5.5", definitions[0].name),
        )
    return first_problem(workspace, "5.5", definitions[0].name, found, ", ".join(file.name for file in definitions))


def job_result(
    workspace: Workspace,
    number: str,
    file: str,
    job: Any,
    reading: Sequence[Rule[Any]],
    rehearsing: Sequence[Rule[Any]],
    summary: Callable[[], str],
) -> Result:
    """The first problem of a job's files, otherwise of the rehearsal of its script."""
    for finding in findings_of([job], reading):
        return failed(workspace, number, file, finding)
    if not jobs.bash():
        return skip("this machine has no bash; job scripts are tested on Linux or macOS")
    for finding in findings_of([job], rehearsing):
        return failed(workspace, number, file, finding)
    return ok(summary())


def requests_resources(workspace: Workspace) -> Result:
    job = jobs.BatchJob(workspace.folder, workspace.scratch)

    def summary() -> str:
        requested = f"{job.gpu}, {job.options['time']}, {job.memory}"
        return f"{requested}; the training requires its GPU, and the job fails if the training fails"

    return job_result(workspace, "5.6", "train.sbatch", job, jobs.REQUEST_RULES, jobs.TRAINING_RULES, summary)


def resumes_after_time_limit(workspace: Workspace) -> Result:
    job = jobs.BatchJob(workspace.folder, workspace.scratch)

    def summary() -> str:
        return f"{job.signal} reaches the training, exit code 85 requeues the job, and it continues from its checkpoint"

    return job_result(workspace, "5.7", "train.sbatch", job, jobs.SIGNAL_RULES, jobs.END_RULES, summary)


def has_task_for_each_seed(workspace: Workspace) -> Result:
    job = jobs.ArrayJob(workspace.folder, workspace.scratch)

    def summary() -> str:
        tasks = [job.task(index) for index in job.tasks[:2]]
        seeds = [f"seed {task.value('--seed')} in {task.value('--output')}" for task in tasks]
        return f"{len(job.tasks)} tasks: {', '.join(seeds)}"

    return job_result(workspace, "5.8", "array.sbatch", job, jobs.ARRAY_RULES, jobs.TASK_RULES, summary)


def resumes_after_eviction(workspace: Workspace) -> Result:
    job = jobs.CondorJob(workspace.folder, workspace.scratch)

    def summary() -> str:
        return f"after an eviction {job.run} comes back and the job continues from it; an error puts the job on hold"

    return job_result(workspace, "5.9", "train.sub", job, jobs.SUBMIT_RULES, jobs.SCRIPT_RULES, summary)


CHECKS = [
    Check(
        "5.1",
        "every base image is named by tag and by digest",
        (
            "Which image is `debian` today, and which one will it be when you build again next year?",
            "A digest is the sha256 of the image that the tag names now. It follows the tag, after an @.",
            "ARG BASE_IMAGE=debian:13-slim@sha256:..., as `docker buildx imagetools inspect debian:13-slim` prints it",
        ),
        bases_are_pinned,
        Part(lines=(r"^FROM\b", r"^ARG (BASE|PIXI)_IMAGE")),
    ),
    Check(
        "5.2",
        "Pixi installs one environment from the lock, and the files for it are copied by name",
        (
            "Which files does Pixi need for the installation, and which should stay outside?",
            "COPY pixi.toml pixi.lock ./ is enough. --locked stops if the lock is out of date; the environment's name comes from ARG.",
            "ARG CONDA_OVERRIDE_CUDA=12.0, then RUN pixi install --locked --environment ${ENVIRONMENT}",
        ),
        installs_the_lock,
        Part(lines=(r"\bpixi (install|run)\b", r"CONDA_OVERRIDE_CUDA", r"\b(COPY|ADD) pixi\.")),
    ),
    Check(
        "5.3",
        "the last stage contains the environment at its original path and no Pixi, and its user is not root",
        (
            "Which parts of the first stage does a training need? What could an attacker do with the rest?",
            "A conda environment cannot be moved: COPY --from=build has the same path twice. Give the user as a number, and fill the labels from ARG.",
            "FROM runtime-${ENVIRONMENT}, COPY --from=build /workshop/.pixi/envs/${ENVIRONMENT} /workshop/.pixi/envs/${ENVIRONMENT}, "
            "USER 1000:1000, HEALTHCHECK, LABEL org.opencontainers.image.revision=... workshop.lock.sha256=...",
        ),
        last_stage_is_minimal,
        Part(lines=(r"^(COPY|USER|HEALTHCHECK|LABEL|CMD|WORKDIR)\b", r"--from=", r"org\.opencontainers")),
    ),
    Check(
        "5.4",
        "ENV activates the environment, and on a GPU the host's driver, without an entry point",
        (
            "`apptainer exec image python` does not run the entry point. Which Python does it find?",
            "PATH and CONDA_PREFIX name the environment; [activation.env] in pixi.toml lists what else is set.",
            "ENV CONDA_PREFIX=... PATH=.../bin:${PATH} PYTHONPATH=/workshop/common; in runtime-cuda12 ENV WORKSHOP_DEVICE=cuda "
            "NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        ),
        is_activated,
        Part(lines=(r"^ENV\b", r"(CONDA_PREFIX|PYTHONPATH|NVIDIA_\w+|WORKSHOP_DEVICE)=", r"PATH=")),
    ),
    Check(
        "5.5",
        "an Apptainer definition builds the same environment from the lock",
        (
            "The definition describes the same steps as the Dockerfile. Which lines of the Dockerfile have no counterpart in the definition yet?",
            "Write a digest without a tag after From:, pixi.lock in %files, a second Bootstrap: with %files from build, and exports in %environment.",
            "export CONDA_PREFIX=/workshop/.pixi/envs/{{ ENVIRONMENT }}, export PATH=$CONDA_PREFIX/bin:$PATH, "
            "export PYTHONPATH=/workshop/common in the %environment of the last stage; for cuda12 also WORKSHOP_DEVICE=cuda there, and "
            "CONDA_OVERRIDE_CUDA=12.0 in %post",
        ),
        is_defined_for_apptainer,
    ),
    Check(
        "5.6",
        "the batch script requests a GPU, time and memory from Slurm, and the training requires the GPU",
        (
            "Slurm gives you only what you request. Where does a batch script request resources?",
            "Write #SBATCH lines with --gres, --time and --mem above the first command. The training must not fall back to the CPU.",
            "#SBATCH --gres=gpu:1, #SBATCH --time=00:30:00, #SBATCH --mem=4G, and DEVICE=${DEVICE:-cuda} in train.sh",
        ),
        requests_resources,
        Part(lines=(r"^#SBATCH --(gres|time|mem|gpus)", r"DEVICE=")),
    ),
    Check(
        "5.7",
        "before its time is over, the job finishes its epoch, is requeued, and continues from the checkpoint",
        (
            "Slurm kills a job at its time limit. How can the job be warned in time, and what must warn the training?",
            "--signal=B:USR1@120 sends a signal to the batch script. It ends bash's `wait` before the training ends: wait again.",
            "train.sh & training=$!; trap 'signal_received=yes; kill $training' USR1; while kill -0 $training; do code=0; wait $training || code=$?; done; "
            "if the signal came and the code is 85: scontrol requeue $SLURM_JOB_ID; and --resume if $RUN.partial/checkpoint.safetensors exists",
        ),
        resumes_after_time_limit,
        Part(
            lines=(
                r"\btrap\b",
                r"--resume",
                r"checkpoint",
                r"\b(requeue|wait|kill)\b",
                r"^#SBATCH --(signal|requeue|open)",
            )
        ),
    ),
    Check(
        "5.8",
        "each task of an array trains with its own seed",
        (
            "Four seeds are four jobs that differ in one number. Which variable contains it?",
            "#SBATCH --array=0-3 starts four tasks. Each has its own SLURM_ARRAY_TASK_ID and needs its own folder and log.",
            "export SEED=$SLURM_ARRAY_TASK_ID RUN=...-seed$SLURM_ARRAY_TASK_ID, and --output=slurm-%A-seed%a.log",
        ),
        has_task_for_each_seed,
    ),
    Check(
        "5.9",
        "on HTCondor the job gets a suitable GPU, and its checkpoint survives an eviction",
        (
            "HTCondor's machines share no disk: only the files that you list are copied to the machine and back.",
            "You need request_gpus with a capability, transfer_output_files and checkpoint_exit_code. When must HTCondor copy files back?",
            "transfer_output_files = results, when_to_transfer_output = ON_EXIT_OR_EVICT, checkpoint_exit_code = 85, on_exit_hold = ExitBySignal == false && ExitCode == 1",
        ),
        resumes_after_eviction,
    ),
]
