"""Two runs with the same seed write the same files, and each run has a complete record."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(folder: Path, seed: int) -> dict:
    """The record of a run with `seed`, which is written to `folder`."""
    line = [sys.executable, str(ROOT / "SCRIPT_NAME"), "--seed", str(seed), "--output", str(folder)]
    subprocess.run(line, check=True, cwd=ROOT)
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, tuple[Path, dict]]:
    """Folder and record of three runs: two with seed 1, one with seed 2."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: (folder / name, run(folder / name, seed)) for name, seed in (("first", 1), ("again", 1), ("other", 2))
    }


def outputs_of(record: dict) -> dict[str, str]:
    """The sha256 of each output of a run."""
    return {output["path"]: output["sha256"] for output in record["outputs"]}


def test_the_same_seed_gives_the_same_files(runs):
    first, again, other = (outputs_of(runs[name][1]) for name in ("first", "again", "other"))
    assert first == again
    assert first != other


def test_the_record_is_complete(runs):
    folder, record = runs["first"]
    schema = json.loads(next(ROOT.glob("*/runs/records/run.schema.json")).read_text(encoding="utf-8"))
    assert set(schema["required"]) <= set(record)
    for path, sha256 in outputs_of(record).items():
        assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == sha256
