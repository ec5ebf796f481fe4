"""Version constraints and dependencies as rattler reads them, with a limit on their size.

rattler overflows the stack of the whole process at some ten thousand brackets inside one another, and takes seconds for
ten thousand versions in one constraint.
"""

from __future__ import annotations

from rattler import MatchSpec, VersionSpec

LONGEST = 4000  # characters; the longest constraint on conda-forge has a tenth of this
DEEPEST = 100  # round brackets inside one another


def version_spec(text: str, strict: bool) -> VersionSpec:
    """A constraint such as `>=1,<2`. Raises ValueError if it is too large, otherwise what rattler raises."""
    return VersionSpec(_checked(text), strict)


def match_spec(text: str, strict: bool = False) -> MatchSpec:
    """A dependency such as `numpy >=2`. Raises ValueError if it is too large, otherwise what rattler raises."""
    return MatchSpec(_checked(text), strict)


def _checked(text: str) -> str:
    if len(text) > LONGEST:
        raise ValueError(f"a constraint of more than {LONGEST:,} characters")
    if text.count("(") > DEEPEST:
        raise ValueError(f"a constraint with more than {DEEPEST} brackets")
    return text
