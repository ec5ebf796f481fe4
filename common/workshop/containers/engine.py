"""`workshop container-build` and `container-run`: build and run the image of exercise 5 with docker, podman or buildah.

The three engines take nearly the same arguments. Two builds of one commit have the same digest (with docker, only if
its builder rewrites the times of the files in the layers).
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pixi_workspace import manifest
from pixi_workspace.manifest.platforms import platforms_of
from workshop import exercises, shell
from workshop.containers import images
from workshop.errors import WorkshopError
from workshop.support.files import sha256_of
from workshop.support.hardware import nvidia_smi

ENGINES = ("docker", "podman", "buildah")
IMAGE_NAME = "reproducible-ml"
DOCKERFILE = "exercise-5-container/solution/Dockerfile"
DEFINITION = "exercise-5-container/solution/apptainer.def"
RESULTS = "/workshop/results"
SCRIPT = "exercise-2-pytorch-cu12/solution/train.py"
USER = 1000  # as in the Dockerfile


class NoEngine(WorkshopError):
    """No container engine answers."""


class NoImage(WorkshopError):
    """Engines answer, but none of them has the image."""


@dataclass(frozen=True)
class Engine:
    """A container engine that is ready to use. can_run: False for buildah, which only builds."""

    name: str
    program: str
    version: str

    @property
    def can_run(self) -> bool:
        return self.name != "buildah"

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the engine with these arguments and capture its output."""
        line = [self.program, *words]
        return subprocess.run(line, capture_output=True, encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL)


def available_engines() -> tuple[list[Engine], list[str]]:
    """The engines that are ready to use, in the order of ENGINES, and for each of the others why it is not."""
    engines, reasons = [], []
    for name in ENGINES:
        program = shutil.which(name)
        if program is None:
            reasons.append(f"{name}: not on the PATH")
            continue
        engine = Engine(name, program, "")
        # `--version` succeeds without a daemon and without storage. These commands need both, as a build does.
        words = {
            "docker": ("version", "--format", "{{.Server.Version}}"),
            "podman": ("info", "--format", "{{.Version.Version}}"),
            "buildah": ("info", "--format", "{{.host.kernel}}"),
        }[name]
        try:
            answer = engine.call(*words)
        except OSError as error:
            reasons.append(f"{name}: {error.strerror}")
            continue
        if answer.returncode == 0:
            engines.append(Engine(name, program, answer.stdout.strip()))
        else:
            reasons.append(f"{name}: {last_line(answer.stderr)}")
    return engines, reasons


def usable_engines(engine_name: str | None, running: bool) -> list[Engine]:
    """The named engine, or all that are ready; with `running`, only those that can run containers.

    Raises NoEngine, with a reason for each engine, if there is none.
    """
    engines, reasons = available_engines()
    if suitable := [e for e in engines if engine_name in (None, e.name) and (e.can_run or not running)]:
        return suitable
    if running:
        reasons += [f"{e.name}: it builds images and does not run them" for e in engines if not e.can_run]
    expected = "docker or podman, ready to run" if running else "docker, podman or buildah, ready to build"
    raise NoEngine(
        looked_at=f"the container engine {engine_name}" if engine_name else "the container engines on this machine",
        expected=expected,
        found="; ".join(reason for reason in reasons if engine_name is None or reason.startswith(f"{engine_name}:"))
        or "none",
        next_step="start Docker, or install one: `apt-get install podman`; without one: workshop container-check",
    )


def last_line(stderr: str) -> str:
    """The last line that mentions an error, or else the last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "rror" in line or "annot" in line or "enied" in line] or lines
    return errors[-1][:300] if errors else "it failed without a message"


def explained_failure(engine: Engine, action: str, output: str) -> WorkshopError:
    """The reason why an engine failed: no space, no permission, no network, a stale lock, or its own last line."""
    lowercase, reason = output.lower(), last_line(output)
    advice = "see the lines above; fix the cause and run the same command again"
    if "no space left" in lowercase or "disk quota exceeded" in lowercase:
        advice = f"free some space: {engine.name} {'rmi' if engine.name == 'buildah' else 'image'} prune, and `df -h`"
    elif any(word in lowercase for word in ("newuidmap", "subuid", "operation not permitted", "permission denied")):
        advice = (
            "ask your administrator to add you to /etc/subuid and /etc/subgid (podman, buildah) or to the group docker"
        )
    elif any(
        word in lowercase
        for word in (
            "no such host",
            "connection refused",
            "i/o timeout",
            "network is unreachable",
            "temporary failure in name resolution",
        )
    ):
        load = "buildah pull docker-archive:FILE" if engine.name == "buildah" else f"{engine.name} load"
        advice = f"the base images come from the network: connect, or load the images from an archive with {load}"
    elif "not up-to-date" in lowercase or "lock-file not up" in lowercase:
        advice = "pixi lock, then check what changed"
    return WorkshopError(looked_at=f"{action} with {engine.name}", expected="success", found=reason, next_step=advice)


def workspace_with(environment: str, path: Path) -> manifest.Manifest:
    """The manifest above a Dockerfile.

    Raises WorkshopError if it does not contain the environment, or does not contain it for this machine's images.
    """
    workspace = images.nearest_manifest(path.parent)
    if workspace is None:
        raise WorkshopError(
            looked_at=path,
            expected="a pixi.toml above it",
            found="none",
            next_step="workshop container-build --file FILE",
        )
    if environment not in workspace.environments:
        known = ", ".join(workspace.environments)
        raise WorkshopError(
            looked_at=f"[environments] in {shell.relative(workspace.path)}",
            expected=f"one of {known}",
            found=repr(environment),
            next_step="workshop container-build cpu",
        )
    subdirs = [p.subdir for p in platforms_of(workspace, workspace.environments[environment].features)]
    host = images.image_subdir()
    if host not in subdirs:
        raise WorkshopError(
            looked_at=f"the environment {environment}",
            expected=f"the platform {host}, that of images on this machine",
            found=f"only {', '.join(dict.fromkeys(subdirs))}",
            next_step="workshop container-build cpu, or build on another machine",
        )
    return workspace


def build_arguments(workspace: manifest.Manifest, environment: str, root: Path) -> dict[str, str]:
    """The build arguments: the environment, the lock's sha256, and the commit, with `-dirty` if files differ from it."""
    result = {"ENVIRONMENT": environment, "LOCK_SHA256": sha256_of(workspace.path.with_name("pixi.lock"))}
    commit = shell.git(root, "rev-parse", "HEAD")
    if commit:
        result["REVISION"] = commit + (
            "-dirty" if shell.git(root, "status", "--porcelain", "--untracked-files=no") else ""
        )
    return result


def build_command(engine: Engine, path: Path, root: Path, tag: str, values: dict[str, str]) -> list[str]:
    """The command line that builds the image. Every file in the image gets the time of the commit."""
    commit_time = shell.git(root, "log", "-1", "--format=%ct") or "0"
    build_args = [word for key, value in values.items() for word in ("--build-arg", f"{key}={value}")]
    if engine.name == "docker":
        options = ["build", "--build-arg", f"SOURCE_DATE_EPOCH={commit_time}"]
    else:
        # Docker's image format contains a random host name, the OCI format does not. Buildah 1.28 wrongly skips a stage
        # whose name comes from an argument, so it has to build all stages.
        options = ["build", "--format", "oci", "--timestamp", commit_time, "--skip-unused-stages=false"]
    return [engine.program, *options, *build_args, "--file", str(path), "--tag", tag, str(root)]


def build(
    environment: str,
    tag: str | None,
    file: str | None,
    engine_name: str | None,
    extra: list[str],
    apptainer: bool = False,
) -> int:
    """Build the image of an environment; return exit code 0. extra: further build arguments as `NAME=VALUE`.

    apptainer: build a file for Apptainer from a definition instead, as `build_sif` does.
    Raises WorkshopError if the environment, an argument or an engine is missing, or the build fails.
    """
    if apptainer:
        return build_sif(environment, tag, file, extra)
    path = dockerfile_path(file)
    workspace = workspace_with(environment, path)
    root = workspace.path.parent
    image = images.load_image(path)
    if image.environment != environment and images.environment_argument(image) is None:
        raise WorkshopError(
            looked_at=path,
            expected="ARG ENVIRONMENT, and pixi install --environment ${ENVIRONMENT}",
            found=f"always the environment {image.environment}",
            next_step="workshop check 5",
        )
    engine = usable_engines(engine_name, running=False)[0]
    values = build_arguments(workspace, environment, root)
    for word in extra:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise WorkshopError(
                looked_at="--build-arg", expected="NAME=VALUE", found=repr(word), next_step="--build-arg BASE_IMAGE=..."
            )
        values[name] = value
    tag = tag or f"{IMAGE_NAME}:{environment}"
    command = build_command(engine, path.resolve(), root, tag, values)
    print(f"{engine.name} {engine.version}: {shlex.join(command)}", flush=True)
    output = _run_streaming(command)
    if output is not None:
        raise explained_failure(engine, "the build", output)
    print(f"{tag}: {digest_of(engine, tag)}")
    return 0


def build_sif(environment: str, name: str | None, file: str | None, extra: list[str]) -> int:
    """Build a file for Apptainer from a definition (default: exercise 5's); return exit code 0.

    name: of the file (default: train-ENVIRONMENT.sif). Raises WorkshopError as `build` does, and if the file exists.
    """
    program = shutil.which("apptainer") or shutil.which("singularity")
    if program is None:
        raise NoEngine(
            looked_at="the programs on this machine",
            expected="apptainer (or singularity), for Linux",
            found="neither is on the PATH",
            next_step="module load apptainer  # on many clusters; without Apptainer: workshop container-check",
        )
    path = Path(file) if file else exercises.root_folder() / DEFINITION
    root = workspace_with(environment, path).path.parent
    target = Path(name or f"train-{environment}.sif")
    if target.exists():
        raise WorkshopError(
            looked_at=target, expected="no file of that name", found="a file", next_step=f"rm {shell.quoted(target)}"
        )
    values = [f"ENVIRONMENT={environment}", *extra]
    words = [word for value in values for word in ("--build-arg", value)]
    command = [program, "build", *words, str(target.absolute()), str(path.resolve())]
    print(shlex.join(command), flush=True)
    output = _run_streaming(command, root)
    if output is not None:
        raise WorkshopError(
            looked_at="the build with apptainer",
            expected="success",
            found=last_line(output),
            next_step="see the lines above; on a login node that forbids builds, build inside a job",
        )
    print(f"{target}: sha256:{sha256_of(target)}")
    return 0


def _run_streaming(command: list[str], folder: Path | None = None) -> str | None:
    """Run a command and print its output; return None if it succeeds, else the last lines of the output."""
    last_lines: list[str] = []
    with subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            sys.stdout.write(line)
            last_lines = [*last_lines[-60:], line]
    sys.stdout.flush()
    return None if process.returncode == 0 else "".join(last_lines)


def digest_of(engine: Engine, tag: str) -> str:
    """The digest of the image's configuration, which contains the digests of all layers; empty if there is no image."""
    words = (
        ("inspect", "--type", "image", "--format", "{{.FromImageID}}", tag)
        if engine.name == "buildah"
        else ("image", "inspect", "--format", "{{.Id}}", tag)
    )
    answer = engine.call(*words)
    digest = answer.stdout.strip().removeprefix("sha256:")
    return f"sha256:{digest}" if answer.returncode == 0 and digest else ""


def labels_of(engine: Engine, tag: str) -> dict[str, str]:
    answer = engine.call("image", "inspect", "--format", "{{json .Config.Labels}}", tag)
    try:
        return json.loads(answer.stdout) or {}
    except ValueError:
        return {}


def dockerfile_path(file: str | None) -> Path:
    path = Path(file) if file else exercises.root_folder() / DOCKERFILE
    if not path.is_file():
        found = "a folder of that name" if path.is_dir() else "no such file"
        raise WorkshopError(
            looked_at=path,
            expected="a Dockerfile",
            found=found,
            next_step="workshop container-build --file exercise-5-container/starter/Dockerfile",
        )
    return path.resolve()


def engine_with_image(tag: str, engine_name: str | None) -> Engine:
    """The engine that has the image, since engines do not share images. Raises NoEngine or NoImage."""
    engines = usable_engines(engine_name, running=True)
    for engine in engines:
        if digest_of(engine, tag):
            return engine
    environment = tag.partition(":")[2] or "cpu"
    names = ", ".join(engine.name for engine in engines)
    raise NoImage(
        looked_at=f"the images of {names}",
        expected=tag,
        found="no such image",
        next_step=f"workshop container-build {shlex.quote(environment)}",
    )


def gpu_flags(engine: Engine, environment: str, workspace: manifest.Manifest | None) -> list[str]:
    """The options that make the host's GPUs visible, if the environment requires CUDA.

    Raises WorkshopError if it does and this machine has no NVIDIA driver.
    """
    if workspace is None or environment not in workspace.environments:
        return []
    cuda = images.required_cuda(platforms_of(workspace, workspace.environments[environment].features))
    if cuda is None:
        return []
    if not nvidia_smi():
        raise WorkshopError(
            looked_at="the NVIDIA driver of this machine, which a container uses",
            expected=f"a driver for CUDA {cuda}, which {environment} requires",
            found="none: `nvidia-smi` is missing or fails",
            next_step="workshop container-run cpu",
        )
    return ["--gpus", "all"] if engine.name == "docker" else ["--device", "nvidia.com/gpu=all"]


def run_command(engine: Engine, tag: str, results: Path, flags: list[str], words: list[str]) -> list[str]:
    """The command line that runs an image without network access; only the results and /tmp can be written to."""
    options = "run --rm --read-only --tmpfs /tmp --network none --cap-drop all --security-opt no-new-privileges".split()
    options += ["--env", "HOME=/tmp"]
    if current_user() not in (0, None):  # the results belong to you; if you are root, to the image's user
        options += ["--userns", "keep-id"] if engine.name == "podman" else []
        options += ["--user", f"{os.getuid()}:{os.getgid()}"]
    return [engine.program, *options, "--volume", f"{results}:{RESULTS}", *flags, tag, *words]


def current_user() -> int | None:
    """Your user ID; None on Windows, where Docker sets the owner."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def results_folder(output: str | None) -> Path:
    """The folder on this machine to mount at RESULTS, created if necessary.

    Raises WorkshopError if the image's user cannot write to it.
    """
    results = Path(output).expanduser().resolve() if output else exercises.root_folder() / "results"
    if ":" in str(results)[len(results.drive) :]:
        raise WorkshopError(
            looked_at=results,
            expected="a path without a colon, which container engines use as a separator",
            found="a path with a colon",
            next_step="name another folder with --output",
        )
    if results.exists() and not results.is_dir():
        raise WorkshopError(
            looked_at=results,
            expected="a folder for the results",
            found="a file with that name",
            next_step="name another folder with --output",
        )
    is_new = not results.exists()
    results.mkdir(parents=True, exist_ok=True)
    if current_user() == 0:
        if is_new:
            os.chown(results, USER, USER)
        status = results.stat()
        writable = status.st_mode & 0o002 or (status.st_uid == USER and status.st_mode & 0o200)
        if not writable:
            raise WorkshopError(
                looked_at=results,
                expected=f"a folder that the image's user {USER} can write to",
                found=f"it belongs to {status.st_uid}",
                next_step=f"chown {USER} {shell.quoted(results)}, or name another folder with --output",
            )
    elif not os.access(results, os.W_OK):
        raise WorkshopError(
            looked_at=results,
            expected="a folder that you can write to",
            found="no permission to write",
            next_step="name another folder with --output",
        )
    return results


def run(environment: str, tag: str | None, output: str | None, engine_name: str | None, words: list[str]) -> int:
    """Train in the image, with the results in `output` (default: results/). words: options of train.py.

    Returns the exit code of the training if it is 0 (finished), 85 (stopped, resumable) or 130 (Ctrl-C); otherwise 1.
    """
    workspace = images.nearest_manifest(exercises.root_folder())
    tag = tag or f"{IMAGE_NAME}:{environment}"
    engine = engine_with_image(tag, engine_name)
    flags = gpu_flags(engine, environment, workspace)
    results = results_folder(output)
    command = ["python", SCRIPT, *words] if words else []
    engine_command = run_command(engine, tag, results, flags, command)
    print(f"{engine.name} {engine.version}: {shlex.join(engine_command)}", file=sys.stderr, flush=True)
    code = subprocess.run(engine_command).returncode
    return code if code in (0, 85, 130) else 1
