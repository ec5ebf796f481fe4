"""What checks 5.6 to 5.9 ask of batch scripts and submit files, wherever the files lie."""

from __future__ import annotations

import re

from workshop.checking.checks import Answer, Workspace, fail, ok, skip
from workshop.jobs import batch_files, rehearsal

CHECKPOINT = "checkpoint.safetensors"
LEAST_MEMORY = 512  # MiB; the training takes some 400 on a CPU, 1,500 with CUDA
LEAST_CAPABILITY = 7.5  # where conda-forge's PyTorch for CUDA 12.9 begins
SEVERAL = 10  # tasks of an array that are tried out
SLURM = {
    "SLURM_JOB_ID": "12",
    "SLURM_JOBID": "12",
    "SLURM_CPUS_PER_TASK": "2",
    "SLURM_NTASKS": "1",
    "SLURMD_NODENAME": "n1",
    "SLURM_JOB_NAME": "rehearsal",
    "SLURM_NNODES": "1",
}


def stage_of(workspace: Workspace):
    """A clone with the learner's files under both names of their folder; made once for all checks."""
    if not (workspace.scratch / "stage").exists():
        for path in sorted(workspace.folder.glob("*.sh")):
            batch_files.text_of(path, "a script for bash")
        workspace.scratch.mkdir(parents=True, exist_ok=True)
        rehearsal.stage(
            workspace.scratch,
            {f"exercise-5-container/{name}": workspace.folder for name in ("starter", "solution")}
            | {"exercise-2-pytorch-cu12": _exercise_2(workspace)},
        )
    return workspace.scratch / "stage"


def _exercise_2(workspace: Workspace):
    from workshop.exercises import root_folder

    beside = workspace.folder.parent.parent / "exercise-2-pytorch-cu12"
    return beside if beside.is_dir() else root_folder() / "exercise-2-pytorch-cu12"


def tried(workspace: Workspace, script: str, ends: str, job=None, begun=None, checkpoint=True, arguments=(), **how):
    """`rehearsal.rehearse` of one of the learner's scripts.

    begun: a run that was interrupted before, after its first `checkpoint` or before.
    """
    place = stage_of(workspace)
    if begun:
        left = place / "clone" / f"{begun}.partial"
        left.mkdir(parents=True, exist_ok=True)
        if checkpoint:
            (left / CHECKPOINT).touch()
    return rehearsal.rehearse(place, workspace.folder / script, ends, job or SLURM, arguments=arguments, **how)


def no_bash() -> Answer | None:
    return None if rehearsal.bash() else skip("no bash here: a job script is tried on Linux or macOS")


def trains(found, script: str) -> Answer | None:
    """The failed answer where a rehearsed script did not train exercise 2's network on a GPU; None where it did."""
    training = found.training()
    if training is None:
        return fail(
            looked_at=f"{script}, rehearsed",
            expected="that it runs exercise-2-pytorch-cu12/.../train.py",
            found=found.complaint(),
            next_step=f"bash -x {script}: see where it stops",
        )
    if not any("train.py" in word or word == rehearsal.TASK for word in training["words"]):
        return fail(
            looked_at=f"{script}, rehearsed",
            expected="that it runs train.py",
            found=" ".join(training["words"]),
            next_step="run train.py",
        )
    device = found.value("--device") or training["device"]
    if training["name"] == "pixi" and any("cuda12" in word for word in training["words"]):
        device = device or "cuda"  # activating this environment sets WORKSHOP_DEVICE
    if device != "cuda" and "WORKSHOP_DEVICE=cuda" not in found.words():
        return fail(
            looked_at=f"{script}, rehearsed",
            expected="that the training insists on its GPU",
            found=f"--device {device or 'not said'}",
            next_step="--device cuda: without it a job that is given no GPU trains on the CPU",
        )
    for call in found.calls:
        options = " ".join(call["words"])
        if not {"exec", "run", "shell"} & set(call["words"]):
            continue  # podman load, apptainer --version
        if call["name"] in ("apptainer", "singularity") and "--nv" not in options:
            return fail(
                looked_at=f"{script}, rehearsed",
                expected="apptainer with --nv",
                found=f"{call['name']} {options}",
                next_step="apptainer exec --nv",
            )
        if call["name"] in ("podman", "docker") and "--gpus" not in options and "nvidia" not in options:
            return fail(
                looked_at=f"{script}, rehearsed",
                expected="a GPU in the container",
                found=f"{call['name']} {options}",
                next_step="podman run --device nvidia.com/gpu=all",
            )
    return None


def asks_for_resources(workspace: Workspace) -> Answer:
    batch = batch_files.read_batch(workspace.folder / "train.sbatch")
    options = batch.options
    gpus = " ".join(options.get(name, "") for name in ("gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket"))
    tres = " ".join(options.get(name, "") for name in ("gres", "tres-per-task")).strip()
    asked = gpus.strip() or (tres if "gpu" in tres else "")
    where = "the #SBATCH lines of train.sbatch"
    if not asked or asked.split(":")[-1].split("=")[-1] == "0":
        return fail(
            looked_at=where, expected="a GPU", found=asked or "none asked for", next_step="#SBATCH --gres=gpu:1"
        )
    if not batch_files.minutes(options.get("time", "")):
        found = options.get("time", "none: the site's own, which may be minutes or days")
        found += ": without a limit" if batch_files.minutes(found) == 0 else ""
        return fail(looked_at=where, expected="a limit on the time", found=found, next_step="#SBATCH --time=00:30:00")
    memory = next((options[name] for name in ("mem", "mem-per-cpu", "mem-per-gpu") if name in options), None)
    if memory is None:
        return fail(looked_at=where, expected="memory", found="none asked for", next_step="#SBATCH --mem=4G")
    if (size := batch_files.megabytes(memory)) is None or 0 < size < LEAST_MEMORY:
        found = memory if size is None else f"{memory}: {size:g} MiB, which importing PyTorch does not fit into"
        return fail(
            looked_at=where, expected="a size with its unit, as in 4G", found=found, next_step="#SBATCH --mem=4G"
        )
    if options.get("ntasks", "1") != "1" or options.get("ntasks-per-node", "1") != "1":
        return fail(
            looked_at=where,
            expected="one task: the training is one process",
            found=f"--ntasks={options['ntasks']}"
            if "ntasks" in options
            else f"--ntasks-per-node={options['ntasks-per-node']}",
            next_step="#SBATCH --ntasks=1",
        )
    if answer := no_bash():
        return answer
    found = tried(workspace, "train.sbatch", "well")
    if answer := trains(found, "train.sbatch"):
        return answer
    if not found.value("--output"):
        return fail(
            looked_at="train.sbatch, rehearsed",
            expected="a folder for the run that this job alone has",
            found="no --output",
            next_step="--output results/exercise-2-pytorch-cu12/slurm-$SLURM_JOB_ID",
        )
    if found.code != 0:
        return fail(
            looked_at="train.sbatch, rehearsed with a training that ends well",
            expected="exit code 0",
            found=found.complaint(),
            next_step="end with the exit code of the training",
        )
    failed = tried(workspace, "train.sbatch", "badly")
    if not failed.code:
        return fail(
            looked_at="train.sbatch, rehearsed with a training that ends with 1",
            expected="an exit code that is not 0",
            found=f"exit code {failed.code}: Slurm would call the job completed",
            next_step="wait for the training and exit with its code: code=0; wait $training || code=$?; exit $code",
        )
    return ok(f"{asked}, {options['time']}, {memory}; it insists on its GPU and fails when the training does")


def survives_its_end(workspace: Workspace) -> Answer:
    batch = batch_files.read_batch(workspace.folder / "train.sbatch")
    where = "the #SBATCH lines of train.sbatch"
    wanted = batch.options.get("signal", "")
    target, _, rest = wanted.rpartition(":")
    name, at, seconds = rest.partition("@")
    if not wanted:
        return fail(
            looked_at=where,
            expected="a signal before the time is over",
            found="no --signal: at the end the job is killed where it is",
            next_step="#SBATCH --signal=B:USR1@120",
        )
    number = rehearsal.signal_number(name)
    if number == rehearsal.signal_number("TERM"):
        return fail(
            looked_at=where,
            expected="a signal that means nothing else",
            found=f"--signal={wanted}: scancel sends it too, and a job that somebody cancels would come back",
            next_step="#SBATCH --signal=B:USR1@120",
        )
    if at and (not seconds.isdecimal() or int(seconds) < 10):
        return fail(
            looked_at=where,
            expected="time to end an epoch: a minute or two",
            found=f"--signal={wanted}",
            next_step="#SBATCH --signal=B:USR1@120",
        )
    limit = batch_files.minutes(batch.options.get("time", ""))
    if limit and int(seconds or 60) >= limit * 60:
        return fail(
            looked_at=where,
            expected="a signal near the end of the job",
            found=f"--signal={wanted} with --time={batch.options['time']}: it comes at once",
            next_step="a longer --time, or fewer seconds",
        )
    if "requeue" not in batch.options or "no-requeue" in batch.options:
        return fail(
            looked_at=where,
            expected="--requeue: a site may have jobs that are not put back",
            found="no --requeue",
            next_step="#SBATCH --requeue",
        )
    if batch.options.get("open-mode") not in ("append", "a"):
        return fail(
            looked_at=where,
            expected="--open-mode=append",
            found="no such line: a job that starts again may begin its log anew",
            next_step="#SBATCH --open-mode=append",
        )
    if answer := no_bash():
        return answer
    to_step = "B" not in target.upper()
    how = {"signal": str(number), "to_training": to_step}
    told = tried(workspace, "train.sbatch", "stopped", **how)
    seen = f"train.sbatch, rehearsed: {name} to the {'job step' if to_step else 'batch script'}"
    if to_step and not any(call["name"] == "srun" for call in told.calls):
        return fail(
            looked_at=seen,
            expected="a training that Slurm can tell",
            found="no srun, so there is no job step that it would signal",
            next_step="#SBATCH --signal=B:USR1@120 and a trap, or srun before the training",
        )
    if not told.heard():
        return fail(
            looked_at=seen,
            expected="that the training is told, by SIGUSR1 or SIGTERM",
            found=told.complaint(),
            next_step="training & trap 'kill $!' USR1; wait: bash hears no signal while it runs a command",
        )
    if told.code is None:
        return fail(
            looked_at=seen,
            expected="a script that ends when the training has",
            found=told.complaint(),
            next_step="wait for the training again",
        )
    if not told.requeued() and told.code > 128:
        return fail(
            looked_at=seen,
            expected="that the script waits until the training has ended",
            found=f"exit code {told.code}, which is 128 and "
            f"the signal's {told.code - 128}: it broke off `wait`, and the training was not done",
            next_step="wait again: while kill -0 $training 2>/dev/null; do code=0; wait $training || code=$?; done",
        )
    if not told.requeued():
        return fail(
            looked_at=seen,
            expected="that a job whose training ended with 85 is put back into the queue",
            found=f"exit code {told.code}",
            next_step="scontrol requeue $SLURM_JOB_ID where the training's code is 85",
        )
    if tried(workspace, "train.sbatch", "stopped", signal="TERM").requeued():
        return fail(
            looked_at="train.sbatch, rehearsed: SIGTERM, as from scancel",
            expected="no requeue: nobody could end this job",
            found="scontrol requeue",
            next_step="requeue only where USR1 came: trap 'told=yes; kill $training' USR1",
        )
    for ends, said, more in (
        ("badly", "stopped with a message", {}),
        ("well", "has ended well", {}),
        ("stopped-badly", "was told, and stopped with a message", how),
    ):
        if tried(workspace, "train.sbatch", ends, **more).requeued():
            return fail(
                looked_at=f"train.sbatch, rehearsed with a training that {said}",
                expected="no requeue: it would go round for ever",
                found="scontrol requeue",
                next_step="requeue only where the training's exit code is 85",
            )
    output, resumed = told.value("--output") or "", "--resume" in (told.training() or {})["words"]
    if resumed:
        return fail(
            looked_at="train.sbatch, rehearsed as a new job",
            expected="no --resume where there is no checkpoint",
            found="--resume: the first start would be refused",
            next_step=f"--resume only where {output}.partial/{CHECKPOINT} is",
        )
    restarted = SLURM | {"SLURM_RESTART_COUNT": "1"}
    empty = tried(workspace, "train.sbatch", "well", restarted, begun=output, checkpoint=False)
    if "--resume" in (empty.training() or {"words": []})["words"]:
        return fail(
            looked_at=f"train.sbatch, rehearsed with {output}.partial there and no checkpoint in it",
            expected="no --resume",
            found="--resume: the training would refuse that",
            next_step=f"--resume only where {output}.partial/{CHECKPOINT} is",
        )
    again = tried(workspace, "train.sbatch", "well", restarted, begun=output)
    if not again.training() or "--resume" not in again.training()["words"] or again.value("--output") != output:
        return fail(
            looked_at=f"train.sbatch, rehearsed with {output}.partial/{CHECKPOINT} there",
            expected="that it goes on by --resume",
            found=f"--output {again.value('--output')}, no --resume" if again.training() else again.complaint(),
            next_step=f'if [ -e "$RUN.partial/{CHECKPOINT}" ]; then more=--resume; fi',
        )
    return ok(f"{wanted} reaches the training, 85 puts the job back, and it goes on from its checkpoint")


def has_a_task_for_each_seed(workspace: Workspace) -> Answer:
    batch = batch_files.read_batch(workspace.folder / "array.sbatch")
    where = "the #SBATCH lines of array.sbatch"
    array = batch.options.get("array", "")
    tasks = batch_files.indices(array)
    if len(tasks) < 2:
        return fail(
            looked_at=where,
            expected="an array of two tasks or more",
            found=f"--array={array}" if array else "no --array",
            next_step="#SBATCH --array=0-3",
        )
    log = batch.options.get("output", "slurm-%A_%a.out")
    if "%a" not in log and "%j" not in log:
        return fail(
            looked_at=where,
            expected="a log for each task",
            found=f"--output={log}",
            next_step="#SBATCH --output=slurm-%A-seed%a.log",
        )
    if answer := no_bash():
        return answer
    found = {}
    for number, task in enumerate(tasks[:SEVERAL]):
        job = SLURM | {
            "SLURM_JOB_ID": str(12 + number),
            "SLURM_ARRAY_JOB_ID": "12",
            "SLURM_ARRAY_TASK_ID": str(task),
            "SLURM_ARRAY_TASK_COUNT": str(len(tasks)),
            "SLURM_ARRAY_TASK_MIN": str(tasks[0]),
            "SLURM_ARRAY_TASK_MAX": str(tasks[-1]),
        }
        seen = tried(workspace, "array.sbatch", "well", job)
        if answer := trains(seen, "array.sbatch"):
            return answer
        found[task] = (seen.value("--seed"), seen.value("--output"))
    for number, option, what in ((0, "--seed", "a seed"), (1, "--output", "a folder")):
        seen_before: dict[str | None, int] = {}
        for task, values in found.items():
            if values[number] is None or values[number] in seen_before:
                other = f"{option} {values[number]} in tasks {seen_before.get(values[number], task)} and {task}"
                return fail(
                    looked_at=f"{len(found)} tasks of array.sbatch, rehearsed",
                    expected=f"{what} for each",
                    found=other if values[number] else f"no {option}",
                    next_step=f"{option} with $SLURM_ARRAY_TASK_ID in it",
                )
            seen_before[values[number]] = task
    first, second, *_ = found.values()
    return ok(f"{len(tasks)} tasks: seed {first[0]} in {first[1]}, seed {second[0]} in {second[1]}")


def survives_eviction(workspace: Workspace) -> Answer:
    submit = batch_files.read_submit(workspace.folder / "train.sub")
    keys, where = submit.keys, "train.sub"
    image = keys.get("container_image") or keys.get("docker_image") or ""
    universe = keys.get("universe", "container").lower()
    if not image or universe not in ("container", "docker", "vanilla"):
        return fail(
            looked_at=where,
            expected="the container universe, with an image",
            found=f"universe {universe}, image {image or 'none'}",
            next_step="universe = container, and container_image = train-cuda12.sif",
        )
    name = image.rsplit("/", 1)[-1]
    fetched = "://" in image or "docker_image" in keys  # else it is a file
    if "@sha256:" not in image and fetched and (":" not in name or name.endswith(":latest")):
        return fail(
            looked_at=where,
            expected="an image by its digest, or a file",
            found=f"{image}: another one tomorrow",
            next_step="docker://NAME@sha256:..., or a .sif file",
        )
    gpus = keys.get("request_gpus", "")
    if not gpus.isdecimal() or int(gpus) < 1:
        return fail(
            looked_at=where,
            expected="a GPU",
            found=f"request_gpus = {gpus}" if gpus else "none asked for",
            next_step="request_gpus = 1",
        )
    asked = " ".join(keys.get(key, "") for key in ("require_gpus", "requirements")).lower()
    if "gpus_minimum_capability" in keys or "capability" not in asked:
        least = keys.get("gpus_minimum_capability", "")
        if not re.fullmatch(r"\d+(\.\d+)?", least) or float(least) < LEAST_CAPABILITY:
            return fail(
                looked_at=where,
                expected=f"a GPU that this PyTorch can use: capability {LEAST_CAPABILITY} or newer",
                found=f"gpus_minimum_capability = {least}" if least else "any",
                next_step="gpus_minimum_capability = 7.5",
            )
    for key in ("request_memory", "request_disk"):
        if key not in keys:
            return fail(
                looked_at=where,
                expected=key,
                found="none: the pool's default is too small for an image",
                next_step=f"{key} = ...",
            )
    if "log" not in keys:
        return fail(
            looked_at=where,
            expected="a log of what becomes of the job",
            found="none",
            next_step="log = htcondor-$(ClusterId).log",
        )
    return _transfers(submit) or _ends(submit) or no_bash() or _rehearsed_there(workspace, submit)


def _listed(keys: dict[str, str], key: str) -> list[str]:
    return [part.strip().removeprefix("./") for part in keys.get(key, "").split(",") if part.strip()]


def _transfers(submit: batch_files.Submit) -> Answer | None:
    keys, where = submit.keys, "train.sub"
    if keys.get("should_transfer_files", "if_needed").lower() == "no":
        return fail(
            looked_at=where,
            expected="files that travel with the job",
            found="should_transfer_files = NO",
            next_step="should_transfer_files = YES",
        )
    sent = _listed(keys, "transfer_input_files")
    for needed in ("common", "exercise-2-pytorch-cu12"):
        if f"{needed}/" in sent:
            return fail(
                looked_at=f"transfer_input_files in {where}",
                expected=f"{needed}, the folder",
                found=f"{needed}/ sends what is in it, and not the folder",
                next_step=f"{needed} without the slash",
            )
        if not any(needed in part for part in sent):
            return fail(
                looked_at=f"transfer_input_files in {where}",
                expected=needed,
                found=", ".join(sent) or "nothing is sent",
                next_step="transfer_input_files = common, exercise-2-pytorch-cu12",
            )
    if not _listed(keys, "transfer_output_files"):
        return fail(
            looked_at=where,
            expected="the folder of the run in transfer_output_files",
            found="none: HTCondor brings new files back, and no folders",
            next_step="transfer_output_files = results",
        )
    return None


def _ends(submit: batch_files.Submit) -> Answer | None:
    keys, where = submit.keys, "train.sub"
    if keys.get("checkpoint_exit_code") != "85":
        found = keys.get("checkpoint_exit_code", "none: the job would be over when it has kept an epoch")
        return fail(
            looked_at=where,
            expected="checkpoint_exit_code 85, with which the training says that it goes on",
            found=found,
            next_step="checkpoint_exit_code = 85",
        )
    evict = keys.get("when_to_transfer_output", "on_exit").lower()
    if evict != "on_exit_or_evict":
        return fail(
            looked_at=where,
            expected="that an eviction brings the checkpoint back",
            found=f"when_to_transfer_output = {evict}: what it wrote since it last ended with 85 is lost",
            next_step="when_to_transfer_output = ON_EXIT_OR_EVICT",
        )
    if keys.get("should_transfer_files", "yes").lower() == "if_needed":
        return fail(
            looked_at=where,
            expected="should_transfer_files = YES",
            found="IF_NEEDED, which ON_EXIT_OR_EVICT excludes",
            next_step="should_transfer_files = YES",
        )
    hold = keys.get("on_exit_hold")
    for code, wanted in ((1, True), (0, False)):
        if hold is None or batch_files.holds(hold, code) is (
            not wanted
        ):  # None: it asks for more than can be known here
            become = "held, so that a person reads its message" if wanted else "not held"
            found = (
                f"on_exit_hold = {hold}"
                if hold is not None
                else "no on_exit_hold: it is tried again, or gone as if done"
            )
            return fail(
                looked_at=where,
                expected=f"that a job which ends with {code} is {become}",
                found=found,
                next_step="on_exit_hold = ExitBySignal == false && ExitCode == 1",
            )
    return None


def _rehearsed_there(workspace: Workspace, submit: batch_files.Submit) -> Answer:
    keys = submit.keys
    named = keys.get("executable", "")
    script = workspace.folder / named.rsplit("/", 1)[-1]
    # From the clone's root, where the job is submitted; a workspace of one's own may be submitted from its folder.
    there = (stage_of(workspace) / "clone" / named).is_file() or (workspace.folder / named).is_file()
    if not named or not there or not script.is_file():
        return fail(
            looked_at="executable in train.sub",
            expected="a script that lies beside it, by its path from the clone's root",
            found=named or "none",
            next_step="executable = exercise-5-container/starter/train.sh",
        )
    job = batch_files.environment_of(submit) | {
        "_CONDOR_SCRATCH_DIR": str(stage_of(workspace)),
        "_CONDOR_SLOT": "slot1",
    }
    job = {key: value.replace("$(ClusterId)", "12").replace("$(ProcId)", "0") for key, value in job.items()}
    name = script.name
    words = keys.get("arguments", "").strip('"').replace("$(ClusterId)", "12").replace("$(ProcId)", "0").split()
    told = tried(workspace, name, "stopped", job, arguments=words, signal="TERM")
    if answer := trains(told, name):
        return answer
    output = told.value("--output") or ""
    back = [part.rstrip("/") for part in _listed(keys, "transfer_output_files")]
    kept = [part.rstrip("/") for part in _listed(keys, "transfer_checkpoint_files")] or back
    for listed, what in ((back, "transfer_output_files"), (kept, "transfer_checkpoint_files")):
        if not any(f"{output}.partial/".startswith((f"{part}/", f"{part}.")) for part in listed):
            return fail(
                looked_at=f"{what} in train.sub",
                expected=f"the folder that the run and its checkpoint are in: {output}",
                found=", ".join(listed),
                next_step=f"{what} = {output.split('/')[0] or 'results'}",
            )
    if not told.heard() or told.code != 85:
        return fail(
            looked_at=f"{name}, rehearsed: SIGTERM, as at an eviction",
            expected="that the training is told, and exit code 85",
            found=f"exit code {told.code}, {'told' if told.heard() else 'not told'}",
            next_step='exec "${command[@]}": the training in the place of the script',
        )
    if "--resume" in told.training()["words"]:
        return fail(
            looked_at=f"{name}, rehearsed as a new job",
            expected="no --resume where there is no checkpoint",
            found="--resume",
            next_step=f"--resume only where {output}.partial/{CHECKPOINT} is",
        )
    again = tried(workspace, name, "well", job, begun=output, arguments=words)
    if not again.training() or "--resume" not in again.training()["words"]:
        return fail(
            looked_at=f"{name}, rehearsed with {output}.partial/{CHECKPOINT} there",
            expected="that it goes on by --resume",
            found="no --resume",
            next_step=f'if [ -e "$RUN.partial/{CHECKPOINT}" ]; then command+=(--resume); fi',
        )
    failed = tried(workspace, name, "badly", job, arguments=words)
    if failed.code != 1 or again.code != 0:
        return fail(
            looked_at=f"{name}, rehearsed",
            expected="the exit code of the training",
            found=f"{failed.code} for 1, {again.code} for 0",
            next_step="let the training be the script's last command, by exec",
        )
    return ok(f"evicted, {output} comes back, and the job goes on from it; a message holds it")
