"""The checks of exercise 1, in the order in which a learner meets them."""

import json
import math
from pathlib import Path

from packaging.specifiers import SpecifierSet

from pixi_workspace.manifest import conda_specs, pypi_specs
from pixi_workspace.manifest.platforms import platforms_of
from workshop import shell
from workshop.checking import checks
from workshop.checking.checks import Check, Part, Result, Workspace, edit, fail, ok, skip
from workshop.checking.patches import patch
from workshop.checking.steps.constraints import admits_any, releases
from workshop.checking.trainings import failure_reason, missing_framework, output_sha256, read_record

SCRIPT = "exclusion.py"
SOLUTION = Path(__file__).resolve().parent / "solution"
SYSTEMS = {"linux": "linux-64", "osx": "osx-arm64", "win": "win-64"}
# The same formula on the same p-values: float64 rounding of a few operations on numbers up to 1, with room.
CLS_TOLERANCE = 1e-9
PYTEST = releases("8.0", "20.0")  # step 1.2: 8 or newer
# What the script imports, by the packages of which one is enough.
NEEDED = {"scipy": ("scipy",), "matplotlib": ("matplotlib", "matplotlib-base"), "jsonpatch": ("jsonpatch",)}
COLUMNS = ("observed", *(f"expected at {n:+d} sigma" for n in range(-2, 3)))


def has_platforms(workspace: Workspace) -> Result:
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


def has_test_feature(workspace: Workspace) -> Result:
    where = f"the features of {workspace.manifest.path.name}"
    names = features_with_pytest(workspace)
    if not names:
        return fail(
            looked_at=where,
            expected="a feature with pytest",
            found=f"{', '.join(workspace.manifest.features)}: none of them contains it",
            next_step=edit(workspace, "1.2"),
        )
    if "default" in names:
        return fail(
            looked_at=f"{workspace.at('dependencies', 'pytest')}: [dependencies]",
            expected="pytest in a feature of its own, which only a test environment uses",
            found="pytest among the dependencies of every environment",
            next_step=edit(workspace, "1.2"),
        )
    for feature in (f for f in checks.all_features(workspace) if f.name in names):
        for target in feature.targets:
            specs = [table["pytest"] for table in target.dependencies.values() if "pytest" in table]
            if specs and not admits_any(specs, PYTEST):
                return fail(
                    looked_at=f"{workspace.at('feature', feature.name, 'dependencies', 'pytest')}: {feature.name}",
                    expected="a version of pytest that is 8 or newer",
                    found=" and ".join(map(str, specs)),
                    next_step=edit(workspace, "1.2"),
                )
            if any(not admits_pypi(spec.version) for spec in target.pypi.get("pytest", ())):
                return fail(
                    looked_at=f"{workspace.at('feature', feature.name, 'pypi-dependencies', 'pytest')}: {feature.name}",
                    expected="a version of pytest that is 8 or newer",
                    found=" and ".join(map(str, target.pypi["pytest"])),
                    next_step=edit(workspace, "1.2"),
                )
        supported = {p.subdir for p in workspace.manifest.platforms if workspace.manifest.supports(feature, p)}
        if missing := systems_without(workspace, supported):
            return fail(
                looked_at=f"{workspace.at('feature', feature.name, 'platforms')}: the platforms of {feature.name}",
                expected="the systems of the workspace, so that everybody can run the tests",
                found=f"{', '.join(feature.platforms or ()) or 'none'}; missing: {', '.join(missing)}",
                next_step=edit(workspace, "1.2"),
            )
    return ok(f"pytest in the feature {names[0]}")


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
    for platform in platforms_of(manifest, environments[work].features):
        if missing := checks.missing_for_script(workspace, work, platform, SCRIPT, NEEDED):
            return f"the environment {work}", f"the packages that {SCRIPT} needs", f"no {', '.join(missing)}"
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

    return checks.has_task_running(workspace, ("exclusion", "scan"), "1.4", unsuitable)


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
                    next_step=edit(workspace, "1.2"),
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
                    next_step=f"{edit(workspace, '1.7', SCRIPT)}; `python -m pytest test_exclusion.py` tests it",
                )
    return ok(f"CLs of all {len(right)} hypotheses")


CHECKS = [
    Check(
        "1.1",
        "the workspace supports Linux, macOS and Windows",
        (
            "A lock contains packages for the platforms in the manifest and for no others.",
            "A Mac with an Apple processor is osx-arm64; Windows is win-64.",
            'platforms = ["linux-64", "linux-aarch64", "osx-arm64", "win-64"]',
        ),
        has_platforms,
        Part(tables=("workspace.platforms",)),
    ),
    Check(
        "1.2",
        "pytest is in a feature of its own",
        (
            "A feature is a named set of dependencies that some environments have and others do not.",
            "[feature.NAME.dependencies] has the same form as [dependencies].",
            '[feature.test.dependencies], and below it pytest = ">=8"',
        ),
        has_test_feature,
        Part(tables=("feature",)),
    ),
    Check(
        "1.3",
        "there is an environment to work in and one to test in, and they are solved together",
        (
            "If two environments are solved separately, they may get two versions of NumPy. How do you make Pixi solve them together?",
            "An environment can be a table with features and a solve-group. You can write one for `default` as well.",
            'default = { solve-group = "default" } and test = { features = ["test"], solve-group = "default" }',
        ),
        has_environments,
        Part(tables=("environments",)),
    ),
    Check(
        "1.4",
        "a task computes the limits",
        (
            "Nobody should have to remember the command.",
            "The table [tasks.NAME] contains the keys `cmd` and `description`.",
            '[tasks.limits] cmd = "python exclusion.py", description = "..."',
        ),
        has_task,
        Part(tables=("tasks", "feature.*.tasks")),
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
    ),
    Check(
        "1.6",
        "the same seed gives the same limits",
        (
            "Run the script twice with the same seed and compare the number of excluded hypotheses.",
            "The fits are deterministic. The only random part of this script is the experiment itself.",
            "rng = np.random.default_rng(seed)",
        ),
        is_reproducible,
        Part(functions=("experiment",)),
    ),
    Check(
        "1.7",
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
