"""Read pyhf's JSON: a workspace and a patch set (schemas 1.0.0), checked and patched, ready to be compiled.

A patch (RFC 6902) is applied to a workspace by copying only the containers on its path, so that 125 patched
workspaces share all that no patch touched. `histfactory` relies on that: a sample that is the very same object in
every hypothesis is compiled once.
"""

from __future__ import annotations

import gc
import gzip
import hashlib
import json
import math
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonpatch

from workshop.errors import WorkshopError

# What each modifier carries in its "data" (pyhf schema 1.0.0, defs.json).
MODIFIER_DATA = {
    "normfactor": None,
    "shapefactor": None,
    "lumi": None,
    "shapesys": "list",
    "staterror": "list",
    "normsys": ("hi", "lo"),
    "histosys": ("hi_data", "lo_data"),
}
_NUMBER = frozenset((float, int))
LARGEST = sys.float_info.max  # JSON's whole numbers may be larger
_SAMPLE, _MODIFIER = frozenset(("name", "data", "modifiers")), frozenset(("name", "type", "data"))
_SHAPE = {kind: frozenset(shape) for kind, shape in MODIFIER_DATA.items() if isinstance(shape, tuple)}


@dataclass
class Hypothesis:
    """One patched workspace, reduced to what its likelihood needs."""

    name: str
    values: list[Any]  # one per label of the patch set
    channels: dict[str, dict[str, dict]]  # channel -> sample -> sample object (shared between hypotheses if unpatched)
    observations: dict[str, list[float]]
    measurement: dict


@contextmanager
def uncollected() -> Iterator[None]:
    """Python looks for no circles among objects meanwhile: a document is a tree of a million, walked at each look."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def read_json(path: str | Path) -> Any:
    """The document in a plain or gzipped file."""
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise WorkshopError(
            looked_at=path, expected="a readable file", found=error.strerror or str(error), next_step=f"ls -l {path}"
        ) from None
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as error:
            found = f"a damaged or truncated gzip file ({error})"
            raise WorkshopError(
                looked_at=path,
                expected="a whole gzip file",
                found=found,
                next_step=f"gzip -t {path}  # then fetch the file again",
            ) from None
    try:
        with uncollected():
            return json.loads(raw)
    except UnicodeDecodeError:
        raise WorkshopError(
            looked_at=path, expected="JSON in UTF-8", found="bytes that are not UTF-8 text", next_step=f"file {path}"
        ) from None
    except json.JSONDecodeError as error:
        found = f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise WorkshopError(
            looked_at=path, expected="JSON", found=found, next_step=f"python -m json.tool {path}"
        ) from None
    except RecursionError:
        raise WorkshopError(
            looked_at=path,
            expected="JSON of pyhf's schema",
            found="JSON nested too deep to read",
            next_step=f"head -c 300 {path}",
        ) from None
    except ValueError as error:  # a whole number of thousands of digits
        raise WorkshopError(
            looked_at=path,
            expected="JSON with numbers that fit a float",
            found=str(error),
            next_step=f"head -c 300 {path}",
        ) from None


class _Checker:
    """Checks parts of one document; knows the document's name, so that an error names the path inside it."""

    def __init__(self, looked_at: str, next_step: str) -> None:
        self.looked_at, self.next_step = looked_at, next_step

    def fail(self, path: str, expected: str, found: object) -> WorkshopError:
        text = found if isinstance(found, str) else repr(found)
        where = f"{self.looked_at}, at {path or '/'}"
        return WorkshopError(
            looked_at=where,
            expected=expected,
            found=text if len(text) < 120 else text[:117] + "...",
            next_step=self.next_step,
        )

    def keys(self, value: Any, path: str, required: set[str], optional: set[str] = frozenset()) -> dict:
        if isinstance(value, dict) and value.keys() == required:
            return value
        if not isinstance(value, dict):
            raise self.fail(path, f"an object with {', '.join(sorted(required))}", _kind(value))
        if missing := required - value.keys():
            raise self.fail(
                path, f"the key {sorted(missing)[0]!r}", f"only {', '.join(sorted(value)[:8]) or 'nothing'}"
            )
        if extra := value.keys() - required - optional:
            raise self.fail(
                path, f"no keys but {', '.join(sorted(required | optional))}", f"the key {sorted(extra)[0]!r}"
            )
        return value

    def array(self, value: Any, path: str, what: str, empty: bool = False) -> list:
        if not isinstance(value, list) or not (value or empty):
            raise self.fail(path, f"a list of {what}" + ("" if empty else ", not empty"), _kind(value))
        return value

    def string(self, value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise self.fail(path, "a text", _kind(value))
        return value

    def number(self, value: Any, path: str, expected: str = "a finite number") -> float:
        if type(value) not in _NUMBER:
            raise self.fail(path, expected, _kind(value))
        if not -LARGEST <= value <= LARGEST:
            raise self.fail(path, expected, str(value))
        return value

    def numbers(self, value: Any, path: str, length: int | None, negative: bool = True) -> list[float]:
        self.array(value, path, "numbers")
        # The common case in C: 125 patches hold half a million numbers.
        if not (_finite(value) and (negative or min(value) >= 0)):
            for i, x in enumerate(value):
                self.number(x, f"{path}/{i}")
                if not negative and x < 0:
                    raise self.fail(f"{path}/{i}", "a yield of zero or more", x)
        if length is not None and len(value) != length:
            raise self.fail(path, f"{length} numbers, one a bin", f"{len(value)} numbers")
        return value

    def sample(self, sample: Any, path: str, n_bins: int | None) -> int:
        """Check one sample; return its number of bins."""
        self.keys(sample, path, _SAMPLE)
        self.string(sample["name"], f"{path}/name")
        n = len(self.numbers(sample["data"], f"{path}/data", n_bins, negative=False))
        seen = set()
        for i, modifier in enumerate(self.array(sample["modifiers"], f"{path}/modifiers", "modifiers", empty=True)):
            if _plain(modifier, n) and (modifier["type"], modifier["name"]) not in seen:
                seen.add((modifier["type"], modifier["name"]))
                continue
            here = f"{path}/modifiers/{i}"
            self.keys(modifier, here, _MODIFIER)
            name, kind, data = self.string(modifier["name"], f"{here}/name"), modifier["type"], modifier["data"]
            if not isinstance(kind, str) or kind not in MODIFIER_DATA:
                raise self.fail(
                    f"{here}/type", f"one of {', '.join(MODIFIER_DATA)}", f"the modifier type {kind!r}, not supported"
                )
            if (kind, name) in seen:
                raise self.fail(here, "each modifier once a sample", f"a second {kind} {name!r}")
            seen.add((kind, name))
            shape = MODIFIER_DATA[kind]
            if shape is None:
                if data is not None:
                    raise self.fail(f"{here}/data", "null", _kind(data))
                if kind == "lumi" and name != "lumi":
                    raise self.fail(f"{here}/name", "'lumi', the only name of this modifier", name)
            elif shape == "list":
                self.numbers(data, f"{here}/data", n, negative=False)
            else:
                self.keys(data, f"{here}/data", _SHAPE[kind])
                for key in shape:
                    if kind == "histosys":
                        self.numbers(data[key], f"{here}/data/{key}", n)
                    elif self.number(data[key], f"{here}/data/{key}") <= 0:
                        # pyhf's code4 takes logarithms of both and returns NaN here.
                        raise self.fail(f"{here}/data/{key}", "a factor above zero (its logarithm is taken)", data[key])
        return n

    def parameter(self, parameter: Any, path: str) -> None:
        keys = {"inits", "bounds", "auxdata", "factors", "sigmas", "fixed"}
        self.keys(parameter, path, {"name"}, keys)
        self.string(parameter["name"], f"{path}/name")
        for key in ("inits", "auxdata", "factors", "sigmas"):
            if key in parameter:
                self.numbers(parameter[key], f"{path}/{key}", None)
        for key in ("factors", "sigmas"):
            if min(parameter.get(key, [1])) <= 0:
                raise self.fail(f"{path}/{key}", "numbers above zero", parameter[key])
        for i, pair in enumerate(self.array(parameter.get("bounds", [[0, 1]]), f"{path}/bounds", "pairs")):
            low, high = self.numbers(pair, f"{path}/bounds/{i}", 2)
            if low > high:
                raise self.fail(f"{path}/bounds/{i}", "[lower, upper]", pair)
        if not isinstance(parameter.get("fixed", False), bool):
            raise self.fail(f"{path}/fixed", "true or false", parameter["fixed"])

    def named(self, items: list, path: str, what: str) -> None:
        """Names are there and each comes once."""
        names = set()
        for i, item in enumerate(items):
            if not isinstance(item, dict) or not isinstance(item.get("name"), str):
                raise self.fail(f"{path}/{i}", f"a {what} with a name", _kind(item))
            if item["name"] in names:
                raise self.fail(f"{path}/{i}/name", f"each {what} name once", f"{item['name']!r} again")
            names.add(item["name"])


def _finite(values: list) -> bool:
    """Whether all of some values are numbers that fit a float."""
    try:
        return _NUMBER.issuperset(map(type, values)) and all(map(math.isfinite, values))
    except OverflowError:  # a whole number beyond LARGEST
        return False


def _plain(modifier: Any, n: int) -> bool:
    """Whether this is a normsys or histosys without a fault: most are, and need no path for a message."""
    if type(modifier) is not dict or modifier.keys() != _MODIFIER or type(modifier["name"]) is not str:
        return False
    kind, data = modifier["type"], modifier["data"]
    if type(kind) is not str or type(data) is not dict or data.keys() != _SHAPE.get(kind):
        return False
    if kind == "normsys":
        hi, lo = data["hi"], data["lo"]
        return type(hi) is float and type(lo) is float and 0 < hi <= LARGEST and 0 < lo <= LARGEST
    hi, lo = data["hi_data"], data["lo_data"]
    return type(hi) is list and type(lo) is list and len(hi) == len(lo) == n and _finite(hi) and _finite(lo)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    text = names.get(type(value), "a number")
    return (
        f"an empty {text.split()[-1]}" if value in ([], {}, "") and text in ("a list", "an object", "a text") else text
    )


def _check_version(check: _Checker, document: dict, kind: str) -> None:
    if document.get("version") != "1.0.0":
        raise check.fail("/version", f"'1.0.0', pyhf's {kind} schema", document.get("version"))


def read_hypothesis(
    document: Any, check: _Checker, name: str, values: list, measurement: str | None, seen: dict[int, tuple[dict, int]]
) -> Hypothesis:
    """Check one (patched) workspace and pick what its likelihood needs.

    `seen` remembers samples and other parts that were checked before, by identity (and keeps them alive, so that an
    identity is never reused).
    """
    check.keys(document, "", {"channels", "measurements", "observations", "version"})
    _check_version(check, document, "workspace")
    channels: dict[str, dict[str, dict]] = {}
    check.named(check.array(document["channels"], "/channels", "channels"), "/channels", "channel")
    for i, channel in enumerate(document["channels"]):
        here = f"/channels/{i}"
        check.keys(channel, here, {"name", "samples"})
        samples, n_bins = check.array(channel["samples"], f"{here}/samples", "samples"), None
        check.named(samples, f"{here}/samples", "sample")
        for j, sample in enumerate(samples):
            known = seen.get(id(sample))
            if known is None or (n_bins is not None and known[1] != n_bins):
                known = seen[id(sample)] = (sample, check.sample(sample, f"{here}/samples/{j}", n_bins))
            n_bins = known[1]
        channels[channel["name"]] = {sample["name"]: sample for sample in samples}

    if id(document["observations"]) not in seen:
        check.named(check.array(document["observations"], "/observations", "observations"), "/observations", "channel")
        for i, observation in enumerate(document["observations"]):
            check.keys(observation, f"/observations/{i}", {"name", "data"})
            check.numbers(observation["data"], f"/observations/{i}/data", None, negative=False)
        seen[id(document["observations"])] = (document["observations"], 0)
    observations = {observation["name"]: observation["data"] for observation in document["observations"]}
    for channel, samples in channels.items():
        n_bins = len(next(iter(samples.values()))["data"])
        if channel not in observations:
            raise check.fail("/observations", f"the observed counts of channel {channel!r}", "none")
        if len(observations[channel]) != n_bins:
            raise check.fail(
                "/observations", f"{n_bins} bins in {channel!r}, as its samples have", f"{len(observations[channel])}"
            )

    measurements = check.array(document["measurements"], "/measurements", "measurements")
    check.named(measurements, "/measurements", "measurement")
    names = [m["name"] for m in measurements]
    if measurement is not None and measurement not in names:
        raise check.fail("/measurements", f"the measurement {measurement!r}", f"only {', '.join(names)}")
    i = names.index(measurement) if measurement is not None else 0
    chosen = measurements[i]
    if id(chosen) not in seen:
        here = f"/measurements/{i}"
        check.keys(chosen, here, {"name", "config"})
        check.keys(chosen["config"], f"{here}/config", {"poi", "parameters"})
        check.string(chosen["config"]["poi"], f"{here}/config/poi")
        parameters = check.array(chosen["config"]["parameters"], f"{here}/config/parameters", "parameters", empty=True)
        check.named(parameters, f"{here}/config/parameters", "parameter")
        for j, parameter in enumerate(parameters):
            check.parameter(parameter, f"{here}/config/parameters/{j}")
        if not chosen["config"]["poi"]:
            raise check.fail(f"{here}/config/poi", "the name of the parameter of interest", "none")
        seen[id(chosen)] = (chosen, 0)
    return Hypothesis(name, values, channels, observations, chosen)


class _Whole(dict):
    """A patch's value that jsonpatch need not copy: nothing writes into it, see `apply_patch`."""

    def __deepcopy__(self, memo: dict) -> _Whole:
        return self


def apply_patch(document: Any, operations: list[dict]) -> Any:
    """`document` with the patch applied; what the patch does not touch is shared with `document`, not copied.

    Raises ValueError, with the operation and its path, where the patch does not fit.
    """
    document = document.copy()
    for operation in operations:
        for pointer in [operation["path"]] + ([operation["from"]] if "from" in operation else []):
            node, parts = document, pointer.split("/")[1:-1]
            for part in parts:
                key: Any = part.replace("~1", "/").replace("~0", "~")
                if isinstance(node, list):
                    key = int(key) if key.isdigit() and int(key) < len(node) else None
                elif not isinstance(node, dict) or key not in node:
                    key = None
                if key is None or not isinstance(node[key], (dict, list)):
                    break  # jsonpatch says what is wrong with this path
                node[key] = node[key].copy()
                node = node[key]
        if isinstance(operation.get("value"), dict):
            operation = {**operation, "value": _Whole(operation["value"])}
        try:
            document = jsonpatch.JsonPatch([operation]).apply(document, in_place=True)
        except Exception as error:  # jsonpatch and jsonpointer have many kinds, and plain TypeError and KeyError too
            raise ValueError(f"{operation['op']} {operation['path']}: {error}") from error
    return document


def digest(document: Any, algorithm: str) -> str:
    """pyhf's digest of a document: the hash of its JSON with sorted keys."""
    return hashlib.new(algorithm, json.dumps(document, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _check_patchset(
    check: _Checker, patchset: Any, workspace: Any, workspace_name: str
) -> tuple[list[str], list[dict]]:
    """Labels and patches of a patch set that belongs to this workspace."""
    check.keys(patchset, "", {"metadata", "patches", "version"})
    _check_version(check, patchset, "patch set")
    metadata = patchset["metadata"]
    if not isinstance(metadata, dict) or "labels" not in metadata or "digests" not in metadata:
        raise check.fail("/metadata", "an object with labels and digests", metadata)
    labels = [check.string(x, "/metadata/labels") for x in check.array(metadata["labels"], "/metadata/labels", "texts")]
    if not isinstance(metadata["digests"], dict) or not metadata["digests"]:
        raise check.fail("/metadata/digests", "a digest of the workspace", _kind(metadata["digests"]))
    for algorithm, expected in metadata["digests"].items():
        if algorithm not in ("md5", "sha256"):
            raise check.fail("/metadata/digests", "md5 or sha256", algorithm)
        if (found := digest(workspace, algorithm)) != expected:
            raise WorkshopError(
                looked_at=f"{check.looked_at}, at /metadata/digests/{algorithm}",
                expected=f"the digest of {workspace_name}, {found}",
                found=f"{expected}: the patches were made for another workspace",
                next_step="give the workspace and the patch set of one publication: --workspace FILE --patchset FILE",
            )
    names: dict[str, int] = {}
    values: dict[str, int] = {}
    for i, patch in enumerate(check.array(patchset["patches"], "/patches", "patches")):
        check.keys(patch, f"/patches/{i}", {"metadata", "patch"})
        meta = patch["metadata"]
        if (
            not isinstance(meta, dict)
            or not isinstance(meta.get("name"), str)
            or not isinstance(meta.get("values"), list)
        ):
            raise check.fail(f"/patches/{i}/metadata", "an object with name and values", meta)
        if meta["name"] in names:
            raise check.fail(
                f"/patches/{i}/metadata/name",
                "each name once",
                f"{meta['name']!r} again, as in /patches/{names[meta['name']]}",
            )
        if len(meta["values"]) != len(labels):
            raise check.fail(
                f"/patches/{i}/metadata/values", f"{len(labels)} values, one a label", f"{len(meta['values'])} values"
            )
        for j, value in enumerate(meta["values"]):
            if not isinstance(value, str):
                check.number(value, f"/patches/{i}/metadata/values/{j}", "a finite number or a text")
        if (key := json.dumps(meta["values"])) in values:
            raise check.fail(
                f"/patches/{i}/metadata/values", "each set of values once", f"{key} again, as in /patches/{values[key]}"
            )
        names[meta["name"]] = values[key] = i
        for j, operation in enumerate(check.array(patch["patch"], f"/patches/{i}/patch", "operations", empty=True)):
            here = f"/patches/{i}/patch/{j}"
            if not isinstance(operation, dict) or not all(isinstance(operation.get(k), str) for k in ("op", "path")):
                raise check.fail(here, "an RFC 6902 operation with op and path", operation)
            if not isinstance(operation.get("from", ""), str):
                raise check.fail(f"{here}/from", "a path", operation["from"])
    return labels, patchset["patches"]


def read_hypotheses(
    workspace: Any,
    patchset: Any = None,
    measurement: str | None = None,
    workspace_name: str = "the workspace",
    patchset_name: str = "the patch set",
) -> tuple[list[str], list[Hypothesis]]:
    """Labels, and one hypothesis for every patch (or the workspace itself where no patch set is given)."""
    check = _Checker(workspace_name, f"python -m json.tool {workspace_name} | less")
    seen: dict[int, tuple[dict, int]] = {}
    background = read_hypothesis(workspace, check, "workspace", [], measurement, seen)
    if patchset is None:
        return [], [background]
    check = _Checker(patchset_name, f"python -m json.tool {patchset_name} | less")
    labels, patches = _check_patchset(check, patchset, workspace, workspace_name)
    hypotheses = []
    for patch in patches:
        name = patch["metadata"]["name"]
        check.looked_at = f"{workspace_name} with the patch {name} of {patchset_name}"
        try:
            patched = apply_patch(workspace, patch["patch"])
        except ValueError as error:
            raise WorkshopError(
                looked_at=f"{patchset_name}, patch {name}",
                expected="a patch that fits the workspace (RFC 6902)",
                found=str(error),
                next_step=f"look at the paths of this patch in {patchset_name}",
            ) from None
        hypotheses.append(read_hypothesis(patched, check, name, patch["metadata"]["values"], measurement, seen))
    return labels, hypotheses
