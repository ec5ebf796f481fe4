"""Rules for the build: the base images, the copied files, and the installation of the locked environment.

A rule reports nothing about values that only a build knows.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pixi_workspace.manifest.platforms import platforms_of
from workshop.containers import dockerfile, shellwords
from workshop.containers.dockerfile import Instruction, Step
from workshop.containers.images import (
    Image,
    Install,
    copies,
    environment_argument,
    find_stage,
    is_at_least,
    lock_version,
    mounts,
    parse_copy,
    pixi_steps,
    pixi_version,
)
from workshop.containers.shellwords import PixiCall
from workshop.support.rules import ADVICE, ERROR, Finding, Problem, Rule, findings_of
from workshop.support.text import closest_match

SECRET_NAME = re.compile(
    r"(?i)(?:^|_)(?:\w*token|\w*secret|passw(?:or)?d|passphrase|api_?key|access_?key|private_?key|credentials?)(?:_|$)"
)
SECRET_VALUE = re.compile(
    r"gh[pousr]_\w{20,}|github_pat_\w{20,}|hf_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|https?://[^\s/:@$]+:[^\s/@$]+@"
)
# Not every .pem, since certificates are public.
_SECRET_FILES = (
    "id_rsa id_dsa id_ecdsa id_ed25519 .netrc .pypirc .env credentials.json auth.json *.key *.p12 *.pfx *key.pem "
    "*key[-_.]*.pem"
).split()
# The first Pixi that reads a version of the lock.
FIRST_PIXI = {7: "0.68.0"}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SECRET_ADVICE = "use RUN --mount=type=secret,id=...: only that step sees the secret, and the image does not contain it"


def base_findings(image: Image) -> list[Finding]:
    """Findings about the images that stages start from and copy from."""
    return [*findings_of(bases(image), BASE_RULES)]


def lock_findings(image: Image) -> list[Finding]:
    """Findings about copied files, secrets and the installation of the environment."""
    return [
        *findings_of(copied_paths(image), COPY_RULES),
        *findings_of([image], IMAGE_RULES),
        *findings_of([image.install] if image.install else [], INSTALL_RULES),
    ]


# ---------------------------------------------------------------- base images


@dataclass(frozen=True)
class Base:
    """An image that FROM, COPY --from or RUN --mount names.

    location: its line. unset: the variables in that line that have no value. stages: for a FROM with a variable whose
    value is not the name of a stage, and for a misspelt name, the stages that it could name.
    """

    location: str
    name: str
    unset: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()

    @property
    def is_external(self) -> bool:
        """Whether it comes from a registry."""
        return not self.unset and not self.stages and self.name != "scratch"

    @property
    def reference(self) -> str:
        return self.name.partition("@")[0]

    @property
    def digest(self) -> str:
        return self.name.partition("@")[2]

    @property
    def is_fixed(self) -> bool:
        """Whether a valid digest names it, so that it is the same image in every build."""
        return _DIGEST.fullmatch(self.digest) is not None

    @property
    def tag(self) -> str:
        return self.reference.rsplit("/", 1)[-1].partition(":")[2]


def bases(image: Image) -> Iterator[Base]:
    """The images in FROM, COPY --from and RUN --mount=from=, each one once, without the names of stages."""
    yield from dict.fromkeys(_named_images(image))


def _named_images(image: Image) -> Iterator[Base]:
    for stage in image.stages:
        if stage.parent is None:
            where = line_of_name(image, stage.line)
            stages = _possible_stages(image, stage.line) or _meant_stage(image, stage.base, stage.number)
            yield Base(where, stage.base, stage.unset, stages)
    for stage in image.stages:
        for step, origin, _, _ in copies(stage):
            if origin and find_stage(image, origin) is None:
                meant = _meant_stage(image, origin, stage.number)
                yield Base(image.location(step.instruction), origin, stages=meant)
        for step in stage.steps:
            for origin in (mount["from"] for mount in mounts(step) if mount.get("from")):
                if find_stage(image, origin.lower()) is None:
                    yield Base(image.location(step.instruction), origin)


def line_of_name(image: Image, line: int) -> str:
    """The line that contains the name of the image of this FROM: for FROM ${NAME}, the ARG above with its default."""
    word = next((i.words[0] for i in image.instructions if i.name == "FROM" and i.line == line and i.words), "")
    variable = re.fullmatch(r"\$(?:\{(\w+)\}|(\w+))", word)
    name = (variable[1] or variable[2]) if variable else ""
    first = next((i.line for i in image.instructions if i.name == "FROM"), 0)
    for instruction in image.instructions:
        has_default = instruction.name == "ARG" and any(
            key == name and text for key, text in dockerfile.pairs(instruction)
        )
        if instruction.line < first and has_default and name not in image.build_args:
            return f"{image.path.name}, line {instruction.line}: ARG {name}"
    return f"{image.path.name}, line {line}: FROM"


def _possible_stages(image: Image, line: int) -> tuple[str, ...]:
    """The stages that the FROM in this line could name: for FROM runtime-${ENVIRONMENT}, all stages runtime-...."""
    word = next((i.words[0] for i in image.instructions if i.name == "FROM" and i.line == line), "")
    prefix, variable, _ = word.partition("$")
    if not prefix or not variable:
        return ()
    return tuple(stage.name for stage in image.stages if stage.name.startswith(prefix.lower()))


def _meant_stage(image: Image, name: str, number: int) -> tuple[str, ...]:
    """The earlier stages that a name without tag and digest could mean: it almost spells one, or begins like them."""
    earlier = [stage.name for stage in image.stages[:number] if not stage.name.isdecimal()]
    if re.search("[:@/]", name):
        return ()
    meant = closest_match(name, earlier, cutoff=0.75)
    return tuple(other for other in earlier if other.startswith(f"{name}-")) or ((meant,) if meant else ())


def _base_without_value(base: Base) -> Iterator[Problem]:
    if base.unset:
        yield Problem(
            looked_at=base.location,
            expected="a value for every argument in FROM",
            found=f"{base.unset[0]} has no value",
            next_step=f"ARG {base.unset[0]}=... with a default value, above the first FROM",
        )


def _unknown_stage(base: Base) -> Iterator[Problem]:
    if base.stages and not base.unset:
        names = ", ".join(base.stages)
        yield Problem(
            looked_at=base.location,
            expected=f"one of the stages {names}" if "," in names else f"the stage {names}",
            found=base.name,
            next_step=f"FROM ... AS {base.name}",
        )


def _latest(base: Base) -> Iterator[Problem]:
    if base.is_external and base.tag == "latest":
        image = base.reference.rsplit("/", 1)[-1].removesuffix(":latest")
        expected = "a tag that names a release: `latest` is another image after each release"
        if base.is_fixed:
            expected = (
                "a tag that names a release, so that a reader sees the version; the digest fixes the image itself"
            )
        yield Problem(
            looked_at=base.location,
            expected=expected,
            found=base.name,
            next_step=f"use the tag of a release of {image}",
            level=ADVICE if base.is_fixed else None,
        )


def _untagged(base: Base) -> Iterator[Problem]:
    if base.is_external and not base.tag:
        yield Problem(
            looked_at=base.location,
            expected="a tag as well, so that a reader sees the version",
            found=base.name,
            next_step=f"{base.reference}:TAG@sha256:...",
            level=ADVICE if base.is_fixed else None,
        )


def _no_digest(base: Base) -> Iterator[Problem]:
    if not base.is_external or base.is_fixed:
        return
    tagged = base.reference if base.tag not in ("", "latest") else f"{base.reference.removesuffix(':latest')}:TAG"
    pin = f"docker buildx imagetools inspect {tagged} prints the digest; write {tagged}@sha256:..."
    if base.digest:
        expected, found = "@sha256: followed by 64 hexadecimal digits", base.digest[:80]
    else:
        expected, found = "a digest: a tag can be moved to another image, but a digest cannot", base.name
    names_release = base.tag not in ("", "latest") and not base.digest
    yield Problem(
        looked_at=base.location, expected=expected, found=found, next_step=pin, level=ADVICE if names_release else None
    )


BASE_RULES = (
    Rule("base-argument", ERROR, _base_without_value),
    Rule("stage-unknown", ERROR, _unknown_stage),
    Rule("base-latest", ERROR, _latest),
    Rule("base-untagged", ERROR, _untagged),
    Rule("base-digest", ERROR, _no_digest),
)

# ---------------------------------------------------------------- copied files


@dataclass(frozen=True)
class CopiedPath:
    """A file or folder that a COPY or ADD copies from the build context. path: its path from the context's root.

    before_install: the installation depends on it. in_image: it is copied into the last stage or a parent of it.
    """

    location: str
    source: str
    path: str
    before_install: bool
    in_image: bool


def copied_paths(image: Image) -> Iterator[CopiedPath]:
    early = _steps_before(image.install) if image.install else []
    for stage in image.stages:
        in_image = stage in image.final_stage.lineage()
        for step, origin, sources, _ in copies(stage):
            before_install = any(step is other for other in early)
            for source in sources if not origin else ():
                path = dockerfile.absolute(source, "/")
                yield CopiedPath(image.location(step.instruction), source, path, before_install, in_image)


def _steps_before(install: Install) -> list[Step]:
    """The steps of the stage that installs, and of its parents, that precede the installation."""
    steps = [step for stage in install.stage.lineage() for step in stage.steps]
    return steps[: next(number for number, step in enumerate(steps) if step is install.step)]


def _whole_context(copied: CopiedPath) -> Iterator[Problem]:
    drawbacks = ["a change to any file repeats the installation"] * copied.before_install
    drawbacks += ["the image contains every file"] * copied.in_image
    if copied.path in ("/", "/*") and drawbacks:
        yield Problem(
            looked_at=copied.location,
            expected="files and folders copied by name",
            found=f"the whole build context: {', and '.join(drawbacks)}",
            next_step="COPY pixi.toml pixi.lock ./ before the installation, and copy the code by name after it",
        )


def _git_folder(copied: CopiedPath) -> Iterator[Problem]:
    if copied.path == "/.git" or copied.path.startswith("/.git/"):
        yield Problem(
            looked_at=copied.location,
            expected="no .git folder in the image: the revision is enough",
            found=copied.source,
            next_step="pass the revision as a build argument: --build-arg REVISION=$(git rev-parse HEAD)",
        )


def _secret_file(copied: CopiedPath) -> Iterator[Problem]:
    name = copied.path.rsplit("/", 1)[-1].lower()
    in_git = copied.path.startswith("/.git/")
    if not in_git and "pub" not in name and any(fnmatch.fnmatchcase(name, pattern) for pattern in _SECRET_FILES):
        yield Problem(
            looked_at=copied.location, expected="no secrets in a layer", found=copied.source, next_step=_SECRET_ADVICE
        )


COPY_RULES = (
    Rule("whole-context", ADVICE, _whole_context),
    Rule("git-copied", ERROR, _git_folder),
    Rule("secret", ERROR, _secret_file),
)

# ---------------------------------------------------------------- the file as a whole


def _secrets(image: Image) -> Iterator[Problem]:
    for instruction in image.instructions:
        where = f"{image.path.name}, line {instruction.line}: {instruction.name}"
        for name in _secret_names(instruction):
            yield Problem(
                looked_at=where,
                expected="no secrets in arguments or variables",
                found=f"{name}, which `docker history` shows to everyone",
                next_step=_SECRET_ADVICE,
            )
        if SECRET_VALUE.search(instruction.content):
            yield Problem(
                looked_at=where,
                expected="no secrets in a layer",
                found="text that looks like a key or a password",
                next_step=_SECRET_ADVICE,
            )


def _secret_names(instruction: Instruction) -> list[str]:
    """The variables of an ARG or ENV with a name like that of a secret; the image stores their values."""
    if instruction.name not in ("ARG", "ENV"):
        return []
    names = [name for name, value in dockerfile.pairs(instruction) if instruction.name == "ARG" or value]
    return [name for name in names if SECRET_NAME.search(name) and not name.upper().endswith(("_FILE", "_PATH"))]


def _no_install(image: Image) -> Iterator[Problem]:
    if image.install is None:
        yield Problem(
            looked_at=image.path.name,
            expected="a RUN that calls pixi install --locked",
            found="no RUN that installs an environment with Pixi",
            next_step="RUN pixi install --locked --environment ${ENVIRONMENT}",
        )


IMAGE_RULES = (Rule("secret", ERROR, _secrets), Rule("no-install", ERROR, _no_install))

# ---------------------------------------------------------------- the step that installs


def _manifest_not_copied(install: Install) -> Iterator[Problem]:
    if not _is_available(install, "pixi.toml", "pyproject.toml"):
        yield _not_copied(install, "pixi.toml")


def _lock_not_copied(install: Install) -> Iterator[Problem]:
    if not _is_available(install, "pixi.lock"):
        yield _not_copied(install, "pixi.lock")


def _not_copied(install: Install, name: str) -> Problem:
    return Problem(
        looked_at=install.location,
        expected=f"a COPY of {name} before this step",
        found="none",
        next_step="COPY pixi.toml pixi.lock ./",
    )


def _is_available(install: Install, *names: str) -> bool:
    """Whether one of the files exists when the step runs, or may exist.

    It is copied by name, by pattern or in a folder; it is mounted; or a command such as `git clone` may have
    created it.
    """
    image = install.image
    for step in [*_steps_before(install), install.step]:
        if step.instruction.name == "RUN" and _may_create(step.instruction.script, names):
            return True
        if (copied := parse_copy(step)) is None:
            continue
        origin, sources, target = copied
        # The files of another stage are unknown, so the file may come from there.
        if origin or target.rsplit("/", 1)[-1] in names:
            return True
        if any(_source_contains(image, source, name) for source in sources for name in names):
            return True
    bind_mounts = [mount for mount in mounts(install.step) if mount["type"] == "bind"]
    return any(
        "from" in mount or _source_contains(image, mount.get("source", "."), name)
        for mount in bind_mounts
        for name in names
    )


def _may_create(script: str, names: tuple[str, ...]) -> bool:
    """Whether a script unpacks or clones files, or copies or downloads one with these names."""
    named = "|".join(map(re.escape, names))
    unpacks = r"\bgit\s+clone\b|\b(unzip|rsync)\b|\bpixi\s+init\b"
    return re.search(rf"{unpacks}|\b(cp|mv|ln|curl|wget)\b[^\n;&|]*({named})", script) is not None


def _source_contains(image: Image, source: str, name: str) -> bool:
    """Whether a source of COPY is the file `name`, a pattern that matches it, or a folder that contains it."""
    last = source.rstrip("/").rsplit("/", 1)[-1]
    if source.strip("/") in ("", ".") or fnmatch.fnmatchcase(name, last or "*"):
        return True
    return (image.context / source.strip("/") / name).is_file()


def _pixi_calls(install: Install) -> list[tuple[Step, PixiCall]]:
    """The calls of Pixi in the stage that installs and in its parents."""
    return [entry for stage in install.stage.lineage() for entry in pixi_steps(stage)]


def _lock_changed(install: Install) -> Iterator[Problem]:
    for step, call in _pixi_calls(install):
        if call.command in shellwords.LOCK_CHANGING_COMMANDS:
            yield Problem(
                looked_at=install.image.location(step.instruction),
                expected="no command that changes the lock",
                found=f"pixi {call.command}",
                next_step="run it on your machine, commit pixi.lock, and install from the lock",
            )


def _solving_call(install: Install) -> PixiCall | None:
    """The first call of Pixi that may solve the environment again."""
    first = next(call for _, call in _pixi_calls(install) if call.command in shellwords.INSTALL_COMMANDS)
    return next((call for call in (first, install.call) if not call.lock_mode), None)


def _not_locked(install: Install) -> Iterator[Problem]:
    if (call := _solving_call(install)) is not None:
        yield Problem(
            looked_at=install.location,
            expected="--locked",
            found=f"pixi {' '.join(call.words)}"[:80],
            next_step=f"RUN pixi {call.command} --locked ...: Pixi then stops if pixi.lock does not satisfy pixi.toml, and "
            "never solves",
        )


def _frozen(install: Install) -> Iterator[Problem]:
    if install.call.lock_mode == "frozen" and _solving_call(install) is None:
        yield Problem(
            looked_at=install.location,
            expected="--locked",
            found="--frozen",
            next_step="use --locked: it also checks that the lock satisfies the manifest",
        )


def _environment_without_value(install: Install) -> Iterator[Problem]:
    if unset := install.call.unset:
        yield Problem(
            looked_at=install.location,
            expected="the name of an environment",
            found=f"{unset[0]} has no value in this stage",
            next_step=f"ARG {unset[0]}=cpu in this stage: an ARG above the first FROM applies only to FROM",
        )


def _unknown_environment(install: Install) -> Iterator[Problem]:
    known, name = install.image.environments, install.image.environment
    if known and name is not None and name not in known:
        yield Problem(
            looked_at=install.location,
            expected=f"one of {', '.join(known)}",
            found=repr(name),
            next_step=f"--environment {next(iter(known))}",
        )


def _other_platform(install: Install) -> Iterator[Problem]:
    workspace, name = install.image.workspace, install.image.environment
    if workspace is None or name not in workspace.environments or install.image.linux_platforms:
        return
    known = workspace.environments
    subdirs = {platform.subdir for platform in platforms_of(workspace, known[name].features)}
    yield Problem(
        looked_at=install.location,
        expected=f"an environment for {install.image.final_platform() or 'Linux'}",
        found=f"{name} is for {', '.join(sorted(subdirs))}",
        next_step=f"use another environment ({', '.join(known)}), or add a Linux platform to this one in {workspace.path.name}",
    )


def _cuda_override(install: Install) -> Iterator[Problem]:
    cuda, override = install.image.required_cuda, install.call.variables.get("CONDA_OVERRIDE_CUDA")
    if cuda and not is_at_least(override, cuda):
        yield Problem(
            looked_at=install.location,
            expected=f"CONDA_OVERRIDE_CUDA of {cuda} or more: a build has no NVIDIA driver, so Pixi cannot detect CUDA",
            found=override or "not set",
            next_step=f"ARG CONDA_OVERRIDE_CUDA={cuda} before this step",
        )


def _fixed_environment(install: Install) -> Iterator[Problem]:
    image = install.image
    if image.linux_platforms and len(image.environments) > 1 and environment_argument(image) is None:
        yield Problem(
            looked_at=install.location,
            expected="a build argument that chooses the environment",
            found=f"always the environment {install.call.environment}",
            next_step='ARG ENVIRONMENT in this stage, and RUN pixi install --locked --environment "${ENVIRONMENT}"',
        )


def _pixi_too_old(install: Install) -> Iterator[Problem]:
    pixi, lock = pixi_version(install), lock_version(install.image)
    first = FIRST_PIXI.get(lock or 0)
    if pixi and first and not is_at_least(pixi, first):
        yield Problem(
            looked_at=install.location,
            expected=f"Pixi {first} or newer, the first that reads version {lock} of pixi.lock",
            found=f"Pixi {pixi}",
            next_step=f"install with the Pixi that wrote the lock: FROM ghcr.io/prefix-dev/pixi:{first} or newer",
        )


INSTALL_RULES = (
    Rule("manifest-not-copied", ERROR, _manifest_not_copied),
    Rule("lock-not-copied", ERROR, _lock_not_copied),
    Rule("pixi-too-old", ERROR, _pixi_too_old),
    Rule("lock-changed", ERROR, _lock_changed),
    Rule("not-locked", ERROR, _not_locked),
    Rule("frozen", ADVICE, _frozen),
    Rule("environment-argument", ERROR, _environment_without_value),
    Rule("environment-unknown", ERROR, _unknown_environment),
    Rule("environment-platform", ERROR, _other_platform),
    Rule("cuda-override", ERROR, _cuda_override),
    Rule("environment-fixed", ADVICE, _fixed_environment),
)
