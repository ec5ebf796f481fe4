"""Rules: each has a name, a level and a question that finds the problems of one subject; and the loop over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

ERROR = "error"
ADVICE = "advice"  # the image works without it

Subject = TypeVar("Subject")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something wrong in one place, in the four parts of every message."""

    looked_at: str
    expected: str
    found: str
    next_step: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A problem, with the name and the level of the rule that found it."""

    name: str
    level: str
    looked_at: str
    expected: str
    found: str
    next_step: str


@dataclass(frozen=True)
class Rule(Generic[Subject]):
    """level: ERROR or ADVICE. problems: yields each problem of a subject, nothing where the subject is as it should be."""

    name: str
    level: str
    problems: Callable[[Subject], Iterator[Problem]]


def findings_of(subjects: Iterable[Subject], rules: Sequence[Rule[Subject]]) -> list[Finding]:
    """The findings of each subject, in the order of the rules."""
    return [
        Finding(name=rule.name, level=rule.level, **vars(problem))
        for subject in subjects
        for rule in rules
        for problem in rule.problems(subject)
    ]
