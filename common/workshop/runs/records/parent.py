"""A finished run as the beginning of another: found, read, and believed only as far as its files bear it out."""

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
from workshop.support.files import sha256_of

WEIGHTS = "weights.safetensors"
TRAIN_COMMAND = "pixi run train-torch -- --data digits"  # makes a run to continue
# What a run must say of itself for another to build on it, with the kinds that JSON has for it.
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
    """A run whose files are those that its record names. sha256: of its run.json."""

    folder: Path
    record: dict[str, Any]
    sha256: str

    def data(self) -> Dataset:
        """The data set that the run was trained on, with images (n, 28, 28). Raises WorkshopError where it is another here."""
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
        """The run's weights by name. Raises WorkshopError unless they are those of a network with these shapes."""
        tensors = weights_of(self, TRAIN_COMMAND)
        require_shapes(self.folder / WEIGHTS, tensors, shapes, TRAIN_COMMAND)
        return {name: np.ascontiguousarray(array) for name, array in tensors.items()}

    def require_accuracy(self, accuracy: float, n: int) -> float:
        """The accuracy that the run recorded. Raises WorkshopError where its weights reach another one here, on n images."""
        recorded = next((m["value"] for m in self.record["metrics"] if m["name"] == "test_accuracy"), None)
        if recorded is None or abs(recorded - accuracy) > record.proportion_tolerance(accuracy, n)["absolute"]:
            raise WorkshopError(
                looked_at=self.folder / "run.json",
                expected=f"a test accuracy of {accuracy:.4f}, which its weights reach here",
                found=f"test_accuracy {recorded}",
                next_step=TRAIN_COMMAND,
            )
        return recorded

    def reference(self) -> dict[str, str]:
        """What a run that builds on this one says of it."""
        return {"exercise": self.record["exercise"], "run": self.folder.name, "sha256": self.sha256}

    def output(self, name: str) -> Path:
        """A file of the run. Raises WorkshopError where the run has none of that name."""
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
    """The run in the folder `path`. `again`: the command that makes such a run, for the advice.

    Raises WorkshopError for a folder that is no run, one that did not finish, and one whose files are not those that
    were written: run.json is held against its sha256 in the crate beside it, every output against run.json.
    """
    try:
        folder = Path(path).expanduser().resolve()
    except (RuntimeError, OSError, ValueError) as error:
        raise WorkshopError(
            looked_at=f"the run {path!r}", expected="the folder of a run", found=str(error), next_step=again
        ) from None
    expected = "the folder of a finished run, with run.json in it"
    if folder.name == "run.json" and folder.is_file():
        folder = folder.parent
    record_path = folder / "run.json"
    if not record_path.is_file():
        partial = folder if folder.suffix == ".partial" else folder.with_name(folder.name + ".partial")
        if (partial / record.CHECKPOINT).exists():
            raise WorkshopError(
                looked_at=folder,
                expected=expected,
                found="a run that was interrupted",
                next_step="let it go on with --resume",
            )
        found = "no such folder" if not folder.exists() else "a file" if folder.is_file() else "no run.json in it"
        raise WorkshopError(looked_at=folder, expected=expected, found=found, next_step=again)
    edited = f"{again}  # and leave the folder of a run as it is"
    try:
        content = record_path.read_bytes()
        document = json.loads(content)
        crate = json.loads((folder / "ro-crate-metadata.json").read_bytes())
        expected_sha256 = next(entity for entity in crate["@graph"] if entity["@id"] == "run.json")["sha256"]
        if wrong := next((key for key, kind in REQUIRED_FIELDS.items() if not isinstance(document[key], kind)), None):
            raise ValueError(f"{wrong} is not of its kind")
        if not isinstance(document.get("frameworks", {}), dict):  # runs of before have none
            raise ValueError("frameworks is not of its kind")
        outputs = {str(output["path"]): str(output["sha256"]) for output in document["outputs"]}
        if missing := {"name", "sha256"} - document["dataset"].keys():
            raise ValueError(f"a data set without {min(missing)}")
    except OSError as error:
        raise WorkshopError(
            looked_at=error.filename or folder, expected=expected, found=error.strerror or str(error), next_step=again
        ) from error
    except (ValueError, KeyError, TypeError, StopIteration, RecursionError) as error:
        what = f"no {error.args[0]!r}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise WorkshopError(
            looked_at=record_path,
            expected="what a run of this workshop says of itself, network and data set too",
            found=f"{what}: cut short, edited, or of another kind of run",
            next_step=edited,
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected_sha256:
        raise WorkshopError(
            looked_at=record_path,
            expected=f"sha256 {expected_sha256}, which ro-crate-metadata.json beside it names",
            found=f"sha256 {found}: it was edited after the run",
            next_step=edited,
        )
    for name, sha256 in outputs.items():
        try:
            current = sha256_of(folder / name)
        except OSError as error:
            raise WorkshopError(
                looked_at=folder / name,
                expected="the file that run.json names",
                found=error.strerror or "",
                next_step=edited,
            ) from error
        if current != sha256:
            size = (folder / name).stat().st_size
            raise WorkshopError(
                looked_at=folder / name,
                expected=f"sha256 {sha256}, which run.json names",
                found=f"sha256 {current} ({size:,} bytes): damaged or edited after the run",
                next_step=edited,
            )
    return Parent(folder, document, found)


def newest(results: Path, exercises: tuple[str, ...], again: str) -> Path:
    """The finished run of one of `exercises` that ended last, of those in the folder `results`."""
    folders = [results / exercise for exercise in exercises]
    runs = [path.parent for folder in folders for path in folder.glob("*/run.json") if path.parent.suffix != ".partial"]
    if not runs:
        names = " and ".join(shell.relative(folder) for folder in folders)
        raise WorkshopError(looked_at=names, expected="a finished run to go on from", found="none", next_step=again)
    return max(runs, key=_ended)


def _ended(folder: Path) -> str:
    """When a run ended, as it says itself: a copy of a run is not a newer one."""
    try:
        return str(json.loads((folder / "run.json").read_bytes())["ended"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # whoever names it will be told what is wrong with it


def weights_of(parent: Parent, again: str) -> dict[str, np.ndarray]:
    """The weights that a run wrote, if they say of themselves what the run says of them.

    Raises WorkshopError where the run has none, and for weights of another network or data set than run.json names,
    cut short, or with values that are not finite.
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
                expected=f"{key}: {value}, as run.json has it",
                found=f"{key}: {metadata.get(key, 'missing')}",
                next_step=again,
            )
    return tensors


def require_shapes(path: Path, tensors: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]], again: str) -> None:
    """Raise WorkshopError unless `tensors` have the names and shapes of a network; Flax's layouts are called so."""
    found = {name: array.shape for name, array in tensors.items()}
    if found == shapes:
        return
    for name, shape in shapes.items():
        if name not in found:
            kernel = name.removesuffix("weight") + "kernel"
            hint = (
                " (kernel is what Flax calls it: write it with workshop.runs.frameworks.on_jax.arrays)"
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
        found=f"{extra[0]}, too: another network",
        next_step=again,
    )


def choose(path: str | None, exercise: str, script: str, exercises: tuple[str, ...]) -> Parent:
    """The run that a script continues: the one in `path`, else the newest of `exercises` in the folder of results."""
    results = record.results_folder(Path(script).resolve(), exercise).parent
    return read(path or newest(results, exercises, TRAIN_COMMAND), TRAIN_COMMAND)
