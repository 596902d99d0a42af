"""The LCAM direction: a trace of the updates. The loss picks its decay at each step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lcam_optax._checks import require_unit_interval
from lcam_optax._decision import as_loss, pick
from lcam_optax._phase import Phase, PhaseState, require_phase
from lcam_optax._scalars import ScalarOrSchedule, as_arrays, counter, incremented, initial, wider, working_dtype


class ScaleByLcamState(NamedTuple):
    """State of `scale_by_lcam`: one copy of the parameters and a few scalars."""

    trace: optax.Updates  # like the parameters, in `accumulator_dtype` if given
    momentum: jax.Array  # shape=(), float32; momentum of the next update, or of the last one without delay
    below: jax.Array  # shape=(), bool; whether the last finite loss fell below
    lcam_step: jax.Array  # shape=(), int32; updates made
    phase_state: PhaseState  # the phase's own scalars


def scale_by_lcam(
    phase: Phase,
    momentum_below: ScalarOrSchedule,
    momentum_above: ScalarOrSchedule,
    *,
    nesterov: bool = False,
    delay: bool = True,
    initial_momentum: jax.typing.ArrayLike = 0.9,
    accumulator_dtype: Any | None = None,
    axis_name: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""The LCAM direction: a trace of the updates whose decay the loss picks.

    .. math::

      b_t &= \mu_t b_{t-1} + g_t \\
      \mu_{t+1} &= \begin{cases} \mu_\text{below} & \text{if } \ell_t < \bar\ell_t \\
      \mu_\text{above} & \text{otherwise} \end{cases}

    and :math:`b_t` is the new update (:math:`g_t + \mu_t b_t` with `nesterov`). `phase` computes the mean
    :math:`\bar\ell_t`. Pass the loss as `update(grads, state, params, value=loss)`. The jitted update makes the
    decision, without a host transfer.

    Most wrappers of Optax pass `value` on. `optax.contrib.sam`, `optax.lookahead` and
    `optax.contrib.split_real_and_imaginary` refuse it with Python's own "unexpected keyword argument". Inside
    `optax.chain`, `optax.MultiSteps`, `optax.lookahead` and `optax.contrib.split_real_and_imaginary` drop it. LCAM then
    raises the error below.

    Args:
      phase: The rule that puts each loss below or above a mean, such as `epoch_mean(steps_per_epoch)`.
      momentum_below: Momentum after a loss below the mean, in [0, 1): a float, a scalar array, or a schedule of the
        step (from 0) that uses the momentum. For `optax.inject_hyperparams` see `lcam`.
      momentum_above: Momentum after a loss at or above the mean; the same types as `momentum_below`.
      nesterov: Whether to use Nesterov momentum. The authors do not.
      delay: True: a loss picks the momentum of the NEXT step, as in the authors' code. False: of its own step.
      initial_momentum: Momentum until the first finite loss. With delay, also the momentum of the first step. 0.9 in
        all of the authors' runs.
      accumulator_dtype: Dtype of the trace; None takes the dtype of each parameter. Products with the momentum are
        computed in at least float32, because bfloat16 rounds 0.999 to 1.
      axis_name: Name of the `pmap` or `shard_map` axis (or axes) to average the loss over. Needed there, because
        replicas that decide by their own losses drift apart. Leave it None under `jit` with sharded arrays, where the
        loss is already global.

    Returns:
      An `optax.GradientTransformationExtraArgs`. `update` needs `value`, a real floating scalar: the mean loss of the
      batch that the gradients come from. A value that is not finite leaves mean and momentum unchanged. Other extra
      arguments are ignored.

    Raises:
      ValueError: If a momentum is an array with axes, or a Python number outside [0, 1); from `update`, if `value` is
        no real floating scalar.
      TypeError: If `phase` is not a `Phase`, or a momentum is neither a number nor a schedule; from `update`, if
        `value` is missing, or the state is not an LCAM state.

    Examples:
      >>> import jax, jax.numpy as jnp, lcam_optax, optax
      >>> tx = optax.chain(
      ...     optax.clip_by_global_norm(1.0),
      ...     lcam_optax.scale_by_lcam(lcam_optax.epoch_mean(10), 0.9, 0.95),
      ...     optax.scale_by_learning_rate(0.1),
      ... )
      >>> params = jnp.array([1.0, -2.0])
      >>> state = tx.init(params)
      >>> loss, grads = jax.value_and_grad(lambda p: jnp.sum(p**2))(params)
      >>> updates, state = tx.update(grads, state, params, value=loss)
      >>> print(f"{lcam_optax.read_phase(state).momentum:.2f}")  # the first loss is never below
      0.95

    References:
      arXiv 2309.02130.
    """
    require_phase(phase)
    require_unit_interval("initial_momentum", initial_momentum)
    for name, momentum in (("momentum_below", momentum_below), ("momentum_above", momentum_above)):
        if not callable(momentum):
            require_unit_interval(name, momentum)

    def init_fn(params: optax.Params) -> ScaleByLcamState:
        return ScaleByLcamState(
            trace=optax.tree.zeros_like(params, dtype=accumulator_dtype),
            momentum=initial(initial_momentum),
            below=jnp.zeros((), bool),
            lcam_step=counter(),
            phase_state=phase.init(),
        )

    def update_fn(
        updates: optax.Updates,
        state: ScaleByLcamState,
        params: optax.Params | None = None,
        *,
        value: jax.typing.ArrayLike | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, ScaleByLcamState]:
        del params, extra_args
        require_own_state(state)
        updates, state = as_arrays((updates, state))
        next_step = incremented(state.lcam_step)
        momentum, below, phase_state = pick(
            phase,
            ("momentum_below", momentum_below),
            ("momentum_above", momentum_above),
            loss=as_loss(value, axis_name, "LCAM"),
            step=next_step if delay else state.lcam_step,
            current=state.momentum,
            below=state.below,
            phase_state=state.phase_state,
        )
        in_force = state.momentum if delay else momentum
        new_trace = _decay_and_add(in_force, state.trace, updates)
        direction = _decay_and_add(in_force, new_trace, updates) if nesterov else new_trace
        new_state = ScaleByLcamState(
            trace=_kept(new_trace, state.trace),
            momentum=momentum,
            below=below,
            lcam_step=next_step,
            phase_state=phase_state,
        )
        return direction, new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def require_own_state(state: Any) -> None:
    """Refuse a state of another optimizer, or one restored without its classes; say how to carry a trace over."""
    if not isinstance(state, ScaleByLcamState):
        raise TypeError(
            f"LCAM was given a state that is not its own: expected ScaleByLcamState, got {type(state).__name__}. Make "
            "one by tx.init(params), and restore a saved one into that. To go on from optax.sgd, carry its momentum "
            'buffer over: state = optax.tree.set(tx.init(params), trace=optax.tree.get(sgd_state, "trace")), and with '
            'a schedule of the learning rate its count likewise, count=optax.tree.get(sgd_state, "count"). If a '
            "momentum is a schedule, set lcam_step to the step."
        )


def _decay_and_add(momentum: jax.Array, trace: optax.Updates, updates: optax.Updates) -> optax.Updates:
    """Return momentum * trace + updates per leaf, in the wider of the two dtypes; None stays None."""

    def leaf(update: jax.Array | None, held: jax.Array) -> jax.Array | None:
        if update is None:
            return None
        dtype = working_dtype(update, held)
        total = update.astype(dtype) + momentum.astype(dtype) * held.astype(dtype)
        return total.astype(wider(update, held))

    return jax.tree.map(leaf, updates, trace, is_leaf=lambda x: x is None)


def _kept(trace: optax.Updates, held: optax.Updates) -> optax.Updates:
    """The new trace in the dtype of the old one. Leaves without a gradient keep the old trace."""

    def leaf(new: jax.Array | None, old: jax.Array) -> jax.Array:
        return old if new is None else new.astype(old.dtype)

    return jax.tree.map(leaf, trace, held, is_leaf=lambda x: x is None)
