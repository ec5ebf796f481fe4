"""Fit hundreds of HistFactory likelihoods at once, with NumPy and SciPy.

    read_json          read a JSON document, plain or gzipped                                    (workspace.py)
    read_hypotheses    check a pyhf workspace and return a hypothesis for each patch of a set    (workspace.py, schema.py)
    read_patched       the same for a workspace with plain JSON patches                          (workspace.py)
    Hypothesis         what these two return: the parts of a workspace that its likelihood needs (workspace.py)
    digest             pyhf's digest of a document                                               (workspace.py)
    compile_models     convert hypotheses to arrays: yields, parameters, bounds, constraints     (compiling/, model.py)
    Scan               fit all hypotheses of a model at once; their CLs and upper limits         (inference.py)
    Model, Limits      what `compile_models` and `Scan.limits` return                       (model.py, inference.py)
    chunk_size         how many hypotheses of a model fit the processor's caches together        (inference.py)
    numbers_of_hypothesis      the size of a model: how many numbers one hypothesis has           (inference.py)
    saturated_log_likelihood   log L of a model that expects exactly what was observed           (likelihood.py)
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
from histfactory.inference import Limits, Scan, chunk_size, numbers_of_hypothesis
from histfactory.likelihood import saturated_log_likelihood
from histfactory.model import Model
from histfactory.workspace import Hypothesis, digest, read_hypotheses, read_json, read_patched

__all__ = [
    "HistFactoryError",
    "Hypothesis",
    "Limits",
    "Model",
    "Scan",
    "chunk_size",
    "compile_models",
    "digest",
    "numbers_of_hypothesis",
    "read_hypotheses",
    "read_json",
    "read_patched",
    "saturated_log_likelihood",
]
