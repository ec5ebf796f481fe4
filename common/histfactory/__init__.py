"""HistFactory likelihoods fitted by the hundred, with NumPy and SciPy.

    read_json          a document in a plain or gzipped file                                     (workspace.py)
    read_hypotheses    one hypothesis for every patch of a pyhf workspace, checked               (workspace.py, schema.py)
    digest             pyhf's digest of a document                                               (workspace.py)
    compile_models     hypotheses as arrays, with parameters, bounds and constraints             (compiling.py, model.py)
    Scan               the fits of all hypotheses of a model at once, and their CLs              (inference.py)
    HistFactoryError   the input is at fault: what was looked at, expected and found, and the next step

For example:

    labels, hypotheses = read_hypotheses(read_json("BkgOnly.json"), read_json("patchset.json"))
    for model in compile_models(hypotheses):
        limits = Scan(model).limits(mu=1.0)
        print(model.names, limits.cls_obs)

Between the two: the likelihood with its gradient (likelihood.py, interpolation.py), the minimisers (minimise.py) and the
search for further minima (folds.py). Patch sets need the package jsonpatch as well, as they do in pyhf.
"""

from histfactory.compiling import compile_models
from histfactory.errors import HistFactoryError
from histfactory.inference import Scan
from histfactory.workspace import digest, read_hypotheses, read_json

__all__ = ["HistFactoryError", "Scan", "compile_models", "digest", "read_hypotheses", "read_json"]
