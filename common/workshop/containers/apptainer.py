"""A reading of Apptainer definition files, and what is wrong with one for a Pixi workspace.

A definition is a header (`Bootstrap: docker`), sections (`%post`), and the same again for each further stage.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pixi_workspace import manifest
from pixi_workspace.manifest.platforms import platforms_of
from pixi_workspace.platforms import Platform
from workshop.containers import dockerfile, images, shellwords
from workshop.containers.findings import SECRET_NAME, SECRET_VALUE, fits, one_environment
from workshop.containers.images import Finding, activation_of
from workshop.errors import WorkshopError
from workshop.text import nearest

HEADERS = (
    "bootstrap",
    "from",
    "stage",
    "include",
    "osversion",
    "mirrorurl",
    "updateurl",
    "fingerprints",
    "library",
    "registry",
    "namespace",
    "product",
    "user",
    "regcode",
    "productpgp",
    "registerurl",
    "modules",
    "setopt",
)
SECTIONS = (
    "arguments",
    "help",
    "setup",
    "files",
    "labels",
    "environment",
    "pre",
    "post",
    "runscript",
    "startscript",
    "test",
    "appinstall",
    "applabels",
    "appenv",
    "apprun",
    "appstart",
    "apphelp",
    "appfiles",
    "apptest",
)
AGENTS = (
    "docker",
    "docker-archive",
    "docker-daemon",
    "oci",
    "oci-archive",
    "localimage",
    "library",
    "oras",
    "shub",
    "scratch",
    "debootstrap",
    "yum",
    "dnf",
    "zypper",
    "arch",
    "busybox",
)

_ARGUMENT = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")


@dataclass(frozen=True)
class Section:
    """name without the percent sign, what follows it on the line (`from build`), and the text below."""

    name: str
    rest: str
    text: str
    line: int


@dataclass
class Stage:
    header: dict[str, str] = field(default_factory=dict)
    line: int = 1
    unknown: list[tuple[int, str]] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    def text(self, name: str) -> str:
        return "\n".join(section.text for section in self.sections if section.name == name)

    def copies(self) -> Iterator[tuple[str, str, str]]:
        """(stage or empty, source, target) of %files."""
        for section in self.sections:
            if section.name == "files":
                origin = section.rest.partition("from ")[2].strip() if section.rest.startswith("from ") else ""
                for line in section.text.splitlines():
                    words = dockerfile.split(line.partition("#")[0])
                    if words:
                        yield origin, words[0], words[1] if len(words) > 1 else words[0]


def read(path: Path, given: Mapping[str, str] | None = None, fill: bool = True) -> list[Stage]:
    """The stages of a definition, with the build arguments `given` and the defaults of %arguments put in; with `fill`
    off, its arguments stay as {{NAME}}. Raises WorkshopError where it is none."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise WorkshopError(
            looked_at=path, expected="a definition file", found=str(error.strerror), next_step="name another file"
        ) from error
    except UnicodeDecodeError as error:
        raise WorkshopError(
            looked_at=path,
            expected="text in UTF-8",
            found=f"bytes that are none (at {error.start})",
            next_step="name another file",
        ) from error
    defaults = dict(re.findall(r"^\s*([A-Za-z_]\w*)=(.*?)\s*$", _arguments(text), re.MULTILINE))
    values = defaults | dict(given or {}) if fill else {}
    text = re.sub(_ARGUMENT, lambda found: values.get(found[1], f"{{{{{found[1]}}}}}"), text)
    stages: list[Stage] = []
    name, rest, begun, lines = "", "", 0, []

    def close() -> None:
        if name:
            stages[-1].sections.append(Section(name, rest, "\n".join(lines), begun))

    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if head := re.fullmatch(r"bootstrap\s*:\s*(.*)", stripped, re.IGNORECASE):
            if stages:
                close()
            name, lines = "", []
            stages.append(Stage({"bootstrap": head[1].partition("#")[0].strip()}, number))
        elif section := re.match(r"%([A-Za-z]\w*)\s*(.*)", stripped):
            if not stages:
                raise WorkshopError(
                    looked_at=f"{path}, line {number}",
                    expected="Bootstrap: ... before any section",
                    found=stripped,
                    next_step="begin with Bootstrap: docker",
                )
            close()
            name, rest, begun, lines = section[1].lower(), section[2], number, []
        elif name:
            lines.append(line)
        elif stages and (key := re.fullmatch(r"([A-Za-z]\w*)\s*:\s*(.*)", stripped)):
            stages[-1].header[key[1].lower()] = key[2].strip()
            if key[1].lower() not in HEADERS and not key[1].lower().startswith("otherurl"):
                stages[-1].unknown.append((number, key[1]))
        elif stripped and not stripped.startswith("#"):
            raise WorkshopError(
                looked_at=f"{path}, line {number}",
                expected="a header such as Bootstrap: docker",
                found=repr(stripped[:60]),
                next_step="mend that line",
            )
    if not stages:
        raise WorkshopError(
            looked_at=path, expected="a header Bootstrap: ...", found="none", next_step="begin with Bootstrap: docker"
        )
    close()
    return stages


def _arguments(text: str) -> str:
    return "\n".join(
        re.findall(r"^%arguments[^\n]*\n(.*?)(?=^%|^bootstrap\s*:|\Z)", text, re.MULTILINE | re.DOTALL | re.IGNORECASE)
    )


def installs(stages: list[Stage]) -> tuple[Stage, shellwords.PixiCall] | None:
    """The stage whose %post installs an environment with Pixi, and that call; of all of them, the one activated."""
    for stage in stages:
        for call in shellwords.pixi_calls(stage.text("post"), {}):
            if call.does in shellwords.INSTALLING:
                active = images.activated(shellwords.exports(stages[-1].text("environment")))
                return stage, replace(call, environment=active) if call.environment == shellwords.ALL else call
    return None


def load(path: Path, environment: str | None = None) -> list[Stage]:
    """`read`, with `environment` as if that were the build argument.

    Raises WorkshopError where the definition installs another environment by a name that no argument changes.
    """
    asked = installs(stages := read(path))
    if environment is None or asked is None or asked[1].environment == environment:
        return stages
    written = installs(read(path, fill=False))
    argument = _ARGUMENT.search(written[1].environment) if written else None
    if argument is None:
        raise WorkshopError(
            looked_at=path,
            expected="an environment that a build argument chooses, ENVIRONMENT=... in %arguments",
            found=f"always {asked[1].environment}",
            next_step="leave --environment out, or add the argument",
        )
    return read(path, {argument[1]: environment})


def for_gpu(path: Path) -> str | None:
    """The manifest's first environment that asks for a driver on Linux, where an argument can choose it."""
    asked, workspace = installs(read(path, fill=False)), images.nearest_manifest(path.parent)
    if asked is None or workspace is None or not _ARGUMENT.search(asked[1].environment):
        return None
    known = workspace.environments
    return next((name for name in ("cuda12", *known) if name in known and _linux(workspace, name)[1]), None)


def _linux(workspace: manifest.Manifest, environment: str) -> tuple[list[Platform], str | None]:
    """The Linux platforms of an environment, and the CUDA that it needs of the driver, where all of them need one."""
    features = workspace.environments[environment].features
    found = [p for p in platforms_of(workspace, features) if p.subdir.startswith("linux-")]
    asked = [p.version_of("__cuda") for p in found]
    return found, asked[0] if asked and all(asked) else None


def findings(path: Path, environment: str | None = None) -> list[Finding]:
    """What is wrong with a definition, as it stands or with `environment`. Raises WorkshopError as `load` does."""
    stages = load(path, environment)
    found = [*_form(path, stages)]
    for stage in stages:
        where = f"{path.name}, line {stage.line}"
        image = stage.header.get("from", "")
        if stage.header["bootstrap"] in ("docker", "oras") and not re.search(r"@sha256:[0-9a-f]{64}$", image):
            advice = "From: NAME@sha256:..., with the tag in a comment: not every release takes both"
            found.append(
                Finding(
                    "def-base-digest", "error", f"{where}: From", "a digest: a tag moves", image or "nothing", advice
                )
            )
        for section in stage.sections:
            names = [word.partition("=")[0] for word in re.findall(r"\b\w+=\S", section.text)]
            if any(SECRET_NAME.search(name) for name in names) or SECRET_VALUE.search(section.text):
                advice = "give it when it runs: apptainer run --env-file FILE"
                found.append(
                    Finding(
                        "def-secret",
                        "error",
                        f"{path.name}, line {section.line}: %{section.name}",
                        "no secrets in an image",
                        "something that looks like one",
                        advice,
                    )
                )
    if (asked := installs(stages)) is not None:
        found += _from_lock(path, stages, *asked)
    return found


def _form(path: Path, stages: list[Stage]) -> Iterator[Finding]:
    for stage in stages:
        agent = stage.header["bootstrap"]
        if agent not in AGENTS:
            yield Finding(
                "def-bootstrap",
                "error",
                f"{path.name}, line {stage.line}",
                f"one of {', '.join(AGENTS[:7])}",
                repr(agent),
                f"Bootstrap: {_near(agent, AGENTS)}",
            )
        elif (
            agent != "scratch"
            and "from" not in stage.header
            and agent not in ("debootstrap", "yum", "dnf", "zypper", "arch", "busybox")
        ):
            yield Finding(
                "def-header",
                "error",
                f"{path.name}, line {stage.line}",
                "From: beside Bootstrap:",
                "none",
                "From: NAME@sha256:...",
            )
        for line, key in stage.unknown:
            yield Finding(
                "def-header",
                "error",
                f"{path.name}, line {line}",
                "a header that Apptainer knows",
                f"{key}:",
                f"{_near(key, HEADERS).capitalize()}: ...",
            )
        for section in stage.sections:
            if section.name not in SECTIONS:
                yield Finding(
                    "def-section",
                    "error",
                    f"{path.name}, line {section.line}",
                    "a section that Apptainer knows",
                    f"%{section.name}",
                    f"%{_near(section.name, SECTIONS)}",
                )


def _near(word: str, known: tuple[str, ...]) -> str:
    return nearest(word.lower(), known, cutoff=0) or known[0]


def _from_lock(path: Path, stages: list[Stage], stage: Stage, call: shellwords.PixiCall) -> Iterator[Finding]:
    """The same questions as to a Dockerfile, in the words of a definition."""
    where = f"{path.name}: pixi {' '.join(call.words)}"[:100]
    if not call.held:
        yield Finding(
            "def-not-locked",
            "error",
            where,
            "--locked",
            "neither --locked nor --frozen",
            "pixi install --locked --environment {{ ENVIRONMENT }}",
        )
    brought = [source.rstrip("/").rsplit("/", 1)[-1] for origin, source, _ in stage.copies() if not origin]
    for names, finding in (
        (("pixi.toml", "pyproject.toml"), "def-manifest-not-copied"),
        (("pixi.lock",), "def-lock-not-copied"),
    ):
        if not set(names) & set(brought):
            yield Finding(
                finding,
                "error",
                where,
                f"{names[0]} in %files",
                ", ".join(brought) or "nothing",
                f"{names[0]} /workshop/{names[0]} in %files",
            )
    workspace = images.nearest_manifest(path.parent)
    last = stages[-1]
    environment = call.environment
    if "{{" in environment:
        yield Finding(
            "def-argument", "error", where, "a default in %arguments", environment, "ENVIRONMENT=cpu in %arguments"
        )
        return
    if workspace is not None and (problem := one_environment(workspace, environment, where, "def-")):
        yield problem
        return
    prefix = images.prefix_of(call, "/")
    if last is stage:
        yield Finding(
            "def-pixi-in-final",
            "error",
            where,
            "a last stage without Pixi and its cache",
            "Pixi installs in it",
            "a second Bootstrap:, and %files from build",
        )
    else:
        yield from _taken(path, stages, stage, prefix)
        if "pixi" in last.header.get("from", "").partition("@")[0].rsplit("/", 1)[-1]:
            yield Finding(
                "def-pixi-in-final",
                "error",
                f"{path.name}, line {last.line}",
                "no Pixi in what is run",
                last.header["from"][:60],
                "From: debian@sha256:...",
            )
    yield from _activated(path, last, workspace, prefix, call)


def _taken(path: Path, stages: list[Stage], stage: Stage, prefix: str) -> Iterator[Finding]:
    names = {stage.header.get("stage", "")}
    targets = []
    for origin, source, target in stages[-1].copies():
        source = source.rstrip("/")
        if origin in names and (source == prefix or prefix.startswith(f"{source}/")):
            targets.append(dockerfile.absolute(target + prefix[len(source) :], "/"))
    where, advice = (
        f"{path.name}, line {stages[-1].line}",
        f"%files from {stage.header.get('stage', 'build')}, with {prefix} twice",
    )
    if not targets:
        yield Finding(
            "def-prefix-not-copied", "error", where, f"%files from the first stage with {prefix}", "none", advice
        )
    elif prefix not in targets:
        yield Finding(
            "def-prefix-moved",
            "error",
            where,
            f"the environment at {prefix}: its files hold that path",
            targets[0],
            advice,
        )


def _activated(
    path: Path, last: Stage, workspace: manifest.Manifest | None, prefix: str, call: shellwords.PixiCall
) -> Iterator[Finding]:
    where = f"{path.name}, line {last.line}: %environment"
    said = shellwords.exports(last.text("environment"))
    environment, wanted = call.environment, {"CONDA_PREFIX": prefix}
    if workspace is not None:
        linux, cuda = _linux(workspace, environment)
        wanted |= activation_of(workspace, environment, linux[0])
        if cuda and not fits(call.variables.get("CONDA_OVERRIDE_CUDA"), cuda):
            yield Finding(
                "def-cuda-override",
                "error",
                path.name,
                f"CONDA_OVERRIDE_CUDA={cuda} or more in %post",
                call.variables.get("CONDA_OVERRIDE_CUDA", "not set"),
                f"export CONDA_OVERRIDE_CUDA={cuda}",
            )
    if said.get("PATH", "").split(":")[0] != f"{prefix}/bin":
        yield Finding(
            "def-path",
            "error",
            where,
            f"PATH with {prefix}/bin in front",
            said.get("PATH", "not set"),
            f"export PATH={prefix}/bin:$PATH",
        )
    for name in wanted:
        if not said.get(name):
            yield Finding(
                "def-activation",
                "error",
                where,
                f"{name}, which activating {environment} sets",
                "not set",
                f"export {name}=...",
            )
