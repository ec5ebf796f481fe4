"""Findings about the container files of a workspace. By `container-check`'s rules."""

from __future__ import annotations

from pathlib import Path

from pixi_workspace import WorkspaceError
from workshop.audit import places
from workshop.audit.findings import CONTAINER, ERROR, HADOLINT, NOTE, WARNING, Finding, finding
from workshop.containers import check
from workshop.errors import WorkshopError
from workshop.support import rules
from workshop.support.files import list_files, read_text

# The rules of `container-check` that are less severe here than there. The first are about the size of an image. With the
# others the image holds the locked environment, but its programs may not find it.
SIZE = ("one-stage", "pixi-in-final", "build-tools", "def-pixi-in-final")
IN_USE = (
    *(
        "activation-variable",
        "argument-empty",
        "code-not-copied",
        "command",
        "conda-prefix",
        "entrypoint",
        "gpu-variables",
        "label-empty",
    ),
    *("path", "prefix-moved", "prefix-not-copied", "python-path", "workdir"),
    *("def-activation", "def-path", "def-prefix-moved", "def-prefix-not-copied"),
)
NO_INSTALL = "no-install"
# What says nothing about reproducibility is left to `container-check`.
LEFT_OUT = ("healthcheck", "root-user", "user-by-name")
# hadolint's rules about versions: of images, and of packages of apt, pip, npm, apk, gem, zypper, dnf and yum.
VERSIONS = ("DL3006", "DL3007", "DL3008", "DL3013", "DL3016", "DL3018", "DL3028", "DL3033", "DL3037", "DL3041")


def container_files(root: Path) -> list[Path]:
    """The container files under `root` that name Pixi and whose nearest manifest lies in `root`."""
    found = []
    for path in list_files(root).values():
        if check.is_container_file(path) and not path.is_symlink() and "pixi" in _text(path):
            nearest = next(folder for folder in path.parents if folder == root or _has_manifest(folder))
            found += [path] if nearest == root else []
    return found


def _has_manifest(folder: Path) -> bool:
    project = folder / "pyproject.toml"
    return (folder / "pixi.toml").is_file() or ("[tool.pixi" in _text(project))


def _text(path: Path) -> str:
    """The text of a file; empty if it cannot be read."""
    try:
        return read_text(path)
    except OSError:
        return ""


def container_findings(path: Path) -> list[Finding]:
    """What `container-check` finds in one file: its rules, and the messages of hadolint if that is installed."""
    try:
        found = check.check_file(path, None)
    except (WorkshopError, WorkspaceError) as error:
        line = places.line_in_message(error.looked_at) or 1
        reason = f"expected {error.expected}; found {error.found}"
        return [finding("container-unreadable", path, line, reason, error.next_step)]
    if any(each.name == NO_INSTALL for each in found):
        # An image to develop in, for example: the environment is installed when it runs. Only its base is fixed here.
        found = [each for each in found if each.name.startswith((NO_INSTALL, "base-", "secret"))]
    result = []
    for each in found:
        if each.name in LEFT_OUT:
            continue
        line = places.line_in_message(each.looked_at) or 1
        level, reason = _level(each), f"expected {each.expected}; found {each.found}"
        result.append(Finding(CONTAINER + each.name, level, path, line, reason, each.next_step))
    messages = [] if check.is_definition(path) else check.hadolint(path)
    for message in messages if isinstance(messages, list) else []:
        level, code = ERROR if message["level"] == "error" else NOTE, str(message["code"])
        if level == NOTE and code not in VERSIONS:
            continue
        fix = f"see hadolint's page on {code}"
        result.append(Finding(HADOLINT + code, level, path, int(str(message["line"])), str(message["message"]), fix))
    return result


def _level(each: rules.Finding) -> str:
    if each.level != rules.ERROR or each.name in (*SIZE, NO_INSTALL):
        return NOTE
    return WARNING if each.name in IN_USE else ERROR
