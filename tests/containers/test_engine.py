"""The commands that need a container engine, without one or with one that fails; the engines are scripts on the PATH."""

import os
import shutil
import stat

import in_process
import pytest
from conftest import ROOT

from pixi_workspace import manifest
from workshop import shell
from workshop.containers import engine, image_checks
from workshop.support.files import sha256_of

DOCKERFILE = ROOT / "exercise-5-container/solution/Dockerfile"


@pytest.fixture
def path(tmp_path):
    """A PATH with git, Python and simulated engines: path(docker="echo 1") adds one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("git", "sh", "bash", "cat", "echo"):
        (folder / name).symlink_to(shutil.which(name))

    def put(**engines):
        for name, script in engines.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod((folder / name).stat().st_mode | stat.S_IXUSR)
        return str(folder)

    return put


def workshop(path, *words, cwd=ROOT):
    environment = {"PATH": path, "PYTHONPATH": str(ROOT / "common")}
    return in_process.workshop(words, cwd, environment)


def test_without_an_engine_each_is_named_with_the_reason(path, refused):
    for command in ("container-build", "container-run", "container-test"):
        message = refused(
            workshop(path(), command), "docker: not on the PATH", "podman: not on the PATH", "container-check"
        )
        assert "buildah: not on the PATH" in message
    no_daemon = "echo 'Cannot connect to the Docker daemon at unix:///x. Is it running?' >&2; exit 1"
    refused(workshop(path(docker=no_daemon), "container-build"), "docker: Cannot connect to the Docker daemon")
    refused(
        workshop(path(docker=no_daemon, buildah="echo 6.1"), "container-run"),
        "buildah: it builds images and does not run",
    )
    refused(workshop(path(), "container-build", "--engine", "podman"), "the container engine podman")
    os.unlink(f"{path()}/buildah")
    broken = path(docker="")
    with open(f"{broken}/docker", "w") as file:
        file.write("no program at all")
    refused(workshop(broken, "container-build"), "docker: ")


@pytest.mark.parametrize(
    "error_line, advice",
    [
        ("write /var/lib/x: no space left on device", "df -h"),
        ("newuidmap: write to uid_map failed: Operation not permitted", "/etc/subuid"),
        ("dial unix /var/run/docker.sock: connect: permission denied", "/etc/subuid"),
        ("lookup ghcr.io: no such host", "base images come from the network"),
        ("  x lock file not up-to-date with the workspace", "pixi lock"),
        ("something else", "run the same command again"),
    ],
)
def test_a_failed_build_gives_one_message(path, refused, error_line, advice):
    script = f'case "$1" in info) echo 5.0 ;; *) echo step 1; echo "Error: {error_line}" >&2; exit 125 ;; esac'
    process = workshop(path(podman=script), "container-build", "cpu", cwd=ROOT)
    refused(process, "the build with podman", error_line.strip(), advice)
    assert "step 1" in process.stdout


def test_a_file_for_apptainer(path, refused, tmp_path):
    """From the definition, with the environment as its argument, in the root; nothing is overwritten."""
    built = 'for target; do [ "${target##*.}" = sif ] && break; done; echo "$PWD: $*"; echo image > "$target"'
    words = ("container-build", "cuda12", "--apptainer")
    refused(workshop(path(), *words, cwd=tmp_path), "neither is on the PATH", "container-check")
    done = workshop(path(apptainer=built), *words, "--build-arg", "A=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    definition = ROOT / "exercise-5-container/solution/apptainer.def"
    command = f"build --build-arg ENVIRONMENT=cuda12 --build-arg A=1 {tmp_path}/train-cuda12.sif {definition}"
    assert f"{ROOT}: {command}\n" in done.stdout
    assert f"train-cuda12.sif: sha256:{sha256_of(tmp_path / 'train-cuda12.sif')}" in done.stdout
    refused(workshop(path(), *words, cwd=tmp_path), "train-cuda12.sif", "rm train-cuda12.sif")
    failing = path(apptainer="echo 'FATAL: could not use fakeroot: no mapping' >&2; exit 255")
    refused(workshop(failing, "container-build", "--apptainer", cwd=tmp_path), "could not use fakeroot", "inside a job")
    refused(workshop(failing, "container-build", "gpu", "--apptainer", cwd=tmp_path), "'gpu'")


def test_environments_that_do_not_fit(path, refused, monkeypatch):
    path_with_podman = path(podman="echo 5.0")
    refused(
        workshop(path_with_podman, "container-build", "gpu"), "one of default, cpu, scale, cpu-jax, cuda12", "'gpu'"
    )
    monkeypatch.setattr(engine.images, "image_subdir", lambda: "linux-aarch64")
    assert engine.workspace_with("cpu", DOCKERFILE)
    with pytest.raises(engine.WorkshopError, match="the platform linux-aarch64"):
        engine.workspace_with("cuda118-jax", DOCKERFILE)
    refused(workshop(path_with_podman, "container-build", "--file", "README"), "no such file")
    refused(workshop(path_with_podman, "container-build", "--build-arg", "x"), "NAME=VALUE")


def test_a_missing_gpu_is_reported_before_the_container_starts(path, refused):
    path_with_podman = path(podman="echo 5.0")
    refused(workshop(path_with_podman, "container-run", "cuda12"), "NVIDIA driver", "container-run cpu")
    workspace = manifest.load(ROOT / "pixi.toml")
    docker, podman = engine.Engine("docker", "docker", ""), engine.Engine("podman", "podman", "")
    assert engine.gpu_flags(docker, "cpu", workspace) == []
    engine.nvidia_smi, original = (lambda: {"driver": "570"}), engine.nvidia_smi
    try:
        assert engine.gpu_flags(docker, "cuda12", workspace) == ["--gpus", "all"]
        assert engine.gpu_flags(podman, "cuda12", workspace) == ["--device", "nvidia.com/gpu=all"]
    finally:
        engine.nvidia_smi = original


def test_a_health_check_that_is_not_json_gives_one_message(path, refused, tmp_path):
    file, instruction = tmp_path / "Dockerfile", "HEALTHCHECK --interval=1m "
    file.write_text(f"FROM a\n{instruction}CMD ['python', '-c', 'pass']\n")
    refused(workshop(path(podman="echo 5.0"), "container-test", "--file", file), "line 2", "double quotes", "['python'")
    for command, words in (('CMD ["a", "b"]', ["a", "b"]), ("cmd a CMD b", ["sh", "-c", "a CMD b"]), ("NONE", [])):
        file.write_text(f"FROM a\n{instruction}{command}\n")
        assert image_checks.health_words(file, "cpu") == words


def test_the_results_folder(path, refused, tmp_path):
    path_with_podman = path(podman="echo 5.0")
    (tmp_path / "file").write_text("x")
    refused(workshop(path_with_podman, "container-run", "--output", tmp_path / "file"), "a file with that name")
    if os.geteuid() == 0:
        (tmp_path / "mine").mkdir()
        refused(workshop(path_with_podman, "container-run", "--output", tmp_path / "mine"), "chown 1000")
        assert (tmp_path / "mine").stat().st_uid == 0
    refused(workshop(path_with_podman, "container-run", "--output", tmp_path / "a:b"), "without a colon", "--output")
    assert not (tmp_path / "a:b").exists()


def test_options_reach_the_script(path, tmp_path):
    script = f'case "$1" in run) echo "$@" > {tmp_path}/typed; exit 3 ;; *) echo 5.0 ;; esac'
    path_with_podman = path(podman=script)
    for words in (["cpu", "--", "--epochs", "2"], ["cpu", "--epochs", "2"], ["--", "--epochs", "2"]):
        process = workshop(
            path_with_podman,
            "container-run",
            *words[:1] if words[0] == "cpu" else [],
            "--output",
            tmp_path / "results",
            *(words[1:] if words[0] == "cpu" else words),
        )
        assert process.returncode == 1, process.stderr
        command_line = (tmp_path / "typed").read_text()
        assert command_line.rstrip().endswith("python exercise-2-pytorch-cu12/solution/train.py --epochs 2"), (
            command_line
        )
        for flag in (
            "--read-only",
            "--network none",
            "--cap-drop all",
            "no-new-privileges",
            f"{tmp_path}/results:/workshop/results",
        ):
            assert flag in command_line
    process = workshop(path_with_podman, "container-run", "--output", tmp_path / "results")
    assert (tmp_path / "typed").read_text().rstrip().endswith("reproducible-ml:cpu")


@pytest.mark.parametrize(
    "words, environment, script",
    [
        (["--data", "digits"], "cpu", "--data digits"),
        (["default", "--data", "digits"], "default", "--data digits"),
        (["default", "--seed", "1", "--engine", "none"], "default", "--seed 1 --engine none"),
        (["--engine=podman", "--seed", "1", "--", "x"], "cpu", "--seed 1 -- x"),
        (["default", "--engine", "podman", "--", "--tag", "x"], "default", "--tag x"),
        (["--engine", "podman", "--help"], "", ""),
    ],
)
def test_unknown_options_go_to_the_script(path, tmp_path, words, environment, script):
    path_with_podman = path(podman=f'case "$1" in run) echo "$@" > {tmp_path}/typed ;; *) echo 5.0 ;; esac')
    process = (
        workshop(path_with_podman, "container-run", "--output", tmp_path / "results", *words)
        if words[0][0] == "-"
        else (workshop(path_with_podman, "container-run", words[0], "--output", tmp_path / "results", *words[1:]))
    )
    assert process.returncode == 0, process.stderr
    if "--help" in words:
        assert "usage: workshop container-run" in process.stdout
    else:
        command_line = (tmp_path / "typed").read_text().strip()
        assert command_line.endswith(f" reproducible-ml:{environment} python {engine.SCRIPT} {script}"), command_line


@pytest.mark.parametrize("code, expected", [(0, 0), (1, 1), (3, 1), (85, 85), (125, 1), (130, 130), (137, 1)])
def test_exit_codes_85_and_130_are_passed_on(path, tmp_path, code, expected):
    path_with_podman = path(podman=f'case "$1" in run) exit {code} ;; *) echo 5.0 ;; esac')
    assert workshop(path_with_podman, "container-run", "cpu", "--output", tmp_path / "results").returncode == expected


def test_the_arguments_of_a_build(tmp_path):
    workspace = manifest.load(ROOT / "pixi.toml")
    build_args = engine.build_arguments(workspace, "cpu", ROOT)
    assert build_args["ENVIRONMENT"] == "cpu" and build_args["LOCK_SHA256"] == sha256_of(ROOT / "pixi.lock")
    assert build_args["REVISION"][:40] == shell.git(ROOT, "rev-parse", "HEAD")
    assert "REVISION" not in engine.build_arguments(workspace, "cpu", tmp_path)  # not a checkout
    commit_time = shell.git(ROOT, "log", "-1", "--format=%ct")
    docker = engine.build_command(engine.Engine("docker", "docker", ""), DOCKERFILE, ROOT, "a:b", build_args)
    assert f"SOURCE_DATE_EPOCH={commit_time}" in docker and docker[-1] == str(ROOT)
    buildah = engine.build_command(engine.Engine("buildah", "buildah", ""), DOCKERFILE, ROOT, "a:b", build_args)
    assert buildah[buildah.index("--timestamp") + 1] == commit_time and "--skip-unused-stages=false" in buildah


def test_the_build_context_contains_only_what_is_copied():
    """.dockerignore allows exactly the files of the COPY lines, so no other file is sent to an engine."""
    from workshop.containers import images

    image = images.load_image(DOCKERFILE)
    copied = {
        source
        for stage in image.stages
        for _, origin, sources, _ in images.copies(stage)
        if not origin
        for source in sources
    }
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in lines if line.startswith("!")} == copied
    assert "*" in lines and all((ROOT / source).exists() for source in copied)
