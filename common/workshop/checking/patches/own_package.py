"""The script belongs to a project that has its own copy of `workshop.runs`: the other patches change that copy."""

import sys
from importlib import import_module


def install(package: str) -> None:
    """Make `from workshop.runs import ...` import from the package of the project."""
    for name in ("workshop", "workshop.runs", "workshop.runs.frameworks"):
        sys.modules[name] = import_module(name.replace("workshop", package, 1))
