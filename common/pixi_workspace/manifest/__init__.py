"""`pixi.toml`, or `[tool.pixi]` in `pyproject.toml`, read and refused as Pixi 0.77 does.

reader.py puts a manifest together from: toml.py (TOML as Pixi reads it), tables.py (whole tables), entries.py and
options.py (their single entries), spec.py (dependencies), platforms.py (what is declared where), model.py (the result).
"""

from pixi_workspace.manifest.model import Environment, Feature, Manifest, PypiOptions, Task
from pixi_workspace.manifest.reader import PIXI_VERSION, conda_specs, constraints, dev_sources, find, load, pypi_specs
from pixi_workspace.manifest.spec import CondaSpec, PypiSpec
from pixi_workspace.manifest.toml import ManifestError, PixiTooOld
from pixi_workspace.platforms import Platform

__all__ = [
    "PIXI_VERSION",
    "CondaSpec",
    "Environment",
    "Feature",
    "Manifest",
    "ManifestError",
    "PixiTooOld",
    "Platform",
    "PypiOptions",
    "PypiSpec",
    "Task",
    "conda_specs",
    "constraints",
    "dev_sources",
    "find",
    "load",
    "pypi_specs",
]
