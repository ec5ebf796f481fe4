"""What is in the layers of the image of exercise 5, in bytes (the figure layers of the book).

    python benchmarks/image_layers.py --output benchmarks/image_layers.json    # a second

The packages are those that the lock lists for linux-64: added up are the sizes of the downloads, because a registry keeps
layers compressed as well. Files that the Dockerfile copies from the repository are measured as they are. The base image
is not in the lock, so its size is not known here.
"""

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "common")]

from pixi_workspace import locked_environments, needs  # noqa: E402

DOCKERFILE = ROOT / "exercise-5-container/solution/Dockerfile"
ENVIRONMENTS = {"cpu": "linux-64", "cuda12": "linux-64-cuda12"}


def copied() -> dict[str, int]:
    """The bytes that each COPY of the last stage takes from the repository, by its sources."""
    stage = DOCKERFILE.read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    found = {}
    for words in (line.split() for line in re.findall(r"(?m)^COPY (?!--from)(.+)$", stage)):
        files = [path for source in words[:-1] for path in [ROOT / source, *(ROOT / source).rglob("*")]]
        kept = [path for path in files if path.is_file() and path.suffix != ".pyc"]
        found[" ".join(words[:-1])] = sum(path.stat().st_size for path in kept)
    return found


def packages() -> dict[str, dict[str, int]]:
    """By environment: the number of its packages on linux-64, and the bytes of their downloads."""
    _, environments = locked_environments(ROOT)
    chosen = {e.environment: e for e in environments if ENVIRONMENTS.get(e.environment) == e.platform.name}
    return {name: {"packages": len(e.packages), "bytes": needs.download(e)[0]} for name, e in chosen.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="write the numbers into this file")
    args = parser.parse_args()
    what = "bytes in the layers of the image of exercise 5: locked packages (downloads), and copied files"
    text = json.dumps({"what": what, "environment": packages(), "copied": copied()}, indent=1) + "\n"
    print(text, end="")
    if args.output:
        args.output.write_text(text, encoding="utf-8")
