"""The optimizers of `lcam_optax.contrib`, each built for an experiment.

All of them decay the weights, coupled to the gradient. Settings other than learning rate, weight decay and momentum
keep the defaults of `lcam_optax.contrib`, unless a comment says otherwise.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lcam_optax import contrib
from train.recipe.optimizer_entry import OptimizerEntry, OptimizerSettings
from train.recipe.sgd import sgd

# Our choice: few salps, because each costs a forward pass; and close salps, because one batch says little about distant
# parameters.
_SALPS: dict[str, Any] = {"population": 8, "radius": 0.002}


def _yamadam(settings: OptimizerSettings) -> optax.GradientTransformation:
    return optax.chain(settings.coupled_weight_decay(), contrib.yamadam())


def _lrsgd(variant: Literal["C", "R"]) -> Callable[[OptimizerSettings], optax.GradientTransformation]:
    def build(settings: OptimizerSettings) -> optax.GradientTransformation:
        return contrib.lrsgd(
            settings.learning_rate,
            0.1 * settings.initial_learning_rate,  # the authors' rule
            variant=variant,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            weight_decay_mask=settings.weight_decay_mask,
            seed=settings.seed,
        )

    return build


def _delayed_feedback(settings: OptimizerSettings) -> optax.GradientTransformation:
    return optax.chain(settings.coupled_weight_decay(), contrib.delayed_feedback(settings.learning_rate))


def _extragradient(settings: OptimizerSettings) -> optax.GradientTransformation:
    # The inner optimizer counts two steps per step of the run.
    inner = dataclasses.replace(settings, learning_rate=lambda step: settings.learning_rate(step // 2))
    return contrib.extragradient(sgd(inner))


def _past_extrapolation(settings: OptimizerSettings) -> optax.GradientTransformation:
    return optax.chain(settings.coupled_weight_decay(), contrib.extrapolation_from_the_past(settings.learning_rate))


def _annealed_momentum(settings: OptimizerSettings) -> optax.GradientTransformation:
    """SGD whose momentum falls linearly to 0 and whose effective step stays equal to that of `sgd`."""
    momentum = optax.linear_schedule(settings.momentum, 0.0, settings.total_steps)
    rate = contrib.learning_rate_from_momentum(
        lambda step: settings.learning_rate(step) / (1 - settings.momentum), momentum
    )
    tx = optax.inject_hyperparams(optax.sgd)(learning_rate=rate, momentum=momentum)
    return optax.chain(settings.coupled_weight_decay(), tx)


def _salp_swarm(settings: OptimizerSettings) -> optax.GradientTransformation:
    tx = contrib.salp_swarm_sgd(
        settings.learning_rate,
        **_SALPS,
        momentum=settings.momentum,
        iterations=settings.total_steps,
        seed=settings.seed,
    )
    return optax.chain(settings.coupled_weight_decay(), tx)


class _MutualInformationState(NamedTuple):
    """State of `_mutual_information`."""

    table: jax.Array  # [classes, classes], int32; confusion matrix of the epoch so far
    epoch_step: jax.Array  # shape=(), int32; steps made in the epoch
    inner: optax.OptState


def _mutual_information(settings: OptimizerSettings) -> optax.GradientTransformation:
    """SGD whose learning rate follows the epoch's confusion matrix.

    The rate lies between the initial learning rate and a hundredth of it.
    """
    highest = settings.initial_learning_rate
    tx = optax.chain(
        settings.coupled_weight_decay(),
        optax.trace(settings.momentum),
        contrib.mutual_information_decay(
            highest / 100, highest, steps_per_epoch=settings.steps_per_epoch, threshold=0.01
        ),
    )

    def init_fn(params: Any) -> _MutualInformationState:
        classes = params["linear"]["bias"].shape[-1]
        table = jnp.zeros((classes, classes), jnp.int32)
        return _MutualInformationState(table, jnp.zeros((), jnp.int32), tx.init(params))

    def update_fn(
        updates: Any, state: _MutualInformationState, params: Any, *, labels: Any, predictions: Any, **extra_args: Any
    ) -> Any:
        del extra_args
        classes = len(state.table)
        # Each epoch starts with an empty table.
        table = jnp.where(state.epoch_step == 0, 0, state.table)
        table += contrib.contingency_table(labels, predictions, classes, classes)
        updates, inner = tx.update(updates, state.inner, params, information=contrib.label_information(table))
        return updates, _MutualInformationState(table, (state.epoch_step + 1) % settings.steps_per_epoch, inner)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


CONTRIB_OPTIMIZERS: dict[str, OptimizerEntry] = {
    "yamadam": OptimizerEntry(build=_yamadam),
    "lrsgd-c": OptimizerEntry(build=_lrsgd("C")),
    "lrsgd-r": OptimizerEntry(build=_lrsgd("R")),
    "delayed-feedback": OptimizerEntry(build=_delayed_feedback),
    "extragradient": OptimizerEntry(build=_extragradient),
    "past-extrapolation": OptimizerEntry(build=_past_extrapolation),
    "annealed-momentum": OptimizerEntry(build=_annealed_momentum),
    "mutual-information": OptimizerEntry(build=_mutual_information),
    "salp-swarm": OptimizerEntry(build=_salp_swarm),
}
