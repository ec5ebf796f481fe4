"""What checks 5.6 to 5.9 ask of batch scripts and submit files, wherever the files lie."""

from __future__ import annotations

import re

from workshop import jobs, rehearsal
from workshop.checks import Answer, Workspace, fail, ok, skip

CHECKPOINT = "checkpoint.safetensors"
LEAST_MEMORY = 512  # MiB; the training takes some 400 on a CPU, 1,500 with CUDA
LEAST_CAPABILITY = 7.5  # where conda-forge's PyTorch for CUDA 12.9 begins
SEVERAL = 10  # tasks of an array that are tried out
SLURM = {
    "SLURM_JOB_ID": "12", "SLURM_JOBID": "12", "SLURM_CPUS_PER_TASK": "2", "SLURM_NTASKS": "1", "SLURMD_NODENAME": "n1",
    "SLURM_JOB_NAME": "rehearsal", "SLURM_NNODES": "1",
}  # fmt: skip


def stage_of(workspace: Workspace):
    """A clone with the learner's files under both names of their folder; made once for all checks."""
    if not (workspace.scratch / "stage").exists():
        for path in sorted(workspace.folder.glob("*.sh")):
            jobs.text_of(path, "a script for bash")
        workspace.scratch.mkdir(parents=True, exist_ok=True)
        rehearsal.stage(
            workspace.scratch,
            {f"exercise-5-container/{name}": workspace.folder for name in ("starter", "solution")}
            | {"exercise-2-pytorch-cu12": _exercise_2(workspace)},
        )
    return workspace.scratch / "stage"


def _exercise_2(workspace: Workspace):
    from workshop.checks import root_folder

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
        return fail(f"{script}, rehearsed", "that it runs exercise-2-pytorch-cu12/.../train.py", found.complaint(),
                    f"bash -x {script}: see where it stops")  # fmt: skip
    if not any("train.py" in word or word == rehearsal.TASK for word in training["words"]):
        return fail(f"{script}, rehearsed", "that it runs train.py", " ".join(training["words"]), "run train.py")
    device = found.value("--device") or training["device"]
    if training["name"] == "pixi" and any("cuda12" in word for word in training["words"]):
        device = device or "cuda"  # activating this environment sets WORKSHOP_DEVICE
    if device != "cuda" and "WORKSHOP_DEVICE=cuda" not in found.words():
        return fail(f"{script}, rehearsed", "that the training insists on its GPU", f"--device {device or 'not said'}",
                    "--device cuda: without it a job that is given no GPU trains on the CPU")  # fmt: skip
    for call in found.calls:
        options = " ".join(call["words"])
        if not {"exec", "run", "shell"} & set(call["words"]):
            continue  # podman load, apptainer --version
        if call["name"] in ("apptainer", "singularity") and "--nv" not in options:
            return fail(
                f"{script}, rehearsed", "apptainer with --nv", f"{call['name']} {options}", "apptainer exec --nv"
            )
        if call["name"] in ("podman", "docker") and "--gpus" not in options and "nvidia" not in options:
            return fail(f"{script}, rehearsed", "a GPU in the container", f"{call['name']} {options}",
                        "podman run --device nvidia.com/gpu=all")  # fmt: skip
    return None


def asks_for_resources(workspace: Workspace) -> Answer:
    batch = jobs.read_batch(workspace.folder / "train.sbatch")
    options = batch.options
    gpus = " ".join(options.get(name, "") for name in ("gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket"))
    tres = " ".join(options.get(name, "") for name in ("gres", "tres-per-task")).strip()
    asked = gpus.strip() or (tres if "gpu" in tres else "")
    where = "the #SBATCH lines of train.sbatch"
    if not asked or asked.split(":")[-1].split("=")[-1] == "0":
        return fail(where, "a GPU", asked or "none asked for", "#SBATCH --gres=gpu:1")
    if not jobs.minutes(options.get("time", "")):
        found = options.get("time", "none: the site's own, which may be minutes or days")
        found += ": without a limit" if jobs.minutes(found) == 0 else ""
        return fail(where, "a limit on the time", found, "#SBATCH --time=00:30:00")
    memory = next((options[name] for name in ("mem", "mem-per-cpu", "mem-per-gpu") if name in options), None)
    if memory is None:
        return fail(where, "memory", "none asked for", "#SBATCH --mem=4G")
    if (size := jobs.megabytes(memory)) is None or 0 < size < LEAST_MEMORY:
        found = memory if size is None else f"{memory}: {size:g} MiB, which importing PyTorch does not fit into"
        return fail(where, "a size with its unit, as in 4G", found, "#SBATCH --mem=4G")
    if options.get("ntasks", "1") != "1" or options.get("ntasks-per-node", "1") != "1":
        return fail(where, "one task: the training is one process", f"--ntasks={options['ntasks']}" if "ntasks" in options
                    else f"--ntasks-per-node={options['ntasks-per-node']}", "#SBATCH --ntasks=1")  # fmt: skip
    if answer := no_bash():
        return answer
    found = tried(workspace, "train.sbatch", "well")
    if answer := trains(found, "train.sbatch"):
        return answer
    if not found.value("--output"):
        return fail("train.sbatch, rehearsed", "a folder for the run that this job alone has", "no --output",
                    "--output results/exercise-2-pytorch-cu12/slurm-$SLURM_JOB_ID")  # fmt: skip
    if found.code != 0:
        return fail("train.sbatch, rehearsed with a training that ends well", "exit code 0", found.complaint(),
                    "end with the exit code of the training")  # fmt: skip
    failed = tried(workspace, "train.sbatch", "badly")
    if not failed.code:
        return fail("train.sbatch, rehearsed with a training that ends with 1", "an exit code that is not 0",
                    f"exit code {failed.code}: Slurm would call the job completed",
                    "wait for the training and exit with its code: code=0; wait $training || code=$?; exit $code")  # fmt: skip
    return ok(f"{asked}, {options['time']}, {memory}; it insists on its GPU and fails when the training does")


def survives_its_end(workspace: Workspace) -> Answer:
    batch = jobs.read_batch(workspace.folder / "train.sbatch")
    where = "the #SBATCH lines of train.sbatch"
    wanted = batch.options.get("signal", "")
    target, _, rest = wanted.rpartition(":")
    name, at, seconds = rest.partition("@")
    if not wanted:
        return fail(where, "a signal before the time is over", "no --signal: at the end the job is killed where it is",
                    "#SBATCH --signal=B:USR1@120")  # fmt: skip
    number = rehearsal.signal_number(name)
    if number == rehearsal.signal_number("TERM"):
        return fail(where, "a signal that means nothing else", f"--signal={wanted}: scancel sends it too, and a job that "
                    "somebody cancels would come back", "#SBATCH --signal=B:USR1@120")  # fmt: skip
    if at and (not seconds.isdecimal() or int(seconds) < 10):
        return fail(where, "time to end an epoch: a minute or two", f"--signal={wanted}", "#SBATCH --signal=B:USR1@120")
    limit = jobs.minutes(batch.options.get("time", ""))
    if limit and int(seconds or 60) >= limit * 60:
        return fail(where, "a signal near the end of the job", f"--signal={wanted} with --time={batch.options['time']}: "
                    "it comes at once", "a longer --time, or fewer seconds")  # fmt: skip
    if "requeue" not in batch.options or "no-requeue" in batch.options:
        return fail(where, "--requeue: a site may have jobs that are not put back", "no --requeue", "#SBATCH --requeue")
    if batch.options.get("open-mode") not in ("append", "a"):
        return fail(where, "--open-mode=append", "no such line: a job that starts again may begin its log anew",
                    "#SBATCH --open-mode=append")  # fmt: skip
    if answer := no_bash():
        return answer
    to_step = "B" not in target.upper()
    how = {"signal": str(number), "to_training": to_step}
    told = tried(workspace, "train.sbatch", "stopped", **how)
    seen = f"train.sbatch, rehearsed: {name} to the {'job step' if to_step else 'batch script'}"
    if to_step and not any(call["name"] == "srun" for call in told.calls):
        return fail(seen, "a training that Slurm can tell", "no srun, so there is no job step that it would signal",
                    "#SBATCH --signal=B:USR1@120 and a trap, or srun before the training")  # fmt: skip
    if not told.heard():
        return fail(seen, "that the training is told, by SIGUSR1 or SIGTERM", told.complaint(),
                    "training & trap 'kill $!' USR1; wait: bash hears no signal while it runs a command")  # fmt: skip
    if told.code is None:
        return fail(seen, "a script that ends when the training has", told.complaint(), "wait for the training again")
    if not told.requeued() and told.code > 128:
        return fail(seen, "that the script waits until the training has ended", f"exit code {told.code}, which is 128 and "
                    f"the signal's {told.code - 128}: it broke off `wait`, and the training was not done",
                    "wait again: while kill -0 $training 2>/dev/null; do code=0; wait $training || code=$?; done")  # fmt: skip
    if not told.requeued():
        return fail(seen, "that a job whose training ended with 85 is put back into the queue", f"exit code {told.code}",
                    "scontrol requeue $SLURM_JOB_ID where the training's code is 85")  # fmt: skip
    if tried(workspace, "train.sbatch", "stopped", signal="TERM").requeued():
        return fail("train.sbatch, rehearsed: SIGTERM, as from scancel", "no requeue: nobody could end this job",
                    "scontrol requeue", "requeue only where USR1 came: trap 'told=yes; kill $training' USR1")  # fmt: skip
    for ends, said, more in (
        ("badly", "stopped with a message", {}), ("well", "has ended well", {}), ("stopped-badly", "was told, and stopped with a message", how),
    ):  # fmt: skip
        if tried(workspace, "train.sbatch", ends, **more).requeued():
            return fail(f"train.sbatch, rehearsed with a training that {said}", "no requeue: it would go round for ever",
                        "scontrol requeue", "requeue only where the training's exit code is 85")  # fmt: skip
    output, resumed = told.value("--output") or "", "--resume" in (told.training() or {})["words"]
    if resumed:
        return fail("train.sbatch, rehearsed as a new job", "no --resume where there is no checkpoint",
                    "--resume: the first start would be refused", f"--resume only where {output}.partial/{CHECKPOINT} is")  # fmt: skip
    restarted = SLURM | {"SLURM_RESTART_COUNT": "1"}
    empty = tried(workspace, "train.sbatch", "well", restarted, begun=output, checkpoint=False)
    if "--resume" in (empty.training() or {"words": []})["words"]:
        return fail(f"train.sbatch, rehearsed with {output}.partial there and no checkpoint in it", "no --resume",
                    "--resume: the training would refuse that", f"--resume only where {output}.partial/{CHECKPOINT} is")  # fmt: skip
    again = tried(workspace, "train.sbatch", "well", restarted, begun=output)
    if not again.training() or "--resume" not in again.training()["words"] or again.value("--output") != output:
        return fail(f"train.sbatch, rehearsed with {output}.partial/{CHECKPOINT} there", "that it goes on by --resume",
                    f"--output {again.value('--output')}, no --resume" if again.training() else again.complaint(),
                    f'if [ -e "$RUN.partial/{CHECKPOINT}" ]; then more=--resume; fi')  # fmt: skip
    return ok(f"{wanted} reaches the training, 85 puts the job back, and it goes on from its checkpoint")


def has_a_task_for_each_seed(workspace: Workspace) -> Answer:
    batch = jobs.read_batch(workspace.folder / "array.sbatch")
    where = "the #SBATCH lines of array.sbatch"
    array = batch.options.get("array", "")
    tasks = jobs.indices(array)
    if len(tasks) < 2:
        return fail(where, "an array of two tasks or more", f"--array={array}" if array else "no --array",
                    "#SBATCH --array=0-3")  # fmt: skip
    log = batch.options.get("output", "slurm-%A_%a.out")
    if "%a" not in log and "%j" not in log:
        return fail(where, "a log for each task", f"--output={log}", "#SBATCH --output=slurm-%A-seed%a.log")
    if answer := no_bash():
        return answer
    found = {}
    for number, task in enumerate(tasks[:SEVERAL]):
        job = SLURM | {
            "SLURM_JOB_ID": str(12 + number), "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": str(task),
            "SLURM_ARRAY_TASK_COUNT": str(len(tasks)), "SLURM_ARRAY_TASK_MIN": str(tasks[0]),
            "SLURM_ARRAY_TASK_MAX": str(tasks[-1]),
        }  # fmt: skip
        seen = tried(workspace, "array.sbatch", "well", job)
        if answer := trains(seen, "array.sbatch"):
            return answer
        found[task] = (seen.value("--seed"), seen.value("--output"))
    for number, option, what in ((0, "--seed", "a seed"), (1, "--output", "a folder")):
        seen_before: dict[str | None, int] = {}
        for task, values in found.items():
            if values[number] is None or values[number] in seen_before:
                other = f"{option} {values[number]} in tasks {seen_before.get(values[number], task)} and {task}"
                return fail(f"{len(found)} tasks of array.sbatch, rehearsed", f"{what} for each",
                            other if values[number] else f"no {option}", f"{option} with $SLURM_ARRAY_TASK_ID in it")  # fmt: skip
            seen_before[values[number]] = task
    first, second, *_ = found.values()
    return ok(f"{len(tasks)} tasks: seed {first[0]} in {first[1]}, seed {second[0]} in {second[1]}")


def survives_eviction(workspace: Workspace) -> Answer:
    submit = jobs.read_submit(workspace.folder / "train.sub")
    keys, where = submit.keys, "train.sub"
    image = keys.get("container_image") or keys.get("docker_image") or ""
    universe = keys.get("universe", "container").lower()
    if not image or universe not in ("container", "docker", "vanilla"):
        return fail(where, "the container universe, with an image", f"universe {universe}, image {image or 'none'}",
                    "universe = container, and container_image = train-cuda12.sif")  # fmt: skip
    name = image.rsplit("/", 1)[-1]
    fetched = "://" in image or "docker_image" in keys  # else it is a file
    if "@sha256:" not in image and fetched and (":" not in name or name.endswith(":latest")):
        return fail(where, "an image by its digest, or a file", f"{image}: another one tomorrow",
                    "docker://NAME@sha256:..., or a .sif file")  # fmt: skip
    gpus = keys.get("request_gpus", "")
    if not gpus.isdecimal() or int(gpus) < 1:
        return fail(where, "a GPU", f"request_gpus = {gpus}" if gpus else "none asked for", "request_gpus = 1")
    asked = " ".join(keys.get(key, "") for key in ("require_gpus", "requirements")).lower()
    if "gpus_minimum_capability" in keys or "capability" not in asked:
        least = keys.get("gpus_minimum_capability", "")
        if not re.fullmatch(r"\d+(\.\d+)?", least) or float(least) < LEAST_CAPABILITY:
            return fail(where, f"a GPU that this PyTorch can use: capability {LEAST_CAPABILITY} or newer",
                        f"gpus_minimum_capability = {least}" if least else "any", "gpus_minimum_capability = 7.5")  # fmt: skip
    for key in ("request_memory", "request_disk"):
        if key not in keys:
            return fail(where, key, "none: the pool's default is too small for an image", f"{key} = ...")
    if "log" not in keys:
        return fail(where, "a log of what becomes of the job", "none", "log = htcondor-$(ClusterId).log")
    return _transfers(submit) or _ends(submit) or no_bash() or _rehearsed_there(workspace, submit)


def _listed(keys: dict[str, str], key: str) -> list[str]:
    return [part.strip().removeprefix("./") for part in keys.get(key, "").split(",") if part.strip()]


def _transfers(submit: jobs.Submit) -> Answer | None:
    keys, where = submit.keys, "train.sub"
    if keys.get("should_transfer_files", "if_needed").lower() == "no":
        return fail(
            where, "files that travel with the job", "should_transfer_files = NO", "should_transfer_files = YES"
        )
    sent = _listed(keys, "transfer_input_files")
    for needed in ("common", "exercise-2-pytorch-cu12"):
        if f"{needed}/" in sent:
            return fail(f"transfer_input_files in {where}", f"{needed}, the folder", f"{needed}/ sends what is in it, "
                        "and not the folder", f"{needed} without the slash")  # fmt: skip
        if not any(needed in part for part in sent):
            return fail(f"transfer_input_files in {where}", needed, ", ".join(sent) or "nothing is sent",
                        "transfer_input_files = common, exercise-2-pytorch-cu12")  # fmt: skip
    if not _listed(keys, "transfer_output_files"):
        return fail(where, "the folder of the run in transfer_output_files", "none: HTCondor brings new files back, "
                    "and no folders", "transfer_output_files = results")  # fmt: skip
    return None


def _ends(submit: jobs.Submit) -> Answer | None:
    keys, where = submit.keys, "train.sub"
    if keys.get("checkpoint_exit_code") != "85":
        found = keys.get("checkpoint_exit_code", "none: the job would be over when it has kept an epoch")
        return fail(where, "checkpoint_exit_code 85, with which the training says that it goes on", found,
                    "checkpoint_exit_code = 85")  # fmt: skip
    evict = keys.get("when_to_transfer_output", "on_exit").lower()
    if evict != "on_exit_or_evict":
        return fail(where, "that an eviction brings the checkpoint back", f"when_to_transfer_output = {evict}: what it "
                    "wrote since it last ended with 85 is lost", "when_to_transfer_output = ON_EXIT_OR_EVICT")  # fmt: skip
    if keys.get("should_transfer_files", "yes").lower() == "if_needed":
        return fail(where, "should_transfer_files = YES", "IF_NEEDED, which ON_EXIT_OR_EVICT excludes",
                    "should_transfer_files = YES")  # fmt: skip
    hold = keys.get("on_exit_hold")
    for code, wanted in ((1, True), (0, False)):
        if hold is None or jobs.holds(hold, code) is (not wanted):  # None: it asks for more than can be known here
            become = "held, so that a person reads its message" if wanted else "not held"
            found = (
                f"on_exit_hold = {hold}"
                if hold is not None
                else "no on_exit_hold: it is tried again, or gone as if done"
            )
            return fail(where, f"that a job which ends with {code} is {become}", found,
                        "on_exit_hold = ExitBySignal == false && ExitCode == 1")  # fmt: skip
    return None


def _rehearsed_there(workspace: Workspace, submit: jobs.Submit) -> Answer:
    keys = submit.keys
    named = keys.get("executable", "")
    script = workspace.folder / named.rsplit("/", 1)[-1]
    # From the clone's root, where the job is submitted; a workspace of one's own may be submitted from its folder.
    there = (stage_of(workspace) / "clone" / named).is_file() or (workspace.folder / named).is_file()
    if not named or not there or not script.is_file():
        return fail("executable in train.sub", "a script that lies beside it, by its path from the clone's root",
                    named or "none", "executable = exercise-5-container/starter/train.sh")  # fmt: skip
    job = jobs.environment_of(submit) | {"_CONDOR_SCRATCH_DIR": str(stage_of(workspace)), "_CONDOR_SLOT": "slot1"}
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
            return fail(f"{what} in train.sub", f"the folder that the run and its checkpoint are in: {output}",
                        ", ".join(listed), f"{what} = {output.split('/')[0] or 'results'}")  # fmt: skip
    if not told.heard() or told.code != 85:
        return fail(f"{name}, rehearsed: SIGTERM, as at an eviction", "that the training is told, and exit code 85",
                    f"exit code {told.code}, {'told' if told.heard() else 'not told'}",
                    'exec "${command[@]}": the training in the place of the script')  # fmt: skip
    if "--resume" in told.training()["words"]:
        return fail(f"{name}, rehearsed as a new job", "no --resume where there is no checkpoint", "--resume",
                    f"--resume only where {output}.partial/{CHECKPOINT} is")  # fmt: skip
    again = tried(workspace, name, "well", job, begun=output, arguments=words)
    if not again.training() or "--resume" not in again.training()["words"]:
        return fail(f"{name}, rehearsed with {output}.partial/{CHECKPOINT} there", "that it goes on by --resume",
                    "no --resume", f'if [ -e "$RUN.partial/{CHECKPOINT}" ]; then command+=(--resume); fi')  # fmt: skip
    failed = tried(workspace, name, "badly", job, arguments=words)
    if failed.code != 1 or again.code != 0:
        return fail(f"{name}, rehearsed", "the exit code of the training", f"{failed.code} for 1, {again.code} for 0",
                    "let the training be the script's last command, by exec")  # fmt: skip
    return ok(f"evicted, {output} comes back, and the job goes on from it; a message holds it")
