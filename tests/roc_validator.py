"""An environment of its own for roc-validator, which demands an older rich than the tutorial uses.

python tests/roc_validator.py     # makes it in the cache folder, and prints the command; tests then use it
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "common"))

from workshop.runs import data  # noqa: E402

VERSION = "0.13.0"


def command() -> Path:
    """Where the command is, or would be."""
    scripts = "Scripts" if sys.platform == "win32" else "bin"
    return data.cache_folder() / f"roc-validator-{VERSION}" / scripts / "rocrate-validator"


if __name__ == "__main__":
    folder = command().parents[1]
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    python = command().with_name("python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"roc-validator=={VERSION}"], check=True)
    print(command())
