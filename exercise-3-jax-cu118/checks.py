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
        expected="one for machines whose NVIDIA driver supports CUDA 11.8",
        found=", ".join(f"{name} (cuda {cuda})" if cuda else name for name, cuda in declared.items()),
        next_step="pixi workspace platform add --no-install --feature cuda118 linux-64-cuda118=linux-64 --cuda 11.8",
    )


def requested_build(spec) -> str:
    """The build that a constraint asks for; empty where it takes any."""
    return str(spec.fields.get("build", ""))


def has_frozen_jax(workspace: Workspace) -> Result:
    """In some feature: jaxlib with a build for CUDA, and not for another CUDA than 11; flax and optax beside it."""
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
                expected=f"flax and optax beside jaxlib in {feature.name}",
                found=f"no {missing[0]}",
                next_step=advice,
            )
        return ok(f"jaxlib {build} in {feature.name}")
    if without_build:
        return fail(
            looked_at=where,
            expected='jaxlib with its build: { version = "0.4.*", build = "cuda118*" }',
            found=f"jaxlib in {without_build} without a build for CUDA 11.8: the builds for the CPU bear the same name, and "
            "the solver takes the newest",
            next_step=ADD,
        )
    return fail(
        looked_at=where,
        expected="a feature with jaxlib built for CUDA 11.8, flax and optax",
        found=for_another_cuda or "none",
        next_step=ADD,
    )


def frozen_environments(workspace: Workspace) -> list[tuple[str, str]]:
    """(environment, platform) where jaxlib built for CUDA 11.8 is asked for. Names of environments are free."""
    found = []
    for environment in workspace.manifest.environments.values():
        for platform in platforms_of(workspace.manifest, environment.features):
            specs = conda_specs(workspace.manifest, environment.name, platform)
            if supports_cuda118(platform) and any("cuda" in requested_build(spec) for spec in specs.get("jaxlib", [])):
                found.append((environment.name, platform.name))
    return found


def have_no_common_version(specs: list) -> bool:
    """Whether no Python meets all of these constraints."""
    constraints = [VersionSpec(str(spec.fields["version"])) for spec in specs if spec.fields.get("version", "*") != "*"]
    candidates = [Version(f"3.{minor}.{patch}") for minor in range(7, 20) for patch in range(30)]
    return not any(all(spec.matches(version) for spec in constraints) for version in candidates)


def has_environment(workspace: Workspace) -> Result:
    where = f"[environments] in {workspace.manifest.path.name}"
    pairs = frozen_environments(workspace)
    if not pairs:
        return fail(
            looked_at=where,
            expected="an environment that has jaxlib for CUDA 11.8, on the platform with cuda 11.8",
            found=f"{', '.join(workspace.manifest.environments)}: none of them",
            next_step="pixi workspace environment add cuda118-jax --feature cuda118",
        )
    name, platform = pairs[0]
    on = next(p for p in workspace.manifest.platforms if p.name == platform)
    pythons = conda_specs(workspace.manifest, name, on).get("python", [])
    if have_no_common_version(pythons):
        return fail(
            looked_at=f"Python in the environment {name}",
            expected="constraints that one Python meets",
            found=" and ".join(str(spec.fields["version"]) for spec in pythons),
            next_step=f'move python = "3.12.*" from [dependencies] into the features cpu, cuda12 and jax, '
            f'or {name} = {{ features = ["cuda118"], no-default-feature = true }} with all that train.py needs',
        )
    note = "" if requires_gpu(workspace, name) else f'; {name} does not set WORKSHOP_DEVICE = "cuda"'
    return ok(f"{name} on {platform}{note}")


def locked_records(lock: locks.Lock, name: str) -> dict[tuple, set[str]]:
    """What is locked for an environment: by platform, told apart by its content, a line for each package."""
    found = {}
    for row, packages in lock.environments[name].packages.items():
        platform = lock.platform(row)
        virtual_packages = filter(None, map(parse_locked, platform.virtual_packages))
        found[identity(virtual_packages, platform.subdir)] = {f"{p}  {p.sha256}" for p in packages}
    return found


def shipped_lock(scratch: Path) -> locks.Lock:
    """The lock that the starter came with. Raises WorkshopError where this checkout does not have it any more."""
    exercise = next(e for e in exercises.find_all(HERE.parent) if e.folder == HERE)
    path = scratch / "shipped" / "pixi.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(starter.shipped_file(exercise, "pixi.lock"))
    return locks.read(path)


def compare_with_shipped_lock(workspace: Workspace) -> Result | str:
    """A failed result where a package that the starter came with is locked otherwise now; else some words.

    Compared are the pairs of environment and platform that the starter's lock had. What is locked for the platform
    that this exercise adds is new in every environment, and the solver's choice.
    """
    if missing := [name for name in UNCHANGED if name not in workspace.lock.environments]:
        if (workspace.folder.parent / "exercise.toml").is_file():
            return fail(
                looked_at="pixi.lock",
                expected=f"the environments {', '.join(UNCHANGED)} as they were",
                found=f"no {missing[0]}",
                next_step="git diff -- pixi.toml",
            )
        return "not compared with an earlier lock, since the environments are not exercise 2's"
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
                    f"{text.split('  ')[0]} {word}" for word, texts in (("gone", gone), ("new", new)) for text in texts
                ]
                return fail(
                    looked_at=f"what is locked for {name} on {platform[0]}",
                    expected="the packages of before, one by one",
                    found=f"{len(gone)} gone and {len(new)} new: {', '.join(changes[:3])}",
                    next_step="git checkout -- pixi.lock  # then undo what the manifest asks of other environments, and pixi lock",
                )
    return f"the packages of {', '.join(UNCHANGED)} are those of before"


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
        ("arrays that stayed on the CPU", False, "stop"),
        ("arrays on the GPU", True, "train on cuda"),
    ):
        folder = workspace.scratch / name.replace(" ", "-")
        gpu = patch("simulated_gpu_jax", moved=moved)
        found = trainings.action_on_simulated_gpu(workspace, folder, "cuda", gpu)
        if found != expected:
            return fail(
                looked_at=f"train.py where the GPU is only simulated: {name}",
                expected=f"the script to {expected}",
                found=f"it did {found}",
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
    if not count.exists() or count.read_text() == "0":  # check 3.6 leaves it there; 0: without Flax, say
        result = is_reproducible(workspace)
        if result.status == "skip" or not count.exists():
            return result
    times = int(count.read_text())
    if times >= STEPS:
        return fail(
            looked_at=f"train.py, one epoch of {STEPS} steps",
            expected="Python to walk through the network only while it is compiled",
            found=f"{times} times, once a step and more",
            next_step="TODO(3.7): return jax.jit(train_step, donate_argnums=0)",
        )
    return ok(f"Python walks through the network {times} times in {STEPS} steps: the step is compiled")


CHECKS = [
    Check(
        "3.1",
        "the workspace has a platform for CUDA 11.8",
        (
            "An older driver is a property of a machine, as in step 2.1.",
            "A platform declares the least that the driver must support: here it is 11.8.",
            '{ name = "linux-64-cuda118", platform = "linux-64", cuda = "11.8" } in the list platforms',
        ),
        has_cuda118_platform,
    ),
    Check(
        "3.2",
        "a feature asks for JAX built for CUDA 11.8",
        (
            "jaxlib for the CPU, for CUDA 11.8 and for CUDA 12 bear one name and one version. What tells them apart?",
            "A dependency may be a table with a version and a build; the build may end in a star.",
            'jaxlib = { version = "0.4.*", build = "cuda118*" }, with jax, flax, optax, cuda-version and python 3.11',
        ),
        has_frozen_jax,
    ),
    Check(
        "3.3",
        "an environment holds it, and one Python meets all its constraints",
        (
            "An environment has the default feature, too. What does that say about Python?",
            "The pin of exercise 2 can stand in the features that need it instead of in [dependencies].",
            'python = "3.12.*" into the features cpu, cuda12 and jax; then cuda118-jax = ["cuda118"]',
        ),
        has_environment,
    ),
    Check(
        "3.4",
        "the lock fits, holds the CUDA 11.8 build, and the other environments are as before",
        (
            "`pixi lock` keeps what still satisfies the manifest. What did you ask of the other environments?",
            "git diff pixi.lock shows only additions where nothing else was touched.",
            "Leave numpy and all others in [dependencies] as they are; what JAX needs goes into its feature.",
        ),
        is_locked,
    ),
    Check(
        "3.5",
        "the script stops where the GPU that it was promised is missing",
        (
            "jax.devices()[0] is what JAX likes best. What did the environment promise?",
            "`run` chooses and asserts, as in exercise 2.",
            "device = run.jax_device(), and run.assert_on(device, images=images, state=state)",
        ),
        insists_on_device,
    ),
    Check(
        "3.6",
        "the same seed gives the same weights",
        (
            "JAX keeps no random state. Where does randomness come from?",
            "A key is made from a number, and the same key draws the same numbers.",
            "Net().init(jax.random.PRNGKey(seed), ...) in `begin`",
        ),
        is_reproducible,
    ),
    Check(
        "3.7",
        "the training step is compiled",
        (
            "Without jax.jit every operation goes to the device by itself, through Python.",
            "A compiled function may also give up its old arguments, so that their memory is used again.",
            "return jax.jit(train_step, donate_argnums=0)",
        ),
        is_compiled,
    ),
]
