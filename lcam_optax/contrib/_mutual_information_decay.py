"""A learning rate that falls as the output tells more about the label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lcam_optax._checks import is_number, real_number, require_scalar, require_whole
from lcam_optax._scalars import as_arrays, as_float, counter, initial

_NOTHING_TOLD = -1.0  # not NaN, at which `jax_debug_nans` would stop


class MutualInformationDecayState(NamedTuple):
    """State of `mutual_information_decay`. With `layers`, the first two fields are dicts with one scalar per layer."""

    current_rate: Any  # shape=(), float32; learning rate of the next update
    last_information: Any  # shape=(), float32; of the last epoch with a finite value, -1 before
    information_step: jax.Array  # shape=(), int32; steps of this epoch made


def mutual_information_decay(
    min_learning_rate: jax.typing.ArrayLike,
    max_learning_rate: jax.typing.ArrayLike,
    *,
    steps_per_epoch: jax.typing.ArrayLike,
    threshold: jax.typing.ArrayLike,
    initial_learning_rate: jax.typing.ArrayLike | None = None,
    layers: Any | Callable[[optax.Params], Any] | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Scale by a learning rate that is set once per epoch, by the mutual information of output and label.

    With :math:`r_e \in [0, 1]` the share of the label's entropy that the output determines in epoch :math:`e`:

    .. math::

      \eta_{e+1} = \begin{cases}
        \eta_e & \text{if } r_e - r_{e-1} > \tau \, r_{e-1} \\
        \min\left( \eta_e, \; \eta_\text{min} + (\eta_\text{max} - \eta_\text{min}) (1 - r_e) \right)
        & \text{otherwise}
      \end{cases}

    The rate stays constant while the information grows by more than the threshold. Otherwise it is lowered: the more
    information, the lower the rate. The first epoch has no previous one and keeps the rate.

    This follows the idea of Vasudevan (2020), not the algorithm. In the paper, mutual information sets the rate once
    per epoch within bounds, for the whole network or for each layer, and the rate stays constant while the information
    changes by more than a threshold. We could not find the paper's estimate of the information, its map from
    information to rate, and its range test. Those are ours.

    Args:
      min_learning_rate: :math:`\eta_\text{min}`, positive. `learning_rate_range` finds both bounds.
      max_learning_rate: :math:`\eta_\text{max}`, at least `min_learning_rate`.
      steps_per_epoch: Updates between two decisions, at least 1.
      threshold: :math:`\tau`, not negative: the relative growth of the information below which the rate is lowered.
      initial_learning_rate: Rate until the first decision; None is `max_learning_rate`.
      layers: None is one rate for the whole network. Otherwise one rate per layer: a tree of labels with the structure
        of the parameters (or a prefix of it), or a function of the parameters that returns one. A function is static:
        name it in the `static_args` of `optax.inject_hyperparams`.

    Returns:
      An `optax.GradientTransformationExtraArgs` for the end of a chain, instead of `optax.scale_by_learning_rate`. Its
      `update` needs `information`, the :math:`r` of `label_information`: a real floating scalar, clipped to [0, 1];
      with `layers`, a dict with one scalar per label. Only the value at the last update of each epoch counts, so each
      update may pass the information of the epoch so far. The new rate applies from the next update on. Information
      that is not finite changes nothing. Other extra arguments, such as the loss as `value`, are ignored.

    Raises:
      ValueError: If a setting is an array with axes, or a Python number out of its range; from `update`, if
        `information` is not a real floating scalar or does not have the labels of `layers`.
      TypeError: If a setting is not a number; from `update`, if `information` is missing.

    Examples:
      >>> import jax.numpy as jnp, optax
      >>> from lcam_optax import contrib
      >>> tx = optax.chain(
      ...     optax.trace(0.9), contrib.mutual_information_decay(0.01, 0.1, steps_per_epoch=1, threshold=0.1)
      ... )
      >>> params = jnp.ones(2)
      >>> state = tx.init(params)
      >>> for information in (0.2, 0.5, 0.52, 0.9, 0.9):
      ...     updates, state = tx.update(jnp.ones(2), state, params, information=information)
      ...     params = optax.apply_updates(params, updates)
      ...     print(f"{optax.tree.get(state, 'current_rate'):.4f}")
      0.1000
      0.1000
      0.0532
      0.0532
      0.0190

    References:
      S. Vasudevan, Mutual Information Based Learning Rate Decay for Stochastic Gradient Descent Training of Deep Neural
      Networks, Entropy 22(5) 560, 2020; the preprint is arXiv 1805.07249.
    """
    start = max_learning_rate if initial_learning_rate is None else initial_learning_rate
    _check_numbers(min_learning_rate, max_learning_rate, start, threshold)
    require_whole("steps_per_epoch", steps_per_epoch)

    def init_fn(params: optax.Params) -> MutualInformationDecayState:
        labels = None if layers is None else sorted(set(jax.tree.leaves(_labels(layers, params))))

        def per_layer(number: jax.typing.ArrayLike) -> Any:
            # One copy per layer: an array in two places of the state could not be donated.
            return initial(number) if labels is None else {label: initial(number) for label in labels}

        return MutualInformationDecayState(per_layer(start), per_layer(_NOTHING_TOLD), counter())

    def update_fn(
        updates: optax.Updates,
        state: MutualInformationDecayState,
        params: optax.Params | None = None,
        *,
        information: Any | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, MutualInformationDecayState]:
        del params, extra_args
        updates, state = as_arrays((updates, state))
        information = _as_information(information, state.current_rate)
        low, high, tau = (as_float(x) for x in (min_learning_rate, max_learning_rate, threshold))
        step = (state.information_step + 1) % jnp.asarray(steps_per_epoch).astype(jnp.int32)
        decides = jax.tree.map(lambda now: (step == 0) & jnp.isfinite(now), information)

        def decided(rate: jax.Array, last: jax.Array, now: jax.Array, decides: jax.Array) -> jax.Array:
            holds = (last < 0) | (now - last > tau * last)
            return jnp.where(decides & ~holds, jnp.minimum(rate, low + (high - low) * (1 - now)), rate)

        new_state = MutualInformationDecayState(
            current_rate=jax.tree.map(decided, state.current_rate, state.last_information, information, decides),
            last_information=jax.tree.map(jnp.where, decides, information, state.last_information),
            information_step=step,
        )
        return _descend(updates, state.current_rate, layers), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _labels(layers: Any, tree: Any) -> Any:
    return layers(tree) if callable(layers) else layers


def _descend(updates: optax.Updates, rates: Any, layers: Any) -> optax.Updates:
    """Multiply each leaf by minus the rate of its layer, in its own dtype."""

    def scaled(rate: jax.Array, tree: Any) -> Any:
        return jax.tree.map(lambda g: -rate.astype(g.dtype) * g, tree)

    if layers is None:
        return scaled(rates, updates)
    return jax.tree.map(lambda label, tree: scaled(rates[label], tree), _labels(layers, updates), updates)


def _as_information(information: Any, rates: Any) -> Any:
    """Check what the user passed as `information=` and convert it to the form and dtype of the state."""
    if information is None:
        raise TypeError(
            "mutual_information_decay needs the information that the output gives about the label: call "
            "update(grads, state, params, information=label_information(table)). If you do pass it, a wrapper around "
            "this transformation drops it."
        )
    if isinstance(rates, dict):
        if not isinstance(information, Mapping) or set(information) != set(rates):
            got = sorted(information, key=str) if isinstance(information, Mapping) else type(information).__name__
            raise ValueError(
                "mutual_information_decay needs the information of each layer: a dict with the keys "
                f"{sorted(rates)}, got {got}."
            )
        return {label: _as_information(information[label], None) for label in rates}
    number = real_number(
        information,
        "mutual_information_decay needs information as one real floating-point number in [0, 1], such as "
        "label_information gives",
    )
    return jnp.where(jnp.isfinite(number), jnp.clip(number, 0, 1), number)


def _check_numbers(low: Any, high: Any, start: Any, threshold: Any) -> None:
    require_scalar("min_learning_rate", low)
    require_scalar("max_learning_rate", high)
    require_scalar("initial_learning_rate", start)
    require_scalar("threshold", threshold)
    if is_number(low) and not low > 0:
        raise ValueError(f"min_learning_rate must be positive, got {low}.")
    if is_number(low) and is_number(high) and not high >= low:
        raise ValueError(f"max_learning_rate must be at least min_learning_rate = {low}, got {high}.")
    if all(map(is_number, (low, high, start))) and not low <= start <= high:
        raise ValueError(f"initial_learning_rate must be in [{low}, {high}], the bounds, got {start}.")
    if is_number(threshold) and not threshold >= 0:
        raise ValueError(f"threshold must not be negative, got {threshold}.")
