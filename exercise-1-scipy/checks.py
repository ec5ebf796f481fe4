"""The checks of exercise 1, in the order in which a learner meets them."""

import json
import math
from pathlib import Path

from packaging.specifiers import SpecifierSet

from pixi_workspace.manifest import Platform, Task, conda_specs, load, pypi_specs
from pixi_workspace.manifest.platforms import platforms_of
from workshop import shell
from workshop.checking import checks
from workshop.checking.checks import Check, Part, Result, Workspace, edit, fail, ok, skip
from workshop.checking.patches import patch
from workshop.checking.steps import calls, own_package, tasks
from workshop.checking.steps.calls import Call
from workshop.checking.steps.constraints import admits_any, have_no_common_version, releases
from workshop.checking.steps.python_path import VARIABLE, problem_with_path
from workshop.checking.trainings import (
    failure_reason,
    has_run_in_own_environment,
    missing_framework,
    output_sha256,
    read_record,
)
from workshop.support.files import read_text
from workshop.support.text import closest_match

SCRIPT = "exclusion.py"
HERE = Path(__file__).resolve().parent
SOLUTION = HERE / "solution"
SYSTEMS = {"linux": "linux-64", "osx": "osx-arm64", "win": "win-64"}
# The same formula on the same p-values: float64 rounding of a few operations on numbers up to 1, with room.
CLS_TOLERANCE = 1e-9
PYTEST = releases("8.0", "20.0")  # step 1.3: 8 or newer
DRAW = "draw.py"  # the script that draws the experiment, in a task before that of the limits
LOCK = "pixi.lock"  # an input of the limits
TEST = "test_exclusion.py"
FIGURE = "figure.py"  # the script that draws the figure, in a task after that of the limits
PYTHON = releases("3.11", "3.14")  # `requires-python` of the code in common/
# What the scripts and the code in common/ import, by the packages of which one is enough.
NEEDED = {
    name: (name,) for name in ("numpy", "scipy", "jsonpatch", "rich", "filelock", "platformdirs", "pooch", "rocrate")
} | {"matplotlib-base": ("matplotlib-base", "matplotlib")}
COLUMNS = ("observed", *(f"expected at {n:+d} sigma" for n in range(-2, 3)))


def has_platforms(workspace: Workspace) -> Result:
    folder = workspace.folder
    if not any((folder / name).exists() for name in ("pixi.toml", "pyproject.toml")):
        inside = sorted(path for path in folder.glob("*/pixi.toml") if path.is_file())
        inside += sorted(path for path in folder.glob("*/mine/pixi.toml") if path.is_file())
        return fail(
            looked_at=folder,
            expected="a Pixi workspace: a folder with a pixi.toml",
            found=(f"only {shell.relative(inside[0])}, a workspace inside it" if inside else "no manifest")
            if folder.is_dir()
            else "no such folder",
            next_step="make it as step 1.1 of README.md describes; workshop hint 1.1 tells you more",
        )
    subdirs = {p.subdir for p in workspace.manifest.platforms}
    missing = [name for system, name in SYSTEMS.items() if not any(s.startswith(f"{system}-") for s in subdirs)]
    if missing:
        return fail(
            looked_at=f"{workspace.at('workspace', 'platforms')}: platforms",
            expected="at least one each for Linux, macOS and Windows",
            found=f"{', '.join(sorted(subdirs)) or 'none'}; missing, for example: {', '.join(missing)}",
            next_step=edit(workspace, "1.1"),
        )
    return ok(", ".join(sorted(subdirs)))


def has_packages(workspace: Workspace) -> Result:
    """An environment to work in contains what the script imports, and its activation makes common/ importable."""
    environments = workspace.manifest.environments
    to_work = [name for name in environments if not includes_pytest(workspace, name)] or list(environments)
    problems = [problem for name in to_work if (problem := problem_with_packages(workspace, name))]
    if len(problems) == len(to_work):
        return problems[0]
    if workspace.verdict.verdict in ("up-to-date", "cannot-tell"):
        return ok(f"{SCRIPT} has all packages that it imports")
    return ok(f"all packages that {SCRIPT} imports are requested; whether such versions exist: cannot tell before 1.5")


def problem_with_packages(workspace: Workspace, name: str) -> Result | None:
    """The failed result if an environment lacks something that the script needs, or if no version of it is possible."""
    manifest, environment = workspace.manifest, workspace.manifest.environments[name]
    advice = edit(workspace, "1.2")
    for platform in platforms_of(manifest, environment.features):
        found = None
        requested = conda_specs(manifest, name, platform)
        if "python" not in requested:
            near = closest_match("python", requested, checks.SIMILAR)
            found = "no python" + (f" (you request '{near}': did you mean 'python'?)" if near else "")
        elif missing := checks.missing_for_script(workspace, name, platform, SCRIPT, NEEDED):
            found = f"no {', no '.join(missing)}"
        if found:
            return fail(
                looked_at=f"{workspace.at('dependencies')}: the environment {name}",
                expected=f"Python, and the packages that {SCRIPT} imports",
                found=f"{found} on {platform.name}",
                next_step=advice,
            )
        if problem := problem_with_versions(workspace, name, platform):
            return problem
    is_ours = workspace.package == own_package.TUTORIAL and (workspace.folder / SCRIPT).is_file()
    if is_ours and (reason := problem_with_path(manifest, environment.features, own_package.TUTORIAL)):
        return fail(
            looked_at=f"{workspace.at('activation', 'env', VARIABLE)}: the environment {name}",
            expected="an activation that sets PYTHONPATH to the folder common/ of the clone, which contains workshop",
            found=reason,
            next_step=advice,
        )
    return None


def problem_with_versions(workspace: Workspace, environment: str, platform: Platform) -> Result | None:
    """The failed result if no version of a package meets its constraints, or none that the scripts support."""
    of_conda = conda_specs(workspace.manifest, environment, platform)
    of_pypi = pypi_specs(workspace.manifest, environment, platform)
    tested = conda_specs(load(SOLUTION / "pixi.toml"), "default", platform)
    for package in sorted(of_conda.keys() | of_pypi.keys()):
        specs = [spec for spec in of_conda.get(package, ()) if not spec.is_source]
        specs += [spec for spec in of_pypi.get(package, ()) if not (spec.url or spec.path or spec.git)]
        shown = " and ".join(map(str, specs))
        expected = None
        if have_no_common_version(specs):
            expected = "constraints that a version can meet; a comma means that both conditions hold"
        elif package == "python" and not admits_any(of_conda[package], PYTHON):
            expected = "python 3.12, or another one that the code in common/ supports: >=3.11,<3.15"
        elif package in tested and package != "python" and have_no_common_version([*specs, *tested[package]]):
            expected = f"a version with which the scripts are tested: {tested[package][0]}"
        if expected:
            return fail(
                looked_at=f"{workspace.at('dependencies', package)}: {package} in the environment {environment}",
                expected=expected,
                found=shown,
                next_step=edit(workspace, "1.2"),
            )
    return None


def includes_pytest(workspace: Workspace, environment: str) -> bool:
    """Whether an environment requests pytest, from conda-forge or from PyPI, on any of its platforms."""
    features = workspace.manifest.environments[environment].features
    for platform in platforms_of(workspace.manifest, features):
        for specs in (conda_specs, pypi_specs):
            if "pytest" in specs(workspace.manifest, environment, platform):
                return True
    return False


def features_with_pytest(workspace: Workspace) -> list[str]:
    """Names of the features that request pytest, including those defined in an environment's own table."""
    manifest, found = workspace.manifest, []
    inline = [feature for environment in manifest.environments.values() for feature in environment.features]
    for feature in [*manifest.features.values(), *inline]:
        for target in feature.targets:
            tables = [*target.dependencies.values(), target.pypi]
            if any("pytest" in table for table in tables) and feature.name not in found:
                found.append(feature.name)
    return found


def systems_without(workspace: Workspace, subdirs: set[str]) -> list[str]:
    """The platforms of the workspace whose operating system is not among `subdirs`."""
    systems = {subdir.split("-")[0] for subdir in subdirs}
    return [p.name for p in workspace.manifest.platforms if p.subdir.split("-")[0] not in systems]


def problem_with_test_feature(workspace: Workspace) -> Result | None:
    """The failed result unless pytest, in a suitable version, is requested for a test environment alone."""
    where = f"the features of {workspace.manifest.path.name}"
    names = features_with_pytest(workspace)
    if not names:
        return fail(
            looked_at=where,
            expected="an environment with pytest",
            found=f"no environment contains pytest; your environments: {', '.join(workspace.manifest.environments)}",
            next_step=edit(workspace, "1.3"),
        )
    if "default" in names:
        return fail(
            looked_at=f"{workspace.at('dependencies', 'pytest')}: [dependencies]",
            expected="pytest in a table of the test environment, or in a feature that only this environment uses",
            found="pytest among the dependencies of every environment",
            next_step=edit(workspace, "1.3"),
        )
    for feature in (f for f in checks.all_features(workspace) if f.name in names):
        for target in feature.targets:
            specs = [table["pytest"] for table in target.dependencies.values() if "pytest" in table]
            if specs and not admits_any(specs, PYTEST):
                return fail(
                    looked_at=f"{workspace.at('feature', feature.name, 'dependencies', 'pytest')}: {feature.name}",
                    expected="a version of pytest that is 8 or newer",
                    found=" and ".join(map(str, specs)),
                    next_step=edit(workspace, "1.3"),
                )
            if any(not admits_pypi(spec.version) for spec in target.pypi.get("pytest", ())):
                return fail(
                    looked_at=f"{workspace.at('feature', feature.name, 'pypi-dependencies', 'pytest')}: {feature.name}",
                    expected="a version of pytest that is 8 or newer",
                    found=" and ".join(map(str, target.pypi["pytest"])),
                    next_step=edit(workspace, "1.3"),
                )
        supported = {p.subdir for p in workspace.manifest.platforms if workspace.manifest.supports(feature, p)}
        if missing := systems_without(workspace, supported):
            return fail(
                looked_at=f"{workspace.at('feature', feature.name, 'platforms')}: the platforms of {feature.name}",
                expected="the systems of the workspace, so that everybody can run the tests",
                found=f"{', '.join(feature.platforms or ()) or 'none'}; missing: {', '.join(missing)}",
                next_step=edit(workspace, "1.3"),
            )
    return None


def admits_pypi(version: str) -> bool:
    """Whether a constraint on the pytest of PyPI admits a version that is 8 or newer."""
    return version == "*" or any(SpecifierSet(version).filter(PYTEST))


def work_and_test_environments(workspace: Workspace) -> list[tuple[str, str]]:
    """Pairs (environment to work in, environment to test in): the second has pytest and all features of the first."""
    found = []
    environments = workspace.manifest.environments
    for work in environments.values():
        for test in environments.values():
            includes = {f.name for f in work.features} <= {f.name for f in test.features}
            if includes and includes_pytest(workspace, test.name) and not includes_pytest(workspace, work.name):
                found.append((work.name, test.name))
    return found


def has_environments(workspace: Workspace) -> Result:
    if problem := problem_with_test_feature(workspace):
        return problem
    where = f"{workspace.at('environments')}: [environments]"
    environments = workspace.manifest.environments
    found = work_and_test_environments(workspace)
    advice = edit(workspace, "1.3")
    if not found:
        return fail(
            looked_at=where,
            expected="an environment to work in, and a second one that adds pytest to it",
            found=f"{', '.join(environments)}: no such pair",
            next_step=advice,
        )
    problems = []
    for work, test in found:
        problem = problem_with_pair(workspace, work, test)
        if problem is None:
            return ok(f"{work} and {test} in the solve group {environments[test].solve_group}")
        problems.append(problem)
    work, test = found[0]
    what, expected, reason = problems[0]
    return fail(
        looked_at=f"{workspace.at('environments', test)}: {what}", expected=expected, found=reason, next_step=advice
    )


def problem_with_pair(workspace: Workspace, work: str, test: str) -> tuple[str, str, str] | None:
    """What is wrong with an environment to work in and one to test in: looked at, expected, found; None if nothing is."""
    environments, manifest = workspace.manifest.environments, workspace.manifest
    if test == "default":
        return (
            "the environment default",
            "no pytest in it, since it is what everybody gets",
            f"pytest, but not in {work}",
        )
    here, there = ({p.subdir for p in platforms_of(manifest, environments[name].features)} for name in (work, test))
    systems = {subdir.split("-")[0] for subdir in there}
    if missing := sorted(subdir for subdir in here if subdir.split("-")[0] not in systems):
        expected = f"the same systems as {work}"
        return f"the platforms of {test}", expected, f"{', '.join(sorted(there))}; missing: {', '.join(missing)}"
    group = environments[test].solve_group
    if group is None or environments[work].solve_group != group:
        groups = f"{work}: {environments[work].solve_group or 'none'}, {test}: {group or 'none'}"
        alone = "" if group is None else f"; {test} is alone in its group, so it is solved without {work}"
        return "the solve groups", "the same solve group for both", groups + alone
    return None


def has_task(workspace: Workspace) -> Result:
    work, test = ({pair[n] for pair in work_and_test_environments(workspace)} for n in (0, 1))

    def unsuitable(environment: str, is_default: bool) -> str | None:
        only_for_tests = environment in test - work
        return (
            f"it exists only in {environment}, and not in {', '.join(work)}, where you work" if only_for_tests else None
        )

    result = checks.has_task_running(workspace, ("exclusion", "scan"), "1.4", unsuitable)
    return problem_with_order(workspace) or result if result.status == "ok" else result


def problem_with_order(workspace: Workspace) -> Result | None:
    """The failed result unless tasks draw the experiment, compute the limits and draw the figure, in this order.

    Scripts that a workspace does not contain need no task.
    """
    root, defined = workspace.manifest.path.parent, tasks.all_tasks(workspace.manifest)
    if not (root / DRAW).is_file():
        return None
    starts = {task.name: {started.name for started in tasks.started_by(task, root)} for task, _ in defined}

    draws = [task for task, _ in defined if Path(DRAW).stem in starts[task.name]]
    limits = [task for task, _ in defined if any(s in ("exclusion", "scan") or "{{" in s for s in starts[task.name])]
    figures = [task for task, _ in defined if Path(FIGURE).stem in starts[task.name]]
    problem = problem_with_dependency(workspace, limits, draws, DRAW)
    problem = problem or problem_with_outputs(workspace, draws, (DRAW, SCRIPT))
    if problem or not (root / FIGURE).is_file():
        return problem or problem_with_calls(workspace, chosen(limits, draws))
    if not figures:
        return fail(
            looked_at=f"{workspace.at('tasks', limits[0].name)}: the tasks",
            expected=f"a third task, which runs {FIGURE} after the limits",
            found=f"tasks that run {FIGURE}: none",
            next_step=edit(workspace, "1.4"),
        )
    return (
        problem_with_dependency(workspace, figures, limits, SCRIPT)
        or problem_with_outputs(workspace, limits, (SCRIPT, LOCK))
        or problem_with_outputs(workspace, figures, (FIGURE,))
        or problem_with_calls(workspace, chosen(figures, limits))
    )


def chosen(later: list[Task], earlier: list[Task]) -> Task:
    """One of the `later` tasks that depends on an `earlier` one, or is one. Of variants for systems, the one with the most keys."""
    names = {task.name for task in earlier}
    fitting = [task for task in later if task.name in names or names & set(tasks.required_tasks(task))]
    return max(fitting, key=lambda task: len(task.table))


def problem_with_calls(workspace: Workspace, last: Task) -> Result | None:
    """The failed result unless a seed for the last task reaches all others, and each reads what the one before writes."""
    defined = sorted((task for task, _ in tasks.all_tasks(workspace.manifest)), key=lambda task: len(task.table))
    by_name = {task.name: task for task in defined} | {last.name: last}
    defaults = calls.arguments_of(last)
    seeds = {name: str(90 + n) for n, name in enumerate(defaults) if str(defaults[name]).isdigit()}
    values = {name: default for name, default in defaults.items() if default is not None} | seeds
    made = list(calls.calls(last, values, by_name))
    for call in made:
        if problem := problem_with_arguments(workspace, call.task):
            return problem
    typed = " ".join(["pixi run", last.name, *(values[name] for name in defaults)])
    for call in made:
        for script in (DRAW, SCRIPT):
            options = call.options(Path(script).stem)
            if options is None:
                continue
            if not any("$" in options.get("--seed", "") or options.get("--seed") == seed for seed in seeds.values()):
                number = next(iter(seeds.values()), "{{ seed }}")
                return fail(
                    looked_at=f"{workspace.at('tasks', call.task.name)}: the task {call.task.name}, after `{typed}`",
                    expected=f"--seed {number}: every task takes the seed, and passes it on to the task before",
                    found=call.command if seeds else f"{call.command}; {last.name} has no argument for the seed",
                    next_step=edit(workspace, "1.4"),
                )
    return problem_with_files(workspace, made)


def problem_with_arguments(workspace: Workspace, task: Task) -> Result | None:
    """The failed result unless a task has a description, a default for each argument, and no other name in braces."""
    names = calls.arguments_of(task)
    expected = "a description, which `pixi task list` prints"
    found = None if task.description else "no description"
    for name, default in names.items():
        if default is None:
            expected = f"a default for each argument, so that `pixi run {task.name}` works without a value"
            found = f"the argument {name} has no default"
    for name in calls.unknown_placeholders(task):
        near = closest_match(name, names)
        expected = "in {{ }} only names from the args of the task"
        found = f"{{{{ {name} }}}}; its args: {', '.join(names) or 'none'}" + (
            f"; did you mean '{near}'?" if near else ""
        )
    if found is None:
        return None
    where = f"{workspace.at('tasks', task.name)}: the task {task.name}"
    return fail(looked_at=where, expected=expected, found=found, next_step=edit(workspace, "1.4"))


def problem_with_files(workspace: Workspace, made: list[Call]) -> Result | None:
    """The failed result unless the limits read the file of the experiment, and the figure the file of the limits."""
    limits = next((call for call in made if call.options("exclusion") is not None), None)
    if limits is None:
        return None  # `workshop scan`, which takes other options
    draws = next(call for call in made if call.options(Path(DRAW).stem) is not None)
    figures = [call for call in made if call.options(Path(FIGURE).stem) is not None]
    options = limits.options("exclusion") or {}
    links = [("--experiment", DRAW, draws, draws, limits)]
    links += [("--limits", FIGURE, figure, limits, figure) for figure in figures]
    for option, script, named_in, writer, reader in links:
        file = options.get(option)
        found = None
        if file is None:
            found = f"{limits.command}: no {option}"
        elif not calls.covers(writer.files("outputs"), file):
            found = f"{option} {file}; outputs of {writer.task.name}: {', '.join(writer.files('outputs'))}"
        elif reader is not writer and not calls.covers(reader.files("inputs"), file):
            found = f"{option} {file}; inputs of {reader.task.name}: {', '.join(reader.files('inputs'))}"
        elif Path(file).name not in read_text(workspace.folder / script) + named_in.command:
            found = f"{option} {file}, a name that {script} does not use"
        if found:
            return fail(
                looked_at=f"{workspace.at('tasks', limits.task.name)}: the task {limits.task.name}",
                expected=f"{option} with one file, which {writer.task.name} writes and {reader.task.name} reads",
                found=found,
                next_step=edit(workspace, "1.4"),
            )
    return None


def problem_with_dependency(workspace: Workspace, later: list[Task], earlier: list[Task], script: str) -> Result | None:
    """The failed result unless one of the `later` tasks depends on an `earlier` one, which runs `script`, or is one."""
    names = {task.name for task in earlier}
    if any(task.name in names or names & set(tasks.required_tasks(task)) for task in later):
        return None
    task = later[0]
    return fail(
        looked_at=f"{workspace.at('tasks', task.name)}: the task {task.name}",
        expected=f"a task that runs {script}, on which this task depends",
        found=f"depends-on: {', '.join(tasks.required_tasks(task)) or 'nothing'}; "
        f"tasks that run {script}: {', '.join(sorted(names)) or 'none'}",
        next_step=edit(workspace, "1.4"),
    )


def problem_with_outputs(workspace: Workspace, either: list[Task], needed: tuple[str, ...] = ()) -> Result | None:
    """The failed result unless one of these tasks names what it reads, the `needed` files among it, and what it writes."""
    missing: list[str] = []
    for task in either:
        inputs = Call(task, {}).files("inputs")
        without = [key for key in ("inputs", "outputs") if not task.table.get(key)]
        lacks = [file for file in needed if inputs and not calls.covers(inputs, file)]
        without += [f"{file} among the inputs ({', '.join(inputs)})" for file in lacks]
        if not without:
            return None
        missing = missing or without
    expected = "inputs and outputs, so that Pixi skips the task if neither has changed"
    if LOCK in needed:
        expected += f"; {LOCK} is an input: with other packages, the task runs again"
    return fail(
        looked_at=f"{workspace.at('tasks', either[0].name)}: the task {either[0].name}",
        expected=expected,
        found=f"no {' and no '.join(missing)}",
        next_step=edit(workspace, "1.4"),
    )


def is_locked(workspace: Workspace) -> Result:
    if problem := checks.problem_with_lock(workspace):
        return problem
    for work, test in work_and_test_environments(workspace):
        here, there = (workspace.lock.environments[name].packages for name in (work, test))
        for platform in sorted(set(here) & set(there)):
            tested = {p.name: p for p in there[platform]}
            for package in here[platform]:
                other = tested.get(package.name)
                if other is not None and other.url != package.url:
                    return fail(
                        looked_at=f"{package.name} on {platform}, in pixi.lock",
                        expected=f"the same build in {work} and in {test}",
                        found=f"{package} and {other}",
                        next_step="pixi update",
                    )
            locked = tested.get("pytest")
            if locked is not None and locked.version and int(locked.version.split(".")[0]) < 8:
                return fail(
                    looked_at=f"pytest in {test} on {platform}, in pixi.lock",
                    expected="8 or newer",
                    found=str(locked),
                    next_step=edit(workspace, "1.3"),
                )
    return ok("pixi.lock is up to date, and both environments contain the same builds")


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
    if missing := checks.problem_with_script(workspace, SCRIPT):
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
    if missing := checks.problem_with_script(workspace, SCRIPT):
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
    python = shell.python()
    if python.startswith("pixi run"):
        names = [test for _, test in work_and_test_environments(workspace)]
        python = f"pixi run -e {names[0]} python" if names else ""
    if not python or not (workspace.folder / TEST).is_file():
        return ""
    return f"; its test: {shell.in_folder(workspace.folder, f'{python} -m pytest {TEST}')}"


def is_run(workspace: Workspace) -> Result:
    return checks.problem_with_script(workspace, SCRIPT) or has_run_in_own_environment(
        workspace, SCRIPT, HERE.name, "limits"
    )


COMMITTED = ("pixi.toml", "pixi.lock", SCRIPT)  # without one of these, nobody can run the workspace


def is_committed(workspace: Workspace) -> Result:
    """The workspace is a git repository of its own, and its last commit contains manifest, lock and scripts."""
    folder, name = workspace.folder, workspace.folder.name
    if missing := checks.problem_with_script(workspace, SCRIPT):
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
        return ok("manifest, lock and scripts are committed as they are on disk")
    file, found = next(iter(problems.items()))
    return fail(
        looked_at=f"{file} in the last commit of {name}",
        expected="the file as it is on disk, so that a clone gives the same result",
        found=found,
        next_step=next_git_command(folder, list(problems)),
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
            "`pixi init FOLDER` makes a workspace. Its lock contains packages for the platforms in its manifest alone.",
            "`pixi init` takes -p once for each platform. A Mac with an Apple processor is osx-arm64; Windows is win-64.",
            "pixi init exercise-1-scipy/mine -p linux-64 -p linux-aarch64 -p osx-arm64 -p win-64",
        ),
        has_platforms,
        Part(tables=("workspace.platforms",)),
    ),
    Check(
        "1.2",
        "the environment contains Python and what the script imports",
        (
            "Which packages does exclusion.py import, and which does the code in common/ that it uses import?",
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
            "If two environments are solved separately, they may get two versions of NumPy. How do you make Pixi solve them together?",
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
            "Nobody should have to remember three commands and their order.",
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
        is_locked,
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
