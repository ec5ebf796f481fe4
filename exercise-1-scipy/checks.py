"""The checks of exercise 1, in the order in which a learner meets them.

manifest_checks.py has the functions for the manifest and the lock, task_checks.py those for the tasks.
"""

import json
import math
from pathlib import Path

from workshop import shell
from workshop.checking import checks
from workshop.checking.checks import Check, Part, Result, Workspace, edit, fail, ok, skip
from workshop.checking.patches import patch
from workshop.checking.steps import own_package, requirements
from workshop.checking.trainings import (
    failure_reason,
    has_run_in_own_environment,
    missing_framework,
    output_sha256,
    read_record,
)
from workshop.exercises import load_module

HERE = Path(__file__).resolve().parent
SOLUTION = HERE / "solution"
SCRIPT, DRAW, FIGURE, TEST, LOCK = "exclusion.py", "draw.py", "figure.py", "test_exclusion.py", "pixi.lock"
# The same formula on the same p-values: float64 rounding of a few operations on numbers up to 1, with room.
CLS_TOLERANCE = 1e-9
COLUMNS = ("observed", *(f"expected at {n:+d} sigma" for n in range(-2, 3)))

manifest_checks = load_module(HERE / "manifest_checks.py")
task_checks = load_module(HERE / "task_checks.py")


def has_packages(workspace: Workspace) -> Result:
    return manifest_checks.with_changed_root(manifest_checks.has_packages(workspace), workspace, "1.2")


def has_environments(workspace: Workspace) -> Result:
    return manifest_checks.with_changed_root(manifest_checks.has_environments(workspace), workspace, "1.3")


def has_task(workspace: Workspace) -> Result:
    return task_checks.has_task(workspace, manifest_checks.work_and_test_environments(workspace))


# Both runs draw the same experiment, however the script seeds its generator, so that only CLs is compared.
SAME_EXPERIMENT = (patch("fixed_experiment", seed=3),)


def run_with(workspace: Workspace, name: str, seed: int, patches: tuple = ()) -> dict | Result:
    """The record of a run of the script with `seed`, in the scratch folder `name`; the result of the check if it fails."""
    words = ("--seed", str(seed))
    folder = str(workspace.scratch / name)
    run = workspace.run(SCRIPT, *words, "--output", folder, patches=patches, fresh=name == "again")
    if module := missing_framework(run):
        return skip(f"{module} is not in this environment")
    if run.returncode != 0:
        again = shell.script(workspace.folder / SCRIPT, *words)
        return fail(
            looked_at=f"{SCRIPT} --seed {seed}", expected="exit code 0", found=failure_reason(run), next_step=again
        )
    return read_record(workspace.scratch / name)


def is_reproducible(workspace: Workspace) -> Result:
    if missing := requirements.problem_with_script(workspace, SCRIPT):
        return missing
    found = {}
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        record = run_with(workspace, name, seed)
        if isinstance(record, Result):
            return record
        found[name] = output_sha256(record, "limits.json")
    if found["first"] != found["again"]:
        return fail(
            looked_at="limits.json of two runs with --seed 1",
            expected="the same bytes",
            found=f"sha256 {found['first'][:12]} and {found['again'][:12]}",
            next_step=edit(workspace, "1.6", SCRIPT),
        )
    if found["first"] == found["other"]:
        advice = edit(workspace, "1.6", SCRIPT)
        return fail(
            looked_at="limits.json of --seed 1 and --seed 2",
            expected="different experiments",
            found="the same limits: the generator does not depend on the requested seed",
            next_step=advice,
        )
    return ok(f"two runs with the same seed write the same limits ({found['first'][:12]}); another seed gives others")


def read_limits(folder) -> dict[str, list[float]]:
    """CLs by hypothesis: observed, then expected. Raises WorkshopError if limits.json has another form."""
    path = folder / "limits.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["hypotheses"]
        found = {e["name"]: [float(e["cls_obs"]), *map(float, e["cls_exp"])] for e in entries if e["converged"]}
        if any(len(numbers) != len(COLUMNS) for numbers in found.values()):
            raise ValueError("cls_exp must contain five values")
        return {name: numbers for name, numbers in found.items() if all(map(math.isfinite, numbers))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise checks.WorkshopError(
            looked_at=path.name,
            expected="the limits of the hypotheses (limits.schema.json)",
            found=f"{type(error).__name__}: {error}",
            next_step="change only the TODOs, and leave what the script writes as it is",
        ) from error


def has_right_limits(workspace: Workspace) -> Result:
    """Compares CLs with the solution's, for the same experiment."""
    if missing := requirements.problem_with_script(workspace, SCRIPT):
        return missing
    record = run_with(workspace, "learner", 3, SAME_EXPERIMENT)
    if isinstance(record, Result):
        return record
    reference = Workspace(SOLUTION, workspace.scratch / "reference")
    reference.scratch.mkdir(exist_ok=True)
    record = run_with(reference, "solution", 3, SAME_EXPERIMENT)
    if isinstance(record, Result):
        return record
    found, right = read_limits(workspace.scratch / "learner"), read_limits(reference.scratch / "solution")
    if missing := sorted(set(right) - set(found)):
        return fail(
            looked_at=f"{missing[0]} in limits.json",
            expected="CLs of this hypothesis",
            found="no finite value",
            next_step="fit every hypothesis, as the starter does, and check that your formula gives finite values",
        )
    for name, numbers in right.items():
        for what, value, reference_value in zip(COLUMNS, found[name], numbers, strict=True):
            if not abs(value - reference_value) <= CLS_TOLERANCE:
                return fail(
                    looked_at=f"CLs of {name}, {what}",
                    expected=f"{reference_value:.4g}",
                    found=f"{value:.4g}",
                    next_step=f"{edit(workspace, '1.9', SCRIPT)}{command_for_test(workspace)}",
                )
    return ok(f"CLs of all {len(right)} hypotheses")


def command_for_test(workspace: Workspace) -> str:
    """The command that tests the formula, on the route in use; empty without the test, or without its environment."""
    python = shell.python(workspace.folder)
    if python.startswith("pixi run"):
        names = [test for _, test in manifest_checks.work_and_test_environments(workspace)]
        python = f"pixi run -e {names[0]} python" if names else ""
    if not python or not (workspace.folder / TEST).is_file():
        return ""
    return f"; its test: {shell.in_folder(workspace.folder, f'{python} -m pytest {TEST}')}"


def is_run(workspace: Workspace) -> Result:
    return requirements.problem_with_script(workspace, SCRIPT) or has_run_in_own_environment(
        workspace, SCRIPT, HERE.name, "limits"
    )


COMMITTED = ("pixi.toml", "pixi.lock", SCRIPT)  # without one of these, nobody can run the workspace


def is_committed(workspace: Workspace) -> Result:
    """The workspace is a git repository of its own, and its last commit contains manifest, lock and scripts."""
    folder, name = workspace.folder, workspace.folder.name
    if missing := requirements.problem_with_script(workspace, SCRIPT):
        return missing
    top = shell.git(folder, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != folder.resolve():
        if name == "solution" or workspace.package != own_package.TUTORIAL:
            return skip("this workspace belongs to another repository, or to none yet")
        return fail(
            looked_at=folder,
            expected="a git repository of its own",
            found="no repository" if top is None else "a folder of another repository",
            next_step=f"{shell.in_folder(folder, 'git init')}  # then commit, as step 1.8 of README.md describes",
        )
    files = (workspace.manifest.path.name, *COMMITTED[1:], *(f for f in (DRAW, FIGURE) if (folder / f).is_file()))
    problems = {file: problem for file in files if (problem := problem_with_commit(folder, file))}
    if not problems:
        return problem_with_results(folder) or ok("manifest, lock and scripts are committed as they are on disk")
    file, found = next(iter(problems.items()))
    return fail(
        looked_at=f"{file} in the last commit of {name}",
        expected="the file as it is on disk, so that a clone gives the same result",
        found=found,
        next_step=next_git_command(folder, list(problems)),
    )


def problem_with_results(folder: Path) -> Result | None:
    """The failed result if the last commit contains runs, which everybody can compute."""
    committed = (shell.git(folder, "ls-tree", "-r", "--name-only", "HEAD", "--", "results") or "").splitlines()
    if not committed:
        return None
    return fail(
        looked_at=f"results in the last commit of {folder.name}",
        expected="no runs: everybody who clones the repository can compute them",
        found=f"{committed[0]} and {len(committed) - 1} other files" if committed[1:] else committed[0],
        next_step="git rm -r --cached results  # then: add results/ to .gitignore, and commit",
    )


def problem_with_commit(folder: Path, file: str) -> str | None:
    """Why the last commit does not contain a file as it is on disk; None if it does."""
    if not (folder / file).is_file():
        return "no such file on disk"
    committed = shell.git_bytes(folder, "show", f"HEAD:./{file}")
    staged = shell.git_bytes(folder, "show", f":./{file}")
    if committed is not None and lines_of(committed) == lines_of((folder / file).read_bytes()):
        return None
    if staged is not None and lines_of(staged) == lines_of((folder / file).read_bytes()):
        return "added, but not committed"
    return "not committed" if committed is None else "the committed file differs from the one on disk"


def next_git_command(folder: Path, files: list[str]) -> str:
    """The command that comes next for files that are not committed: `git add`, or `git commit` if all are added."""
    if LOCK in files and not (folder / LOCK).is_file():
        return "write the lock first, as step 1.5 of README.md describes"
    unstaged = [file for file in files if problem_with_commit(folder, file) != "added, but not committed"]
    if not unstaged:
        return 'git commit -m "Limits of 125 signal hypotheses"'
    by_pixi = [file for file in (".gitignore", ".gitattributes") if (folder / file).is_file()]
    unstaged += [file for file in by_pixi if shell.git_bytes(folder, "show", f":./{file}") is None]
    left_out = "" if by_pixi else "; without Pixi, leave out .gitignore and .gitattributes, which do not exist"
    return f"git add {' '.join(unstaged)}  # then: git commit{left_out}"


def lines_of(content: bytes) -> bytes:
    """The content with the line ends of Unix: git may change them on Windows."""
    return content.replace(b"\r\n", b"\n")


CHECKS = [
    Check(
        "1.1",
        "the workspace supports Linux, macOS and Windows",
        (
            "`pixi init FOLDER` makes a workspace. Its lock contains packages only for the platforms in its manifest.",
            "`pixi init` takes -p once for each platform. A Mac with an Apple processor is osx-arm64; Windows is win-64.",
            "pixi init exercise-1-scipy/mine -p linux-64 -p linux-aarch64 -p osx-arm64 -p win-64",
        ),
        manifest_checks.has_platforms,
        Part(tables=("workspace.platforms",)),
    ),
    Check(
        "1.2",
        "the environment contains Python and what the script imports",
        (
            "What do the scripts need: which Python, which packages, and which variable that leads to the code in common/?",
            "`pixi add` takes several packages at once. A variable of the activation tells Python where common/ is.",
            "pixi add with the packages that step 1.2 lists, and pixi workspace activation env set PYTHONPATH=../../common",
        ),
        has_packages,
        Part(tables=("dependencies", "activation", "target")),
    ),
    Check(
        "1.3",
        "a second environment adds pytest, and both are solved together",
        (
            "Which table gives pytest to `test` alone, and which line do `test` and `default` need to be solved together?",
            "An environment can be a table with a solve-group and dependencies. `default` needs the same solve-group.",
            'default = { solve-group = "default" }, and [environments.test] with solve-group = "default" and a table of dependencies',
        ),
        has_environments,
        Part(tables=("environments", "feature")),
    ),
    Check(
        "1.4",
        "three tasks draw the experiment, compute the limits and draw the figure, one after the other",
        (
            "For each task, compare with the table of step 1.4: which command, after which task, which seed, which files?",
            "The table [tasks.NAME] contains `cmd` and `description`, and can contain `args`, `depends-on`, `inputs` and `outputs`.",
            'limits: depends-on = [{ task = "experiment", args = ["{{ seed }}"] }], inputs = ["exclusion.py", "experiment.json", "pixi.lock"], outputs = ["limits.json"]; figure: the same with limits.json and figure.py as inputs',
        ),
        has_task,
        Part(tables=("tasks", "feature.*.tasks", "environments.*.tasks")),
    ),
    Check(
        "1.5",
        "the lock is up to date, and both environments contain the same packages",
        (
            "The manifest lists what is allowed. Which file lists what Pixi chose?",
            "`pixi lock` writes that file. Without Pixi, `workshop lock-check` reports whether it is up to date.",
            "`pixi lock` keeps what still fits, even after you change the solve groups. `pixi update` solves everything again.",
        ),
        manifest_checks.is_locked,
        needs_pixi=True,
    ),
    Check(
        "1.6",
        "the same seed gives the same limits",
        (
            "Run draw.py twice with the same seed, and compare the observed counts that it prints.",
            "The fits are deterministic. The only random part of this script is the experiment itself.",
            "rng = np.random.default_rng(seed)",
        ),
        is_reproducible,
        Part(functions=("experiment",)),
    ),
    Check(
        "1.7",
        "you ran the limits in your own environment",
        (
            "The record run.json names the environment of the run, and the sha256 of its lock. Which lock is that now?",
            "Start the task with `pixi run` in the folder of your workspace. After every change of the lock, run it again.",
            "In the folder of your workspace: pixi run limits (if you have removed results/, remove limits.json first: Pixi skips what is done)",
        ),
        is_run,
        needs_pixi=True,
    ),
    Check(
        "1.8",
        "your workspace is a repository that a colleague can clone",
        (
            "What does a colleague need to get the same environment and the same numbers?",
            "`git init`, `git add` and `git commit`, in the folder of your workspace. Name each file that you add.",
            "git add pixi.toml pixi.lock .gitignore .gitattributes draw.py exclusion.py figure.py test_exclusion.py, then git commit. "
            "Only `pixi init` writes .gitignore and .gitattributes: leave them out if they do not exist.",
        ),
        is_committed,
    ),
    Check(
        "1.9",
        "CLs is computed with the right formula",
        (
            "A search that cannot see the signal would still exclude it in one of twenty experiments. How do you prevent that?",
            "Divide the first p-value by the probability of data that look less like signal, which is 1 - p_background.",
            "return p_signal / (1 - p_background)",
        ),
        has_right_limits,
        Part(functions=("cls_of",)),
    ),
]
