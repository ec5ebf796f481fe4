"""`workshop check N`: the checks of one exercise on a workspace, in order, up to the first that fails."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from string import ascii_lowercase

from workshop import exercises, route, shell
from workshop.checking import checks, progress
from workshop.checking.checks import Workspace
from workshop.checking.kept.results import KeptResults
from workshop.checking.steps import copied_lock
from workshop.errors import WorkshopError
from workshop.support import report


def main(which: str, path: str | None, go_on: bool, as_json: bool, hints: int = 1) -> int:
    """Run the checks of an exercise on its starter, or on the workspace at `path`; return the exit code.

    which: the number of the exercise (`2`), of the only check to run (`2.7`), or of a part (`5b`). hints: how many of
    the three hints of a failed check to print, from a nudge to nearly the answer.
    """
    rows = run(which, path, go_on, as_json, hints)
    if any(result.status == "fail" for _, result in rows):
        return 1
    if path is None and not as_json and progress.all_pass(exercise := exercises.find(number_in(which))):
        report.print_text(route.as_typed_here(f"{progress.done(exercise)}\n{progress.next_step()}"))
    return 0


def run(
    which: str, path: str | None, go_on: bool, as_json: bool = False, hints: int = 1, kept: KeptResults | None = None
) -> list[tuple[checks.Check, checks.Result]]:
    """`main`, which prints the results; returns them, in order, up to the first failure unless `go_on`.

    kept: earlier results, used for the checks on which no change since then has an effect.
    """
    number = number_in(which)
    exercise = exercises.find(number)
    chosen = exercise.checks_of(which)
    folder = Path(path) if path else exercise.workspace
    if folder.is_file():
        folder = folder.parent
    if not folder.is_dir() and (path or "workspace" not in exercise.settings):
        raise WorkshopError(
            looked_at=folder,
            expected="a folder with a Pixi workspace",
            found="no such folder",
            next_step=f"workshop check {number}",
        )
    content = progress.content_hash(exercise)  # before the first check: the files may be edited meanwhile
    if kept is not None:
        kept.begin()
    workspace = Workspace(folder.resolve())
    rows: list[tuple[checks.Check, checks.Result]] = []
    try:
        results = checks.run_checks(chosen, workspace, kept and kept.result_of)
        for check in chosen:
            stuck = check.needs_pixi and not shutil.which("pixi")
            with report.while_running(f"     {check.number}  {check.requirement}", quiet=as_json):
                _, result = next(results)
            if stuck and result.looked_at == shell.relative(workspace.folder / "pixi.lock"):
                follow = "; the other checks follow now" if len(rows) + 1 < len(chosen) else ""
                result = replace(result, next_step=copied_lock.advice(workspace.folder, exercise) + follow)
            rows.append((check, result))
            if not as_json:
                _print_result(check, result, workspace.folder, hints)
            if result.status == "fail" and not go_on and not stuck:
                break
    finally:
        shutil.rmtree(workspace.scratch, ignore_errors=True)
    if path is None:
        progress.record_results(exercise, rows, content)
    # The manifest has notes only if it could be read; otherwise a check has already reported why not.
    notes = workspace.manifest.notes if "manifest" in vars(workspace) else ()
    counts = {status: sum(result.status == status for _, result in rows) for status in ("ok", "fail", "skip")}
    left = len(exercise.checks) - len(rows)
    if as_json:
        listed = [{"number": check.number, "says": check.requirement, **asdict(result)} for check, result in rows]
        document = {"exercise": number, "counts": counts | {"not asked": left}, "notes": notes, "checks": listed}
        print(json.dumps(document, indent=2))
        return rows
    for note in notes:
        report.print_text(f"note: {note}")
    rest = f", {left} not run" if left else ""
    if kept is not None and kept.reused:
        rest += f" ({len(kept.reused)} not run again, because nothing that they read has changed)"
    report.print_text(f"{counts['ok']} passed, {counts['fail']} failed, {counts['skip']} skipped{rest}")
    return rows


def number_in(which: str) -> int:
    """The number of the exercise in `2`, `2.7` or `2b`."""
    return int(which.partition(".")[0].rstrip(ascii_lowercase))


def _print_result(check: checks.Check, result: checks.Result, folder: Path, hints: int) -> None:
    report.print_text(f"{result.status:5}{check.number}  {check.requirement}")
    if result.status != "fail":
        found = result.found.replace("\n", "\n" + 10 * " ")
        report.print_text(f"          {found}")
        return
    problem = WorkshopError(
        looked_at=result.looked_at, expected=result.expected, found=result.found, next_step=result.next_step
    )
    hint_lines = "".join(f"\nhint:      {hint}" for hint in check.hints[:hints])
    more = f"  (more: --hint {hints + 1})" if 0 < hints < len(check.hints) else ""
    place = place_of(folder, result.looked_at)
    report.print_text(route.as_typed_here(f"\n{problem}{hint_lines}{more}\n"), link=place)


def place_of(folder: Path, looked_at: str) -> tuple[Path, int] | None:
    """The file and the line that a result names, as in `pixi.toml, line 12: name = 3`; None if it names no file."""
    found = re.match(r"([^\s,:]+)(?:, line (\d+))?", looked_at)
    path = folder / found[1] if found else folder
    return (path, int(found[2] or 1)) if found and path.is_file() else None
