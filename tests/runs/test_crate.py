"""The crate of a run: complete, the same every time, and valid for roc-validator, the profile's own checker."""

import hashlib
import json
import shutil
import socket
import subprocess
import warnings

import jsonschema
import pytest
import roc_validator
from rocrate import vocabs

from workshop.runs.records import crate, record

SHA256 = "0123456789abcdef" * 4
RUN = {
    "schema": record.SCHEMA,
    "exercise": "exercise-4-pypi-mix",
    "argv": ["exercise-4-pypi-mix/solution/finetune.py", "--seed", "1"],
    "exit_status": 0,
    "started": "2026-01-01T10:00:00.000+00:00",
    "ended": "2026-01-01T10:01:00.000+00:00",
    "git": {"commit": "a" * 40, "dirty": True},
    "script": {"path": "exercise-4-pypi-mix/solution/finetune.py", "sha256": SHA256},
    "manifest": None,
    "environment": {"kind": "python", "python": "3.12.7", "packages": 0, "sha256": SHA256, "installed": []},
    "packages": {"numpy": "2.4.6", "torch": "2.13.0"},
    "host": {
        "os": "Linux",
        "kernel": "6.1.0",
        "arch": "x86_64",
        "glibc": "2.36",
        "cpu": "a processor",
        "cpu_count": 2,
        "gpu": None,
        "driver": None,
        "python": "3.12.7",
    },
    "variables": {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"},
    "job": {"scheduler": "slurm", "id": "125", "array": "123", "task": 2, "node": "gpu07", "restarts": 1},
    "seed": 1,
    "determinism": {},
    "device": {"type": "cpu", "name": "a processor"},
    "dataset": {"name": "digits", "sha256": SHA256},
    "parent": {"run": "20260101T000000Z-seed0", "exercise": "exercise-2-pytorch-cu12", "sha256": SHA256},
    "metrics": [{"name": "accuracy", "value": 0.9}],
    "outputs": [
        {"path": "learning curve.png", "sha256": hashlib.sha256(b"png").hexdigest(), "bytes": 3},
        {"path": "weights.safetensors", "sha256": hashlib.sha256(b"numbers").hexdigest(), "bytes": 7},
    ],
}
BARE = {name: value for name, value in RUN.items() if name not in ("job", "parent")} | {
    "git": None,
    "packages": {},
    "variables": {},
}
CONTENT = json.dumps(RUN).encode()
SCRIPT = b"print(1)\n"


def graph_of(text):
    return {entity["@id"]: entity for entity in json.loads(text)["@graph"]}


@pytest.mark.parametrize("run", [RUN, BARE], ids=["all parts", "no more than necessary"])
def test_the_runs_of_these_tests_fit_the_schema(run):
    jsonschema.validate(run, json.loads(record.SCHEMA_FILE.read_text()))


def test_the_crate_is_complete():
    graph = graph_of(crate.describe(RUN, CONTENT))
    action, script = graph["#run"], graph["#script"]
    assert graph["./"]["mentions"] == {"@id": "#run"} and graph["./"]["conformsTo"] == {"@id": crate.PROFILE}
    assert (action["startTime"], action["endTime"]) == (RUN["started"], RUN["ended"])
    assert action["object"] == [{"@id": "#dataset"}, {"@id": "#parent"}] and action["identifier"] == {"@id": "#job"}
    assert script["sha256"] == SHA256 and script["version"] == f"{'a' * 40} with local changes"
    assert script["softwareRequirements"] == [{"@id": "#package-numpy"}, {"@id": "#package-torch"}]
    assert graph["#package-torch"]["softwareVersion"] == "2.13.0"
    assert graph["#variable-OMP_NUM_THREADS"]["value"] == "1"
    assert graph["#dataset"]["sha256"] == graph["#parent"]["sha256"] == SHA256
    assert graph["#job"]["description"] == "task 2 of 123, on gpu07, restarts: 1"
    files = [
        *RUN["outputs"],
        {"path": "run.json", "sha256": hashlib.sha256(CONTENT).hexdigest(), "bytes": len(CONTENT)},
    ]
    identifiers = [file["path"].replace(" ", "%20") for file in files]
    assert graph["./"]["hasPart"] == action["result"] == [{"@id": identifier} for identifier in identifiers]
    for identifier, file in zip(identifiers, files, strict=True):
        entity = graph[identifier]
        assert (entity["name"], entity["sha256"], entity["contentSize"]) == (
            file["path"],
            file["sha256"],
            str(file["bytes"]),
        )


def test_missing_parts_of_a_run_are_left_out():
    graph = graph_of(crate.describe(BARE, CONTENT))
    assert not {"#job", "#parent"} & set(graph) and "identifier" not in graph["#run"]
    assert "version" not in graph["#script"] and graph["#run"]["object"] == {"@id": "#dataset"}


def test_the_same_text_every_time_without_a_network_or_a_warning(monkeypatch):
    def refuse(*_):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert crate.describe(RUN, CONTENT) == crate.describe(RUN, CONTENT)


# What the profile recommends but does not require, and a run leaves out: the number of the validator's check, and why.
LEFT_OUT = {
    "process-run-crate-0.5_3.2": "the URL of an application: a script has none, and packages come from several places",
    "process-run-crate-0.5_5.1": "an absolute URI as the identifier of an application: likewise",
    "process-run-crate-0.5_8.6": "an agent: a run records no name of a person",
    "ro-crate-1.1_22.2": "an author: likewise",
    "ro-crate-1.1_22.3": "a publisher: the person who archives the run states it",
}


@pytest.fixture
def validate(tmp_path):
    """A function that runs roc-validator on a crate and returns how many required and recommended checks fail."""
    command = shutil.which("rocrate-validator") or shutil.which(roc_validator.command())
    if command is None:
        pytest.skip("roc-validator is not installed; run `python tests/roc_validator.py` for an environment with it")

    def run(text: str) -> tuple[set[str], set[str]]:
        folder = tmp_path / "crate"
        folder.mkdir(exist_ok=True)
        for name, content in ("learning curve.png", b"png"), ("weights.safetensors", b"numbers"), ("run.json", CONTENT):
            (folder / name).write_bytes(content)
        (folder / "sources").mkdir(exist_ok=True)
        (folder / "sources/train.py").write_bytes(SCRIPT)
        # The two contexts are pages on the network. Their place is taken by the copy of the first in the RO-Crate
        # library, and by the terms of the second that a run uses: https://w3id.org/ro/terms/workflow-run
        terms = {term: f"https://w3id.org/ro/terms/workflow-run#{term}" for term in ("environment", "sha256")}
        document = json.loads(text) | {"@context": [vocabs.RO_CRATE["@context"], terms]}
        (folder / "ro-crate-metadata.json").write_text(json.dumps(document))
        report = tmp_path / "report.json"
        words = ["-y", "validate", "--no-paging", "-p", "process-run-crate-0.5", "--skip-availability-check"]
        words += ["-l", "recommended", "-f", "json", "-o", report, folder]
        done = subprocess.run([command, *words], capture_output=True, text=True, cwd=tmp_path, timeout=300)
        assert report.exists(), done.stdout + done.stderr
        issues = json.loads(report.read_text())["issues"]
        required = {issue["check"]["identifier"] for issue in issues if issue["severity"] == "REQUIRED"}
        return required, {issue["check"]["identifier"] for issue in issues} - required

    return run


@pytest.mark.slow
@pytest.mark.parametrize("run", [RUN, BARE], ids=["all parts", "no more than necessary"])
def test_the_validator_accepts_it(validate, run):
    required, recommended = validate(crate.describe(run, CONTENT))
    assert required == set()
    # A script outside a repository has no version either.
    assert recommended <= set(LEFT_OUT) | (
        {"process-run-crate-0.5_4.1", "process-run-crate-0.5_7.1"} if run is BARE else set()
    )


@pytest.mark.slow
def test_the_validator_accepts_a_packed_run(validate):
    """What `workshop pack` writes: the run with its script beside it."""
    source = {"path": "sources/train.py", "sha256": hashlib.sha256(SCRIPT).hexdigest(), "bytes": len(SCRIPT)}
    text = crate.describe(RUN, CONTENT, [source])
    assert "sources/train.py" in text
    required, recommended = validate(text)
    assert required == set() and recommended <= set(LEFT_OUT)


@pytest.mark.slow
@pytest.mark.parametrize("entity, name", [("#run", "instrument"), ("./", "conformsTo"), ("./", "datePublished")])
def test_the_validator_refuses_a_crate_without(validate, entity, name):
    document = json.loads(crate.describe(RUN, CONTENT))
    for found in document["@graph"]:
        if found["@id"] == entity:
            del found[name]
    assert validate(json.dumps(document))[0]
