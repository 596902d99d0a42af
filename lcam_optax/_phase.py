"""The phase: on which side of a running average of the losses the last loss fell.

A phase is a pair of pure functions over scalars. It does not depend on parameters or momenta, so the optimizer, the
hyper-parameter schedule and the controls share it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lcam_optax._checks import require_unit_interval, require_whole
from lcam_optax._scalars import counter, incremented, moved_mean, scalar

PhaseState = Any


class Phase(NamedTuple):
    """A rule that puts each loss below or above a reference, such as a running mean.

    Attributes:
      init: `init() -> state`.
      update: `update(loss, state) -> (below, state)`. `loss` is a float scalar of shape (), `below` a
        boolean scalar of shape (). A loss that is not finite must leave the reference unchanged; its `below` is not
        used.
    """

    init: Callable[[], PhaseState]
    update: Callable[[jax.Array, PhaseState], tuple[jax.Array, PhaseState]]


class EpochMeanState(NamedTuple):
    """State of `epoch_mean`."""

    loss_mean: jax.Array  # shape=(), float32; mean of the finite losses of this epoch so far
    loss_count: jax.Array  # shape=(), int32; number of losses in that mean
    epoch_step: jax.Array  # shape=(), int32; steps made in this epoch, 0 when a new one begins


class EmaState(NamedTuple):
    """State of `ema`."""

    loss_mean: jax.Array  # shape=(), float32; bias-corrected exponential average
    loss_count: jax.Array  # shape=(), int32; number of losses in that average


class WindowState(NamedTuple):
    """State of `window`."""

    loss_mean: jax.Array  # shape=(), float32; mean of the last losses
    loss_count: jax.Array  # shape=(), int32; number of finite losses seen
    recent_losses: jax.Array  # shape=(size,), float32; ring buffer, zero where empty


def require_phase(phase: Any) -> None:
    """Refuse anything but a `Phase`, such as a number of steps or the function that makes a phase."""
    if not isinstance(phase, Phase):
        raise TypeError(f"phase must be a Phase, such as lcam_optax.epoch_mean(steps_per_epoch), got {phase!r}.")


def epoch_mean(steps_per_epoch: jax.typing.ArrayLike) -> Phase:
    r"""The mean of this epoch's losses, including the current one: the phase of the LCAM paper.

    .. math::

      \bar\ell_i = \frac{1}{i + 1} \sum_{j=0}^{i} \ell_j, \qquad
      \text{below}_i = [\ell_i < \bar\ell_i]

    with :math:`i` counted from 0 in each epoch. The first loss of an epoch equals its mean, so it is never below.
    The mean is updated incrementally, so equal losses tie exactly, also in float32. If a loss equals the mean of
    different losses, a rounding error may put it on either side.

    The epochs are counted in the state:

    - Every call of `update` counts. If `optax.apply_if_finite` hides a call at a bad step, or if you undo a step by
      selecting the old optimizer state after an overflow (`jmp.select_tree`), all later epochs shift.
    - Before you select the old state, give it the new phase:
      `old = optax.tree.set(old, phase_state=optax.tree.get(new, "phase_state"))`.
    - To begin a new epoch yourself:
      `state = optax.tree.set(state, epoch_step=jnp.zeros_like(optax.tree.get(state, "epoch_step")))`. Do this at the
      start of each epoch with `optax.apply_if_finite`, and after a change of `steps_per_epoch`, for example by another
      batch size.

    Args:
      steps_per_epoch: Optimizer steps in an epoch, an int of at least 1; a short last batch counts as one. The mean
        restarts after this number of steps.

    Returns:
      A `Phase`.

    Raises:
      TypeError: If `steps_per_epoch` is not a number.
      ValueError: If it is an array with axes, or a Python number that is not whole, below 1, or too large for an int32.

    Examples:
      >>> import jax.numpy as jnp, lcam_optax
      >>> phase = lcam_optax.epoch_mean(steps_per_epoch=3)
      >>> state = phase.init()
      >>> for loss in (2.0, 1.5, 1.8, 7.0):
      ...     below, state = phase.update(jnp.float32(loss), state)
      ...     print(f"{loss} below {float(state.loss_mean):.4f}: {bool(below)}")
      2.0 below 2.0000: False
      1.5 below 1.7500: True
      1.8 below 1.7667: False
      7.0 below 7.0000: False

    References:
      arXiv 2309.02130; the authors' scripts at github hakumaicc/Asymmetric-Momentum-LCAM.
    """
    require_whole("steps_per_epoch", steps_per_epoch)

    def init() -> EpochMeanState:
        return EpochMeanState(scalar(0.0), counter(), counter())

    def update(loss: jax.Array, state: EpochMeanState) -> tuple[jax.Array, EpochMeanState]:
        finite = jnp.isfinite(loss)
        held = jnp.where(state.epoch_step == 0, 0, state.loss_count)
        mean = _moved(state.loss_mean, loss, held, (held + 1).astype(loss.dtype))
        new_state = EpochMeanState(
            loss_mean=jnp.where(finite, mean, state.loss_mean),
            loss_count=held + finite.astype(held.dtype),
            # A step counts for the epoch even if its loss is not finite.
            epoch_step=(state.epoch_step + 1) % jnp.asarray(steps_per_epoch, jnp.int32),
        )
        return loss < mean, new_state

    return Phase(init, update)


def ema(decay: jax.typing.ArrayLike) -> Phase:
    r"""A bias-corrected exponential moving average of the losses, never reset.

    .. math::

      \bar\ell_t = \bar\ell_{t-1} + \frac{1 - d}{1 - d^t} (\ell_t - \bar\ell_{t-1})

    including the current loss. This equals an average with decay :math:`d` that starts from zero, divided by
    :math:`1 - d^t`.

    Args:
      decay: Decay rate of the average, a scalar in [0, 1).

    Returns:
      A `Phase`. The first loss equals the average, so it is not below.

    Raises:
      TypeError: If `decay` is not a number.
      ValueError: If it is an array with axes, or a Python number outside [0, 1), also once rounded to float32.
    """
    require_unit_interval("decay", decay)

    def init() -> EmaState:
        return EmaState(scalar(0.0), counter())

    def update(loss: jax.Array, state: EmaState) -> tuple[jax.Array, EmaState]:
        finite = jnp.isfinite(loss)
        d = jnp.asarray(decay, loss.dtype)
        divisor = (1 - d ** (state.loss_count + 1).astype(loss.dtype)) / (1 - d)
        mean = _moved(state.loss_mean, loss, state.loss_count, divisor)
        new_state = EmaState(
            loss_mean=jnp.where(finite, mean, state.loss_mean),
            loss_count=_counted(state.loss_count, finite),
        )
        return loss < mean, new_state

    return Phase(init, update)


def window(size: int) -> Phase:
    """The mean of the last `size` losses, including the current one, never reset.

    Args:
      size: Number of losses in the mean, an int of at least 1. Before that many losses, it is the mean of all. The
        state contains `size` float32 values.

    Returns:
      A `Phase`. The first loss equals the mean, so it is not below.

    Raises:
      TypeError: If `size` is not a number.
      ValueError: If it is not a whole number of at least 1 that fits an int32.
    """
    require_whole("size", size)
    size = int(size)

    def init() -> WindowState:
        return WindowState(scalar(0.0), counter(), jnp.zeros((size,), float))

    def update(loss: jax.Array, state: WindowState) -> tuple[jax.Array, WindowState]:
        finite = jnp.isfinite(loss)
        recent = jnp.asarray(state.recent_losses).at[state.loss_count % size].set(loss)
        held = jnp.minimum(state.loss_count + 1, size)
        # The sum of distances to the current loss makes equal losses tie exactly. The clip keeps the sum finite.
        farthest = jnp.finfo(loss.dtype).max / (2 * size)
        distances = jax.lax.clamp(-farthest, recent - loss, farthest)
        distances = jnp.where(jnp.arange(size, dtype=held.dtype) < held, distances, 0)
        mean = loss + distances.sum() / held.astype(loss.dtype)
        new_state = WindowState(
            loss_mean=jnp.where(finite, mean, state.loss_mean),
            loss_count=_counted(state.loss_count, finite),
            recent_losses=jnp.where(finite, recent, state.recent_losses),
        )
        return loss < mean, new_state

    return Phase(init, update)


def _counted(count: jax.Array, finite: jax.Array) -> jax.Array:
    return jnp.where(finite, incremented(count), count)


def _moved(mean: jax.Array, loss: jax.Array, held: jax.Array, divisor: jax.Array) -> jax.Array:
    """Move a mean towards a loss. The first loss becomes the mean."""
    return jnp.where(held == 0, loss, moved_mean(mean, loss, divisor))
