"""Optimizers beside SGD and LCAM: Optax's own and those of `lcam_optax.contrib`, each built for an experiment.

All of them decay what weights the arm says, coupled to the gradient where their authors do so (everything that is SGD
underneath, and `adam`), decoupled otherwise (`adamw`, `lion`, `muon`, `momo`). What an optimizer has beyond learning
rate, weight decay and one momentum keeps its default.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lcam_optax import contrib

# Of the published recipes: the radius of SAM (Foret et al. 2021), the period and step of Lookahead (Zhang et al. 2019),
# the share of the run that Schedule-Free warms up over (Defazio et al. 2024).
_SAM_RADIUS = 0.05
_LOOKAHEAD: dict[str, Any] = {"sync_period": 5, "slow_step_size": 0.5}
_WARMUP_SHARE = 0.05
# Ours: few salps, as each costs a forward pass, and near, as one batch says little about what is far.
_SALPS: dict[str, Any] = {"population": 8, "radius": 0.002}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What an optimizer is built from.

    Attributes:
      rate: Learning rate of each step.
      peak: Learning rate at the start.
      weight_decay: Coefficient.
      decayed: Tells which leaves of the parameters decay; None for all.
      momentum: In [0, 1).
      steps_per_epoch: Optimizer steps in an epoch.
      total_steps: Optimizer steps of the run.
      seed: Of what is drawn.
    """

    rate: optax.Schedule
    peak: float
    weight_decay: float
    decayed: Callable[[optax.Params], Any] | None
    momentum: float
    steps_per_epoch: int
    total_steps: int
    seed: jax.typing.ArrayLike


def sgd(settings: Settings, *, nesterov: bool = False) -> optax.GradientTransformation:
    """Optax's SGD with momentum and coupled weight decay."""
    return optax.chain(_decay(settings), optax.sgd(settings.rate, momentum=settings.momentum, nesterov=nesterov))


def _decay(settings: Settings) -> optax.GradientTransformation:
    return optax.add_decayed_weights(settings.weight_decay, settings.decayed)


def _adam(settings: Settings) -> optax.GradientTransformation:
    return optax.chain(_decay(settings), optax.adam(settings.rate, b1=settings.momentum))


def _adamw(settings: Settings) -> optax.GradientTransformation:
    return optax.adamw(settings.rate, b1=settings.momentum, weight_decay=settings.weight_decay, mask=settings.decayed)


def _lion(settings: Settings) -> optax.GradientTransformation:
    return optax.lion(settings.rate, b1=settings.momentum, weight_decay=settings.weight_decay, mask=settings.decayed)


def _muon(settings: Settings) -> optax.GradientTransformation:
    """Muon for the kernels of convolutions, as matrices from patches to channels; AdamW for the rest."""

    def kernels(params: optax.Params) -> Any:
        patches = optax.contrib.MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)
        return jax.tree.map(lambda x: patches if x.ndim == 4 else None, params)

    return optax.contrib.muon(
        settings.rate,
        beta=settings.momentum,
        weight_decay=settings.weight_decay,
        adam_weight_decay=settings.weight_decay,
        weight_decay_mask=settings.decayed,
        muon_weight_dimension_numbers=kernels,
        # Brings its updates to the size of Adam's, so that one learning rate serves both.
        consistent_rms=0.2,
    )


def _schedule_free(settings: Settings) -> optax.GradientTransformation:
    return optax.contrib.schedule_free_sgd(
        settings.peak,
        warmup_steps=max(round(_WARMUP_SHARE * settings.total_steps), 1),
        b1=settings.momentum,
        weight_decay=settings.weight_decay,
    )


def _momo(settings: Settings) -> optax.GradientTransformation:
    return _given(
        optax.contrib.momo(settings.rate, beta=settings.momentum, weight_decay=settings.weight_decay), "value"
    )


def _sam(settings: Settings) -> optax.GradientTransformation:
    """SAM around SGD, opaque: batch statistics see one of its two evaluations."""
    ascent = optax.chain(optax.contrib.normalize(), optax.sgd(_SAM_RADIUS))
    tx = optax.contrib.sam(sgd(settings), ascent, opaque_mode=True)

    def update_fn(updates: Any, state: Any, params: Any = None, *, grad_fn: Callable, **extra_args: Any) -> Any:
        del extra_args
        return tx.update(updates, state, params, grad_fn=lambda params, step: grad_fn(params))

    return optax.GradientTransformationExtraArgs(tx.init, update_fn)


def _lookahead(settings: Settings) -> optax.GradientTransformation:
    return optax.lookahead(sgd(settings), **_LOOKAHEAD)


def _polyak(settings: Settings) -> optax.GradientTransformation:
    """Polyak's step on the loss with its L2 term, as the gradient has one too."""
    tx = optax.chain(_decay(settings), optax.polyak_sgd(max_learning_rate=settings.peak))

    def update_fn(updates: Any, state: Any, params: Any, *, value: jax.Array, **extra_args: Any) -> Any:
        del extra_args
        penalty = settings.weight_decay / 2 * optax.tree.norm(params, squared=True)
        return tx.update(updates, state, params, value=value + penalty)

    return optax.GradientTransformationExtraArgs(tx.init, update_fn)


def _yamadam(settings: Settings) -> optax.GradientTransformation:
    return optax.chain(_decay(settings), contrib.yamadam())


def _lrsgd(variant: Any) -> Callable[[Settings], optax.GradientTransformation]:
    def build(settings: Settings) -> optax.GradientTransformation:
        return contrib.lrsgd(
            settings.rate,
            0.1 * settings.peak,  # the authors' rule
            variant=variant,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            weight_decay_mask=settings.decayed,
            seed=settings.seed,
        )

    return build


def _delayed_feedback(settings: Settings) -> optax.GradientTransformation:
    return optax.chain(_decay(settings), contrib.delayed_feedback(settings.rate))


def _extragradient(settings: Settings) -> optax.GradientTransformation:
    # Its inner optimizer counts two steps for one.
    inner = dataclasses.replace(settings, rate=lambda step: settings.rate(step // 2))
    return contrib.extragradient(sgd(inner))


def _past_extrapolation(settings: Settings) -> optax.GradientTransformation:
    return optax.chain(_decay(settings), contrib.extrapolation_from_the_past(settings.rate))


def _annealed_momentum(settings: Settings) -> optax.GradientTransformation:
    """SGD whose momentum falls linearly to 0 while its effective step follows that of `sgd`."""
    momentum = optax.linear_schedule(settings.momentum, 0.0, settings.total_steps)
    rate = contrib.learning_rate_from_momentum(lambda step: settings.rate(step) / (1 - settings.momentum), momentum)
    return optax.chain(_decay(settings), optax.inject_hyperparams(optax.sgd)(learning_rate=rate, momentum=momentum))


def _salp_swarm(settings: Settings) -> optax.GradientTransformation:
    tx = contrib.salp_swarm_sgd(
        settings.rate,
        **_SALPS,
        momentum=settings.momentum,
        iterations=settings.total_steps,
        seed=settings.seed,
    )
    return optax.chain(_decay(settings), tx)


class _Told(NamedTuple):
    """State of `_mutual_information`."""

    table: jax.Array  # [classes, classes], int32; of this epoch so far
    epoch_step: jax.Array  # shape=(), int32; steps of this epoch made
    inner: optax.OptState


def _mutual_information(settings: Settings) -> optax.GradientTransformation:
    """SGD whose learning rate the epoch's confusion matrix sets, between `peak` and a hundredth of it."""
    tx = optax.chain(
        _decay(settings),
        optax.trace(settings.momentum),
        contrib.mutual_information_decay(
            settings.peak / 100, settings.peak, steps_per_epoch=settings.steps_per_epoch, threshold=0.01
        ),
    )

    def init_fn(params: Any) -> _Told:
        classes = params["linear"]["bias"].shape[-1]
        return _Told(jnp.zeros((classes, classes), jnp.int32), jnp.zeros((), jnp.int32), tx.init(params))

    def update_fn(updates: Any, state: _Told, params: Any, *, labels: Any, predictions: Any, **extra_args: Any) -> Any:
        del extra_args
        classes = len(state.table)
        # An epoch begins with an empty table.
        table = jnp.where(state.epoch_step == 0, 0, state.table)
        table += contrib.contingency_table(labels, predictions, classes, classes)
        updates, inner = tx.update(updates, state.inner, params, information=contrib.label_information(table))
        return updates, _Told(table, (state.epoch_step + 1) % settings.steps_per_epoch, inner)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _given(tx: optax.GradientTransformationExtraArgs, *names: str) -> optax.GradientTransformationExtraArgs:
    """Hand an optimizer only those extra arguments that it knows."""

    def update_fn(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        return tx.update(updates, state, params, **{name: extra_args[name] for name in names})

    return optax.GradientTransformationExtraArgs(tx.init, update_fn)


BUILDERS: dict[str, Callable[[Settings], optax.GradientTransformation]] = {
    "adam": _adam,
    "adamw": _adamw,
    "lion": _lion,
    "muon": _muon,
    "schedule-free": _schedule_free,
    "momo": _momo,
    "sam": _sam,
    "lookahead": _lookahead,
    "polyak": _polyak,
    "yamadam": _yamadam,
    "lrsgd-c": _lrsgd("C"),
    "lrsgd-r": _lrsgd("R"),
    "delayed-feedback": _delayed_feedback,
    "extragradient": _extragradient,
    "past-extrapolation": _past_extrapolation,
    "annealed-momentum": _annealed_momentum,
    "mutual-information": _mutual_information,
    "salp-swarm": _salp_swarm,
}
