"""What is wrong with a Dockerfile for a Pixi workspace, each thing with a name: the images that it begins with, and
what goes in. Where a value is unknown (a variable that only a build has), a question is not answered."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator

from pixi_workspace import manifest
from pixi_workspace.manifest.platforms import platforms_of
from workshop.containers import content, dockerfile, last_stage, shellwords
from workshop.containers.dockerfile import Stage, Step
from workshop.containers.images import (
    Finding,
    Image,
    copies,
    copy_of,
    environment_argument,
    mounts,
    pixi_steps,
    stage_of,
)
from workshop.text import within

SECRET_NAME = re.compile(
    r"(?i)(?:^|_)(?:\w*token|\w*secret|passw(?:or)?d|passphrase|api_?key|access_?key|private_?key|credentials?)(?:_|$)"
)
SECRET_VALUE = re.compile(
    r"gh[pousr]_\w{20,}|github_pat_\w{20,}|hf_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|https?://[^\s/:@$]+:[^\s/@$]+@"
)
# A .pem may be a certificate, which is for everybody.
_SECRET_FILE = (
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".netrc",
    ".pypirc",
    ".env",
    "credentials.json",
    "auth.json",
    "*.key",
    "*.p12",
    "*.pfx",
    "*key.pem",
    "*key[-_.]*.pem",
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def all_findings(image: Image) -> list[Finding]:
    """Everything, in the order of a Dockerfile's life."""
    return [*base(image), *lock(image), *last_stage.findings(image), *content.findings(image)]


def base(image: Image) -> list[Finding]:
    """The images that stages begin with, and those that files are copied from: by tag and by digest."""
    found = []
    asked = [(f"{image.path.name}, line {s.line}: FROM", s.base, s.unset) for s in image.stages if s.parent is None]
    for stage in image.stages:
        for step, origin, _, _ in copies(stage):
            if origin and stage_of(image, origin) is None:
                asked.append((image.where(step.instruction), origin, ()))
        for step in stage.steps:
            for origin in (mount["from"] for mount in mounts(step) if mount.get("from")):
                if stage_of(image, origin.lower()) is None:
                    asked.append((image.where(step.instruction), origin, ()))
    for where, name, unset in asked:
        if unset:
            advice = f"ARG {unset[0]}=... with a value, before the first FROM"
            found.append(
                Finding("base-argument", "error", where, "arguments with a value", f"{unset[0]} has none", advice)
            )
        elif name != "scratch" and not (missing := _stage_meant(image, where, name)):
            found += _one_base(where, name)
        elif name != "scratch":
            found.append(missing)
    return found


def _stage_meant(image: Image, where: str, name: str) -> Finding | None:
    """FROM runtime-${ENVIRONMENT}, where there are stages runtime-... but not this one."""
    line = int(re.search(r"line (\d+)", where)[1])
    written = next((i.words[0] for i in image.instructions if i.name == "FROM" and i.line == line), "")
    beginning = written.partition("$")[0]
    names = [stage.name for stage in image.stages if beginning and stage.name.startswith(beginning.lower())]
    if "$" not in written or not names:
        return None
    return Finding(
        "stage-unknown", "error", where, f"one of the stages {', '.join(names)}", name, f"FROM ... AS {name}"
    )


def _one_base(where: str, name: str) -> Iterator[Finding]:
    reference, _, digest = name.partition("@")
    last = reference.rsplit("/", 1)[-1]
    tag = last.partition(":")[2]
    with_tag = reference if tag not in ("", "latest") else f"{reference.removesuffix(':latest')}:TAG"
    pin = f"docker buildx imagetools inspect {with_tag} shows the digest; write {with_tag}@sha256:..."
    if tag == "latest":
        yield Finding(
            "base-latest",
            "error",
            where,
            "a tag that says which release",
            name,
            f"take a release of {last.removesuffix(':latest')}",
        )
    elif not tag:
        yield Finding(
            "base-untagged", "error", where, "a tag beside the digest, for people", name, f"{reference}:TAG@sha256:..."
        )
    if not digest:
        yield Finding("base-digest", "error", where, "a digest: a tag moves, a digest cannot", name, pin)
    elif not _DIGEST.fullmatch(digest):
        yield Finding("base-digest", "error", where, "@sha256: and 64 hexadecimal digits", digest[:80], pin)


def lock(image: Image) -> list[Finding]:
    """What goes in: named files and no secrets; and one environment, just as it is locked."""
    found = [*_sources(image), *_secrets(image)]
    install = image.install
    if install is None:
        found.append(
            Finding(
                "no-install",
                "error",
                image.path.name,
                "a RUN with pixi install --locked",
                "no call of Pixi that installs",
                "RUN pixi install --locked --environment ${ENVIRONMENT}",
            )
        )
        return found
    where = image.where(install.step.instruction)
    for wanted, name in ((("pixi.toml", "pyproject.toml"), "manifest-not-copied"), (("pixi.lock",), "lock-not-copied")):
        if not _brings(image, install.stage, wanted, install.step):
            found.append(
                Finding(
                    name,
                    "error",
                    where,
                    f"a COPY of {wanted[0]} before it, by name",
                    "none",
                    "COPY pixi.toml pixi.lock ./",
                )
            )
    called = [entry for stage in install.stage.lineage() for entry in pixi_steps(stage)]
    for step, call in (entry for entry in called if entry[1].does in shellwords.CHANGING):
        advice = "do that outside, commit pixi.lock, and install from it"
        found.append(
            Finding(
                "lock-changed",
                "error",
                image.where(step.instruction),
                "no command that solves anew",
                f"pixi {call.does}",
                advice,
            )
        )
    first = next(call for _, call in called if call.does in shellwords.INSTALLING)
    loose = [call for call in (first, install.call) if not call.held]
    if loose:
        advice = f"RUN pixi {loose[0].does} --locked ...: it stops where pixi.lock does not fit, and never solves"
        found.append(Finding("not-locked", "error", where, "--locked", f"pixi {' '.join(loose[0].words)}"[:80], advice))
    elif install.call.held == "frozen":
        advice = "--locked also notices a lock that does not fit the manifest"
        found.append(Finding("frozen", "advice", where, "--locked", "--frozen", advice))
    return [*found, *_environment(image, where)]


def _environment(image: Image, where: str) -> Iterator[Finding]:
    """Its name, its platform, and what a machine without a GPU has to be told."""
    call = image.install.call
    if call.unset:
        advice = f"ARG {call.unset[0]}=cpu, in the stage that installs, too"
        yield Finding(
            "environment-argument",
            "error",
            where,
            "an environment",
            f"{call.unset[0]} has no value in this stage",
            advice,
        )
        return
    if image.workspace is None:
        return
    known = image.workspace.environments
    if problem := one_environment(image.workspace, call.environment, where, "", image.final_platform()):
        yield problem
        return
    if image.cuda and not fits(call.variables.get("CONDA_OVERRIDE_CUDA"), image.cuda):
        said = call.variables.get("CONDA_OVERRIDE_CUDA") or "not set"
        yield Finding(
            "cuda-override",
            "error",
            where,
            f"CONDA_OVERRIDE_CUDA of {image.cuda} or more: a build has no driver to ask",
            said,
            f"ARG CONDA_OVERRIDE_CUDA={image.cuda} before it",
        )
    if environment_argument(image) is None and len(known) > 1:
        advice = 'ARG ENVIRONMENT in that stage, and RUN pixi install --locked --environment "${ENVIRONMENT}"'
        yield Finding(
            "environment-fixed",
            "advice",
            where,
            "a build argument that chooses the environment",
            f"always {call.environment}",
            advice,
        )


def one_environment(
    workspace: manifest.Manifest, name: str, where: str, kind: str, subdir: str | None = None
) -> Finding | None:
    """What is wrong with the name of an environment: the manifest has none such, or not for Linux (or for `subdir`)."""
    known = workspace.environments
    if name not in known:
        return Finding(
            f"{kind}environment-unknown",
            "error",
            where,
            f"one of {', '.join(known)}",
            repr(name),
            f"--environment {next(iter(known))}",
        )
    found = {p.subdir for p in platforms_of(workspace, known[name].features)}
    if any(p.startswith("linux-") and subdir in (None, p) for p in found):
        return None
    return Finding(
        f"{kind}environment-platform",
        "error",
        where,
        f"an environment for {subdir or 'Linux'}",
        f"{name} is for {', '.join(sorted(found))}",
        f"another environment ({', '.join(known)}), or another platform for it in {workspace.path.name}",
    )


def fits(said: str | None, wanted: str) -> bool:
    """Whether a version is `wanted` or newer; 12 is 12.0."""
    return within(said or "", f">={wanted}")


def _brings(image: Image, stage: Stage, names: tuple[str, ...], until: Step) -> bool:
    """Whether one of the files is there at that step: copied by name, by pattern, in a folder, or mounted for it."""
    for step in (step for each in stage.lineage() for step in each.steps):
        if step is until:
            break
        if (copied := copy_of(step)) is None:
            continue
        origin, sources, _ = copied
        if origin or any(_holds(image, source, name) for source in sources for name in names):
            return True  # what another stage holds is its own business
    bound = [mount for mount in mounts(until) if mount["type"] == "bind"]
    return any("from" in mount or _holds(image, mount.get("source", "."), name) for mount in bound for name in names)


def _holds(image: Image, source: str, name: str) -> bool:
    last = source.rstrip("/").rsplit("/", 1)[-1]
    if source.strip("/") in ("", ".") or fnmatch.fnmatchcase(name, last or "*"):
        return True
    return (image.context / source.strip("/") / name).is_file()


def _sources(image: Image) -> Iterator[Finding]:
    for stage in image.stages:
        for step, origin, sources, _ in copies(stage):
            if origin:
                continue
            where = image.where(step.instruction)
            for source in sources:
                place = dockerfile.absolute(source, "/")
                if place in ("/", "/*"):
                    advice = "COPY pixi.toml pixi.lock ./ for the install, and then the code, by name"
                    found = "the whole folder: each change of any file installs anew, and what lies there goes in"
                    yield Finding("whole-context", "error", where, "files and folders by name", found, advice)
                elif place == "/.git" or place.startswith("/.git/"):
                    advice = "a build argument: --build-arg REVISION=$(git rev-parse HEAD)"
                    yield Finding("git-copied", "error", where, "the revision, and not the history", source, advice)
                elif _is_secret(place.rsplit("/", 1)[-1].lower()):
                    advice = "RUN --mount=type=secret,id=... shows it to one step, and leaves nothing"
                    yield Finding("secret", "error", where, "no secrets in a layer", source, advice)


def _is_secret(name: str) -> bool:
    return "pub" not in name and any(fnmatch.fnmatchcase(name, pattern) for pattern in _SECRET_FILE)


def _secrets(image: Image) -> Iterator[Finding]:
    for instruction in image.instructions:
        where = f"{image.path.name}, line {instruction.line}: {instruction.name}"
        advice = "RUN --mount=type=secret,id=... shows it to one step, and leaves nothing"
        if instruction.name in ("ARG", "ENV"):
            for name, value in dockerfile.pairs(instruction):
                kept = instruction.name == "ARG" or value
                if kept and SECRET_NAME.search(name) and not name.upper().endswith(("_FILE", "_PATH")):
                    found = f"{name}, which `docker history` shows to everybody"
                    yield Finding("secret", "error", where, "no secrets in arguments and variables", found, advice)
        if SECRET_VALUE.search(instruction.script):
            yield Finding(
                "secret",
                "error",
                where,
                "no secrets in a layer",
                "something that looks like a key or a password",
                advice,
            )
