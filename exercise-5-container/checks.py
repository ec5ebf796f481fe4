"""The checks of exercise 5, in the order in which a learner meets them."""

import json
import re
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from workshop import containers, exercises, jobs, workflows
from workshop.checking import trainings
from workshop.checking.checks import Check, Part, Result, Workspace, edit, fail, ok, skip
from workshop.checking.patches import patch
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
    if workspace.in_exercise:
        return f"git checkout -- {name}"
    return f"write one; exercise-5-container/solution/{name} is an example"


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
    others = (image.with_environment(name) for name in ("cuda12", *known) if name in known)
    gpu = next((other for other in others if other.required_cuda), image)
    return [image] if gpu is image else [image, gpu]


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
    found += [*containers.content_findings(images[0]), *containers.record_findings(images[0])]
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


def converts_images(file: Path) -> bool:
    """Whether a definition is that of step 5.6, by its name."""
    return "image" in file.stem


def is_defined_for_apptainer(workspace: Workspace) -> Result:
    definitions = [file for file in container_files(workspace, definitions=True) if not converts_images(file)]
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


def converts_the_image(workspace: Workspace) -> Result:
    files = [file for file in container_files(workspace, definitions=True) if converts_images(file)]
    if not files:
        advice = advice_to_restore(workspace, "apptainer-image.def")
        expected = "an Apptainer definition whose name contains `image`"
        return fail(looked_at=workspace.folder, expected=expected, found="none", next_step=advice)
    found = containers.conversion_findings(files[0])
    if found:
        return failed(workspace, "5.6", files[0].name, found[0])
    header = containers.read_definition(files[0])[-1].header
    return ok(f"{header['from']} from {header['bootstrap']}, for each environment; nothing is installed again")


def workflow_result(workspace: Workspace, number: str, rules: Sequence[Rule[Any]], summary: str) -> Result:
    """The first problem of the workflow; in the last of its three steps, also those that linters find."""
    path = workflows.find_workflow(workspace.folder)
    if path is None:
        advice = advice_to_restore(workspace, "image.yml")
        expected = "a GitHub workflow (*.yml) that builds an image"
        return fail(looked_at=workspace.folder, expected=expected, found="none", next_step=advice)
    found = [*findings_of([workflows.read_workflow(path)], rules)]
    if not found and number == "5.9":
        found = workflows.linter_findings(path)
    return failed(workspace, number, path.name, found[0]) if found else ok(summary)


def has_least_rights(workspace: Workspace) -> Result:
    summary = "every action is a commit; the token reads, and writes only in the job that publishes"
    return workflow_result(workspace, "5.7", workflows.RIGHTS_RULES, summary)


def tests_before_it_publishes(workspace: Workspace) -> Result:
    summary = "--locked everywhere; tests, the build and a run in the image come before the push"
    return workflow_result(workspace, "5.8", workflows.ORDER_RULES, summary)


def publishes_by_digest(workspace: Workspace) -> Result:
    summary = "pushed by digest, run, attested, and converted for Apptainer"
    return workflow_result(workspace, "5.9", workflows.PUBLISH_RULES, summary)


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

    return job_result(workspace, "5.10", "train.sbatch", job, jobs.REQUEST_RULES, jobs.TRAINING_RULES, summary)


def resumes_after_time_limit(workspace: Workspace) -> Result:
    job = jobs.BatchJob(workspace.folder, workspace.scratch)

    def summary() -> str:
        return f"{job.signal} reaches the training, exit code 85 requeues the job, and it continues from its checkpoint"

    return job_result(workspace, "5.11", "train.sbatch", job, jobs.SIGNAL_RULES, jobs.END_RULES, summary)


def has_task_for_each_seed(workspace: Workspace) -> Result:
    job = jobs.ArrayJob(workspace.folder, workspace.scratch)

    def summary() -> str:
        tasks = [job.task(index) for index in job.tasks[:2]]
        seeds = [f"seed {task.value('--seed')} in {task.value('--output')}" for task in tasks]
        return f"{len(job.tasks)} tasks: {', '.join(seeds)}"

    return job_result(workspace, "5.12", "array.sbatch", job, jobs.ARRAY_RULES, jobs.TASK_RULES, summary)


def resumes_after_eviction(workspace: Workspace) -> Result:
    job = jobs.CondorJob(workspace.folder, workspace.scratch)

    def summary() -> str:
        return f"after an eviction {job.run} comes back and the job continues from it; an error puts the job on hold"

    return job_result(workspace, "5.13", "train.sub", job, jobs.SUBMIT_RULES, jobs.SCRIPT_RULES, summary)


def has_job_for_each_seed(workspace: Workspace) -> Result:
    job = jobs.SeedsJob(workspace.folder, workspace.scratch)

    def summary() -> str:
        seeds = [f"seed {job.job(k).value('--seed')} in {job.job(k).value('--output')}" for k in (0, 1)]
        return f"{len(job.jobs or ())} jobs: {', '.join(seeds)}"

    return job_result(workspace, "5.14", "seeds.sub", job, jobs.QUEUE_RULES, jobs.SEED_RULES, summary)


DISTRIBUTED = "train_distributed.py"
GROUP_LIMIT = 120  # seconds for two processes and one epoch; they take less than ten


def run_for_one_epoch(workspace: Workspace, output: Path, **settings: Any) -> CompletedProcess[str]:
    """Train for one epoch on the CPU. settings: further arguments of `Workspace.run`, and variables."""
    variables = {
        "WORKSHOP_DEVICE": "",
        "PYTHONPATH": str(exercises.root_folder() / "exercise-2-pytorch-cu12" / "solution"),
    }
    words = ("--data", "digits", "--device", "cpu", "--epochs", "1", "--output", str(output))
    return workspace.run(DISTRIBUTED, *words, limit=GROUP_LIMIT, **variables, **settings)


def run_in_two_processes(workspace: Workspace, folder: Path) -> list[CompletedProcess[str]]:
    """Train in two processes, as torchrun starts them, and record their first step in `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    group |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}

    def run(rank: int) -> CompletedProcess[str]:
        number = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        record = [patch("record_shares", folder=str(folder))]
        return run_for_one_epoch(workspace, folder / "run", patches=record, **group, **number)

    with ThreadPoolExecutor(2) as pool:
        return [*pool.map(run, range(2))]


def shares_each_batch(workspace: Workspace) -> Result:
    folder = workspace.scratch / "two processes"
    folder.mkdir(parents=True)
    looked_at = f"{DISTRIBUTED}, run in two processes"
    next_step = edit(workspace, "5.15", DISTRIBUTED)
    processes = run_in_two_processes(workspace, folder)
    for rank, process in enumerate(processes):
        if process.returncode:
            if module := trainings.missing_framework(process):
                return skip(f"{module} is not in this environment: run this check in the environment cpu")
            found = f"process {rank} ends with {process.returncode}: {trainings.failure_reason(process)}"
            return fail(looked_at=looked_at, expected="exit code 0", found=found, next_step=next_step)
    paths = [folder / f"{rank}.json" for rank in range(2)]
    if not all(path.is_file() for path in paths):
        found = "a process that takes no step"
        return fail(looked_at=looked_at, expected="both processes train", found=found, next_step=next_step)
    first, second = (json.loads(path.read_text(encoding="utf-8")) for path in paths)
    common = len(set(first["images"]) & set(second["images"]))
    if common or len(first["images"]) != len(second["images"]):
        return fail(
            looked_at=f"{looked_at}: the images of the first step",
            expected="half of the batch in each process, and no image in both",
            found=f"{len(first['images'])} and {len(second['images'])} images, {common} of them in both (shares)",
            next_step=next_step,
        )
    if first["weights"] != second["weights"]:
        return fail(
            looked_at=f"{looked_at}: the weights after the first step",
            expected="the same weights in both processes, because they average their gradients",
            found="different weights: two networks, and only that of the first process is saved (averaged)",
            next_step=next_step,
        )
    alone = run_for_one_epoch(workspace, folder / "alone")
    if alone.returncode:
        found = f"exit code {alone.returncode}: {trainings.failure_reason(alone)} (alone)"
        return fail(
            looked_at=f"{DISTRIBUTED}, run in one process",
            expected="exit code 0 also in one process, without torchrun",
            found=found,
            next_step=next_step,
        )
    return ok(f"{len(first['images'])} images of each batch in either process, and the same weights in both")


def trains_on_several_nodes(workspace: Workspace) -> Result:
    job = jobs.MultiJob(workspace.folder, workspace.scratch)

    def summary() -> str:
        return f"{job.options['nodes']} nodes with {job.gpu} each: srun starts a torchrun on each, and they meet at the first"

    return job_result(workspace, "5.16", "multi.sbatch", job, jobs.NODES_RULES, jobs.GROUP_RULES, summary)


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
            "Which parts of the first stage does a training run need? What could an attacker do with the rest?",
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
            "Write a digest without a tag after From:, pixi.lock in %files, %files from build in the second stage, and exports in %environment.",
            "export CONDA_PREFIX=/workshop/.pixi/envs/{{ ENVIRONMENT }}, export PATH=$CONDA_PREFIX/bin:$PATH, "
            "export PYTHONPATH=/workshop/common in the %environment of the last stage; for cuda12 also WORKSHOP_DEVICE=cuda there, and "
            "CONDA_OVERRIDE_CUDA=12.0 in %post",
        ),
        is_defined_for_apptainer,
    ),
    Check(
        "5.6",
        "an Apptainer definition converts the image of either environment, and installs nothing",
        (
            "The image contains the environment already. What is left for this definition to do?",
            "Docker, Podman and Buildah save an image as an archive. Which value of Bootstrap: reads one, and what differs between the two archives?",
            "Bootstrap: docker-archive, From: reproducible-ml-{{ ENVIRONMENT }}.tar, ENVIRONMENT=cpu in %arguments, no %post, "
            'and python -c "import torch" in %test',
        ),
        converts_the_image,
    ),
    Check(
        "5.7",
        "every action of the workflow is a commit, and its token may write only where it publishes",
        (
            "Somebody moves the tag v4 of an action to a commit that reads your token. What could that commit do?",
            "Write the 40 digits of a commit after the @. Permissions at the top apply to every job; a job can have its own.",
            "permissions: contents: read at the top; in the job publish also packages, id-token and attestations: write; "
            "actions/checkout@COMMIT # v7.0.1 with persist-credentials: false",
        ),
        has_least_rights,
    ),
    Check(
        "5.8",
        "the workflow installs from the lock, and tests, builds and runs before it publishes",
        (
            "What would the workflow publish today if a test failed, or if the image did not start?",
            "A job that names another one under needs: starts only if that one has succeeded. Pixi stops at a stale lock only with --locked.",
            "in the job test: locked: true, pixi run --locked test, pixi run --locked container-build cpu and pixi run --locked container-run cpu; "
            "in publish: needs: test, and if: github.event_name == 'push'",
        ),
        tests_before_it_publishes,
    ),
    Check(
        "5.9",
        "the workflow publishes the image by its digest, attests it, and converts it for Apptainer",
        (
            "People use a tag from the moment when it is pushed. When do you know that the image works?",
            "docker/build-push-action can push without a tag and returns the digest. The later steps use this digest.",
            "outputs: type=image,name=...,push-by-digest=true,name-canonical=true,push=true; docker run NAME@DIGEST; actions/attest with "
            "subject-digest; apptainer build train.sif docker://NAME@DIGEST; apptainer push train.sif oras://NAME:$GITHUB_REF_NAME-sif",
        ),
        publishes_by_digest,
    ),
    Check(
        "5.10",
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
        "5.11",
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
        "5.12",
        "each task of an array trains with its own seed",
        (
            "Four seeds are four jobs that differ in one number. Which variable contains it?",
            "#SBATCH --array=0-3 starts four tasks. Each has its own SLURM_ARRAY_TASK_ID and needs its own folder and log.",
            "export SEED=$SLURM_ARRAY_TASK_ID RUN=...-seed$SLURM_ARRAY_TASK_ID, and --output=slurm-%A-seed%a.log",
        ),
        has_task_for_each_seed,
    ),
    Check(
        "5.13",
        "on HTCondor the job gets a suitable GPU, and its checkpoint survives an eviction",
        (
            "HTCondor's machines share no disk: only the files that you list are copied to the machine and back.",
            "You need request_gpus with a capability, transfer_output_files and checkpoint_exit_code. When must HTCondor copy files back?",
            "transfer_output_files = results, when_to_transfer_output = ON_EXIT_OR_EVICT, checkpoint_exit_code = 85, on_exit_hold = ExitBySignal == false && ExitCode == 1",
        ),
        resumes_after_eviction,
    ),
    Check(
        "5.14",
        "one submit file trains a seed in each of several HTCondor jobs",
        (
            "Four seeds are four jobs that differ in one number. Which line of a submit file makes several jobs?",
            "`queue NAME in (...)` submits a job for each item of the list, and $(NAME) is the item. Which names must contain it?",
            "queue seed in (0, 1, 2, 3), and -seed$(seed) in run, output and error; no line `seed = 0`",
        ),
        has_job_for_each_seed,
    ),
    Check(
        "5.15",
        "each process trains with its share of a batch, and all have the same weights",
        (
            "Two processes that do not communicate do the same work twice. What must they divide, and what must they exchange?",
            "Every process knows its number, run.rank, and how many there are, run.world. DistributedDataParallel averages gradients.",
            "train_step(batch[run.rank :: run.world]), and shared = DistributedDataParallel(network) if dist.is_initialized() else network",
        ),
        shares_each_batch,
    ),
    Check(
        "5.16",
        "the job starts a torchrun on each of its nodes, and they train together",
        (
            "Slurm runs a batch script only on the first node. Which command starts a program on every node of the job?",
            "srun starts one task on each node. Each torchrun must know how many there are, and where they meet.",
            "#SBATCH --nodes=2, --ntasks-per-node=1; srun python -m torch.distributed.run --nnodes $SLURM_NNODES --nproc-per-node 1 --rdzv-backend c10d "
            "--rdzv-id $SLURM_JOB_ID --rdzv-endpoint FIRST_NODE:29500 train_distributed.py",
        ),
        trains_on_several_nodes,
    ),
]
