"""Run a script after patches: `python run_script.py PATCHES SCRIPT ARGUMENT...`, PATCHES as JSON (see `__init__.py`)."""

from __future__ import annotations

import json
import os
import runpy
import sys
import types
from collections.abc import Sequence
from typing import Any


def run(patches: Sequence[tuple[str, dict[str, Any]]], script: str, arguments: Sequence[str]) -> None:
    """Run `script` in this interpreter as `python script` would, after the `install` of each patch."""
    sys.argv = [script, *arguments]
    sys.path[0] = os.path.dirname(script)
    for path, settings in patches:
        runpy.run_path(path)["install"](**settings)
    # Not with runpy, which removes the script's module at the end: open files would not be written.
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__file__ = script
    with open(script, "rb") as file:
        code = compile(file.read(), script, "exec", dont_inherit=True)
    exec(code, main.__dict__)


if __name__ == "__main__":
    run(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3:])
