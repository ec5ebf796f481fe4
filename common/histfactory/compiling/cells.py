"""Compile HistFactory models in pyhf's JSON to arrays, for many hypotheses at once.

The expected count of bin b is a sum over the samples in it (CERN-OPEN-2012-016; pyhf's documentation):

    nu_b = sum_c  [nominal_c + sum_k delta_ck(alpha_k)]  *  prod_k f_ck(alpha_k)  *  prod_l theta_l

A *cell* c is one bin of one sample; a *process* is all bins of one sample in one channel. delta is a histosys
(interpolation code 4p), f a normsys (code 4, the same for all bins of a process), and theta a linear factor
(normfactor, lumi, shapefactor, shapesys, staterror). The likelihood has a Poisson term for each bin and a constraint
term for each constrained parameter.

The hypotheses of a scan share most of their cells, which are stored once (`Model.shared`). The other cells of each
hypothesis (its signal, or samples that its patch replaced) are stored in one row per hypothesis (`Model.own`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from histfactory.compiling.constraints import constraints_of
from histfactory.errors import HistFactoryError
from histfactory.model import ALPHA, LOCAL, Block, Index, Mask, Model
from histfactory.workspace import Hypothesis, no_garbage_collection

Sample = tuple[str, dict]  # the name of its channel, and pyhf's JSON object


@dataclass(frozen=True)
class Layout:
    """The channels of some hypotheses, in the order in which the arrays contain their bins."""

    n_bins: dict[str, int]  # of each channel

    @cached_property
    def first_bin(self) -> dict[str, int]:
        """The position of each channel's first bin."""
        firsts = np.cumsum([0, *self.n_bins.values()])[:-1].tolist()
        return dict(zip(self.n_bins, firsts, strict=True))


@dataclass(frozen=True)
class Parameters:
    """All parameters of a model: alphas, then linear factors that affect several bins, then those that affect one."""

    names: list[str]
    n_alpha: int
    n_shared: int
    local_bin: Index
    kinds: dict[str, str]  # of each set of parameters with one name: "alpha", or the type of its modifier
    # The positions of each set's parameters. Their keys: -1 for a single parameter, the global bin for staterror and
    # shapesys, the bin within its channel for shapefactor.
    positions: dict[str, dict[int, int]]


def compile_models(hypotheses: list[Hypothesis]) -> list[Model]:
    """One model for each set of channels: a single one, unless patches add or remove channels.

    Raises HistFactoryError if a name is used for two kinds of parameters, if the parameter of interest is unknown,
    fixed or not a single number, or if a bin with observed events has no expected background.
    """
    groups: dict[tuple, list[int]] = {}
    for i, hypothesis in enumerate(hypotheses):
        channels = tuple(
            (c, len(next(iter(hypothesis.channels[c].values()))["data"])) for c in sorted(hypothesis.channels)
        )
        groups.setdefault((channels, hypothesis.measurement["config"]["poi"]), []).append(i)
    with no_garbage_collection():
        return [
            _compile(Layout(dict(channels)), poi, [hypotheses[i] for i in members], members)
            for (channels, poi), members in groups.items()
        ]


def _compile(layout: Layout, poi: str, hypotheses: list[Hypothesis], index: list[int]) -> Model:
    common, own = _split_samples(layout, hypotheses)
    parameters = _parameters(layout, common, own, hypotheses)
    _check_poi(poi, parameters, hypotheses[0])
    slots = _slots(own)
    shared = _block(
        [(c, _linear(s), _names(s, "normsys"), _names(s, "histosys")) for c, s in common], layout, parameters
    )
    _fill_shared(shared, common)
    own_block = _block(
        [(key[0], key[1], sorted(names["normsys"]), sorted(names["histosys"])) for key, names in slots.items()],
        layout,
        parameters,
    )
    _fill_own(own_block, own, list(slots), parameters)
    model = Model(
        names=[h.name for h in hypotheses],
        index=index,
        bins=[f"{channel}[{i}]" for channel, n in layout.n_bins.items() for i in range(n)],
        parameters=parameters.names,
        poi=next(iter(parameters.positions[poi].values())),
        n_alpha=parameters.n_alpha,
        n_shared=parameters.n_shared,
        local_bin=parameters.local_bin,
        shared=shared,
        own=own_block,
        data=np.array([np.concatenate([h.observations[c] for c in layout.n_bins]) for h in hypotheses], float),
        has_signal=np.zeros(len(hypotheses), bool),
        **vars(constraints_of(hypotheses, common, own, parameters.kinds, parameters.positions, layout.first_bin)),
    )
    _check_measurements(model, hypotheses)
    has_background, model.has_signal = _backgrounds_and_signals(model)
    _check_background(model, has_background)
    return model


def _check_measurements(model: Model, hypotheses: list[Hypothesis]) -> None:
    """Raise HistFactoryError unless the fits are possible: a free parameter of interest, start values within bounds."""
    poi, names = model.poi, model.parameters

    def error(h: int, expected: str, found: str, next_step: str) -> HistFactoryError:
        looked_at = f"the measurement {hypotheses[h].measurement['name']!r} of {hypotheses[h].name}"
        return HistFactoryError(looked_at=looked_at, expected=expected, found=found, next_step=next_step)

    for h in np.flatnonzero(model.fixed[:, poi]).tolist():
        found = f"{names[poi]!r} with fixed: true"
        raise error(
            h, "a parameter of interest that is free in the fit", found, "choose another measurement with --measurement"
        )
    for h in np.flatnonzero((model.lower[:, poi] > 0) | (model.upper[:, poi] < 0)).tolist():
        raise error(
            h,
            f"bounds of the parameter of interest {names[poi]!r} that include 0, its value without a signal",
            f"[{model.lower[h, poi]:g}, {model.upper[h, poi]:g}]",
            f"give {names[poi]!r} bounds from 0 on, or use a normfactor of the signal as 'poi'",
        )
    outside = model.present & ((model.init < model.lower) | (model.init > model.upper))
    for h, p in np.argwhere(outside):
        bounds = f"[{model.lower[h, p]:g}, {model.upper[h, p]:g}]"
        raise error(
            h,
            f"a start value (inits) of {names[p]!r} within its bounds {bounds}",
            f"{model.init[h, p]:g}",
            f"correct 'inits' or 'bounds' of {names[p].partition('[')[0]!r}",
        )


def _split_samples(layout: Layout, hypotheses: list[Hypothesis]) -> tuple[list[Sample], list[list[Sample]]]:
    """The samples that are the same object in all hypotheses, and the other samples of each hypothesis."""
    common: list[Sample] = []
    own: list[list[Sample]] = [[] for _ in hypotheses]
    for channel in layout.n_bins:
        ids = set.intersection(*({id(s) for s in h.channels[channel].values()} for h in hypotheses))
        common += [(channel, s) for s in hypotheses[0].channels[channel].values() if id(s) in ids]
        for samples, h in zip(own, hypotheses, strict=True):
            samples += [(channel, s) for s in h.channels[channel].values() if id(s) not in ids]
    return common, own


def _parameters(
    layout: Layout, common: list[Sample], own: list[list[Sample]], hypotheses: list[Hypothesis]
) -> Parameters:
    kinds: dict[str, str] = {}
    reached: dict[str, dict[int, set[int]]] = {}  # name -> key -> bins that this parameter affects
    # The samples that use a shapesys; those of the hypotheses count as one for each channel.
    shapesys_users: dict[str, set[tuple[str, str]]] = {}
    for h, samples in [(None, common), *zip(hypotheses, own, strict=True)]:
        for channel, sample in samples:
            first = layout.first_bin[channel]
            for modifier in sample["modifiers"]:
                name, kind = modifier["name"], "alpha" if modifier["type"] in ALPHA else modifier["type"]
                if kinds.setdefault(name, kind) != kind:
                    raise _conflict_error(name, kinds[name], kind, sample, channel, h)
                keys = reached.setdefault(name, {})
                if kind not in LOCAL:
                    keys.setdefault(-1, set())
                    continue
                for b in range(first, first + layout.n_bins[channel]):
                    keys.setdefault(b - first if kind == "shapefactor" else b, set()).add(b)
                if kind == "shapesys":
                    users = shapesys_users.setdefault(name, set())
                    users.add((channel, sample["name"] if h is None else ""))
                    if len(users) > 1:
                        raise _conflict_error(name, "shapesys of one sample", "shapesys of another", sample, channel, h)
    order = sorted(kinds)
    alphas = [(name, -1) for name in order if kinds[name] == "alpha"]
    linear = [(name, key) for name in order if kinds[name] != "alpha" for key in sorted(reached[name])]
    local = [(name, key) for name, key in linear if len(reached[name][key]) == 1]
    multi_bin = [(name, key) for name, key in linear if len(reached[name][key]) != 1]
    positions: dict[str, dict[int, int]] = {name: {} for name in order}
    for i, (name, key) in enumerate(alphas + multi_bin + local):
        positions[name][key] = i
    return Parameters(
        names=[
            name if key < 0 else f"{name}[{sorted(reached[name]).index(key)}]"
            for name, key in alphas + multi_bin + local
        ],
        n_alpha=len(alphas),
        n_shared=len(alphas) + len(multi_bin),
        local_bin=np.array([next(iter(reached[name][key])) for name, key in local], np.intp),
        kinds=kinds,
        positions=positions,
    )


def _conflict_error(
    name: str, first: str, second: str, sample: dict, channel: str, hypothesis: Hypothesis | None
) -> HistFactoryError:
    patch = f", patch {hypothesis.name}" if hypothesis else ""
    return HistFactoryError(
        looked_at=f"sample {sample['name']!r} of channel {channel!r}{patch}",
        expected=f"one kind of parameter with the name {name!r}",
        found=f"{first} and {second}",
        next_step="rename one of the two modifiers",
    )


def _check_poi(poi: str, parameters: Parameters, hypothesis: Hypothesis) -> None:
    """Raise HistFactoryError unless a sample uses the parameter of interest and it is a single number."""
    if poi not in parameters.kinds:
        factors = [name for name, kind in sorted(parameters.kinds.items()) if kind == "normfactor"]
        raise HistFactoryError(
            looked_at=f"the measurement {hypothesis.measurement['name']!r} of {hypothesis.name}",
            expected=f"a parameter of interest that some sample uses (normfactors here: {', '.join(factors) or 'none'})",
            found=f"{poi!r}, which no sample of any channel uses",
            next_step="correct 'poi' in the measurement, or choose another measurement with --measurement",
        )
    if (n := len(parameters.positions[poi])) != 1:
        raise HistFactoryError(
            looked_at=f"the parameter of interest {poi!r}",
            expected="a single parameter that scales the signal",
            found=f"a {parameters.kinds[poi]} with {n} parameters",
            next_step="use the name of a normfactor as 'poi' in the measurement",
        )


def _linear(sample: dict) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((m["type"], m["name"]) for m in sample["modifiers"] if m["type"] not in ALPHA))


def _names(sample: dict, kind: str) -> list[str]:
    return [m["name"] for m in sample["modifiers"] if m["type"] == kind]


def _slot_keys(samples: list[Sample]) -> list[tuple]:
    """(channel, linear modifiers, ordinal number among equals) of each sample of one hypothesis."""
    count: dict[tuple, int] = {}
    keys = []
    for channel, sample in samples:
        key = (channel, _linear(sample))
        count[key] = count.get(key, -1) + 1
        keys.append((*key, count[key]))
    return keys


def _slots(own: list[list[Sample]]) -> dict[tuple, dict[str, set[str]]]:
    """Slots for the hypotheses' own samples: key -> names of the normsys and histosys modifiers in that slot.

    Samples of different hypotheses with the same linear modifiers share a slot, so the arrays need no mask: a
    hypothesis without a sample in a slot has a nominal yield of zero there, and one without an interpolated modifier a
    factor of 1.
    """
    slots: dict[tuple, dict[str, set[str]]] = {}
    for samples in own:
        for key, (_, sample) in zip(_slot_keys(samples), samples, strict=True):
            names = slots.setdefault(key, {"normsys": set(), "histosys": set()})
            for kind in ALPHA:
                names[kind].update(_names(sample, kind))
    return slots


def _block(processes: list[tuple], layout: Layout, parameters: Parameters) -> Block:
    """The block of some processes (channel, linear modifiers, normsys names, histosys names), without its values."""
    cell_process, cell_bin, factors, pair_process, pair_alpha, hist_cell, hist_alpha = [], [], [], [], [], [], []
    first_bin = layout.first_bin
    for p, (channel, linear, norms, hists) in enumerate(processes):
        first_cell, n = len(cell_bin), layout.n_bins[channel]
        cell_process += [p] * n
        cell_bin += range(first_bin[channel], first_bin[channel] + n)
        for i in range(n):
            keys = {"staterror": first_bin[channel] + i, "shapesys": first_bin[channel] + i, "shapefactor": i}
            factors.append([parameters.positions[name][keys.get(kind, -1)] for kind, name in linear])
        pair_process += [p] * len(norms)
        pair_alpha += [parameters.positions[name][-1] for name in norms]
        for name in hists:
            hist_cell += range(first_cell, first_cell + n)
            hist_alpha += [parameters.positions[name][-1]] * n
    most = max((len(f) for f in factors), default=0)
    table = np.array([f + [-1] * (most - len(f)) for f in factors], np.intp).reshape(len(factors), most).T

    def index(values: list[int]) -> Index:
        return np.array(values, np.intp)

    return Block(
        n_processes=len(processes),
        cell_process=index(cell_process),
        cell_bin=index(cell_bin),
        factors=table,
        pair_process=index(pair_process),
        pair_alpha=index(pair_alpha),
        hist_cell=index(hist_cell),
        hist_alpha=index(hist_alpha),
    )


def _fill_shared(block: Block, common: list[Sample]) -> None:
    block.nominal = np.array([x for _, s in common for x in s["data"]], float)
    norms = [m["data"] for _, s in common for m in s["modifiers"] if m["type"] == "normsys"]
    hists = [m["data"] for _, s in common for m in s["modifiers"] if m["type"] == "histosys"]
    block.hi, block.lo = np.array([m["hi"] for m in norms], float), np.array([m["lo"] for m in norms], float)
    hi = np.array([x for m in hists for x in m["hi_data"]], float)
    lo = np.array([x for m in hists for x in m["lo_data"]], float)
    block.symmetric, block.asymmetric = 0.5 * (hi - lo), 0.5 * (hi + lo) - block.nominal[block.hist_cell]
    _drop_null_variations(block)


def _fill_own(block: Block, own: list[list[Sample]], slots: list[tuple], parameters: Parameters) -> None:
    n_hypotheses, n_pairs, n_hists = len(own), len(block.pair_alpha), len(block.hist_cell)
    slot_of = {slot: i for i, slot in enumerate(slots)}
    first_cell = np.searchsorted(block.cell_process, np.arange(len(slots))).tolist()
    pair_of = {
        (p, a): i for i, (p, a) in enumerate(zip(block.pair_process.tolist(), block.pair_alpha.tolist(), strict=True))
    }
    hist_of: dict[tuple[int, int], int] = {}  # (slot, alpha) -> the first of its hists
    for i, (cell, alpha) in enumerate(zip(block.hist_cell.tolist(), block.hist_alpha.tolist(), strict=True)):
        hist_of.setdefault((int(block.cell_process[cell]), alpha), i)
    block.nominal = np.zeros((n_hypotheses, len(block.cell_bin)))
    block.hi, block.lo = np.ones((n_hypotheses, n_pairs)), np.ones((n_hypotheses, n_pairs))
    block.symmetric, block.asymmetric = np.zeros((n_hypotheses, n_hists)), np.zeros((n_hypotheses, n_hists))
    for h, samples in enumerate(own):
        # Collect the values in lists first, since writing single elements of arrays is slow.
        pairs: list[tuple[int, float, float]] = []
        hists: list[int] = []
        high: list[float] = []
        low: list[float] = []
        for key, (_, sample) in zip(_slot_keys(samples), samples, strict=True):
            slot, n = slot_of[key], len(sample["data"])
            block.nominal[h, first_cell[slot] : first_cell[slot] + n] = sample["data"]
            for m in sample["modifiers"]:
                if m["type"] == "normsys":
                    pair = pair_of[slot, parameters.positions[m["name"]][-1]]
                    pairs.append((pair, m["data"]["hi"], m["data"]["lo"]))
                elif m["type"] == "histosys":
                    first = hist_of[slot, parameters.positions[m["name"]][-1]]
                    hists += range(first, first + n)
                    high += m["data"]["hi_data"]
                    low += m["data"]["lo_data"]
        if pairs:
            index, hi, lo = zip(*pairs, strict=True)
            block.hi[h, index], block.lo[h, index] = hi, lo
        up, down = np.array(high, float), np.array(low, float)
        block.symmetric[h, hists] = 0.5 * (up - down)
        block.asymmetric[h, hists] = 0.5 * (up + down) - block.nominal[h, block.hist_cell[hists]]
    _drop_null_variations(block)


def _drop_null_variations(block: Block) -> None:
    """Remove variations that change nothing in any hypothesis; published workspaces contain thousands of them."""
    axes = tuple(range(block.hi.ndim - 1))
    keep = ((block.hi != 1) | (block.lo != 1)).any(axes)
    block.pair_process, block.pair_alpha = block.pair_process[keep], block.pair_alpha[keep]
    block.hi, block.lo = block.hi[..., keep], block.lo[..., keep]
    keep = ((block.symmetric != 0) | (block.asymmetric != 0)).any(axes)
    block.hist_cell, block.hist_alpha = block.hist_cell[keep], block.hist_alpha[keep]
    block.symmetric, block.asymmetric = block.symmetric[..., keep], block.asymmetric[..., keep]


def _backgrounds_and_signals(model: Model) -> tuple[Mask, Mask]:
    """Whether each bin has a background that is or can become nonzero (H, B), and each hypothesis a signal (H,)."""
    background = np.zeros(model.data.shape, bool)
    has_signal = np.zeros(len(model.names), bool)
    for block in (model.shared, model.own):
        with_poi = (block.factors == model.poi).any(0)
        cells = np.atleast_2d(block.nominal != 0)
        varied = np.zeros(cells.shape, bool)
        varies = np.atleast_2d((block.symmetric != 0) | (block.asymmetric != 0))
        np.logical_or.at(varied.T, block.hist_cell, varies.T)
        cells = cells | varied
        has_signal |= (cells & with_poi).any(1)
        for cell in np.flatnonzero(~with_poi):
            background[:, block.cell_bin[cell]] |= cells[:, cell]
    if model.poi < model.n_alpha:
        has_signal[:] = True
    return background, has_signal


def _check_background(model: Model, background: Mask) -> None:
    """Raise HistFactoryError for a bin with observed events but no expected background: its likelihood is zero.

    A background whose yields add up to less than zero is also refused.
    """
    total = np.zeros(model.data.shape)
    for block in (model.shared, model.own):
        for cell in np.flatnonzero(~(block.factors == model.poi).any(0)):
            total[:, block.cell_bin[cell]] += block.nominal[..., cell]
    bad = np.argwhere((~background | (total < 0)) & (model.data > 0))
    if len(bad):
        h, b = bad[0]
        found = f"{total[h, b]} events" if background[h, b] else "no background"
        raise HistFactoryError(
            looked_at=f"bin {model.bins[b]} of {model.names[h]}",
            expected="an expected background in every bin with observed events",
            found=f"{model.data[h, b]:g} events observed and {found} expected, so the likelihood without a signal is zero",
            next_step="merge the bin with a neighbour, or correct its yields",
        )
