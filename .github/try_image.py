"""Train in the image of exercise 5 as on a node of a cluster, and check the resulting run.

    python3 .github/try_image.py IMAGE FOLDER

The container has no network, a read-only root file system, /tmp in memory, and a volume for the run, FOLDER. The runners
have no GPU: an image for a GPU first has to refuse, and then trains on the CPU.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "common"))  # a runner's Python has no packages, so import only modules that need none
from workshop.errors import WorkshopError, errors_as_messages  # noqa: E402
from workshop.support.files import sha256_of  # noqa: E402

EXERCISE = "exercise-2-pytorch-cu12"
SCRIPT = f"{EXERCISE}/solution/train.py"


def docker(image: str, folder: Path, *words: str, variables: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run `words` in a new container of `image`, with `folder` mounted at /results."""
    line = ["docker", "run", "--rm", "--read-only", "--network", "none", "--tmpfs", "/tmp"]
    line += ["--volume", f"{folder}:/results"]
    for variable in variables:
        line += ["--env", variable]
    print("$", *line, image, *words, flush=True)
    done = subprocess.run([*line, image, *words], capture_output=True, text=True)
    print(done.stdout + done.stderr, flush=True)
    return done


def refuses_without_gpu(image: str, folder: Path) -> None:
    """Raise WorkshopError unless an image for a GPU refuses to train without one, with a message."""
    done = docker(image, folder, "python", SCRIPT, "--data", "digits", "--output", "/results/without-gpu")
    if done.returncode != 1 or "looked at: the GPU" not in done.stderr or (folder / "without-gpu").exists():
        raise WorkshopError(
            looked_at=f"the image {image} on a machine without a GPU",
            expected="exit code 1, a message about the GPU, and no run",
            found=f"exit code {done.returncode}",
            next_step="set WORKSHOP_DEVICE=cuda in the image, as the environment's activation does",
        )


def trains(image: str, folder: Path) -> Path:
    """Train on the CPU and return the folder of the run. Raises WorkshopError if the training fails."""
    words = ("python", SCRIPT, "--data", "digits", "--device", "cpu", "--output", "/results/run")
    done = docker(image, folder, *words, variables=("WORKSHOP_DEVICE=",))
    if done.returncode != 0:
        raise WorkshopError(
            looked_at=f"the training in {image}",
            expected="exit code 0",
            found=f"exit code {done.returncode}",
            next_step="read the output above",
        )
    return folder / "run"


def look_at(run: Path) -> str:
    """A one-line summary of a finished run. Raises WorkshopError if its record or its files are wrong."""
    path = run / "run.json"
    if not path.is_file():
        raise WorkshopError(
            looked_at=path,
            expected="the record of the run",
            found="no such file",
            next_step="read the output of the training",
        )
    record = json.loads(path.read_text(encoding="utf-8"))
    metrics = {metric["name"]: metric["value"] for metric in record["metrics"]}
    accuracy = metrics.get("test_accuracy", 0.0)
    at_least = tomllib.loads((ROOT / EXERCISE / "exercise.toml").read_text(encoding="utf-8"))["check_all"]["at_least"]
    seen = {
        "device": record["device"]["type"],
        "data set": record["dataset"]["name"],
        "exit status": record["exit_status"],
    }
    if seen != {"device": "cpu", "data set": "digits", "exit status": 0}:
        raise WorkshopError(
            looked_at=path,
            expected="a training on digits on the CPU with exit status 0",
            found=str(seen),
            next_step="check the command of the image",
        )
    if not accuracy >= at_least:
        raise WorkshopError(
            looked_at=path,
            expected=f"test_accuracy of {at_least} or more",
            found=str(accuracy),
            next_step="train outside the image, and compare",
        )
    for output in record["outputs"]:
        file = run / output["path"]
        if not file.is_file() or sha256_of(file) != output["sha256"]:
            raise WorkshopError(
                looked_at=file,
                expected=f"sha256 {output['sha256']}",
                found="another file, or none",
                next_step="run the training again",
            )
    names = {output["path"] for output in record["outputs"]}
    if "weights.safetensors" not in names:
        raise WorkshopError(
            looked_at=path,
            expected="weights.safetensors among the outputs",
            found=", ".join(names),
            next_step="check the training script",
        )
    return f"test_accuracy {accuracy:.4f}, {len(names)} files, packages {record['environment']['sha256'][:12]}"


def main(image: str, where: str) -> None:
    folder = Path(where).resolve()
    folder.mkdir(parents=True)
    folder.chmod(0o777)  # the image's user is not the runner's
    asked = docker(image, folder, "printenv", "WORKSHOP_DEVICE")
    if asked.stdout.strip() == "cuda":
        refuses_without_gpu(image, folder)
    print(f"{image}: {look_at(trains(image, folder))}")


if __name__ == "__main__":
    with errors_as_messages():
        if len(sys.argv) != 3:
            usage = "python3 .github/try_image.py IMAGE FOLDER"
            raise WorkshopError(
                looked_at="the command line", expected=usage, found=" ".join(sys.argv[1:]) or "nothing", next_step=usage
            )
        main(*sys.argv[1:])
