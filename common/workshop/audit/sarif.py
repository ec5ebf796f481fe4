"""The findings in SARIF 2.1.0, the format in which code hosts and editors read what a checker found.

Source: OASIS, Static Analysis Results Interchange Format 2.1.0, section 3 (sarifLog, run, reportingDescriptor, result).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from workshop import __version__, shell
from workshop.audit.findings import RULES, UNDECIDED, Finding, page_of

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def log(findings: Sequence[Finding], workspace: Path, exit_code: int) -> dict[str, Any]:
    """A SARIF log with one run. Paths are relative to the root of the git repository, as code hosts require, and
    to `workspace` outside a repository."""
    top = shell.git(workspace, "rev-parse", "--show-toplevel")
    root = Path(top) if top else workspace
    names = list(dict.fromkeys([*RULES, *(each.rule for each in findings)]))
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "workshop audit",
                        "semanticVersion": __version__,
                        "rules": [_descriptor(name) for name in names],
                    }
                },
                "invocations": [{"executionSuccessful": True, "exitCode": exit_code}],
                "columnKind": "unicodeCodePoints",
                "results": [_result(each, names.index(each.rule), root) for each in findings],
            }
        ],
    }


def _descriptor(name: str) -> dict[str, Any]:
    rule = RULES.get(name)
    described = {"id": name, "help": {"text": f"See {page_of(name)}"}}
    if rule is None:  # of container-check or hadolint, whose level belongs to the finding
        return described
    return described | {
        "shortDescription": {"text": rule.title},
        "defaultConfiguration": {"level": "none" if rule.level == UNDECIDED else rule.level},
    }


def _result(each: Finding, index: int, root: Path) -> dict[str, Any]:
    uri = relative(each.path, root)
    where = ", ".join(" on ".join(part for part in place if part) for place in each.places)
    fingerprint = hashlib.sha256("\0".join((each.rule, uri, each.reason)).encode()).hexdigest()
    return {
        "ruleId": each.rule,
        "ruleIndex": index,
        # "open" and "none": the rule was applied, and there was not enough information (section 3.27.9)
        **({"kind": "open", "level": "none"} if each.level == UNDECIDED else {"level": each.level}),
        "message": {
            "text": f"{each.reason}{f' [{where}]' if where else ''}{f'. Next: {each.fix}' if each.fix else ''}"
        },
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(uri), "uriBaseId": "%SRCROOT%"},
                    "region": {"startLine": each.line},
                }
            }
        ],
        "partialFingerprints": {"finding/v1": fingerprint},  # without the line, which other edits move
    }


def relative(path: Path, folder: Path) -> str:
    """A path relative to a folder, with forward slashes; absolute outside it."""
    path, folder = path.resolve(), folder.resolve()
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()
