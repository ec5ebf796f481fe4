"""A second environment with exercise 3's frozen stack, out of pinned and hashed packages, on the CPU.

    python tests/old_stack.py     # makes it where it is not there yet, and prints its interpreter

It lies in the cache folder, named after the requirements, so that tests and benchmark share it and a change makes a
new one.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "common"))

import room  # noqa: E402
from filelock import FileLock  # noqa: E402

from workshop.runs import data  # noqa: E402

REQUIREMENTS = Path(__file__).with_name("old-stack.txt")
ROOM = 2 * 2**30  # bytes that the environment takes, and some more


class CannotBeMade(Exception):
    """The reason why there is no such environment here, in one line."""


def interpreter() -> Path:
    """The environment's Python. Raises CannotBeMade without Python 3.11, or where its packages are out of reach."""
    # Beside the user's cache, not in one that a test has for itself: it takes half a minute to make.
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    home = data.cache_folder()
    home.mkdir(parents=True, exist_ok=True)
    folder = home / f"old-stack-{digest}"
    python = folder / "bin" / "python"
    with FileLock(home / f"old-stack-{digest}.lock"):
        if (folder / "complete").exists():
            return python
        base = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
        if base is None:
            raise CannotBeMade("jaxlib 0.4.23 needs Python 3.11, and there is none here")
        shutil.rmtree(folder, ignore_errors=True)
        if problem := room.problem(home, ROOM):
            raise CannotBeMade(problem)
        # As a person's shell would, whatever environment this process runs in.
        clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        for command in (
            [base, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", str(REQUIREMENTS)],
        ):
            done = subprocess.run(command, capture_output=True, text=True, env=clean)
            if done.returncode != 0:
                lines = (done.stderr or done.stdout).strip().splitlines()
                errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no reason given"]
                raise CannotBeMade(f"its packages could not be installed: {errors[-1][:200]}")
        (folder / "complete").touch()
    return python


if __name__ == "__main__":
    try:
        print(interpreter())
    except CannotBeMade as problem:
        sys.exit(
            f"looked at: {REQUIREMENTS}\nexpected:  Python 3.11 and the packages in it\nfound:     {problem}\n"
            "next:      install Python 3.11, or look at the network"
        )
