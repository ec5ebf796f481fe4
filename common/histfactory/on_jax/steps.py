"""The quasi-Newton step of one row, as in `quasi_newton.py` and `gauss_newton.py` of `histfactory.minimise`.

Those modules give the sources of the algorithms. Sizes are those of `model.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from histfactory.minimise.quasi_newton import MAX_STEP, MAX_STOPS
from histfactory.on_jax.likelihood import Point, ratio_or_zero, sum_in_bins
from histfactory.on_jax.model import Array, Common, Hypothesis, Sizes


class Pairs(NamedTuple):
    """The last two secant pairs, the older first (L-BFGS)."""

    step: Array  # (2, P)
    change: Array  # (2, P) of the gradient
    inverse_product: Array  # (2,) 1 / (step . change); 0 for a pair that is not used


class Step(NamedTuple):
    """A step, to be subtracted from theta, and what belongs to it."""

    step: Array  # (P,)
    predicted_decrease: Array  # () the product with the gradient
    inverse_product: Array  # (2,) of the secant pairs; zeros if the step does without them
    free: Array  # (P,) 1 for a parameter that may change, else 0


class GaussNewton(NamedTuple):
    """The system D + J^T W J, factorised; `histfactory.minimise.gauss_newton` has the algebra."""

    inverse: Array  # (P,) of the diagonal of D; 0 for a parameter that is not free
    local: Array  # (T,) D^-1 J of the local parameters, each in its only bin
    root: Array  # (B,) the root of W' = W without what the local parameters absorb
    a: Array  # (B, S) A = W'^(1/2) J of the shared parameters
    scaled: Array  # (B, S) A D^-1, in a system in the bins
    cholesky: Array  # of 1 + A D^-1 A^T (B, B), or of D + A^T A (S, S) if there are fewer shared parameters than bins


def gauss_newton(
    sizes: Sizes, common: Common, hypothesis: Hypothesis, data: Array, point: Point, free: Array
) -> GaussNewton:
    """The system of one row at `point`, without the parameters that are not free (P,)."""
    n_shared = sizes.n_shared
    prior = hypothesis.precision + 1e-9 + hypothesis.tau
    inverse = free / jnp.maximum(point.diagonal + 1e-9, 0.2 * prior)
    weight = ratio_or_zero(data, point.nu * point.nu)
    local = inverse[n_shared:] * point.jacobian_local
    root = jnp.sqrt(weight / (1 + weight * sum_in_bins(common, local * point.jacobian_local)))
    a, shared = point.jacobian * root[:, None], inverse[:n_shared]
    if len(data) <= n_shared:
        scaled = a * shared
        matrix = scaled @ a.T + jnp.eye(len(data))
    else:
        is_free = shared > 0
        a = scaled = a * is_free
        matrix = a.T @ a + jnp.diag(jnp.where(is_free, 1 / jnp.where(is_free, shared, 1.0), 1.0))
    return GaussNewton(inverse, local, root, a, scaled, jnp.linalg.cholesky(matrix))


def solve(sizes: Sizes, common: Common, system: GaussNewton, gradients: Array) -> Array:
    """(D + J^T W J)^-1 gradients, both (P, n)."""
    n_shared, root, a = sizes.n_shared, system.root[:, None], system.a
    of_local = sum_in_bins(common, system.local[:, None] * gradients[n_shared:]) * root
    plain = system.inverse[:, None] * gradients

    def inner(right: Array) -> Array:
        y = lax.linalg.triangular_solve(system.cholesky, right, left_side=True, lower=True)
        return lax.linalg.triangular_solve(system.cholesky, y, left_side=True, lower=True, transpose_a=True)

    if len(root) <= n_shared:
        z = inner(a @ plain[:n_shared] + of_local)
        shared, in_bins = plain[:n_shared] - system.scaled.T @ z, z * root
    else:
        is_free = system.inverse[:n_shared, None] > 0
        shared = inner(jnp.where(is_free, gradients[:n_shared], 0.0) - a.T @ of_local)
        in_bins = (a @ shared + of_local) * root
    return jnp.concatenate([shared, plain[n_shared:] - system.local[:, None] * in_bins[common.local_bin]])


def quasi_newton_step(
    sizes: Sizes,
    common: Common,
    hypothesis: Hypothesis,
    data: Array,
    free: Array,
    theta: Array,
    point: Point,
    pairs: Pairs,
) -> Step:
    """`_Batch.step` from theta (P,), without `_stop_at_bounds`."""
    gradient = point.gradient
    outward = ((theta <= hypothesis.lower) & (gradient > 0)) | ((theta >= hypothesis.upper) & (gradient < 0))
    free = free * ~outward
    system = gauss_newton(sizes, common, hypothesis, data, point, free)
    q, products = gradient * free, []
    for i in (1, 0):
        products.append(pairs.inverse_product[i] * (pairs.step[i] * q).sum())
        q = q - products[-1] * pairs.change[i] * free
    both = solve(sizes, common, system, jnp.stack([q, gradient * free], 1))
    step, without_pairs = both[:, 0], both[:, 1]
    for i, product in zip((0, 1), reversed(products), strict=True):
        along = pairs.inverse_product[i] * (pairs.change[i] * free * step).sum()
        step = step + free * pairs.step[i] * (product - along)
    predicted = (step * gradient).sum()
    uphill = ~(predicted >= 0)
    return Step(
        jnp.where(uphill, without_pairs, step),
        jnp.where(uphill, (without_pairs * gradient).sum(), predicted),
        jnp.where(uphill, 0.0, pairs.inverse_product),
        free,
    )


def stop_at_bounds(
    sizes: Sizes, common: Common, hypothesis: Hypothesis, data: Array, theta: Array, point: Point, planned: Step
) -> Array:
    """`_Batch._stop_at_bounds`: the step (P,) without crossing bounds."""
    gradient, n_shared = point.gradient, sizes.n_shared
    weight = ratio_or_zero(data, point.nu * point.nu)

    def product(vector: Array) -> Array:
        change = point.jacobian @ vector[:n_shared] + sum_in_bins(common, point.jacobian_local * vector[n_shared:])
        change = weight * change
        return jnp.concatenate([change @ point.jacobian, point.jacobian_local * change[common.local_bin]])

    def stop_first(_: int, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        stopped, others, step = carry
        reached = jnp.clip(theta - step, hypothesis.lower, hypothesis.upper)
        crosses = (theta - step != reached) & (others > 0)
        fraction = jnp.where(crosses, (theta - reached) / jnp.where(crosses, step, 1.0), jnp.inf)
        is_first = crosses & (jnp.arange(len(step)) == jnp.argmin(fraction))
        stopped, others = jnp.where(is_first, theta - reached, stopped), jnp.where(is_first, 0.0, others)
        system = gauss_newton(sizes, common, hypothesis, data, point, others)
        following = solve(sizes, common, system, ((gradient - product(stopped)) * others)[:, None])[:, 0]
        new = jnp.where(others > 0, following, stopped)
        return stopped, others, jnp.where(crosses.any(), new, step)

    start = jnp.zeros_like(theta), planned.free, planned.step
    new = lax.fori_loop(0, MAX_STOPS, stop_first, start)[2]
    return jnp.where((new * gradient).sum() > 0, new, planned.step)


def first_length(sizes: Sizes, hypothesis: Hypothesis, theta: Array, step: Array) -> Array:
    """`_Batch._first_length`: the fraction of the step to try first, ()."""
    poi = sizes.poi
    longest = jnp.abs(step[: sizes.n_alpha]).max(initial=0.0)
    length = jnp.minimum(1.0, MAX_STEP / jnp.maximum(longest, 1e-12))
    bound = jnp.where(step[poi] > 0, hypothesis.lower[poi], hypothesis.upper[poi])
    distance = theta[poi] - bound
    limited = jnp.minimum(length, distance / jnp.where(step[poi] == 0, 1.0, step[poi]))
    return jnp.where((distance != 0) & (step[poi] != 0), limited, length)
