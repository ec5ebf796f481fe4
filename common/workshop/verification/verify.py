"""`workshop verify RUN`: is the run what its record says, and does the same script give the same result here?"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workshop import shell
from workshop.errors import WorkshopError, message_of
from workshop.exercises import root_folder
from workshop.support.report import print_lines
from workshop.verification import checkout, listing, received, rerun
from workshop.verification.checkout import Checkout
from workshop.verification.comparing import causes, comparison
from workshop.verification.comparing.row import Row
from workshop.verification.received import CannotTell, Received

BITWISE, WITHIN, NOT = "bitwise", "within tolerance", "not reproduced"
INTACT, CANNOT_TELL = "intact", "cannot tell"
EXIT_CODES = {BITWISE: 0, WITHIN: 0, INTACT: 0, NOT: 1, CANNOT_TELL: 2}


@dataclass
class Verdict:
    """The answer and its evidence. reason: one sentence. remarks: what the reader should know besides."""

    verdict: str
    reason: str
    record: list[str] = field(default_factory=list)
    outputs: list[Row] = field(default_factory=list)
    metrics: list[Row] = field(default_factory=list)
    differences: list[Row] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def main(run: str, no_rerun: bool, as_json: bool) -> int:
    """Print verdict and evidence. Exit code 0: reproduced; 1: not reproduced; 2: no verdict, with the reason."""
    try:
        with received.opened(Path(run)) as folder:
            answer = judge(received.read(folder), no_rerun)
            listing.remember(folder, answer.verdict)
    except (WorkshopError, OSError) as error:
        problem = error if isinstance(error, WorkshopError) else _system_problem(error)
        answer = Verdict(CANNOT_TELL, f"{problem.looked_at}: {problem.found}")
        if not as_json:
            print(message_of(problem), file=sys.stderr)
    if as_json:
        print(json.dumps({**asdict(answer), "not_compared": comparison.NOT_COMPARED}, indent=2, ensure_ascii=False))
    else:
        print_lines(lines_of(answer))
    return EXIT_CODES[answer.verdict]


def _system_problem(error: OSError) -> CannotTell:
    """A full disk, for example: the rerun is made in the folder for temporary files."""
    return CannotTell(
        looked_at=error.filename or tempfile.gettempdir(),
        expected="a folder with room for a checkout and a run",
        found=error.strerror or str(error),
        next_step=f"TMPDIR=ANOTHER_FOLDER workshop verify RUN  # {shell.free_space()} shows the room",
    )


def judge(run: Received, no_rerun: bool = False) -> Verdict:
    """The verdict about a run that was received. Raises CannotTell where something is missing for one."""
    if run.problems:
        return Verdict(NOT, "the files are not those that the run wrote", run.problems)
    if no_rerun:
        return _without_rerun(run)
    with checkout.at_recorded_revision(run) as clone, tempfile.TemporaryDirectory(prefix="workshop-verify-") as scratch:
        if not received.crate_matches(run) and not _crate_matches_there(run, clone):
            return Verdict(NOT, "the files are not those that the run wrote", [_CRATE])
        again = rerun.again(run, clone, Path(scratch))
        return compare(run, again, [*clone.remarks, *_environment_remarks(run, clone)])


def _without_rerun(run: Received) -> Verdict:
    """Whether the files are as recorded: outputs and record by their hashes, the crate by what the workshop writes."""
    reason, remarks = "every file is as recorded; nothing was run, so this is no proof", []
    if not received.crate_matches(run):
        try:
            with checkout.at_recorded_revision(run) as clone:
                if not _crate_matches_there(run, clone):
                    return Verdict(NOT, "the files are not those that the run wrote", [_CRATE])
        except CannotTell as error:
            remarks = [f"ro-crate-metadata.json could not be compared: {error.looked_at}: {error.found}"]
    return Verdict(INTACT, reason, remarks=remarks)


def _environment_remarks(run: Received, clone: Checkout) -> list[str]:
    """One line where the run was made in another environment of Pixi than this one."""
    name, root = run.record["environment"].get("name"), os.environ.get("PIXI_PROJECT_ROOT")
    is_own = clone.repository != root_folder()
    is_here = not is_own or (root is not None and Path(root).resolve().is_relative_to(clone.repository.resolve()))
    if name is None or (is_here and name == os.environ.get("PIXI_ENVIRONMENT_NAME")):
        return []
    if run.package != "workshop":  # whose environments do not contain the workshop
        return [f"the run was made in the environment {name} of {clone.repository.name}, and repeated in another one"]
    command = f"pixi run -e {name} verify RUN"
    if is_own:
        command = shell.in_folder(clone.repository, f"pixi run -e {name} python -m workshop verify RUN")
    return [f"the run was made in the environment {name}: {command}"]


_CRATE = "ro-crate-metadata.json: not what the workshop writes for this record: changed after the run"


def _crate_matches_there(run: Received, clone: Checkout) -> bool:
    """Whether the workshop of the recorded revision wrote the crate: descriptions change from version to version.

    Raises CannotTell for a repository without that code: it does not record which version was in use.
    """
    if clone.code is None:
        raise CannotTell(
            looked_at="ro-crate-metadata.json",
            expected="what this version of the workshop writes for the record",
            found="something else: another version wrote it, or it was changed after the run",
            next_step="git checkout COMMIT  # in the clone of the workshop: the one that made the run",
        )
    program = Path(__file__).with_name("crate_digest.py")
    sources = json.dumps(received.source_files(run.folder))
    line = [sys.executable, "-P", str(program), str(run.folder / "run.json"), sources, run.package]
    done = subprocess.run(line, env=os.environ | {"PYTHONPATH": str(clone.code)}, capture_output=True, text=True)
    return done.stdout.strip() == hashlib.sha256((run.folder / "ro-crate-metadata.json").read_bytes()).hexdigest()


def compare(run: Received, again: Received, remarks: list[str]) -> Verdict:
    """The verdict from a run and its rerun."""
    evidence: dict[str, Any] = {
        "outputs": comparison.outputs(run, again),
        "metrics": comparison.metrics(run, again),
        "differences": comparison.differences(run, again),
        "remarks": remarks,
    }
    if all(row.same for row in evidence["outputs"]):
        return Verdict(BITWISE, "every output is the same, byte for byte (figures: pixel for pixel)", **evidence)
    changed = [row.name for row in evidence["differences"]]
    if wrong := [row.name for row in evidence["metrics"] if row.same is False]:
        reason = f"outside the tolerance: {', '.join(wrong)}"
    elif essential := [name for name in changed if name in ("data", "script", "arguments", "seed", "hyperparameters")]:
        reason = f"another experiment: {', '.join(essential)}"
    elif not changed:
        reason = "the outputs differ although nothing else does: the script is not deterministic"
    elif not any(row.same for row in evidence["metrics"]):
        return Verdict(CANNOT_TELL, "the outputs differ, and no metric states a tolerance", **evidence)
    else:
        known = [row.name for row in evidence["differences"] if row.note.startswith(causes.KNOWN)]
        likely = f"most likely because of {known[0]}" if known else f"what differs here: {', '.join(changed)}"
        return Verdict(WITHIN, f"the outputs differ, the metrics agree; {likely}", **evidence)
    return Verdict(NOT, reason, **evidence)


def lines_of(answer: Verdict) -> list[str]:
    """The verdict for people."""
    lines = [f"{answer.verdict}: {answer.reason}"]
    lines += [f"  record   {problem}" for problem in answer.record]
    for row in answer.outputs:
        state = "ok" if row.same else "fail"
        detail = row.note or (
            "the same bytes" if row.same else f"{short(row.recorded)} recorded, {short(row.here)} here"
        )
        lines.append(f"  {state:5}{row.name}: {detail}")
    for row in answer.metrics:
        state = {True: "ok", False: "fail", None: "note"}[row.same]
        both = "" if row.recorded is row.here is None else f"{row.recorded} recorded, {row.here} here; "
        lines.append(f"  {state:5}{row.name}: {both}{row.note}")
    if answer.differences:
        lines.append("What is not as recorded" + (":" if answer.verdict == BITWISE else ", most likely cause first:"))
    for row in answer.differences:
        note = f"; {row.note}" if row.note else ""
        lines.append(f"  {row.name}: {short(row.recorded)} recorded, {short(row.here)} here{note}")
    return [*lines, *(f"  note {remark}" for remark in answer.remarks)]


def short(value: Any) -> str:
    """A value for a line: a sha256 by its beginning, nothing by a word."""
    text = "nothing" if value is None else str(value)
    words = [word[:12] + "..." if len(word) == 64 and word.isalnum() else word for word in text.split(" ")]
    return " ".join(words)
