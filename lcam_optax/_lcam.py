"""LCAM: momentum SGD whose momentum the loss picks at each step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lcam_optax._decision import as_loss, pick
from lcam_optax._hyperparams import LossControlledState
from lcam_optax._phase import Phase, PhaseState, require_phase
from lcam_optax._scalars import ScalarOrSchedule, counter, incremented, initial, require_unit_interval, wider


class ScaleByLcamState(NamedTuple):
    """State of `scale_by_lcam`: one copy of the parameters and a few scalars."""

    trace: optax.Updates  # as the parameters, in `accumulator_dtype` if one was given
    momentum: jax.Array  # shape=(), float32; see `PhaseReading.momentum`
    below: jax.Array  # shape=(), bool; whether the last finite loss fell below
    lcam_step: jax.Array  # shape=(), int32; updates made
    phase_state: PhaseState  # the phase's own scalars


class PhaseReading(NamedTuple):
    """What `phase` reads out of an optimizer state."""

    momentum: jax.Array  # shape=(), float32; with delay that of the next update, else of the last
    loss_mean: jax.Array  # shape=(), float32; NaN where the phase keeps none (`random_phase`)
    below: jax.Array  # shape=(), bool; whether the last finite loss fell below its reference


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
    r"""Trace of the updates whose decay the loss picks: the LCAM direction.

    .. math::

      b_t &= \mu_t b_{t-1} + g_t \\
      \mu_{t+1} &= \begin{cases} \mu_\text{below} & \text{if } \ell_t < \bar\ell_t \\
      \mu_\text{above} & \text{otherwise} \end{cases}

    and :math:`b_t` is the new update (:math:`g_t + \mu_t b_t` with `nesterov`). The mean :math:`\bar\ell_t` is that of
    `phase`. The loss is handed over as `update(grads, state, params, value=loss)` and the decision is made inside the
    jitted update, without a host transfer.

    Args:
      phase: What a loss is compared with, such as `epoch_mean(steps_per_epoch)`.
      momentum_below: Momentum after a loss below the mean, in [0, 1): a float, a scalar array, or a schedule of the
        step (from 0) at which the momentum acts. `optax.inject_hyperparams` reads schedules by itself, a step early:
        name those of momenta in its `static_args`.
      momentum_above: Likewise, after a loss at or above the mean.
      nesterov: Whether to use Nesterov momentum. The authors do not.
      delay: True is the authors' code: a loss picks the momentum of the NEXT step. False lets it act at once.
      initial_momentum: With delay, the momentum of the first step; in any case the one in force until a finite loss
        has been seen. 0.9 in all of the authors' runs.
      accumulator_dtype: Dtype of the trace; None takes each parameter's.
      axis_name: Name of the `pmap` or `shard_map` axis (or axes) to average the loss over. Needed there, because
        replicas that decide by losses of their own drift apart. Under `jit` with sharded arrays the loss is global
        already: leave it None.

    Returns:
      An `optax.GradientTransformationExtraArgs`. `update` needs `value`, a real floating scalar: the mean loss of the
      batch that the gradients come from. A value that is not finite leaves mean and momentum as they were.

    Raises:
      ValueError: If a momentum is a Python number outside [0, 1), or, from `init`, no scalar; from `update`, if `value`
        is no real scalar.
      TypeError: If `phase` is none; from `update`, if there is no `value`.

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
      >>> print(f"{lcam_optax.phase(state).momentum:.2f}")  # the first loss is never below
      0.95

    References:
      arXiv 2309.02130.
    """
    require_phase(phase)
    for name, number in (
        ("momentum_below", momentum_below),
        ("momentum_above", momentum_above),
        ("initial_momentum", initial_momentum),
    ):
        require_unit_interval(name, number)

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
        next_step = incremented(state.lcam_step)
        momentum, below, phase_state = pick(
            phase,
            momentum_below,
            momentum_above,
            loss=as_loss(value, axis_name, "LCAM"),
            step=next_step if delay else state.lcam_step,
            current=state.momentum,
            below=state.below,
            phase_state=state.phase_state,
        )
        in_force = jnp.asarray(state.momentum) if delay else momentum
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


def lcam(
    learning_rate: optax.ScalarOrSchedule,
    phase: Phase,
    momentum_below: ScalarOrSchedule,
    momentum_above: ScalarOrSchedule,
    *,
    nesterov: bool = False,
    delay: bool = True,
    initial_momentum: jax.typing.ArrayLike = 0.9,
    weight_decay: jax.typing.ArrayLike = 0.0,
    weight_decay_mask: Any | Callable[[optax.Params], Any] | None = None,
    accumulator_dtype: Any | None = None,
    axis_name: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""SGD with Loss-Controlled Asymmetric Momentum.

    .. math::

      b_t = \mu_t b_{t-1} + (g_t + \lambda w_t), \qquad w_{t+1} = w_t - \eta_t b_t

    with :math:`\mu_t` picked by the loss, see `scale_by_lcam`. Weight decay is coupled (added to the gradient before
    the momentum), as in the authors' code, where it covers every parameter, biases and batch-norm scales too.

    Args:
      learning_rate: A float or an Optax schedule of the step.
      phase: What a loss is compared with, such as `epoch_mean(steps_per_epoch)`.
      momentum_below: See `scale_by_lcam`.
      momentum_above: See `scale_by_lcam`.
      nesterov: See `scale_by_lcam`.
      delay: See `scale_by_lcam`.
      initial_momentum: See `scale_by_lcam`.
      weight_decay: Strength of the coupled L2 term; with a value other than the Python number 0, `update` needs
        `params`.
      weight_decay_mask: A tree of booleans with the structure of the parameters (or a prefix of it), or a function
        of the parameters that returns one: True where weight decay applies. None is everywhere.
      accumulator_dtype: See `scale_by_lcam`.
      axis_name: See `scale_by_lcam`.

    Returns:
      An `optax.GradientTransformationExtraArgs`; call its `update` with `value=loss`.

    Raises:
      ValueError: See `scale_by_lcam`.
      TypeError: See `scale_by_lcam`.

    Examples:
      >>> import jax, jax.numpy as jnp, lcam_optax, optax
      >>> tx = lcam_optax.lcam(0.1, lcam_optax.epoch_mean(10), momentum_below=0.9, momentum_above=0.95)
      >>> loss_fn = lambda p: jnp.sum((p - 3.0) ** 2)
      >>> params = jnp.zeros(2)
      >>> state = tx.init(params)
      >>> @jax.jit
      ... def step(params, state):
      ...     loss, grads = jax.value_and_grad(loss_fn)(params)
      ...     updates, state = tx.update(grads, state, params, value=loss)
      ...     return optax.apply_updates(params, updates), state, loss
      >>> for _ in range(100):
      ...     params, state, loss = step(params, state)
      >>> print(f"{loss:.3f}")
      0.000

    References:
      arXiv 2309.02130.
    """
    # A constant zero is left out, so that it costs nothing and `update` needs no parameters.
    has_decay = not (isinstance(weight_decay, (int, float)) and weight_decay == 0)
    return optax.chain(
        optax.add_decayed_weights(weight_decay, weight_decay_mask) if has_decay else optax.identity(),
        scale_by_lcam(
            phase,
            momentum_below,
            momentum_above,
            nesterov=nesterov,
            delay=delay,
            initial_momentum=initial_momentum,
            accumulator_dtype=accumulator_dtype,
            axis_name=axis_name,
        ),
        optax.scale_by_learning_rate(learning_rate),
    )


def phase(opt_state: optax.OptState) -> PhaseReading:
    """Read the phase out of an optimizer state, however deep in chains and wrappers it lies.

    Args:
      opt_state: State of an optimizer that holds one `scale_by_lcam` or one `loss_controlled` hyper-parameter.

    Returns:
      A `PhaseReading` of device scalars (with a leading axis for a state vmapped over seeds). For `loss_controlled`,
      `momentum` is the controlled value.

    Raises:
      ValueError: If the state holds none, or several: then hand over the part that you mean.
    """
    kinds = (ScaleByLcamState, LossControlledState)

    def is_found(node: Any) -> bool:
        return isinstance(node, kinds)

    found = [node for node in jax.tree.leaves(opt_state, is_leaf=is_found) if is_found(node)]
    if len(found) != 1:
        raise ValueError(
            f"Expected an optimizer state with one LCAM phase in it, found {len(found)}. "
            + ("Hand over the part of the state that you mean." if found else "Is this the state of an LCAM optimizer?")
        )
    state = found[0]
    value = _plain(state.momentum if isinstance(state, ScaleByLcamState) else state.controlled_value)
    loss_mean = getattr(state.phase_state, "loss_mean", None)
    return PhaseReading(
        momentum=value,
        loss_mean=jnp.full_like(value, jnp.nan) if loss_mean is None else _plain(loss_mean),
        below=_plain(state.below),
    )


def _plain(value: Any) -> Any:
    """The array in a variable of Flax NNX, which would change with the next step; anything else as it is."""
    as_array = getattr(value, "__jax_array__", None)
    return value if as_array is None else as_array()


def _decay_and_add(momentum: jax.Array, trace: optax.Updates, updates: optax.Updates) -> optax.Updates:
    """Return momentum * trace + updates, leaf by leaf in the wider dtype of the two; None stays None."""

    def leaf(update: jax.Array | None, held: jax.Array) -> jax.Array | None:
        if update is None:
            return None
        dtype = wider(update, held)
        return update.astype(dtype) + momentum.astype(dtype) * held.astype(dtype)

    return jax.tree.map(leaf, updates, trace, is_leaf=lambda x: x is None)


def _kept(trace: optax.Updates, held: optax.Updates) -> optax.Updates:
    """The trace to keep, in the dtype that it had; of leaves without a gradient the one held."""

    def leaf(new: jax.Array | None, old: jax.Array) -> jax.Array:
        return old if new is None else new.astype(old.dtype)

    return jax.tree.map(leaf, trace, held, is_leaf=lambda x: x is None)
