"""Findings about the lock: does it fit the manifest, is it in git, what does Pixi let pass? By `lock-check`'s rules."""

from __future__ import annotations

from pathlib import Path

import pixi_workspace
from pixi_workspace.fit import lockcheck
from pixi_workspace.fit.satisfy_environment import Reason
from workshop import shell
from workshop.audit import places
from workshop.audit.findings import Finding, finding

RULE_OF_VERDICT = {
    "out-of-date": "lock-out-of-date",
    "manifest-error": "manifest-error",
    "lock-error": "lock-error",
    "pixi-too-old": "pixi-too-old",
    "cannot-tell": "lock-undecided",
}
OLD_FORMAT = "the lock has the older format"  # it installs the same packages all the same
NO_FOLDER = ("does not exist", "no such folder")  # of a local package
SUBMODULES = "git submodule update --init  # or copy the folder there; then: pixi lock --check"
# A part of each message in `pixi_workspace.fit.suspicions`, the rule that it belongs to, and what to do.
RULE_OF_WARNING = (
    ("an md5 instead", "package-with-md5", "pixi update NAME  # the new lock has the sha256 if the server names it"),
    ("no sha256", "package-without-hash", "pixi update NAME  # the new lock has the sha256 if the server names it"),
    ("another host", "wheel-from-other-host", "if you do not know this host: compare the index in [pypi-options]"),
    ("come from the mirror", "package-from-mirror", "if you do not know this mirror: `pixi config list mirrors`"),
    (
        "none of the environment's channels",
        "package-from-other-channel",
        "add the channel to `channels`, or: pixi lock",
    ),
)


def lock_findings(verdict: pixi_workspace.Verdict) -> list[Finding]:
    """What the verdict of `lock-check` contains, and whether git tracks the lock."""
    found = []
    if verdict.verdict != "up-to-date":
        missing = verdict.verdict == "out-of-date" and not verdict.lock.exists()
        rule = "lock-missing" if missing else RULE_OF_VERDICT[verdict.verdict]
        for reason in verdict.reasons:
            found.append(_of_reason("lock-old-format" if OLD_FORMAT in reason.message else rule, reason, verdict))
    for warning in verdict.warnings:
        rule, fix = next((rule, fix) for part, rule, fix in RULE_OF_WARNING if part in warning.message)
        line = places.line_of_url(verdict.lock, warning.record) if warning.record else 1
        fix = fix.replace("NAME  ", f"{warning.package}  " if warning.package else " ")
        found.append(finding(rule, verdict.lock, line, lockcheck.describe(warning), fix, _places(warning)))
    for note in verdict.notes:
        found.append(finding("pixi-note", verdict.manifest, places.line_of_table(verdict.manifest, note), note, ""))
    return [*found, *_git_findings(verdict.manifest, verdict.lock)]


def _of_reason(rule: str, reason: Reason, verdict: pixi_workspace.Verdict) -> Finding:
    path, line = verdict.manifest, None
    if rule == "lock-error":
        path, line = verdict.lock, places.line_in_message(reason.message)
    elif rule == "manifest-error":
        line = places.line_of_table(path, reason.message)
    elif reason.package:
        line = places.line_of_dependency(path, reason.package)
    if line is None and reason.environment:
        line = places.line_of_environment(path, reason.environment.split(", ")[0])
    fix = SUBMODULES if any(words in reason.message for words in NO_FOLDER) else verdict.next_step
    return finding(rule, path, line or 1, lockcheck.describe(reason), fix, _places(reason))


def _places(reason: Reason) -> tuple[tuple[str, str], ...]:
    environments = (reason.environment or "").split(", ")
    return (
        tuple((name, reason.platform or "") for name in environments) if reason.environment or reason.platform else ()
    )


def _git_findings(manifest: Path, lock: Path) -> list[Finding]:
    """A lock that stays on this machine: everybody else solves the environments anew."""
    tracked = [shell.git(manifest.parent, "ls-files", "--error-unmatch", path.name) for path in (manifest, lock)]
    if not lock.exists() or tracked[0] is None or tracked[1] is not None:
        return []
    ignored = shell.git(manifest.parent, "check-ignore", "--verbose", lock.name)
    reason = "a clone gets the manifest without the lock" + (
        f"; ignored by {ignored.split(chr(9))[0]}" if ignored else ""
    )
    return [finding("lock-not-in-git", lock, 1, reason, f"git add {'--force ' if ignored else ''}{lock.name}")]
