"""Rules for Apptainer definitions: the rules for a Dockerfile, adapted, and rules for the names of headers and sections."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pixi_workspace import manifest
from pixi_workspace.manifest.platforms import platforms_of
from workshop.containers import dockerfile, images, shellwords
from workshop.containers.apptainer import AGENTS, HEADERS, SECTIONS, Stage, find_install, load, read
from workshop.containers.build_rules import SECRET_NAME, SECRET_VALUE
from workshop.containers.shellwords import PixiCall
from workshop.support.rules import ADVICE, ERROR, Finding, Problem, Rule, findings_of
from workshop.support.text import closest_match

# These bootstrap agents need no base image.
MOST_SHOWN = 20  # unknown headers of a stage
_WITHOUT_FROM = ("scratch", "debootstrap", "yum", "dnf", "zypper", "arch", "busybox")


@dataclass(frozen=True)
class Install:
    """The installation of the environment: the call of Pixi, its stage, and the workspace."""

    path: Path
    stages: list[Stage]
    stage: Stage
    call: PixiCall
    workspace: manifest.Manifest | None

    @property
    def location(self) -> str:
        return f"{self.path.name}: pixi {' '.join(self.call.words)}"[:100]

    @property
    def last(self) -> Stage:
        return self.stages[-1]

    @property
    def prefix(self) -> str:
        return images.prefix_of(self.call, "/")

    @property
    def environments(self) -> list[str]:
        """The names in the manifest; none without a manifest, or if the call's environment has no value."""
        return list(self.workspace.environments) if self.workspace and "{{" not in self.call.environment else []


def definition_findings(path: Path, environment: str | None = None) -> list[Finding]:
    """The findings about a definition, with `environment` as its build argument.

    Raises WorkshopError as `load` does.
    """
    stages = load(path, environment)
    findings = [*findings_of(stages, FORM_RULES), *findings_of(stages, STAGE_RULES)]
    if (call := find_install(stages)) is None:
        return findings
    install = Install(path, stages, *call, images.nearest_manifest(path.parent))
    install_findings = [*findings_of([install], INSTALL_RULES)]
    names = {finding.name for finding in install_findings}
    is_valid = not names & {"def-argument", "def-environment-unknown", "def-environment-platform"}
    return [*findings, *install_findings, *findings_of([install] if is_valid else [], RESULT_RULES)]


def conversion_findings(path: Path) -> list[Finding]:
    """The findings about a definition that converts an image, and installs nothing. Raises WorkshopError as `load` does."""
    stages = load(path)
    findings = [*findings_of(stages, FORM_RULES), *findings_of(stages, STAGE_RULES)]
    return [*findings, *findings_of(read(path, fill=False)[-1:], CONVERSION_RULES)]


# ---------------------------------------------------------------- the form


def _closest(word: str, known: Sequence[str]) -> str:
    return closest_match(word.lower(), known, cutoff=0) or known[0]


def _unknown_agent(stage: Stage) -> Iterator[Problem]:
    agent = stage.header["bootstrap"]
    if agent not in AGENTS:
        yield Problem(
            looked_at=stage.location,
            expected=f"one of {', '.join(AGENTS[:7])}",
            found=repr(agent),
            next_step=f"Bootstrap: {_closest(agent, AGENTS)}",
        )


def _wrong_header(stage: Stage) -> Iterator[Problem]:
    agent = stage.header["bootstrap"]
    if agent in AGENTS and agent not in _WITHOUT_FROM and "from" not in stage.header:
        yield Problem(
            looked_at=stage.location, expected="a header From:", found="none", next_step="From: NAME@sha256:..."
        )
    for line, name in stage.unknown[:MOST_SHOWN]:
        yield Problem(
            looked_at=f"{stage.file}, line {line}",
            expected="a header that Apptainer knows",
            found=f"{name}:",
            next_step=f"{_closest(name, HEADERS).capitalize()}: ...",
        )


def _unknown_section(stage: Stage) -> Iterator[Problem]:
    for section in stage.sections:
        if section.name not in SECTIONS:
            yield Problem(
                looked_at=f"{stage.file}, line {section.line}",
                expected="a section that Apptainer knows",
                found=f"%{section.name}",
                next_step=f"%{_closest(section.name, SECTIONS)}",
            )


FORM_RULES = (
    Rule("def-bootstrap", ERROR, _unknown_agent),
    Rule("def-header", ERROR, _wrong_header),
    Rule("def-section", ERROR, _unknown_section),
)

# ---------------------------------------------------------------- each stage


def _no_digest(stage: Stage) -> Iterator[Problem]:
    image = stage.header.get("from", "")
    if stage.header["bootstrap"] in ("docker", "oras") and not re.search(r"@sha256:[0-9a-f]{64}$", image):
        yield Problem(
            looked_at=stage.at("From"),
            expected="a digest: a tag can be moved to another image, but a digest cannot",
            found=image or "nothing",
            next_step="From: NAME@sha256:..., with the tag in a comment: some releases of Apptainer do not accept both",
        )


def _tag_and_digest(stage: Stage) -> Iterator[Problem]:
    image = stage.header.get("from", "")
    if stage.header["bootstrap"] == "docker" and (tag := re.search(r":([^/@]+)@sha256:", image)):
        yield Problem(
            looked_at=stage.at("From"),
            expected="a digest without a tag: some releases of Apptainer do not accept both",
            found=image.partition("@")[0],
            next_step=f"From: {image.replace(f':{tag[1]}@', '@')}, with the tag {tag[1]} in a comment",
        )


def _secrets(stage: Stage) -> Iterator[Problem]:
    for section in stage.sections:
        names = [word.partition("=")[0] for word in re.findall(r"\b\w+=\S", section.text)]
        if any(SECRET_NAME.search(name) for name in names) or SECRET_VALUE.search(section.text):
            yield Problem(
                looked_at=f"{stage.file}, line {section.line}: %{section.name}",
                expected="no secrets in an image",
                found="text that looks like a secret",
                next_step="pass the secret when the image runs: apptainer run --env-file FILE",
            )


STAGE_RULES = (
    Rule("def-base-digest", ERROR, _no_digest),
    Rule("def-tag-and-digest", ADVICE, _tag_and_digest),
    Rule("def-secret", ERROR, _secrets),
)

# ---------------------------------------------------------------- the install


def _not_locked(install: Install) -> Iterator[Problem]:
    if not install.call.lock_mode:
        yield Problem(
            looked_at=install.location,
            expected="--locked",
            found="neither --locked nor --frozen",
            next_step="pixi install --locked --environment {{ ENVIRONMENT }}",
        )


def _frozen(install: Install) -> Iterator[Problem]:
    if install.call.lock_mode == "frozen":
        yield Problem(
            looked_at=install.location,
            expected="--locked",
            found="--frozen",
            next_step="use --locked: it also checks that the lock satisfies the manifest",
        )


def _manifest_not_copied(install: Install) -> Iterator[Problem]:
    yield from _not_copied(install, "pixi.toml", "pyproject.toml")


def _lock_not_copied(install: Install) -> Iterator[Problem]:
    yield from _not_copied(install, "pixi.lock")


def _not_copied(install: Install, *names: str) -> Iterator[Problem]:
    """A problem unless %files of the stage that installs names one of these files."""
    copied = [source.rstrip("/").rsplit("/", 1)[-1] for origin, source, _ in install.stage.copies() if not origin]
    if not set(names) & set(copied):
        yield Problem(
            looked_at=install.location,
            expected=f"{names[0]} in %files",
            found=", ".join(copied) or "nothing",
            next_step=f"{names[0]} /workshop/{names[0]} in %files",
        )


def _no_default(install: Install) -> Iterator[Problem]:
    if "{{" in install.call.environment:
        yield Problem(
            looked_at=install.location,
            expected="a default value in %arguments",
            found=install.call.environment,
            next_step="ENVIRONMENT=cpu in %arguments",
        )


def _unknown_environment(install: Install) -> Iterator[Problem]:
    known = install.environments
    if known and install.call.environment not in known:
        yield Problem(
            looked_at=install.location,
            expected=f"one of {', '.join(known)}",
            found=repr(install.call.environment),
            next_step=f"--environment {known[0]}",
        )


def _other_platform(install: Install) -> Iterator[Problem]:
    name, workspace = install.call.environment, install.workspace
    if workspace is None or name not in workspace.environments or images.linux_platforms(workspace, name):
        return
    subdirs = {platform.subdir for platform in platforms_of(workspace, workspace.environments[name].features)}
    yield Problem(
        looked_at=install.location,
        expected="an environment for Linux",
        found=f"{name} is for {', '.join(sorted(subdirs))}",
        next_step=f"use another environment ({', '.join(install.environments)}), or add a Linux platform to this one in "
        f"{workspace.path.name}",
    )


INSTALL_RULES = (
    Rule("def-not-locked", ERROR, _not_locked),
    Rule("def-frozen", ADVICE, _frozen),
    Rule("def-manifest-not-copied", ERROR, _manifest_not_copied),
    Rule("def-lock-not-copied", ERROR, _lock_not_copied),
    Rule("def-argument", ERROR, _no_default),
    Rule("def-environment-unknown", ERROR, _unknown_environment),
    Rule("def-environment-platform", ERROR, _other_platform),
)

# ---------------------------------------------------------------- the image that is built


def _prefixes(install: Install) -> list[str]:
    """The paths to which the last stage copies the environment from the stage that installs it."""
    names, prefix = {install.stage.header.get("stage", "")}, install.prefix
    targets = []
    for origin, source, target in install.last.copies():
        source = source.rstrip("/")
        if origin in names and (source == prefix or prefix.startswith(f"{source}/")):
            targets.append(dockerfile.absolute(target + prefix[len(source) :], "/"))
    return targets


def _copy_prefix(install: Install) -> str:
    return f"%files from {install.stage.header.get('stage', 'build')}, with {install.prefix} as source and as target"


def _prefix_not_copied(install: Install) -> Iterator[Problem]:
    if install.last is not install.stage and not _prefixes(install):
        names = [stage.header.get("stage", "") for stage in install.stages]
        unknown = next((origin for origin, *_ in install.last.copies() if origin and origin not in names), None)
        yield Problem(
            looked_at=install.last.location,
            expected=f"{install.prefix}, copied from the stage that installs the environment",
            found=f"%files from {unknown}, and no stage has the name {unknown} (Stage: {unknown})"
            if unknown
            else "none",
            next_step=_copy_prefix(install),
        )


def _prefix_moved(install: Install) -> Iterator[Problem]:
    targets = _prefixes(install)
    if install.last is not install.stage and targets and install.prefix not in targets:
        yield Problem(
            looked_at=install.last.location,
            expected=f"the environment at {install.prefix}, where it was installed: its files contain that path",
            found=f"copied to {targets[0]}",
            next_step=_copy_prefix(install),
        )


def _pixi_in_final(install: Install) -> Iterator[Problem]:
    image = install.last.header.get("from", "")
    if install.last is install.stage:
        yield Problem(
            looked_at=install.location,
            expected="a last stage without Pixi and its cache, which the image would contain",
            found="Pixi installs in the last stage",
            next_step="add a second stage (Bootstrap:, From:, Stage:) with %files from build",
        )
    elif "pixi" in image.partition("@")[0].rsplit("/", 1)[-1]:
        yield Problem(
            looked_at=install.last.location,
            expected="no Pixi in the last stage: the installed environment is enough",
            found=image[:60],
            next_step="From: debian@sha256:...",
        )


def _musl(install: Install) -> Iterator[Problem]:
    image = install.last.header.get("from", "")
    if images.has_only_musl(image, [install.last.text("post")]):
        yield images.musl_problem(install.last.at("From"), image, "From: debian@sha256:...")


def _cuda_override(install: Install) -> Iterator[Problem]:
    if install.workspace is None:
        return
    cuda = images.required_cuda(images.linux_platforms(install.workspace, install.call.environment))
    override = install.call.variables.get("CONDA_OVERRIDE_CUDA", "not set")
    if cuda and not images.is_at_least(override, cuda):
        yield Problem(
            looked_at=install.stage.at("%post"),
            expected=f"CONDA_OVERRIDE_CUDA of {cuda} or more in %post: a build has no NVIDIA driver, so Pixi cannot detect "
            "CUDA",
            found=override,
            next_step=f"export CONDA_OVERRIDE_CUDA={cuda} in %post, before pixi install",
        )


def _exports(install: Install) -> dict[str, str]:
    """The variables that %environment of the last stage exports."""
    return shellwords.exports(install.last.text("environment"))


def _path(install: Install) -> Iterator[Problem]:
    path = _exports(install).get("PATH", "not set")
    if path.split(":")[0] != f"{install.prefix}/bin":
        yield Problem(
            looked_at=install.last.at("%environment"),
            expected=f"a PATH that begins with {install.prefix}/bin",
            found=path,
            next_step=f"export PATH={install.prefix}/bin:$PATH",
        )


def _activation(install: Install) -> Iterator[Problem]:
    workspace, environment = install.workspace, install.call.environment
    required = {"CONDA_PREFIX": install.prefix}
    if workspace is not None:
        linux = images.linux_platforms(workspace, environment)
        required |= images.activation_variables(workspace, environment, linux[0])
    exported = _exports(install)
    for name in required:
        if not exported.get(name):
            yield Problem(
                looked_at=install.last.at("%environment"),
                expected=f"{name}, as in the activated environment {environment}",
                found="not set",
                next_step=f"export {name}=...",
            )
    where = install.last.at("%environment")
    prefix = exported.get("CONDA_PREFIX", "")
    if prefix and prefix.rstrip("/") != install.prefix:
        yield Problem(
            looked_at=where,
            expected=f"CONDA_PREFIX={install.prefix}, where the environment is",
            found=prefix,
            next_step=f"export CONDA_PREFIX={install.prefix}",
        )
    if workspace is not None and (wrong := images.wrong_variable(workspace, environment, exported, others=True)):
        name, expected, found = wrong
        yield Problem(
            looked_at=f"{where}, built for {environment}",
            expected=expected,
            found=f"{name}={found}",
            next_step=f"export {name} only in the environment that sets it: case {{{{ ENVIRONMENT }}}} in ...",
        )


def _user_packages(install: Install) -> Iterator[Problem]:
    """Only in a stage that mentions Python: other programs ignore the variable."""
    last = install.last
    if any("python" in section.text.lower() for section in last.sections) and not _exports(install).get(
        "PYTHONNOUSERSITE"
    ):
        yield Problem(
            looked_at=last.at("%environment"),
            expected="PYTHONNOUSERSITE=1: your home folder is visible inside, and Python would import packages from its "
            "~/.local",
            found="not set",
            next_step="export PYTHONNOUSERSITE=1",
        )


def _code_not_copied(install: Install) -> Iterator[Problem]:
    """The folders in PYTHONPATH and the scripts of %runscript must be in the image: copied, or made by %post."""
    stage = install.last
    folders = [entry for entry in _exports(install).get("PYTHONPATH", "").split(":") if entry.startswith("/")]
    text = "\n".join(stage.text(name) for name in ("runscript", "startscript"))
    scripts = [word for word in re.findall(r"[^\s\"']+\.py\b", text) if word.startswith("/")]
    if _CREATES_FILES.search(stage.text("post")) or _CREATES_FILES.search(stage.text("setup")):
        return
    targets = [dockerfile.absolute(target, "/").rstrip("/") for _, _, target in stage.copies()]
    for path, what in (
        *((f, "a folder in PYTHONPATH") for f in folders),
        *((s, "the script that it runs") for s in scripts),
    ):
        is_folder = what != "the script that it runs"
        if not any(
            path == target or path.startswith(f"{target}/") or (is_folder and target.startswith(f"{path.rstrip('/')}/"))
            for target in targets
        ):
            yield Problem(
                looked_at=stage.at("%files"),
                expected=f"{what}, {path}, which the image needs",
                found=f"{', '.join(targets) or 'nothing'} is copied",
                next_step="copy the code in %files, as the Dockerfile does with COPY",
            )


# With one of these commands, %post may create any file.
_CREATES_FILES = re.compile(r"\b(git|curl|wget|tar|unzip|pip|uv|cp|mv|ln|rsync)\b")


RESULT_RULES = (
    Rule("def-prefix-not-copied", ERROR, _prefix_not_copied),
    Rule("def-prefix-moved", ERROR, _prefix_moved),
    Rule("def-pixi-in-final", ERROR, _pixi_in_final),
    Rule("def-musl", ERROR, _musl),
    Rule("def-cuda-override", ERROR, _cuda_override),
    Rule("def-path", ERROR, _path),
    Rule("def-activation", ERROR, _activation),
    Rule("def-user-packages", ADVICE, _user_packages),
    Rule("def-code-not-copied", ERROR, _code_not_copied),
)

# ---------------------------------------------------------------- the conversion of an image

_ARCHIVES = ("docker-archive", "oci-archive", "docker-daemon", "oci", "localimage")
_INSTALLS = re.compile(
    r"\b(?:pip|pip3|pixi|conda|mamba|micromamba|uv|apt|apt-get|dnf|yum)\b[^\n;&|]*\b(?:install|add|sync)\b"
)


def _not_converted(stage: Stage) -> Iterator[Problem]:
    agent = stage.header["bootstrap"]
    if agent not in (*_ARCHIVES, "docker", "oras"):
        yield Problem(
            looked_at=stage.location,
            expected="an image that was built before: an archive, or one in a registry with its digest",
            found=f"Bootstrap: {agent}",
            next_step="Bootstrap: docker-archive",
        )


def _one_environment(stage: Stage) -> Iterator[Problem]:
    if stage.header["bootstrap"] not in _ARCHIVES:
        return
    image = stage.header.get("from", "")
    names = re.findall(r"\{\{\s*(\w+)\s*\}\}", image)
    defaults = re.findall(r"(?m)^\s*(\w+)=\S", stage.text("arguments"))
    if not names:
        yield Problem(
            looked_at=stage.at("From"),
            expected="a build argument in the name of the archive, for the image with CUDA as well",
            found=f"always {image}",
            next_step="From: reproducible-ml-{{ ENVIRONMENT }}.tar",
        )
    elif not set(names) <= set(defaults):
        yield Problem(
            looked_at=stage.at("From"),
            expected="a default value in %arguments",
            found=image,
            next_step="ENVIRONMENT=cpu in %arguments",
        )


def _no_archive(stage: Stage) -> Iterator[Problem]:
    name = re.sub(r"\{\{.*?\}\}", "X", stage.header.get("from", "")).rsplit("/", 1)[-1]
    if stage.header["bootstrap"] in ("docker-archive", "oci-archive") and ":" in name and "." not in name:
        yield Problem(
            looked_at=stage.at("From"),
            expected="the name of the file that `docker save` writes, such as reproducible-ml-cpu.tar",
            found=f"{stage.header['from']}, the name of an image",
            next_step="From: reproducible-ml-{{ ENVIRONMENT }}.tar",
        )


def _installs_again(stage: Stage) -> Iterator[Problem]:
    if match := _INSTALLS.search(stage.text("post")):
        yield Problem(
            looked_at=stage.at("%post"),
            expected="nothing that is installed again: the image contains the locked packages",
            found=match[0].strip(),
            next_step="remove this line; a package belongs in the manifest and in the lock",
        )


def _untested(stage: Stage) -> Iterator[Problem]:
    if "import" not in stage.text("test") and "python" not in stage.text("test"):
        yield Problem(
            looked_at=stage.location,
            expected="a section %test that imports a package of the environment",
            found="none" if not stage.text("test").strip() else stage.text("test").strip()[:60],
            next_step='%test with: python -c "import torch"',
        )


CONVERSION_RULES = (
    Rule("def-not-an-image", ERROR, _not_converted),
    Rule("def-one-environment", ERROR, _one_environment),
    Rule("def-no-archive", ERROR, _no_archive),
    Rule("def-installs-again", ERROR, _installs_again),
    Rule("def-untested", ERROR, _untested),
)
