"""What is done once for the many short runs of a check: modules imported before the fork, and JAX's compiling."""

from __future__ import annotations

import atexit
import hashlib
import platform
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

from workshop.errors import WorkshopError
from workshop.support.hardware import cpu_name

# What an interpreter imports before it is forked for a script that names a framework; with them, what every run needs.
FRAMEWORK_MODULES = {
    # _inductor, and with it sympy, is what the first optimizer and use_deterministic_algorithms import: more than torch.
    "torch": ("torch", "torch.nn.parallel", "torch._inductor", "safetensors.numpy"),
    "jax": ("jax", "flax.linen", "optax", "safetensors.numpy"),
}
WITHOUT_FRAMEWORK = ("numpy", "scipy.sparse", "scipy.spatial", "scipy.special")  # histfactory, and the contour
FOR_EVERY_RUN = (
    "workshop.runs.training",
    "workshop.runs.records.crate",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "PIL.PngImagePlugin",
    "filelock",
    "rich.progress",
)

CACHE_LIMIT = 64 * 2**20  # bytes; what one script compiles comes to 0.2 MiB


def modules_for(script: Path) -> tuple[str, ...]:
    """The modules worth importing once for several runs of a script: those of the framework whose name is in it."""
    try:
        text = script.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    named = [name for name in FRAMEWORK_MODULES if re.search(rf"^\s*(import|from) {name}\b", text, re.MULTILINE)]
    heavy = [module for name in named for module in FRAMEWORK_MODULES[name]] if named else WITHOUT_FRAMEWORK
    return (*FOR_EVERY_RUN, *heavy)


def variables() -> dict[str, str]:
    """The environment variables by which JAX keeps what it compiles: for seconds, what then runs for a moment."""
    return {
        "JAX_COMPILATION_CACHE_DIR": compilation_cache(),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(CACHE_LIMIT),
    }


@cache
def compilation_cache() -> str:
    """The folder for what JAX compiles: in the cache of this kind of processor, whose code runs on no other.

    Where that cannot be written, one that lives as long as this process.
    """
    from workshop.runs import data  # with NumPy, which not every environment has that asks static checks

    kind = hashlib.sha256(f"{platform.machine()} {cpu_name()} {_cpu_flags()}".encode()).hexdigest()[:16]
    try:
        folder = data.cache_folder() / "xla" / kind
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return str(folder)
    except (OSError, RuntimeError, WorkshopError):
        folder = tempfile.mkdtemp(prefix="workshop-xla-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder


def _cpu_flags() -> str:
    """What instructions the processor has, as Linux tells it; a shared home may serve processors of one name and others."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return ""
