"""A run as it was received, a folder or a zip: its record is read, and every file is compared with the record."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from workshop.errors import WorkshopError
from workshop.runs.records import crate, record
from workshop.support.files import read_bytes, sha256_of

LARGEST_ARCHIVE = 2 * 2**30  # bytes, unpacked: many times what a run of these exercises writes
MOST_FILES = 10_000  # in an archive
LARGEST_RECORD = 32 * 2**20  # bytes of run.json
SOURCES = "sources"  # the folder of a packed run with script, manifest and lock
PARENT = "parent"  # the folder of a packed run with the run that it continues
PACK = "workshop pack results/EXERCISE/RUN"
# Of the records of a project that `workshop new` made: its name takes the place of the workshop's.
OWN_SCHEMA = r"[\w-]+/run/1"


class CannotTell(WorkshopError):
    """There is no verdict: something that is needed for it is not here."""


@dataclass(frozen=True)
class Received:
    """A run in `folder`. record: the content of run.json. problems: one line for each file that is not as recorded."""

    folder: Path
    record: dict[str, Any]
    problems: list[str]

    @property
    def package(self) -> str:
        """The package that recorded the run: `workshop`, or that of a project that `workshop new` made."""
        schema = self.record["schema"]
        return "workshop" if schema == record.SCHEMA else schema.partition("/")[0].replace("-", "_")


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The folder of the run at `path`; a zip is unpacked into a temporary folder, which the end of the block removes.

    Raises WorkshopError for a zip with a path outside its folder, a link, or more than LARGEST_ARCHIVE bytes.
    """
    if path.is_dir():
        yield path
        return
    if path.name == "run.json" and path.is_file():
        yield path.parent
        return
    expected = "the folder of a finished run, or a zip that `workshop pack` made"
    if not path.is_file() or not zipfile.is_zipfile(path):
        found = "neither folder nor zip" if path.exists() else "no such file or folder"
        raise WorkshopError(looked_at=path, expected=expected, found=found, next_step="workshop runs")
    with tempfile.TemporaryDirectory(prefix="workshop-verify-") as temporary:
        try:
            with zipfile.ZipFile(path) as archive:
                _refuse_dangerous(path, archive)
                archive.extractall(temporary)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
            raise WorkshopError(looked_at=path, expected=expected, found=f"damaged: {error}", next_step=PACK) from error
        yield Path(temporary)


def _refuse_dangerous(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise WorkshopError for entries that would be written elsewhere, point elsewhere, or fill the disk."""
    expected = f"files inside its own folder, at most {LARGEST_ARCHIVE / 2**30:.0f} GiB in all"
    found = None
    if (size := sum(entry.file_size for entry in archive.infolist())) > LARGEST_ARCHIVE:
        found = f"{size / 2**30:,.1f} GiB, unpacked"
    if (count := len(archive.infolist())) > MOST_FILES:
        found = f"{count:,} files"
    for entry in archive.infolist():
        parts = PurePosixPath(entry.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or re.match(r"[A-Za-z]:", entry.filename):
            found = f"the path {entry.filename!r}, which leaves the folder"
        elif stat.S_ISLNK(entry.external_attr >> 16):
            found = f"the symbolic link {entry.filename!r}"
    if found:
        raise WorkshopError(looked_at=path, expected=expected, found=found, next_step=PACK)


def read(folder: Path) -> Received:
    """The run in `folder`, compared with its record. Raises WorkshopError for what is no record of a finished run,
    CannotTell for a record of a newer version of this workshop."""
    path = folder / "run.json"
    content = _record_bytes(path)
    edited = "use the folder as the run wrote it; " + PACK + " makes a copy to send"
    try:
        document = json.loads(content)
        if not isinstance(document, dict):
            raise ValueError(f"a {type(document).__name__} instead of an object")
    except (ValueError, RecursionError) as error:
        found = f"no JSON that can be read: {error}"
        raise WorkshopError(looked_at=path, expected="the record of a run", found=found, next_step=edited) from error
    name, version = str(document.get("schema"))[:200], record.SCHEMA.rpartition("/")
    newer = re.fullmatch(re.escape(version[0]) + r"/(\d{1,9})", name)
    if newer and int(newer[1]) > int(version[2]):
        raise CannotTell(
            looked_at=path,
            expected=f"schema {record.SCHEMA}",
            found=f"{name}, of a newer workshop",
            next_step="git pull",
        )
    if is_own := name != record.SCHEMA and re.fullmatch(OWN_SCHEMA, name):
        document = _with_exercise(document)
    wrong = next(schema_violations(document | {"schema": record.SCHEMA} if is_own else document), None)
    if wrong and name != record.SCHEMA and not is_own:
        wrong = f"schema {name}" if "schema" in document else "no 'schema'"
    if wrong:
        raise WorkshopError(looked_at=path, expected=f"a record by {record.SCHEMA}", found=wrong, next_step=edited)
    return Received(folder, document, [*_file_problems(folder, document), *_crate_problems(folder, document, content)])


def _with_exercise(document: dict[str, Any]) -> dict[str, Any]:
    """A record of a project that `workshop new` made, with the key `exercise`, which is called `project` there."""
    renamed = {}
    for key, value in document.items():
        is_name = key == "project" and document.keys() & {"schema", "run"}
        renamed["exercise" if is_name else key] = _with_exercise(value) if isinstance(value, dict) else value
    return renamed


def _record_bytes(path: Path) -> bytes:
    """The bytes of a run.json. Raises WorkshopError where there is none, or something else of that name."""
    found = None
    try:
        if path.is_symlink() or not path.is_file():
            partial = path.parent.suffix == ".partial"
            found = "a run that was interrupted" if partial else "no file run.json in it"
        elif path.stat().st_size > LARGEST_RECORD:
            found = f"{path.stat().st_size / 2**20:,.0f} MiB"
        else:
            return read_bytes(path, LARGEST_RECORD)
    except OSError as error:
        found = error.strerror or str(error)
    expected = "the folder of a finished run, with the file run.json"
    raise WorkshopError(looked_at=path.parent, expected=expected, found=found, next_step="workshop runs")


def _file_problems(folder: Path, document: dict[str, Any]) -> Iterator[str]:
    """One line for each output that is missing or changed, and for each file that the record does not name."""
    recorded = {output["path"]: output for output in document["outputs"]}
    for name, output in recorded.items():
        path = folder / name
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            yield f"{name}: the record names a file outside the folder of the run"
        elif path.is_symlink() or not path.is_file():
            yield f"{name}: missing"
        elif path.stat().st_size != output["bytes"]:
            size = f"{path.stat().st_size} bytes, recorded {output['bytes']}"
            yield f"{name}: {size}: changed after the run"
        elif (found := sha256_of(path)) != output["sha256"]:
            yield f"{name}: sha256 {found[:16]}..., recorded {output['sha256'][:16]}...: changed after the run"
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        described = name in recorded or name in record.DESCRIPTIONS or name.startswith((f"{SOURCES}/", f"{PARENT}/"))
        if not described and not path.is_dir():
            yield f"{name}: not in the record: added after the run"


def _crate_problems(folder: Path, document: dict[str, Any], content: bytes) -> Iterator[str]:
    """One line where ro-crate-metadata.json does not describe this record."""
    name = "ro-crate-metadata.json"
    try:
        text = read_bytes(folder / name, LARGEST_RECORD)
        graph = json.loads(text)["@graph"]
        hashes = {entity["@id"]: entity.get("sha256") for entity in graph}
    except FileNotFoundError:
        yield f"{name}: missing"
        return
    except OSError as error:
        yield f"{name}: {error.strerror}"
        return
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        yield f"{name}: not a crate of this workshop: damaged, or written by another tool"
        return
    found = hashlib.sha256(content).hexdigest()
    if "run.json" not in hashes:
        yield f"{name}: does not name run.json: written by another tool"
    elif hashes["run.json"] != found:
        yield f"run.json: sha256 {found[:16]}..., {name} names {str(hashes['run.json'])[:16]}...: changed after the run"


def crate_matches(run: Received) -> bool:
    """Whether ro-crate-metadata.json is, byte for byte, what this version of the workshop writes for the record."""
    content = (run.folder / "run.json").read_bytes()
    expected = crate.describe(run.record, content, source_files(run.folder))
    return (run.folder / "ro-crate-metadata.json").read_bytes() == expected.encode()


def source_files(folder: Path) -> list[dict[str, Any]]:
    """Path, sha256 and size of the files that `workshop pack` adds to a run; none in the folder of a run itself."""
    paths = [path for name in (SOURCES, PARENT) for path in sorted((folder / name).rglob("*")) if path.is_file()]
    return [described(path.relative_to(folder).as_posix(), path.read_bytes()) for path in paths]


def described(name: str, content: bytes) -> dict[str, Any]:
    """Path, sha256 and size of a file, as in run.json."""
    return {"path": name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


# ---------------------------------------------------------------- schema

_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "null": type(None),
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


def schema_violations(document: Any) -> Iterator[str]:
    """One line for each place where a record does not fit run.schema.json: the keywords that this schema uses."""
    whole = json.loads(record.SCHEMA_FILE.read_text(encoding="utf-8"))
    yield from _violations(document, whole, "the record", whole["$defs"])


def _violations(value: Any, schema: dict[str, Any], where: str, definitions: dict[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        yield from _violations(value, definitions[schema["$ref"].rpartition("/")[2]], where, definitions)
    if "oneOf" in schema:
        branches = [list(_violations(value, branch, where, definitions)) for branch in schema["oneOf"]]
        if all(branches):
            yield branches[0][0]
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is_a(value, kind) for kind in kinds):
        yield f"{where}: {type(value).__name__}, expected {' or '.join(kinds)}"
        return
    if "const" in schema and value != schema["const"]:
        yield f"{where}: {value!r}, expected {schema['const']!r}"
    if "enum" in schema and (isinstance(value, bool) or value not in schema["enum"]):  # True is not 1 in JSON
        yield f"{where}: {value!r}, expected one of {schema['enum']}"
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{where}: {value[:80]!r}, expected the form {schema['pattern']}"
        if len(value) < schema.get("minLength", 0):
            yield f"{where}: {value!r}, expected at least {schema['minLength']} characters"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < schema.get("minimum", value) or value <= schema.get("exclusiveMinimum", value - 1):
            yield f"{where}: {value}, expected more"
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"{where}: {len(value)} items"
        for number, item in enumerate(value):
            yield from _violations(item, schema.get("items", {}), f"{where}[{number}]", definitions)
    if isinstance(value, dict):
        known = schema.get("properties", {})
        for key in schema.get("required", ()):
            if key not in value:
                yield f"{where}: no {key!r}"
        for key, item in value.items():
            others = schema.get("additionalProperties", True)
            if key in known:
                yield from _violations(item, known[key], f"{where}.{key}", definitions)
            elif others is False:
                yield f"{where}: {key!r}, which this version does not know"
            elif isinstance(others, dict):
                yield from _violations(item, others, f"{where}.{key}", definitions)
    if "if" in schema and not any(_violations(value, schema["if"], where, definitions)):
        yield from _violations(value, schema.get("then", {}), where, definitions)


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])
