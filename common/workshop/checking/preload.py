"""Work that is done once for the many short runs of a check: importing modules, and compiling with JAX."""

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
from workshop.support.files import read_text
from workshop.support.hardware import cpu_name

# Modules to import before an interpreter is forked for a script that uses a framework.
FRAMEWORK_MODULES = {
    # The first optimizer and use_deterministic_algorithms import _inductor and sympy, which takes longer than torch.
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

CACHE_LIMIT = 64 * 2**20  # bytes; one script compiles about 0.2 MiB


def modules_for(script: Path) -> tuple[str, ...]:
    """The modules to import once for several runs of a script: those of the framework that it imports."""
    try:
        text = read_text(script)
    except OSError:
        return ()
    named = [name for name in FRAMEWORK_MODULES if re.search(rf"^[ \t]*(import|from) {name}\b", text, re.MULTILINE)]
    heavy = [module for name in named for module in FRAMEWORK_MODULES[name]] if named else WITHOUT_FRAMEWORK
    return (*FOR_EVERY_RUN, *heavy)


def variables() -> dict[str, str]:
    """Environment variables that make JAX keep compiled code: compiling takes seconds, a short run much less."""
    return {
        "JAX_COMPILATION_CACHE_DIR": compilation_cache(),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(CACHE_LIMIT),
    }


@cache
def compilation_cache() -> str:
    """The cache folder for JAX's compiled code, one for each kind of processor, since the code runs on no other.

    If it cannot be written, a temporary folder that is removed when this process ends.
    """
    from workshop.runs import data  # needs NumPy, which not every environment with static checks has

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
    """The processor's instruction sets as Linux lists them; processors of the same name can differ in them."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return ""
