"""Checks of the parts of a workspace, as in pyhf's schema 1.0.0: numbers, samples, modifiers, measurement parameters.

They are functions instead of a JSON schema for two reasons: 125 patched workspaces contain half a million numbers, and
each message should name the path of the invalid value.
"""

from __future__ import annotations

import math
from typing import Any

from histfactory.errors import HistFactoryError

# The "data" of each type of modifier (pyhf schema 1.0.0, defs.json): nothing, a list, or an object with these keys.
MODIFIER_DATA: dict[str, None | str | tuple[str, str]] = {
    "normfactor": None,
    "shapefactor": None,
    "lumi": None,
    "shapesys": "list",
    "staterror": "list",
    "normsys": ("hi", "lo"),
    "histosys": ("hi_data", "lo_data"),
}
LARGEST = 1e100  # far beyond any yield; squares and products of larger numbers would not be finite
_NUMBER = frozenset((float, int))
_SAMPLE, _MODIFIER = frozenset(("name", "data", "modifiers")), frozenset(("name", "type", "data"))
_DATA_KEYS = {kind: frozenset(keys) for kind, keys in MODIFIER_DATA.items() if isinstance(keys, tuple)}


class Checker:
    """Checks parts of one document. Every method raises HistFactoryError with the path of the first invalid value."""

    def __init__(self, document_name: str, next_step: str) -> None:
        self.document_name, self.next_step = document_name, next_step

    def error(self, path: str, expected: str, found: object) -> HistFactoryError:
        """The error about the value at this path; the other methods raise it."""
        text = found if isinstance(found, str) else repr(found)
        return HistFactoryError(
            looked_at=f"{self.document_name}, at {path or '/'}",
            expected=expected,
            found=text if len(text) < 120 else text[:117] + "...",
            next_step=self.next_step,
        )

    def keys(
        self, value: Any, path: str, required: set[str] | frozenset[str], optional: frozenset[str] = frozenset()
    ) -> dict:
        """Check that this is an object with the required keys, and no others than the optional ones."""
        if isinstance(value, dict) and value.keys() == required:
            return value
        if not isinstance(value, dict):
            raise self.error(path, f"an object with {', '.join(sorted(required))}", kind_of(value))
        if missing := required - value.keys():
            only = ", ".join(sorted(value)[:8]) or "nothing"
            raise self.error(path, f"the key {sorted(missing)[0]!r}", f"only {only}")
        if extra := value.keys() - required - optional:
            allowed = ", ".join(sorted(required | optional))
            raise self.error(path, f"no keys except {allowed}", f"the key {sorted(extra)[0]!r}")
        return value

    def array(self, value: Any, path: str, content: str, empty: bool = False) -> list:
        """Check that this is a list, and not an empty one unless that is allowed. content: its elements, in words."""
        if not isinstance(value, list) or not (value or empty):
            raise self.error(
                path, f"a list of {content}" if empty else f"a non-empty list of {content}", kind_of(value)
            )
        return value

    def with_keys(self, value: Any, path: str, required: tuple[str, ...]) -> dict:
        """Check that this is an object with the required keys; it may have others."""
        if not isinstance(value, dict):
            raise self.error(path, f"an object with {', '.join(required)}", kind_of(value))
        for key in required:
            if key not in value:
                only = ", ".join(sorted(value)[:8]) or "nothing"
                raise self.error(path, f"the key {key!r}", f"only {only}")
        return value

    def string(self, value: Any, path: str) -> str:
        """Check that this is a string that can be written as UTF-8."""
        if not isinstance(value, str):
            raise self.error(path, "a string", kind_of(value))
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise self.error(path, "a string of Unicode characters", f"half a surrogate pair in {value!a}")
        return value

    def number(self, value: Any, path: str, expected: str = "a finite number of at most 1e100") -> float:
        """Check that this is a number of at most LARGEST."""
        if type(value) not in _NUMBER:
            raise self.error(path, expected, kind_of(value))
        if not -LARGEST <= value <= LARGEST:
            raise self.error(path, expected, f"{value:.3g}" if isinstance(value, float) else "an integer beyond 1e100")
        return value

    def numbers(self, value: Any, path: str, length: int | None, negative: bool = True) -> list[float]:
        """Check that this is a non-empty list of numbers. length: how many (None: any). negative: whether they may be."""
        self.array(value, path, "numbers")
        # First all at once in C, and one by one only to find the invalid number.
        if not (_all_finite(value) and (negative or min(value) >= 0)):
            for i, x in enumerate(value):
                self.number(x, f"{path}/{i}")
                if not negative and x < 0:
                    raise self.error(f"{path}/{i}", "a number of zero or more", x)
        if length is not None and len(value) != length:
            raise self.error(path, f"{length} numbers, one per bin", f"{len(value)} numbers")
        return value

    def unique_names(self, items: list, path: str, item_kind: str) -> None:
        """Check that every item has a name, and that no two have the same one."""
        names = set()
        for i, item in enumerate(items):
            if not isinstance(item, dict) or not isinstance(item.get("name"), str):
                raise self.error(f"{path}/{i}", f"a {item_kind} with a name", kind_of(item))
            self.string(item["name"], f"{path}/{i}/name")
            if item["name"] in names:
                raise self.error(f"{path}/{i}/name", f"unique {item_kind} names", f"{item['name']!r} again")
            names.add(item["name"])

    def version(self, document: dict, document_kind: str) -> None:
        """Check that the document follows version 1.0.0 of pyhf's schema."""
        if document.get("version") != "1.0.0":
            raise self.error(
                "/version", f"'1.0.0', the version of pyhf's {document_kind} schema", document.get("version")
            )

    def sample(self, sample: Any, path: str, n_bins: int | None) -> int:
        """Check one sample with its modifiers; return its number of bins."""
        self.keys(sample, path, _SAMPLE)
        self.string(sample["name"], f"{path}/name")
        n_bins = len(self.numbers(sample["data"], f"{path}/data", n_bins))  # weights of events can be negative
        modifiers = self.array(sample["modifiers"], f"{path}/modifiers", "modifiers", empty=True)
        seen: set[tuple[str, str]] = set()
        for i, modifier in enumerate(modifiers):
            if not _is_plain_modifier(modifier, n_bins):
                self._modifier(modifier, f"{path}/modifiers/{i}", n_bins)
            key = (modifier["type"], modifier["name"])
            if key in seen:
                raise self.error(
                    f"{path}/modifiers/{i}", "unique modifiers in a sample", f"a second {key[0]} {key[1]!r}"
                )
            seen.add(key)
        return n_bins

    def _modifier(self, modifier: Any, path: str, n_bins: int) -> None:
        self.keys(modifier, path, _MODIFIER)
        name, kind, data = self.string(modifier["name"], f"{path}/name"), modifier["type"], modifier["data"]
        if not isinstance(kind, str) or kind not in MODIFIER_DATA:
            supported = f"one of {', '.join(MODIFIER_DATA)}"
            raise self.error(f"{path}/type", supported, f"the modifier type {kind!r}, which is not supported")
        keys = MODIFIER_DATA[kind]
        if keys is None:
            if data is not None:
                raise self.error(f"{path}/data", "null", kind_of(data))
            if kind == "lumi" and name != "lumi":
                raise self.error(f"{path}/name", "'lumi', the only name that a lumi modifier may have", name)
        elif keys == "list":
            self.numbers(data, f"{path}/data", n_bins, negative=False)
        else:
            self.keys(data, f"{path}/data", _DATA_KEYS[kind])
            for key in keys:
                if kind == "histosys":
                    self.numbers(data[key], f"{path}/data/{key}", n_bins)
                elif self.number(data[key], f"{path}/data/{key}") <= 0:
                    # pyhf's code4 takes logarithms of both and returns NaN here.
                    raise self.error(
                        f"{path}/data/{key}", "a positive factor, since the fit uses its logarithm", data[key]
                    )

    def parameter(self, parameter: Any, path: str) -> None:
        """Check one entry of a measurement's parameters."""
        optional = frozenset(("inits", "bounds", "auxdata", "factors", "sigmas", "fixed"))
        self.keys(parameter, path, {"name"}, optional)
        self.string(parameter["name"], f"{path}/name")
        for key in ("inits", "auxdata", "factors", "sigmas"):
            if key in parameter:
                self.numbers(parameter[key], f"{path}/{key}", None)
        for key in ("factors", "sigmas"):
            if min(parameter.get(key, [1])) <= 0:
                raise self.error(f"{path}/{key}", "positive numbers", parameter[key])
        for i, pair in enumerate(self.array(parameter.get("bounds", [[0, 1]]), f"{path}/bounds", "pairs")):
            low, high = self.numbers(pair, f"{path}/bounds/{i}", 2)
            if low > high:
                raise self.error(f"{path}/bounds/{i}", "[lower, upper]", pair)
        if not isinstance(parameter.get("fixed", False), bool):
            raise self.error(f"{path}/fixed", "true or false", parameter["fixed"])


def kind_of(value: Any) -> str:
    """The JSON type of a value, in words."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    text = names.get(type(value), "a number")
    return f"an empty {text.split()[-1]}" if value in ([], {}, "") else text


def _all_finite(values: list) -> bool:
    """Whether all values are numbers of at most LARGEST."""
    try:
        finite = _NUMBER.issuperset(map(type, values)) and all(map(math.isfinite, values))
    except OverflowError:  # an integer beyond the range of a float
        return False
    return finite and -LARGEST <= min(values) <= max(values) <= LARGEST


def _is_plain_modifier(modifier: Any, n_bins: int) -> bool:
    """Whether this is a valid normsys or histosys. Most modifiers are, and this test needs no path for a message."""
    if type(modifier) is not dict or modifier.keys() != _MODIFIER or type(modifier["name"]) is not str:
        return False
    kind, data = modifier["type"], modifier["data"]
    if type(kind) is not str or type(data) is not dict or data.keys() != _DATA_KEYS.get(kind):
        return False
    if kind == "normsys":
        hi, lo = data["hi"], data["lo"]
        return type(hi) is float and type(lo) is float and 0 < hi <= LARGEST and 0 < lo <= LARGEST
    hi, lo = data["hi_data"], data["lo_data"]
    return (
        type(hi) is list and type(lo) is list and len(hi) == len(lo) == n_bins and _all_finite(hi) and _all_finite(lo)
    )
