"""The instructor's proof: every solution holds and runs, every starter fails first where it should.

One table, a line for each thing that was looked at. A skip is never counted as a pass. Exit code 0 where nothing
failed, else 1.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from workshop import checks, starter, typed
from workshop.checks import Answer, Exercise, Workspace, fail, ok, skip
from workshop.device import CPU_BUILD, nvidia_smi
from workshop.errors import WorkshopError
from workshop.files import sha256_of


@dataclass(frozen=True)
class Row:
    exercise: int
    what: str
    answer: Answer
    seconds: float


def main(only: int | None, as_json: bool) -> int:
    """Look at the exercises (all, or number `only`), print the table or JSON, return the exit code."""
    found = checks.exercises(checks.root_folder())
    if only is not None and only not in [exercise.number for exercise in found]:
        numbers = ", ".join(str(exercise.number) for exercise in found)
        raise WorkshopError("--exercise", f"one of {numbers}", str(only), "workshop check-all")
    jobs = [
        (exercise, job)
        for exercise in found
        if only in (None, exercise.number)
        for job in (solution_runs, solution_holds, starter_fails, gpu_runs)
    ]
    # The scripts are processes of one thread each, so threads are enough to keep the cores busy.
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        waiting = [pool.submit(job, exercise) for exercise, job in jobs]
        try:
            rows = [row for done in waiting for row in done.result()]
        except BaseException:  # Ctrl-C: those that run get it too, those that wait shall not begin
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    rows.sort(key=lambda row: row.exercise)
    counts = {status: sum(row.answer.status == status for row in rows) for status in ("ok", "fail", "skip")}
    if as_json:
        listed = [
            {"exercise": r.exercise, "what": r.what, "seconds": round(r.seconds, 2), **asdict(r.answer)} for r in rows
        ]
        print(json.dumps({"passed": counts["fail"] == 0, "counts": counts, "rows": listed}, indent=2))
    else:
        show(rows, counts)
    return 1 if counts["fail"] else 0


def solution_runs(exercise: Exercise) -> list[Row]:
    """The solution's script, once, on the CPU; its metric against the floor in exercise.toml."""
    wanted = exercise.about["check_all"]
    return run_and_measure(exercise, "solution runs on the CPU", wanted["arguments"])


def gpu_runs(exercise: Exercise) -> list[Row]:
    """The same on the GPU, where there is one."""
    what = "solution runs on the GPU"
    if "--device" not in exercise.about["check_all"]["arguments"]:
        return []  # an exercise without a GPU
    if not nvidia_smi():
        return [Row(exercise.number, what, skip("no GPU here"), 0.0)]
    arguments = ["cuda" if word == "cpu" else word for word in exercise.about["check_all"]["arguments"]]
    rows = run_and_measure(exercise, what, arguments)
    if CPU_BUILD in rows[0].answer.found:
        gpu = next(name for name in exercise.about["environments"] if "cuda" in name)
        said = f"what is installed here is for the CPU; try pixi run -e {gpu} check-all"
        rows = [Row(exercise.number, what, skip(said), 0.0)]
    return rows


def run_and_measure(exercise: Exercise, what: str, arguments: list[str]) -> list[Row]:
    wanted = exercise.about["check_all"]
    workspace = Workspace(exercise.folder / "solution")
    begin = time.perf_counter()
    try:
        place, parent = workspace.scratch / "run", workspace.scratch / "parent"
        if "parent" in wanted:  # the run that this one goes on from
            script, *words = wanted["parent"]
            first = workspace.run(
                str(exercise.folder.parent / script), *words, "--output", str(parent), WORKSHOP_DEVICE=""
            )
            if first.returncode != 0:
                answer = judge_run(exercise, workspace, first, parent)
                return [Row(exercise.number, what, answer, time.perf_counter() - begin)]
        words = [word.replace("{parent}", str(parent)) for word in arguments]
        run = workspace.run(wanted["script"], *words, "--output", str(place), WORKSHOP_DEVICE="")
        answer = judge_run(exercise, workspace, run, place)
    except WorkshopError as error:
        answer = fail(error.looked_at, error.expected, error.found, error.next_step)
    finally:
        shutil.rmtree(workspace.scratch, ignore_errors=True)
    return [Row(exercise.number, what, answer, time.perf_counter() - begin)]


def judge_run(exercise: Exercise, workspace: Workspace, run, place) -> Answer:
    """A finished run: its files are those of its record, and its metric reaches the floor."""
    wanted = exercise.about["check_all"]
    script = workspace.folder / wanted["script"]
    words = [word for word in wanted["arguments"] if word != "{parent}"]  # without one it takes the newest
    again = typed.script(script, *words)
    if run.returncode != 0:
        if module := checks.missing_framework(run):
            return skip(f"{module} is not in this environment: run it in the environment cpu")
        return fail(script, "exit code 0", f"exit code {run.returncode}: {checks.complaint(run)}", again)
    record = checks.record_of(place)
    for output in record["outputs"]:
        if sha256_of(place / output["path"]) != output["sha256"]:
            return fail(place / output["path"], f"sha256 {output['sha256']}", "another one", again)
    metrics = {metric["name"]: metric["value"] for metric in record["metrics"]}
    value = metrics.get(wanted["metric"])
    said = f"{wanted['metric']} {value}"
    if value is None or not value >= wanted["at_least"]:
        return fail(place / "run.json", f"{wanted['metric']} of {wanted['at_least']} or more", said, again)
    return ok(f"{wanted['metric']} {value:.4g} (at least {wanted['at_least']}) on {record['device']['type']}")


def solution_holds(exercise: Exercise) -> list[Row]:
    """Every check on the solution."""
    workspace = Workspace(exercise.folder / "solution")
    rows, begin = [], time.perf_counter()
    try:
        for check, answer in checks.ask(exercise.checks, workspace):
            now = time.perf_counter()
            rows.append(Row(exercise.number, f"solution: {check.number} {check.says}", answer, now - begin))
            begin = now
    finally:
        shutil.rmtree(workspace.scratch, ignore_errors=True)
    return rows


def starter_fails(exercise: Exercise) -> list[Row]:
    """The shipped starter fails first at the check that exercise.toml names."""
    wanted = exercise.about["starter_fails_at"]
    what = f"starter fails first at {wanted}"
    folder, begin = exercise.folder / "starter", time.perf_counter()
    if not starter.is_shipped(exercise):
        return [Row(exercise.number, what, skip("the starter was edited here"), 0.0)]
    workspace = Workspace(folder)
    try:
        asked = checks.ask(exercise.checks, workspace)
        first = next((check.number for check, answer in asked if answer.status == "fail"), None)
    finally:
        shutil.rmtree(workspace.scratch, ignore_errors=True)
    answer = ok(f"fails at {first}") if first == wanted else fail(
        folder, f"a first failure at {wanted}", f"at {first}" if first else "no failure",
        f"starter_fails_at in {typed.quoted(exercise.folder / 'exercise.toml')}",
    )  # fmt: skip
    return [Row(exercise.number, what, answer, time.perf_counter() - begin)]


def show(rows: list[Row], counts: dict[str, int]) -> None:
    """The table, as wide as the terminal; plain where the output is piped."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table("ex.", "what holds", "", "found", box=None, pad_edge=False)
    table.add_column("s", justify="right")
    styles = {"ok": "green", "fail": "bold red", "skip": "yellow"}
    for row in rows:
        word = Text(row.answer.status, style=styles[row.answer.status])
        table.add_row(str(row.exercise), Text(row.what), word, Text(row.answer.found), f"{row.seconds:.1f}")
    console.print(table)
    for row in rows:
        if row.answer.status == "fail":
            answer = row.answer
            problem = WorkshopError(answer.looked_at, answer.expected, answer.found, answer.next_step)
            console.print(Text(f"\nexercise {row.exercise}: {row.what}\n{problem.message()}"))
    console.print(f"\n{counts['ok']} passed, {counts['fail']} failed, {counts['skip']} skipped", highlight=False)
