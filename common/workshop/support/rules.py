"""Rules for container files and job files. Each has a name, a level and a function that finds problems."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

ERROR = "error"
ADVICE = "advice"  # it works, but with a drawback

Subject = TypeVar("Subject")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something wrong in one place, in the four parts of every message. level: only if it differs from the rule's."""

    looked_at: str
    expected: str
    found: str
    next_step: str
    level: str | None = None


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
    """level: ERROR or ADVICE. problems: yields every problem of a subject."""

    name: str
    level: str
    problems: Callable[[Subject], Iterator[Problem]]


def findings_of(subjects: Iterable[Subject], rules: Sequence[Rule[Subject]]) -> Iterator[Finding]:
    """The findings of each subject, in the order of the rules. A rule is applied only when its turn comes."""
    for subject in subjects:
        for rule in rules:
            for problem in rule.problems(subject):
                yield Finding(**vars(problem) | {"name": rule.name, "level": problem.level or rule.level})
