"""The minimiser: `histfactory.minimise.fit_batch` for rows that advance together.

NumPy's version drops rows that have ended, and halves the steps of single rows. Compiled code has fixed shapes. So an
iteration evaluates one trial point for every row: a row accepts it and plans its next step, or halves its step. Rows that
have ended stay as they are.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from histfactory.likelihood import TINY
from histfactory.minimise.quasi_newton import HALVINGS, MAX_STEPS
from histfactory.minimise.result import CONVERGED, HIGHER, SAME, TOLERANCE, TOO_MANY_STEPS
from histfactory.on_jax.likelihood import Point, evaluate, expected, fold_depth
from histfactory.on_jax.model import Array, Common, Hypothesis, Sizes
from histfactory.on_jax.steps import Pairs, Step, first_length, quasi_newton_step, stop_at_bounds


class Problem(NamedTuple):
    """What a fit minimises, and the rival whose minimum it should not find again. One row; R rows have a leading axis."""

    data: Array  # (B,)
    auxdata: Array  # (P,)
    free: Array  # (P,) 1 or 0
    rival: Array  # (P,)
    rival_value: Array  # ()
    has_rival: Array  # () bool
    same_basin: Array  # ()


class State(NamedTuple):
    """Where a fit is. One row; R rows have a leading axis."""

    theta: Array  # (P,)
    value: Array  # ()
    gradient: Array  # (P,)
    step: Array  # (P,) to be subtracted, at full length
    length: Array  # () the part of the step to try next
    halvings: Array  # () of this step
    n_steps: Array  # ()
    status: Array  # () as in `histfactory.minimise.Fit`
    active: Array  # () bool
    stays: Array  # () bool: evaluate theta itself, at the start and after a failed step
    retried: Array  # () bool: the last step failed
    careful: Array  # () bool: some step failed
    pairs: Pairs


# Measuring which algorithm is fastest takes longer than the fits, and may choose another one in the next run.
compiled = partial(jax.jit, compiler_options={"xla_gpu_autotune_level": 0})


@compiled
def start(theta: Array, active: Array) -> State:
    """The state (R rows) before the first evaluation at theta (R, P). active (R,): False for rows that only fill up."""
    n_rows, n_parameters = theta.shape
    zero, nothing, no = jnp.zeros(n_rows), jnp.zeros((n_rows, n_parameters)), jnp.zeros(n_rows, bool)
    none = jnp.zeros(n_rows, int)
    return State(
        theta=theta,
        value=jnp.full(n_rows, jnp.inf),
        gradient=nothing,
        step=nothing,
        length=zero,
        halvings=none,
        n_steps=none,
        status=jnp.full(n_rows, TOO_MANY_STEPS),
        active=active,
        stays=~no,
        retried=no,
        careful=no,
        pairs=Pairs(jnp.zeros((n_rows, 2, n_parameters)), jnp.zeros((n_rows, 2, n_parameters)), jnp.zeros((n_rows, 2))),
    )


@partial(compiled, static_argnames="sizes")
def minimise(
    sizes: Sizes, common: Common, hypotheses: Hypothesis, problems: Problem, state: State, stop_at: Array
) -> State:
    """Iterate until at most stop_at rows are active."""

    def go_on(state: State) -> Array:
        return state.active.sum() > stop_at

    return lax.while_loop(go_on, partial(iterate, sizes, common, hypotheses, problems), state)


def iterate(sizes: Sizes, common: Common, hypotheses: Hypothesis, problems: Problem, state: State) -> State:
    """One evaluation of every row (R rows)."""
    each = jax.vmap
    trial, point = each(partial(try_step, sizes, common))(hypotheses, problems, state)
    ok = each(is_acceptable)(state, point)
    moved = each(move)(state, trial, point)

    def plan(hypothesis: Hypothesis, problem: Problem, moved: State, point: Point) -> Step:
        of_row = problem.data, problem.free, moved.theta, point, moved.pairs
        return quasi_newton_step(sizes, common, hypothesis, *of_row)

    def shorten(hypothesis: Hypothesis, problem: Problem, moved: State, point: Point, planned: Step) -> Array:
        return stop_at_bounds(sizes, common, hypothesis, problem.data, moved.theta, point, planned)

    planned = each(plan)(hypotheses, problems, moved, point)
    careful = moved.careful & ok & state.active
    step = lax.cond(  # most batches have no careful row, and these steps are expensive
        careful.any(), lambda: each(shorten)(hypotheses, problems, moved, point, planned), lambda: planned.step
    )
    step = jnp.where(careful[:, None], step, planned.step)
    predicted = jnp.where(careful, (step * point.gradient).sum(1), planned.predicted_decrease)
    planned = planned._replace(step=step, predicted_decrease=predicted)
    accepted = each(partial(after_success, sizes))(hypotheses, problems, moved, planned)
    return each(choose)(state.active, each(choose)(ok, accepted, each(after_failure)(state)), state)


def choose(condition: Array, new: State, old: State) -> State:
    """`new` for a row whose condition is True, else `old`."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def try_step(
    sizes: Sizes, common: Common, hypothesis: Hypothesis, problem: Problem, state: State
) -> tuple[Array, Point]:
    """The trial point (P,) of a row, within its bounds and away from factors of zero, and the likelihood there."""
    new = jnp.clip(state.theta - state.length * state.step, hypothesis.lower, hypothesis.upper)
    is_factor = jnp.arange(len(new)) >= sizes.n_alpha
    new = jnp.where(is_factor & (jnp.abs(new) < TINY), TINY, new)
    new = jnp.where((problem.free == 0) | state.stays, state.theta, new)
    return new, evaluate(sizes, common, hypothesis, problem.data, problem.auxdata, new)


def is_acceptable(state: State, point: Point) -> Array:
    """Whether -log L does not increase. A row that stays accepts any value."""
    highest = state.value + 1e-10 * jnp.maximum(1, jnp.abs(state.value))
    return state.stays | ((point.value <= highest) & jnp.isfinite(point.gradient).all())


def move(state: State, trial: Array, point: Point) -> State:
    """The state at the trial point, with a new secant pair, as in `_Batch.move`."""
    step = jnp.where(state.stays, 0.0, trial - state.theta)
    change = jnp.where(state.stays, 0.0, point.gradient - state.gradient)
    product = (step * change).sum()
    good = product > 1e-10 * jnp.sqrt((step * step).sum() * (change * change).sum()) + 1e-300
    inverse = jnp.where(good, 1 / jnp.where(good, product, 1.0), 0.0)
    older = state.pairs
    return state._replace(
        theta=trial,
        value=point.value,
        gradient=point.gradient,
        halvings=jnp.zeros_like(state.halvings),
        n_steps=state.n_steps + 1,
        stays=jnp.zeros_like(state.stays),
        retried=state.retried & state.stays,
        pairs=Pairs(
            jnp.stack([older.step[1], step]),
            jnp.stack([older.change[1], change]),
            jnp.stack([older.inverse_product[1], inverse]),
        ),
    )


def after_success(sizes: Sizes, hypothesis: Hypothesis, problem: Problem, moved: State, planned: Step) -> State:
    """The moved state with its next step. It is not active if the fit has ended, as in `fit_batch`."""
    predicted = planned.predicted_decrease
    finished = predicted < TOLERANCE
    competes = problem.has_rival & ~finished
    same = competes & (jnp.abs(problem.rival - moved.theta).max() < problem.same_basin)
    out_of_reach = (predicted < 1e-2) & (moved.value - 2 * predicted > problem.rival_value + 1e-6)
    higher = competes & ~same & out_of_reach
    status = jnp.where(finished, CONVERGED, jnp.where(same, SAME, jnp.where(higher, HIGHER, moved.status)))
    return moved._replace(
        step=planned.step,
        length=first_length(sizes, hypothesis, moved.theta, planned.step),
        status=status,
        active=~(finished | same | higher) & (moved.n_steps <= MAX_STEPS),
        pairs=moved.pairs._replace(inverse_product=planned.inverse_product),
    )


def after_failure(state: State) -> State:
    """Half the step. After HALVINGS, one more step from the same point without secant pairs; then the row gives up."""
    failed = state.halvings >= HALVINGS
    return state._replace(
        length=jnp.where(failed, 0.0, 0.5 * state.length),
        halvings=jnp.where(failed, 0, state.halvings + 1),
        stays=failed,
        careful=state.careful | failed,
        retried=state.retried | failed,
        active=~(failed & state.retried),
        pairs=state.pairs._replace(inverse_product=jnp.where(failed, 0.0, state.pairs.inverse_product)),
    )


@partial(compiled, static_argnames="sizes")
def expected_of_rows(sizes: Sizes, common: Common, hypotheses: Hypothesis, theta: Array) -> Array:
    """Expected counts (R, B) at theta (R, P)."""
    return jax.vmap(partial(expected, sizes, common))(hypotheses, theta)


@partial(compiled, static_argnames="sizes")
def fold_depth_of_rows(
    sizes: Sizes, common: Common, hypotheses: Hypothesis, data: Array, free: Array, theta: Array
) -> Array:
    """Fold depths (R, K) at theta (R, P)."""
    return jax.vmap(partial(fold_depth, sizes, common))(hypotheses, data, free, theta)


@compiled
def gather(table: Any, rows: Array) -> Any:
    """These rows of every array in a structure."""
    return jax.tree.map(lambda array: array[rows], table)
