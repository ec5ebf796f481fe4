"""Two short trainings with the same seed give the same weights, and each run has a complete record."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHORT = ["--data", "digits", "--epochs", "1", "--device", "cpu"]  # a few seconds, without a network


def train(folder: Path, seed: int) -> dict:
    """The record of a short training with `seed`, which is written to `folder`."""
    line = [sys.executable, str(ROOT / "SCRIPT_NAME"), *SHORT, "--seed", str(seed), "--output", str(folder)]
    subprocess.run(line, check=True, cwd=ROOT)
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, tuple[Path, dict]]:
    """Folder and record of three runs: two with seed 1, one with seed 2."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: (folder / name, train(folder / name, seed)) for name, seed in (("first", 1), ("again", 1), ("other", 2))
    }


def weights_of(record: dict) -> str:
    """The sha256 of the weights of a run."""
    return next(output["sha256"] for output in record["outputs"] if output["path"] == "weights.safetensors")


def test_the_same_seed_gives_the_same_weights(runs):
    first, again, other = (weights_of(runs[name][1]) for name in ("first", "again", "other"))
    assert first == again
    assert first != other


def test_the_record_is_complete(runs):
    folder, record = runs["first"]
    schema = json.loads(next(ROOT.glob("*/runs/records/run.schema.json")).read_text(encoding="utf-8"))
    assert set(schema["required"]) <= set(record)
    for output in record["outputs"]:
        assert hashlib.sha256((folder / output["path"]).read_bytes()).hexdigest() == output["sha256"]


def test_the_network_has_learned_something(runs):
    accuracy = next(m["value"] for m in runs["first"][1]["metrics"] if m["name"] == "test_accuracy")
    assert accuracy > 0.5  # guessing would reach 0.1
