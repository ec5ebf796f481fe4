"""The commands that need a container engine, where there is none, or one that fails: pretend engines on the PATH."""

import os
import shutil
import stat
import subprocess
import sys

import pytest
from conftest import ROOT

from pixi_workspace import manifest
from workshop import shell
from workshop.containers import engine, image_checks
from workshop.support.files import sha256_of

DOCKERFILE = ROOT / "exercise-5-container/solution/Dockerfile"


@pytest.fixture
def path(tmp_path):
    """A PATH of our own: path(docker="echo 1") puts a pretend engine there; git and Python are found."""
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
    line = [sys.executable, "-m", "workshop", *map(str, words)]
    return subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def test_without_an_engine_each_is_named_with_the_reason(path, refused):
    for command in ("container-build", "container-run", "container-test"):
        said = refused(
            workshop(path(), command), "docker: not on the PATH", "podman: not on the PATH", "container-check"
        )
        assert "buildah: not on the PATH" in said
    asleep = "echo 'Cannot connect to the Docker daemon at unix:///x. Is it running?' >&2; exit 1"
    refused(workshop(path(docker=asleep), "container-build"), "docker: Cannot connect to the Docker daemon")
    refused(
        workshop(path(docker=asleep, buildah="echo 6.1"), "container-run"), "buildah: it builds images and does not run"
    )
    refused(workshop(path(), "container-build", "--engine", "podman"), "the container engine podman")
    os.unlink(f"{path()}/buildah")
    broken = path(docker="")
    with open(f"{broken}/docker", "w") as file:
        file.write("no program at all")
    refused(workshop(broken, "container-build"), "docker: ")


@pytest.mark.parametrize(
    "said, advice",
    [
        ("write /var/lib/x: no space left on device", "df -h"),
        ("newuidmap: write to uid_map failed: Operation not permitted", "/etc/subuid"),
        ("dial unix /var/run/docker.sock: connect: permission denied", "/etc/subuid"),
        ("lookup ghcr.io: no such host", "base images come from the network"),
        ("  x lock file not up-to-date with the workspace", "pixi lock"),
        ("something else", "run the same command again"),
    ],
)
def test_a_failed_build_gives_one_message(path, refused, said, advice):
    script = f'case "$1" in info) echo 5.0 ;; *) echo step 1; echo "Error: {said}" >&2; exit 125 ;; esac'
    done = workshop(path(podman=script), "container-build", "cpu", cwd=ROOT)
    refused(done, "the build with podman", said.strip(), advice)
    assert "step 1" in done.stdout


def test_environments_that_do_not_fit(path, refused, monkeypatch):
    there = path(podman="echo 5.0")
    refused(workshop(there, "container-build", "gpu"), "one of default, cpu, cpu-jax, cuda12", "'gpu'")
    monkeypatch.setattr(engine.images, "image_subdir", lambda: "linux-aarch64")
    assert engine.workspace_with("cpu", DOCKERFILE)
    with pytest.raises(engine.WorkshopError, match="one for linux-aarch64"):
        engine.workspace_with("cuda118-jax", DOCKERFILE)
    refused(workshop(there, "container-build", "--file", "README"), "no such file")
    refused(workshop(there, "container-build", "--build-arg", "x"), "NAME=VALUE")


def test_a_missing_gpu_is_reported_before_the_container_starts(path, refused):
    there = path(podman="echo 5.0")
    refused(workshop(there, "container-run", "cuda12"), "NVIDIA driver", "container-run cpu")
    workspace = manifest.load(ROOT / "pixi.toml")
    docker, podman = engine.Engine("docker", "docker", ""), engine.Engine("podman", "podman", "")
    assert engine.gpu_flags(docker, "cpu", workspace) == []
    engine.nvidia_smi, kept = (lambda: {"driver": "570"}), engine.nvidia_smi
    try:
        assert engine.gpu_flags(docker, "cuda12", workspace) == ["--gpus", "all"]
        assert engine.gpu_flags(podman, "cuda12", workspace) == ["--device", "nvidia.com/gpu=all"]
    finally:
        engine.nvidia_smi = kept


def test_a_health_check_that_is_not_json_gives_one_message(path, refused, tmp_path):
    file, said = tmp_path / "Dockerfile", "HEALTHCHECK --interval=1m "
    file.write_text(f"FROM a\n{said}CMD ['python', '-c', 'pass']\n")
    refused(workshop(path(podman="echo 5.0"), "container-test", "--file", file), "line 2", "double quotes", "['python'")
    for command, words in (('CMD ["a", "b"]', ["a", "b"]), ("cmd a CMD b", ["sh", "-c", "a CMD b"]), ("NONE", [])):
        file.write_text(f"FROM a\n{said}{command}\n")
        assert image_checks.health_words(file, "cpu") == words


def test_the_results_folder(path, refused, tmp_path):
    there = path(podman="echo 5.0")
    (tmp_path / "file").write_text("x")
    refused(workshop(there, "container-run", "--output", tmp_path / "file"), "a file of that name")
    if os.geteuid() == 0:
        (tmp_path / "mine").mkdir()
        refused(workshop(there, "container-run", "--output", tmp_path / "mine"), "chown 1000")
        assert (tmp_path / "mine").stat().st_uid == 0
    refused(workshop(there, "container-run", "--output", tmp_path / "a:b"), "without a colon", "--output")
    assert not (tmp_path / "a:b").exists()


def test_options_reach_the_script(path, tmp_path):
    script = f'case "$1" in run) echo "$@" > {tmp_path}/typed; exit 3 ;; *) echo 5.0 ;; esac'
    there = path(podman=script)
    for words in (["cpu", "--", "--epochs", "2"], ["cpu", "--epochs", "2"], ["--", "--epochs", "2"]):
        done = workshop(
            there,
            "container-run",
            *words[:1] if words[0] == "cpu" else [],
            "--output",
            tmp_path / "results",
            *(words[1:] if words[0] == "cpu" else words),
        )
        assert done.returncode == 1, done.stderr
        typed = (tmp_path / "typed").read_text()
        assert typed.rstrip().endswith("python exercise-2-pytorch-cu12/solution/train.py --epochs 2"), typed
        for flag in (
            "--read-only",
            "--network none",
            "--cap-drop all",
            "no-new-privileges",
            f"{tmp_path}/results:/workshop/results",
        ):
            assert flag in typed
    done = workshop(there, "container-run", "--output", tmp_path / "results")
    assert (tmp_path / "typed").read_text().rstrip().endswith("reproducible-ml:cpu")


@pytest.mark.parametrize(
    "typed, environment, script",
    [
        (["--data", "digits"], "cpu", "--data digits"),
        (["default", "--data", "digits"], "default", "--data digits"),
        (["default", "--seed", "1", "--engine", "none"], "default", "--seed 1 --engine none"),
        (["--engine=podman", "--seed", "1", "--", "x"], "cpu", "--seed 1 -- x"),
        (["default", "--engine", "podman", "--", "--tag", "x"], "default", "--tag x"),
        (["--engine", "podman", "--help"], "", ""),
    ],
)
def test_unknown_options_go_to_the_script(path, tmp_path, typed, environment, script):
    there = path(podman=f'case "$1" in run) echo "$@" > {tmp_path}/typed ;; *) echo 5.0 ;; esac')
    done = (
        workshop(there, "container-run", "--output", tmp_path / "results", *typed)
        if typed[0][0] == "-"
        else (workshop(there, "container-run", typed[0], "--output", tmp_path / "results", *typed[1:]))
    )
    assert done.returncode == 0, done.stderr
    if "--help" in typed:
        assert "usage: workshop container-run" in done.stdout
    else:
        said = (tmp_path / "typed").read_text().strip()
        assert said.endswith(f" reproducible-ml:{environment} python {engine.SCRIPT} {script}"), said


@pytest.mark.parametrize("code, ours", [(0, 0), (1, 1), (3, 1), (85, 85), (125, 1), (130, 130), (137, 1)])
def test_exit_codes_85_and_130_are_passed_on(path, tmp_path, code, ours):
    there = path(podman=f'case "$1" in run) exit {code} ;; *) echo 5.0 ;; esac')
    assert workshop(there, "container-run", "cpu", "--output", tmp_path / "results").returncode == ours


def test_the_arguments_of_a_build(tmp_path):
    workspace = manifest.load(ROOT / "pixi.toml")
    given = engine.build_arguments(workspace, "cpu", ROOT)
    assert given["ENVIRONMENT"] == "cpu" and given["LOCK_SHA256"] == sha256_of(ROOT / "pixi.lock")
    assert given["REVISION"][:40] == shell.git(ROOT, "rev-parse", "HEAD")
    assert "REVISION" not in engine.build_arguments(workspace, "cpu", tmp_path)  # not a checkout
    moment = shell.git(ROOT, "log", "-1", "--format=%ct")
    docker = engine.build_command(engine.Engine("docker", "docker", ""), DOCKERFILE, ROOT, "a:b", given)
    assert f"SOURCE_DATE_EPOCH={moment}" in docker and docker[-1] == str(ROOT)
    buildah = engine.build_command(engine.Engine("buildah", "buildah", ""), DOCKERFILE, ROOT, "a:b", given)
    assert buildah[buildah.index("--timestamp") + 1] == moment and "--skip-unused-stages=false" in buildah


def test_the_build_context_contains_only_what_is_copied():
    """The allow-list is not wider than the COPY lines, so that nothing that lies about is sent to an engine."""
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
