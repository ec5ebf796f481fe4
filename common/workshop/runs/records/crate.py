"""A run described for archives: RO-Crate 1.1 with the profile Process Run Crate 0.5.

The run is a CreateAction, the script its instrument, the data set its object, the files its result
(https://w3id.org/ro/wfrun/process/0.5).
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

VERSION = "https://w3id.org/ro/crate/1.1"  # the version that the profile extends
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
TERMS = "https://w3id.org/ro/terms/workflow-run/context"  # `environment` and `sha256`
LICENSE = "https://spdx.org/licenses/BSD-3-Clause"


def describe(run: dict[str, Any], content: bytes, sources: Iterable[dict[str, Any]] = ()) -> str:
    """The text of ro-crate-metadata.json for a run.

    run: the content of run.json (`workshop.runs.records.record`). content: its bytes. sources: path, sha256 and bytes
    of files that lie in the crate without being outputs: those that are packed with it.
    """
    itself = {"path": "run.json", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    files = [*run["outputs"], itself]
    crate = _empty_crate()
    crate.root_dataset["name"] = f"Run of {run['exercise']}"
    crate.root_dataset["description"] = f"Outputs and record of `{' '.join(run['argv'])}` on {run['device']['name']}."
    crate.root_dataset["conformsTo"] = {"@id": PROFILE}
    crate.root_dataset["datePublished"] = run["ended"]
    crate.root_dataset["license"] = {"@id": LICENSE}
    crate.root_dataset["mentions"] = {"@id": "#run"}

    _add_action(crate, run, files)
    _add_script(crate, run)
    _add_inputs(crate, run)
    _add(crate, LICENSE, "CreativeWork", name="BSD-3-Clause")
    _add(crate, PROFILE, "CreativeWork", name="Process Run Crate", version="0.5")
    for file in [*files, *sources]:
        _add_file(crate, file)
    for name, version in run["packages"].items():
        _add(crate, f"#package-{name}", "SoftwareApplication", name=name, softwareVersion=version)
    for name, value in run["variables"].items():
        _add(crate, f"#variable-{name}", "PropertyValue", name=name, value=value)
    text = json.dumps(crate.metadata.generate(), indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode()  # for names that are not UTF-8


def _add(crate: ROCrate, identifier: str, kind: str | list[str], /, **properties: Any) -> None:
    """Add an entity that is not a file."""
    crate.add(ContextEntity(crate, identifier, properties={"@type": kind, **properties}))


def _add_action(crate: ROCrate, run: dict[str, Any], files: list[dict[str, Any]]) -> None:
    """The run itself: what it used, and the files that it wrote."""
    inputs = ["#dataset"] + (["#parent"] if "parent" in run else [])
    _add(
        crate,
        "#run",
        "CreateAction",
        name=" ".join(run["argv"]),
        description=f"{run['exercise']} with seed {run['seed']} on {run['device']['name']}",
        startTime=run["started"],
        endTime=run["ended"],
        actionStatus="http://schema.org/CompletedActionStatus",
        instrument={"@id": "#script"},
        object=_references(inputs),
        result=_references(_identifier(file) for file in files),
        environment=_references(f"#variable-{name}" for name in run["variables"]),
        **({"identifier": {"@id": "#job"}} if run.get("job") else {}),
    )


def _add_script(crate: ROCrate, run: dict[str, Any]) -> None:
    commit = {}
    if git := run["git"]:
        commit = {"version": git["commit"] + (" with local changes" if git["dirty"] else "")}
    _add(
        crate,
        "#script",
        ["SoftwareSourceCode", "SoftwareApplication"],
        name=run["script"]["path"],
        sha256=run["script"]["sha256"],
        programmingLanguage=f"Python {run['host']['python']}",
        softwareRequirements=_references(f"#package-{name}" for name in run["packages"]),
        **commit,
    )


def _add_inputs(crate: ROCrate, run: dict[str, Any]) -> None:
    """The data set; also the run that this one continues, and the job that it ran in, if there are any."""
    _add(crate, "#dataset", "CreativeWork", name=run["dataset"]["name"], sha256=run["dataset"]["sha256"])
    if "parent" in run:
        parent = run["parent"]
        name = f"run {parent['run']} of {parent['exercise']}"
        _add(crate, "#parent", "CreativeWork", name=name, sha256=parent["sha256"])
    if job := run.get("job"):
        task = f"task {job['task']} of {job['array']}, " if job["task"] is not None else ""
        description = f"{task}on {job['node']}, restarts: {job['restarts']}"
        name = f"job of {job['scheduler']}"
        _add(crate, "#job", "PropertyValue", name=name, value=job["id"], description=description)


def _add_file(crate: ROCrate, file: dict[str, Any]) -> None:
    crate.add_file(
        dest_path=_identifier(file),
        properties={
            "name": file["path"],
            "encodingFormat": mimetypes.guess_type(file["path"])[0] or "application/octet-stream",
            "sha256": file["sha256"],
            "contentSize": str(file["bytes"]),
        },
    )


def _empty_crate() -> ROCrate:
    """A crate without files, read from a document, since the default version depends on the release of the library."""
    descriptor = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": VERSION},
    }
    root = {"@id": "./", "@type": "Dataset"}
    crate = ROCrate({"@context": f"{VERSION}/context", "@graph": [descriptor, root]})
    crate.metadata.extra_contexts.append(TERMS)
    return crate


def _identifier(file: dict[str, Any]) -> str:
    """A file's path as a URI, as RO-Crate requires: a space becomes %20."""
    return quote(file["path"], errors="surrogateescape")


def _references(identifiers: Iterable[str]) -> dict[str, str] | list[dict[str, str]]:
    """References to entities. RO-Crate recommends no list for a single one."""
    found = [{"@id": identifier} for identifier in identifiers]
    return found[0] if len(found) == 1 else found
