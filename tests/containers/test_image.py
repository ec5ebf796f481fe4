"""Build and run the image of exercise 5 with real engines, buildah and podman, through `workshop container-...`.

No base image can be pulled here, so build arguments replace the two base images: by a Debian from debootstrap, and by a
**stand-in for pixi** that copies the Python of these tests (image_parts.py). The tests cover the Dockerfile, the
engines and the commands, but not Pixi.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import image_parts
import pytest
import reaper
import room
from conftest import ROOT, record_of, sha_of

from workshop.containers import engine
from workshop.runs import data
from workshop.support.files import sha256_of

pytestmark = [
    pytest.mark.system("installs Buildah and Podman, and mounts images"),
    pytest.mark.skipif(sys.platform != "linux", reason="Buildah and Podman are for Linux"),
]


@pytest.fixture(scope="module")
def engines():
    """Environment variables with which buildah and podman use a separate folder that contains the two base images."""
    pytest.importorskip("torch", reason="the stand-in environment is made of this one's torch")
    process = subprocess.run([ROOT / "tests" / "containers" / "install_containers.sh"], capture_output=True, text=True)
    if process.returncode:
        pytest.skip(process.stderr.strip())
    folder = room.new_folder("workshop-images-")
    reaper.owns(folder)
    variables = image_parts.configured(folder)
    try:
        image_parts.images(folder, data.cache_folder() / "tests", variables, ROOT)
        yield variables
    except (image_parts.CannotBeMade, OSError) as problem:
        pytest.skip(f"no base images here: {problem}")
    finally:
        for command in (["podman", "rm", "-af"], ["buildah", "rm", "-a"]):
            subprocess.run(command, env=os.environ | variables, capture_output=True)
        subprocess.run(["umount", folder / "graph" / "overlay"], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def workshop(engines, *words, **changed):
    environment = os.environ | engines | {"PYTHONPATH": str(ROOT / "common")} | changed
    line = [sys.executable, "-m", "workshop", *map(str, words)]
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def build(engines, tag, *more):
    # A fixed revision: saving a file while these tests run would make the checkout dirty and change the label.
    given = (f"PIXI_IMAGE={image_parts.STAND_IN}", f"BASE_IMAGE={image_parts.BASE}", f"REVISION={'c' * 40}")
    words = [word for argument in given for word in ("--build-arg", argument)]
    process = workshop(engines, "container-build", "cpu", "--engine", "buildah", "--tag", tag, *words, *more)
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr
    return process.stdout.splitlines()[-1].split()[-1]


@pytest.fixture(scope="module")
def image(engines):
    """The digest of the built image; its tag is test:1."""
    return build(engines, "localhost/test:1")


def podman(engines, *words):
    line = ["podman", *map(str, words)]
    return subprocess.run(line, env=os.environ | engines, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.fixture
def results():
    """A folder that the image's user can reach and write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        results_folder = Path(folder, "results")
        results_folder.mkdir()
        os.chown(results_folder, engine.USER, engine.USER)
        yield results_folder


def test_two_builds_have_one_digest(engines, image):
    assert image.startswith("sha256:") and len(image) == 71
    again = build(engines, "localhost/test:2", *("--build-arg", "CONDA_OVERRIDE_CUDA=12.0"))
    assert again == image
    assert podman(engines, "image", "rm", "localhost/test:2").returncode == 0  # its copy of the environment is large


def test_it_trains_without_root_or_network_and_writes_a_record(engines, image, results, tmp_path):
    process = workshop(
        engines,
        "container-run",
        "cpu",
        "--engine",
        "podman",
        "--tag",
        "localhost/test:1",
        "--output",
        results,
        "--",
        "--data",
        "digits",
        "--epochs",
        "2",
        "--output",
        "/workshop/results/one",
    )
    assert process.returncode == 0, process.stderr
    assert "--read-only" in process.stderr and "--network none" in process.stderr
    record = record_of(results / "one")
    assert record["metrics"][0]["value"] > 0.9
    assert sha_of(results / "one") == sha256_of(results / "one" / "weights.safetensors")
    assert (results / "one" / "run.json").stat().st_uid == engine.USER
    environment = record["environment"]
    assert environment["kind"] == "pixi" and environment["name"] == "cpu"
    assert environment["lock"] == {"path": "pixi.lock", "sha256": sha256_of(ROOT / "pixi.lock")}
    assert record["git"] == {"commit": "c" * 40, "dirty": False}
    again = workshop(
        engines,
        "container-run",
        "cpu",
        "--engine",
        "podman",
        "--tag",
        "localhost/test:1",
        "--output",
        results,
        "--",
        "--data",
        "digits",
        "--epochs",
        "1",
        "--output",
        "/workshop/results/one",
    )
    assert again.returncode == 1 and "a finished run" in again.stderr and "Traceback" not in again.stderr
    assert record_of(results / "one") == record  # the first run is unchanged


def test_without_a_folder_for_the_results_it_stops_before_it_trains(engines, image, refused):
    process = podman(
        engines,
        "run",
        "--rm",
        "--network",
        "none",
        "localhost/test:1",
        "python",
        "exercise-2-pytorch-cu12/solution/train.py",
        "--data",
        "digits",
        "--epochs",
        "1",
    )
    refused(process, "/workshop/results", "--volume")
    assert "epoch 1" not in process.stdout


def test_every_command_sees_the_environment(engines, image):
    """Without the entry point, as with apptainer exec and batch systems, and with any user ID."""
    code = "import os, shutil, sys; print(sys.prefix, os.getuid(), shutil.which('pixi'), os.environ['CONDA_PREFIX'])"
    for user, number in ((), "1000"), (("--user", "4711:4711"), "4711"):
        process = podman(
            engines,
            "run",
            "--rm",
            "--network",
            "none",
            "--read-only",
            *user,
            "--entrypoint",
            "",
            "localhost/test:1",
            "python",
            "-c",
            code,
        )
        prefix = "/workshop/.pixi/envs/cpu"
        assert process.stdout.split() == [prefix, number, "None", prefix], process.stderr


def test_the_image_contains_nothing_of_the_build(engines, image):
    script = "ls -A /workshop /root /tmp; find / -xdev -user 1000 2>/dev/null; command -v pixi gcc make; true"
    process = podman(engines, "run", "--rm", "--network", "none", "localhost/test:1", "sh", "-c", script)
    listed = process.stdout.split()
    assert {"pixi.toml", "pixi.lock", "common", "results", ".pixi"} <= set(listed)
    for unwanted in (".git", "tests", "rattler", "expected", "stand-in", "/usr/bin/gcc", "/usr/local/bin/pixi"):
        assert unwanted not in listed, listed


def test_container_test_lists_its_checks(engines, image):
    process = workshop(engines, "container-test", "cpu", "--tag", "localhost/test:1", "--engine", "podman")
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.splitlines()[-1] == "6 passed, 0 failed"


def test_labels_name_the_revision_and_the_lock(engines, image):
    labels = json.loads(podman(engines, "image", "inspect", "--format", "{{json .Labels}}", "localhost/test:1").stdout)
    assert labels["workshop.lock.sha256"] == sha256_of(ROOT / "pixi.lock")
    assert labels["org.opencontainers.image.revision"] == "c" * 40
    assert labels["workshop.environment"] == "cpu"


def test_a_gpu_build_sets_the_gpu_variables(engines, tmp_path):
    """Build only the stages that the environment chooses; the others are those of the CPU image."""
    text = (ROOT / "exercise-5-container/solution/Dockerfile").read_text()
    (tmp_path / "Dockerfile").write_text(text.split("# hadolint")[0] + "FROM runtime-cuda12\n")
    line = [
        "buildah",
        "bud",
        "-q",
        "--format",
        "oci",
        "--build-arg",
        f"BASE_IMAGE={image_parts.BASE}",
        "--build-arg",
        f"PIXI_IMAGE={image_parts.STAND_IN}",
        "-t",
        "localhost/gpu:1",
        tmp_path,
    ]
    process = subprocess.run(line, env=os.environ | engines, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    process = podman(engines, "run", "--rm", "--network", "none", "localhost/gpu:1", "env")
    for variable in (
        "WORKSHOP_DEVICE=cuda",
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    ):
        assert variable in process.stdout.splitlines()


def test_a_wrong_lock_stops_the_build(engines, refused):
    words = ("--build-arg", f"PIXI_IMAGE={image_parts.STAND_IN}", "--build-arg", f"BASE_IMAGE={image_parts.BASE}")
    process = workshop(
        engines,
        "container-build",
        "cpu",
        "--engine",
        "buildah",
        "--tag",
        "localhost/wrong:1",
        *words,
        "--build-arg",
        f"LOCK_SHA256={'0' * 64}",
    )
    refused(process, "the build with buildah")
    assert "pixi.lock: FAILED" in process.stdout


def test_a_missing_image(engines, refused):
    refused(workshop(engines, "container-run", "cpu", "--tag", "localhost/none:1"), "no such image", "container-build")
