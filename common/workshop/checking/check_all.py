"""`workshop check-all`, for instructors: every solution passes and runs, every starter fails first where it should.

Prints one table with a line for each test. A skip is never counted as a pass. Exit code 0 if nothing failed, else 1.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pixi_workspace.errors import WorkspaceError
from workshop import exercises, shell
from workshop.checking import checks, scripts, starter, trainings
from workshop.checking.checks import Result, Workspace, fail, ok, skip
from workshop.errors import WorkshopError
from workshop.exercises import Exercise
from workshop.runs.frameworks.device import CPU_BUILD
from workshop.support.files import list_files, sha256_of
from workshop.support.hardware import nvidia_smi
from workshop.support.report import STYLES
from workshop.support.terminal import printable, unfiltered

if TYPE_CHECKING:
    from rich.table import Table

INSTALL_LIMIT = 3600  # seconds, enough to install a GPU environment of several gigabytes


@dataclass(frozen=True)
class Row:
    exercise: int
    what: str
    result: Result
    seconds: float


def main(only: int | None, as_json: bool) -> int:
    """Test all exercises, or exercise `only`; print the table or JSON and return the exit code."""
    root = exercises.root_folder()
    available = exercises.find_all(root)
    if only is not None and only not in [exercise.number for exercise in available]:
        numbers = ", ".join(str(exercise.number) for exercise in available)
        raise WorkshopError(
            looked_at="--exercise", expected=f"one of {numbers}", found=str(only), next_step="workshop check-all"
        )
    chosen = [exercise for exercise in available if only in (None, exercise.number)]
    before, begin = file_hashes(root), time.perf_counter()
    rows = collect_rows(chosen, live=not as_json and sys.stdout.isatty())
    if only is None:
        rows.append(Row(0, "no file has changed", compare_hashes(before, file_hashes(root)), 0.0))
    counts = {status: sum(row.result.status == status for row in rows) for status in ("ok", "fail", "skip")}
    seconds = time.perf_counter() - begin
    if as_json:
        listed = [
            {"exercise": r.exercise or None, "what": r.what, "seconds": round(r.seconds, 2), **asdict(r.result)}
            for r in rows
        ]
        document = {"passed": counts["fail"] == 0, "counts": counts, "seconds": round(seconds, 1), "rows": listed}
        print(json.dumps(document, indent=2))
    else:
        show(rows, counts, seconds)
    return 1 if counts["fail"] else 0


def collect_rows(exercises: list[Exercise], live: bool) -> list[Row]:
    """Run all jobs and return their rows in the order of the exercises. live: show the progress of each exercise."""
    jobs = [
        (exercise, job)
        for exercise in exercises
        for job in (
            todos_match_checks,
            solution_runs,
            solution_passes_checks,
            starter_fails,
            solution_runs_on_gpu,
            image_trains,
        )
    ]
    rows: list[list[Row]] = [[] for _ in jobs]
    running: dict[int, str] = {}  # the jobs that are running now, by number

    def run_job(number: int) -> None:
        exercise, job = jobs[number]
        running[number] = job.__name__.replace("_", " ")
        try:
            rows[number].extend(job(exercise))
        finally:
            del running[number]

    def table() -> Table:
        return progress_table(jobs, rows, running)

    # Each script is a process with one thread, so threads are enough here to keep the cores busy. Long jobs go first.
    order = sorted(range(len(jobs)), key=lambda number: jobs[number][1] is not solution_passes_checks)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool, ExitStack() as screen:
        waiting = {pool.submit(run_job, number) for number in order}
        live_table = None
        try:
            if live:
                from rich.console import Console
                from rich.live import Live

                console = Console(file=unfiltered(sys.stdout))
                live_table = screen.enter_context(Live(table(), console=console, auto_refresh=False, transient=True))
            while waiting:
                finished, waiting = wait(waiting, timeout=0.5 if live else None, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                if live_table is not None:
                    live_table.update(table(), refresh=True)
        except BaseException:  # Ctrl-C: cancel waiting jobs and stop running scripts
            pool.shutdown(wait=False, cancel_futures=True)
            scripts.stop_all()
            raise
    return [row for job_rows in rows for row in job_rows]


def file_hashes(root: Path) -> dict[str, str]:
    """sha256 of every file of the workshop, by its path."""
    folders = [*root.glob("exercise-*"), root / "common", root / "tests", root / "docs", root / "benchmarks"]
    paths = {
        f"{folder.name}/{name}": path
        for folder in folders
        if folder.is_dir()
        for name, path in list_files(folder).items()
    }
    paths |= {path.name: path for path in root.iterdir() if path.is_file()}
    return {name: sha256_of(path) for name, path in paths.items() if path.is_file() and not path.is_symlink()}


def compare_hashes(before: dict[str, str], after: dict[str, str]) -> Result:
    """Whether the files are the same before and after; if not, which ones differ."""
    differ = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if not differ:
        return ok(f"{len(before)} files, the same bytes")
    names = ", ".join(differ[:3]) + (f" and {len(differ) - 3} more" if differ[3:] else "")
    return fail(
        looked_at="the files of the workshop",
        expected="the same before and after",
        found=f"changed: {names}",
        next_step="git status",
    )


def todos_match_checks(exercise: Exercise) -> Iterator[Row]:
    """Each TODO of the starter has a check, each check has a TODO, and each check has three hints."""
    begin = time.perf_counter()
    folder = exercise.folder / "starter"
    text = "".join(
        path.read_text(encoding="utf-8", errors="replace") for path in list_files(folder).values() if path.is_file()
    )
    todos = set(re.findall(r"TODO\((\d+\.\d+)\)", text))
    # Where the learner makes the manifest, the starter has TODOs for its script alone.
    own = "workspace" in exercise.settings
    numbers = {check.number for check in exercise.checks if check.part.functions or not own}
    what = "every TODO has a check, every check a TODO and three hints"
    where = f"the TODOs in {shell.relative(folder)}"
    if not starter.is_as_shipped(exercise):
        result = skip("you have edited the starter")
    elif todos != numbers:
        found = ", ".join(sorted(todos ^ numbers))
        result = fail(
            looked_at=where,
            expected="a TODO(N.k) for each check and a check for each TODO",
            found=f"{found} without a counterpart",
            next_step=f"git diff -- {shell.quoted(exercise.folder)}",
        )
    elif poor := [c.number for c in exercise.checks if len(c.hints) != 3 or not all(len(h) > 20 for h in c.hints)]:
        result = fail(
            looked_at=f"the hints of {poor[0]}",
            expected="three sentences",
            found="fewer, or one that is nearly empty",
            next_step=shell.quoted(exercise.folder / "checks.py"),
        )
    else:
        checked = len(exercise.checks)
        result = ok(f"{len(numbers)} TODOs, {checked} checks, {3 * checked} hints")
    yield Row(exercise.number, what, result, time.perf_counter() - begin)


def solution_runs(exercise: Exercise) -> Iterator[Row]:
    """Run the solution's script once on the CPU; its metric must reach the minimum in exercise.toml."""
    if "check_all" in exercise.settings:
        begin = time.perf_counter()
        result = run_and_judge(exercise, exercise.settings["check_all"]["arguments"])
        yield Row(exercise.number, "solution runs on the CPU", result, time.perf_counter() - begin)


def solution_runs_on_gpu(exercise: Exercise) -> Iterator[Row]:
    """The same on a GPU, if there is one: in this environment, otherwise in the exercise's GPU environments."""
    what = "solution runs on the GPU"
    arguments = exercise.settings.get("check_all", {}).get("arguments", [])
    if "--device" not in arguments:
        return  # an exercise without a GPU
    if not nvidia_smi():
        yield Row(exercise.number, what, skip("this machine has no GPU"), 0.0)
        return
    arguments = ["cuda" if word == "cpu" else word for word in arguments]
    begin = time.perf_counter()
    result = run_and_judge(exercise, arguments)
    if CPU_BUILD not in result.found:
        yield Row(exercise.number, what, result, time.perf_counter() - begin)
        return
    manifest = exercises.root_folder() / "pixi.toml"
    for name in (
        name for name in exercise.settings["environments"] if ("cuda" in name or "mixed" in name) and "cpu" not in name
    ):
        begin = time.perf_counter()
        if pixi := shutil.which("pixi"):
            line = (pixi, "run", "--locked", "--manifest-path", str(manifest), "-e", name, "python")
            result = run_and_judge(exercise, arguments, line)
        else:
            result = skip(f"the installed packages are for the CPU; try pixi run -e {name} check-all")
        yield Row(exercise.number, f"{what}, in {name}", result, time.perf_counter() - begin)


def image_trains(exercise: Exercise) -> Iterator[Row]:
    """Test the exercise's image if an engine already has it; building one takes longer than everything else here."""
    if "image" not in exercise.settings:
        return
    from workshop.containers import engine, image_checks

    environment, begin = exercise.settings["image"], time.perf_counter()
    try:
        tried = image_checks.image_checks(environment, None, None, str(exercise.folder / "solution" / "Dockerfile"))
    except engine.NoEngine:
        result = skip("no container engine is available")
    except engine.NoImage as error:
        result = skip(f"no image yet: {error.next_step}")
    except (WorkshopError, WorkspaceError) as error:
        result = fail(looked_at=error.looked_at, expected=error.expected, found=error.found, next_step=error.next_step)
    else:
        wrong = [f"{name}: {problem}" for name, problem in tried if problem is not None]
        again = f"workshop container-build {environment}, then workshop container-test {environment}"
        image = f"{engine.IMAGE_NAME}:{environment}"
        result = ok(f"{len(tried)} checks of {image}")
        if wrong:
            result = fail(
                looked_at=f"the image {image}",
                expected="every check of the image passes",
                found="; ".join(wrong),
                next_step=again,
            )
    yield Row(exercise.number, "the image trains", result, time.perf_counter() - begin)


def run_and_judge(exercise: Exercise, arguments: list[str], interpreter: tuple[str, ...] = ()) -> Result:
    """Run the solution's script, if necessary after the run that it continues, and judge the result.

    interpreter: the command to run it with instead of this interpreter; it may have to install an environment first.
    """
    settings = exercise.settings["check_all"]
    workspace = Workspace(exercise.folder / "solution")
    output, parent = workspace.scratch / "run", workspace.scratch / "parent"
    other = {"interpreter": interpreter, "limit": INSTALL_LIMIT} if interpreter else {}
    try:
        if "parent" in settings:
            script, *words = settings["parent"]
            words = ["cuda" if word == "cpu" and "cuda" in arguments else word for word in words]
            path = str(exercise.folder.parent / script)
            run = workspace.run(path, *words, "--output", str(parent), WORKSHOP_DEVICE="", **other)
            if run.returncode != 0:
                return judge_run(exercise, workspace, run, parent)
        words = [word.replace("{parent}", str(parent)) for word in arguments]
        run = workspace.run(settings["script"], *words, "--output", str(output), WORKSHOP_DEVICE="", **other)
        return judge_run(exercise, workspace, run, output)
    except (WorkshopError, WorkspaceError) as error:
        return fail(looked_at=error.looked_at, expected=error.expected, found=error.found, next_step=error.next_step)
    finally:
        shutil.rmtree(workspace.scratch, ignore_errors=True)


def judge_run(exercise: Exercise, workspace: Workspace, run, folder) -> Result:
    """A finished run is correct if its files match its record and its metric reaches the minimum."""
    settings = exercise.settings["check_all"]
    script = workspace.folder / settings["script"]
    words = [
        word for word in settings["arguments"] if word != "{parent}"
    ]  # without a parent, the script takes the newest run
    again = shell.script(script, *words)
    if run.returncode != 0:
        if module := trainings.missing_framework(run):
            return skip(f"{module} is not in this environment: run it in the environment cpu-jax")
        return fail(
            looked_at=script,
            expected="exit code 0",
            found=f"exit code {run.returncode}: {trainings.failure_reason(run)}",
            next_step=again,
        )
    record = trainings.read_record(folder)
    for output in record["outputs"]:
        if sha256_of(folder / output["path"]) != output["sha256"]:
            return fail(
                looked_at=folder / output["path"],
                expected=f"sha256 {output['sha256']}",
                found="a different sha256",
                next_step=again,
            )
    metrics = {metric["name"]: metric["value"] for metric in record["metrics"]}
    value = metrics.get(settings["metric"])
    if value is None or not value >= settings["at_least"]:
        return fail(
            looked_at=folder / "run.json",
            expected=f"{settings['metric']} of {settings['at_least']} or more",
            found=f"{settings['metric']} {value}",
            next_step=again,
        )
    return ok(f"{settings['metric']} {value:.4g} (at least {settings['at_least']}) on {record['device']['type']}")


def solution_passes_checks(exercise: Exercise) -> Iterator[Row]:
    """Run every check on the solution."""
    workspace = Workspace(exercise.folder / "solution")
    begin = time.perf_counter()
    try:
        for check, result in checks.run_checks(exercise.checks, workspace):
            now = time.perf_counter()
            yield Row(exercise.number, f"solution: {check.number} {check.requirement}", result, now - begin)
            begin = now
    finally:
        shutil.rmtree(workspace.scratch, ignore_errors=True)


def starter_fails(exercise: Exercise) -> Iterator[Row]:
    """The shipped starter fails first at the check that exercise.toml names; the row contains the first hint."""
    expected = exercise.settings["starter_fails_at"]
    what = f"starter fails first at {expected}"
    folder, begin = exercise.folder / "starter", time.perf_counter()
    if not starter.is_as_shipped(exercise):
        yield Row(exercise.number, what, skip("you have edited the starter"), 0.0)
        return
    workspace = Workspace(folder)
    try:
        results = checks.run_checks(exercise.checks, workspace)
        first = next((check for check, result in results if result.status == "fail"), None)
    finally:
        shutil.rmtree(workspace.scratch, ignore_errors=True)
    if first and first.number == expected:
        result = ok(f"hint: {first.hints[0]}")
    else:
        result = fail(
            looked_at=folder,
            expected=f"a first failure at {expected}",
            found=f"at {first.number}" if first else "no failure",
            next_step=f"starter_fails_at in {shell.quoted(exercise.folder / 'exercise.toml')}",
        )
    yield Row(exercise.number, what, result, time.perf_counter() - begin)


def progress_table(jobs: list, rows: list[list[Row]], running: dict[int, str]) -> Table:
    """The live table: for each exercise the number of rows by status, and the jobs that are running."""
    from rich.table import Table
    from rich.text import Text

    table = Table("ex.", *STYLES, "now", box=None, pad_edge=False)
    for exercise in dict.fromkeys(exercise.number for exercise, _ in jobs):
        mine = [number for number, (of, _) in enumerate(jobs) if of.number == exercise]
        found = [row.result.status for number in mine for row in rows[number]]
        now = [text for number, text in list(running.items()) if number in mine]
        counts = {status: found.count(status) for status in STYLES}
        numbers = (Text(str(n), style=STYLES[status] if n else "dim") for status, n in counts.items())
        table.add_row(str(exercise), *numbers, Text(", ".join(now), overflow="ellipsis", no_wrap=True))
    return table


def show(rows: list[Row], counts: dict[str, int], seconds: float) -> None:
    """Print the table, as wide as the terminal; without colours if the output is piped."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=unfiltered(sys.stdout))
    table = Table("ex.", "test", "", "found", box=None, pad_edge=False)
    table.add_column("s", justify="right")
    for row in rows:
        word = Text(row.result.status, style=STYLES[row.result.status])
        table.add_row(
            str(row.exercise or ""),
            Text(printable(row.what)),
            word,
            Text(printable(row.result.found)),
            f"{row.seconds:.1f}",
        )
    console.print(table)
    for row in rows:
        if row.result.status == "fail":
            result = row.result
            problem = WorkshopError(
                looked_at=result.looked_at, expected=result.expected, found=result.found, next_step=result.next_step
            )
            where = f"exercise {row.exercise}: " if row.exercise else ""
            console.print(Text(printable(f"\n{where}{row.what}\n{problem}")))
    summary = f"{counts['ok']} passed, {counts['fail']} failed, {counts['skip']} skipped, in {seconds:.0f} s"
    console.print(f"\n{summary}", highlight=False)
