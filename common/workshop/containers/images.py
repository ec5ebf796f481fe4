"""The image that a Dockerfile builds from a Pixi workspace, derived without an engine: its install step, its copied
files and its last stage. The rules in `build_rules`, `last_stage_rules` and `content_rules` check it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pixi_workspace import manifest
from pixi_workspace.errors import WorkspaceError
from pixi_workspace.files import LOCK_SIZE
from pixi_workspace.manifest import Environment
from pixi_workspace.manifest.platforms import platforms_of
from pixi_workspace.platforms import Platform, selector_matches
from workshop.containers import dockerfile, shellwords
from workshop.containers.dockerfile import Instruction, Stage, Step
from workshop.containers.shellwords import PixiCall
from workshop.errors import WorkshopError
from workshop.support import files
from workshop.support.hardware import subdir
from workshop.support.rules import Problem
from workshop.support.text import satisfies

MOST_PREFIXES = 20  # paths of one environment in a stage: each COPY of a stage may double them
NAMES = ("Dockerfile", "Containerfile")
# The modules of common packages.
IMPORTS = {
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "pytorch-gpu": "torch",
    "scikit-learn": "sklearn",
    "opencv": "cv2",
    "pillow": "PIL",
} | {
    name: name
    for name in "torch jax flax tensorflow numpy scipy pandas polars xarray matplotlib transformers fastapi flask django "
    "uvicorn gunicorn streamlit".split()
}


@dataclass(frozen=True)
class Install:
    """The step in which Pixi installs the image's environment."""

    image: Image
    stage: Stage
    step: Step
    call: PixiCall

    @property
    def location(self) -> str:
        return self.image.location(self.step.instruction)

    @property
    def prefix(self) -> str:
        return prefix_of(self.call, self.step.workdir)


@dataclass
class Image:
    """A Dockerfile, evaluated with build arguments, and its Pixi workspace (None if there is none)."""

    path: Path
    instructions: list[Instruction]
    build_args: dict[str, str]
    workspace: manifest.Manifest | None
    stages: list[Stage] = field(default_factory=list)

    @property
    def environments(self) -> dict[str, Environment]:
        """The environments of the manifest by name; none without a manifest."""
        return self.workspace.environments if self.workspace else {}

    @property
    def final_stage(self) -> Stage:
        return self.stages[-1]

    @property
    def context(self) -> Path:
        """The folder that COPY takes files from: that of the manifest."""
        return self.workspace.path.parent if self.workspace else self.path.parent

    @cached_property
    def install(self) -> Install | None:
        """The step that installs the environment of the last stage.

        Of several, the first of these criteria that differs decides: its environment is copied into the last stage; the
        last stage uses its stage; it is a `pixi install`, not a `pixi run`; its environment is the activated one; it is
        later in the file.
        """
        active, used_stages = activated_environment(self.final_stage.env), self.used_stages()
        installs = []
        for stage in self.stages:
            for step, call in pixi_steps(stage):
                if call.command in shellwords.INSTALL_COMMANDS:
                    call = (
                        replace(call, environment=active) if call.environment == shellwords.ALL_ENVIRONMENTS else call
                    )
                    installs.append(Install(self, stage, step, call))

        def preference(entry: tuple[int, Install]) -> tuple[bool, bool, bool, bool, int]:
            position, install = entry
            return (
                bool(self.final_prefixes(install)),
                install.stage.number in used_stages,
                install.call.command in ("install", "i", "reinstall"),
                install.call.environment == active,
                position,
            )

        return max(enumerate(installs), key=preference)[1] if installs else None

    def used_stages(self) -> set[int]:
        """The numbers of the stages that the last one starts from or copies from, directly or not."""
        numbers, queue = set(), [self.final_stage]
        while queue:
            stage = queue.pop()
            if stage.number not in numbers:
                numbers.add(stage.number)
                origins = [find_stage(self, origin) for _, origin, _, _ in copies(stage)]
                queue += [other for other in (stage.parent, *origins) if other is not None]
        return numbers

    def final_prefixes(self, install: Install) -> list[str]:
        """The paths of the environment in the last stage; it may be copied through several stages."""
        prefixes: dict[int, list[str]] = {}
        for stage in self.stages:
            prefixes_here = [*prefixes[stage.parent.number]] if stage.parent else []
            if stage is install.stage:
                prefixes_here.append(install.prefix)
            for _, origin, sources, target in copies(stage):
                origin_stage = find_stage(self, origin)
                for path in prefixes.get(origin_stage.number, []) if origin_stage else []:
                    for source in (dockerfile.absolute(source, "/").rstrip("/") for source in sources):
                        if path == source or path.startswith(f"{source}/"):
                            prefixes_here.append(dockerfile.absolute(target + path[len(source) :], "/"))
            prefixes[stage.number] = list(dict.fromkeys(prefixes_here))[:MOST_PREFIXES]
        return prefixes[self.final_stage.number]

    @cached_property
    def environment(self) -> str | None:
        """The name of the installed environment; None if none is installed or a variable in the name has no value."""
        return None if self.install is None or self.install.call.unset else self.install.call.environment

    @cached_property
    def linux_platforms(self) -> list[Platform]:
        """The environment's Linux platforms, in the manifest's order; only the image's if FROM --platform names one."""
        if self.workspace is None or self.environment not in self.workspace.environments:
            return []
        wanted = self.final_platform()
        return [p for p in linux_platforms(self.workspace, self.environment) if wanted in (None, p.subdir)]

    @property
    def required_cuda(self) -> str | None:
        """The CUDA version that the driver must support.

        None unless every Linux platform of the environment needs CUDA.
        """
        return required_cuda(self.linux_platforms)

    def final_platform(self) -> str | None:
        """The conda subdir that `FROM --platform` of the last stage names."""
        froms = [instruction for instruction in self.instructions if instruction.name == "FROM"]
        named = froms[self.final_stage.number].flag("platform")
        known = {"linux/amd64": "linux-64", "linux/arm64": "linux-aarch64", "linux/arm64/v8": "linux-aarch64"}
        return known.get(named or "")

    def with_environment(self, environment: str) -> Image:
        """The same file with this environment. Raises WorkshopError if no build argument can choose it."""
        if environment == self.environment:
            return self
        argument = environment_argument(self)
        if argument is None:
            fixed = self.environment or "none that can be seen"
            raise WorkshopError(
                looked_at=self.path,
                expected="a build argument that chooses the environment, such as ARG ENVIRONMENT=...",
                found=f"no such argument: the environment is always {fixed}",
                next_step="leave --environment out, or add the build argument",
            )
        build_args = {argument: environment}
        stages = dockerfile.stages(self.instructions, build_args, self.path)
        return Image(self.path, self.instructions, build_args, self.workspace, stages)

    def location(self, instruction: Instruction) -> str:
        return (
            f"{self.path.name}, line {instruction.line}: {instruction.name} {' '.join(instruction.text.split())[:70]}"
        )


def load_image(path: Path, environment: str | None = None) -> Image:
    """Read a Dockerfile and the nearest manifest above it.

    environment: the value of the build argument that chooses the environment. Raises WorkshopError if the file or the
    manifest cannot be read, or if the file installs another environment and no build argument can change that.
    """
    instructions = dockerfile.read(path)
    image = Image(path, instructions, {}, nearest_manifest(path.parent))
    image.stages = dockerfile.stages(instructions, {}, path)
    return image if environment is None else image.with_environment(environment)


def environment_argument(image: Image) -> str | None:
    """The build argument that chooses the environment, as used in `pixi install --environment ...`.

    None without one.
    """
    if image.install is None:
        return None
    environment_word = image.install.call.environment_word
    if not environment_word:  # --all: look at the paths in the last stage
        steps = [step.instruction for stage in image.final_stage.lineage() for step in stage.steps]
        environment_word = " ".join(i.text for i in steps if i.name in ("COPY", "ENV") and ".pixi/envs" in i.text)
    names = re.findall(r"\$\{?([A-Za-z_]\w*)", environment_word)
    declared = {name for i in image.instructions if i.name == "ARG" for name, _ in dockerfile.pairs(i)}
    for name in names:
        if name in declared:
            return name
        for step in image.install.stage.steps:  # through ENV NAME=${ARGUMENT}
            if step.instruction.name == "ENV":
                for key, value in dockerfile.pairs(step.instruction):
                    arguments = set(re.findall(r"\$\{?([A-Za-z_]\w*)", value or "")) & declared
                    if key == name and arguments:
                        return sorted(arguments)[0]
    return None


def nearest_manifest(folder: Path) -> manifest.Manifest | None:
    """The Pixi manifest in this folder or in the nearest folder above; None if there is none."""
    for candidate in (folder.resolve(), *folder.resolve().parents):
        for name in ("pixi.toml", "pyproject.toml"):
            if (candidate / name).is_file():
                try:
                    return manifest.load(manifest.find(candidate))
                except manifest.ManifestError:
                    raise
                except WorkspaceError:
                    break  # a pyproject.toml without Pixi
    return None


def pixi_steps(stage: Stage) -> Iterator[tuple[Step, PixiCall]]:
    """The calls of Pixi in the RUN steps of a stage, without those of its parents."""
    for step in stage.steps:
        if step.instruction.name == "RUN":
            for call in shellwords.pixi_calls(step.instruction.script, step.values):
                yield step, call


def parse_copy(step: Step) -> tuple[str | None, list[str], str] | None:
    """(value of --from, sources, target) of a COPY or ADD, with variables replaced; None for other steps."""
    if step.instruction.name not in ("COPY", "ADD") or len(words := step.words) < 2:
        return None
    origin = step.instruction.flag("from")
    sources = [word for word in words[:-1] if not word.startswith("<<")]
    return (
        origin and dockerfile.expand(origin, step.values).lower(),
        sources,
        dockerfile.absolute(words[-1], step.workdir),
    )


def copies(stage: Stage) -> Iterator[tuple[Step, str | None, list[str], str]]:
    """The steps of a stage that copy, each with the result of `parse_copy`."""
    for step in stage.steps:
        if (copied := parse_copy(step)) is not None:
            yield (step, *copied)


def mounts(step: Step) -> list[dict[str, str]]:
    """The --mount flags of a RUN as dictionaries, with variables replaced, `src` as `source`, and the default type."""
    result = []
    for _, value in (flag for flag in step.instruction.flags if flag[0] == "mount"):
        parts = (part.partition("=") for part in dockerfile.expand(value, step.values).split(","))
        keys = {key: text for key, _, text in parts}
        result.append({"type": "bind"} | ({"source": keys["src"]} if "src" in keys else {}) | keys)
    return result


def find_stage(image: Image, name: str | None) -> Stage | None:
    """The stage that `--from` names, by its name or number; None for an image."""
    return next((stage for stage in image.stages if name is not None and name in (stage.name, str(stage.number))), None)


def pixi_version(install: Install) -> str | None:
    """The version of the Pixi that installs, from its image or its download; None if it cannot be seen."""
    lineage = install.stage.lineage()
    names = [lineage[0].base]
    for stage in lineage:
        names += [
            origin for _, origin, sources, _ in copies(stage) if origin and sources and sources[0].endswith("/pixi")
        ]
    for name in names:
        if match := re.search(r"(?:^|/)pixi:v?(\d+\.\d+\.\d+)", name):
            return match[1]
    for step in (step for stage in lineage for step in stage.steps if step.instruction.name == "RUN"):
        script = dockerfile.expand(step.instruction.content, step.values)
        found = re.search(r"/releases/download/v(\d+\.\d+\.\d+)/pixi|PIXI_VERSION=v?(\d+\.\d+\.\d+)", script)
        stated = re.fullmatch(r"v?(\d+\.\d+\.\d+)", step.values.get("PIXI_VERSION", ""))
        if found or (stated and "pixi.sh/install" in script):
            return found[1] or found[2] if found else stated and stated[1]
    return None


def lock_version(image: Image) -> int | None:
    """The version of the format of the workspace's pixi.lock; None without a lock."""
    if image.workspace is None:
        return None
    try:
        content = files.read_bytes(image.workspace.path.with_name("pixi.lock"), LOCK_SIZE)
    except OSError:
        return None
    match = re.match(r"version:\s*(\d{1,9})\b", content[:200].decode("utf-8", "replace"))
    return int(match[1]) if match else None


def health_command(image: Image) -> str:
    """A HEALTHCHECK that suits the installed environment: it imports one of its packages, or starts one of its programs."""
    names: list[str] = []
    if image.workspace is not None and image.linux_platforms and image.environment is not None:
        platform = image.linux_platforms[0]
        for specs in (manifest.conda_specs, manifest.pypi_specs):
            names += specs(image.workspace, image.environment, platform)
    known = next((IMPORTS[name] for name in names if name in IMPORTS), None)
    if known is None and names and not {"python", "pip"} & set(names):
        return f'HEALTHCHECK CMD ["{names[0]}", "--version"]'
    return f'HEALTHCHECK CMD ["python", "-c", "import {known or "PACKAGE"}"]'


def prefix_of(call: PixiCall, workdir: str) -> str:
    """The folder in which Pixi installs the environment: .pixi/envs/NAME beside the manifest."""
    base = dockerfile.absolute(call.folder, workdir)
    if call.manifest:
        path = dockerfile.absolute(call.manifest, base)
        base = path.rsplit("/", 1)[0] if path.endswith(".toml") else path
    return dockerfile.absolute(f".pixi/envs/{call.environment}", base)


def activated_environment(variables: Mapping[str, str]) -> str:
    """The environment that CONDA_PREFIX or PATH names; `default` if neither does."""
    match = re.search(r"/\.pixi/envs/([^/:]+)", f"{variables.get('CONDA_PREFIX', '')}:{variables.get('PATH', '')}")
    return match[1] if match else "default"


def linux_platforms(workspace: manifest.Manifest, environment: str) -> list[Platform]:
    """The Linux platforms of an environment, in the manifest's order."""
    return [
        p
        for p in platforms_of(workspace, workspace.environments[environment].features)
        if p.subdir.startswith("linux-")
    ]


def required_cuda(platforms: list[Platform]) -> str | None:
    """The CUDA version that the first platform requires; None unless all of them require CUDA."""
    versions = [platform.version_of("__cuda") for platform in platforms]
    return versions[0] if versions and all(versions) else None


def is_at_least(version: str | None, minimum: str) -> bool:
    """Whether a version is `minimum` or newer (12 equals 12.0); False for text that is not a version."""
    return satisfies(version or "", f">={minimum}")


def activation_variables(workspace: manifest.Manifest, environment: str, platform: Platform) -> dict[str, str]:
    """The variables that activating the environment sets on a platform, as the manifest gives them."""
    variables: dict[str, str] = {}
    for feature in reversed(workspace.environments[environment].features):
        for target in feature.targets:
            if target.selector is None or selector_matches(target.selector, platform):
                variables.update(target.activation_env)
    return variables


def activated(workspace: manifest.Manifest, environment: str) -> dict[str, str]:
    """The variables that activating the environment sets on its first Linux platform; none if it has no such platform."""
    platforms = linux_platforms(workspace, environment)
    return activation_variables(workspace, environment, platforms[0]) if platforms else {}


def wrong_variable(
    workspace: manifest.Manifest, environment: str, variables: Mapping[str, str], others: bool = False
) -> tuple[str, str, str] | None:
    """A variable with another value than in the activated environment: its name, what was expected, what was found.

    Only values without variables of their own are compared, as `WORKSHOP_DEVICE = "cuda"`. others: a value that
    activation sets only in other environments is wrong in this one. None if there is no such variable.
    """

    def plain(name: str) -> dict[str, str]:
        return {key: value for key, value in activated(workspace, name).items() if not re.search(r"[$%]", value)}

    own = plain(environment)
    for name, value in own.items():
        if variables.get(name) and variables[name] != value:
            return name, f"{name}={value}, as in the activated environment {environment}", variables[name]
    for other in workspace.environments if others else ():
        for name, value in plain(other).items():
            if name not in own and variables.get(name) == value:
                return name, f"no {name} for {environment}: it belongs to {other}", value
    return None


def has_only_musl(base: str, scripts: Iterable[str]) -> bool:
    """Whether an image's only C library is musl: Alpine Linux, or an image built on it, such as python:3.13-alpine.

    scripts: the commands that run in the image; one of them may install glibc.
    """
    name = base.partition("@")[0].rsplit("/", 1)[-1]
    return "alpine" in name and not any(re.search("gcompat|glibc", text) for text in (name, *scripts))


def musl_problem(looked_at: str, base: str, next_step: str) -> Problem:
    """The problem of an image with musl, in which no conda package for Linux runs."""
    return Problem(
        looked_at=looked_at,
        expected="a base image with glibc, the C library that conda packages for Linux need",
        found=f"{base[:60]}, which has musl instead: no program of the environment would start",
        next_step=next_step,
    )


def image_subdir() -> str:
    """The conda platform of Linux images on this machine."""
    return "linux-aarch64" if (subdir() or "").endswith(("-aarch64", "-arm64")) else "linux-64"
