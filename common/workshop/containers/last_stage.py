"""What is wrong with the last stage of a Dockerfile, the one that is shipped: what it holds, and how it is activated."""

from __future__ import annotations

import re
from collections.abc import Iterator

from workshop.containers import dockerfile, shellwords
from workshop.containers.dockerfile import Instruction, Stage
from workshop.containers.images import Finding, Image, activation_of, copies

BUILD_TOOLS = frozenset(
    "build-essential gcc g++ clang make cmake ninja-build gfortran python3-dev python-dev gcc-c++ rustc cargo".split()
)
# What an entry point that activates begins with.
_ACTIVATING = r"^(pixi|conda|mamba|micromamba)$|activate|shell-hook|\.sh$"


def findings(image: Image) -> list[Finding]:
    """Both, in this order."""
    return [*holds(image), *activation(image)]


def holds(image: Image) -> list[Finding]:
    """The last stage: a base of its own, the environment at its path, none of Pixi, a user who is not root."""
    found, last, install = [], image.final, image.install
    where = f"{image.path.name}, the last stage (line {last.line})"
    own = last.lineage()
    if install is not None and install.stage in own:
        name = "one-stage" if len(image.stages) == 1 else "pixi-in-final"
        advice = "FROM a small base, then COPY --from=build the environment"
        found.append(
            Finding(
                name, "error", where, "a stage of its own, without Pixi and its cache", "Pixi installs in it", advice
            )
        )
    elif install is not None:
        found += _prefix(image, where)
    if problem := _pixi_left(image, own):
        if not any(f.name in ("one-stage", "pixi-in-final") for f in found):
            found.append(
                Finding(
                    "pixi-in-final",
                    "error",
                    where,
                    "no Pixi in what is run",
                    problem,
                    "take only the environment: COPY --from=build",
                )
            )
    if tools := _tools(own):
        advice = "install what compiles in the first stage"
        found.append(Finding("build-tools", "error", where, "no compilers in what is run", tools, advice))
    user = (last.user or "").partition(":")[0]
    if user in ("", "root") or (user.isdecimal() and int(user) == 0):
        found.append(
            Finding(
                "root-user",
                "error",
                where,
                "USER with a number of its own, as in 1000:1000",
                f"USER {last.user}" if user else "root (no USER)",
                "USER 1000:1000 after the last RUN",
            )
        )
    elif not user.isdecimal():
        found.append(
            Finding(
                "user-by-name",
                "error",
                where,
                "USER by number: a cluster sees numbers, and some check for 0",
                f"USER {last.user}",
                "USER 1000:1000",
            )
        )
    if last.healthcheck is None:
        advice = 'HEALTHCHECK CMD ["python", "-c", "import torch"]'
        found.append(Finding("healthcheck", "advice", where, "a HEALTHCHECK that imports the stack", "none", advice))
    if "org.opencontainers.image.revision" not in last.labels or not any("lock" in key for key in last.labels):
        listed = ", ".join(last.labels) or "no label"
        found.append(
            Finding(
                "labels",
                "advice",
                where,
                "labels with the git revision and the sha256 of the lock",
                listed,
                'LABEL org.opencontainers.image.revision="${REVISION}" workshop.lock.sha256="${LOCK_SHA256}"',
            )
        )
    return found


def _prefix(image: Image, where: str) -> Iterator[Finding]:
    """The environment is copied to the path that it was installed at: its files hold that path."""
    prefix, targets = image.install.prefix, image.places(image.install)
    wanted = f"COPY --from={image.install.stage.name} {prefix} {prefix}"
    if not targets:
        yield Finding("prefix-not-copied", "error", where, f"a COPY --from of {prefix}", "none", wanted)
    elif prefix not in targets:
        yield Finding(
            "prefix-moved",
            "error",
            where,
            f"the environment at {prefix}, where it was installed: its files hold that path",
            f"at {targets[0]}",
            wanted,
        )


def _pixi_left(image: Image, own: list[Stage]) -> str | None:
    last_word = own[0].base.partition("@")[0].rsplit("/", 1)[-1].partition(":")[0]
    if "pixi" in last_word:
        return f"FROM {own[0].base[:60]}"
    for stage in own:
        for step, _, sources, target in copies(stage):
            if target.endswith("/pixi") or any(source.endswith("/pixi") for source in sources):
                return image.where(step.instruction)
        for step in stage.steps:
            if step.instruction.name == "RUN" and (
                re.search(r"pixi\.sh/install|releases/\S*/pixi-", step.instruction.script)
                or shellwords.pixi_calls(step.instruction.script, step.values)
            ):
                return image.where(step.instruction)
    return None


def _tools(own: list[Stage]) -> str | None:
    if re.search(r":[^@]*-devel", own[0].base):
        return own[0].base[:60]
    for stage in own:
        for step in stage.steps:
            if step.instruction.name != "RUN":
                continue
            for _, words in shellwords.commands(step.instruction.script, step.values):
                if {"install", "add"} & set(words) and (
                    tools := BUILD_TOOLS & {word.partition("=")[0] for word in words}
                ):
                    return f"{', '.join(sorted(tools))} (line {step.instruction.line})"
    return None


def activation(image: Image) -> list[Finding]:
    """What activation would set is set by ENV, so that `docker run`, `apptainer exec` and a job see one environment."""
    found, last = [], image.final
    where = f"{image.path.name}, the last stage (line {last.line})"
    if last.entrypoint is not None and _starts(last.entrypoint, last.env, _ACTIVATING):
        found.append(
            Finding(
                "entrypoint",
                "error",
                image.where(last.entrypoint),
                "activation by ENV: apptainer exec and most batch systems pass the entry point by",
                "an entry point that activates",
                "remove it, and set PATH and the rest with ENV",
            )
        )
    for instruction in (last.command, last.healthcheck and dockerfile.health_command(last.healthcheck)):
        if instruction is not None and _starts(instruction, last.env, "^pixi$|shell-hook"):
            advice = 'CMD ["python", "train.py"]: PATH finds the python of the environment'
            found.append(
                Finding(
                    "command",
                    "error",
                    image.where(instruction),
                    "a command that needs no Pixi: the last stage has none",
                    "it calls Pixi",
                    advice,
                )
            )
    if image.install is None or image.install.call.unset:
        return found
    prefix, environment = image.install.prefix, image.install.call.environment
    entries = last.env.get("PATH", "").split(":")
    if f"{prefix}/bin" not in entries:
        found.append(
            Finding(
                "path",
                "error",
                where,
                f"ENV PATH with {prefix}/bin in front",
                last.env.get("PATH", "no ENV PATH")[:80],
                f"ENV PATH={prefix}/bin:${{PATH}}",
            )
        )
    elif entries[0] != f"{prefix}/bin":
        found.append(
            Finding(
                "path",
                "error",
                where,
                f"{prefix}/bin first in PATH",
                ":".join(entries)[:80],
                f"ENV PATH={prefix}/bin:${{PATH}}",
            )
        )
    if last.env.get("CONDA_PREFIX", "").rstrip("/") != prefix:
        said = last.env.get("CONDA_PREFIX", "not set")
        found.append(
            Finding("conda-prefix", "error", where, f"ENV CONDA_PREFIX={prefix}", said, f"ENV CONDA_PREFIX={prefix}")
        )
    if image.workspace is not None and environment in image.workspace.environments and image.linux:
        for name, value in activation_of(image.workspace, environment, image.linux[0]).items():
            if not last.env.get(name):
                found.append(
                    Finding(
                        "activation-variable",
                        "error",
                        where,
                        f"{name}, which activating {environment} sets to {value}",
                        "not set",
                        f"ENV {name}=...",
                    )
                )
    if image.cuda:
        found += _gpu(last, where, environment)
    return found


def _starts(instruction: Instruction, variables: dict[str, str], names: str) -> bool:
    """Whether a CMD or an ENTRYPOINT starts a program of such a name, itself or by a shell."""
    started = shellwords.programs(instruction.script, variables)
    return any(re.search(names, program) for program in started) or bool(
        shellwords.pixi_calls(instruction.script, variables)
    )


def _gpu(last: Stage, where: str, environment: str) -> Iterator[Finding]:
    variables = last.env
    if re.search(r"(^|/)nvidia/", last.lineage()[0].base):  # NVIDIA's own images set both
        variables = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"} | variables
    visible = variables.get("NVIDIA_VISIBLE_DEVICES", "")
    able = variables.get("NVIDIA_DRIVER_CAPABILITIES", "").split(",")
    if visible in ("", "void", "none"):
        yield Finding(
            "gpu-variables",
            "error",
            where,
            f"NVIDIA_VISIBLE_DEVICES=all for {environment}: it asks for the host's GPUs",
            visible or "not set",
            "ENV NVIDIA_VISIBLE_DEVICES=all",
        )
    if not {"compute", "all"} & set(able):
        yield Finding(
            "gpu-variables",
            "error",
            where,
            f"NVIDIA_DRIVER_CAPABILITIES=compute,utility for {environment}: CUDA needs the first",
            variables.get("NVIDIA_DRIVER_CAPABILITIES", "not set"),
            "ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )
