"""`workshop lock-check`: the verdict of `pixi lock --check`, without Pixi and without a network.

The verdict is one of six words. The first five are those of the real command:

- `up-to-date`: the lock satisfies the manifest
- `out-of-date`: it does not; `pixi lock` would write another one
- `manifest-error`: Pixi refuses the manifest
- `lock-error`: Pixi cannot read the lock
- `pixi-too-old`: `requires-pixi` is not met by the Pixi that this agrees with (`manifest.PIXI_VERSION`), nor by a later
  one of its series, whose manifests are read by the rules that are known, with a note
- `cannot-tell`: nothing found here is out of date, but Pixi would also ask a build backend

If a manifest or a lock needs a later Pixi and one is on the PATH, its verdict counts. If Pixi lets something pass (a
missing hash, a package from another host) the verdict stays, and a warning is added.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pixi_workspace import lock as locks
from pixi_workspace import manifest as manifests
from pixi_workspace.errors import WorkspaceError, short
from pixi_workspace.fit import newer_pixi, satisfy
from pixi_workspace.fit.satisfy_environment import Reason
from pixi_workspace.fit.suspicions import suspicions
from pixi_workspace.lock import LockError, LockTooLarge, LockTooNew
from pixi_workspace.manifest import PIXI_VERSION, ManifestError, PixiTooOld

SHOWN = 20  # reasons in the text; --json lists all of them
PLACES = 3  # of each reason in the text
NOTHING_TO_DO = "nothing to do"


@dataclass(frozen=True)
class Verdict:
    """The verdict that `pixi lock --check` would give, the reasons, and what to type next."""

    verdict: str
    reasons: tuple[Reason, ...]
    manifest: Path
    lock: Path
    next_step: str
    notes: tuple[str, ...] = ()
    warnings: tuple[Reason, ...] = ()


def judge(path: Path | str) -> Verdict:
    """The verdict on a workspace folder, a pixi.toml or a pyproject.toml.

    Raises WorkspaceError where there is no manifest; everything else is a verdict.
    """
    manifest_path = manifests.find(Path(path))
    lock_path = manifest_path.with_name("pixi.lock")

    def refused(word: str, error: WorkspaceError) -> Verdict:
        message = f"{error.looked_at}: expected {error.expected}; found {error.found}"
        return Verdict(word, (Reason(message),), manifest_path, lock_path, error.next_step)

    try:
        manifest = manifests.load(manifest_path)
    except ManifestError as error:
        word = "pixi-too-old" if isinstance(error, PixiTooOld) else "manifest-error"
        return _by_newer_pixi(manifest_path, ()) or refused(word, error)
    if manifest.later_pixi and (found := _by_newer_pixi(manifest_path, manifest.notes)):
        return found
    if not lock_path.exists():
        reason = Reason(f"there is no {lock_path.name} beside the manifest")
        return Verdict("out-of-date", (reason,), manifest_path, lock_path, "pixi lock", manifest.notes)
    try:
        lock = locks.align(locks.read(lock_path), manifest.platforms)
    except LockTooNew as error:  # Pixi goes on as if there were no lock
        return _by_newer_pixi(manifest_path, manifest.notes) or refused("out-of-date", error)
    except LockTooLarge as error:
        return refused("cannot-tell", error)
    except LockError as error:
        return refused("lock-error", error)
    try:
        reasons, unknown, notes = satisfy.check(manifest, lock)
        warnings = tuple(suspicions(manifest, lock))
    except Exception as error:  # other people's files can contain anything
        raise WorkspaceError(
            looked_at=lock_path,
            expected="a manifest and a lock that this check can compare",
            found=f"{type(error).__name__}: {' '.join(str(error).split())}",
            next_step="pixi lock --check; and please report the two files",
        ) from error
    if reasons:
        word, next_step = "out-of-date", "pixi lock"
    elif unknown:
        word, next_step = "cannot-tell", "pixi lock --check, on a machine with Pixi"
    else:
        word, next_step = "up-to-date", NOTHING_TO_DO
    return Verdict(
        verdict=word,
        reasons=tuple(reasons or unknown),
        manifest=manifest_path,
        lock=lock_path,
        next_step=next_step,
        notes=(*manifest.notes, *notes),
        warnings=warnings,
    )


def _by_newer_pixi(manifest: Path, notes: tuple[str, ...]) -> Verdict | None:
    """The verdict of a newer Pixi on the PATH, which knows what is unknown here; None if there is none."""
    newer = newer_pixi.find_newer_pixi()
    if newer is None:
        return None
    path, version = newer
    word, reason = newer_pixi.ask_pixi(path, manifest)
    reasons = () if word == "up-to-date" else (Reason(reason),)
    next_step = {"up-to-date": NOTHING_TO_DO, "out-of-date": "pixi lock"}.get(word, "pixi lock --check")
    notes = (*notes, f"this is the verdict of pixi {version} on the PATH")
    return Verdict(word, reasons, manifest, manifest.with_name("pixi.lock"), next_step, notes)


def to_json(verdict: Verdict) -> str:
    """The verdict for machines; the keys stay."""
    return json.dumps(
        {
            "verdict": verdict.verdict,
            "pixi": PIXI_VERSION,
            "manifest": str(verdict.manifest),
            "lock": str(verdict.lock),
            "reasons": [asdict(r) for r in verdict.reasons],
            "warnings": [asdict(w) for w in verdict.warnings],
            "notes": list(verdict.notes),
            "next": verdict.next_step,
        },
        indent=2,
    )


def to_text(verdict: Verdict) -> str:
    """The verdict for a person: the word first, then every reason on its line."""
    lines = [f"{verdict.verdict}: {verdict.lock} for {verdict.manifest} (by the rules of Pixi {PIXI_VERSION})"]
    for title, entries in (("", verdict.reasons), ("warning: ", verdict.warnings)):
        places: dict[str, list[str]] = {}  # what is wrong, once, and where it is
        for entry in entries:
            where = " on ".join(part for part in (entry.environment, entry.platform) if part)
            places.setdefault(describe(entry), []).append(where)
        for what, found in list(places.items())[:SHOWN]:
            more = f" and {len(found) - PLACES} more places" if len(found) > PLACES else ""
            where = f" [{', '.join(found[:PLACES])}{more}]" if found[0] else ""
            lines.append(f"  {title}{short(what)}{short(where)}")
        if len(places) > SHOWN:
            lines.append(f"  {title}and {len(places) - SHOWN} more (--json lists all)")
    lines += [f"  note: {short(note)}" for note in verdict.notes]
    return "\n".join([*lines, f"  next: {verdict.next_step}"])


def describe(reason: Reason) -> str:
    """What is wrong, with the package, the constraint and the locked record; without its environment and platform."""
    parts = [f"{reason.package}: " if reason.package else "", reason.message]
    if reason.package and reason.constraint:
        parts.append(f" (required: {reason.constraint}; locked: {reason.record or 'nothing'})")
    elif reason.package and reason.record:
        parts.append(f" ({reason.record})")
    return "".join(parts)
