"""Reads the phase from an optimizer state."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import optax

from lcam_optax._hyperparams import LossControlledState
from lcam_optax._scalars import copied
from lcam_optax._scale_by_lcam import ScaleByLcamState


class PhaseReading(NamedTuple):
    """What `read_phase` returns."""

    momentum: jax.Array  # shape=(), float32; momentum of the next update, or of the last one without delay
    loss_mean: jax.Array | None  # shape=(), float32; None if the phase has no mean (`random_phase`)
    below: jax.Array  # shape=(), bool; whether the last finite loss fell below its reference


def read_phase(opt_state: optax.OptState) -> PhaseReading:
    """Read momentum, loss mean and side from an optimizer state, at any depth of chains and wrappers.

    With `delay=True`, the default, a state contains the momentum of the NEXT update. To log the momentum that a step
    uses, read it before `update`. Read the loss mean and the side after `update`: they include the loss of the step.

    Args:
      opt_state: A pytree that contains the state of one `scale_by_lcam` or of one `loss_controlled` hyper-parameter: an
        optimizer state, the `opt_state` of a `flax.nnx.Optimizer`, or a whole Flax Linen `TrainState`.

    Returns:
      A `PhaseReading` of scalars, with a leading axis for a state vmapped over seeds. They are copies on the device and
      stay valid after the state is donated. Under `jit` they cost nothing. For `loss_controlled`, `momentum` is the
      controlled value.

    Raises:
      ValueError: If there is no such state, or more than one. Then pass the part of the state that you mean.

    Examples:
      >>> import jax.numpy as jnp, lcam_optax
      >>> tx = lcam_optax.lcam(0.1, lcam_optax.epoch_mean(10), momentum_below=0.9, momentum_above=0.95)
      >>> params = jnp.ones(2)
      >>> state = tx.init(params)
      >>> used = lcam_optax.read_phase(state).momentum
      >>> updates, state = tx.update(params, state, params, value=2.0)
      >>> reading = lcam_optax.read_phase(state)
      >>> print(f"used {used:.2f}, next {reading.momentum:.2f}, loss mean {reading.loss_mean}, below {reading.below}")
      used 0.90, next 0.95, loss mean 2.0, below False
    """
    kinds = (ScaleByLcamState, LossControlledState)

    def is_found(node: Any) -> bool:
        return isinstance(node, kinds)

    found = [node for node in jax.tree.leaves(opt_state, is_leaf=is_found) if is_found(node)]
    if len(found) != 1:
        raise ValueError(
            f"Expected an optimizer state with one LCAM phase in it, found {len(found)}. "
            + ("Pass the part of the state that you mean." if found else "Is this the state of an LCAM optimizer?")
        )
    state = found[0]
    loss_mean = getattr(state.phase_state, "loss_mean", None)
    return PhaseReading(
        momentum=copied(state.momentum if isinstance(state, ScaleByLcamState) else state.controlled_value),
        loss_mean=None if loss_mean is None else copied(loss_mean),
        below=copied(state.below),
    )
