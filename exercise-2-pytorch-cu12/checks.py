"""The checks of exercise 2, in the order in which a learner meets them."""

from pathlib import Path

from pixi_workspace.manifest import CondaSpec, Feature, conda_specs
from pixi_workspace.manifest.platforms import platforms_of
from pixi_workspace.platforms import major_minor, selector_matches
from workshop import shell
from workshop.checking import trainings
from workshop.checking.checks import Check, Part, Result, Workspace, edit, fail, ok
from workshop.checking.patches import patch
from workshop.checking.steps import requirements
from workshop.checking.steps.constraints import admits, admits_any, releases

TORCH = ("pytorch", "pytorch-cpu", "pytorch-gpu")
CUDA_SUBDIRS = ("linux-64", "linux-aarch64", "win-64")  # where CUDA exists, and conda-forge builds PyTorch for it
CPU_SUBDIRS = (*CUDA_SUBDIRS, "osx-arm64")
# Releases of pytorch-gpu that require no driver, with their builds. The solver chooses one of them on a platform that
# declares no CUDA, unless a bound excludes them.
WITHOUT_DRIVER = [
    (f"1.{minor}.0", build) for minor in range(6, 14) for build in ("cuda111py310h385535d_1", "cuda112_1")
]
CUDA_12 = releases("12.0", "12.20")
MINOR_TORCH = [f"2.{minor}" for minor in range(30)]


def torch_environments(workspace: Workspace, gpu: bool) -> list[tuple[str, str]]:
    """Pairs (environment, platform) that request PyTorch for the GPU, or those that request another PyTorch.

    Only the requested packages count: features and environments may have any name.
    """
    found = []
    for environment in workspace.manifest.environments.values():
        for platform in platforms_of(workspace.manifest, environment.features):
            specs = conda_specs(workspace.manifest, environment.name, platform)
            builds = [str(spec) for name in TORCH for spec in specs.get(name, [])]
            if "pytorch-cpu" in specs and ("pytorch-gpu" in specs or any("cuda" in build for build in builds)):
                continue  # they exclude each other: no solver makes this
            if builds and gpu == ("pytorch-gpu" in specs or any("cuda" in build for build in builds)):
                found.append((environment.name, platform.name))
    return found


def has_cuda_platform(workspace: Workspace) -> Result:
    declared = {p.name: requirements.declared_cuda(p) for p in workspace.manifest.platforms}
    with_cuda = {name: version for name, version in declared.items() if version}
    if not with_cuda:
        return fail(
            looked_at=f"{workspace.at('workspace', 'platforms')}: platforms",
            expected="one that declares `cuda`, for machines with an NVIDIA driver",
            found=f"{', '.join(declared)}: none of them declares cuda",
            next_step=edit(workspace, "2.1"),
        )
    wrong = {name: version for name, version in with_cuda.items() if version.split(".")[0] != "12"}
    if len(wrong) == len(with_cuda):
        name, version = next(iter(wrong.items()))
        return fail(
            looked_at=f"{workspace.at('workspace', 'platforms', name)}: platform {name}",
            expected="CUDA 12",
            found=f"cuda = {version}",
            next_step=edit(workspace, "2.1"),
        )
    subdirs = {p.name: p.subdir for p in workspace.manifest.platforms}
    if not any(subdirs[name] in CUDA_SUBDIRS for name in with_cuda if name not in wrong):
        name = next(name for name in with_cuda if name not in wrong)
        return fail(
            looked_at=f"{workspace.at('workspace', 'platforms', name)}: platform {name}",
            expected=f"a system for which NVIDIA has a driver: {', '.join(CUDA_SUBDIRS)}",
            found=f"cuda = {with_cuda[name]} on {subdirs[name]}",
            next_step=edit(workspace, "2.1"),
        )
    if len(with_cuda) == len(declared):
        return fail(
            looked_at=f"{workspace.at('workspace', 'platforms')}: platforms",
            expected="also one without cuda, for laptops",
            found=f"{', '.join(declared)}: all of them require a driver",
            next_step=edit(workspace, "2.1"),
        )
    name, version = min(
        ((name, version) for name, version in with_cuda.items() if name not in wrong), key=lambda p: major_minor(p[1])
    )
    listed = ", ".join(f"{name} (cuda {version})" for name, version in with_cuda.items())
    minor = major_minor(version)[1]
    if minor == 0:
        return ok(listed)
    excludes = f"which excludes machines whose driver supports 12.0{f' to 12.{minor - 1}' if minor > 1 else ''}"
    if not workspace.in_exercise:  # a project may have a reason
        return ok(f"{listed}; cuda {version}, {excludes}")
    return fail(
        looked_at=f"{workspace.at('workspace', 'platforms', name)}: platform {name}",
        expected="cuda 12.0: such a driver also runs packages for a newer CUDA 12",
        found=f"cuda {version}, {excludes}",
        next_step=edit(workspace, "2.1"),
    )


def has_features(workspace: Workspace) -> Result:
    """PyTorch for the CPU and PyTorch for the GPU are in two features, or in two targets of one feature."""
    for_cpu, for_gpu, where = [], [], f"the features of {workspace.manifest.path.name}"
    for feature in requirements.all_features(workspace):
        for number, target in enumerate(feature.targets):
            specs: dict[str, list[str]] = {}
            for table in target.dependencies.values():
                for name, spec in table.items():
                    specs.setdefault(name, []).append(str(spec))
            builds = [build for name in TORCH for build in specs.get(name, [])]
            if "pytorch-gpu" in specs or any("cuda" in build for build in builds):
                for_gpu.append((feature.name, number))
                if "pytorch-cpu" in specs:
                    return fail(
                        looked_at=where,
                        expected="pytorch-cpu and pytorch-gpu in two features, since they exclude each other",
                        found=f"both in {feature.name}",
                        next_step=edit(workspace, "2.2"),
                    )
            elif builds:
                for_cpu.append((feature.name, number))
    if not for_cpu:
        found = "none" if not for_gpu else f"only PyTorch for the GPU, in {for_gpu[0][0]}"
        return fail(
            looked_at=where,
            expected="a feature with PyTorch for the CPU",
            found=found,
            next_step=edit(workspace, "2.2"),
        )
    if not for_gpu:
        return fail(
            looked_at=where,
            expected="a feature with PyTorch for the GPU",
            found=f"only PyTorch for the CPU, in {for_cpu[0][0]}",
            next_step=edit(workspace, "2.2"),
        )
    features = requirements.all_features(workspace)
    for feature in (f for f in features if f.name in {name for name, _ in for_gpu}):
        if problem := (
            problem_with_bounds(workspace, feature)
            or problem_with_missing_platforms(workspace, feature)
            or requirements.problem_with_device(workspace, feature, "2.2")
        ):
            return problem
    if problem := problem_with_platforms(workspace, [f for f in features if f.name in {name for name, _ in for_cpu}]):
        return problem
    remark = ""
    for feature in features:
        specs = [spec for t in feature.targets for table in t.dependencies.values() for spec in table.values()]
        if exact := requirements.exact_by_mistake((spec for spec in specs if spec.name in TORCH), MINOR_TORCH):
            remark = f"; {exact}, unless you mean this"
    return ok(f"for the CPU in {for_cpu[0][0]}, for the GPU in {for_gpu[0][0]}{remark}")


def problem_with_bounds(workspace: Workspace, feature: Feature) -> Result | None:
    """The failed result if the feature for the GPU admits a PyTorch that requires no driver, or another CUDA than 12."""
    specs: dict[str, list[CondaSpec]] = {}
    for target in feature.targets:
        for table in target.dependencies.values():
            for name, spec in table.items():
                specs.setdefault(name, []).append(spec)
    torch = [spec for name in TORCH for spec in specs.get(name, [])]
    old = next((version for version, build in reversed(WITHOUT_DRIVER) if admits(torch, version, build)), None)
    if torch and old:
        name = next(name for name in TORCH[::-1] if name in specs)
        return fail(
            looked_at=f"{workspace.at('feature', feature.name, 'dependencies', name)}: {name} in {feature.name}",
            expected="a bound that excludes the releases that require no driver",
            found=f"{' and '.join(map(str, torch))}, which admits PyTorch {old}, years old",
            next_step=edit(workspace, "2.2"),
        )
    if "cuda-version" in specs and not admits_any(specs["cuda-version"], CUDA_12):
        return fail(
            looked_at=f"{workspace.at('feature', feature.name, 'dependencies', 'cuda-version')}: {feature.name}",
            expected="a cuda-version for CUDA 12, as on its platforms",
            found=" and ".join(map(str, specs["cuda-version"])),
            next_step=edit(workspace, "2.2"),
        )
    return None


def problem_with_missing_platforms(workspace: Workspace, feature: Feature) -> Result | None:
    """The failed result if Pixi must solve the feature for the GPU on platforms without CUDA, where it cannot.

    Another feature may restrict the platforms, if every environment with the first one has the other one as well.
    """
    if feature.platforms is not None:
        return None
    wrong = [
        platform.name
        for platform in requirements.platforms_for(workspace, feature)
        if not requirements.declared_cuda(platform)
        and any(
            target.selector is None or selector_matches(target.selector, platform)
            for target in feature.targets
            if any(name in table for name in TORCH for table in target.dependencies.values())
        )
    ]
    if not wrong:
        return None
    return fail(
        looked_at=f"{workspace.at('feature', feature.name)}: the platforms of {feature.name}",
        expected="the platforms with cuda alone, since these packages need a driver",
        found=f"{feature.name} has no platforms of its own, so Pixi must also solve it for {', '.join(wrong)}",
        next_step=edit(workspace, "2.2"),
    )


def problem_with_platforms(workspace: Workspace, features: list[Feature]) -> Result | None:
    """The failed result if some platforms without CUDA are in none of the features with PyTorch for the CPU.

    If they are for no such platform at all, step 2.3 has no environment for the CPU, and says so.
    """
    manifest = workspace.manifest
    plain = [p for p in manifest.platforms if not requirements.declared_cuda(p) and p.subdir in CPU_SUBDIRS]
    missing = [p.name for p in plain if not any(manifest.supports(feature, p) for feature in features)]
    if not missing or len(missing) == len(plain):
        return None
    feature = features[0]
    return fail(
        looked_at=f"{workspace.at('feature', feature.name, 'platforms')}: the platforms of {feature.name}",
        expected="every platform without CUDA, so that the training runs on every laptop",
        found=f"{', '.join(feature.platforms or ())}; missing: {', '.join(missing)}",
        next_step=edit(workspace, "2.2"),
    )


def has_environments(workspace: Workspace) -> Result:
    with_driver = {p.name for p in workspace.manifest.platforms if requirements.declared_cuda(p)}
    gpu = [pair for pair in torch_environments(workspace, gpu=True) if pair[1] in with_driver]
    cpu = [pair for pair in torch_environments(workspace, gpu=False) if pair[1] not in with_driver]
    names = ", ".join(workspace.manifest.environments)
    where, advice = f"{workspace.at('environments')}: [environments]", edit(workspace, "2.3")
    if not gpu:
        return fail(
            looked_at=where,
            expected="an environment with PyTorch for the GPU, on the platform with cuda",
            found=f"none of the environments {names}{present_elsewhere(workspace, True)}",
            next_step=advice,
        )
    if not cpu:
        return fail(
            looked_at=where,
            expected="an environment with PyTorch for the CPU, on a platform without cuda",
            found=f"none of the environments {names}{present_elsewhere(workspace, False)}",
            next_step=advice,
        )
    if wrong := requirements.misnamed_environment(workspace, [name for name, _ in gpu], [name for name, _ in cpu]):
        return fail(
            looked_at=where,
            expected="environments with the packages that their names promise",
            found=wrong,
            next_step=advice,
        )
    if wrong := next((name for name, _ in cpu if requirements.requires_gpu(workspace, name)), None):
        return fail(
            looked_at=f"the environment {wrong}",
            expected=f"no {workspace.device_variable}, since the environment is for the CPU",
            found=f'activation sets {workspace.device_variable} = "cuda": a training would stop on every laptop',
            next_step="move that line into the table of the feature for the GPU",
        )
    if wrong := next((name for name, _ in gpu if not requirements.requires_gpu(workspace, name)), None):
        return fail(
            looked_at=f"the environment {wrong}",
            expected=f"{workspace.device_variable} set to cuda by its activation",
            found=f"{requirements.device_set_by(workspace, workspace.manifest.environments[wrong].features) or 'not set'}",
            next_step=edit(workspace, "2.2"),
        )
    platforms = {platform.name: platform for platform in workspace.manifest.platforms}
    for name, platform in (*gpu, *cpu):
        if missing := requirements.missing_for_script(
            workspace, name, platforms[platform], "train.py", trainings.NEEDED
        ):
            return fail(
                looked_at=f"the environment {name} on {platform}",
                expected="the packages that train.py needs",
                found=f"no {', '.join(missing)}",
                next_step=advice,
            )
    return ok(f"{gpu[0][0]} on {gpu[0][1]}, {cpu[0][0]} on {cpu[0][1]}")


def present_elsewhere(workspace: Workspace, gpu: bool) -> str:
    """Why no environment has that PyTorch on such a platform, as far as it is known, for a message."""
    pairs = torch_environments(workspace, gpu)
    if not pairs:
        for environment in workspace.manifest.environments.values():
            features = [feature.name for feature in environment.features if feature.name != "default"]
            if not platforms_of(workspace.manifest, environment.features):
                return f"; {environment.name} has no platform, since {' and '.join(features)} have none in common"
            requested = {
                name for f in environment.features for t in f.targets for d in t.dependencies.values() for name in d
            }
            if {"pytorch-cpu", "pytorch-gpu"} <= requested:
                return f"; {environment.name} contains pytorch-cpu and pytorch-gpu, which exclude each other"
        return ""
    name = pairs[0][0]
    listed = ", ".join(platform for environment, platform in pairs if environment == name)
    return f"; {name} has it on {listed}, so look at the platforms of its features"


def has_task(workspace: Workspace) -> Result:
    gpu, cpu = ({name for name, _ in torch_environments(workspace, kind)} for kind in (True, False))

    def unsuitable(environment: str, is_default: bool) -> str | None:
        if environment not in gpu | cpu and gpu | cpu:
            start = "" if is_default else "without a default-environment, "
            return f"{start}it would run in the environment {environment}, which has no PyTorch"
        if environment in gpu - cpu and cpu:
            how = "its default-environment" if is_default else "the only environment that contains it,"
            return f"{how} {environment} is for a GPU, so it stops on every laptop"
        return None

    return requirements.has_task_running(workspace, ("train",), "2.4", unsuitable, described=True)


def is_locked(workspace: Workspace) -> Result:
    if problem := requirements.problem_with_lock(workspace):
        return problem
    for gpu in (True, False):
        for name, platform in torch_environments(workspace, gpu):
            packages = workspace.lock.environments[name].packages[platform]
            build = next((p.build for p in packages if p.name == "pytorch"), None)
            where = f"pytorch in {name} on {platform}, in pixi.lock"
            if gpu and not (build or "").startswith("cuda12"):
                advice = edit(workspace, "2.2")
                return fail(
                    looked_at=where,
                    expected="a build for CUDA 12 (cuda12...)",
                    found=build or "not locked",
                    next_step=advice,
                )
            if not gpu and (build or "cuda").startswith("cuda"):
                return fail(
                    looked_at=where,
                    expected="a build for the CPU (cpu...)",
                    found=build or "not locked",
                    next_step=edit(workspace, "2.2"),
                )
    return ok("pixi.lock is up to date, with builds for CUDA 12 and for the CPU")


# Whether images and weights appear to be on the simulated GPU, the requested device, and what the script must do.
SIMULATIONS = {
    "weights that stayed on the CPU": ({"images": True, "weights": False}, "cuda", "stops"),
    "images that stayed on the CPU": ({"images": False, "weights": True}, "cuda", "stops"),
    "images and weights on the GPU": ({"images": True, "weights": True}, "cuda", "trains on cuda"),
    "a GPU, and --device cpu": ({"images": False, "weights": False}, "cpu", "trains on cpu"),
}


def insists_on_device(workspace: Workspace) -> Result:
    script = shell.script(workspace.folder / "train.py", "--data", "digits")
    advice = f"{workspace.device_variable}=cuda {script}  # after you edited the lines of TODO(2.6)"
    if result := requirements.problem_with_script(workspace, "train.py") or trainings.problem_with_gpu_request(
        workspace, advice
    ):
        return result
    for name, (moved, device, expected) in SIMULATIONS.items():
        folder = workspace.scratch / name.replace(" ", "-")
        gpu = patch("simulated_gpu_torch", **moved)
        found = trainings.action_on_simulated_gpu(workspace, folder, device, gpu)
        if found != expected:
            return fail(
                looked_at=f"train.py on a simulated GPU: {name}",
                expected=f"the script {expected}",
                found=f"the script {found}",
                next_step=edit(workspace, "2.6", "train.py"),
            )
    return ok(trainings.SUMMARY_WITHOUT_GPU if not (workspace.scratch / "device").exists() else "trains on the GPU")


def is_reproducible(workspace: Workspace) -> Result:
    return requirements.problem_with_script(workspace, "train.py") or trainings.same_seed_same_weights(
        workspace, edit(workspace, "2.7", "train.py")
    )


def is_run(workspace: Workspace) -> Result:
    own = {name for kind in (True, False) for name, _ in torch_environments(workspace, kind)}
    return requirements.problem_with_script(workspace, "train.py") or trainings.has_run_in_own_environment(
        workspace, "train.py", Path(__file__).resolve().parent.name, "train --data digits", own
    )


CHECKS = [
    Check(
        "2.1",
        "the workspace has a platform for machines with an NVIDIA GPU",
        (
            "A GPU needs a driver, and a driver is a property of the machine. Where does a manifest describe machines?",
            "An entry of `platforms` can be a table with a name, a platform and the oldest cuda version that will do.",
            '{ name = "linux-64-cuda12", platform = "linux-64", cuda = "12.0" } in the list platforms',
        ),
        has_cuda_platform,
        Part(tables=("workspace.platforms",)),
    ),
    Check(
        "2.2",
        "PyTorch for the CPU and PyTorch for the GPU are in two features",
        (
            "A feature is a named set of dependencies. One environment cannot contain both builds of PyTorch.",
            "conda-forge has the packages pytorch-cpu and pytorch-gpu. cuda-version selects the CUDA version of the second.",
            '[feature.cuda12] platforms = ["linux-64-cuda12"], and in its dependencies pytorch-gpu = ">=2.10" and '
            'cuda-version = "12.9.*"',
        ),
        has_features,
        Part(tables=("feature",)),
    ),
    Check(
        "2.3",
        "there is an environment for each feature",
        (
            "Pixi installs environments. A feature that is in no environment is never installed.",
            "The table [environments] gives names to combinations of features.",
            'cpu = ["cpu"] and cuda12 = ["cuda12"]',
        ),
        has_environments,
        Part(tables=("environments",)),
    ),
    Check(
        "2.4",
        "a task trains the classifier",
        (
            "Nobody should have to remember the command. Where can you give it a name?",
            "The table [tasks.NAME] contains the keys `cmd` and `description`.",
            '[tasks.train] cmd = "python train.py", description = "...", default-environment = "cpu"',
        ),
        has_task,
        Part(tables=("tasks", "feature.*.tasks")),
    ),
    Check(
        "2.5",
        "the lock is up to date and contains CUDA builds",
        (
            "The manifest lists what is allowed. Which file lists what Pixi chose?",
            "`pixi lock` writes that file. Without Pixi, `workshop lock-check` reports whether it is up to date.",
            "If pytorch's build does not begin with cuda12, the solver chose a release that is years old: give pytorch-gpu a lower bound.",
        ),
        is_locked,
        needs_pixi=True,
    ),
    Check(
        "2.6",
        "the script stops if the requested GPU is missing",
        (
            "Set WORKSHOP_DEVICE=cuda and run the starter. Where did it train?",
            "The starter always uses the CPU. The object `run` knows the requested device, and has methods to get and to check it.",
            "device = run.torch_device(), and run.assert_on(device, images=images, **dict(network.named_parameters()))",
        ),
        insists_on_device,
        Part(functions=("train",)),
    ),
    Check(
        "2.7",
        "the same seed gives the same weights",
        (
            "Train twice with the same seed and compare the sha256 of weights.safetensors in the two run.json files.",
            "The order of the images is seeded already; what else is random when a network is created?",
            "torch.manual_seed(seed) in make_deterministic",
        ),
        is_reproducible,
        Part(functions=("make_deterministic",)),
    ),
    Check(
        "2.8",
        "you trained in your own environment",
        (
            "run.json records the environment of a run, and the sha256 of its lock. Is this the lock that you have now?",
            "Start the task with `pixi run` in the folder of your workspace. After every change of the lock, run it again.",
            "In exercise-2-pytorch-cu12/starter: pixi run train --data digits",
        ),
        is_run,
        needs_pixi=True,
    ),
]
