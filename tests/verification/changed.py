"""Changes to the folder of a finished run, and archives, for the tests of this folder."""

import json
import zipfile

from conftest import record_of

from workshop.runs.records import crate, record


def rewrite(folder, change):
    """Change the record, and the crate with it: a forgery that is consistent in itself."""
    document = record_of(folder)
    change(document)
    for output in document["outputs"]:
        output["sha256"] = record.sha256_of(folder / output["path"])
        output["bytes"] = (folder / output["path"]).stat().st_size
    content = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
    (folder / "run.json").write_bytes(content)
    (folder / "ro-crate-metadata.json").write_text(crate.describe(document, content), encoding="utf-8")


def other_bytes(folder):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")


def archive(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content, mode in entries:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            zipped.writestr(entry, content)
    return path
