"""The commands about any Pixi workspace: `lock-check`, `environments`, `drivers`, `lock-slice`. The answers are `pixi_workspace`'s."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pixi_workspace
from pixi_workspace import disk, lock_slice, needs
from pixi_workspace import environments as environments_of
from pixi_workspace.environments import lowest_required
from pixi_workspace.fit import lockcheck
from pixi_workspace.needs import PlatformEnvironment
from workshop.support import report
from workshop.support.files import write_atomic

INDENT = 23  # room for linux-aarch64-cuda12, the longest name of a platform
OLDEST_CUDA = "11.8"  # in the table of `workshop drivers`: the oldest in use in this workshop
NOTHING_ODD = "nothing odd: no CPU build on a platform that declares CUDA, and no CUDA build on one that declares none"


def lock_check(path: str, as_json: bool) -> int:
    """Print the verdict on the lock of the workspace at `path`; 0 for up-to-date, 1 for every other verdict."""
    verdict = lockcheck.judge(path)
    print(lockcheck.to_json(verdict) if as_json else lockcheck.to_text(verdict))
    return 0 if verdict.verdict == "up-to-date" else 1


def slice_lock(folder: str) -> int:
    """Write pixi.lock in `folder`, cut out of the lock of the workspace around it; 0."""
    part = pixi_workspace.load(pixi_workspace.find(Path(folder)))
    whole = pixi_workspace.load(lock_slice.workspace_above(part.path))
    content = lock_slice.cut(whole, part)
    target, source = part.path.with_name("pixi.lock"), whole.path.with_name("pixi.lock")
    write_atomic(target, content)
    print(f"{os.path.relpath(target)}: {len(content):,} bytes, cut out of {os.path.relpath(source)}")
    return 0


def environments(path: str, as_json: bool) -> int:
    """Print what each environment of the workspace at `path` needs; 0, or 1 if one of them is odd.

    Raises WorkspaceError if there is no manifest or no lock, or one of them cannot be read.
    """
    manifest, envs = environments_of.locked_environments(Path(path))
    folder = manifest.path.parent
    sizes = {env.environment: disk.installed(folder, env.environment) for env in envs}
    odd = any(_oddities(env, envs) for env in envs)
    if as_json:
        listed = [environments_of.summary(env, sizes[env.environment], envs) for env in envs]
        print(json.dumps({"odd": odd, "environments": listed}, indent=2))
    else:
        report.print_lines(report_lines(envs, sizes))
    return 1 if odd else 0


def drivers(as_json: bool) -> int:
    """Print the Linux driver and the compute capabilities of each CUDA, and which GPU has which; 0."""
    rows = [
        {"cuda": cuda, "linux_driver": driver, "compute_capabilities": needs.capabilities_of(cuda)}
        for cuda, driver in needs.LINUX_DRIVERS.items()
        if needs.Version(cuda) >= needs.Version(OLDEST_CUDA)
    ]
    majors = needs.MINOR_VERSION_COMPATIBILITY
    if as_json:
        print(json.dumps({"cuda": rows, "oldest_of_major_version": majors, "gpus": needs.GPUS}, indent=2))
        return 0
    lines = [f"{'CUDA':7}{'driver for all of it':23}{'driver that runs it':22}compute capability"]
    for row in rows:
        low, high = row["compute_capabilities"] or ("?", "?")
        oldest = majors[row["cuda"].split(".")[0]]
        lines.append(f"{row['cuda']:7}{row['linux_driver']:23}{oldest:22}{low} to {high}")
    lines += ["", "GPUs with a compute capability of"]
    lines += [f"  {capability:5}{names}" for capability, names in needs.GPUS.items()]
    report.print_lines(lines)
    return 0


def report_lines(envs: list[PlatformEnvironment], sizes: dict[str, int | None]) -> list[str]:
    """The report. Environments with the same content, as in a solve group, share a block."""
    blocks: dict[str, list[str]] = {}
    for name in dict.fromkeys(env.environment for env in envs):
        text = [line for env in envs if env.environment == name for line in _of_platform(env, envs)]
        if (size := sizes[name]) is not None:
            text.append(f"  installed here       {report.mebibytes(size)}, measured")
        blocks.setdefault("\n".join(text), []).append(name)
    printed = [line for text, names in blocks.items() for line in (", ".join(names), *text.split("\n"), "")]
    unknown = "Installed size: unknown until an environment is installed here. The lock contains only the size of the "
    if any(size is None for size in sizes.values()):
        printed += report.wrap_beside("", unknown + "downloads, which is smaller.", 0)
    odd = sum(bool(_oddities(env, envs)) for env in envs)
    return [*printed, *report.wrap_beside("", f"{odd} odd, see above" if odd else NOTHING_ODD, 0)]


def _oddities(env: PlatformEnvironment, envs: list[PlatformEnvironment]) -> list[str]:
    return needs.oddities(env, environments_of.same_environment(env, envs))


def _of_platform(env: PlatformEnvironment, envs: list[PlatformEnvironment]) -> list[str]:
    """The report on one environment on one platform."""
    name = env.platform.name
    head = f"  {name}" if name.startswith(env.platform.subdir) else f"  {name} ({env.platform.subdir})"
    if not env.packages:
        return report.wrap_beside(head, "nothing is locked; next: pixi lock", INDENT)
    kinds = env.variants
    builds: dict[str, list[str]] = {}
    for package, kind in kinds:
        if not package.name.endswith(("-cpu", "-gpu")):  # packages without content that choose a build
            builds.setdefault(kind.upper() if kind != "cpu" else "the CPU", []).append(str(package))
    built, lowest = needs.built_for(env), needs.lowest_cuda(env)
    size, unknown = needs.download(env)
    more = f" and {unknown} of unknown size" if unknown else ""
    system = [f"{needs.WORDS[name]} {low}" for name, low in lowest_required(env).items() if name != "__cuda"]
    if wheel := needs.wheel_for_glibc(env):
        system = [f"{words} (the wheel {wheel})" if words.startswith("glibc ") else words for words in system]
    to_download = f"{report.mebibytes(size)} in {len(env.packages) - unknown} packages{more}"
    details = "; ".join([to_download, *system])
    if not builds:
        lines = report.wrap_beside(head, f"no packages for a GPU; {details}", INDENT)
    else:
        words = "; ".join(f"{', '.join(names)}: for {target}" for target, names in builds.items())
        lines = report.wrap_beside(head, words, INDENT)
        lines += report.wrap_beside("    driver", driver(env, lowest, built), INDENT) if built and lowest else []
        lines += report.wrap_beside("    download", details, INDENT)
    for package, why in needs.source_archives(env, envs):
        lines += report.wrap_beside("    built here", f"{package} is built on installation: {why}", INDENT)
    for odd in _oddities(env, envs):
        lines += report.wrap_beside("    ODD", odd, INDENT)
    return lines


def driver(env: PlatformEnvironment, lowest: str, built: str | None) -> str:
    """The driver that an environment needs, what requires it, and what an older driver cannot do."""
    declared = env.platform.version_of("__cuda")
    reason = f"the platform declares {declared}" if declared else "the platform declares none"
    packages = [need for need in needs.required_by_packages(env) if need.virtual == "__cuda"]
    least = needs.least([*packages, *needs.constrained_by_packages(env)])
    reason += (
        f" and packages require {least}"
        if least
        else " and packages require one"
        if packages
        else " and no package requires one"
    )
    number = needs.driver_for(lowest)
    linux = f" (Linux: {number} or newer)" if number else " (this check does not know which driver release)"
    text = f"any that supports CUDA {lowest}{linux}, because {reason}" if lowest != "0" else f"any, because {reason}"
    if not built or built == "0" or needs.Version(lowest) >= needs.Version(built):
        return text
    if full := needs.driver_for(built):
        text += f". All features of CUDA {built} need {full} or newer"
        if base := needs.MINOR_VERSION_COMPATIBILITY.get(built.split(".")[0]):
            text += (
                f"; from {base} on, minor version compatibility runs all but code that is compiled at run time (PTX)"
            )
    return text
