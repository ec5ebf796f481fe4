"""The rules of the audit, and what a finding consists of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ERROR, WARNING, NOTE = "error", "warning", "note"
UNDECIDED = "undecided"  # the rule could not be applied: neither a finding nor a pass
LEVELS = (ERROR, WARNING, UNDECIDED, NOTE)
PAGE = "docs/audit.md"
CONTAINER, HADOLINT = "container/", "hadolint/"  # what the rules of other commands begin with


@dataclass(frozen=True)
class Rule:
    """level: of its findings. title: what is wrong, in one line. blocks: whether a machine on which the rule finds
    something gets other files than the lock promises, or none at all."""

    level: str
    title: str
    blocks: bool = False


RULES = {
    "manifest-error": Rule(ERROR, "Pixi refuses the manifest", blocks=True),
    "lock-missing": Rule(ERROR, "there is no lock", blocks=True),
    "lock-not-in-git": Rule(ERROR, "git tracks the manifest, but not the lock", blocks=True),
    "lock-error": Rule(ERROR, "Pixi cannot read the lock", blocks=True),
    "lock-out-of-date": Rule(ERROR, "the lock does not satisfy the manifest", blocks=True),
    "package-twice": Rule(ERROR, "a package is installed twice, from conda and as a wheel", blocks=True),
    "cuda-newer-than-platform": Rule(ERROR, "built for a newer CUDA than the platform declares", blocks=True),
    "package-without-hash": Rule(WARNING, "a locked package has no sha256", blocks=True),
    "built-on-installation": Rule(WARNING, "a PyPI package is built on the machine that installs it", blocks=True),
    "package-from-other-channel": Rule(WARNING, "a package comes from none of the channels"),
    "cpu-build-for-cuda": Rule(WARNING, "a CPU build on a platform that declares CUDA"),
    "cuda-build-without-cuda": Rule(WARNING, "a CUDA build on a platform that declares none"),
    "container-unreadable": Rule(WARNING, "a container file cannot be read"),
    "pixi-too-old": Rule(UNDECIDED, "the manifest requires a newer Pixi than the one whose rules are known here"),
    "lock-undecided": Rule(UNDECIDED, "only Pixi can decide whether the lock fits"),
    "builds-undecided": Rule(UNDECIDED, "the locked builds cannot be read"),
    "lock-old-format": Rule(NOTE, "the lock has an older format, which `pixi lock --check` rejects"),
    "package-with-md5": Rule(NOTE, "a locked package has an md5 instead of a sha256"),
    "package-from-mirror": Rule(NOTE, "packages come from a mirror of their channel"),
    "wheel-from-other-host": Rule(NOTE, "a wheel comes from another host than its index"),
    "built-from-source": Rule(NOTE, "a package of the workspace is built on the machine that installs it"),
    "much-older": Rule(NOTE, "a package is much older than on other platforms"),
    "pixi-note": Rule(NOTE, "what Pixi accepts with a remark"),
}


@dataclass(frozen=True)
class Finding:
    """Something to correct or to know.

    rule: a name in RULES, or one of `container-check` or hadolint behind `container/` or `hadolint/`. path, line: where
    it is, line counted from 1. reason: what was found. fix: what to type or to write. places: the environments and
    platforms that it concerns; empty: all of them.
    """

    rule: str
    level: str
    path: Path
    line: int
    reason: str
    fix: str
    places: tuple[tuple[str, str], ...] = ()

    @property
    def blocks(self) -> bool:
        return self.rule in RULES and RULES[self.rule].blocks

    def concerns(self, environment: str, platform: str) -> bool:
        """Whether it is about an environment on a platform."""
        return not self.places or any(e in ("", environment) and p in ("", platform) for e, p in self.places)


def page_of(rule: str) -> str:
    """The page and the section that explain a rule."""
    for start, anchor in ((CONTAINER, "container-files"), (HADOLINT, "container-files")):
        if rule.startswith(start):
            return f"{PAGE}#{anchor}"
    return f"{PAGE}#{rule}"


def finding(
    rule: str, path: Path, line: int, reason: str, fix: str, places: tuple[tuple[str, str], ...] = ()
) -> Finding:
    """A finding of one of the RULES, with the level of the rule."""
    return Finding(rule, RULES[rule].level, path, line, reason, fix, places)
