"""Rules for a Slurm job that trains on several nodes (5.16), in order.

NODES_RULES read multi.sbatch; GROUP_RULES rehearse it, as the first of two nodes would run it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from workshop.jobs.job import MultiJob
from workshop.jobs.training_rules import script_problems
from workshop.support.rules import ERROR, Problem, Rule

OPTIONS = "the #SBATCH lines of multi.sbatch"
LAUNCHERS = ("torchrun", "torch.distributed.run", "torch.distributed.launch")


def _several_nodes(job: MultiJob) -> Iterator[Problem]:
    nodes = job.options.get("nodes", "1").split("-")[0]
    if not nodes.isdecimal() or int(nodes) < 2:
        yield Problem(
            looked_at=OPTIONS,
            expected="at least two nodes",
            found=f"--nodes={job.options['nodes']}" if "nodes" in job.options else "no --nodes, so one",
            next_step="#SBATCH --nodes=2",
        )


def _one_task_per_node(job: MultiJob) -> Iterator[Problem]:
    per_node, tasks = job.options.get("ntasks-per-node"), job.options.get("ntasks")
    if per_node != "1" and tasks != job.options.get("nodes"):
        found = f"--ntasks-per-node={per_node}" if per_node else f"--ntasks={tasks}" if tasks else "neither option"
        yield Problem(
            looked_at=OPTIONS,
            expected="one task on each node: its torchrun, which starts a process for each GPU",
            found=found,
            next_step="#SBATCH --ntasks-per-node=1",
        )


def _gpu(job: MultiJob) -> Iterator[Problem]:
    if not job.gpu or job.gpu.split(":")[-1].split("=")[-1] == "0":
        yield Problem(
            looked_at=OPTIONS, expected="a GPU on each node", found=job.gpu or "none", next_step="#SBATCH --gres=gpu:1"
        )


NODES_RULES = (
    Rule("several-nodes", ERROR, _several_nodes),
    Rule("task-per-node", ERROR, _one_task_per_node),
    Rule("gpu-per-node", ERROR, _gpu),
)


def _words(job: MultiJob) -> list[str]:
    """The words of the call that starts the training."""
    training = job.successful.training()
    return [training["name"], *training["words"]] if training else []


def _option(words: list[str], name: str) -> str | None:
    """The value of an option of torchrun, which may contain - or _ (--nproc-per-node); None without it."""
    pattern = re.compile("--" + name.replace("-", "[-_]") + "(?:=(.*))?")
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if match := pattern.fullmatch(word):
            return match[1] if match[1] is not None else following
    return None


def _trains(job: MultiJob) -> Iterator[Problem]:
    words = _words(job)
    if not any(word.endswith("train_distributed.py") for word in words):
        yield Problem(
            looked_at="multi.sbatch, rehearsed on two nodes",
            expected="the script runs train_distributed.py",
            found=" ".join(words)[:200] or job.successful.failure_reason(),
            next_step="bash -x multi.sbatch shows where it stops",
        )
    yield from script_problems(job.successful, job.folder, job.script)


def _on_every_node(job: MultiJob) -> Iterator[Problem]:
    words = _words(job)
    program = next((k for k, word in enumerate(words) if re.search("python|torch|apptainer", word)), 0)
    for_one = re.search(r"(?:^| )(?:--nodes|--ntasks|-N|-n)[ =]?1(?= |$)", " ".join(words[1:program]))
    if words[0] == "srun" and for_one:
        yield Problem(
            looked_at="multi.sbatch, rehearsed on two nodes",
            expected="srun for all nodes and tasks of the job",
            found=f"srun {for_one[0].strip()}, which starts one task",
            next_step="srun without --nodes and --ntasks",
        )
    if words[0] != "srun":
        yield Problem(
            looked_at="multi.sbatch, rehearsed on two nodes",
            expected="srun, which starts a program on every node of the job",
            found=f"{' '.join(words[:3])} ... on the first node alone",
            next_step="srun python -m torch.distributed.run ...",
        )


def _launched(job: MultiJob) -> Iterator[Problem]:
    words = _words(job)
    launchers = [k for k, word in enumerate(words) if word.rsplit("/", 1)[-1] in LAUNCHERS]
    if launchers and words[launchers[0] - 1 : launchers[0] + 1] == ["-m", "torchrun"]:
        yield Problem(
            looked_at="multi.sbatch, rehearsed on two nodes",
            expected="the program torchrun, or the module torch.distributed.run",
            found="-m torchrun, a module that does not exist",
            next_step="python -m torch.distributed.run",
        )
    if not launchers:
        yield Problem(
            looked_at="multi.sbatch, rehearsed on two nodes",
            expected="torchrun on every node, which tells the processes their rank",
            found=f"{' '.join(words[:6])} ..., so each process would train alone",
            next_step="srun python -m torch.distributed.run ...",
        )


def _group(job: MultiJob) -> Iterator[Problem]:
    words = _words(job)
    for name, expected, advice in (
        ("nnodes", "2, the number of nodes", '--nnodes "$SLURM_NNODES"'),
        ("nproc-per-node", "a process for each GPU of a node", '--nproc-per-node "${SLURM_GPUS_ON_NODE:-1}"'),
        ("rdzv-backend", "c10d, with which the nodes find each other", "--rdzv-backend c10d"),
        ("rdzv-id", "a name that all nodes share, and no other job", '--rdzv-id "$SLURM_JOB_ID"'),
        ("rdzv-endpoint", "n1 and a port, where all nodes meet", '--rdzv-endpoint "$first:29500"'),
    ):
        value = _option(words, name)
        good = {"nnodes": value == "2", "rdzv-backend": value == "c10d"}.get(name, bool(value))
        if name == "nproc-per-node" and job.gpus_on_node:
            expected = f"{job.gpus_on_node}, {expected}"
            good = value in (job.gpus_on_node, "gpu", "auto")
        if name == "rdzv-endpoint":
            good = bool(re.fullmatch(r"n1(\.[\w.-]+)?(:\d+)?", value or ""))
        if not good:
            yield Problem(
                looked_at=f"the options of torchrun in multi.sbatch, rehearsed on two nodes: --{name}",
                expected=expected,
                found=value or "none",
                next_step=advice,
            )


def _requires_gpu(job: MultiJob) -> Iterator[Problem]:
    if (job.successful.value("--device") or job.successful.training()["device"]) != "cuda":  # type: ignore[index]
        yield Problem(
            looked_at="multi.sbatch, rehearsed on two nodes",
            expected="a training that stops if it gets no GPU",
            found=f"--device {job.successful.value('--device')}",
            next_step="--device cuda",
        )


def _fails(job: MultiJob) -> Iterator[Problem]:
    if job.successful.code != 0 or not job.failed.code:
        yield Problem(
            looked_at="multi.sbatch, rehearsed with a training that succeeds, and with one that fails",
            expected="exit code 0, and another one",
            found=f"{job.successful.code} and {job.failed.code}",
            next_step="end the script with the exit code of srun",
        )


GROUP_RULES = (
    Rule("trains-together", ERROR, _trains),
    Rule("every-node", ERROR, _on_every_node),
    Rule("launcher", ERROR, _launched),
    Rule("group", ERROR, _group),
    Rule("gpu-required", ERROR, _requires_gpu),
    Rule("failure", ERROR, _fails),
)
