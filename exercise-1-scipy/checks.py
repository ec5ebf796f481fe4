"""The checks of exercise 1, in the order in which a learner meets them."""

import json
import math
from pathlib import Path

from pixi_workspace.manifest import conda_specs, pypi_specs
from pixi_workspace.manifest.platforms import platforms_of
from workshop import shell
from workshop.checking import checks
from workshop.checking.checks import Check, Result, Workspace, fail, ok, skip
from workshop.checking.patches import patch
from workshop.checking.trainings import failure_reason, missing_framework, output_sha256, read_record

SCRIPT = "exclusion.py"
SOLUTION = Path(__file__).resolve().parent / "solution"
SYSTEMS = {"linux": "linux-64", "osx": "osx-arm64", "win": "win-64"}
# The same formula on the same p-values: float64 rounding of a few operations on numbers up to 1, with room.
CLS_TOLERANCE = 1e-9
COLUMNS = ("observed", *(f"expected at {n:+d} sigma" for n in range(-2, 3)))


def has_platforms(workspace: Workspace) -> Result:
    subdirs = {p.subdir for p in workspace.manifest.platforms}
    missing = [name for system, name in SYSTEMS.items() if not any(s.startswith(f"{system}-") for s in subdirs)]
    if missing:
        return fail(
            looked_at=f"platforms in {workspace.manifest.path.name}",
            expected="at least one each for Linux, macOS and Windows",
            found=f"{', '.join(sorted(subdirs)) or 'none'}; missing, for example: {', '.join(missing)}",
            next_step=f"pixi workspace platform add --no-install {' '.join(missing)}",
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


def has_test_feature(workspace: Workspace) -> Result:
    where = f"the features of {workspace.manifest.path.name}"
    features = features_with_pytest(workspace)
    if not features:
        return fail(
            looked_at=where,
            expected="a feature with pytest",
            found=f"{', '.join(workspace.manifest.features)}: none of them contains it",
            next_step="pixi add --no-install --feature test pytest",
        )
    if "default" in features:
        return fail(
            looked_at=where,
            expected="pytest in a feature of its own, which only a test environment uses",
            found="pytest among the dependencies of every environment",
            next_step="move pytest from [dependencies] to [feature.test.dependencies]",
        )
    return ok(f"pytest in the feature {features[0]}")


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
    where = f"[environments] in {workspace.manifest.path.name}"
    environments = workspace.manifest.environments
    found = work_and_test_environments(workspace)
    feature = (features_with_pytest(workspace) or ["test"])[0]
    line = f'test = {{ features = ["{feature}"], solve-group = "default" }}'
    if not found:
        add = f"pixi workspace environment add test --feature {feature} --solve-group default"
        return fail(
            looked_at=where,
            expected="an environment to work in, and a second one that adds pytest to it",
            found=f"{', '.join(environments)}: no such pair",
            next_step=f"under [environments]: {line}" if "test" in environments else add,
        )
    for work, test in found:
        group = environments[test].solve_group
        if group and environments[work].solve_group == group:
            return ok(f"{work} and {test} in the solve group {group}")
        # This is what Pixi's command writes. `default` is then in no group; check 1.5 compares the locked packages.
        if group == work == "default" and environments[work].solve_group is None:
            return ok(
                f'{test} in the solve group default; to keep it there, add: default = {{ solve-group = "default" }}'
            )
    work, test = found[0]
    groups = f"{work}: {environments[work].solve_group or 'none'}, {test}: {environments[test].solve_group or 'none'}"
    advice = f'under [environments], give {work} and {test} the same solve-group = "default"'
    return fail(
        looked_at=f"the solve groups in {where}",
        expected="the same solve group for both",
        found=groups,
        next_step=advice,
    )


def has_task(workspace: Workspace) -> Result:
    return checks.has_task_running(workspace, ("exclusion", "scan"), "limits")


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
                        next_step=f'{work} = {{ solve-group = "default" }} under [environments], then run pixi update',
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
            next_step="TODO(1.6): np.random.default_rng(seed)",
        )
    if found["first"] == found["other"]:
        advice = "TODO(1.6): seed the generator with the requested seed, not with a constant"
        return fail(
            looked_at="limits.json of --seed 1 and --seed 2",
            expected="different experiments",
            found="the same limits",
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
                    next_step="TODO(1.7): use the formula in README.md, step 1.7. To test it: `python -m pytest "
                    "test_exclusion.py` in your folder",
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
    ),
]
