"""Run a script after patches: `python run_script.py PATCHES SCRIPT ARGUMENT...`, PATCHES as JSON (see `__init__.py`)."""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import signal
import sys
import types
from collections.abc import Sequence
from typing import Any

PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


def end_with_parent() -> None:
    """Make the kernel kill this process when its parent ends, even by `kill -9` (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run(patches: Sequence[tuple[str, dict[str, Any]]], script: str, arguments: Sequence[str]) -> None:
    """Run `script` in this interpreter as `python script` would, after the `install` of each patch.

    An endless script must not outlive the check, so it ends with its parent.
    """
    end_with_parent()
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
