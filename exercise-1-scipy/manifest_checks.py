"""What the checks of exercise 1 require of the manifest and the lock: steps 1.1 to 1.3, and 1.5."""

from dataclasses import replace
from pathlib import Path

from packaging.specifiers import SpecifierSet

from pixi_workspace.manifest import Platform, conda_specs, load, pypi_specs
from pixi_workspace.manifest.platforms import platforms_of
from workshop import shell
from workshop.checking.checks import Result, Workspace, edit, fail, ok
from workshop.checking.steps import own_package, requirements
from workshop.checking.steps.constraints import admits_any, have_no_common_version, releases
from workshop.checking.steps.python_path import VARIABLE, problem_with_path
from workshop.support.text import closest_match

SCRIPT = "exclusion.py"
SOLUTION = Path(__file__).resolve().parent / "solution"
SYSTEMS = {"linux": "linux-64", "osx": "osx-arm64", "win": "win-64"}
PYTEST = releases("8.0", "20.0")  # step 1.3: 8 or newer
PYTHON = releases("3.11", "3.14")  # `requires-python` of the code in common/
# What the scripts and the code in common/ import, by the packages of which one is enough.
NEEDED = {
    name: (name,) for name in ("numpy", "scipy", "jsonpatch", "rich", "filelock", "platformdirs", "pooch", "rocrate")
} | {"matplotlib-base": ("matplotlib-base", "matplotlib")}


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
            near = closest_match("python", requested, requirements.SIMILAR)
            found = "no python" + (f" (you request '{near}': did you mean 'python'?)" if near else "")
        elif missing := requirements.missing_for_script(workspace, name, platform, SCRIPT, NEEDED):
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


def with_changed_root(result: Result, workspace: Workspace, number: str) -> Result:
    """The result; if it failed, and the clone's own manifest or lock has changed, with the command that restores them.

    Commands of Pixi that are typed in the root of the clone change the files there. number: of the step.
    """
    exercise, root = workspace.folder.parent, workspace.folder.parent.parent
    if result.status != "fail" or not workspace.in_exercise:
        return result
    changed = (shell.git(root, "diff", "--name-only", "--", "pixi.toml", "pixi.lock") or "").split()
    if not changed:
        return result
    found = f"{result.found}; in the root of the clone, a change in {' and '.join(changed)}"
    again = (
        f"if you typed the commands of step {number} in the root, type there: git checkout -- {' '.join(changed)}; "
        f"then type them in {exercise.name}/{workspace.folder.name}; otherwise {result.next_step}"
    )
    return replace(result, found=found, next_step=again)


def systems_without(workspace: Workspace, subdirs: set[str]) -> list[str]:
    """The platforms of the workspace whose operating system is not among `subdirs`."""
    systems = {subdir.split("-")[0] for subdir in subdirs}
    return [p.name for p in workspace.manifest.platforms if p.subdir.split("-")[0] not in systems]


def problem_with_test_feature(workspace: Workspace) -> Result | None:
    """The failed result unless pytest, in a suitable version, is requested for a test environment alone."""
    where = f"the tables of {workspace.manifest.path.name}"
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
            expected="pytest in a table of the test environment",
            found="pytest among the dependencies of every environment",
            next_step=edit(workspace, "1.3"),
        )
    for feature in (f for f in requirements.all_features(workspace) if f.name in names):
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


def is_locked(workspace: Workspace) -> Result:
    if problem := requirements.problem_with_lock(workspace):
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
