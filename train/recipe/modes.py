"""What a step minimises: the loss of the whole network, the local losses of its components, or of one part of it.

`end-to-end`: the cross-entropy, with the slope recovery term where activations have slopes. `associated`: the sum of
the losses of Associated Learning, each of which reaches its own parameters only; the autoencoders learn at twice the
rate, as in its authors' code. `partitioned`: the parts of the network one after the other, each for a third of the
epochs and with a schedule and an optimizer state of its own, below a head of its own.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from models import (
    AssociatedWideResNet,
    PartitionedWideResNet,
    WideResNet,
    associated_labels,
    flops_per_image,
    partition_of,
    slope_recovery,
)
from train.experiments import Experiment

_AUTOENCODER_RATE = 2.0


def make_model(experiment: Experiment, num_classes: int, image_shape: tuple[int, int, int], key: jax.Array) -> Any:
    """Build the network of an experiment for images of (height, width, channels)."""
    common: dict[str, Any] = {
        "in_channels": image_shape[2],
        "dtype": jnp.dtype(experiment.dtype),
        "rngs": nnx.Rngs(params=key),
    }
    size = (experiment.depth, experiment.width, num_classes)
    if experiment.training == "associated":
        return AssociatedWideResNet(*size, **common)
    if experiment.training == "partitioned":
        return PartitionedWideResNet(*size, **common)
    return WideResNet(
        *size,
        dropout=experiment.dropout,
        activation=experiment.activation,
        activation_scale=experiment.activation_scale,
        image_size=image_shape[:2],
        **common,
    )


def training_flops(experiment: Experiment, image_shape: tuple[int, int, int]) -> int:
    """Count the operations of one image's forward and backward pass in products; of all ways to train, the usual one.

    See `models.flops_per_image`; of the classes, whose number says little, there are taken to be ten.
    """
    usual = dataclasses.replace(experiment, training="end-to-end")
    model = nnx.eval_shape(lambda: make_model(usual, 10, image_shape, jax.random.key(0)))
    return 3 * flops_per_image(model, *image_shape[:2])


def num_stages(experiment: Experiment) -> int:
    """How many stages a run has, of as many epochs each."""
    return PartitionedWideResNet.num_partitions if experiment.training == "partitioned" else 1


def stage_of(experiment: Experiment, epoch: int) -> int:
    """Which stage an epoch belongs to, from 0; the programs of a stage are its own."""
    return epoch * num_stages(experiment) // experiment.epochs


def predict(experiment: Experiment, model: Any, images: jax.Array, stage: int) -> jax.Array:
    """Compute the logits that a run is judged by, float32 [N, classes]: in each stage those of its head."""
    return model.partition_logits(images, stage) if experiment.training == "partitioned" else model(images)


def loss(
    experiment: Experiment,
    model: Any,
    images: jax.Array,
    labels: jax.Array,
    mask: jax.Array | None,
    dropout_key: jax.Array | None,
    stage: int,
) -> tuple[jax.Array, jax.Array | None]:
    """Compute what a batch is trained on.

    Args:
      experiment: The arm.
      model: From `make_model`, in training mode; its batch statistics are updated.
      images: Normalised, [N, H, W, C].
      labels: [N], int32.
      mask: [N], bool, False where a row is padding; None if none is.
      dropout_key: For networks with dropout.
      stage: See `stage_of`; static.

    Returns:
      The loss, float32 scalar, and the logits, [N, classes]; None where training needs none.
    """
    if experiment.training == "associated":
        return model.local_losses(images, labels, mask=mask).sum(), None
    if experiment.training == "partitioned":
        logits = model.partition_logits(images, stage, mask=mask)
    else:
        logits = model(images, mask=mask, dropout_key=dropout_key)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    mean = losses.mean() if mask is None else jnp.sum(losses, where=mask) / jnp.sum(mask, dtype=jnp.float32)
    if experiment.activation != "relu":
        mean += experiment.slope_recovery * slope_recovery(model)
    return mean, logits


def restrict(
    optimizer: optax.GradientTransformationExtraArgs, experiment: Experiment, stage: int
) -> optax.GradientTransformationExtraArgs:
    """Let an optimizer act as the objective wants: on the stage's part alone, or at two rates."""
    if experiment.training == "partitioned":
        return _on_part(optimizer, stage)
    if experiment.training == "associated":
        return optax.chain(optimizer, optax.stateless(_faster_autoencoders))
    return optimizer


def acting(experiment: Experiment, opt_state: Any, stage: int) -> optax.OptState:
    """The part of an optimizer state that acts in a stage."""
    return opt_state.inner_states[stage] if experiment.training == "partitioned" else opt_state


def _on_part(optimizer: optax.GradientTransformationExtraArgs, stage: int) -> optax.GradientTransformationExtraArgs:
    """Give each part a state of its own, and move only that of the stage."""
    every = range(PartitionedWideResNet.num_partitions)
    whole = optax.partition(dict.fromkeys(every, optimizer), partition_of)

    def update_fn(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> tuple[Any, Any]:
        updates, moved = whole.update(updates, state, params, **extra_args)
        updates = jax.tree.map(
            lambda u, part: u if part == stage else jnp.zeros_like(u), updates, partition_of(updates)
        )
        return updates, moved._replace(inner_states=state.inner_states | {stage: moved.inner_states[stage]})

    return optax.GradientTransformationExtraArgs(whole.init, update_fn)


def _faster_autoencoders(updates: Any, params: Any) -> Any:
    del params
    return jax.tree.map(
        lambda u, label: _AUTOENCODER_RATE * u if label == "autoencoder" else u, updates, associated_labels(updates)
    )
