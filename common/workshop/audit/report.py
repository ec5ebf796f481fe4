"""The audit of one workspace, for people and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pixi_workspace
from pixi_workspace import environments, needs
from pixi_workspace.environments import lowest_required
from pixi_workspace.manifest import PIXI_VERSION
from pixi_workspace.manifest.platforms import platforms_of
from pixi_workspace.needs import PlatformEnvironment
from workshop import shell
from workshop.audit import sarif
from workshop.audit.builds import build_findings
from workshop.audit.findings import ERROR, LEVELS, UNDECIDED, WARNING, Finding, finding, page_of
from workshop.audit.images import container_files, container_findings
from workshop.audit.locks import lock_findings
from workshop.errors import message_of
from workshop.support import report

CLEAN, FOUND, CANNOT_TELL = 0, 1, 2  # exit codes
NOT_COVERED = {
    "a list of all packages (SBOM), and security advisories": "pixi-sbom (pip install pixi-sbom)",
    "licences, and your own rules about packages": "pixi-policy (pip install pixi-policy)",
}
SHOWN = 10  # findings of one rule in the text; --json and --sarif have all of them


@dataclass(frozen=True)
class Machine:
    """An environment on a platform. reproducible: None if it cannot be decided. why: the rules that say so.
    needs: what a machine must have, as in `__glibc`: `2.28`; driver: the oldest NVIDIA driver on Linux."""

    environment: str
    platform: str
    reproducible: bool | None
    why: tuple[str, ...]
    needs: dict[str, str]
    driver: str | None


@dataclass(frozen=True)
class Audit:
    """Everything that was found about a workspace. ignored: the number of findings that --ignore left out."""

    manifest: Path
    lock: Path
    machines: tuple[Machine, ...]
    findings: tuple[Finding, ...]
    ignored: int = 0

    @property
    def exit_code(self) -> int:
        """1: there are errors or warnings; 2: there are none, but something could not be decided; 0: neither."""
        levels = {each.level for each in self.findings}
        return FOUND if levels & {ERROR, WARNING} else CANNOT_TELL if UNDECIDED in levels else CLEAN


def main(path: str, as_json: bool, as_sarif: bool, ignore: list[str]) -> int:
    """Print the audit of the workspace at `path`. Exit code 0: nothing above a note; 1: findings; 2: undecided."""
    try:
        found = audit(Path(path), tuple(ignore))
    except pixi_workspace.WorkspaceError as error:
        print(message_of(error), file=sys.stderr)
        return CANNOT_TELL
    if as_sarif:
        print(json.dumps(sarif.log(found.findings, found.manifest.parent, found.exit_code), indent=2))
    elif as_json:
        print(json.dumps(document(found), indent=2))
    else:
        report.print_lines([*lines_of(found)])
    return found.exit_code


def audit(path: Path, ignore: tuple[str, ...] = ()) -> Audit:
    """The audit of a workspace folder, a pixi.toml or a pyproject.toml. Raises WorkspaceError where there is none."""
    verdict = pixi_workspace.judge(path)
    found, envs = lock_findings(verdict), []
    try:
        manifest = pixi_workspace.load(verdict.manifest)
        envs = _machines_of(manifest)
        if verdict.lock.exists():
            _, envs = environments.locked_environments(verdict.manifest)
            found += build_findings(manifest, envs)
    except pixi_workspace.WorkspaceError as error:
        if not any(each.level in (ERROR, UNDECIDED) for each in found):  # else the reason is there already
            reason = f"expected {error.expected}; found {error.found}"
            found.append(finding("builds-undecided", verdict.lock, 1, reason, error.next_step))
    for file in container_files(verdict.manifest.parent.resolve()):
        found += container_findings(file)
    all_findings = together(found)
    kept = [each for each in all_findings if each.rule not in ignore]
    kept.sort(key=lambda each: (LEVELS.index(each.level), str(each.path), each.line, each.rule))
    machines = tuple(_machine(env, kept) for env in envs)
    return Audit(verdict.manifest, verdict.lock, machines, tuple(kept), len(all_findings) - len(kept))


def _machines_of(manifest: pixi_workspace.Manifest) -> list[PlatformEnvironment]:
    """Every environment on every platform, without packages: what is known without a lock."""
    return [
        PlatformEnvironment(environment.name, platform, ())
        for environment in manifest.environments.values()
        for platform in platforms_of(manifest, environment.features)
    ]


def together(found: list[Finding]) -> list[Finding]:
    """One finding for those that say the same about several places, at the first of their lines."""
    same: dict[Finding, list[Finding]] = {}
    for each in found:
        same.setdefault(replace(each, places=(), line=1), []).append(each)
    return [
        replace(
            each,
            line=min(one.line for one in group),
            places=tuple(dict.fromkeys(place for one in group for place in one.places)),
        )
        for each, group in same.items()
    ]


def _machine(env: PlatformEnvironment, found: list[Finding]) -> Machine:
    here = [each for each in found if each.concerns(env.environment, env.platform.name)]
    blocking = [each.rule for each in here if each.blocks]
    undecided = [each.rule for each in here if each.level == UNDECIDED]
    required = {name: low for name, low in lowest_required(env).items() if name != "__cuda"}
    lowest = needs.lowest_cuda(env)
    return Machine(
        environment=env.environment,
        platform=env.platform.name,
        reproducible=False if blocking else None if undecided else True,
        why=tuple(dict.fromkeys(blocking or undecided)),
        needs=required | ({"__cuda": lowest} if lowest else {}),
        driver=needs.driver_for(lowest) if lowest and env.platform.subdir.startswith("linux") else None,
    )


def document(found: Audit) -> dict[str, Any]:
    """The audit for programs. The keys are part of the interface."""
    return {
        "manifest": str(found.manifest),
        "lock": str(found.lock),
        "pixi": PIXI_VERSION,
        "exit_code": found.exit_code,
        "machines": [{**vars(machine), "why": list(machine.why)} for machine in found.machines],
        "findings": [
            {
                "rule": each.rule,
                "level": each.level,
                "file": sarif.relative(each.path, found.manifest.parent),
                "line": each.line,
                "reason": each.reason,
                "fix": each.fix,
                "page": page_of(each.rule),
                "places": [{"environment": e or None, "platform": p or None} for e, p in each.places],
            }
            for each in found.findings
        ],
        "ignored": found.ignored,
        "not_covered": NOT_COVERED,
    }


def lines_of(found: Audit) -> Iterator[str]:
    """The audit for people: the machines, then the findings, most severe first."""
    good = sum(machine.reproducible is True for machine in found.machines)
    yield (
        f"{shell.relative(found.manifest)}: reproducible for {good} of {len(found.machines)} pairs of environment and "
        f"platform (by the rules of Pixi {PIXI_VERSION})"
    )
    yield ""
    blocks: dict[str, list[str]] = {}  # environments with the same lines share a block
    for name in dict.fromkeys(machine.environment for machine in found.machines):
        lines = _lines_of_environment([machine for machine in found.machines if machine.environment == name])
        blocks.setdefault("\n".join(lines), []).append(name)
    for text, names in blocks.items():
        yield from report.wrap_beside("", ", ".join(names), 0)
        yield from text.split("\n")
    for rule in dict.fromkeys(each.rule for each in found.findings):
        same = [each for each in found.findings if each.rule == rule]
        for each in same[:SHOWN]:
            yield from _lines_of_finding(each)
        if len(same) > SHOWN:
            yield f"  and {len(same) - SHOWN} more of {rule} (--json lists all)"
    yield ""
    counts = [sum(each.level == level for each in found.findings) for level in LEVELS]
    words = ", ".join(f"{level} {count}" for level, count in zip(LEVELS, counts, strict=True))
    yield words + (f"; ignored {found.ignored}" if found.ignored else "")
    yield "Not part of this report:"
    yield from (f"  {what}: {program}" for what, program in NOT_COVERED.items())


def _lines_of_environment(machines: list[Machine]) -> list[str]:
    """Platforms with the same answer share a line."""
    platforms: dict[tuple[bool | None, str], list[str]] = {}
    for machine in machines:
        platforms.setdefault((machine.reproducible, _describe(machine)), []).append(machine.platform)
    lines = []
    for (reproducible, text), names in platforms.items():
        word = {True: "ok", False: "fail", None: "note"}[reproducible]
        lines += report.wrap_beside(f"  {word:4} ", f"{', '.join(names)}: {text}", 7)
    return lines


def _lines_of_finding(each: Finding) -> Iterator[str]:
    yield ""
    yield f"{each.level} {each.rule}: {shell.relative(each.path)}, line {each.line}"
    yield from report.wrap_beside("  reason", each.reason, 10)
    if each.places:
        yield from report.wrap_beside("  where", _where(each), 10)
    if each.fix:
        yield f"  fix     {each.fix}"  # not wrapped, so that it can be copied
    yield f"  page    {page_of(each.rule)}"


def _describe(machine: Machine) -> str:
    if machine.reproducible is not True:
        return ("not reproducible: " if machine.reproducible is False else "cannot tell: ") + ", ".join(machine.why)
    words = [f"{needs.WORDS.get(name, name)} {low}" for name, low in machine.needs.items() if name != "__cuda"]
    if "__cuda" in machine.needs:
        words.append(f"an NVIDIA driver {machine.driver} or newer" if machine.driver else "an NVIDIA driver")
    return f"reproducible; needs {', '.join(words)}" if words else "reproducible"


def _where(each: Finding, most: int = 4) -> str:
    shown = [" on ".join(part for part in place if part) for place in each.places[:most]]
    more = f" and {len(each.places) - most} more" if len(each.places) > most else ""
    return ", ".join(shown) + more
