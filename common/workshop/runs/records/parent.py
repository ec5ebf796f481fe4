"""A finished run that another run continues: finding it, reading it, and checking its files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workshop import shell
from workshop.errors import WorkshopError
from workshop.runs import data, weights
from workshop.runs.data import Dataset
from workshop.runs.records import record
from workshop.support.files import read_bytes, sha256_of

WEIGHTS = "weights.safetensors"
FINISHED = "the folder of a finished run, with run.json in it"
TRAIN_COMMAND = "pixi run train-torch -- --data digits"  # makes a run that others can continue
# The entries of run.json that another run needs, with their types.
REQUIRED_FIELDS = {
    "exercise": str,
    "dataset": dict,
    "network": str,
    "packages": dict,
    "metrics": list,
    "outputs": list,
    "seed": int,
}


@dataclass(frozen=True)
class Parent:
    """A run whose files match its record. sha256: of its run.json."""

    folder: Path
    record: dict[str, Any]
    sha256: str

    def data(self) -> Dataset:
        """The data set that the run was trained on, images (n, 28, 28). Raises WorkshopError if it differs here."""
        recorded = self.record["dataset"]
        dataset = data.load(recorded["name"])
        if dataset.sha256 != recorded["sha256"]:
            raise WorkshopError(
                looked_at=f"the data set {recorded['name']}",
                expected=f"sha256 {recorded['sha256']}, as in {self.folder.name}",
                found=f"sha256 {dataset.sha256}: not the data of that run",
                next_step=TRAIN_COMMAND,
            )
        return dataset.as_28x28()

    def weights(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        """The run's weights by name. Raises WorkshopError unless they have these shapes."""
        tensors = weights_of(self, TRAIN_COMMAND)
        require_shapes(self.folder / WEIGHTS, tensors, shapes, TRAIN_COMMAND)
        return {name: np.ascontiguousarray(array) for name, array in tensors.items()}

    def require_accuracy(self, accuracy: float, n: int) -> float:
        """The recorded accuracy. Raises WorkshopError unless it agrees with `accuracy`, which the weights reach on n
        images.
        """
        recorded = next((m["value"] for m in self.record["metrics"] if m["name"] == "test_accuracy"), None)
        if recorded is None or abs(recorded - accuracy) > record.proportion_tolerance(accuracy, n)["absolute"]:
            raise WorkshopError(
                looked_at=self.folder / "run.json",
                expected=f"a test accuracy of {accuracy:.4f}, as its weights reach on this machine",
                found=f"test_accuracy {recorded}",
                next_step=TRAIN_COMMAND,
            )
        return recorded

    def reference(self) -> dict[str, str]:
        """The entry about this run in the record of a run that continues it."""
        return {"exercise": self.record["exercise"], "run": self.folder.name, "sha256": self.sha256}

    def output(self, name: str) -> Path:
        """The path of an output of the run. Raises WorkshopError if the run has no such output."""
        if not any(output["path"] == name for output in self.record["outputs"]):
            names = ", ".join(output["path"] for output in self.record["outputs"])
            raise WorkshopError(
                looked_at=self.folder,
                expected=f"a run with {name}",
                found=f"a run of {self.record['exercise']} with {names}",
                next_step="name another run",
            )
        return self.folder / name


def read(path: str | Path, again: str) -> Parent:
    """The run in the folder `path`. again: the command that makes such a run, for the advice.

    Raises WorkshopError if the folder contains no run or an interrupted one, or if files were changed after the run:
    run.json is compared with its sha256 in the crate, and every output with its sha256 in run.json.
    """
    folder = _folder_of_run(path, again)
    advice = f"{again}  # and do not change the folder of a run"
    document, sha256, outputs = _read_record(folder, again, advice)
    for name, expected in outputs.items():
        _require_unchanged(folder / name, expected, advice)
    return Parent(folder, document, sha256)


def _folder_of_run(path: str | Path, again: str) -> Path:
    """The absolute path of a folder with run.json. Raises WorkshopError if there is none."""
    try:
        folder = Path(path).expanduser().resolve()
    except (RuntimeError, OSError, ValueError) as error:
        raise WorkshopError(
            looked_at=f"the run {path!r}", expected="the folder of a run", found=str(error), next_step=again
        ) from None
    if folder.name == "run.json" and folder.is_file():
        folder = folder.parent
    if (folder / "run.json").is_file():
        return folder
    partial = folder if folder.suffix == ".partial" else folder.with_name(folder.name + ".partial")
    if (partial / record.CHECKPOINT).exists():
        found, next_step = "a run that was interrupted", "continue it with --resume"
    else:
        found = "no such folder" if not folder.exists() else "a file" if folder.is_file() else "no run.json in it"
        next_step = again
    raise WorkshopError(looked_at=folder, expected=FINISHED, found=found, next_step=next_step)


def _read_record(folder: Path, again: str, advice: str) -> tuple[dict[str, Any], str, dict[str, str]]:
    """The content of run.json, its sha256, and the sha256 of each output, by path.

    Raises WorkshopError if a required field is missing, or if the sha256 is not that in the crate.
    """
    try:
        content = read_bytes(folder / "run.json")
        document = json.loads(content)
        crate = json.loads(read_bytes(folder / "ro-crate-metadata.json"))
        expected = next(entity for entity in crate["@graph"] if entity["@id"] == "run.json")["sha256"]
        if wrong := next((key for key, kind in REQUIRED_FIELDS.items() if not isinstance(document[key], kind)), None):
            raise ValueError(f"{wrong} has the wrong type")
        if not isinstance(document.get("frameworks", {}), dict):  # runs of earlier versions have none
            raise ValueError("frameworks has the wrong type")
        outputs = {str(output["path"]): str(output["sha256"]) for output in document["outputs"]}
        if missing := {"name", "sha256"} - document["dataset"].keys():
            raise ValueError(f"a data set without {min(missing)}")
    except OSError as error:
        raise WorkshopError(
            looked_at=error.filename or folder, expected=FINISHED, found=error.strerror or str(error), next_step=again
        ) from error
    except (ValueError, KeyError, TypeError, StopIteration, RecursionError) as error:
        what = f"no {error.args[0]!r}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise WorkshopError(
            looked_at=folder / "run.json",
            expected="the record of a run of this workshop, with its network and data set",
            found=f"{what}: truncated, edited, or from another kind of run",
            next_step=advice,
        ) from error
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != expected:
        raise WorkshopError(
            looked_at=folder / "run.json",
            expected=f"sha256 {expected}, as in ro-crate-metadata.json",
            found=f"sha256 {sha256}: it was edited after the run",
            next_step=advice,
        )
    return document, sha256, outputs


def _require_unchanged(path: Path, sha256: str, advice: str) -> None:
    """Raise WorkshopError unless the file has this sha256."""
    try:
        current = sha256_of(path)
    except OSError as error:
        raise WorkshopError(
            looked_at=path, expected="the file that run.json lists", found=error.strerror or "", next_step=advice
        ) from error
    if current != sha256:
        raise WorkshopError(
            looked_at=path,
            expected=f"sha256 {sha256}, as in run.json",
            found=f"sha256 {current} ({path.stat().st_size:,} bytes): damaged or edited after the run",
            next_step=advice,
        )


def newest(results: Path, exercises: tuple[str, ...], again: str) -> Path:
    """The last finished run of one of `exercises` in the folder `results`."""
    folders = [results / exercise for exercise in exercises]
    runs = [path.parent for folder in folders for path in folder.glob("*/run.json") if path.parent.suffix != ".partial"]
    if not runs:
        names = " and ".join(shell.relative(folder) for folder in folders)
        raise WorkshopError(looked_at=names, expected="a finished run to continue", found="none", next_step=again)
    return max(runs, key=_ended)


def _ended(folder: Path) -> str:
    """When a run ended, by its own record: a copy of a run is not newer than the run."""
    try:
        return str(json.loads(read_bytes(folder / "run.json"))["ended"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""  # `read` reports what is wrong with it


def weights_of(parent: Parent, again: str) -> dict[str, np.ndarray]:
    """The weights that a run wrote.

    Raises WorkshopError if the run has none, if their metadata name another network or data set than run.json, or if
    they are truncated or not finite.
    """
    path = parent.output(WEIGHTS)
    tensors, metadata = weights.load(path, again)
    dataset = parent.record["dataset"]
    for key, value in (
        ("network", parent.record["network"]),
        ("data", dataset["name"]),
        ("data_sha256", dataset["sha256"]),
    ):
        if metadata.get(key) != value:
            raise WorkshopError(
                looked_at=path,
                expected=f"{key}: {value}, as in run.json",
                found=f"{key}: {metadata.get(key, 'missing')}",
                next_step=again,
            )
    return tensors


def require_shapes(path: Path, tensors: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]], again: str) -> None:
    """Raise WorkshopError unless `tensors` have the names and shapes of a network; the message names Flax's layouts."""
    found = {name: array.shape for name, array in tensors.items()}
    if found == shapes:
        return
    for name, shape in shapes.items():
        if name not in found:
            kernel = name.removesuffix("weight") + "kernel"
            hint = (
                " (Flax calls it kernel: write it with workshop.runs.frameworks.on_jax.arrays)"
                if kernel in found
                else ""
            )
            raise WorkshopError(
                looked_at=path,
                expected=f"the weights {name} {shape}",
                found=f"none of that name{hint}",
                next_step=again,
            )
        if found[name] != shape:
            flax = {4: lambda s: (s[2], s[3], s[1], s[0]), 2: lambda s: (s[1], s[0])}.get(len(shape))
            hint = (
                " (Flax's layout: write them with workshop.runs.frameworks.on_jax.arrays)"
                if flax and found[name] == flax(shape)
                else ""
            )
            raise WorkshopError(
                looked_at=path, expected=f"{name} of shape {shape}", found=f"shape {found[name]}{hint}", next_step=again
            )
    extra = sorted(found.keys() - shapes.keys())
    raise WorkshopError(
        looked_at=path,
        expected=f"the {len(shapes)} weights of the network",
        found=f"also {extra[0]}, so this is another network",
        next_step=again,
    )


def choose(path: str | None, exercise: str, script: str, exercises: tuple[str, ...]) -> Parent:
    """The run that a script continues: the one in `path`, otherwise the newest run of `exercises`."""
    results = record.results_folder(Path(script).resolve(), exercise).parent
    return read(path or newest(results, exercises, TRAIN_COMMAND), TRAIN_COMMAND)
