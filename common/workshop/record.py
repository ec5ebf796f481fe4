"""One run, one folder: `results/<exercise>/<run>/` with run.json, figures and weights, whole or not there at all.

A run works in `<run>.partial/` beside its place. Only when everything is written and run.json names every
file with its sha256 is the folder renamed. A crash, Ctrl-C or `kill -9` leaves the `.partial` folder, which
nothing takes for a result and from which `--resume` goes on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from workshop import crate
from workshop.device import cpu_name, nvidia_smi
from workshop.errors import WorkshopError
from workshop.files import sha256_of, write_atomic

SCHEMA = "reproducible-ml-workflows/run/1"
SCHEMA_FILE = Path(__file__).with_name("run.schema.json")
CHECKPOINT = "checkpoint.safetensors"
LOCK = ".lock"
# Variables that change which numbers come out: threads, libraries' algorithms, which GPU.
NUMERIC_VARIABLES = (
    "OMP_NUM", "OMP_THREAD", "OMP_DYNAMIC", "MKL_NUM", "MKL_CBWR", "MKL_ENABLE", "MKL_DYNAMIC", "OPENBLAS_",
    "BLIS_NUM", "VECLIB_MAX", "NUMEXPR_", "ONEDNN_", "DNNL_", "ATEN_CPU", "CUDA_VISIBLE", "CUDA_DEVICE_ORDER",
    "CUBLAS_", "CUDNN_", "NVIDIA_TF32", "NCCL_ALGO", "NCCL_PROTO", "TORCH_ALLOW_TF32", "XLA_FLAGS", "JAX_",
    "PYTHONHASHSEED", "WORKSHOP_DEVICE",
)  # fmt: skip


@dataclasses.dataclass
class Run:
    """A run under way. Write into `folder`; `finish` moves it to `final`."""

    exercise: str
    script: Path
    final: Path
    folder: Path
    origin: dict[str, Any]  # what run.json says of script, manifest, environment and host, read before the run
    lock: Any  # held while the process lives; the system drops it even after kill -9


def start(exercise: str, script: str, output: str | None, seed: int, resume: bool = False) -> Run:
    """Make (or with `resume` find) the `.partial` folder of a run.

    Without `output` the run goes to results/<exercise>/<time>-seed<seed> beside the exercise's folder, and
    `resume` takes the newest interrupted one there. Raises WorkshopError where the place is taken, is a file,
    cannot be written, another process is at work there, or there is nothing to resume.
    """
    path = Path(script).resolve()
    home = _results(path, exercise)
    again = f"python {_relative(path)}"
    if output is not None:
        final = Path(output).expanduser().absolute()
    elif resume:
        waiting = [p for p in home.glob("*.partial") if (p / CHECKPOINT).exists()]
        if not waiting:
            raise WorkshopError(home, "an interrupted run (*.partial) with a checkpoint", "none", again)
        final = max(waiting, key=lambda p: (p / CHECKPOINT).stat().st_mtime).with_suffix("")
    else:
        final = _free_name(home, f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-seed{seed}")
    folder = final.with_name(final.name + ".partial")
    _refuse_taken(final, folder, resume, again)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = _hold(folder)
        for left in folder.iterdir():  # by a killed process: half-written files, figures of an earlier try
            if left.name not in (CHECKPOINT, LOCK):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    except OSError as error:
        found = error.strerror or str(error)
        raise WorkshopError(
            folder, "a folder that can be written", found, "name another place with --output"
        ) from error
    return Run(exercise, path, final, folder, _origin(path), held)


def _origin(script: Path) -> dict[str, Any]:
    """Read at the start: the script may be edited while it runs, and what cannot be read should not cost a run."""
    return {
        "started": _now(),
        "git": _git(script.parent),
        "script": {"path": _relative(script), "sha256": sha256_of(script)},
        "manifest": _manifest(script),
        "environment": _environment(),
        "host": _host(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _refuse_taken(final: Path, folder: Path, resume: bool, again: str) -> None:
    if final.is_file():
        raise WorkshopError(
            final, "a new folder for the run", "a file of that name", "name another place with --output"
        )
    if final.exists() and not final.is_dir():
        raise WorkshopError(final, "a new folder for the run", "something else", "name another place with --output")
    if final.is_dir() and any(final.iterdir()):
        found = "a finished run" if (final / "run.json").exists() else "a folder with other files in it"
        raise WorkshopError(final, "a new folder for the run", found, "name another place with --output")
    if resume and not (folder / CHECKPOINT).exists():
        found = "no checkpoint there" if folder.exists() else "no such folder"
        raise WorkshopError(
            folder, "an interrupted run with a checkpoint", found, f"{again} --output {_relative(final)}"
        )
    if not resume and (folder / CHECKPOINT).exists():
        raise WorkshopError(
            folder, "a new place for the run", "an interrupted run with a checkpoint",
            f"{again} --output {_relative(final)} --resume  (or rm -r '{_relative(folder)}' to begin again)",
        )  # fmt: skip


def _hold(folder: Path) -> Any:
    """Lock the folder for this process. A library's lock, since each system has its own way."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise WorkshopError(
            folder, "an interrupted run", "another process is at work there now", "wait for it, or use another --output"
        ) from None
    return lock


def abandon(run: Run, advise: bool = True) -> None:
    """After an interruption: keep what can be resumed (and say how, with `advise`), remove what cannot."""
    run.lock.release()
    if (run.folder / CHECKPOINT).exists():
        if not advise:
            return
        where = f" --output {_relative(run.final)}"
        print(f"kept the last checkpoint; go on with: python {_relative(run.script)}{where} --resume", file=sys.stderr)
    else:
        shutil.rmtree(run.folder, ignore_errors=True)


def finish(run: Run, packages: tuple[str, ...], **said: Any) -> Path:
    """Describe every file in run.json and ro-crate-metadata.json, then move the folder to its place; the place.

    packages: names of the installed packages whose versions matter. said: seed, determinism, device, dataset,
    metrics and what else the schema allows; values are JSON.
    """
    outputs = [
        {"path": p.relative_to(run.folder).as_posix(), "sha256": sha256_of(p), "bytes": p.stat().st_size}
        for p in sorted(run.folder.rglob("*"))
        if p.is_file() and p.name not in (CHECKPOINT, LOCK)
    ]
    document = {
        "schema": SCHEMA,
        "exercise": run.exercise,
        "argv": [_relative(run.script), *sys.argv[1:]],
        "exit_status": 0,  # a run that fails leaves no run.json
        "ended": _now(),
        **run.origin,
        "packages": {name: version for name in packages if (version := _installed(name))},
        "variables": {k: v for k, v in sorted(os.environ.items()) if k.startswith(NUMERIC_VARIABLES)},
        **said,
        "outputs": outputs,
    }
    # run.json last: where it lies, everything else does.
    write_atomic(run.folder / "ro-crate-metadata.json", crate.describe(document).encode())
    write_atomic(run.folder / "run.json", (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
    run.lock.release()
    if run.final.exists():
        run.final.rmdir()  # an empty folder that the person made; rename does not replace it on every system
    os.rename(run.folder, run.final)
    for name in (CHECKPOINT, LOCK):  # only now: until the rename they are what a killed run goes on from
        (run.final / name).unlink(missing_ok=True)
    return run.final


def proportion_tolerance(p: float, n: int) -> dict[str, Any]:
    """The tolerance of an accuracy p measured on n images: how far a rerun on another device may lie.

    Three standard deviations of a proportion, sqrt(p (1 - p) / n), and one image: two networks that are equally
    good differ by about that much; a difference beyond it is one in what was computed.
    """
    return {
        "absolute": round(3 * (p * (1 - p) / n) ** 0.5 + 1 / n, 6),
        "reason": f"3 sqrt(p (1 - p) / n) + 1 / n with p = {p:.4f}, n = {n}: equally good networks differ by that much",
    }


def _results(script: Path, exercise: str) -> Path:
    """results/<exercise> in the root of the repository, or beside a script that was lifted out of it."""
    for parent in script.parents:
        if (parent / exercise).is_dir() or (parent / ".git").exists():
            return parent / "results" / exercise
    return script.parent / "results" / exercise


def _free_name(home: Path, stem: str) -> Path:
    number, name = 1, stem
    while (home / name).exists() or (home / f"{name}.partial").exists():
        number += 1
        name = f"{stem}-{number}"
    return home / name


def _relative(path: Path) -> str:
    """The path as a person in this folder would type it."""
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git(folder: Path) -> dict[str, Any] | None:
    """Commit and dirty flag of the checkout that holds `folder`; None outside a checkout or without git."""

    def ask(*words: str) -> str | None:
        try:
            answer = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    if commit is None:
        return None
    status = ask("status", "--porcelain")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def _manifest(script: Path) -> dict[str, str] | None:
    """The manifest in force: Pixi's own word where Pixi runs this, else the nearest pixi.toml above the script."""
    named = os.environ.get("PIXI_PROJECT_MANIFEST")
    candidates = [Path(named)] if named else [parent / "pixi.toml" for parent in script.parents]
    for path in candidates:
        if path.is_file():
            return {"path": _relative(path), "sha256": sha256_of(path)}
    return None


def _environment() -> dict[str, Any]:
    """What the interpreter's environment is made of, read off the installed files and not off a plan.

    Under Pixi: name, platform, the sha256 of its locked packages, and whether just those are installed. Else:
    the sha256 over name and version of every installed distribution.
    """
    name, root = os.environ.get("PIXI_ENVIRONMENT_NAME"), os.environ.get("PIXI_PROJECT_ROOT")
    if name and root and (Path(root) / "pixi.lock").is_file():
        return _pixi_environment(name, Path(root) / "pixi.lock")
    found = sorted({f"{d.metadata['Name']}=={d.version}" for d in metadata.distributions() if d.metadata["Name"]})
    return {"kind": "python", "python": platform.python_version(), "packages": len(found), "sha256": _sha_lines(found)}


def _pixi_environment(name: str, path: Path) -> dict[str, Any]:
    from workshop import lock as locks

    lock = locks.read(path)
    if name not in lock.environments:
        raise WorkshopError(path, f"the environment {name} that this run is in", "no such environment", "pixi lock")
    # Installed conda packages leave name-version-build.json each; the platform is the one that they are of.
    installed = {p.name.removesuffix(".json") for p in Path(sys.prefix, "conda-meta").glob("*.json")}
    best, best_rank = None, None
    for row, packages in lock.environments[name].packages.items():
        locked = {f"{p.name}-{p.version}-{p.build}" for p in packages if p.kind == "conda"}
        rank = (lock.platform(row).subdir != _subdir(), len(installed ^ locked), row)
        if best_rank is None or rank < best_rank:
            best, best_rank = (row, packages, locked), rank
    row, packages, locked = best
    platform_row = lock.platform(row)
    return {
        "kind": "pixi",
        "name": name,
        "lock": {"path": _relative(path), "sha256": sha256_of(path)},
        "platform": platform_row.subdir,
        "virtual_packages": list(platform_row.virtual_packages),
        "packages": len(packages),
        "sha256": _sha_lines(sorted(f"{p.url} {p.sha256}" for p in packages)),
        "missing": sorted(locked - installed),
        "extra": sorted(installed - locked),
    }


def _subdir() -> str:
    """conda's name for this kind of machine, as in `linux-64`."""
    system = {"Linux": "linux", "Darwin": "osx", "Windows": "win"}.get(platform.system(), platform.system().lower())
    machine = platform.machine().lower()
    return f"{system}-{'64' if machine in ('x86_64', 'amd64') else machine}"


def _sha_lines(lines: list[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def _host() -> dict[str, Any]:
    """The machine: operating system, glibc, CPU, GPU and driver. No name of host or user."""
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
