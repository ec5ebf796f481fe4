"""`workshop container-check`: check Dockerfiles and Apptainer definitions without an engine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from workshop import exercises, shell
from workshop.containers import build_rules, content_rules, definition_rules, images, last_stage_rules
from workshop.containers.build_rules import base_findings, lock_findings
from workshop.containers.content_rules import content_findings, python_path_findings
from workshop.containers.definition_rules import definition_findings
from workshop.containers.images import Image, load_image
from workshop.containers.last_stage_rules import activation_findings, last_stage_findings
from workshop.errors import WorkshopError, message_of
from workshop.support import files
from workshop.support.rules import ADVICE, ERROR, Finding

HADOLINT_SECONDS = 10
LARGEST_FOR_HADOLINT = 2**15  # bytes; for a file four times as large it can take minutes
MOST_PRINTED = 50  # findings about a file, and as many messages of hadolint
STARTER = "exercise-5-container/starter"
# Every rule, in the order of the report.
RULES = (
    *build_rules.BASE_RULES,
    *build_rules.COPY_RULES,
    *build_rules.IMAGE_RULES,
    *build_rules.INSTALL_RULES,
    *last_stage_rules.CONTENT_RULES,
    *last_stage_rules.COMMAND_RULES,
    *last_stage_rules.ACTIVATION_RULES,
    *content_rules.LABEL_RULES,
    *content_rules.SCRIPT_RULES,
    *content_rules.MANIFEST_RULES,
    *content_rules.PYTHON_PATH_RULES,
    *definition_rules.FORM_RULES,
    *definition_rules.STAGE_RULES,
    *definition_rules.INSTALL_RULES,
    *definition_rules.RESULT_RULES,
)


def main(path: str | None, environment: str | None, as_json: bool) -> int:
    """Print the findings; return exit code 1 if there is an error, else 0."""
    files = container_files(path)
    reports, n_failed = [], 0
    for file in files:
        findings = check_file(file, environment)
        messages = [] if is_definition(file) else hadolint(file)
        n_failed += n_errors(findings, messages) > 0
        reports.append({"file": str(file), "findings": [asdict(f) for f in findings], "hadolint": messages})
        if not as_json:
            print_report(file, findings, messages)
    if as_json:
        print(json.dumps({"passed": not n_failed, "files": reports}, indent=2))
    return 1 if n_failed else 0


def container_files(path: str | None) -> list[Path]:
    """The file at `path`, or all container files of that folder: Dockerfile, Containerfile, *.Dockerfile and *.def.

    Without a path: the current folder, or else the starter of exercise 5. Raises WorkshopError if there is none.
    """
    folder = Path(path) if path else Path.cwd()
    if folder.is_file():
        return [folder]
    files = sorted(file for file in folder.iterdir() if is_container_file(file)) if folder.is_dir() else []
    if not files and path is None:
        return container_files(str(exercises.root_folder() / STARTER))
    if not files:
        problem = "none in that folder" if folder.is_dir() else "no such file or folder"
        expected = "a Dockerfile, a Containerfile or an Apptainer definition (*.def)"
        raise WorkshopError(
            looked_at=folder, expected=expected, found=problem, next_step=f"workshop container-check {STARTER}"
        )
    return files


def is_container_file(file: Path) -> bool:
    is_dockerfile = file.name in images.NAMES or file.name.startswith("Dockerfile.")
    return file.is_file() and (is_dockerfile or file.suffix in (".Dockerfile", ".def"))


def is_definition(file: Path) -> bool:
    """Whether a file is an Apptainer definition, by its suffix or its first word."""
    if file.suffix == ".def":
        return True
    try:
        lines = files.read_bytes(file)[:4000].decode("utf-8", "replace").splitlines()
    except OSError:
        return False
    first_word = next(
        (line.strip().lower() for line in lines if line.strip() and not line.lstrip().startswith("#")), ""
    )
    return first_word.startswith("bootstrap")


def check_file(file: Path, environment: str | None) -> list[Finding]:
    """The findings about one file, with `environment` as its build argument.

    Raises WorkshopError if it is not valid.
    """
    workspace = images.nearest_manifest(file.parent)
    if environment is not None and workspace is not None and environment not in workspace.environments:
        known = ", ".join(workspace.environments)
        next_step = f"workshop container-check {shell.quoted(file)}"
        raise WorkshopError(
            looked_at=f"[environments] in {workspace.path}",
            expected=f"one of {known}",
            found=repr(environment),
            next_step=next_step,
        )
    if is_definition(file):
        return definition_findings(file, environment)
    return findings_of_image(load_image(file, environment))


def findings_of_image(image: Image) -> list[Finding]:
    """All findings about a Dockerfile."""
    return [
        *base_findings(image),
        *lock_findings(image),
        *last_stage_findings(image),
        *activation_findings(image),
        *content_findings(image),
        *python_path_findings(image),
    ]


def hadolint(file: Path) -> list[dict[str, object]] | str:
    """hadolint's messages about a Dockerfile, or the reason why there are none."""
    in_environment = Path(sys.executable).with_name("hadolint")
    program = shutil.which("hadolint") or (str(in_environment) if in_environment.is_file() else None)
    if program is None:
        return "not installed"
    if not files.is_safe_file(file, LARGEST_FOR_HADOLINT):
        return f"not run on more than {LARGEST_FOR_HADOLINT // 1024} KiB"
    try:
        process = subprocess.run(
            [program, "--no-fail", "--format", "json", str(file)], capture_output=True, timeout=HADOLINT_SECONDS
        )
        messages = json.loads(process.stdout)
        # DL1000: hadolint could not parse the file. `load_image` could, so the file is valid.
        unparsed = next((entry for entry in messages if entry["code"] == "DL1000"), None)
        if unparsed is not None:
            return f"it cannot parse line {unparsed['line']}, which is valid for Docker"
        return [{key: entry[key] for key in ("code", "level", "line", "message")} for entry in messages]
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired):
        return "it failed, or took too long"


def print_report(file: Path, findings: list[Finding], messages: list[dict[str, object]] | str) -> None:
    print(f"{shell.relative(file.resolve())}")
    for finding in findings[:MOST_PRINTED]:
        message = message_of(finding)
        print(f"\n{finding.level}  {finding.name}\n{message}")
    if isinstance(messages, str):
        print(f"\nhadolint: {messages}" if not file.suffix == ".def" else "")
    for entry in messages[:MOST_PRINTED] if isinstance(messages, list) else []:
        print(f"\nhadolint {entry['code']} ({entry['level']}), line {entry['line']}: {entry['message']}")
    advice = sum(finding.level == ADVICE for finding in findings)
    left_out = sum(max(0, len(some) - MOST_PRINTED) for some in (findings, messages) if isinstance(some, list))
    if left_out:
        print(f"\nand {left_out:,} more (--json lists all)")
    if findings or messages:
        print()
    print(f"errors: {n_errors(findings, messages)}, advice: {advice}\n")


def n_errors(findings: list[Finding], messages: list[dict[str, object]] | str) -> int:
    """The number of errors in our findings and in hadolint's messages."""
    from_hadolint = [] if isinstance(messages, str) else messages
    levels = [finding.level for finding in findings] + [entry["level"] for entry in from_hadolint]
    return levels.count(ERROR)
