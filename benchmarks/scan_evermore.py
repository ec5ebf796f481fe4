"""Exercise 1's generated search with evermore and optimistix (JAX), vectorised over its hypotheses, as a peer of the scan.

    python benchmarks/scan_evermore.py               # prints JSON: seconds of the first and of later scans, CLs
    python benchmarks/scan.py --peer-only            # compares it with ours, cold (a new process) and warm

evermore 0.4 interpolates normsys as CMS Combine does, not as pyhf's code 4, so CLs may differ in the fourth digit.
"""

from __future__ import annotations

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "common"))

import evermore as evm
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
from jax.scipy.special import log_ndtr

from workshop.runs import search

jax.config.update("jax_enable_x64", True)
RUNS = 5
ALPHAS = ("scale", "shape", "theory", "transfer")


def modified(counts, modifiers):
    """The counts with all modifiers. evermore's own composition (`@`) cannot be traced by optimistix."""
    parts = [modifier.offset_and_scale(counts) for modifier in modifiers]
    scale = jnp.ones_like(counts)
    for part in parts:
        scale = scale * part.scale
    return (counts + sum(part.offset for part in parts)) * scale


def main() -> int:
    workspace, patchset = search.generate(np.random.default_rng(20))
    background = workspace["channels"][0]["samples"][0]
    shape = next(modifier["data"] for modifier in background["modifiers"] if modifier["type"] == "histosys")
    nominal, up, down = (jnp.array(x) for x in (background["data"], shape["hi_data"], shape["lo_data"]))
    data = jnp.array([count for observation in workspace["observations"] for count in observation["data"]])
    signals = jnp.array([patch["patch"][0]["value"]["data"] for patch in patchset["patches"]])
    n_bins = len(nominal)

    def expected(theta, mu, signal):
        """Counts of the 10 + 1 bins; theta: four alphas, ten pulls of staterror, the normalisation."""
        alpha = {name: evm.NormalParameter(value=theta[i]) for i, name in enumerate(ALPHAS)}
        gammas = evm.NormalParameter(value=theta[4 : 4 + n_bins])
        norm = evm.Parameter(value=theta[-1])
        of_background = (
            alpha["scale"].scale_log_asymmetric(up=1.03, down=0.97),
            alpha["shape"].morphing(up, down),
            gammas.scale(slope=0.04, offset=1.0),
            norm.scale(),
        )
        of_signal = (
            evm.Parameter(value=mu).scale(),
            alpha["scale"].scale_log_asymmetric(up=1.05, down=0.95),
            alpha["theory"].scale_log_asymmetric(up=1.1, down=0.9),
        )
        of_control = norm.scale(), alpha["transfer"].scale_log_asymmetric(up=1.05, down=0.95)
        region = modified(nominal, of_background) + modified(signal, of_signal)
        return jnp.concatenate([region, modified(jnp.array([400.0]), of_control)])

    def nll(theta, mu, signal, counts, auxiliary):
        log_l = evm.pdf.PoissonContinuous(lamb=expected(theta, mu, signal)).log_prob(counts).sum()
        constraints = evm.loss.get_log_probs({"pulls": evm.NormalParameter(value=theta[:-1] - auxiliary)})
        return -log_l - sum(jnp.sum(value) for value in jax.tree.leaves(constraints))

    solver = optimistix.BFGS(rtol=1e-8, atol=1e-8)

    def minimise(function, start):
        result = optimistix.minimise(lambda y, _: function(y), solver, start, max_steps=200, throw=False)
        return result.value, function(result.value)

    start = jnp.zeros(5 + n_bins).at[-1].set(1.0)
    no_pulls = jnp.zeros(4 + n_bins)

    def limits(signal, null, null_nll):
        asimov, auxiliary = expected(null, 0.0, signal), null[:-1]
        tested = minimise(lambda theta: nll(theta, 1.0, signal, data, no_pulls), null)[1]
        free, best = minimise(
            lambda x: nll(x[:-1], x[-1], signal, data, no_pulls), jnp.concatenate([null, jnp.array([0.5])])
        )
        mu_hat, best = jnp.where(free[-1] < 0, 0.0, free[-1]), jnp.where(free[-1] < 0, null_nll, best)
        tested_asimov = minimise(lambda theta: nll(theta, 1.0, signal, asimov, auxiliary), null)[1]
        q = jnp.where(mu_hat > 1, 0.0, jnp.maximum(2 * (tested - best), 0))
        q_asimov = jnp.maximum(2 * (tested_asimov - nll(null, 0.0, signal, asimov, auxiliary)), 1e-12)
        s, a = jnp.sqrt(q), jnp.sqrt(q_asimov)
        x = jnp.where(s > a, (q + q_asimov) / (2 * a), s)
        y = jnp.where(s > a, (q - q_asimov) / (2 * a), s - a)
        n_sigma = jnp.arange(-2.0, 3.0)
        expected_cls = jnp.exp(log_ndtr(n_sigma - a) - log_ndtr(n_sigma))
        return jnp.concatenate([jnp.exp(log_ndtr(-x) - log_ndtr(-y))[None], expected_cls])

    @jax.jit
    def scan(signals):
        null, null_nll = minimise(lambda theta: nll(theta, 0.0, signals[0], data, no_pulls), start)
        return jax.vmap(lambda signal: limits(signal, null, null_nll))(signals)

    seconds = []
    for _ in range(1 + RUNS):
        start_time = time.perf_counter()
        cls = np.asarray(scan(signals).block_until_ready())
        seconds.append(time.perf_counter() - start_time)
    print(json.dumps({"first_s": seconds[0], "later_s": seconds[1:], "cls": cls.tolist()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
