"""Checks of a training script: does it use the requested device, is it reproducible, are its outputs complete?"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from workshop import exercises, shell
from workshop.checking.checks import Result, Workspace, fail, ok, skip
from workshop.checking.kept import opened
from workshop.checking.patches import Patch, patch
from workshop.checking.steps import own_package
from workshop.errors import WorkshopError
from workshop.runs.records.record import results_folder
from workshop.support.files import read_bytes, sha256_of
from workshop.support.timeouts import failure_reason, missing_module

# Modules whose absence is not the script's fault: not every environment has every framework.
FRAMEWORKS = ("torch", "torchvision", "jax", "flax", "optax", "safetensors", "sklearn", "scipy", "matplotlib", "numpy")
# What a training script imports besides its framework: by the name to show, the packages of which one is enough.
NEEDED = {
    "matplotlib": ("matplotlib", "matplotlib-base"),
    "scikit-learn": ("scikit-learn",),
    "safetensors": ("safetensors",),
}


def missing_framework(run: subprocess.CompletedProcess[str]) -> str | None:
    """The framework whose absence stopped a script; None for other failures, such as a misspelt module."""
    module = missing_module(run)
    return module if module in FRAMEWORKS else None


# The shortest training of a classifier.
QUICK = ("--data", "digits", "--epochs", "1")


def problem_with_gpu_request(workspace: Workspace, advice: str) -> Result | None:
    """With WORKSHOP_DEVICE=cuda a training script must run on a GPU, or print why it cannot.

    Returns the failed or skipped result; None if the script does either.
    """
    folder = workspace.scratch / "device"
    run = workspace.run("train.py", *QUICK, "--output", str(folder), WORKSHOP_DEVICE="cuda")
    if module := missing_framework(run):
        return skip(f"{module} is not in this environment")
    looked_at = f"train.py with {workspace.device_variable}=cuda"
    if run.returncode == 0:
        if read_record(folder)["device"].get("type") == "cuda":
            return None
        expected = "a run on a GPU, or a message and exit code 1 where there is none"
        return fail(
            looked_at=looked_at,
            expected=expected,
            found="the script trained on the CPU and ended with exit code 0",
            next_step=advice,
        )
    if "Traceback" in run.stderr or "GPU" not in run.stderr:
        return fail(
            looked_at=looked_at,
            expected="a message about why the GPU cannot be used",
            found=failure_reason(run),
            next_step=advice,
        )
    return None


SUMMARY_WITHOUT_GPU = "without a usable GPU it stops and prints the reason (a run on a GPU was not tested here)"


def action_on_simulated_gpu(workspace: Workspace, folder: Path, requested: str, gpu: Patch) -> str:
    """What train.py does with `--device requested` on a simulated GPU: it stops, breaks, or trains on cpu or cuda."""
    run = workspace.run(
        "train.py", *QUICK, "--output", str(folder), "--device", requested, patches=[gpu], WORKSHOP_DEVICE=""
    )
    if run.returncode == 0:
        return f"trains on {read_record(folder)['device'].get('type')}"
    broken = "Traceback" in run.stderr and "AssertionError" not in run.stderr
    return f"breaks: {failure_reason(run)}" if broken else "stops"


def same_seed_same_weights(workspace: Workspace, advice: str, patches: Sequence[Patch] = ()) -> Result:
    """Two trainings with the same seed must write the same weights, one with another seed other weights.

    All visit the images in the same order: only the seed of the weights then makes a difference. patches: run in the
    interpreter first. The runs are written to first/, again/ and other/ in the scratch folder. The
    second uses a new interpreter (forks share properties such as the order of hashes) and another test set, since no
    test image may be trained on. If its weights differ, a run with the real test set shows which one is the reason.
    """
    patches = [*patches, patch("same_order")]
    runs = (
        ("first", "1", patches, False),
        ("again", "1", [*patches, patch("changed_test_set")], True),
        ("other", "2", patches, False),
        ("once-more", "1", patches, True),
    )
    found: dict[str, str] = {}
    for name, seed, run_patches, fresh in runs:
        if name == "once-more" and found["first"] == found["again"]:
            continue
        folder = workspace.scratch / name
        words = (*QUICK, "--device", "cpu", "--seed", seed)
        run = workspace.run(
            "train.py", *words, "--output", str(folder), patches=run_patches, fresh=fresh, WORKSHOP_DEVICE=""
        )
        if module := missing_framework(run):
            return skip(f"{module} is not in this environment")
        if run.returncode != 0:
            again = shell.script(workspace.folder / "train.py", *words)
            return fail(
                looked_at="train.py --data digits", expected="exit code 0", found=failure_reason(run), next_step=again
            )
        found[name] = output_sha256(read_record(folder), "weights.safetensors")
        if missing := problem_with_weights(folder, found[name]):
            return missing
    if found["first"] != found.get("once-more", found["first"]):
        both = f"sha256 {found['first'][:12]} and {found['once-more'][:12]}"
        return fail(
            looked_at="weights.safetensors of two runs with --seed 1",
            expected="the same bytes",
            found=both,
            next_step=advice,
        )
    if found["first"] != found["again"]:
        return fail(
            looked_at="weights.safetensors of two runs, the second with another test set",
            expected="the same bytes",
            found="different weights: the script also trains on the test images",
            next_step="train only on images and labels; test_images and test_labels are for the accuracy",
        )
    if found["first"] == found["other"]:
        return fail(
            looked_at="weights of --seed 1 and --seed 2, with the images in the same order",
            expected="different weights",
            found="the same weights: the new network does not depend on the requested seed",
            next_step=advice,
        )
    return ok(f"two runs with the same seed write the same weights ({found['first'][:12]}); another seed gives others")


def problem_with_weights(folder: Path, sha256: str) -> Result | None:
    """The failed result if the weights of a run do not match run.json or cannot be loaded; else None."""
    from workshop.runs import weights

    path, advice = folder / "weights.safetensors", "keep the line run.finish(...), which writes them"
    try:
        if (found := sha256_of(path)) != sha256:
            return fail(
                looked_at="weights.safetensors",
                expected=f"sha256 {sha256[:12]}, as in run.json",
                found=found[:12],
                next_step=advice,
            )
        tensors, _ = weights.load(path, advice)
    except OSError as error:
        return fail(
            looked_at=error.filename or "weights.safetensors",
            expected="a file that can be read",
            found=error.strerror or str(error),
            next_step=advice,
        )
    return (
        None
        if tensors
        else fail(looked_at="weights.safetensors", expected="the tensors of a network", found="none", next_step=advice)
    )


def read_record(folder: Path) -> dict[str, Any]:
    """The run.json of a run that a check has just made. Raises WorkshopError if it is missing or cannot be read."""
    try:
        record = json.loads(read_bytes(folder / "run.json"))
        for output in record["outputs"]:
            if not (isinstance(output["path"], str) and isinstance(output["sha256"], str)):
                raise TypeError("an output without path and sha256")
        return record
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = "no run.json" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        raise WorkshopError(
            looked_at="the files that the script wrote in the folder --output",
            expected="a finished run with its run.json",
            found=reason,
            next_step="keep run.finish(...) and the last line, runs.main(...): they write the run",
        ) from error


def output_sha256(record: dict[str, Any], name: str) -> str:
    """The sha256 of an output. Raises WorkshopError if the run did not write it."""
    for output in record["outputs"]:
        if output.get("path") == name:
            return output["sha256"]
    listed = ", ".join(str(output.get("path")) for output in record["outputs"]) or "none"
    raise WorkshopError(
        looked_at="the outputs in run.json",
        expected=name,
        found=listed,
        next_step=f"change the script so that it writes {name}",
    )


RUNS_READ = 100  # the newest ones: people keep their results


def recorded_runs(workspace: Workspace, script: str, exercise: str) -> list[tuple[Path, dict[str, Any]]]:
    """The finished runs of an exercise, newest first, in the results of the clone and beside the workspace's script."""
    opened.may_have_read_anything()
    folders = {results_folder(workspace.folder / script, exercise), workspace.folder / "results" / exercise}
    root = exercises.root_folder()
    if workspace.folder.is_relative_to(root):  # before `git init`, a workspace in the clone has its results there
        folders.add(root / "results" / exercise)
    paths = [path for folder in folders for path in folder.glob("*/run.json") if path.is_file()]
    found = []
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)[:RUNS_READ]:
        with suppress(WorkshopError):
            found.append((path.parent, read_record(path.parent)))
    return found


def has_run_in_own_environment(
    workspace: Workspace, script: str, exercise: str, task: str, environments: Collection[str] = ()
) -> Result:
    """Whether a run of the script used an environment of this workspace, as it is locked now; trusts run.json.

    task: what makes such a run, for the message. environments: those that count (default: all). Only Pixi makes such
    environments, so the result is a skip without Pixi, for a solution, and for a project that `workshop new` made.
    """
    path = workspace.manifest.path.with_name("pixi.lock")
    if not path.is_file():
        return skip("there is no pixi.lock yet")
    lock = sha256_of(path)
    runs = recorded_runs(workspace, script, exercise)
    reasons = []
    for folder, record in runs:
        environment = record.get("environment", {})
        name, locked = environment.get("name"), environment.get("lock", {}).get("sha256", "")
        if environment.get("kind") != "pixi":
            reasons.append(f"{folder.name} was not started by pixi run")
        elif locked != lock:
            reasons.append(f"{folder.name} ran in {name} with another lock ({locked[:12]}; yours is {lock[:12]})")
        elif name not in workspace.manifest.environments:
            reasons.append(f"{folder.name} ran in {name}, which is not in your manifest")
        elif environments and name not in environments:
            reasons.append(f"{folder.name} ran in {name}, and not in {' or '.join(sorted(environments))}")
        else:
            return ok(f"{folder.name} ran in the environment {name}, with this pixi.lock")
    is_solution = workspace.folder.name == "solution"
    if workspace.package != own_package.TUTORIAL or (
        is_solution and (workspace.folder.parent / "exercise.toml").exists()
    ):
        return skip("only a workspace that you make in the exercise needs a run")
    if not any(record.get("environment", {}).get("kind") == "pixi" for _, record in runs):
        if is_solution or not shutil.which("pixi"):
            return skip("without Pixi there is no environment of this workspace")
    return fail(
        looked_at=f"the environments in run.json of the runs of {exercise}",
        expected="a run in an environment of this workspace, as pixi.lock has it now",
        found=reasons[0] if reasons else "no finished run",
        next_step=shell.in_folder(workspace.folder, f"pixi run {task}"),
    )
