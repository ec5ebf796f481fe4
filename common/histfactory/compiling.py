"""HistFactory models compiled to arrays: what pyhf's JSON says, ready for many hypotheses at once.

The expected count of bin b is a sum over the samples that reach it (CERN-OPEN-2012-016; pyhf's documentation):

    nu_b = sum_c  [nominal_c + sum_k delta_ck(alpha_k)]  *  prod_k f_ck(alpha_k)  *  prod_l theta_l

A *cell* c is one bin of one sample, a *process* all bins of one sample in one channel. delta is histosys
(interpolation code 4p), f normsys (code 4, the same for all bins of a process), theta a factor that enters linearly
(normfactor, lumi, shapefactor, shapesys, staterror). The likelihood is a Poisson term a bin and a constraint a
parameter.

All hypotheses of a scan share most of their cells: those are stored once (`Model.shared`); what each hypothesis has of
its own (its signal, or what its patch replaced) is stored a row a hypothesis (`Model.own`).
"""

from __future__ import annotations

import numpy as np
from constraints import configure
from model import ALPHA, LOCAL, Block, Model
from numpy.typing import NDArray
from workspace import Hypothesis

from workshop.errors import WorkshopError


def compile_models(hypotheses: list[Hypothesis]) -> list[Model]:
    """One model for each set of channels among the hypotheses (one in all, unless patches add or remove channels)."""
    groups: dict[tuple, list[int]] = {}
    for i, hypothesis in enumerate(hypotheses):
        layout = tuple(
            (c, len(next(iter(hypothesis.channels[c].values()))["data"])) for c in sorted(hypothesis.channels)
        )
        groups.setdefault((layout, hypothesis.measurement["config"]["poi"]), []).append(i)
    return [
        _compile(list(layout), poi, [hypotheses[i] for i in members], members)
        for (layout, poi), members in groups.items()
    ]


def _compile(layout: list[tuple[str, int]], poi: str, hypotheses: list[Hypothesis], index: list[int]) -> Model:
    offset = dict(zip([c for c, _ in layout], np.cumsum([0] + [n for _, n in layout[:-1]]).tolist(), strict=True))
    n_bins = dict(layout)
    common, own = _split(layout, hypotheses)
    parameters, kinds, n_alpha, n_shared, local_bin, lookup = _parameters(common, own, offset, n_bins, hypotheses)
    if poi not in kinds:
        raise _unknown_poi(poi, kinds, hypotheses[0])
    if len(lookup[poi]) != 1:
        raise WorkshopError(
            looked_at=f"the parameter of interest {poi!r}",
            expected="one number that scales the signal",
            found=f"a {kinds[poi]} with {len(lookup[poi])} parameters",
            next_step="name a normfactor as 'poi' in the measurement",
        )

    slots = _slots(own)
    shared_cells = [(c, sample, None) for c, sample in common]
    own_cells = [(key[0], None, key) for key in slots]
    model = Model(
        names=[h.name for h in hypotheses],
        index=index,
        bins=[f"{c}[{i}]" for c, n in layout for i in range(n)],
        parameters=parameters,
        poi=int(next(iter(lookup[poi].values()))),
        n_alpha=n_alpha,
        n_shared=n_shared,
        local_bin=local_bin,
        shared=_block(shared_cells, offset, n_bins, lookup, {}),
        own=_block(own_cells, offset, n_bins, lookup, slots),
        data=np.array([np.concatenate([h.observations[c] for c, _ in layout]) for h in hypotheses], float),
    )
    _fill_shared(model.shared, common, lookup)
    _fill_own(model.own, own, list(slots), lookup)
    configure(model, hypotheses, common, own, kinds, lookup, offset, n_bins)
    _check_expectation(model)
    return model


def _split(
    layout: list[tuple[str, int]], hypotheses: list[Hypothesis]
) -> tuple[list[tuple[str, dict]], list[list[tuple[str, dict]]]]:
    """(channel, sample) that are the very same object in all hypotheses, and those that each hypothesis has besides."""
    common: list[tuple[str, dict]] = []
    own: list[list[tuple[str, dict]]] = [[] for _ in hypotheses]
    for channel, _ in layout:
        ids = set.intersection(*({id(s) for s in h.channels[channel].values()} for h in hypotheses))
        common += [(channel, s) for s in hypotheses[0].channels[channel].values() if id(s) in ids]
        for mine, h in zip(own, hypotheses, strict=True):
            mine += [(channel, s) for s in h.channels[channel].values() if id(s) not in ids]
    return common, own


def _parameters(
    common: list, own: list[list], offset: dict[str, int], n_bins: dict[str, int], hypotheses: list[Hypothesis]
) -> tuple[list[str], dict[str, str], int, int, NDArray[np.intp], dict[str, dict[int, int]]]:
    """All parameters of the model.

    `lookup` gives for each named parameter set {key: parameter}, the key being -1 for a single parameter, the global
    bin for staterror and shapesys, and the position in the channel for shapefactor.
    """
    kinds: dict[str, str] = {}
    keys: dict[str, dict[int, set[int]]] = {}  # name -> key -> bins reached
    users: dict[str, set[tuple[str, str]]] = {}
    for h, samples in [(None, common)] + list(zip(hypotheses, own, strict=True)):
        for channel, sample in samples:
            where = range(offset[channel], offset[channel] + n_bins[channel])
            for modifier in sample["modifiers"]:
                name, kind = modifier["name"], "alpha" if modifier["type"] in ALPHA else modifier["type"]
                if kinds.setdefault(name, kind) != kind:
                    raise _reused(name, kinds[name], kind, sample, channel, h)
                if kind not in LOCAL:
                    if name not in keys:
                        keys[name] = {-1: set()}
                else:
                    known = keys.setdefault(name, {})
                    for b in where:
                        known.setdefault(b if kind != "shapefactor" else b - where.start, set()).add(b)
                    if kind == "shapesys":
                        owners = users.setdefault(name, set())
                        owners.add((channel, sample["name"] if h is None else ""))
                        if len(owners) > 1:
                            raise _reused(name, "shapesys of one sample", "shapesys of another", sample, channel, h)
    order = sorted(kinds)
    alphas = [(name, -1) for name in order if kinds[name] == "alpha"]
    linear = [(name, key) for name in order if kinds[name] != "alpha" for key in sorted(keys[name])]
    local = [(name, key) for name, key in linear if len(keys[name][key]) == 1]
    wide = [item for item in linear if len(keys[item[0]][item[1]]) != 1]
    everything = alphas + wide + local
    lookup: dict[str, dict[int, int]] = {name: {} for name in order}
    for i, (name, key) in enumerate(everything):
        lookup[name][key] = i
    local_bin = np.array([next(iter(keys[name][key])) for name, key in local], np.intp)
    labels = [name if key < 0 else f"{name}[{sorted(keys[name]).index(key)}]" for name, key in everything]
    return labels, kinds, len(alphas), len(alphas) + len(wide), local_bin, lookup


def _reused(
    name: str, first: str, second: str, sample: dict, channel: str, hypothesis: Hypothesis | None
) -> WorkshopError:
    where = f"sample {sample['name']!r} of channel {channel!r}" + (f", patch {hypothesis.name}" if hypothesis else "")
    return WorkshopError(
        looked_at=where,
        expected=f"{name!r} to be one kind of parameter",
        found=f"{first} and {second}",
        next_step="rename one of the two modifiers",
    )


def _unknown_poi(poi: str, kinds: dict[str, str], hypothesis: Hypothesis) -> WorkshopError:
    factors = [name for name, kind in sorted(kinds.items()) if kind == "normfactor"]
    return WorkshopError(
        looked_at=f"the measurement {hypothesis.measurement['name']!r} of {hypothesis.name}",
        expected=f"a parameter of interest that some sample uses (normfactors here: {', '.join(factors) or 'none'})",
        found=f"{poi!r}, which no sample of any channel uses",
        next_step="check 'poi' in the measurement, or choose a measurement with --measurement",
    )


def _linear_keys(sample: dict) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((m["type"], m["name"]) for m in sample["modifiers"] if m["type"] not in ALPHA))


def _slots(own: list[list[tuple[str, dict]]]) -> dict[tuple, dict[str, set[str]]]:
    """Places for the hypotheses' own samples: (channel, linear modifiers, ordinal) -> names of normsys and histosys.

    Samples with the same linear modifiers share a place, so that the arrays need no mask: where a hypothesis has no
    sample in a place its nominal is zero, where it lacks an interpolated modifier the factor is 1.
    """
    slots: dict[tuple, dict[str, set[str]]] = {}
    for samples in own:
        count: dict[tuple, int] = {}
        for channel, sample in samples:
            key = (channel, _linear_keys(sample))
            count[key] = count.get(key, -1) + 1
            slot = slots.setdefault((*key, count[key]), {"normsys": set(), "histosys": set()})
            for m in sample["modifiers"]:
                if m["type"] in ALPHA:
                    slot[m["type"]].add(m["name"])
    return slots


def _block(processes: list, offset: dict, n_bins: dict, lookup: dict, slots: dict) -> Block:
    """Cells, pairs and hists of these processes; their values are filled in later."""
    cell_process, cell_bin, factors, pair_process, pair_alpha, hist_cell, hist_alpha = [], [], [], [], [], [], []
    for p, (channel, sample, slot) in enumerate(processes):
        first, n = len(cell_bin), n_bins[channel]
        cell_process += [p] * n
        cell_bin += range(offset[channel], offset[channel] + n)
        if sample is not None:
            linear = _linear_keys(sample)
            norms = [m["name"] for m in sample["modifiers"] if m["type"] == "normsys"]
            hists = [m["name"] for m in sample["modifiers"] if m["type"] == "histosys"]
        else:
            linear, norms, hists = slot[1], sorted(slots[slot]["normsys"]), sorted(slots[slot]["histosys"])
        for i in range(n):
            keys = {"staterror": offset[channel] + i, "shapesys": offset[channel] + i, "shapefactor": i}
            factors.append([lookup[name][keys.get(kind, -1)] for kind, name in linear])
        pair_process += [p] * len(norms)
        pair_alpha += [lookup[name][-1] for name in norms]
        for name in hists:
            hist_cell += range(first, first + n)
            hist_alpha += [lookup[name][-1]] * n
    ranks = max((len(f) for f in factors), default=0)
    table = np.array([f + [-1] * (ranks - len(f)) for f in factors], np.intp).reshape(len(factors), ranks).T
    integers = [np.array(x, np.intp) for x in (cell_process, cell_bin, pair_process, pair_alpha, hist_cell, hist_alpha)]
    empty = np.empty(0)
    return Block(
        integers[0],
        integers[1],
        empty,
        table,
        integers[2],
        integers[3],
        empty,
        empty,
        integers[4],
        integers[5],
        empty,
        empty,
        len(processes),
    )


def _fill_shared(block: Block, common: list[tuple[str, dict]], lookup: dict) -> None:
    block.nominal = np.array([x for _, s in common for x in s["data"]], float)
    norms = [m["data"] for _, s in common for m in s["modifiers"] if m["type"] == "normsys"]
    hists = [m["data"] for _, s in common for m in s["modifiers"] if m["type"] == "histosys"]
    block.hi, block.lo = np.array([m["hi"] for m in norms], float), np.array([m["lo"] for m in norms], float)
    hi = np.array([x for m in hists for x in m["hi_data"]], float)
    lo = np.array([x for m in hists for x in m["lo_data"]], float)
    block.symmetric, block.asymmetric = 0.5 * (hi - lo), 0.5 * (hi + lo) - block.nominal[block.hist_cell]
    _drop_idle(block)


def _fill_own(block: Block, own: list[list[tuple[str, dict]]], slots: list[tuple], lookup: dict) -> None:
    n_hypotheses, n_cells, n_pairs, n_hists = len(own), len(block.cell_bin), len(block.pair_alpha), len(block.hist_cell)
    slot_of = {slot: i for i, slot in enumerate(slots)}
    first_cell = np.searchsorted(block.cell_process, np.arange(len(slots))).tolist()
    pair_of = {
        pair: i for i, pair in enumerate(zip(block.pair_process.tolist(), block.pair_alpha.tolist(), strict=True))
    }
    hist_of: dict[tuple[int, int], int] = {}
    for i, (cell, alpha) in enumerate(zip(block.hist_cell.tolist(), block.hist_alpha.tolist(), strict=True)):
        hist_of.setdefault((int(block.cell_process[cell]), alpha), i)
    block.nominal = np.zeros((n_hypotheses, n_cells))
    block.hi, block.lo = np.ones((n_hypotheses, n_pairs)), np.ones((n_hypotheses, n_pairs))
    block.symmetric, block.asymmetric = np.zeros((n_hypotheses, n_hists)), np.zeros((n_hypotheses, n_hists))
    for h, samples in enumerate(own):
        count: dict[tuple, int] = {}
        pairs: list[tuple[int, float, float]] = []
        where: list[int] = []
        high: list[float] = []
        low: list[float] = []
        for channel, sample in samples:
            key = (channel, _linear_keys(sample))
            count[key] = count.get(key, -1) + 1
            slot, n = slot_of[(*key, count[key])], len(sample["data"])
            block.nominal[h, first_cell[slot] : first_cell[slot] + n] = sample["data"]
            for m in sample["modifiers"]:
                if m["type"] == "normsys":
                    pairs.append((pair_of[slot, lookup[m["name"]][-1]], m["data"]["hi"], m["data"]["lo"]))
                elif m["type"] == "histosys":
                    i = hist_of[slot, lookup[m["name"]][-1]]
                    where += range(i, i + n)
                    high += m["data"]["hi_data"]
                    low += m["data"]["lo_data"]
        if pairs:
            i, hi, lo = zip(*pairs, strict=True)
            block.hi[h, i], block.lo[h, i] = hi, lo
        up, down = np.array(high, float), np.array(low, float)
        block.symmetric[h, where] = 0.5 * (up - down)
        block.asymmetric[h, where] = 0.5 * (up + down) - block.nominal[h, block.hist_cell[where]]
    _drop_idle(block)


def _drop_idle(block: Block) -> None:
    """Leave out variations that change nothing in any hypothesis; published workspaces have thousands."""
    axes = tuple(range(block.hi.ndim - 1))
    keep = ((block.hi != 1) | (block.lo != 1)).any(axes)
    block.pair_process, block.pair_alpha = block.pair_process[keep], block.pair_alpha[keep]
    block.hi, block.lo = block.hi[..., keep], block.lo[..., keep]
    keep = ((block.symmetric != 0) | (block.asymmetric != 0)).any(axes)
    block.hist_cell, block.hist_alpha = block.hist_cell[keep], block.hist_alpha[keep]
    block.symmetric, block.asymmetric = block.symmetric[..., keep], block.asymmetric[..., keep]


def _check_expectation(model: Model) -> None:
    """No bin may expect nothing and observe something: the likelihood would be zero whatever the parameters."""
    signal = []
    varied = np.zeros(model.data.shape, bool)  # (H, B): a background that some parameter can make non-zero
    model.has_signal = np.zeros(len(model.names), bool)
    for block in (model.shared, model.own):
        with_poi = (block.factors == model.poi).any(0)
        cells = np.atleast_2d(block.nominal != 0)
        moved = np.zeros(cells.shape, bool)
        np.logical_or.at(
            moved, (slice(None), block.hist_cell), np.atleast_2d((block.symmetric != 0) | (block.asymmetric != 0))
        )
        cells = cells | moved
        model.has_signal |= (cells & with_poi).any(1)
        signal.append(with_poi)
        for cell in np.flatnonzero(~with_poi):
            varied[:, block.cell_bin[cell]] |= cells[:, cell]
    if model.poi < model.n_alpha:
        model.has_signal[:] = True
    bad = np.argwhere(~varied & (model.data > 0))
    if len(bad):
        h, b = bad[0]
        raise WorkshopError(
            looked_at=f"bin {model.bins[b]} of {model.names[h]}",
            expected="a background above zero where something was observed",
            found=f"{model.data[h, b]:g} observed and no background expected: the likelihood without a signal is zero",
            next_step="merge the bin with a neighbour, or mend its yields",
        )
