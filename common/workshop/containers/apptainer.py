"""Parse Apptainer definition files; `definition_rules` checks them.

A definition has a header (`Bootstrap: docker`) and sections (`%post`) for each stage.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from workshop.containers import dockerfile, images, shellwords
from workshop.errors import WorkshopError
from workshop.support import files

HEADERS = (
    "bootstrap from stage include osversion mirrorurl updateurl fingerprints library registry namespace "
    "product user regcode productpgp registerurl modules setopt"
).split()
SECTIONS = (
    "arguments help setup files labels environment pre post runscript startscript test appinstall applabels "
    "appenv apprun appstart apphelp appfiles apptest"
).split()
AGENTS = (
    "docker docker-archive docker-daemon oci oci-archive localimage library oras shub scratch debootstrap yum "
    "dnf zypper arch busybox"
).split()

_ARGUMENT = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")


@dataclass(frozen=True)
class Section:
    """name: without the percent sign. rest: the rest of its line, such as `from build`. text: the lines below."""

    name: str
    rest: str
    text: str
    line: int


@dataclass
class Stage:
    """file: the name of the definition, for messages. lines: of each header. unknown: (line, name) of each header that
    is not in HEADERS.
    """

    file: str
    header: dict[str, str] = field(default_factory=dict)
    line: int = 1
    lines: dict[str, int] = field(default_factory=dict)
    unknown: list[tuple[int, str]] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    @property
    def location(self) -> str:
        return f"{self.file}, line {self.line}"

    def at(self, name: str) -> str:
        """The location of a header, as From, or of the first section of a name, as %environment; or of the stage."""
        sections = (section.line for section in self.sections if f"%{section.name}" == name)
        return f"{self.file}, line {self.lines.get(name.lower()) or next(sections, self.line)}: {name}"

    def text(self, name: str) -> str:
        return "\n".join(section.text for section in self.sections if section.name == name)

    def copies(self) -> Iterator[tuple[str, str, str]]:
        """(stage or empty, source, target) for each line of %files."""
        for section in self.sections:
            if section.name == "files":
                origin = section.rest.partition("from ")[2].strip() if section.rest.startswith("from ") else ""
                for line in section.text.splitlines():
                    words = dockerfile.split(line.partition("#")[0])
                    if words:
                        yield origin, words[0], words[1] if len(words) > 1 else words[0]


def read(path: Path, build_args: Mapping[str, str] | None = None, fill: bool = True) -> list[Stage]:
    """The stages of a definition, with its arguments replaced by `build_args` or by the defaults in %arguments.

    Without `fill`, arguments stay as {{NAME}}. Raises WorkshopError if the file is not a definition.
    """
    try:
        text = files.read_bytes(path).decode("utf-8-sig")
    except OSError as error:
        raise WorkshopError(
            looked_at=path, expected="a definition file", found=str(error.strerror), next_step="name another file"
        ) from error
    except UnicodeDecodeError as error:
        raise WorkshopError(
            looked_at=path,
            expected="text in UTF-8",
            found=f"bytes that are not UTF-8 (at {error.start})",
            next_step="name another file",
        ) from error
    _check_size(path, text)
    arguments = (re.fullmatch(r"([A-Za-z_]\w*)=(.*)", line.strip()) for line in _arguments(text).split("\n"))
    defaults = {match[1]: match[2] for match in arguments if match}
    values = defaults | dict(build_args or {}) if fill else {}
    longest = max((len(value) for value in values.values()), default=0)
    if longest * text.count("{{") > dockerfile.MOST_TEXT:
        raise _too_large(path)
    text = re.sub(_ARGUMENT, lambda match: values.get(match[1], f"{{{{{match[1]}}}}}"), text)
    stages: list[Stage] = []
    name, rest, first_line, lines = "", "", 0, []

    def close() -> None:
        if name:
            stages[-1].sections.append(Section(name, rest, "\n".join(lines), first_line))

    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if match := re.fullmatch(r"bootstrap\s*:\s*(.*)", stripped, re.IGNORECASE):
            if stages:
                close()
            name, lines = "", []
            stages.append(Stage(path.name, {"bootstrap": match[1].partition("#")[0].strip()}, number))
        elif section := re.match(r"%([A-Za-z]\w*)\s*(.*)", stripped):
            if not stages:
                raise WorkshopError(
                    looked_at=f"{path}, line {number}",
                    expected="Bootstrap: ... before any section",
                    found=stripped,
                    next_step="begin with Bootstrap: docker",
                )
            close()
            name, rest, first_line, lines = section[1].lower(), section[2], number, []
        elif name:
            lines.append(line)
        elif stages and (key := re.fullmatch(r"([A-Za-z]\w*)\s*:\s*(.*)", stripped)):
            stages[-1].header[key[1].lower()] = key[2].strip()
            stages[-1].lines[key[1].lower()] = number
            if key[1].lower() not in HEADERS and not key[1].lower().startswith("otherurl"):
                stages[-1].unknown.append((number, key[1]))
        elif stripped and not stripped.startswith("#"):
            raise WorkshopError(
                looked_at=f"{path}, line {number}",
                expected="a header such as Bootstrap: docker",
                found=repr(stripped[:60]),
                next_step=f"correct line {number}",
            )
    if not stages:
        raise WorkshopError(
            looked_at=path, expected="a header Bootstrap: ...", found="none", next_step="begin with Bootstrap: docker"
        )
    close()
    return stages


def _check_size(path: Path, text: str) -> None:
    """Raise WorkshopError for more text than a definition can need, which would take long to check."""
    lines = [line for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    sections = sum(line.lstrip()[:1] == "%" or line.lstrip().lower().startswith("bootstrap") for line in lines)
    length = sum(map(len, lines))
    if (
        text.count("\n") > dockerfile.MOST_LINES
        or length > dockerfile.LONGEST_INSTRUCTION
        or sections > dockerfile.MOST_INSTRUCTIONS
        or "\0" in text
    ):
        raise _too_large(path)


def _too_large(path: Path) -> WorkshopError:
    size = f"{dockerfile.LONGEST_INSTRUCTION // 1024} KiB in {dockerfile.MOST_INSTRUCTIONS:,} sections"
    return WorkshopError(
        looked_at=path,
        expected=f"at most {size}, without comments and zero bytes",
        found="more, or a zero byte",
        next_step="put long scripts into files, and copy them in %files",
    )


def _arguments(text: str) -> str:
    return "\n".join(
        re.findall(r"^%arguments[^\n]*\n(.*?)(?=^%|^bootstrap\s*:|\Z)", text, re.MULTILINE | re.DOTALL | re.IGNORECASE)
    )


def find_install(stages: list[Stage]) -> tuple[Stage, shellwords.PixiCall] | None:
    """The first stage whose %post installs an environment with Pixi, and that call.

    With --all, the call's environment is the one that the last stage activates.
    """
    for stage in stages:
        for call in shellwords.pixi_calls(stage.text("post"), {}):
            if call.command in shellwords.INSTALL_COMMANDS:
                active = images.activated_environment(shellwords.exports(stages[-1].text("environment")))
                return stage, replace(
                    call, environment=active
                ) if call.environment == shellwords.ALL_ENVIRONMENTS else call
    return None


def load(path: Path, environment: str | None = None) -> list[Stage]:
    """The stages of a definition; environment: the value of the build argument that chooses the environment.

    Raises WorkshopError as `read` does, and if the definition installs another environment and no argument changes
    that.
    """
    install = find_install(stages := read(path))
    if environment is None or install is None or install[1].environment == environment:
        return stages
    unfilled = find_install(read(path, fill=False))
    argument = _ARGUMENT.search(unfilled[1].environment) if unfilled else None
    if argument is None:
        raise WorkshopError(
            looked_at=path,
            expected="a build argument that chooses the environment, such as ENVIRONMENT=... in %arguments",
            found=f"no such argument: the environment is always {install[1].environment}",
            next_step="leave --environment out, or add the argument",
        )
    return read(path, {argument[1]: environment})


def gpu_environment(path: Path) -> str | None:
    """The environment to check for a GPU: cuda12, or the first that requires CUDA on Linux.

    None if there is none, or if no build argument can choose it.
    """
    install, workspace = find_install(read(path, fill=False)), images.nearest_manifest(path.parent)
    if install is None or workspace is None or not _ARGUMENT.search(install[1].environment):
        return None
    environments = workspace.environments

    def needs_gpu(name: str) -> bool:
        return images.required_cuda(images.linux_platforms(workspace, name)) is not None

    return next((name for name in ("cuda12", *environments) if name in environments and needs_gpu(name)), None)
