"""The updates of every parameter, added up over the steps of an epoch on the device."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

Array = jax.Array | np.ndarray  # on the device, or read from it

# Bin edges of |update|, six per decade. Two more bins contain smaller values, including zero, and larger ones.
MAGNITUDE_EDGES = np.logspace(-9, 1, 61).astype(np.float32)
# Bin edges of the share of steps at which an update changed its sign.
RATE_EDGES = np.linspace(0, 1, 21).astype(np.float32)


class UpdateSums(NamedTuple):
    """The sums so far in an epoch. The first axis is the phase of the step's loss: below, above."""

    steps: jax.Array  # [2], int32
    magnitudes: jax.Array  # [2, 62], float32: sum over steps of the share of parameters in each bin of |update|
    moved: jax.Array  # [2, parameters], float32: sum over steps of |update|
    changed: jax.Array  # [2, parameters], int32: steps whose update had the other sign than the step before


class Directions(NamedTuple):
    """The summary of an epoch. If there are two rows, they are the phase of the step's loss: below, above.

    Slow and frequent are the halves of the parameters by the number of sign changes in the whole epoch: slow are those
    with at most the median number. All but the steps are float32, and NaN if no step or no parameter counts.
    """

    steps: Array  # [2], int32
    magnitudes: Array  # [2, 62], share of parameters in each bin of |update|, mean over steps
    mean_update: Array  # [2], mean of |update| over parameters and steps
    sign_changes: Array  # [2], share of parameters whose update changed its sign since the last step, mean over steps
    change_rates: Array  # [2, 20], share of parameters in each bin of their own share of steps with a sign change
    rate_share: Array  # [20], share of parameters in each bin of that share over both phases
    rate_update: Array  # [2, 20], mean of |update| of the parameters in each bin of `rate_share`
    slow_share: Array  # shape=(), share of parameters that are slow
    slow_update: Array  # [2], mean of |update| of the slow parameters
    frequent_update: Array  # [2], of the others


def empty(params: optax.Params) -> UpdateSums:
    """The sums over no steps."""
    number = sum(leaf.size for leaf in jax.tree.leaves(params))
    return UpdateSums(
        steps=jnp.zeros(2, jnp.int32),
        magnitudes=jnp.zeros((2, len(MAGNITUDE_EDGES) + 1), jnp.float32),
        moved=jnp.zeros((2, number), jnp.float32),
        changed=jnp.zeros((2, number), jnp.int32),
    )


def add(sums: UpdateSums, magnitude: jax.Array, changed: jax.Array, below: jax.Array) -> UpdateSums:
    """Add one step.

    Args:
      sums: The steps before.
      magnitude: |update| of all parameters; [parameters], float32.
      changed: Which of them have the other sign than at the step before; [parameters], bool.
      below: Whether the loss fell below the mean; shape=(), bool.
    """
    phase = jnp.where(below, 0, 1)
    bins = jnp.searchsorted(jnp.asarray(MAGNITUDE_EDGES), magnitude, side="right")
    # Sum shares instead of counts, because over an epoch of a large network the counts would overflow int32.
    shares = _histogram(bins, len(MAGNITUDE_EDGES) + 1)
    return UpdateSums(
        steps=sums.steps.at[phase].add(1),
        magnitudes=sums.magnitudes.at[phase].add(shares),
        moved=sums.moved.at[phase].add(magnitude),
        changed=sums.changed.at[phase].add(changed.astype(jnp.int32)),
    )


def summary(sums: UpdateSums) -> Directions:
    """Sum up an epoch."""
    steps = sums.steps.astype(jnp.float32)[:, None]
    total = sums.changed.sum(axis=0)
    bins = _rate_bins(total, sums.steps.sum())
    rate_share = _histogram(bins, len(RATE_EDGES) - 1)
    mean_update = sums.moved / steps  # of each parameter
    slow = total <= jnp.quantile(total.astype(jnp.float32), 0.5, method="lower").astype(jnp.int32)

    change_rates = [
        _histogram(_rate_bins(*phase), len(RATE_EDGES) - 1) for phase in zip(sums.changed, sums.steps, strict=True)
    ]

    def mean_of_bin(values: jax.Array) -> jax.Array:
        sums = jnp.bincount(bins, values, length=len(RATE_EDGES) - 1)
        return sums / len(bins) / rate_share

    return Directions(
        steps=sums.steps,
        magnitudes=sums.magnitudes / steps,
        mean_update=mean_update.mean(axis=1),
        sign_changes=(sums.changed.astype(jnp.float32) / steps).mean(axis=1),
        change_rates=jnp.where(steps > 0, jnp.stack(change_rates), jnp.nan),
        rate_share=rate_share,
        rate_update=jnp.stack([mean_of_bin(values) for values in mean_update]),
        slow_share=slow.astype(jnp.float32).mean(),
        slow_update=mean_update.mean(axis=1, where=slow),
        frequent_update=mean_update.mean(axis=1, where=~slow),
    )


def _rate_bins(changed: jax.Array, steps: jax.Array) -> jax.Array:
    """The bin of `RATE_EDGES` of each parameter's share of steps. The last bin includes its right edge."""
    number = len(RATE_EDGES) - 1
    # Use whole numbers, so that a share on an edge falls on the same side on every device.
    return jnp.minimum(changed * number // jnp.maximum(steps, 1), number - 1)


def _histogram(bins: jax.Array, number: int) -> jax.Array:
    """The share of the parameters in each bin; [number], float32."""
    return jnp.bincount(bins, length=number).astype(jnp.float32) / len(bins)
