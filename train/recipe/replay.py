"""SGD whose momenta are fixed before the run: the optimizer of the controls."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class ReplayedMomentumState(NamedTuple):
    """State of `scale_by_replayed_momentum`."""

    trace: optax.Updates  # like the parameters
    momenta: jax.Array  # [steps], float32; the momentum of every step of the run
    replay_step: jax.Array  # shape=(), int32; updates made


def scale_by_replayed_momentum(momenta: jax.typing.ArrayLike) -> optax.GradientTransformation:
    r"""Trace of the updates whose decay is read from an array: :math:`b_t = \mu_t b_{t-1} + g_t`.

    The state contains the momenta. So one program serves all seeds and arms, and a checkpoint contains them.

    Args:
      momenta: The momentum of every step, float32 [steps]. Only `init` reads it.

    Returns:
      An `optax.GradientTransformation`.
    """

    def init_fn(params: optax.Params) -> ReplayedMomentumState:
        return ReplayedMomentumState(
            trace=optax.tree.zeros_like(params),
            momenta=jnp.asarray(momenta, jnp.float32),
            replay_step=jnp.zeros((), jnp.int32),
        )

    def update_fn(
        updates: optax.Updates, state: ReplayedMomentumState, params: Any = None
    ) -> tuple[optax.Updates, ReplayedMomentumState]:
        del params
        momentum = state.momenta[state.replay_step]
        trace = jax.tree.map(lambda g, held: g + momentum.astype(held.dtype) * held, updates, state.trace)
        return trace, ReplayedMomentumState(trace, state.momenta, optax.safe_increment(state.replay_step))

    return optax.GradientTransformation(init_fn, update_fn)


def replayed_momentum(opt_state: optax.OptState) -> jax.Array:
    """Read the momentum of the next update from an optimizer state; shape=(), float32."""
    return optax.tree.get(opt_state, "momenta")[optax.tree.get(opt_state, "replay_step")]
