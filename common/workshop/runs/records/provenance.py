"""The origin of a result: script, git commit, manifest, locked and installed packages, machine.

Everything is read from what exists (installed files, the checkout, the system), not from what was requested.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from workshop.shell import git, relative
from workshop.support.files import read_text, sha256_of
from workshop.support.hardware import cpu_name, nvidia_smi, subdir

# Prefixes of variables that can change the results: threads, algorithms of libraries, choice of the GPU.
NUMERIC_VARIABLES = (
    "OMP_NUM",
    "OMP_THREAD",
    "OMP_DYNAMIC",
    "MKL_NUM",
    "MKL_CBWR",
    "MKL_ENABLE",
    "MKL_DYNAMIC",
    "OPENBLAS_",
    "BLIS_NUM",
    "VECLIB_MAX",
    "NUMEXPR_",
    "ONEDNN_",
    "DNNL_",
    "ATEN_CPU",
    "NPY_DISABLE_CPU",
    "GLIBC_TUNABLES",
    "CUDA_VISIBLE",
    "CUDA_DEVICE_ORDER",
    "CUBLAS_",
    "CUDNN_",
    "NVIDIA_TF32",
    "NCCL_ALGO",
    "NCCL_PROTO",
    "TORCH_ALLOW_TF32",
    "XLA_FLAGS",
    "JAX_",
    "PYTHONHASHSEED",
    "WORKSHOP_DEVICE",
)

# JAX's cache of compiled code: it changes no result, and its value is a path of the user's.
CACHE_VARIABLES = ("JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE")

# Their __version__ contains the build.
FRAMEWORKS = ("torch", "torchvision", "jax", "jaxlib")


def origin(script: Path) -> dict[str, Any]:
    """Facts to read before the run: the script may be edited later, and an error should come before the work."""
    return {
        "started": now(),
        "git": _git(script),
        "script": {"path": relative(script), "sha256": sha256_of(script)},
        "manifest": _manifest(script),
        "environment": _environment(),
        "host": _host(),
        "job": job(),
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _git(script: Path) -> dict[str, Any] | None:
    """Commit and dirty flag of the checkout that the script belongs to.

    None without git, outside a checkout, and for a script that git does not track: a commit of the surrounding checkout
    (such as a home folder under version control) would say nothing about it. An image contains no history; there
    WORKSHOP_REVISION is the commit that it was built from. It applies only to scripts in the image's workspace.
    """
    built = re.fullmatch(r"([0-9a-f]{40})(-dirty)?", os.environ.get("WORKSHOP_REVISION", ""))
    if built and script.is_relative_to(Path(os.environ.get("PIXI_PROJECT_ROOT", "/")).resolve()):
        return {"commit": built[1], "dirty": built[2] is not None}
    commit = git(script.parent, "rev-parse", "HEAD")
    if commit is None or git(script.parent, "ls-files", "--error-unmatch", script.name) is None:
        return None
    status = git(script.parent, "status", "--porcelain")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def _manifest(script: Path) -> dict[str, str] | None:
    """The manifest in use: the one that Pixi names, without Pixi the nearest pixi.toml above the script."""
    from_pixi = os.environ.get("PIXI_PROJECT_MANIFEST")
    candidates = [Path(from_pixi)] if from_pixi else [parent / "pixi.toml" for parent in script.parents]
    for path in candidates:
        if path.is_file():
            return {"path": relative(path), "sha256": sha256_of(path)}
    return None


def _environment() -> dict[str, Any]:
    """The interpreter's environment, read from the installed files.

    installed: `name-version-build` of each conda package (from its file in conda-meta), `name==version` of every other
    Python package. sha256: over these lines. Under Pixi also the name of the environment and the sha256 of the lock.
    """
    prefix = Path(sys.prefix)
    conda = {path.stem for path in (prefix / "conda-meta").glob("*.json")}
    # Conda packages that contain Python code name conda as their installer.
    wheels = {
        f"{name}=={version}" for name, version, installer in _distributions() if installer != "conda" or not conda
    }
    installed = sorted(conda | wheels)
    found = {
        "kind": "python",
        "python": platform.python_version(),
        "packages": len(installed),
        "sha256": _sha_lines(installed),
        "installed": installed,
    }
    name, root = os.environ.get("PIXI_ENVIRONMENT_NAME"), os.environ.get("PIXI_PROJECT_ROOT")
    # Other interpreters inherit these variables, for example that of a job submitted with `pixi run`.
    if name and prefix.name == name and root and (lock := Path(root) / "pixi.lock").is_file():
        found |= {
            "kind": "pixi",
            "name": name,
            "platform": subdir(),
            "lock": {"path": relative(lock), "sha256": sha256_of(lock)},
        }
    return found


def _distributions() -> Iterator[tuple[str, str, str]]:
    """Name, version and installer of every distribution of this environment.

    Only the lines for them are parsed: Python's parser for this format (e-mail) takes ten times as long.
    """
    for distribution in metadata.distributions():
        texts = map(
            distribution.read_text, ("METADATA", "PKG-INFO", "")
        )  # the last one is for eggs that are a single file
        head = next(filter(None, texts), "").partition("\n\n")[0]
        fields = dict(re.findall(r"^(Name|Version):[ \t]*(.*?)[ \t]*$", head, re.MULTILINE))
        if fields.get("Name") and fields.get("Version"):
            yield fields["Name"], fields["Version"], (distribution.read_text("INSTALLER") or "").strip()


def _sha_lines(lines: list[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def _host() -> dict[str, Any]:
    """The machine: operating system, glibc, CPU, GPU and driver, without the names of host and user."""
    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        system = f"{platform.system()} {platform.mac_ver()[0] or platform.release()}"
    libc, version = platform.libc_ver()
    gpu = nvidia_smi()
    return {
        "os": system,
        "kernel": f"{platform.system()} {platform.release()}",
        "arch": platform.machine(),
        "glibc": version if libc == "glibc" else None,
        "cpu": cpu_name(),
        "cpu_count": os.cpu_count(),
        "gpu": gpu.get("gpu"),
        "driver": gpu.get("driver"),
        "python": platform.python_version(),
    }


def numpy_cpu() -> str:
    """The instruction sets of this processor that NumPy uses besides those that all have, such as `AVX2 AVX512F`.

    They decide which of its loops run, and these round differently.
    """
    import numpy as np

    config: Any = np.show_config(mode="dicts")
    return " ".join(config["SIMD Extensions"].get("found", []))


def software(names: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """The versions of the installed packages among `names`, and the versions that the frameworks themselves report.

    The two may differ: PyPI's package torch 2.13.0 for Linux is the build 2.13.0+cu130.
    """
    packages = {name: version for name in names if (version := installed(name))}
    modules = {name: sys.modules[name] for name in names if name in FRAMEWORKS and name in sys.modules}
    return {"packages": packages, "frameworks": {name: str(module.__version__) for name, module in modules.items()}}


def versions_that_differ(here: dict[str, Any], there: dict[str, Any]) -> dict[str, list[str | None]]:
    """Packages whose versions differ between the `software` of two runs: [here, there], None if not installed.

    Runs of earlier versions have no `frameworks`, and their package versions may lack the build (after +). In that case
    the build is not compared.
    """
    builds_known = "frameworks" in here and "frameworks" in there
    found = {}
    for name in sorted(here["packages"].keys() | there["packages"].keys()):
        ours, theirs = _exact_version(here, name), _exact_version(there, name)
        if ours != theirs and (builds_known or _without_build(ours) != _without_build(theirs)):
            found[name] = [ours, theirs]
    return found


def _exact_version(software: dict[str, Any], name: str) -> str | None:
    """The version that a framework reports if it adds a build to the package's version; otherwise the package's."""
    package, reported = software["packages"].get(name), software.get("frameworks", {}).get(name)
    return reported if reported and _without_build(reported) == _without_build(package) else package


def _without_build(version: str | None) -> str | None:
    return version and version.partition("+")[0]


def variables() -> dict[str, str]:
    """The environment variables that can change the results, with their values."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(NUMERIC_VARIABLES) and not name.startswith(CACHE_VARIABLES)
    }


def job() -> dict[str, Any] | None:
    """The Slurm or HTCondor job of this process, as the scheduler describes it; None outside a job.

    restarts: how often the job was requeued. array, task: of a job array (HTCondor: cluster, process).
    """
    if number := os.environ.get("SLURM_JOB_ID"):
        array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID", "")
        return {
            "scheduler": "slurm",
            "id": number,
            "array": array,
            "task": int(task) if task.isdecimal() else None,
            "node": os.environ.get("SLURMD_NODENAME"),
            "restarts": _count(os.environ.get("SLURM_RESTART_COUNT", "")),
        }
    job_ad = _job_ad(os.environ.get("_CONDOR_JOB_AD"))
    if cluster := job_ad.get("ClusterId"):
        process = job_ad.get("ProcId", "")
        return {
            "scheduler": "htcondor",
            "id": f"{cluster}.{process}",
            "array": cluster,
            "task": int(process) if process.isdecimal() else None,
            "node": job_ad.get("RemoteHost") or os.environ.get("_CONDOR_SLOT"),
            "restarts": _count(job_ad.get("NumJobStarts", "")),
        }
    return None


def _count(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _job_ad(path: str | None) -> dict[str, str]:
    """The job's ClassAd, which HTCondor writes as lines `Name = value`; empty if it cannot be read."""
    try:
        lines = read_text(Path(path)).splitlines() if path else []
    except OSError:
        return {}
    pairs = (line.split(" = ", 1) for line in lines if " = " in line)
    return {name.strip(): value.strip().strip('"') for name, value in pairs}


def installed(name: str) -> str | None:
    """The version of an installed Python package; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
