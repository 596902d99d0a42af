"""The optimizers of Optax, and SGD with the project's own LCAM, each built for an experiment.

All of them decay the weights, in the way of their authors. Every optimizer that contains SGD, and `adam`, couples the
decay to the gradient. `adamw`, `lion`, `muon` and `momo` decouple it. Settings other than learning rate, weight decay
and momentum keep the defaults of Optax, unless a comment says otherwise.
"""

from collections.abc import Callable
from typing import Any

import jax
import optax

from train.recipe.optimizer_entry import OptimizerEntry, OptimizerSettings
from train.recipe.sgd import sgd

# Values from publications: the radius of SAM (Foret et al. 2021), the period and step size of Lookahead (Zhang et al.
# 2019), the warm-up's share of the run in Schedule-Free (Defazio et al. 2024).
_SAM_RADIUS = 0.05
_LOOKAHEAD: dict[str, Any] = {"sync_period": 5, "slow_step_size": 0.5}
_WARMUP_SHARE = 0.05


def _adam(settings: OptimizerSettings) -> optax.GradientTransformation:
    return optax.chain(
        settings.coupled_weight_decay(),
        optax.adam(settings.learning_rate, b1=settings.momentum),
    )


def _adamw(settings: OptimizerSettings) -> optax.GradientTransformation:
    return optax.adamw(
        settings.learning_rate,
        b1=settings.momentum,
        weight_decay=settings.weight_decay,
        mask=settings.weight_decay_mask,
    )


def _lion(settings: OptimizerSettings) -> optax.GradientTransformation:
    return optax.lion(
        settings.learning_rate,
        b1=settings.momentum,
        weight_decay=settings.weight_decay,
        mask=settings.weight_decay_mask,
    )


def _muon(settings: OptimizerSettings) -> optax.GradientTransformation:
    """Muon for the kernels of convolutions, as matrices from patches to channels; AdamW for the rest."""

    def kernels(params: optax.Params) -> Any:
        patches = optax.contrib.MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)
        return jax.tree.map(lambda x: patches if x.ndim == 4 else None, params)

    return optax.contrib.muon(
        settings.learning_rate,
        beta=settings.momentum,
        weight_decay=settings.weight_decay,
        adam_weight_decay=settings.weight_decay,
        weight_decay_mask=settings.weight_decay_mask,
        muon_weight_dimension_numbers=kernels,
        # Scales Muon's updates to the size of Adam's, so that one learning rate serves both.
        consistent_rms=0.2,
    )


def _schedule_free(settings: OptimizerSettings) -> optax.GradientTransformation:
    return optax.contrib.schedule_free_sgd(
        settings.initial_learning_rate,
        warmup_steps=max(round(_WARMUP_SHARE * settings.total_steps), 1),
        b1=settings.momentum,
        weight_decay=settings.weight_decay,
    )


def _schedule_free_evaluation_params(params: Any, opt_state: optax.OptState) -> Any:
    return optax.contrib.schedule_free_eval_params(opt_state, params)


def _momo(settings: OptimizerSettings) -> optax.GradientTransformation:
    tx = optax.contrib.momo(settings.learning_rate, beta=settings.momentum, weight_decay=settings.weight_decay)

    def update_fn(updates: Any, state: Any, params: Any = None, *, value: jax.Array, **extra_args: Any) -> Any:
        del extra_args  # Optax's MoMo accepts no others.
        return tx.update(updates, state, params, value=value)

    return optax.GradientTransformationExtraArgs(tx.init, update_fn)


def _sam(settings: OptimizerSettings) -> optax.GradientTransformation:
    """SAM around SGD.

    In opaque mode, SAM computes its second gradient with `grad_fn`, which drops the new batch statistics. So only the
    first evaluation of a step updates them.
    """
    ascent = optax.chain(optax.contrib.normalize(), optax.sgd(_SAM_RADIUS))
    tx = optax.contrib.sam(sgd(settings), ascent, opaque_mode=True)

    def update_fn(updates: Any, state: Any, params: Any = None, *, grad_fn: Callable, **extra_args: Any) -> Any:
        del extra_args
        return tx.update(updates, state, params, grad_fn=lambda params, step: grad_fn(params))

    return optax.GradientTransformationExtraArgs(tx.init, update_fn)


def _lookahead(settings: OptimizerSettings) -> optax.GradientTransformation:
    return optax.lookahead(sgd(settings), **_LOOKAHEAD)


def _fast_params(params: optax.LookaheadParams) -> Any:
    return params.fast


def _slow_params(params: optax.LookaheadParams, opt_state: optax.OptState) -> Any:
    del opt_state
    return params.slow


def _polyak(settings: OptimizerSettings) -> optax.GradientTransformation:
    """Polyak's step size, computed from the loss with its L2 term, which the gradient contains too."""
    tx = optax.chain(
        settings.coupled_weight_decay(),
        optax.polyak_sgd(max_learning_rate=settings.initial_learning_rate),
    )

    def update_fn(updates: Any, state: Any, params: Any, *, value: jax.Array, **extra_args: Any) -> Any:
        del extra_args
        penalty = settings.weight_decay / 2 * optax.tree.norm(params, squared=True)
        return tx.update(updates, state, params, value=value + penalty)

    return optax.GradientTransformationExtraArgs(tx.init, update_fn)


OPTAX_OPTIMIZERS: dict[str, OptimizerEntry] = {
    "sgd": OptimizerEntry(build=sgd),
    "adam": OptimizerEntry(build=_adam),
    "adamw": OptimizerEntry(build=_adamw),
    "lion": OptimizerEntry(build=_lion),
    "muon": OptimizerEntry(build=_muon),
    "schedule-free": OptimizerEntry(
        build=_schedule_free,
        evaluation_params=_schedule_free_evaluation_params,
        recomputes_batch_stats=True,
    ),
    "momo": OptimizerEntry(build=_momo),
    "sam": OptimizerEntry(build=_sam),
    "lookahead": OptimizerEntry(
        build=_lookahead,
        initial_params=optax.LookaheadParams.init_synced,
        gradient_params=_fast_params,
        evaluation_params=_slow_params,
        recomputes_batch_stats=True,
    ),
    "polyak": OptimizerEntry(build=_polyak),
}
