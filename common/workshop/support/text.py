"""Similar words and version numbers. Needs only the standard library: the doctor runs where nothing is installed."""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST_WORD = 100  # characters of a word that may be mistyped; comparing longer ones takes seconds
LONGEST_SPEC = 1000


def closest_match(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word that is most similar to `word`; None if no similarity (0 to 1) reaches `cutoff`."""
    import difflib

    if len(word) > LONGEST_WORD:
        return None
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return found[0] if found else None


def satisfies(version: str, spec: str) -> bool:
    """Whether a version such as `0.77.0` meets a constraint such as `>=0.71,<1`.

    Both may contain only numbers, as in this workshop's own files; any other version meets no constraint. Missing
    numbers count as 0 (12 is 12.0), and every 1.2.x meets `==1.2`.
    """
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})*", version):
        return False
    numbers = [int(part) for part in version.split(".")]
    for operator, text in re.findall(r"(>=|<=|==|!=|<|>)\s*v?(\d{1,9}(?:\.\d{1,9})*)", spec[:LONGEST_SPEC]):
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
