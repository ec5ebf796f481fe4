"""The checks of exercise 4, in the order in which a learner meets them."""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pixi_workspace import manifest as manifests
from pixi_workspace.errors import WorkspaceError
from pixi_workspace.fit import suspicions
from pixi_workspace.lock import DEFAULT_INDEX, LockedPackage
from pixi_workspace.manifest import CondaSpec
from pixi_workspace.manifest.platforms import platforms_of
from pixi_workspace.platforms import Platform
from workshop import shell
from workshop.checking import trainings
from workshop.checking.checks import Check, Part, Result, Workspace, edit, fail, ok, skip
from workshop.checking.steps import requirements
from workshop.checking.steps.constraints import admits_any
from workshop.support.files import sha256_of
from workshop.support.text import closest_match

ROOT = Path(__file__).resolve().parents[1]
# What has to come as wheels, with the versions of the solution. What PyPI calls torch is pytorch on conda-forge.
WHEELS = {"torch": "==2.6.0", "torchvision": "==0.21.0"}
# PyTorch's own indexes for CUDA: the first and the last release of torch in each; None: it is still continued.
TORCH_HOST = "download.pytorch.org"
INDEXES: dict[str, tuple[str, str | None]] = {
    "cu117": ("1.13.0", "2.0.1"),
    "cu118": ("2.0.0", "2.7.1"),
    "cu121": ("2.1.0", "2.5.1"),
    "cu124": ("2.4.0", "2.6.0"),
    "cu126": ("2.6.0", None),
    "cu128": ("2.7.0", None),
    "cu129": ("2.8.0", None),
    "cu130": ("2.9.0", None),
}
GOAL = "cu124"  # of step 4.1
SYMPY = {"2.5": "1.13.1", "2.6": "1.13.1"}  # which sympy a release of torch requires, if it requires exactly one
# torchvision 0.21 belongs to torch 2.6, 0.22 to 2.7, and so on; the patch releases agree as well, since torch 2.1.
FIRST_MINOR_OF_TORCHVISION = 15
CONDA_NAMES = {"pytorch": "torch", "pytorch-cpu": "torch", "pytorch-gpu": "torch"}
# Conda packages that belong to a CUDA runtime. The wheels bring their own.
CUDA_RUNTIME = re.compile(r"cudatoolkit|cuda-cudart|libcublas|cudnn|libcudnn|nccl|libcufft|libcusparse|libcusolver")


def environments_with_wheel(workspace: Workspace) -> list[tuple[str, Platform]]:
    """Pairs (environment, platform) that request torch from PyPI. Environments may have any name."""
    return [
        (environment.name, platform)
        for environment in workspace.manifest.environments.values()
        for platform in platforms_of(workspace.manifest, environment.features)
        if "torch" in manifests.pypi_specs(workspace.manifest, environment.name, platform)
    ]


def mixed_environments(workspace: Workspace) -> list[tuple[str, Platform]]:
    """Those pairs that are for a GPU: on platforms that declare CUDA, or else with another index than the one for CPUs.

    The others are twins for the CPU, as `pypi-mixed-cpu` of the starter.
    """
    pairs = environments_with_wheel(workspace)
    others = [pair for pair in pairs if index_variant(declared_indexes(workspace, *pair)[""][0]) != "cpu"]
    return [pair for pair in pairs if requirements.declared_cuda(pair[1])] or others


def problem_with_twins(workspace: Workspace) -> Result | None:
    """The failed result if a twin for the CPU requests another torch than the mixed environment: nothing to compare."""
    pairs = mixed_environments(workspace)
    specs = {
        pair: manifests.pypi_specs(workspace.manifest, *pair)["torch"] for pair in environments_with_wheel(workspace)
    }
    pins = {pair: {pinned_version(spec) for spec in of} for pair, of in specs.items()}
    expected = pins[pairs[0]]
    for (name, platform), found in pins.items():
        if (name, platform) not in pairs and {v and v.base_version for v in found} != {
            v and v.base_version for v in expected
        }:
            return fail(
                looked_at=f"{place_of_wheel(workspace, name, 'torch')}: torch in {name} on {platform.name}",
                expected=f"the version in {pairs[0][0]}, since the two environments are compared",
                found=" and ".join(map(str, specs[name, platform])),
                next_step=edit(workspace, "4.2"),
            )
    return None


def declared_indexes(workspace: Workspace, environment: str, platform) -> dict[str, tuple[str, ...]]:
    """The indexes that each PyPI package may come from; those under the empty name are for all other packages."""
    found = [f.pypi_options for f in workspace.manifest.environments[environment].features if f.pypi_options]
    found += [workspace.manifest.pypi_options] if workspace.manifest.pypi_options else []
    first = next((options.index_url for options in found if options.index_url), DEFAULT_INDEX)
    general = (first, *(url for options in found for url in options.extra_index_urls))
    specs = manifests.pypi_specs(workspace.manifest, environment, platform)
    own = {
        name: (spec.index or spec.url,) for name, several in specs.items() for spec in several if spec.index or spec.url
    }
    return {"": general} | own


def index_variant(url: str) -> str | None:
    """The variant for which an index of PyTorch is, such as cu124 or cpu; None for every other address."""
    parts = urlsplit(url)
    found = re.fullmatch(r"/whl/(?:test/|nightly/)?(cu\d+|cpu|rocm[\d.]+|xpu)/?", parts.path)
    return found[1] if found and parts.scheme == "https" and parts.hostname else None


def index_in_lock(workspace: Workspace, environment: str, url: str) -> bool:
    """Whether the lock contains a torch for CUDA from this index: then it exists, whatever is known here."""
    try:
        locked = workspace.lock.environments[environment].packages.values()
    except (OSError, KeyError, WorkspaceError):
        return False
    wheels = [package for packages in locked for package in packages if package.name == "torch"]
    return any((w.index or "").rstrip("/") == url.rstrip("/") and "+cu" in str(w.version) for w in wheels)


def problem_with_index(workspace: Workspace, environment: str, url: str) -> str | None:
    """Why torch does not come from one of PyTorch's own indexes for CUDA; None if it does."""
    if index_in_lock(workspace, environment, url):
        return None
    variant, host = index_variant(url), urlsplit(url).hostname or ""
    if host != TORCH_HOST:
        near = closest_match(host, [TORCH_HOST], 0.8)
        if url.rstrip("/") == DEFAULT_INDEX.rstrip("/"):
            return "none: torch comes from the same index as all other wheels"
        return f"{url}{f', whose host is not {near}' if near else ', which is not an index of PyTorch'}"
    if variant is None:
        return f"{url}, which is not the address of an index"
    if not variant.startswith("cu"):
        return f"the one for {variant}"
    if variant not in INDEXES:
        return f"{url}: there is no such index; those for CUDA are {', '.join(INDEXES)}"
    return None


def has_cuda_index(workspace: Workspace) -> Result:
    where = f"pypi-dependencies in {workspace.manifest.path.name}"
    pairs = mixed_environments(workspace)
    advice = edit(workspace, "4.1")
    if not pairs:
        return fail(
            looked_at=where, expected="an environment with torch as a PyPI package", found="none", next_step=advice
        )
    variants = {}
    for name, platform in pairs:
        declared = declared_indexes(workspace, name, platform)
        at = place_of_options(workspace, name)
        if "torch" not in declared and len(declared[""]) > 1:
            return fail(
                looked_at=f"{at}: the indexes of {name}",
                expected="one index for all wheels, or an index of its own for torch and torchvision",
                found=f"extra-index-urls: {', '.join(declared[''][1:])}. Pixi takes a package from the first index that has "
                "its name, and searches these first",
                next_step=advice,
            )
        url = declared.get("torch", declared[""])[0]
        if problem := problem_with_index(workspace, name, url):
            return fail(
                looked_at=f"{at}: the index of torch in {name}",
                expected="PyTorch's own index for a CUDA version",
                found=problem,
                next_step=advice,
            )
        other = declared.get("torchvision", declared[""])[0]
        requested = manifests.pypi_specs(workspace.manifest, name, platform)
        if "torchvision" in requested and other.rstrip("/") != url.rstrip("/"):
            return fail(
                looked_at=f"{at}: the index of torchvision in {name}",
                expected="the index of torch, since the two were compiled together",
                found=f"{other}, and {url} for torch",
                next_step=advice,
            )
        cuda, variant = requirements.declared_cuda(platform), index_variant(url)
        major = cuda.split(".")[0] if cuda else GOAL[2:4]
        if variant in INDEXES and variant[2:4] != major:
            reason = f"as {platform.name} declares it" if cuda else f"such as {GOAL}"
            return fail(
                looked_at=f"{at}: the index of torch in {name}",
                expected=f"an index for CUDA {major}, {reason}",
                found=f"{variant}, which is for CUDA {variant[2:4]}.{variant[4:]}",
                next_step=advice,
            )
        variants[name] = variant or url
    with_cpu = [e for e in workspace.manifest.environments if requests_pytorch(workspace, e)]
    if wrong := requirements.misnamed_environment(workspace, variants, with_cpu):
        return fail(
            looked_at=f"{workspace.at('environments')}: [environments]",
            expected="environments with the packages that their names promise",
            found=wrong,
            next_step="give each of these environments its own features again",
        )
    return ok(", ".join(f"{name}: {variant}{difference_from_goal(variant)}" for name, variant in variants.items()))


def difference_from_goal(variant: str) -> str:
    """For an index other than the goal's: which releases of torch it has, so that other pins than ours may be needed."""
    if variant == GOAL or variant not in INDEXES:
        return ""
    first, last = INDEXES[variant]
    return f" (not {GOAL}; it has torch {first} {f'to {last}' if last else 'and newer'})"


def requests_pytorch(workspace: Workspace, environment: str) -> bool:
    """Whether an environment requests PyTorch for the CPU from conda-forge."""
    platforms = platforms_of(workspace.manifest, workspace.manifest.environments[environment].features)
    return any("pytorch-cpu" in manifests.conda_specs(workspace.manifest, environment, p) for p in platforms)


def place_of_options(workspace: Workspace, environment: str) -> str:
    """The place in the manifest that names the index of an environment's wheels."""
    for feature in workspace.manifest.environments[environment].features:
        if feature.pypi_options:
            table = () if feature.name == "default" else ("feature", feature.name)
            key = "extra-index-urls" if feature.pypi_options.extra_index_urls else "index-url"
            return workspace.at(*table, "pypi-options", key)
    return workspace.manifest.path.name


def pinned_version(spec: manifests.PypiSpec) -> Version | None:
    """The one version that a constraint admits: of a pin, or in the name of a wheel; None for a range."""
    text = spec.version
    if spec.url:
        name = urlsplit(spec.url).path.rsplit("/", 1)[-1].replace("%2B", "+")
        text = f"=={name.split('-')[1]}" if name.endswith(".whl") and name.count("-") >= 4 else "=="
    found = re.fullmatch(r"\s*={2,3}\s*([^*,]+?)\s*", text)
    try:
        return Version(found[1]) if found else None
    except InvalidVersion:
        return None


def problem_with_pins(torch: Version, torchvision: Version | None, variant: str | None) -> str | None:
    """Why two pins do not fit together, or not into the index; None if they do."""
    if torchvision is not None and torch.major == 2:
        minor = torch.minor + FIRST_MINOR_OF_TORCHVISION
        same_patch = torch.minor < 1 or torch.micro == torchvision.micro
        if (torchvision.major, torchvision.minor) != (0, minor) or not same_patch:
            return f"torchvision {torchvision}, which was compiled for another torch than {torch}"
    first, last = INDEXES.get(variant or "", ("0", None))
    if last is not None and Version(torch.base_version) > Version(last):
        return f"torch {torch}, which is not in the index {variant}: its last release is {last}"
    if Version(torch.base_version) < Version(first):
        return f"torch {torch}, which is not in the index {variant}: its first release is {first}"
    for name, version in (("torch", torch), ("torchvision", torchvision)):
        if version is not None and version.local and variant and version.local != variant:
            return f"{name} {version}, which is not in the index {variant}"
    return None


def is_pinned(workspace: Workspace) -> Result:
    pairs = mixed_environments(workspace)
    if not pairs:
        return has_cuda_index(workspace)
    advice = edit(workspace, "4.2")
    for name, platform in pairs:
        specs = manifests.pypi_specs(workspace.manifest, name, platform)
        pins: dict[str, Version] = {}
        conda = manifests.conda_specs(workspace.manifest, name, platform)
        if "torchvision" not in specs and "torchvision" not in conda:
            return fail(
                looked_at=f"{place_of_wheel(workspace, name, 'torch')}: the wheels of {name}",
                expected="torchvision beside torch",
                found="not requested",
                next_step=advice,
            )
        for package in WHEELS:
            for spec in specs.get(package, []):
                version = pinned_version(spec)
                if version is None and not spec.url:
                    return fail(
                        looked_at=f"{place_of_wheel(workspace, name, package)}: {package} in {name}",
                        expected="one version",
                        found=spec.version,
                        next_step=advice,
                    )
                if version is not None:
                    pins[package] = version
        declared = declared_indexes(workspace, name, platform)
        variant = index_variant(declared.get("torch", declared[""])[0])
        if "torch" in pins and (problem := problem_with_pins(pins["torch"], pins.get("torchvision"), variant)):
            return fail(
                looked_at=f"{place_of_wheel(workspace, name, 'torch')}: torch and torchvision in {name}",
                expected="two versions that belong together, and that the index has",
                found=problem,
                next_step=advice,
            )
    if problem := problem_with_twins(workspace):
        return problem
    shown = [str(spec) for package in WHEELS for spec in specs.get(package, [])]
    return ok(", ".join(shown))


def place_of_wheel(workspace: Workspace, environment: str, package: str) -> str:
    """The place in the manifest that requests a PyPI package for an environment."""
    for feature in workspace.manifest.environments[environment].features:
        if any(package in target.pypi for target in feature.targets):
            table = () if feature.name == "default" else ("feature", feature.name)
            return workspace.at(*table, "pypi-dependencies", package)
    return workspace.manifest.path.name


def has_one_source_each(workspace: Workspace) -> Result:
    """torch and torchvision are requested as wheels, the rest from conda-forge, and nothing from both."""
    pairs = mixed_environments(workspace)
    if not pairs:
        return has_cuda_index(workspace)
    for name, platform in pairs:
        conda = manifests.conda_specs(workspace.manifest, name, platform)
        wheels = manifests.pypi_specs(workspace.manifest, name, platform)
        where = f"{name} on {platform.name}, in {workspace.manifest.path.name}"
        both = [package for package in conda if CONDA_NAMES.get(package, str(canonicalize_name(package))) in wheels]
        if both:
            wheel = CONDA_NAMES.get(both[0], both[0])
            return fail(
                looked_at=where,
                expected="each package from one source",
                found=f"{both[0]} from conda-forge and {wheel} from PyPI: conda is solved first "
                "and wins, so the wheel would not be installed",
                next_step=edit(workspace, "4.3"),
            )
        if found := next((p for p in conda if CONDA_NAMES.get(p, p) in WHEELS), None):
            return fail(
                looked_at=where,
                expected="torch and torchvision as wheels",
                found=f"{found} from conda-forge, which depends on pytorch",
                next_step=edit(workspace, "4.3"),
            )
        if problem := problem_with_sympy(workspace, name, conda, wheels):
            return problem
        for package in ("python", "numpy"):
            if package not in conda:
                return fail(
                    looked_at=where,
                    expected=f"{package} from conda-forge",
                    found="not requested there",
                    next_step=edit(workspace, "4.3"),
                )
    return ok("no package is requested from both sources")


def problem_with_sympy(
    workspace: Workspace, name: str, conda: dict[str, list[CondaSpec]], wheels: dict[str, list[manifests.PypiSpec]]
) -> Result | None:
    """The failed result if the sympy of conda-forge may be another one than torch requires: it is solved first."""
    pins = [version for spec in wheels["torch"] if (version := pinned_version(spec))]
    required = next((SYMPY[text] for pin in pins if (text := f"{pin.major}.{pin.minor}") in SYMPY), None)
    if required is None or "sympy" not in conda:
        return None
    others = [version for version in ("1.12", "1.13.0", "1.13.2", "1.13.3", "1.14.0") if version != required]
    if not admits_any(conda["sympy"], others) and admits_any(conda["sympy"], [required]):
        return None
    features = [f.name for f in workspace.manifest.environments[name].features]
    table = ("feature", features[0], "dependencies") if features[0] != "default" else ("dependencies",)
    return fail(
        looked_at=f"{workspace.at(*table, 'sympy')}: sympy in {name}",
        expected=f"exactly {required}, which torch {pins[0]} requires: Pixi solves the conda packages first",
        found=" and ".join(map(str, conda["sympy"])),
        next_step=edit(workspace, "4.3"),
    )


def pypi_names(package: LockedPackage) -> set[str]:
    """The PyPI names of a locked conda package: those in the lock, otherwise its own name."""
    if package.purls is not None:
        names = {purl.split("/", 1)[1].split("@")[0].split("?")[0] for purl in package.purls if "/" in purl}
        return {str(canonicalize_name(name)) for name in names}
    return {CONDA_NAMES.get(package.name, str(canonicalize_name(package.name)))}


def problem_with_host(wheel: LockedPackage) -> bool:
    """Whether a wheel's file is on another host than its index, and not on the host for files of this index either."""
    if not wheel.url.startswith(("https://", "http://")):
        return False
    index = wheel.index or (DEFAULT_INDEX if wheel.lock_version >= 7 else None)
    return index is not None and not suspicions.lies_with_index(wheel.url, index)


def is_locked(workspace: Workspace) -> Result:
    if problem := requirements.problem_with_lock(workspace):
        return problem
    pairs = mixed_environments(workspace)
    if not pairs:
        return has_cuda_index(workspace)
    for name, platform in pairs:
        packages = workspace.lock.environments[name].packages[platform.name]
        where = f"{name} on {platform.name}, in pixi.lock"
        wheels = {str(canonicalize_name(p.name)): p for p in packages if p.kind == "pypi"}
        conda = {pypi: p for p in packages if p.kind != "pypi" for pypi in pypi_names(p)}
        if both := sorted(wheels.keys() & conda.keys()):
            return fail(
                looked_at=where,
                expected="no package from both sources",
                found=f"{both[0]} as {conda[both[0]]} and as a wheel",
                next_step=edit(workspace, "4.3"),
            )
        if "torch" not in wheels:
            found = f"{conda['torch']} from conda-forge" if "torch" in conda else "none"
            return fail(
                looked_at=f"torch in {where}",
                expected="a wheel",
                found=found,
                next_step="remove what depends on pytorch from the conda dependencies",
            )
        variant = re.search(r"\bcu\d+\b", f"{wheels['torch'].version} {wheels['torch'].url}")
        if not variant:
            return fail(
                looked_at=f"torch in {where}",
                expected="a wheel for CUDA",
                found=str(wheels["torch"].version),
                next_step=edit(workspace, "4.1"),
            )
        locals_of = {name: str(wheels[name].version).partition("+")[2] for name in WHEELS if name in wheels}
        if len(set(locals_of.values())) > 1:
            return fail(
                looked_at=f"torch and torchvision in {where}",
                expected="the same variant of both",
                found=" and ".join(f"{name} {wheels[name].version}" for name in locals_of),
                next_step="rm pixi.lock && pixi lock",
            )
        declared = declared_indexes(workspace, name, platform)
        known = {url.rstrip("/") for urls in declared.values() for url in urls}
        url = declared.get("torch", declared[""])[0]
        wanted = index_variant(url)
        if wanted and variant[0] != wanted:
            return fail(
                looked_at=f"torch in {where}",
                expected=f"a wheel for {wanted}, as in the index that the manifest declares",
                found=f"{wheels['torch'].version} from {wheels['torch'].url}",
                next_step="rm pixi.lock && pixi lock",
            )
        for wheel in wheels.values():
            if not wheel.sha256:
                return fail(
                    looked_at=f"{wheel.name} in {where}",
                    expected="a sha256",
                    found="none, so any file of that name would be accepted",
                    next_step="rm pixi.lock && pixi lock",
                )
            if wheel.index and wheel.index.rstrip("/") not in known:
                return fail(
                    looked_at=f"{wheel.name} in {where}",
                    expected="an index that the manifest declares",
                    found=wheel.index,
                    next_step="rm pixi.lock && pixi lock",
                )
        if stray := next((wheel for wheel in wheels.values() if problem_with_host(wheel)), None):
            return fail(
                looked_at=f"{stray.name} in {where}",
                expected=f"a file of the index {stray.index or DEFAULT_INDEX}",
                found=f"{stray.url}, on another host",
                next_step="rm pixi.lock && pixi lock",
            )
        if second := next((p for p in packages if p.kind != "pypi" and CUDA_RUNTIME.fullmatch(p.name)), None):
            return fail(
                looked_at=where,
                expected="only the CUDA runtime of the wheels",
                found=f"also {second} from conda-forge",
                next_step=f"find the package that depends on it: pixi tree -e {name} -i {second.name}",
            )
    return ok(
        f"torch {wheels['torch'].version}: {len(wheels)} wheels, each with its sha256; no package from both sources"
    )


QUICK_RUN = ("--data", "digits", "--epochs", "1", "--device", "cpu")
NEAR, FAR = 3e-7, 3e-4  # relative differences: the first is typical of rounding, the second of TF32 or another network


def shift_logits(run: Path, target: Path, relative: float) -> Path:
    """A copy of a prediction whose logits differ by `relative` times the image's largest one, with a record to match."""
    import numpy as np  # here, since the checks of manifest and lock also run in environments without NumPy

    from workshop.runs import weights

    shutil.copytree(run, target)
    path = target / "logits.safetensors"
    tensors, metadata = weights.load(path, "")
    logits = tensors["logits"].astype(np.float64)
    sign = np.where(np.arange(logits.size).reshape(logits.shape) % 2, 1, -1)
    shifted = logits + sign * relative * np.abs(logits).max(axis=1, keepdims=True)
    weights.save(path, {"logits": shifted.astype(np.float32)}, metadata)
    document = json.loads((target / "run.json").read_text(encoding="utf-8"))
    for output in document["outputs"]:
        if output["path"] == path.name:
            output |= {"sha256": sha256_of(path), "bytes": path.stat().st_size}
    (target / "run.json").write_text(json.dumps(document), encoding="utf-8")
    crate = json.loads((target / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    for entity in crate["@graph"]:
        for name in ("run.json", path.name):
            if entity["@id"] == name:
                entity["sha256"] = sha256_of(target / name)
    (target / "ro-crate-metadata.json").write_text(json.dumps(crate), encoding="utf-8")
    return target


def distinguishes_rounding_from_errors(workspace: Workspace) -> Result:
    if missing := requirements.problem_with_script(workspace, "predict.py"):
        return missing
    # A project that `workshop new` made has its own script to train; the records of its runs are its own.
    own = (workspace.folder / "train.py").is_file() and workspace.package != "workshop"
    trainer = workspace if own else Workspace(ROOT / "exercise-2-pytorch-cu12" / "solution", workspace.scratch)
    trained, here = workspace.scratch / "trained", workspace.scratch / "here"
    advice = shell.script(workspace.folder / "predict.py", "RUN", "--compare", "OTHER")
    for script, run in (
        ("train.py", trainer.run("train.py", *QUICK_RUN, "--output", str(trained), WORKSHOP_DEVICE="")),
        (
            "predict.py",
            workspace.run("predict.py", str(trained), "--device", "cpu", "--output", str(here), WORKSHOP_DEVICE=""),
        ),
    ):
        if module := trainings.missing_framework(run):
            return skip(f"{module} is not in this environment")
        if run.returncode != 0:
            return fail(looked_at=script, expected="exit code 0", found=trainings.failure_reason(run), next_step=advice)
    for word, relative, exit_code in (("rounding", NEAR, 0), ("another network's error", FAR, 1)):
        other = shift_logits(here, workspace.scratch / f"shifted-{exit_code}", relative)
        folder = workspace.scratch / f"compared-{exit_code}"
        words = (str(trained), "--device", "cpu", "--compare", str(other), "--output", str(folder))
        run = workspace.run("predict.py", *words, WORKSHOP_DEVICE="")
        if "Traceback" in run.stderr:
            return fail(
                looked_at="predict.py --compare",
                expected="a comparison",
                found=trainings.failure_reason(run),
                next_step=advice,
            )
        if run.returncode != exit_code:
            next_step = edit(workspace, "4.5", "predict.py")
            if "tolerance" not in run.stdout:
                next_step = "compare the logits where --compare names a run, as the starter does"
            elif exit_code == 1 and "OUTSIDE" in run.stdout:
                next_step = "outside the tolerance, end with exit code 1, as the starter does: raise SystemExit(1)"
            return fail(
                looked_at=f"predict.py --compare with logits that differ by {relative:g} of the largest one ({word})",
                expected=f"{'inside' if exit_code == 0 else 'outside'} the tolerance, exit code {exit_code}",
                found=f"exit code {run.returncode}: {(run.stdout.strip().splitlines() or [trainings.failure_reason(run)])[-1][:120]}",
                next_step=next_step,
            )
    reason = str(trainings.read_record(folder).get("comparison", {}).get("tolerance", {}).get("reason", ""))
    if len(reason.split()) < 5 or "TODO" in reason:
        return fail(
            looked_at="the reason of the tolerance, in run.json",
            expected="a sentence that explains where the number comes from",
            found=repr(reason),
            next_step=edit(workspace, "4.5", "predict.py"),
        )
    return ok(f"a difference of {NEAR:g} is inside the tolerance, one of {FAR:g} is outside; the reason is given")


def is_run(workspace: Workspace) -> Result:
    own = {name for name, _ in environments_with_wheel(workspace)}
    return requirements.problem_with_script(workspace, "predict.py") or trainings.has_run_in_own_environment(
        workspace, "predict.py", Path(__file__).resolve().parent.name, "-e pypi-mixed-cpu predict", own
    )


CHECKS = [
    Check(
        "4.1",
        "torch comes from PyTorch's own index for a CUDA version",
        (
            "The same version of torch is built for the CPU and for several CUDA versions. How do you select one?",
            "PyTorch has an index for each variant; the starter uses the one for the CPU.",
            "[feature.pypi-mixed.pypi-options] with an index-url that ends in /whl/cu124",
        ),
        has_cuda_index,
        Part(tables=("feature.*.pypi-options", "pypi-options")),
    ),
    Check(
        "4.2",
        "torch and torchvision are each pinned to an exact version",
        (
            "A star means the newest version on the day of the lock. Which two packages must match exactly?",
            "Each torchvision is compiled against one version of torch: 0.21.0 against 2.6.0.",
            'torch = "==2.6.0" and torchvision = "==0.21.0"',
        ),
        is_pinned,
        Part(tables=("feature.*.pypi-dependencies", "pypi-dependencies")),
    ),
    Check(
        "4.3",
        "each package has one source: PyPI for torch and torchvision, conda-forge for the rest",
        (
            "The conda packages are solved first. What happens to a wheel that conda already provides?",
            "Look for names that appear in both dependencies and pypi-dependencies.",
            "Remove torchvision from [feature.pypi-mixed.dependencies] and numpy from the pypi-dependencies.",
        ),
        has_one_source_each,
        Part(tables=("feature.*.dependencies", "dependencies")),
    ),
    Check(
        "4.4",
        "the lock is up to date, with CUDA wheels, a sha256 for each, and no package from both sources",
        (
            "`pixi lock` writes the lock. The wheels are at the end of each environment's list.",
            "`pixi list -e pypi-mixed --platform linux-64-cuda12 --no-install` shows the kind of every package.",
            "If cuda-cudart or cudnn has the kind conda, one of your packages still depends on a GPU build from conda-forge.",
        ),
        is_locked,
        needs_pixi=True,
    ),
    Check(
        "4.5",
        "the comparison distinguishes rounding from a real difference, and the tolerance has a reason",
        (
            "How many digits does float32 have, and how many numbers are added up for one logit?",
            "Relative to the image's largest logit, rounding makes a difference of about 1e-6; TF32 or another network makes one of more than 1e-4.",
            "TOLERANCE = 1e-5, and REASON = a sentence with the digits of float32 and the length of the sums",
        ),
        distinguishes_rounding_from_errors,
    ),
    Check(
        "4.6",
        "you predicted in an environment with torch as a wheel",
        (
            "run.json records the environment of a run, and the sha256 of its lock. Is this the lock that you have now?",
            "Start the task with `pixi run` in the folder of your workspace. After every change of the lock, run it again.",
            "In exercise-4-pypi-mix/starter: pixi run -e pypi-mixed-cpu predict ../../results/trained --compare ../../results/here",
        ),
        is_run,
        needs_pixi=True,
    ),
]
