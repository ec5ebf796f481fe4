"""Fit hundreds of HistFactory likelihoods at once, with NumPy and SciPy.

    read_json          read a JSON document, plain or gzipped                                    (workspace.py)
    read_hypotheses    check a pyhf workspace and return a hypothesis for each patch of a set    (workspace.py, schema.py)
    read_patched       the same for a workspace with plain JSON patches                          (workspace.py)
    digest             pyhf's digest of a document                                               (workspace.py)
    compile_models     convert hypotheses to arrays: yields, parameters, bounds, constraints     (compiling/, model.py)
    Scan               fit all hypotheses of a model at once; their CLs and upper limits         (inference.py)
    HistFactoryError   the input is not valid: what was looked at, expected and found, and the next step

For example:

    labels, hypotheses = read_hypotheses(read_json("BkgOnly.json"), read_json("patchset.json"))
    for model in compile_models(hypotheses):
        limits = Scan(model).limits(mu=1.0)
        print(model.names, limits.cls_obs)

`Scan` uses the likelihood with its gradient (likelihood.py, interpolation.py), the minimisers (minimise/) and the
searches for further minima (starts.py, folds.py). `limits/` turns the results into limits. `on_jax/` fits large
likelihoods on a GPU, if you ask for it with `Scan(model, backend="jax")`. Patches require the package jsonpatch, as they do
in pyhf.
"""

from histfactory.compiling import compile_models
from histfactory.errors import HistFactoryError
from histfactory.inference import Scan
from histfactory.workspace import digest, read_hypotheses, read_json, read_patched

__all__ = ["HistFactoryError", "Scan", "compile_models", "digest", "read_hypotheses", "read_json", "read_patched"]
