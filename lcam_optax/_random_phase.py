"""A phase that is drawn at random, whatever the loss is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax

from lcam_optax._checks import is_number, require_scalar_or_schedule, require_seed
from lcam_optax._phase import Phase
from lcam_optax._scalars import at_step, counter, incremented, initial_seed


class RandomPhaseState(NamedTuple):
    """State of `random_phase`."""

    random_seed: jax.Array  # shape=(), uint32
    random_step: jax.Array  # shape=(), int32; draws made


def random_phase(
    probability: jax.typing.ArrayLike | Callable[[jax.Array], jax.typing.ArrayLike],
    seed: jax.typing.ArrayLike,
) -> Phase:
    """Draw the side at random, independently of the loss: the control that shows whether the loss matters.

    Args:
      probability: Probability that a step counts as below: a scalar in [0, 1], or a schedule of the step (an int32
        scalar, from 0), such as the share of steps below in each epoch of an LCAM run.
      seed: An int, or a key such as `jax.random.key(0)`, which is equivalent to the int 0. The draw of step `t` depends
        only on `(seed, t)`. It may be traced, so a `vmap` over seeds draws differently for each seed.

    Returns:
      A `Phase` without a loss mean.

    Raises:
      TypeError: If `probability` is neither a number nor a schedule.
      ValueError: If it is an array with axes or a Python number outside [0, 1]; if `seed` is neither an integer nor a
        typed key.
    """
    require_scalar_or_schedule("probability", probability)
    require_seed(seed)
    if is_number(probability) and not 0 <= probability <= 1:  # type: ignore[operator]
        raise ValueError(f"probability must be in [0, 1], got {probability}.")

    def init() -> RandomPhaseState:
        return RandomPhaseState(initial_seed(seed), counter())

    def update(loss: jax.Array, state: RandomPhaseState) -> tuple[jax.Array, RandomPhaseState]:
        del loss
        key = jax.random.fold_in(jax.random.key(state.random_seed), state.random_step)
        chance = at_step("probability", probability, state.random_step)
        below = jax.random.uniform(key, dtype=chance.dtype) < chance
        return below, RandomPhaseState(state.random_seed, incremented(state.random_step))

    return Phase(init, update)
