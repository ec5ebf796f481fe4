"""The checks of exercise 3, in the order in which a learner meets them."""

import re
import sys
from pathlib import Path
from platform import machine

from pixi_workspace import lock as locks
from pixi_workspace.manifest import CondaSpec, Feature, conda_specs, constraints
from pixi_workspace.manifest.platforms import platforms_of
from pixi_workspace.platforms import Platform, identity, major_minor, parse_locked, selector_matches
from workshop import exercises, shell
from workshop.checking import starter, trainings
from workshop.checking.checks import Check, Part, Result, Workspace, edit, fail, ok, skip
from workshop.checking.patches import patch
from workshop.checking.steps import continuation, requirements
from workshop.checking.steps.constraints import admits, admits_any, build_of, releases
from workshop.errors import WorkshopError

HERE = Path(__file__).resolve().parent
UNCHANGED = ("default", "cpu", "cuda12", "jax")  # the starter's environments: nothing in them may change
# The starter's platforms with a driver: the CUDA version by (name, subdir).
DRIVERS = {(f"{subdir}-cuda12", subdir): "12.0" for subdir in ("linux-64", "linux-aarch64", "win-64")}
PYTHONS = releases("3.7", "3.19")
KEPT_PYTHON = "3.12"  # of the starter's environments with packages of their own
SUBDIR = "linux-64"  # the only one for which conda-forge built JAX for CUDA 11.8
# What conda-forge has of it: the releases of jaxlib, and for each Python the names of builds (here two of many).
JAXLIB_CUDA118 = [f"0.4.{patch}" for patch in range(13, 27)]
BUILDS_CUDA118 = [
    f"cuda118py3{minor}h{digest}_{number}"
    for minor in (9, 10, 11, 12)
    for digest in ("63154d8", "51ffd5a")
    for number in (200, 201)
]
EXACT_BUILD = re.compile(r"cuda118py3\d+h[0-9a-f]{7}_\d+")
CUDA_118 = [("11.8", "h70ddcb2_3"), ("11.8", "h70ddcb2_2")]
PYTHON_311 = releases("3.11", "3.11")  # flax needs tensorstore, which fits this jaxlib only for Python 3.11
FLAX, LATER_FLAX, OPTAX = releases("0.9", "0.9"), releases("0.10", "0.20"), releases("0.2", "0.2")


def supports_cuda118(platform: Platform) -> bool:
    """Whether a platform is for machines whose driver supports CUDA 11.8, but need not support CUDA 12."""
    return major_minor(requirements.declared_cuda(platform) or "0") >= (11, 8) and major_minor(
        requirements.declared_cuda(platform) or "0"
    ) < (12, 0)


def problem_with_drivers(workspace: Workspace) -> Result | None:
    """The failed result if a platform of the starter declares another CUDA now, or is gone.

    A platform may have another name, because Pixi compares what the platforms declare.
    """
    where, advice = f"{workspace.at('workspace', 'platforms')}: platforms", "leave it, and add an entry"
    expected = "the platforms of the starter as they were, and one more"
    strict = workspace.in_exercise and not is_continued(workspace)  # elsewhere, a newer driver may have this name
    declared = {(p.name, p.subdir): requirements.declared_cuda(p) for p in workspace.manifest.platforms}
    for (name, subdir), cuda in DRIVERS.items():
        now = declared.get((name, subdir), cuda)
        if now is None or major_minor(now) < (12, 0) or (strict and major_minor(now) != major_minor(cuda)):
            found = f"{name} now declares {f'cuda {now}' if now else 'no cuda'}"
            return fail(
                looked_at=where, expected=expected, found=found, next_step=f"{advice}: cuda {cuda} belongs here"
            )
        of_system = [version for (_, other), version in declared.items() if other == subdir and version]
        kept = any(major_minor(version) == major_minor(cuda) for version in of_system)
        if strict and not kept:
            found = f"no platform for {subdir} with cuda {cuda}: the starter's {name} is gone"
            return fail(looked_at=where, expected=expected, found=found, next_step="git diff -- pixi.toml")
    return None


def has_cuda118_platform(workspace: Workspace) -> Result:
    if problem := problem_with_drivers(workspace):
        return problem
    declared = {p.name: requirements.declared_cuda(p) for p in workspace.manifest.platforms}
    suitable = [p for p in workspace.manifest.platforms if supports_cuda118(p)]
    if found := next((p.name for p in suitable if p.subdir == SUBDIR), None):
        return ok(f"{found} (cuda {declared[found]})")
    where = workspace.at("workspace", "platforms", *(p.name for p in suitable[:1]))
    listed = ", ".join(f"{name} (cuda {cuda})" if cuda else name for name, cuda in declared.items())
    return fail(
        looked_at=f"{where}: platforms",
        expected="one for machines with an NVIDIA driver that supports CUDA 11.8, and on Linux: conda-forge built this "
        "JAX for no other system",
        found=f"{suitable[0].name} is {suitable[0].subdir}" if suitable else listed,
        next_step=edit(workspace, "3.1"),
    )


def is_frozen(spec: CondaSpec) -> bool:
    """Whether a constraint on jaxlib requests a build for CUDA 11.8, which conda-forge has."""
    build = build_of(spec)
    builds = [build] if EXACT_BUILD.fullmatch(build) else BUILDS_CUDA118
    return "cuda" in build and any(admits([spec], version, name) for version in JAXLIB_CUDA118 for name in builds)


def problem_with_frozen_jax(specs: dict[str, list[CondaSpec]]) -> tuple[str, str, str] | None:
    """What is wrong with a feature that requests jaxlib for CUDA 11.8: the package, what was expected, what was found."""
    for name in ("flax", "optax"):
        if name not in specs:
            return "jaxlib", f"{name} next to it", f"no {name}"
    if exact := requirements.exact_by_mistake(specs.get("jax", ()), ("0.4",)):
        return "jax", "the newest release 0.4 that fits", exact
    if admits_any(specs["flax"], LATER_FLAX):
        found = f"{' and '.join(map(str, specs['flax']))}, which also admits flax 0.10: Pixi would choose that"
        return "flax", "flax 0.9, of the time of this jaxlib", found
    for name, admitted, expected in (
        ("cuda-version", any(admits(specs.get("cuda-version", ()), *pair) for pair in CUDA_118), "CUDA 11.8"),
        ("python", admits_any(specs.get("python", ()), PYTHON_311), "Python 3.11, for which flax's tensorstore exists"),
        ("jax", admits_any(specs.get("jax", ()), JAXLIB_CUDA118), "a release of the time of this jaxlib (0.4.*)"),
        ("flax", admits_any(specs["flax"], FLAX), "flax 0.9, of the time of this jaxlib"),
        ("optax", admits_any(specs["optax"], OPTAX), "optax 0.2, of the time of this jaxlib"),
    ):
        if not admitted:
            return name, expected, " and ".join(map(str, specs[name]))
    return None


def has_frozen_jax(workspace: Workspace) -> Result:
    """One feature requests jaxlib with a build for CUDA 11.8, and with it flax and optax."""
    where, advice = f"the features of {workspace.manifest.path.name}", edit(workspace, "3.2")
    without_build = for_another_cuda = None
    for feature in requirements.all_features(workspace):
        specs: dict[str, list[CondaSpec]] = {}
        for target in feature.targets:
            for table in target.dependencies.values():
                for name, spec in table.items():
                    specs.setdefault(name, []).append(spec)
        if "jaxlib" not in specs:
            continue
        build = next(filter(None, map(build_of, specs["jaxlib"])), "")
        if "cuda" not in build:
            without_build = without_build or feature.name
            continue
        if not all(is_frozen(spec) for spec in specs["jaxlib"]):
            found = " and ".join(map(str, specs["jaxlib"]))
            wrong = f"{found} in {feature.name}, which no build for CUDA 11.8 satisfies"
            if exact := requirements.exact_by_mistake(specs["jaxlib"], ("0.4",)):
                wrong = f"{wrong}: {exact}"
            for_another_cuda = for_another_cuda or (wrong, feature.name)
            continue
        if problem := problem_with_frozen_jax(specs):
            name, expected, found = problem
            return fail(
                looked_at=f"{workspace.at('feature', feature.name, 'dependencies', name)}: {name} in {feature.name}",
                expected=expected,
                found=found,
                next_step=advice,
            )
        if problem := problem_with_platforms(workspace, feature) or requirements.problem_with_device(
            workspace, feature, "3.2"
        ):
            return problem
        return ok(f"jaxlib {build} in {feature.name}")
    if without_build:
        return fail(
            looked_at=f"{workspace.at('feature', without_build, 'dependencies', 'jaxlib')}: jaxlib in {without_build}",
            expected="jaxlib with the name of its build",
            found=f"jaxlib in {without_build} without a build for CUDA 11.8: the builds for the CPU have the same name, and "
            "the solver chooses the newest version that fits, whatever its build",
            next_step=advice,
        )
    if for_another_cuda:
        where = f"{workspace.at('feature', for_another_cuda[1], 'dependencies', 'jaxlib')}: jaxlib"
    return fail(
        looked_at=where,
        expected="a feature with jaxlib built for CUDA 11.8, flax and optax",
        found=for_another_cuda[0] if for_another_cuda else "none",
        next_step=advice,
    )


def problem_with_platforms(workspace: Workspace, feature: Feature) -> Result | None:
    """The failed result unless the feature's jaxlib is requested for the platform of step 3.1, and nowhere without CUDA.

    Another feature may restrict the platforms, if every environment with the first one has the other one as well.
    """
    requested = [
        platform
        for platform in requirements.platforms_for(workspace, feature)
        for target in feature.targets
        if any("jaxlib" in table for table in target.dependencies.values())
        and (target.selector is None or selector_matches(target.selector, platform))
    ]
    wrong = [
        p.name for p in requested if p.subdir != SUBDIR or major_minor(requirements.declared_cuda(p) or "0") < (11, 8)
    ]
    if not wrong and any(map(supports_cuda118, requested)):
        return None
    listed = ", ".join(dict.fromkeys(p.name for p in requested)) or "none"
    if feature.platforms is None and wrong:
        found = f"{feature.name} has no platforms of its own, so Pixi would also solve it for {', '.join(wrong)}"
    else:
        found = f"{feature.name} is for {listed}"
    return fail(
        looked_at=f"{workspace.at('feature', feature.name, 'platforms')}: the platforms of {feature.name}",
        expected="the platform with cuda 11.8, since these packages need a driver",
        found=found,
        next_step=edit(workspace, "3.2"),
    )


def frozen_environments(workspace: Workspace) -> list[tuple[str, str]]:
    """Pairs (environment, platform) that request jaxlib built for CUDA 11.8. Environments may have any name."""
    found = []
    for environment in workspace.manifest.environments.values():
        for platform in platforms_of(workspace.manifest, environment.features):
            specs = conda_specs(workspace.manifest, environment.name, platform)
            jaxlib = specs.get("jaxlib", [])
            if supports_cuda118(platform) and platform.subdir == SUBDIR and any(map(is_frozen, jaxlib)):
                found.append((environment.name, platform.name))
    return found


def elsewhere(workspace: Workspace) -> str:
    """On which platforms an environment requests the frozen JAX nevertheless, for a message about the wrong ones."""
    for environment in workspace.manifest.environments.values():
        found = [
            platform.name
            for platform in platforms_of(workspace.manifest, environment.features)
            if any(map(is_frozen, conda_specs(workspace.manifest, environment.name, platform).get("jaxlib", [])))
        ]
        if found:
            return f"; {environment.name} has it on {', '.join(found)}, so look at the platforms of its features"
    return ""


def environments_with_another_jax(workspace: Workspace) -> set[str]:
    """The environments with a JAX that is not for CUDA 11.8, on a platform without CUDA."""
    return {
        environment.name
        for environment in workspace.manifest.environments.values()
        for platform in platforms_of(workspace.manifest, environment.features)
        if not requirements.declared_cuda(platform)
        and "jax" in conda_specs(workspace.manifest, environment.name, platform)
    }


def python_tables(workspace: Workspace, environment: str) -> str:
    """The features of an environment that constrain Python, each with its constraint."""
    found = []
    for feature in workspace.manifest.environments[environment].features:
        for target in feature.targets:
            for table in target.dependencies.values():
                if "python" in table:
                    where = "[dependencies]" if feature.name == "default" else f"the feature {feature.name}"
                    found.append(f"{table['python'].fields.get('version', '*')} in {where}")
    return " and ".join(found)


def kept_environments(workspace: Workspace) -> tuple[str, ...]:
    """The environments in which nothing may change: those of the shipped starter, or of the learner's exercise 2."""
    return tuple(earlier_lock(workspace).environments) if is_continued(workspace) else UNCHANGED


def kept_pythons(workspace: Workspace) -> dict[str, str]:
    """The Python that each of these environments must keep, such as "3.12". `default` is free: no script runs in it."""
    pythons = dict.fromkeys(kept_environments(workspace), KEPT_PYTHON)
    if is_continued(workspace):
        for name, environment in earlier_lock(workspace).environments.items():
            versions = [p.version for packages in environment.packages.values() for p in packages if p.name == "python"]
            pythons[name] = ".".join(map(str, major_minor(versions[0]))) if versions else KEPT_PYTHON
    return {name: python for name, python in pythons.items() if name != "default"}


def problem_with_kept_python(workspace: Workspace) -> Result | None:
    """The failed result if an environment of the starter admits another Python than before.

    A workspace from elsewhere, without these environments, is not judged.
    """
    manifest, kept = workspace.manifest, kept_pythons(workspace)
    if not workspace.in_exercise and not manifest.environments.keys() >= set(kept):
        return None
    for name, python in ((name, python) for name, python in kept.items() if name in manifest.environments):
        features = manifest.environments[name].features
        for platform in platforms_of(manifest, features):
            specs = conda_specs(manifest, name, platform).get("python", [])
            limits = [*specs, *constraints(manifest, name, platform).get("python", [])]
            admitted = [version for version in PYTHONS if admits(limits, version)]
            other = [version for version in admitted if not version.startswith(f"{python}.")]
            if admitted and not other:
                continue
            found = f"{name} admits no Python at all: {python_tables(workspace, name)}"
            if other:
                newer = [version for version in other if major_minor(version) > major_minor(python)]
                shown = ".".join(map(str, major_minor((newer or other[-1:])[0])))
                found = f"{name} admits Python {shown}: {python_tables(workspace, name) or 'no requirement'}"
            feature = next((f.name for f in features if f.name != "default"), name)
            return fail(
                looked_at=f"{workspace.at('environments', name)}: Python in the environment {name}",
                expected=f"Python {python} alone, as before",
                found=found,
                next_step=f"move the pin {python}.* into [feature.{feature}.dependencies], and let [dependencies] admit "
                f"3.11 and {python}",
            )
    return None


def has_environment(workspace: Workspace) -> Result:
    where, advice = f"{workspace.at('environments')}: [environments]", edit(workspace, "3.3")
    pairs = frozen_environments(workspace)
    if not pairs:
        return fail(
            looked_at=where,
            expected="an environment with jaxlib for CUDA 11.8, on the platform with cuda 11.8",
            found=f"none of the environments {', '.join(workspace.manifest.environments)}{elsewhere(workspace)}",
            next_step=advice,
        )
    frozen = {name for name, _ in pairs}
    if wrong := requirements.misnamed_environment(workspace, frozen, environments_with_another_jax(workspace)):
        return fail(
            looked_at=where,
            expected="environments with the packages that their names promise",
            found=wrong,
            next_step=advice,
        )
    name, platform = pairs[0]
    on = next(p for p in workspace.manifest.platforms if p.name == platform)
    pythons = conda_specs(workspace.manifest, name, on).get("python", [])
    if not admits_any(pythons, PYTHONS):
        return fail(
            looked_at=f"{workspace.at('dependencies', 'python')}: Python in the environment {name}",
            expected="constraints that one version of Python meets",
            found=f"{' and '.join(str(spec.fields['version']) for spec in pythons)}: {python_tables(workspace, name)}",
            next_step=advice,
        )
    if problem := problem_with_kept_python(workspace):
        return problem
    if missing := requirements.missing_for_script(workspace, name, on, "train.py", trainings.NEEDED):
        return fail(
            looked_at=f"{workspace.at('environments', name)}: the environment {name}",
            expected="the packages that train.py needs",
            found=f"no {', '.join(missing)}",
            next_step=advice,
        )
    if not requirements.requires_gpu(workspace, name):
        return fail(
            looked_at=f"{workspace.at('environments', name)}: the environment {name}",
            expected=f"{workspace.device_variable} set to cuda by its activation",
            found=f"{requirements.device_set_by(workspace, workspace.manifest.environments[name].features) or 'not set'}",
            next_step=edit(workspace, "3.2"),
        )
    return ok(f"{name} on {platform}")


def locked_records(lock: locks.Lock, name: str) -> dict[tuple, set[str]]:
    """The locked packages of an environment, one line each, by platform (what it declares, not its name)."""
    found = {}
    for row, packages in lock.environments[name].packages.items():
        platform = lock.platform(row)
        virtual_packages = filter(None, map(parse_locked, platform.virtual_packages))
        found[identity(virtual_packages, platform.subdir)] = {f"{p}  {p.sha256}" for p in packages}
    return found


def this_exercise() -> exercises.Exercise:
    return next(e for e in exercises.find_all(HERE.parent) if e.folder == HERE)


def shipped_lock(scratch: Path) -> locks.Lock:
    """The starter's lock as it was shipped. Raises WorkshopError if this checkout no longer has it."""
    exercise = this_exercise()
    path = scratch / "shipped" / "pixi.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(starter.shipped_file(exercise, "pixi.lock"))
    return locks.read(path)


def earlier_lock(workspace: Workspace) -> locks.Lock:
    """The lock from which the learner continues: of their exercise 2 (`workshop reset 3 --from`), or the shipped one."""
    base = continuation.base_lock(this_exercise())
    return locks.read(base) if is_continued(workspace) else shipped_lock(workspace.scratch)


def is_continued(workspace: Workspace) -> bool:
    """Whether this is the starter, and continues from the learner's own exercise 2."""
    exercise = this_exercise()
    return workspace.folder == exercise.workspace.resolve() and continuation.base_lock(exercise).is_file()


def compare_with_shipped_lock(workspace: Workspace) -> Result | str:
    """A failed result if a package of the earlier lock has changed; otherwise a sentence about the comparison.

    Only pairs of environment and platform in the shipped lock are compared. The packages for the platform that this
    exercise adds are new in every environment, and the solver is free to choose them.
    """
    unchanged = kept_environments(workspace)
    if missing := [name for name in unchanged if name not in workspace.lock.environments]:
        if workspace.in_exercise:
            return fail(
                looked_at="pixi.lock",
                expected=f"the environments {', '.join(unchanged)} as they were",
                found=f"no {missing[0]}",
                next_step="git diff -- pixi.toml",
            )
        return "not compared with an earlier lock, since these are not the environments of exercise 2"
    try:
        before = earlier_lock(workspace)
    except WorkshopError as error:
        return skip(f"cannot tell what has changed: {error.looked_at}: {error.found}")
    for name in unchanged:
        was, now = locked_records(before, name), locked_records(workspace.lock, name)
        for platform in was.keys() & now.keys():
            gone, new = sorted(was[platform] - now[platform]), sorted(now[platform] - was[platform])
            if gone or new:
                changes = [
                    f"{text.split('  ')[0]} {word}"
                    for word, texts in (("removed", gone), ("added", new))
                    for text in texts
                ]
                return fail(
                    looked_at=f"the packages locked for {name} on {platform[0]}",
                    expected="exactly the same packages as before",
                    found=f"{len(gone)} removed and {len(new)} added: {', '.join(changes[:3])}",
                    next_step="git checkout -- pixi.lock  # then undo what your manifest changes elsewhere, and run pixi lock",
                )
    return f"the packages of {', '.join(unchanged)} are unchanged"


def is_locked(workspace: Workspace) -> Result:
    if problem := requirements.problem_with_lock(workspace):
        return problem
    if not (pairs := frozen_environments(workspace)):
        return has_environment(workspace)
    for name, platform in pairs:
        packages = {p.name: p for p in workspace.lock.environments[name].packages[platform]}
        where = f"{name} on {platform}, in pixi.lock"
        for package in ("jaxlib", "jax", "flax", "optax"):
            if package not in packages:
                return fail(
                    looked_at=where,
                    expected=f"{package}, which train.py needs",
                    found="not locked",
                    next_step=edit(workspace, "3.2"),
                )
        if not packages["jaxlib"].build.startswith("cuda118"):
            return fail(
                looked_at=f"jaxlib in {where}",
                expected="a build for CUDA 11.8 (cuda118...)",
                found=packages["jaxlib"].build,
                next_step=edit(workspace, "3.2"),
            )
    compared = compare_with_shipped_lock(workspace)
    if isinstance(compared, Result):
        return compared
    return ok(f"jaxlib {packages['jaxlib'].version} {packages['jaxlib'].build}; {compared}")


def insists_on_device(workspace: Workspace) -> Result:
    script = shell.script(workspace.folder / "train.py", "--data", "digits")
    advice = f"{workspace.device_variable}=cuda {script}  # after you edited the lines of TODO(3.5)"
    if result := requirements.problem_with_script(workspace, "train.py") or trainings.problem_with_gpu_request(
        workspace, advice
    ):
        return result
    for name, moved, expected in (
        ("arrays that stayed on the CPU", False, "stops"),
        ("arrays on the GPU", True, "trains on cuda"),
    ):
        folder = workspace.scratch / name.replace(" ", "-")
        gpu = patch("simulated_gpu_jax", moved=moved)
        found = trainings.action_on_simulated_gpu(workspace, folder, "cuda", gpu)
        if found != expected:
            return fail(
                looked_at=f"train.py on a simulated GPU: {name}",
                expected=f"the script {expected}",
                found=f"the script {found}",
                next_step=edit(workspace, "3.5", "train.py"),
            )
    return ok(trainings.SUMMARY_WITHOUT_GPU if not (workspace.scratch / "device").exists() else "trains on the GPU")


STEPS = 46  # of one epoch of digits: 1,497 images in batches of 32
WEIGHTS = 8  # arrays of weights in the state: kernel and bias of four layers


def is_reproducible(workspace: Workspace) -> Result:
    count = patch("count_network_calls", file=str(workspace.scratch / "count"))
    donations = patch("record_donations", file=str(workspace.scratch / "donated"))
    return requirements.problem_with_script(workspace, "train.py") or trainings.same_seed_same_weights(
        workspace, edit(workspace, "3.6", "train.py"), patches=[count, donations]
    )


def is_compiled(workspace: Workspace) -> Result:
    if missing := requirements.problem_with_script(workspace, "train.py"):
        return missing
    count = workspace.scratch / "count"
    if not count.exists() or count.read_text() == "0":  # check 3.6 writes this file; it contains 0 if Flax is missing
        seen = len(workspace.faults)
        result = is_reproducible(workspace)
        if result.status == "skip" or not count.exists() or len(workspace.faults) > seen:
            return result
    times = int(count.read_text())
    if times >= STEPS:
        return fail(
            looked_at=f"train.py, one epoch of {STEPS} steps",
            expected="Python calls the network only while JAX compiles the step",
            found=f"{times} calls, at least one for each step",
            next_step=edit(workspace, "3.7", "train.py"),
        )
    donated = int((workspace.scratch / "donated").read_text())
    if donated < WEIGHTS:
        return fail(
            looked_at="train.py, the compiled step",
            expected="it donates its old state, so that the new one reuses the memory",
            found=f"{donated} {'array is' if donated == 1 else 'arrays are'} donated; the state contains {WEIGHTS} arrays of weights, and the optimizer's",
            next_step=edit(workspace, "3.7", "train.py"),
        )
    return ok(
        f"Python calls the network {times} times in {STEPS} steps: the step is compiled, and reuses {donated} arrays"
    )


def is_run(workspace: Workspace) -> Result:
    if missing := requirements.problem_with_script(workspace, "train.py"):
        return missing
    if sys.platform == "win32" or (sys.platform == "linux" and machine() != "x86_64"):
        return skip("conda-forge has no JAX for this system")
    task = "train --data digits --epochs 1"
    return trainings.has_run_in_own_environment(workspace, "train.py", HERE.name, task)


CHECKS = [
    Check(
        "3.1",
        "the workspace has a platform for CUDA 11.8",
        (
            "The driver belongs to the machine, as in step 2.1. Declare this older driver in the same way.",
            "A platform declares the oldest CUDA version that the driver must support. Add one for 11.8; change no other.",
            '{ name = "linux-64-cuda118", platform = "linux-64", cuda = "11.8" } in the list platforms',
        ),
        has_cuda118_platform,
        Part(tables=("workspace.platforms",)),
    ),
    Check(
        "3.2",
        "a feature requests JAX built for CUDA 11.8",
        (
            "The builds of jaxlib for the CPU, CUDA 11.8 and CUDA 12 have the same name and version. How do they differ?",
            'A dependency can be a table: NAME = { version = "...", build = "..." }. A build may end in a star.',
            'jaxlib = { version = "0.4.*", build = "cuda118*" }, with jax, flax, optax, cuda-version and python 3.11',
        ),
        has_frozen_jax,
        Part(tables=("feature",)),
    ),
    Check(
        "3.3",
        "an environment contains that feature, and one version of Python meets all its constraints",
        (
            "Every environment also contains the default feature. What does that feature require of Python?",
            "You can move exercise 2's pin of Python from [dependencies] to the features that need it.",
            'python = ">=3.11,<3.14" in [dependencies], "3.12.*" in the features cpu, cuda12 and jax, and cuda118-jax = '
            '["cuda118"].',
        ),
        has_environment,
        Part(tables=("environments", "dependencies.python")),
    ),
    Check(
        "3.4",
        "the lock is up to date, contains the CUDA 11.8 build, and leaves the other environments unchanged",
        (
            "`pixi lock` keeps what still satisfies the manifest. What did you change in the other environments?",
            "If you changed nothing else, `git diff --text pixi.lock` shows only added lines.",
            "Leave numpy and the other packages in [dependencies] as they are. The packages for JAX belong in its feature.",
        ),
        is_locked,
        needs_pixi=True,
    ),
    Check(
        "3.5",
        "the script stops if the requested GPU is missing",
        (
            "jax.devices()[0] is JAX's own choice. Which device does the environment require?",
            "As in exercise 2, the object `run` has methods to get the requested device and to check it.",
            "device = run.jax_device(), and run.assert_on(device, images=images, state=state)",
        ),
        insists_on_device,
        Part(functions=("train",)),
    ),
    Check(
        "3.6",
        "the same seed gives the same weights",
        (
            "JAX has no global random state. Where does the randomness come from?",
            "A key is made from a number. The same key always gives the same random numbers.",
            "Net().init(jax.random.PRNGKey(seed), ...) in `begin`",
        ),
        is_reproducible,
        Part(functions=("begin",)),
    ),
    Check(
        "3.7",
        "the training step is compiled",
        (
            "Without jax.jit, Python sends every operation to the device one at a time.",
            "A compiled function can also reuse the memory of its old arguments, if you donate them.",
            "return jax.jit(train_step, donate_argnums=0)",
        ),
        is_compiled,
        Part(functions=("make_train_step",), words=("donate", "been deleted")),
    ),
    Check(
        "3.8",
        "you trained in your own environment",
        (
            "run.json records the environment of a run, and the sha256 of its lock. Is this the lock that you have now?",
            "Start the task with `pixi run` in the folder of your workspace. After every change of the lock, run it again.",
            "In exercise-3-jax-cu118/starter: pixi run train --data digits --epochs 1",
        ),
        is_run,
        needs_pixi=True,
    ),
]
