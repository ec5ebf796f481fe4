"""Exercise 5: other correct files of its parts, and what its first jobs and its workflow name."""

import re
import shutil

import pytest
from conftest import ROOT, answers

from workshop import exercises
from workshop.jobs import batch_files, rehearsal

FOLDER = ROOT / "exercise-5-container"
EXERCISE = next(exercise for exercise in exercises.find_all(ROOT) if exercise.number == 5)
needs_bash = pytest.mark.skipif(not rehearsal.bash(), reason="the job scripts are tried by bash")


def status(folder, tmp_path, number):
    result = answers(EXERCISE, folder, tmp_path, (number,))[number]
    return result.status, f"{result.looked_at} {result.found}"


@needs_bash
@pytest.mark.parametrize(
    "change",
    [
        [("queue seed in (0, 1, 2, 3)", "queue seed in (\n  3\n  5\n)")],
        [("queue seed in (0, 1, 2, 3)", "queue 4"), ("$(seed)", "$(ProcId)")],
        [("queue seed in (0, 1, 2, 3)", "queue in (7 8)"), ("$(seed)", "$(Item)")],
        [("  image = train-cuda12.sif", "  image = osdf:///ospool/train-cuda12-v1.sif")],
        [("  image = train-cuda12.sif", "  image = oras://ghcr.io/me/train@sha256:0123")],
    ],
    ids=["a list over several lines", "by the number of the process", "by the item", "osdf", "oras"],
)
def test_other_submit_files_for_many_seeds(learner, tmp_path, change):
    for find, replace in change:
        learner("seeds.sub", find, replace)
    assert status(learner.folder, tmp_path, "5.14")[0] == "ok"


@needs_bash
@pytest.mark.parametrize(
    "change",
    [
        [("#SBATCH --ntasks-per-node=1", "#SBATCH --ntasks=2")],
        [("--gres=gpu:1", "--gpus-per-node=1")],
        [('"$first:', '"$(hostname):')],
        [("--gres=gpu:1", "--gres=gpu:a100:4"), ('"${SLURM_GPUS_ON_NODE:-1}"', "4")],
        [("-m torch.distributed.run", ".venv/bin/torchrun"), ("--nproc-per-node", "--nproc_per_node")],
        [('--nnodes "$SLURM_NNODES"', "--nnodes=2"), ('"$first:$((20000 + SLURM_JOB_ID % 10000))"', '"$first"')],
    ],
    ids=[
        "as many tasks as nodes",
        "another option for GPUs",
        "the name of the first node",
        "four GPUs",
        "torchrun",
        "with an equals sign",
    ],
)
def test_other_jobs_for_several_nodes(learner, tmp_path, change):
    for find, replace in change:
        learner("multi.sbatch", find, replace)
    assert status(learner.folder, tmp_path, "5.16")[0] == "ok"


@pytest.mark.parametrize(
    "change",
    [
        [("Bootstrap: docker-archive", "Bootstrap: oci-archive")],
        [
            ("Bootstrap: docker-archive", "Bootstrap: docker"),
            ("reproducible-ml-{{ ENVIRONMENT }}.tar", f"ghcr.io/me/train@sha256:{'0' * 64}"),
        ],
        [("ENVIRONMENT", "NAME")],
    ],
    ids=["an OCI archive", "from a registry", "another name"],
)
def test_other_conversions_of_an_image(learner, tmp_path, change):
    for find, replace in change:
        learner("apptainer-image.def", find, replace)
    assert status(learner.folder, tmp_path, "5.6")[0] == "ok"


def test_the_first_jobs_are_valid():
    options = batch_files.read_batch(FOLDER / "starter" / "first.sbatch").options
    assert batch_files.time_in_minutes(options["time"]) == 1
    assert batch_files.read_submit(FOLDER / "starter" / "first.sub").queue == ""


@pytest.mark.parametrize(
    ("queue", "seeds"),
    [
        ("", [None]),
        ("3", [None] * 3),
        ("seed in (1, 2)", ["1", "2"]),
        ("2 seed in (1 2)", ["1", "1", "2", "2"]),
        ("seed in ()", []),
        ("seed from seeds.txt", None),
        ("name matching *.txt", None),
        ("999999 seed in (1, 2)", None),
    ],
)
def test_the_jobs_of_a_queue_statement(queue, seeds):
    found = batch_files.queued_jobs(queue)
    assert (found if found is None else [job.get("seed") for job in found]) == seeds
    assert not found or [job["ProcId"] for job in found] == [str(k) for k in range(len(found))]


def test_the_workflow_uses_the_commits_of_our_own_workflows():
    """One commit of each action in the repository, so that a bot's update is seen here."""
    pins = re.compile(r"uses: ([\w/-]+)@([0-9a-f]{40})")
    ours = dict(pair for path in (ROOT / ".github/workflows").glob("*.yml") for pair in pins.findall(path.read_text()))
    found = dict(pins.findall((FOLDER / "solution" / "image.yml").read_text()))
    assert len(found) == 7 and {name: ours.get(name, commit) for name, commit in found.items()} == found
    given = dict(pins.findall((FOLDER / "starter" / "image.yml").read_text()))
    assert given.items() < found.items()
    page = (FOLDER / "README.md").read_text()
    table = page.split("<!-- actions of solution/image.yml -->")[1].split("<!-- end -->")[0]
    assert dict(re.findall(r"`([\w/-]+)@([0-9a-f]{40}) # v[\d.]+`", table)) == found


@pytest.mark.slow
def test_the_shipped_starter_fails_every_check(tmp_path):
    pytest.importorskip("torch", reason="check 5.15 trains")
    found = answers(EXERCISE, FOLDER / "starter", tmp_path)
    assert {answer.status for answer in found.values()} == {"fail"}, found


# What a learner edits in each part; train.sh belongs to the jobs of both batch systems.
FILES = {
    "5a": ("Dockerfile",),
    "5b": ("apptainer.def", "apptainer-image.def"),
    "5c": ("image.yml",),
    "5d": ("train.sbatch", "array.sbatch", "train.sh"),
    "5e": ("train.sub", "seeds.sub", "train.sh"),
    "5f": ("train_distributed.py", "multi.sbatch"),
}


@pytest.mark.slow
@needs_bash
@pytest.mark.parametrize("part", FILES)
def test_a_part_can_be_done_alone(part, tmp_path):
    """With the files of all other parts as they were shipped."""
    pytest.importorskip("torch", reason="check 5.15 trains")
    folder = tmp_path / "exercise-5-container" / "starter"
    shutil.copytree(FOLDER / "starter", folder)
    for name in ("pixi.toml", "pixi.lock"):
        shutil.copy(ROOT / name, tmp_path)
    for name in FILES[part]:
        text = (FOLDER / "solution" / name).read_text()
        (folder / name).write_text(text.replace("exercise-5-container/solution/", "exercise-5-container/starter/"))
    found = answers(EXERCISE, folder, tmp_path, EXERCISE.settings["parts"][part]["checks"])
    assert {answer.status for answer in found.values()} == {"ok"}, found
