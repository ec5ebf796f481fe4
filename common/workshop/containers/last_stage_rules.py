"""Rules for the last stage of a Dockerfile, which becomes the image: its content, and how it activates the environment."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pixi_workspace.manifest import Manifest
from workshop.containers import build_rules, dockerfile, images, shellwords
from workshop.containers.dockerfile import Instruction, Stage
from workshop.containers.images import Image, Install, activation_variables, copies, health_command
from workshop.support.rules import ADVICE, ERROR, Finding, Problem, Rule, findings_of

BUILD_TOOLS = frozenset(
    "build-essential gcc g++ clang make cmake ninja-build gfortran python3-dev python-dev gcc-c++ rustc cargo".split()
)
# Commands that only root may run.
_FOR_ROOT = re.compile(r">\s*/etc/|\b(?:apt-get|apt|apk|dnf|microdnf|yum|useradd|adduser|groupadd)\b")
# Programs and scripts that activate an environment.
_ACTIVATING = r"^(pixi|conda|mamba|micromamba)$|activate|shell-hook|\.sh$"


def last_stage_findings(image: Image) -> list[Finding]:
    """Findings about the content of the last stage: the environment at its path, no Pixi, a user other than root."""
    return [*findings_of([image], CONTENT_RULES)]


def activation_findings(image: Image) -> list[Finding]:
    """Findings about activation: with ENV, `docker run`, `apptainer exec` and batch jobs all get the same environment."""
    installs = [image.install] if image.install and not image.install.call.unset else []
    return [*findings_of([image], COMMAND_RULES), *findings_of(installs, ACTIVATION_RULES)]


def _where(image: Image) -> str:
    return f"{image.path.name}, the last stage (line {image.final_stage.line})"


# ---------------------------------------------------------------- what it contains


def _installs_in_final_stage(image: Image) -> bool:
    return image.install is not None and image.install.stage in image.final_stage.lineage()


def _one_stage(image: Image) -> Iterator[Problem]:
    if _installs_in_final_stage(image) and len(image.stages) == 1:
        yield _pixi_installs(image)


def _pixi_in_final(image: Image) -> Iterator[Problem]:
    if _installs_in_final_stage(image):
        if len(image.stages) > 1:
            yield _pixi_installs(image)
    elif step := _pixi_source(image):
        yield Problem(
            looked_at=_where(image),
            expected="no Pixi in the last stage: the installed environment is enough",
            found=step,
            next_step="copy only the environment: COPY --from=build",
        )


def _pixi_installs(image: Image) -> Problem:
    return Problem(
        looked_at=_where(image),
        expected="a last stage without Pixi and its cache, which the image would contain",
        found="Pixi installs in this stage",
        next_step="add a stage: FROM a small base image, then COPY --from=build the environment",
    )


def _pixi_source(image: Image) -> str | None:
    """The line that adds Pixi to the last stage; None if there is none."""
    stages = image.final_stage.lineage()
    base = stages[0].base
    if "pixi" in base.partition("@")[0].rsplit("/", 1)[-1].partition(":")[0]:
        return f"FROM {base[:60]}"
    for stage in stages:
        for step, _, sources, target in copies(stage):
            if target.endswith("/pixi") or any(source.endswith("/pixi") for source in sources):
                return image.location(step.instruction)
        for step in stage.steps:
            if step.instruction.name == "RUN" and (
                re.search(r"pixi\.sh/install|releases/\S*/pixi-", step.instruction.script)
                or shellwords.pixi_calls(step.instruction.script, step.values)
            ):
                return image.location(step.instruction)
    return None


def _prefix_not_copied(image: Image) -> Iterator[Problem]:
    install = image.install
    if install is not None and not _installs_in_final_stage(image) and not image.final_prefixes(install):
        yield Problem(
            looked_at=_where(image),
            expected=f"{install.prefix}, copied from the stage that installs the environment",
            found="none",
            next_step=_copy_prefix(install),
        )


def _prefix_moved(image: Image) -> Iterator[Problem]:
    install = image.install
    if install is None or _installs_in_final_stage(image):
        return
    targets = image.final_prefixes(install)
    if targets and install.prefix not in targets:
        yield Problem(
            looked_at=_where(image),
            expected=f"the environment at {install.prefix}, where it was installed: its files contain that path",
            found=f"copied to {targets[0]}",
            next_step=_copy_prefix(install),
        )


def _copy_prefix(install: Install) -> str:
    return f"COPY --from={install.stage.name} {install.prefix} {install.prefix}"


def _musl(image: Image) -> Iterator[Problem]:
    stages = image.final_stage.lineage()
    steps = (step.instruction for stage in stages for step in stage.steps)
    scripts = [instruction.script for instruction in steps if instruction.name == "RUN"]
    if image.install and images.has_only_musl(stages[0].base, scripts):
        line = build_rules.line_of_name(image, stages[0].line)
        yield images.musl_problem(line, stages[0].base, "FROM debian:13-slim@sha256:...")


def _build_tools(image: Image) -> Iterator[Problem]:
    if tools := _compilers(image.final_stage.lineage()):
        yield Problem(
            looked_at=_where(image),
            expected="no compilers in the last stage",
            found=tools,
            next_step="install them in the stage that builds",
        )


def _compilers(stages: list[Stage]) -> str | None:
    """The compilers that the stages install, or the base image that contains them; None without any."""
    if re.search(r":[^@]*-devel", stages[0].base):
        return stages[0].base[:60]
    for step in (step for stage in stages for step in stage.steps if step.instruction.name == "RUN"):
        for _, words in shellwords.commands(step.instruction.script, step.values):
            tools = BUILD_TOOLS & {word.partition("=")[0] for word in words}
            if tools and {"install", "add"} & set(words):
                return f"{', '.join(sorted(tools))} (line {step.instruction.line})"
    return None


def _is_root(user: str) -> bool:
    return user == "root" or not user.strip("0")


def _user(image: Image) -> str:
    """The user without the group."""
    return (image.final_stage.user or "").partition(":")[0]


def _root_user(image: Image) -> Iterator[Problem]:
    user = _user(image)
    if _is_root(user):
        yield Problem(
            looked_at=_where(image),
            expected="a USER other than root, as a number, so that a faulty program cannot change the system",
            found=f"USER {image.final_stage.user}" if user else "root (no USER)",
            next_step="USER 1000:1000 after the last RUN",
        )


def _user_by_name(image: Image) -> Iterator[Problem]:
    user = _user(image)
    if not _is_root(user) and not user.isdecimal():
        yield Problem(
            looked_at=_where(image),
            expected="USER as a number: Kubernetes and some clusters refuse a user whose number they cannot see",
            found=f"USER {image.final_stage.user}",
            next_step="USER 1000:1000",
        )


def _user_too_early(image: Image) -> Iterator[Problem]:
    user = ""
    for step in (step for stage in image.final_stage.lineage() for step in stage.steps):
        script = step.instruction.script
        if step.instruction.name == "USER":
            user = " ".join(step.words)
        elif step.instruction.name == "RUN" and not _is_root(user.partition(":")[0]) and "sudo" not in script:
            if command := _FOR_ROOT.search(script):
                yield Problem(
                    looked_at=image.location(step.instruction),
                    expected="commands that change the system above USER, because only root may run them",
                    found=f"{command[0]} as the user {user}",
                    next_step="move USER below the last RUN",
                )
                return


def _no_healthcheck(image: Image) -> Iterator[Problem]:
    if image.final_stage.healthcheck is None:
        yield Problem(
            looked_at=_where(image),
            expected="a HEALTHCHECK that imports the packages",
            found="none",
            next_step=health_command(image),
        )


def _no_labels(image: Image) -> Iterator[Problem]:
    labels = image.final_stage.labels
    has_lock = any("lock" in name and "sha256" in name for name in labels)
    if "org.opencontainers.image.revision" not in labels or not has_lock:
        yield Problem(
            looked_at=_where(image),
            expected="labels with the git revision (org.opencontainers.image.revision) and the lock (workshop.lock.sha256)",
            found=", ".join(labels) or "no label",
            next_step='LABEL org.opencontainers.image.revision="${REVISION}" workshop.lock.sha256="${LOCK_SHA256}"',
        )


CONTENT_RULES = (
    Rule("one-stage", ERROR, _one_stage),
    Rule("prefix-not-copied", ERROR, _prefix_not_copied),
    Rule("prefix-moved", ERROR, _prefix_moved),
    Rule("pixi-in-final", ERROR, _pixi_in_final),
    Rule("base-musl", ERROR, _musl),
    Rule("build-tools", ERROR, _build_tools),
    Rule("root-user", ADVICE, _root_user),
    Rule("user-by-name", ADVICE, _user_by_name),
    Rule("user-too-early", ERROR, _user_too_early),
    Rule("healthcheck", ADVICE, _no_healthcheck),
    Rule("labels", ADVICE, _no_labels),
)

# ---------------------------------------------------------------- what it starts


def _entry_point(image: Image) -> Iterator[Problem]:
    entry_point = image.final_stage.entrypoint
    if entry_point is not None and _starts(entry_point, image.final_stage.env, _ACTIVATING):
        yield Problem(
            looked_at=image.location(entry_point),
            expected="activation by ENV: `apptainer exec` and most batch systems do not run the entry point",
            found="an entry point that activates the environment",
            next_step="remove the entry point, and set PATH and the other variables with ENV",
            level=ADVICE if _entry_point_activates(image) else None,
        )


def _entry_point_activates(image: Image) -> bool:
    """Whether the entry point activates the environment without Pixi, as a script from `pixi shell-hook` does."""
    entry_point, variables = image.final_stage.entrypoint, image.final_stage.env
    return (
        entry_point is not None
        and _starts(entry_point, variables, _ACTIVATING)
        and not _starts(entry_point, variables, "^pixi$")
    )


def _variable_level(image: Image) -> str | None:
    """Advice if the entry point sets the variables, since `docker run` then works."""
    return ADVICE if _entry_point_activates(image) else None


def _unset(image: Image) -> str:
    """What to report for a variable that ENV does not set."""
    return "not set by ENV, only by the entry point" if _entry_point_activates(image) else "not set"


def _command(image: Image) -> Iterator[Problem]:
    last = image.final_stage
    health_check = dockerfile.health_command(last.healthcheck) if last.healthcheck else None
    for instruction in filter(None, (last.command, health_check)):
        if _starts(instruction, last.env, "^pixi$|shell-hook"):
            yield Problem(
                looked_at=image.location(instruction),
                expected="a command that does not need Pixi, which the last stage should not contain",
                found="a call of Pixi",
                next_step='CMD ["python", "train.py"]: PATH finds the python of the environment',
            )


def _starts(instruction: Instruction, variables: dict[str, str], names: str) -> bool:
    """Whether a CMD or ENTRYPOINT starts a program whose name matches the pattern `names`, directly or in a shell."""
    programs = shellwords.programs(instruction.script, variables)
    return any(re.search(names, program) for program in programs) or bool(
        shellwords.pixi_calls(instruction.script, variables)
    )


COMMAND_RULES = (Rule("entrypoint", ERROR, _entry_point), Rule("command", ERROR, _command))

# ---------------------------------------------------------------- the variables of activation


def _path(install: Install) -> Iterator[Problem]:
    path, folder = install.image.final_stage.env.get("PATH", ""), f"{install.prefix}/bin"
    entries = path.split(":")
    if entries[0] != folder:
        is_present = folder in entries
        yield Problem(
            looked_at=_where(install.image),
            expected=f"{folder} first in PATH" if is_present else f"ENV PATH that begins with {folder}",
            found=install.image.final_stage.env.get("PATH", _unset(install.image))[:80],
            next_step=f"ENV PATH={folder}:${{PATH}}",
            level=_variable_level(install.image),
        )


def _conda_prefix(install: Install) -> Iterator[Problem]:
    value = install.image.final_stage.env.get("CONDA_PREFIX", _unset(install.image))
    if value.rstrip("/") != install.prefix:
        yield Problem(
            looked_at=_where(install.image),
            expected=f"ENV CONDA_PREFIX={install.prefix}",
            found=value,
            next_step=f"ENV CONDA_PREFIX={install.prefix}",
            level=_variable_level(install.image),
        )


def _place_of(image: Image, workspace: Manifest, name: str) -> str:
    """Where a variable belongs: in a stage such as runtime-cuda12 unless every environment has it, else in the last one."""
    on_linux = [other for other in workspace.environments if images.linux_platforms(workspace, other)]
    if all(name in images.activated(workspace, other) for other in on_linux):
        return _where(image)
    own = (stage for stage in image.final_stage.lineage()[:-1] if stage.name.endswith(f"-{image.environment}"))
    return next((f"{image.path.name}, the stage {stage.name} (line {stage.line})" for stage in own), _where(image))


def _activation_variables(install: Install) -> Iterator[Problem]:
    image, environment = install.image, install.call.environment
    if image.workspace is None or not image.linux_platforms:
        return
    for name, value in activation_variables(image.workspace, environment, image.linux_platforms[0]).items():
        if not image.final_stage.env.get(name):
            yield Problem(
                looked_at=_place_of(image, image.workspace, name),
                expected=f"{name}={value}, as in the activated environment {environment}",
                found=_unset(image),
                next_step=f"ENV {name}=...",
                level=_variable_level(image),
            )
    if wrong := images.wrong_variable(image.workspace, environment, image.final_stage.env, others=True):
        name, expected, found = wrong
        yield Problem(
            looked_at=f"{_where(image)}, built for {environment}",
            expected=expected,
            found=f"{name}={found}",
            next_step="set it with ENV in a stage of its own for each environment, as in runtime-cuda12",
            level=None if expected.startswith("no ") and images.environment_argument(image) else ADVICE,
        )


def _gpu_variables(install: Install) -> Iterator[Problem]:
    image = install.image
    if image.workspace is None or not image.required_cuda:
        return
    variables = image.final_stage.env
    if re.search(r"(^|/)nvidia/", image.final_stage.lineage()[0].base):  # NVIDIA's images set both variables
        variables = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"} | variables
    visible = variables.get("NVIDIA_VISIBLE_DEVICES", "")
    if visible in ("", "void", "none"):
        yield Problem(
            looked_at=_place_of(image, image.workspace, "NVIDIA_VISIBLE_DEVICES"),
            expected=f"NVIDIA_VISIBLE_DEVICES=all for {image.environment}: it makes the host's GPUs visible",
            found=visible or "not set",
            next_step="ENV NVIDIA_VISIBLE_DEVICES=all",
        )
    capabilities = variables.get("NVIDIA_DRIVER_CAPABILITIES", "not set")
    if not {"compute", "all"} & set(capabilities.split(",")):
        yield Problem(
            looked_at=_place_of(image, image.workspace, "NVIDIA_DRIVER_CAPABILITIES"),
            expected=f"NVIDIA_DRIVER_CAPABILITIES=compute,utility for {image.environment}: CUDA needs compute",
            found=capabilities,
            next_step="ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )


ACTIVATION_RULES = (
    Rule("path", ERROR, _path),
    Rule("conda-prefix", ERROR, _conda_prefix),
    Rule("activation-variable", ERROR, _activation_variables),
    Rule("gpu-variables", ERROR, _gpu_variables),
)
