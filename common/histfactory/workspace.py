"""Read, check and patch pyhf's JSON documents: workspaces and patch sets (schema version 1.0.0).

Applying a patch (RFC 6902) copies only the containers on its path, so 125 patched workspaces share everything that no
patch changes. `compiling` relies on that: it compiles a sample once if it is the same object in every hypothesis.
"""

from __future__ import annotations

import gc
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histfactory.errors import HistFactoryError
from histfactory.schema import Checker, kind_of

LARGEST_FILE = 256 << 20  # bytes, decompressed
LARGEST_RATIO = 100  # of decompressed to compressed size; published likelihoods have about 10
SMALL_FILE = 16 << 20  # bytes; smaller files may have any ratio
MOST_COPIED = 2_000_000  # values that the copy operations of all patches may copy, since a few could copy without end


@dataclass
class Hypothesis:
    """The parts of one patched workspace that its likelihood needs."""

    name: str
    values: list[Any]  # one for each label of the patch set
    channels: dict[str, dict[str, dict]]  # channel -> sample name -> sample; unpatched samples are shared objects
    observations: dict[str, list[float]]  # channel -> observed counts
    measurement: dict


def read_json(path: str | Path) -> Any:
    """The JSON document in a plain or gzipped file. Raises HistFactoryError if it cannot be read or is not JSON."""
    path = Path(path)
    raw = _read_bytes(path)

    def error(expected: str, found: str, next_step: str) -> HistFactoryError:
        return HistFactoryError(looked_at=path, expected=expected, found=found, next_step=next_step)

    try:
        with no_garbage_collection():
            return json.loads(raw)
    except UnicodeDecodeError:
        raise error("JSON in UTF-8", "bytes that are not UTF-8 text", f"file {path}") from None
    except json.JSONDecodeError as fault:
        found = f"not JSON: {fault.msg} at line {fault.lineno}, column {fault.colno}"
        raise error("JSON", found, f"python -m json.tool {path}") from None
    except RecursionError:
        raise error("JSON that follows pyhf's schema", "JSON nested too deeply", f"head -c 300 {path}") from None
    except ValueError as fault:  # an integer with thousands of digits
        raise error("JSON with numbers in the range of a float", str(fault), f"head -c 300 {path}") from None


def _read_bytes(path: Path) -> bytes:
    def error(expected: str, found: str, next_step: str) -> HistFactoryError:
        return HistFactoryError(looked_at=path, expected=expected, found=found, next_step=next_step)

    try:
        if path.exists() and not path.is_file():  # reading from a pipe or a device might never end
            raise error("a regular file", "a folder, a pipe or a device", f"ls -l {path}")
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        advice = f"ls {path.parent}  # shows which files are there: give the path of one of yours"
        raise error("a readable file", "No such file or directory", advice) from None
    except OSError as fault:
        raise error("a readable file", fault.strerror or str(fault), f"ls -l {path}") from None
    except ValueError as fault:  # a null character in the path
        raise error("a readable file", str(fault), "give the path of another file") from None
    if raw[:2] == b"\x1f\x8b":
        raw = _decompress(raw, error)
    if len(raw) > LARGEST_FILE:
        raise error(f"at most {LARGEST_FILE >> 20} MiB", "a larger file", f"ls -l {path}")
    return raw


def _decompress(raw: bytes, error: Callable[[str, str, str], HistFactoryError]) -> bytes:
    """The content of a gzip file, with one byte more than LARGEST_FILE if it is too large."""
    limit = min(LARGEST_FILE, max(SMALL_FILE, LARGEST_RATIO * len(raw)))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            content = file.read(limit + 1)
    except (EOFError, OSError, zlib.error) as fault:
        raise error(
            "a complete gzip file",
            f"a damaged or truncated gzip file ({fault})",
            "gzip -t on this file; if that fails, download it again",
        ) from None
    if len(content) > limit:
        expected = (
            f"a gzip file with at most {LARGEST_RATIO} times its size in JSON, and at most {LARGEST_FILE >> 20} MiB"
        )
        raise error(expected, f"more than {limit >> 20} MiB from {len(raw):,} bytes", "use another copy of the file")
    return content


def digest(document: Any, algorithm: str = "sha256") -> str:
    """pyhf's digest of a document: the hash of its JSON with sorted keys."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False)
    return hashlib.new(algorithm, text.encode("utf-8", "surrogatepass")).hexdigest()


def read_hypotheses(
    workspace: Any,
    patchset: Any = None,
    measurement: str | None = None,
    workspace_name: str = "the workspace",
    patchset_name: str = "the patch set",
) -> tuple[list[str], list[Hypothesis]]:
    """The labels of the patch set, and a hypothesis for each patch; without a patch set, one for the workspace.

    workspace, patchset: documents as `read_json` returns them; they are not changed. measurement: its name (default:
    the first one). The last two arguments name the documents in messages. Raises HistFactoryError if a document
    violates the schema, or if a patch belongs to another workspace or cannot be applied.
    """
    with no_garbage_collection():
        reader = _Reader(measurement)
        checker = Checker(workspace_name, f"python -m json.tool {workspace_name} | less")
        background = reader.hypothesis(workspace, checker, "workspace", [])
        if patchset is None:
            return [], [background]
        checker = Checker(patchset_name, f"python -m json.tool {patchset_name} | less")
        labels, patches = _check_patchset(checker, patchset, workspace, workspace_name)
        hypotheses, budget = [], CopyBudget()
        for patch in patches:
            name, values = patch["metadata"]["name"], patch["metadata"]["values"]
            checker.document_name = f"{workspace_name} with the patch {name} of {patchset_name}"
            patched = _patched(workspace, patch["patch"], f"{patchset_name}, patch {name}", budget)
            hypotheses.append(reader.hypothesis(patched, checker, name, values))
        return labels, hypotheses


def read_patched(
    workspace: Any, patches: dict[str, Any], measurement: str | None = None, workspace_name: str = "the workspace"
) -> Hypothesis:
    """The hypothesis of a workspace to which plain JSON patches (RFC 6902) are applied, one after the other.

    patches: lists of operations as `read_json` returns them, by the name of their file, which also names the
    hypothesis. measurement, workspace_name and errors: as in `read_hypotheses`.
    """
    with no_garbage_collection():
        patched, budget = workspace, CopyBudget()
        for file_name, operations in patches.items():
            checker = Checker(file_name, f"python -m json.tool {file_name} | less")
            if isinstance(operations, dict) and "patches" in operations:
                raise HistFactoryError(
                    looked_at=file_name,
                    expected="a JSON patch (RFC 6902), which is a list of operations",
                    found="a patch set",
                    next_step=f"--patchset {file_name}",
                )
            patched = _patched(patched, _check_operations(checker, operations, ""), file_name, budget)
        checker = Checker(
            f"{workspace_name} with {' and '.join(patches)}", f"python -m json.tool {workspace_name} | less"
        )
        name = "+".join(Path(file_name).name.removesuffix(".gz").removesuffix(".json") for file_name in patches)
        return _Reader(measurement).hypothesis(patched, checker, name, [])


def _patched(workspace: Any, operations: list[dict], patch_name: str, budget: CopyBudget) -> Any:
    try:
        return apply_patch(workspace, operations, budget)
    except ValueError as error:
        raise HistFactoryError(
            looked_at=patch_name,
            expected="a patch that can be applied to the workspace (RFC 6902)",
            found=str(error),
            next_step=f"correct the paths of this patch in {patch_name.partition(', patch ')[0]}",
        ) from None


class _Reader:
    """Checks patched workspaces. It checks parts that several of them share only once."""

    def __init__(self, measurement: str | None) -> None:
        self.measurement = measurement
        self.n_bins: dict[int, int] = {}  # number of bins of each checked sample, by the sample's id
        self.checked: dict[int, object] = {}  # checked parts by id; they stay alive, so that no id is reused

    def hypothesis(self, document: Any, checker: Checker, name: str, values: list) -> Hypothesis:
        """Check a patched workspace and select the parts that its likelihood needs."""
        checker.keys(document, "", {"channels", "measurements", "observations", "version"})
        checker.version(document, "workspace")
        channels = self._channels(document, checker)
        observations = self._observations(document, checker)
        for channel, samples in channels.items():
            n_bins = len(next(iter(samples.values()))["data"])
            if channel not in observations:
                raise checker.error("/observations", f"the observed counts of channel {channel!r}", "none")
            if len(observations[channel]) != n_bins:
                expected = f"{n_bins} bins in {channel!r}, as in its samples"
                raise checker.error("/observations", expected, f"{len(observations[channel])}")
        return Hypothesis(name, values, channels, observations, self._measurement(document, checker))

    def _channels(self, document: dict, checker: Checker) -> dict[str, dict[str, dict]]:
        channels: dict[str, dict[str, dict]] = {}
        checker.unique_names(checker.array(document["channels"], "/channels", "channels"), "/channels", "channel")
        for i, channel in enumerate(document["channels"]):
            path = f"/channels/{i}"
            checker.keys(channel, path, {"name", "samples"})
            samples, n_bins = checker.array(channel["samples"], f"{path}/samples", "samples"), None
            checker.unique_names(samples, f"{path}/samples", "sample")
            for j, sample in enumerate(samples):
                known_bins = self.n_bins.get(id(sample))
                if known_bins is None or (n_bins is not None and known_bins != n_bins):
                    known_bins = self.n_bins[id(sample)] = checker.sample(sample, f"{path}/samples/{j}", n_bins)
                    self.checked[id(sample)] = sample
                n_bins = known_bins
            channels[channel["name"]] = {sample["name"]: sample for sample in samples}
        return channels

    def _observations(self, document: dict, checker: Checker) -> dict[str, list[float]]:
        observations = document["observations"]
        if id(observations) not in self.checked:
            checker.array(observations, "/observations", "observations")
            checker.unique_names(observations, "/observations", "channel")
            for i, observation in enumerate(observations):
                checker.keys(observation, f"/observations/{i}", {"name", "data"})
                checker.numbers(observation["data"], f"/observations/{i}/data", None, negative=False)
            self.checked[id(observations)] = observations
        return {observation["name"]: observation["data"] for observation in observations}

    def _measurement(self, document: dict, checker: Checker) -> dict:
        measurements = checker.array(document["measurements"], "/measurements", "measurements")
        checker.unique_names(measurements, "/measurements", "measurement")
        names = [measurement["name"] for measurement in measurements]
        if self.measurement is not None and self.measurement not in names:
            expected = f"the measurement {self.measurement!r}"
            raise checker.error("/measurements", expected, f"only {', '.join(names)}")
        i = names.index(self.measurement) if self.measurement is not None else 0
        selected = measurements[i]
        if id(selected) not in self.checked:
            path = f"/measurements/{i}"
            checker.keys(selected, path, {"name", "config"})
            config = checker.keys(selected["config"], f"{path}/config", {"poi", "parameters"})
            checker.string(config["poi"], f"{path}/config/poi")
            parameters = checker.array(config["parameters"], f"{path}/config/parameters", "parameters", empty=True)
            checker.unique_names(parameters, f"{path}/config/parameters", "parameter")
            for j, parameter in enumerate(parameters):
                checker.parameter(parameter, f"{path}/config/parameters/{j}")
            if not config["poi"]:
                raise checker.error(f"{path}/config/poi", "the name of the parameter of interest", "none")
            self.checked[id(selected)] = selected
        return selected


def _check_patchset(
    checker: Checker, patchset: Any, workspace: Any, workspace_name: str
) -> tuple[list[str], list[dict]]:
    """The labels and patches of a patch set, which has to belong to this workspace."""
    if isinstance(patchset, list) and all(isinstance(item, dict) and "op" in item for item in patchset):
        raise HistFactoryError(
            looked_at=checker.document_name,
            expected="a patch set: an object with metadata, patches, version",
            found="a plain JSON patch (RFC 6902), which is a list of operations",
            next_step=f"--patch {checker.document_name}",
        )
    patchset = checker.keys(patchset, "", {"metadata", "patches", "version"})
    checker.version(patchset, "patch set")
    metadata = checker.with_keys(patchset["metadata"], "/metadata", ("labels", "digests"))
    labels = checker.array(metadata["labels"], "/metadata/labels", "texts")
    for i, label in enumerate(labels):
        checker.string(label, f"/metadata/labels/{i}")
        if label in labels[:i]:
            raise checker.error(f"/metadata/labels/{i}", "unique labels", f"{label!r} again")
    _check_digests(checker, metadata["digests"], workspace, workspace_name)
    first_with_name: dict[str, int] = {}
    first_with_values: dict[str, int] = {}
    for i, patch in enumerate(checker.array(patchset["patches"], "/patches", "patches")):
        _check_patch(checker, patch, f"/patches/{i}", len(labels))
        name, values = patch["metadata"]["name"], json.dumps(patch["metadata"]["values"])
        if (first := first_with_name.setdefault(name, i)) != i:
            found = f"{name!r} again, as in /patches/{first}"
            raise checker.error(f"/patches/{i}/metadata/name", "unique names", found)
        if (first := first_with_values.setdefault(values, i)) != i:
            found = f"{values} again, as in /patches/{first}"
            raise checker.error(f"/patches/{i}/metadata/values", "unique values", found)
    return list(labels), patchset["patches"]


def _check_digests(checker: Checker, digests: Any, workspace: Any, workspace_name: str) -> None:
    if not isinstance(digests, dict) or not digests:
        raise checker.error("/metadata/digests", "an object with a digest of the workspace", kind_of(digests))
    for algorithm, expected in digests.items():
        if algorithm not in ("md5", "sha256"):
            raise checker.error("/metadata/digests", "the keys md5 or sha256", f"the key {algorithm!r}")
        checker.string(expected, f"/metadata/digests/{algorithm}")
        if (found := digest(workspace, algorithm)) != expected:
            raise HistFactoryError(
                looked_at=f"{checker.document_name}, at /metadata/digests/{algorithm}",
                expected=f"the digest of {workspace_name}, {found}",
                found=f"{expected}: the patches were made for another workspace",
                next_step="use the workspace and the patch set of the same publication: --workspace FILE --patchset FILE",
            )


def _check_patch(checker: Checker, patch: Any, path: str, n_labels: int) -> None:
    checker.keys(patch, path, {"metadata", "patch"})
    metadata = checker.with_keys(patch["metadata"], f"{path}/metadata", ("name", "values"))
    checker.string(metadata["name"], f"{path}/metadata/name")
    values = checker.array(metadata["values"], f"{path}/metadata/values", "values", empty=True)
    if len(values) != n_labels:
        raise checker.error(f"{path}/metadata/values", f"{n_labels} values, one per label", f"{len(values)} values")
    for j, value in enumerate(values):
        if isinstance(value, str):
            checker.string(value, f"{path}/metadata/values/{j}")
        else:
            checker.number(value, f"{path}/metadata/values/{j}", "a finite number or a string")
    _check_operations(checker, patch["patch"], f"{path}/patch")


def _check_operations(checker: Checker, operations: Any, path: str) -> list[dict]:
    """The operations, if they have the form of RFC 6902."""
    checked = checker.array(operations, path, "operations", empty=True)
    for j, operation in enumerate(checked):
        if not isinstance(operation, dict) or not all(isinstance(operation.get(k), str) for k in ("op", "path")):
            raise checker.error(f"{path}/{j}", "an RFC 6902 operation with op and path", operation)
        if not isinstance(operation.get("from", ""), str):
            raise checker.error(f"{path}/{j}/from", "a path", operation["from"])
    return checked


class CopyBudget:
    """Counts the values that copy operations copy. Without a limit, each copy could double the document."""

    def __init__(self) -> None:
        self.left = MOST_COPIED

    def spend(self, document: Any, pointer: str) -> None:
        """Count the values at `pointer`. Raises ValueError if no more may be copied."""
        stack = [_value_at(document, pointer)]
        while stack:
            node = stack.pop()
            self.left -= 1
            if self.left < 0:
                raise ValueError(f"the patches copy more than {MOST_COPIED:,} values")
            if isinstance(node, (dict, list)):
                stack.extend(node.values() if isinstance(node, dict) else node)


def apply_patch(document: Any, operations: list[dict], budget: CopyBudget | None = None) -> Any:
    """A patched version of `document`, which shares with it everything that the patch does not change.

    Raises ValueError, with the operation and its path, if the patch cannot be applied.
    """
    import jsonpatch

    budget = CopyBudget() if budget is None else budget
    document = document.copy()
    for operation in operations:
        for pointer in [operation["path"]] + ([operation["from"]] if "from" in operation else []):
            _copy_containers_on_path(document, pointer)
        if operation["op"] == "copy":
            budget.spend(document, operation.get("from", ""))
        if isinstance(operation.get("value"), dict):
            operation = {**operation, "value": _NotCopied(operation["value"])}
        try:
            document = jsonpatch.JsonPatch([operation]).apply(document, in_place=True)
        # jsonpatch raises its own exceptions, those of jsonpointer, TypeError, KeyError and RecursionError.
        except Exception as error:
            raise ValueError(f"{operation['op']} {operation['path']}: {error}") from error
    return document


def _copy_containers_on_path(document: Any, pointer: str) -> None:
    """Replace the containers on the path `pointer` (RFC 6901) by copies, as far as the path exists."""
    node = document
    for part in pointer.split("/")[1:-1]:
        key = _key_in(node, part)
        if key is None or not isinstance(node[key], (dict, list)):
            return  # jsonpatch reports the invalid path
        node[key] = node[key].copy()
        node = node[key]


def _value_at(document: Any, pointer: str) -> Any:
    """The value at the path `pointer` (RFC 6901); None if there is none."""
    node = document
    for part in pointer.split("/")[1:]:
        key = _key_in(node, part)
        if key is None:
            return None
        node = node[key]
    return node


def _key_in(node: Any, part: str) -> Any:
    """The key or index in a container that one part of a path names; None if there is none."""
    key = part.replace("~1", "/").replace("~0", "~")
    if isinstance(node, list):
        is_index = key.isascii() and key.isdigit() and len(key) < 10 and int(key) < len(node)
        return int(key) if is_index else None
    return key if isinstance(node, dict) and key in node else None


class _NotCopied(dict):
    """A value of a patch that jsonpatch must not deep-copy. Nothing changes it, because `apply_patch` copies first."""

    def __deepcopy__(self, memo: dict) -> _NotCopied:
        return self


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Switch the garbage collector off: it would repeatedly traverse a million objects, which contain no cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
