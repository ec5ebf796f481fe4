"""A scan cut into what all workers need once, the background, and what belongs to some of the hypotheses.

For ATLAS 1Lbb the background has about 2 MiB, and a hypothesis 25 KiB. A search with 100,000 hypotheses therefore never
travels as a whole, and a worker needs memory only for the hypotheses that it fits.
"""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from histfactory import Model, Scan

# The fields of `Model` and of its block `own` whose first axis is the hypothesis.
OF_MODEL = ("data", "has_signal", "init", "lower", "upper", "fixed", "present", "auxdata", "precision", "tau")
OF_OWN = ("nominal", "hi", "lo", "symmetric", "asymmetric")


def background(scan: Scan) -> bytes:
    """The scan without its hypotheses, pickled: it has the start of the fits, which all hypotheses share."""
    empty = copy.copy(scan)
    empty.model = _with(scan.model, _part(scan.model, []))
    empty.likelihood = copy.copy(scan.likelihood)
    empty.likelihood.model = empty.model
    empty.likelihood.evaluators = [copy.copy(evaluator) for evaluator in scan.likelihood.evaluators]
    for evaluator in empty.likelihood.evaluators:
        if evaluator.own:  # it uses the structure of the cells, and takes the numbers from `Rows`
            evaluator.block = empty.model.own
    return pickle.dumps(empty, pickle.HIGHEST_PROTOCOL)


def part(model: Model, members: Sequence[int]) -> bytes:
    """What belongs to some hypotheses alone, pickled."""
    return pickle.dumps(_part(model, members), pickle.HIGHEST_PROTOCOL)


def join(background: Scan, part: bytes) -> Scan:
    """The scan of the hypotheses of a part. Its fits have the same bits as those of the whole scan."""
    scan = copy.copy(background)
    scan.model = _with(background.model, pickle.loads(part))
    scan.likelihood = copy.copy(background.likelihood)
    scan.likelihood.model = scan.model
    return scan


_Part = tuple[list[str], dict[str, Any], dict[str, Any]]  # names of hypotheses, OF_MODEL and OF_OWN by name


def _part(model: Model, members: Sequence[int]) -> _Part:
    chosen = np.array(members, np.intp)
    arrays = {name: getattr(model, name)[chosen] for name in OF_MODEL}
    own = {name: getattr(model.own, name)[chosen] for name in OF_OWN}
    return [model.names[h] for h in members], arrays, own


def _with(model: Model, part: _Part) -> Model:
    """The model with the hypotheses of a part alone."""
    names, arrays, own = part
    index = list(range(len(names)))
    return dataclasses.replace(model, names=names, index=index, own=dataclasses.replace(model.own, **own), **arrays)
