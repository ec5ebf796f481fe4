"""Write requirements.txt: every package of the route without Pixi, for every system, with its version and sha256.

    python tests/python_lock.py                # after a change of pyproject.toml: new pins where they are needed
    python tests/python_lock.py --upgrade      # the newest version of everything that pyproject.toml leaves open
    python tests/python_lock.py --check        # exit code 1 if the command above would change requirements.txt
    python tests/python_lock.py --pylock FILE  # the same packages as a pylock.toml (PEP 751), with addresses and sizes

It needs uv (`pip install -e ".[dev]"`) and a network. No pylock.toml is kept here, because it names the server of every
file, and many readers have a mirror of their own.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements.txt"
MACOS = "14.0"  # the oldest macOS that torch has a wheel for
HEADER = "# Written by `python tests/python_lock.py` from the extras cpu and test in pyproject.toml. Do not edit it.\n"


def uv() -> str | None:
    """The program uv, from this Python's environment or the PATH; None if there is none."""
    return shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


def solve(*options: str) -> subprocess.CompletedProcess[str]:
    """Run `uv pip compile` on the extras cpu and test. Options of uv follow, such as a platform or a format."""
    program = uv()
    if program is None:
        sys.exit(
            "looked at: the folders of PATH\nexpected:  the program uv\nfound:     none\n"
            'next:      python -m pip install -e ".[dev]"'
        )
    command = [program, "pip", "compile", "--quiet", "pyproject.toml", "--extra", "cpu", "--extra", "test"]
    command += ["--no-annotate", "--no-header", *options]
    variables = os.environ | {"MACOSX_DEPLOYMENT_TARGET": MACOS}
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)


def written(*options: str) -> str:
    """The text of requirements.txt. What the file pins now is kept where pyproject.toml still allows it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        if REQUIREMENTS.exists():
            shutil.copy(REQUIREMENTS, file)
        everywhere = ("--universal", "--python-version", "3.11", "--generate-hashes")
        process = solve(*everywhere, "--output-file", str(file), *options)
        if process.returncode:
            sys.exit(process.stderr)
        return HEADER + file.read_text(encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choices = parser.add_mutually_exclusive_group()
    choices.add_argument("--upgrade", action="store_true")
    choices.add_argument("--check", action="store_true")
    choices.add_argument("--pylock", metavar="FILE", help="named pylock.toml or pylock.NAME.toml")
    arguments = parser.parse_args()
    if arguments.pylock:
        options = ("--universal", "--python-version", "3.11", "--format", "pylock.toml", "-c", "requirements.txt")
        process = solve(*options, "--output-file", str(Path(arguments.pylock).resolve()))
        print(process.stderr, end="", file=sys.stderr)
        return process.returncode
    text = written(*(["--upgrade"] if arguments.upgrade else []))
    before = REQUIREMENTS.read_text(encoding="utf-8") if REQUIREMENTS.exists() else ""
    if arguments.check:
        print("requirements.txt is current" if text == before else "requirements.txt is not current")
        return int(text != before)
    REQUIREMENTS.write_text(text, encoding="utf-8", newline="\n")
    print("requirements.txt is as before" if text == before else "requirements.txt is new")
    return 0


if __name__ == "__main__":
    sys.exit(main())
