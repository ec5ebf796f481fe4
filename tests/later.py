"""Modules that a test file names at its top and that are imported when a test first uses them.

Importing torch, JAX or pyhf takes seconds, and each process of pytest reads every test file.
"""

import importlib.util
import sys

import pytest


class Later:
    """Stands for a module, to read its attributes. A test that replaces one imports the module itself."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> object:
        if attribute == "_mock_name" or attribute.startswith("__"):  # pytest asks every object of a test file for these
            raise AttributeError(attribute)
        __import__(self._name)  # not by `importlib.import_module`, which a test replaces
        return getattr(sys.modules[self._name], attribute)


def or_skip(name: str, reason: str) -> Later:
    """The module; skip the tests of the file where its package is not installed."""
    try:
        found = importlib.util.find_spec(name.partition(".")[0])
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip(reason, allow_module_level=True)
    return Later(name)
