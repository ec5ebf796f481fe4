"""The checks of exercise 2, in the order in which a learner meets them."""

from pixi_workspace.manifest import conda_specs
from pixi_workspace.manifest.platforms import platforms_of
from workshop import shell
from workshop.checking import checks, trainings
from workshop.checking.checks import Check, Result, Workspace, declared_cuda, fail, ok, requires_gpu
from workshop.checking.patches import patch

TORCH = ("pytorch", "pytorch-cpu", "pytorch-gpu")


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
    declared = {p.name: declared_cuda(p) for p in workspace.manifest.platforms}
    with_cuda = {name: version for name, version in declared.items() if version}
    if not with_cuda:
        return fail(
            looked_at=f"platforms in {workspace.manifest.path.name}",
            expected="one that declares `cuda`, for machines with an NVIDIA driver",
            found=f"{', '.join(declared)}: none of them declares cuda",
            next_step="pixi workspace platform add --no-install --feature cuda12 linux-64-cuda12=linux-64 --cuda 12.0",
        )
    wrong = {name: version for name, version in with_cuda.items() if version.split(".")[0] != "12"}
    if len(wrong) == len(with_cuda):
        name, version = next(iter(wrong.items()))
        return fail(
            looked_at=f"platform {name}",
            expected='cuda = "12.0" or another 12.x',
            found=f"cuda = {version}",
            next_step=f'in platforms, give {name} cuda = "12.0"',
        )
    if len(with_cuda) == len(declared):
        return fail(
            looked_at="platforms",
            expected="also one without cuda, for laptops",
            found=", ".join(declared),
            next_step='add "linux-64" to platforms',
        )
    return ok(", ".join(f"{name} (cuda {version})" for name, version in with_cuda.items()))


def has_features(workspace: Workspace) -> Result:
    """PyTorch for the CPU and PyTorch for the GPU are in two features, or in two targets of one feature."""
    for_cpu, for_gpu, where = [], [], f"the features of {workspace.manifest.path.name}"
    for feature in checks.all_features(workspace):
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
                        next_step="make a feature for each of them, and an environment for each feature",
                    )
            elif builds:
                for_cpu.append((feature.name, number))
    if not for_cpu:
        found = "none" if not for_gpu else f"only PyTorch for the GPU, in {for_gpu[0][0]}"
        advice = "pixi add --no-install --feature cpu pytorch-cpu"
        return fail(
            looked_at=where, expected="a feature with PyTorch for the CPU (pytorch-cpu)", found=found, next_step=advice
        )
    if not for_gpu:
        return fail(
            looked_at=where,
            expected="a feature with PyTorch for the GPU: pytorch-gpu and cuda-version",
            found=f"only PyTorch for the CPU, in {for_cpu[0][0]}",
            next_step='pixi add --no-install --feature cuda12 "pytorch-gpu>=2.10,<3" "cuda-version=12.9.*"',
        )
    return ok(f"for the CPU in {for_cpu[0][0]}, for the GPU in {for_gpu[0][0]}")


def has_environments(workspace: Workspace) -> Result:
    with_driver = {p.name for p in workspace.manifest.platforms if declared_cuda(p)}
    gpu = [pair for pair in torch_environments(workspace, gpu=True) if pair[1] in with_driver]
    cpu = [pair for pair in torch_environments(workspace, gpu=False) if pair[1] not in with_driver]
    names = ", ".join(workspace.manifest.environments)
    if not gpu:
        return fail(
            looked_at=f"[environments] in {workspace.manifest.path.name}",
            expected="an environment with PyTorch for the GPU, on the platform with cuda",
            found=f"{names}: none of them",
            next_step="pixi workspace environment add cuda12 --feature cuda12",
        )
    if not cpu:
        return fail(
            looked_at=f"[environments] in {workspace.manifest.path.name}",
            expected="an environment with PyTorch for the CPU, on a platform without cuda",
            found=f"{names}: none of them",
            next_step="pixi workspace environment add cpu --feature cpu",
        )
    if wrong := next((name for name, _ in cpu if requires_gpu(workspace, name)), None):
        return fail(
            looked_at=f"the environment {wrong}",
            expected="no WORKSHOP_DEVICE, since the environment is for the CPU",
            found='activation sets WORKSHOP_DEVICE = "cuda": a training would stop on every laptop',
            next_step="move that line into [feature.NAME.activation.env] of the feature for the GPU",
        )
    unset = not requires_gpu(workspace, gpu[0][0])
    note = f'; {gpu[0][0]} does not set WORKSHOP_DEVICE = "cuda", so add --device cuda when you train' if unset else ""
    return ok(f"{gpu[0][0]} on {gpu[0][1]}, {cpu[0][0]} on {cpu[0][1]}{note}")


def has_task(workspace: Workspace) -> Result:
    return checks.has_task_running(workspace, ("train",), "train")


def is_locked(workspace: Workspace) -> Result:
    if problem := checks.problem_with_lock(workspace):
        return problem
    for gpu in (True, False):
        for name, platform in torch_environments(workspace, gpu):
            packages = workspace.lock.environments[name].packages[platform]
            build = next((p.build for p in packages if p.name == "pytorch"), None)
            where = f"pytorch in {name} on {platform}, in pixi.lock"
            if gpu and not (build or "").startswith("cuda12"):
                advice = 'give pytorch-gpu a lower bound (">=2.10") and use its feature on the CUDA platform, then run pixi lock'
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
                    next_step="depend on pytorch-cpu, then run pixi lock",
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
    advice = f"WORKSHOP_DEVICE=cuda {script}  # TODO(2.6): device = run.torch_device()"
    if result := checks.problem_with_script(workspace, "train.py") or trainings.problem_with_gpu_request(
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
                expected=f"it {expected}",
                found=f"it {found}",
                next_step="TODO(2.6): run.assert_on(device, images=images, **dict(network.named_parameters()))",
            )
    return ok(trainings.SUMMARY_WITHOUT_GPU if not (workspace.scratch / "device").exists() else "trains on the GPU")


def is_reproducible(workspace: Workspace) -> Result:
    return checks.problem_with_script(workspace, "train.py") or trainings.same_seed_same_weights(
        workspace, "TODO(2.7): torch.manual_seed(seed) before the network is made"
    )


CHECKS = [
    Check(
        "2.1",
        "the workspace has a platform for machines with an NVIDIA GPU",
        (
            "A GPU needs a driver, and a driver is a property of the machine. Where does a manifest describe machines?",
            "An entry of `platforms` can be a table with a name, a platform and a cuda version.",
            '{ name = "linux-64-cuda12", platform = "linux-64", cuda = "12.0" } in the list platforms',
        ),
        has_cuda_platform,
    ),
    Check(
        "2.2",
        "PyTorch for the CPU and PyTorch for the GPU are in two features",
        (
            "A feature is a named set of dependencies. One environment cannot contain both builds of PyTorch.",
            "conda-forge has the packages pytorch-cpu and pytorch-gpu. cuda-version selects the CUDA version of the second.",
            "[feature.cuda12] platforms = [...] and [feature.cuda12.dependencies] with cuda-version and pytorch-gpu",
        ),
        has_features,
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
    ),
    Check(
        "2.4",
        "a task trains the classifier",
        (
            "Nobody should have to remember the command.",
            "The table [tasks.NAME] contains the keys `cmd` and `description`.",
            '[tasks.train] cmd = "python train.py", description = "...", default-environment = "cpu"',
        ),
        has_task,
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
    ),
]
