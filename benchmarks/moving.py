"""What each way to move an environment costs on this machine: disk, files, and the time to a training's first line.

    python benchmarks/moving.py --output benchmarks/moving.json    # installs what it can: gigabytes, minutes
    python benchmarks/moving.py --short                            # only what is here already, one training of each

The environment is `cpu`, and without Pixi the packages of requirements.txt. A way that this machine does not have gets
the reason. Each installation starts with an empty cache, so its seconds contain the downloads. The seconds to the first
line are those of exercise 2 with the small data set, in a new process. A busy machine changes seconds, so they are
compared with those that importing PyTorch takes. Disk is what `du` counts: a file with several links counts once. Files
include folders, because a quota counts both.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "common")]

from workshop.containers import engine  # noqa: E402
from workshop.errors import errors_as_messages  # noqa: E402
from workshop.support.files import write_atomic  # noqa: E402
from workshop.support.hardware import cpu_name  # noqa: E402

SCRIPT = "exercise-2-pytorch-cu12/solution/train.py"
TAG, SIF = f"{engine.IMAGE_NAME}:cpu", "train-cpu.sif"  # the names that `workshop container-build cpu` gives
N = 5  # trainings of each way
OUTSIDE = shutil.ignore_patterns(".git", ".venv", ".pixi", "results", "_build")


class CannotTell(Exception):
    """A way that this machine does not have; the message is the reason."""


def used(folder: Path) -> dict[str, int]:
    """The bytes that a folder takes on the disk, and how many files and folders it contains."""
    found = [path.lstat() for path in folder.rglob("*")]
    blocks = {(each.st_dev, each.st_ino): getattr(each, "st_blocks", -(-each.st_size // 512)) for each in found}
    return {"bytes": 512 * sum(blocks.values()), "files": len(found)}


def run(line: list[str], folder: Path, **variables: str) -> tuple[str, float]:
    """The output and the seconds of a command. Raises CannotTell with its last line if it is missing or fails."""
    if not shutil.which(line[0]):
        raise CannotTell(f"{Path(line[0]).name} is not on the PATH")
    begin = time.perf_counter()
    done = subprocess.run(line, cwd=folder, env=os.environ | variables, capture_output=True, text=True)
    if done.returncode:
        reason = engine.last_line(done.stderr or done.stdout).lstrip("│├╰─▶× ")
        raise CannotTell(f"`{' '.join(line[:4])} ...` failed: {reason}")
    return done.stdout, round(time.perf_counter() - begin, 1)


def starts(line: list[str], n: int, root: Path = ROOT, output: str | None = None) -> dict:
    """The seconds to the first line of a training, and of `import torch` alone, n times in turns.

    line: a command that ends with the Python to use and the script. output: where the training may write.
    """
    variables = os.environ | {"PYTHONPATH": str(root / "common")}
    seconds: dict[str, list[float]] = {"first_line_s": [], "import_s": []}
    for _ in range(n):
        begin = time.perf_counter()
        subprocess.run([*line[:-1], "-c", "import torch"], cwd=root, env=variables, capture_output=True)
        seconds["import_s"].append(round(time.perf_counter() - begin, 2))
        with tempfile.TemporaryDirectory() as folder:
            arguments = ["--data", "digits", "--epochs", "1", "--device", "cpu", "--output", output or f"{folder}/run"]
            begin = time.perf_counter()
            process = subprocess.Popen([*line, *arguments], cwd=root, env=variables, stdout=subprocess.PIPE)
            first = process.stdout.readline() if process.stdout else b""
            seconds["first_line_s"].append(round(time.perf_counter() - begin, 2))
            if process.communicate() and (process.returncode or not first):
                raise CannotTell(f"`{' '.join(line[:3])} ...` did not train: exit code {process.returncode}")
    ratios = [whole / alone for whole, alone in zip(seconds["first_line_s"], seconds["import_s"], strict=True)]
    return seconds | {"ratio_to_import": round(statistics.median(ratios), 2)}


def python_alone(folder: Path, n: int, short: bool) -> dict:
    """A virtual environment from requirements.txt; with `short`, the one that runs this program."""
    if short:
        if sys.prefix == sys.base_prefix:
            raise CannotTell("this Python is not in a virtual environment")
        return used(Path(sys.prefix)) | starts([sys.executable, SCRIPT], n)
    _, made = run([sys.executable, "-m", "venv", str(folder / "venv")], folder)
    python = str(folder / "venv" / ("Scripts/python" if os.name == "nt" else "bin/python"))
    line = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--require-hashes", "-r"]
    _, installed = run([*line, str(ROOT / "requirements.txt")], folder)
    measured = used(folder / "venv") | {"install_s": round(made + installed, 1)}
    return measured | starts([python, SCRIPT], n)


def pixi(folder: Path, n: int, short: bool) -> dict:
    """`pixi install --locked` in a copy of the repository, with a cache of its own; with `short`, what is installed."""
    line = ["pixi", "run", "--locked", "-e", "cpu", "python", SCRIPT]
    if short:
        if not (installed := ROOT / ".pixi/envs/cpu").is_dir():
            raise CannotTell("--short installs nothing, and the environment cpu is not installed")
        return used(installed) | starts(line, n)
    copy = shutil.copytree(ROOT, folder / "clone", ignore=OUTSIDE)
    _, seconds = run(["pixi", "install", "--locked", "-e", "cpu"], copy, PIXI_CACHE_DIR=str(folder / "cache"))
    return used(copy / ".pixi/envs/cpu") | {"install_s": seconds} | starts(line, n, copy)


def pixi_pack(folder: Path, n: int, short: bool) -> dict:
    """An archive from pixi-pack, unpacked by pixi-unpack. install_s: only the unpacking, which needs no network."""
    if short:
        raise CannotTell("--short installs nothing")
    archive = folder / "environment.tar"
    run(["pixi-pack", "--environment", "cpu", "--output-file", str(archive), str(ROOT / "pixi.toml")], folder)
    _, seconds = run(["pixi-unpack", str(archive)], folder)
    measured = used(folder / "env") | {"sent_bytes": archive.stat().st_size, "install_s": seconds}
    return measured | starts([str(folder / "env/bin/python"), SCRIPT], n)


def image(folder: Path, n: int, short: bool) -> dict:
    """The image of exercise 5, if it has been built here. bytes: as the engine states them."""
    try:
        found = [each for each in engine.usable_engines(None, running=True) if engine.digest_of(each, TAG)]
    except engine.NoEngine as problem:
        raise CannotTell(problem.found) from problem
    if not found:
        raise CannotTell(f"there is no image {TAG}; `workshop container-build cpu` builds it")
    program = found[0].program
    size, _ = run([program, "image", "inspect", "--format", "{{.Size}}", TAG], folder)
    listed, _ = run([program, "run", "--rm", "--user", "0", TAG, "find", "/", "-xdev"], folder)
    line = [program, "run", "--rm", "--network", "none", TAG, "python", SCRIPT]
    measured = {"bytes": int(size), "files": len(listed.splitlines()), "engine": found[0].name}
    return measured | starts(line, n, output="/tmp/run")


def apptainer(folder: Path, n: int, short: bool) -> dict:
    """The file for Apptainer of exercise 5, if it has been built here."""
    if not shutil.which("apptainer"):
        raise CannotTell("apptainer is not on the PATH")
    if not (ROOT / SIF).is_file():
        raise CannotTell(f"there is no {SIF}; `workshop container-build cpu --apptainer` builds it")
    line = ["apptainer", "exec", "--containall", SIF, "python", f"/workshop/{SCRIPT}"]  # with a /tmp of its own
    return {"bytes": (ROOT / SIF).stat().st_size, "files": 1} | starts(line, n, output="/tmp/run")


WAYS = {
    "Python alone": python_alone,
    "clone and lock": pixi,
    "pixi-pack": pixi_pack,
    "image": image,
    "Apptainer": apptainer,
}


def measure(name: str, short: bool) -> dict:
    """The figures of one way, or the reason why this machine cannot tell."""
    with tempfile.TemporaryDirectory(dir="/var/tmp" if Path("/var/tmp").is_dir() else None) as folder:
        try:
            return {"way": name} | WAYS[name](Path(folder), 1 if short else N, short)
        except CannotTell as reason:
            return {"way": name, "cannot_tell": str(reason)}


def printed(row: dict) -> str:
    if "cannot_tell" in row:
        return f"{row['way']:15} cannot tell here: {row['cannot_tell']}"
    first = statistics.median(row["first_line_s"])
    text = f"{row['bytes'] / 2**20:,.0f} MiB, {row['files']:,} files, first line after {first:.1f} s"
    text += f" ({row['ratio_to_import']:.1f} times importing PyTorch)"
    return f"{row['way']:15} {text}" + (f", installed in {row['install_s']:.0f} s" if "install_s" in row else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="install nothing; one training of each way")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the figures as JSON")
    args = parser.parse_args()
    rows = []
    for name in WAYS:
        rows.append(measure(name, args.short))
        print(printed(rows[-1]), flush=True)
    if args.output:
        machine = {"cpu": cpu_name(), "cores": os.cpu_count(), "python": sys.version.split()[0]}
        content = {"what": "each way to move an environment: bytes, files, seconds", "machine": machine, "rows": rows}
        write_atomic(args.output, (json.dumps(content, indent=1) + "\n").encode())


if __name__ == "__main__":
    with errors_as_messages():
        main()
