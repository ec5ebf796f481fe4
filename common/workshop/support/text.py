"""Questions about words and version numbers in text. Standard library alone: the doctor runs where nothing is installed."""

from __future__ import annotations

import re
from collections.abc import Iterable


def closest_match(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word that `word` is most like; None where none of them is at least `cutoff` like it (0 to 1)."""
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return found[0] if found else None


def satisfies(version: str, spec: str) -> bool:
    """Whether a version such as `0.77.0` meets a constraint such as `>=0.71,<1`.

    Both hold numbers alone, as in this workshop's own files; a version with anything else in it is not within. Missing
    numbers count as 0 (12 is 12.0), and `==1.2` is met by every 1.2.x.
    """
    if not re.fullmatch(r"\d+(\.\d+)*", version):
        return False
    numbers = [int(part) for part in version.split(".")]
    for operator, text in re.findall(r"(>=|<=|==|!=|<|>)\s*v?(\d+(?:\.\d+)*)", spec):
        bound = [int(part) for part in text.split(".")]
        have = numbers + [0] * (len(bound) - len(numbers))
        same = have[: len(bound)] == bound
        met = {
            ">=": have >= bound,
            "<=": have <= bound or same,
            "<": have < bound and not same,
            ">": have > bound and not same,
            "==": same,
            "!=": not same,
        }
        if not met[operator]:
            return False
    return True
