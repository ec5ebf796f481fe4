"""Compile HistFactory models in pyhf's JSON to arrays.

compile_models     the cells of many hypotheses, and which parameters multiply them    (cells.py)
constraints_of     start values, bounds and constraint terms of every parameter        (constraints.py)
"""

from histfactory.compiling.cells import compile_models

__all__ = ["compile_models"]
