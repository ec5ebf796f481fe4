"""Run a script after patches: `python start.py PATCHES SCRIPT ARGUMENT...`, with PATCHES as JSON (see `__init__.py`)."""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Sequence
from typing import Any


def run(patches: Sequence[tuple[str, dict[str, Any]]], script: str, arguments: Sequence[str]) -> None:
    """Run `script` in this interpreter as `python script` would, after the `install` of each patch."""
    sys.argv = [script, *arguments]
    sys.path[0] = os.path.dirname(script)
    for path, settings in patches:
        runpy.run_path(path)["install"](**settings)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    run(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3:])
