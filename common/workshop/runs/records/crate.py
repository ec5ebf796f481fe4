"""A run told in the vocabulary that archives read: RO-Crate 1.1 with the profile Process Run Crate 0.5.

https://w3id.org/ro/wfrun/process/0.5: the run is a CreateAction, the script its instrument, the data set its
object, the files its result.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Iterator
from typing import Any

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"


def describe(run: dict[str, Any], content: bytes) -> str:
    """ro-crate-metadata.json for a run.json (`workshop.runs.records.record`): what it says, and the bytes of the file."""
    itself = {"path": "run.json", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    files = [*run["outputs"], itself]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "conformsTo": {"@id": PROFILE},
        "name": f"Run of {run['exercise']}",
        "description": f"Outputs and record of `{' '.join(run['argv'])}` on {run['device']['name']}.",
        "datePublished": run["ended"],
        "license": {"@id": "https://spdx.org/licenses/BSD-3-Clause"},
        "hasPart": [{"@id": file["path"]} for file in files],
        "mentions": {"@id": "#run"},
    }
    action = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": " ".join(run["argv"]),
        "startTime": run["started"],
        "endTime": run["ended"],
        "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
        "instrument": {"@id": "#script"},
        "object": [{"@id": "#dataset"}, *([{"@id": "#parent"}] if "parent" in run else [])],
        "result": [{"@id": file["path"]} for file in files],
        "environment": [{"@id": f"#variable-{name}"} for name in run["variables"]],
    }
    if run.get("job"):
        action["identifier"] = {"@id": "#job"}
    script = {
        "@id": "#script",
        "@type": ["SoftwareSourceCode", "SoftwareApplication"],
        "name": run["script"]["path"],
        "sha256": run["script"]["sha256"],
        "programmingLanguage": f"Python {run['host']['python']}",
        "softwareRequirements": [{"@id": f"#package-{name}"} for name in run["packages"]],
    }
    if run["git"]:
        script["version"] = run["git"]["commit"] + (" with local changes" if run["git"]["dirty"] else "")
    data = run["dataset"]
    dataset = {"@id": "#dataset", "@type": "CreativeWork", "name": data["name"], "sha256": data["sha256"]}
    graph = [
        {
            "@id": "ro-crate-metadata.json",
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        },
        root,
        action,
        script,
        dataset,
        {"@id": "https://spdx.org/licenses/BSD-3-Clause", "@type": "CreativeWork", "name": "BSD-3-Clause"},
        {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
        *(_parent(run["parent"]) if "parent" in run else ()),
        *(_job(run["job"]) if run.get("job") else ()),
        *(_file(file) for file in files),
        *(
            {"@id": f"#package-{name}", "@type": "SoftwareApplication", "name": name, "softwareVersion": version}
            for name, version in run["packages"].items()
        ),
        *(
            {"@id": f"#variable-{name}", "@type": "PropertyValue", "name": name, "value": value}
            for name, value in run["variables"].items()
        ),
    ]
    context = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
    return json.dumps({"@context": context, "@graph": graph}, indent=2, ensure_ascii=False) + "\n"


def _parent(parent: dict[str, str]) -> Iterator[dict[str, Any]]:
    name = f"run {parent['run']} of {parent['exercise']}"
    yield {"@id": "#parent", "@type": "CreativeWork", "name": name, "sha256": parent["sha256"]}


def _job(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    where = f"on {job['node']}, put back into the queue {job['restarts']} times"
    task = f"task {job['task']} of {job['array']}, " if job["task"] is not None else ""
    name = f"job of {job['scheduler']}"
    yield {"@id": "#job", "@type": "PropertyValue", "name": name, "value": job["id"], "description": f"{task}{where}"}


def _file(file: dict[str, Any]) -> dict[str, Any]:
    kind = mimetypes.guess_type(file["path"])[0] or "application/octet-stream"
    return {
        "@id": file["path"],
        "@type": "File",
        "name": file["path"],
        "encodingFormat": kind,
        "sha256": file["sha256"],
        "contentSize": str(file["bytes"]),
    }
