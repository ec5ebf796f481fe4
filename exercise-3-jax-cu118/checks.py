"""The checks of exercise 3, in the order in which a learner meets them."""

from pathlib import Path

from rattler import Version, VersionSpec

from pixi_workspace import lock as locks
from pixi_workspace.manifest import conda_specs
from pixi_workspace.manifest.platforms import platforms_of
from pixi_workspace.platforms import identity, parse_locked
from workshop import exercises, shell
from workshop.checking import checks, starter, trainings
from workshop.checking.checks import Check, Result, Workspace, declared_cuda, fail, ok, requires_gpu, skip
from workshop.checking.patches import patch
from workshop.errors import WorkshopError

HERE = Path(__file__).resolve().parent
UNCHANGED = ("default", "cpu", "cuda12", "jax")  # the starter's environments: nothing in them may change
ADD = 'pixi add --no-install --feature cuda118 python=3.11 "cuda-version=11.8.*" "jax=0.4" "jaxlib=0.4.*=cuda118*" "flax=0.9" optax'


def supports_cuda118(platform) -> bool:
    return (declared_cuda(platform) or "").split(".")[0] == "11"


def has_cuda118_platform(workspace: Workspace) -> Result:
    declared = {p.name: declared_cuda(p) for p in workspace.manifest.platforms}
    if found := next((p.name for p in workspace.manifest.platforms if supports_cuda118(p)), None):
        return ok(f"{found} (cuda {declared[found]})")
    return fail(
        looked_at=f"platforms in {workspace.manifest.path.name}",
        expected="one for machines with an NVIDIA driver that supports CUDA 11.8",
        found=", ".join(f"{name} (cuda {cuda})" if cuda else name for name, cuda in declared.items()),
        next_step="pixi workspace platform add --no-install --feature cuda118 linux-64-cuda118=linux-64 --cuda 11.8",
    )


def requested_build(spec) -> str:
    """The build that a constraint requests; empty if it accepts any."""
    return str(spec.fields.get("build", ""))


def has_frozen_jax(workspace: Workspace) -> Result:
    """One feature requests jaxlib with a build for CUDA 11, and with it flax and optax."""
    where = f"the features of {workspace.manifest.path.name}"
    without_build = for_another_cuda = None
    for feature in checks.all_features(workspace):
        specs = {
            name: spec
            for target in feature.targets
            for table in target.dependencies.values()
            for name, spec in table.items()
        }
        if "jaxlib" not in specs:
            continue
        build = requested_build(specs["jaxlib"])
        if "cuda" not in build:
            without_build = without_build or feature.name
            continue
        if "cuda12" in build or "cuda13" in build:
            for_another_cuda = for_another_cuda or f'jaxlib with build = "{build}" in {feature.name}'
            continue
        if missing := [name for name in ("flax", "optax") if name not in specs]:
            advice = f'pixi add --no-install --feature {feature.name} "flax=0.9" optax'
            return fail(
                looked_at=where,
                expected=f"flax and optax next to jaxlib in {feature.name}",
                found=f"no {missing[0]}",
                next_step=advice,
            )
        return ok(f"jaxlib {build} in {feature.name}")
    if without_build:
        return fail(
            looked_at=where,
            expected='jaxlib with its build: { version = "0.4.*", build = "cuda118*" }',
            found=f"jaxlib in {without_build} without a build for CUDA 11.8: the builds for the CPU have the same name, and "
            "the solver takes the newest build",
            next_step=ADD,
        )
    return fail(
        looked_at=where,
        expected="a feature with jaxlib built for CUDA 11.8, flax and optax",
        found=for_another_cuda or "none",
        next_step=ADD,
    )


def frozen_environments(workspace: Workspace) -> list[tuple[str, str]]:
    """Pairs (environment, platform) that request jaxlib built for CUDA 11.8. Environments may have any name."""
    found = []
    for environment in workspace.manifest.environments.values():
        for platform in platforms_of(workspace.manifest, environment.features):
            specs = conda_specs(workspace.manifest, environment.name, platform)
            if supports_cuda118(platform) and any("cuda" in requested_build(spec) for spec in specs.get("jaxlib", [])):
                found.append((environment.name, platform.name))
    return found


def have_no_common_version(specs: list) -> bool:
    """Whether no version of Python meets all of these constraints."""
    constraints = [VersionSpec(str(spec.fields["version"])) for spec in specs if spec.fields.get("version", "*") != "*"]
    candidates = [Version(f"3.{minor}.{patch}") for minor in range(7, 20) for patch in range(30)]
    return not any(all(spec.matches(version) for spec in constraints) for version in candidates)


def has_environment(workspace: Workspace) -> Result:
    where = f"[environments] in {workspace.manifest.path.name}"
    pairs = frozen_environments(workspace)
    if not pairs:
        return fail(
            looked_at=where,
            expected="an environment with jaxlib for CUDA 11.8, on the platform with cuda 11.8",
            found=f"{', '.join(workspace.manifest.environments)}: none of them",
            next_step="pixi workspace environment add cuda118-jax --feature cuda118",
        )
    name, platform = pairs[0]
    on = next(p for p in workspace.manifest.platforms if p.name == platform)
    pythons = conda_specs(workspace.manifest, name, on).get("python", [])
    if have_no_common_version(pythons):
        return fail(
            looked_at=f"Python in the environment {name}",
            expected="constraints that one version of Python meets",
            found=" and ".join(str(spec.fields["version"]) for spec in pythons),
            next_step=f'move python = "3.12.*" from [dependencies] into the features cpu, cuda12 and jax, '
            f'or {name} = {{ features = ["cuda118"], no-default-feature = true }} and add all that train.py needs',
        )
    note = "" if requires_gpu(workspace, name) else f'; {name} does not set WORKSHOP_DEVICE = "cuda"'
    return ok(f"{name} on {platform}{note}")


def locked_records(lock: locks.Lock, name: str) -> dict[tuple, set[str]]:
    """The locked packages of an environment, one line each, by platform (what it declares, not its name)."""
    found = {}
    for row, packages in lock.environments[name].packages.items():
        platform = lock.platform(row)
        virtual_packages = filter(None, map(parse_locked, platform.virtual_packages))
        found[identity(virtual_packages, platform.subdir)] = {f"{p}  {p.sha256}" for p in packages}
    return found


def shipped_lock(scratch: Path) -> locks.Lock:
    """The starter's lock as it was shipped. Raises WorkshopError if this checkout no longer has it."""
    exercise = next(e for e in exercises.find_all(HERE.parent) if e.folder == HERE)
    path = scratch / "shipped" / "pixi.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(starter.shipped_file(exercise, "pixi.lock"))
    return locks.read(path)


def compare_with_shipped_lock(workspace: Workspace) -> Result | str:
    """A failed result if a package of the starter's lock has changed; otherwise a sentence about the comparison.

    Only pairs of environment and platform in the shipped lock are compared. The packages for the platform that this
    exercise adds are new in every environment, and the solver is free to choose them.
    """
    if missing := [name for name in UNCHANGED if name not in workspace.lock.environments]:
        if (workspace.folder.parent / "exercise.toml").is_file():
            return fail(
                looked_at="pixi.lock",
                expected=f"the environments {', '.join(UNCHANGED)} as they were",
                found=f"no {missing[0]}",
                next_step="git diff -- pixi.toml",
            )
        return "not compared with an earlier lock, since these are not the environments of exercise 2"
    try:
        before = shipped_lock(workspace.scratch)
    except WorkshopError as error:
        return skip(f"cannot tell what has changed: {error.looked_at}: {error.found}")
    for name in UNCHANGED:
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
                    next_step="git checkout -- pixi.lock  # then undo what your manifest changes in other environments, and run pixi lock",
                )
    return f"the packages of {', '.join(UNCHANGED)} are unchanged"


def is_locked(workspace: Workspace) -> Result:
    if problem := checks.problem_with_lock(workspace):
        return problem
    if not (pairs := frozen_environments(workspace)):
        return has_environment(workspace)
    for name, platform in pairs:
        packages = {p.name: p for p in workspace.lock.environments[name].packages[platform]}
        where = f"{name} on {platform}, in pixi.lock"
        for package in ("jaxlib", "jax", "flax", "optax"):
            if package not in packages:
                return fail(
                    looked_at=where, expected=f"{package}, which train.py needs", found="not locked", next_step=ADD
                )
        if not packages["jaxlib"].build.startswith("cuda118"):
            return fail(
                looked_at=f"jaxlib in {where}",
                expected="a build for CUDA 11.8 (cuda118...)",
                found=packages["jaxlib"].build,
                next_step=ADD,
            )
    compared = compare_with_shipped_lock(workspace)
    if isinstance(compared, Result):
        return compared
    return ok(f"jaxlib {packages['jaxlib'].version} {packages['jaxlib'].build}; {compared}")


def insists_on_device(workspace: Workspace) -> Result:
    script = shell.script(workspace.folder / "train.py", "--data", "digits")
    advice = f"WORKSHOP_DEVICE=cuda {script}  # TODO(3.5): device = run.jax_device()"
    if result := checks.problem_with_script(workspace, "train.py") or trainings.problem_with_gpu_request(
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
                expected=f"it {expected}",
                found=f"it {found}",
                next_step="TODO(3.5): run.assert_on(device, images=images, state=state)",
            )
    return ok(trainings.SUMMARY_WITHOUT_GPU if not (workspace.scratch / "device").exists() else "trains on the GPU")


STEPS = 46  # of one epoch of digits: 1,497 images in batches of 32


def is_reproducible(workspace: Workspace) -> Result:
    count = patch("count_network_calls", file=str(workspace.scratch / "count"))
    return checks.problem_with_script(workspace, "train.py") or trainings.same_seed_same_weights(
        workspace, "TODO(3.6): jax.random.PRNGKey(seed) in `begin`", patches=[count]
    )


def is_compiled(workspace: Workspace) -> Result:
    if missing := checks.problem_with_script(workspace, "train.py"):
        return missing
    count = workspace.scratch / "count"
    if not count.exists() or count.read_text() == "0":  # check 3.6 writes this file; it contains 0 if Flax is missing
        result = is_reproducible(workspace)
        if result.status == "skip" or not count.exists():
            return result
    times = int(count.read_text())
    if times >= STEPS:
        return fail(
            looked_at=f"train.py, one epoch of {STEPS} steps",
            expected="Python calls the network only while JAX compiles the step",
            found=f"{times} calls, at least one for each step",
            next_step="TODO(3.7): return jax.jit(train_step, donate_argnums=0)",
        )
    return ok(f"Python calls the network {times} times in {STEPS} steps: the step is compiled")


CHECKS = [
    Check(
        "3.1",
        "the workspace has a platform for CUDA 11.8",
        (
            "The driver belongs to the machine, as in step 2.1. Declare this older driver in the same way.",
            "A platform declares the oldest CUDA version that the driver must support. Here it is 11.8.",
            '{ name = "linux-64-cuda118", platform = "linux-64", cuda = "11.8" } in the list platforms',
        ),
        has_cuda118_platform,
    ),
    Check(
        "3.2",
        "a feature requests JAX built for CUDA 11.8",
        (
            "The builds of jaxlib for the CPU, CUDA 11.8 and CUDA 12 have the same name and version. How do they differ?",
            "A dependency can be a table with a version and a build. The build can end in a star.",
            'jaxlib = { version = "0.4.*", build = "cuda118*" }, with jax, flax, optax, cuda-version and python 3.11',
        ),
        has_frozen_jax,
    ),
    Check(
        "3.3",
        "an environment contains that feature, and one version of Python meets all its constraints",
        (
            "Every environment also contains the default feature. What does that feature require of Python?",
            "You can move exercise 2's pin of Python from [dependencies] to the features that need it.",
            'Put python = "3.12.*" into the features cpu, cuda12 and jax. Then add cuda118-jax = ["cuda118"].',
        ),
        has_environment,
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
    ),
]
