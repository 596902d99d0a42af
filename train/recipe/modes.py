"""The training modes: how the loss reaches the parameters of the network.

* `end-to-end` trains on the cross-entropy of the whole network. If activations have slopes, it adds the slope recovery
  term.
* `associated` trains on the local losses of Associated Learning. Each loss trains only its own parameters. The
  autoencoders learn at twice the rate, as in the authors' code.
* `partitioned` trains the parts of the network one after the other, each in its own stage. A stage takes a third of the
  epochs. It has its own head, schedule and optimizer state.

`train.experiments.limits` states which other settings a mode allows.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from models import (
    AssociatedWideResNet,
    PartitionedWideResNet,
    WideResNet,
    associated_labels,
    is_slope,
    partition_of,
    slope_recovery,
)
from train.experiments import Experiment

_AUTOENCODER_RATE = 2.0

WeightDecayMask = Callable[[optax.Params], Any]


class Batch(NamedTuple):
    """One batch for the loss."""

    images: jax.Array  # normalized, [N, H, W, C]
    labels: jax.Array  # [N], int32
    mask: jax.Array | None  # [N], bool, False for padding; None without padding
    dropout_key: jax.Array | None  # None for networks without dropout


class TrainingMode(abc.ABC):
    """A way to train the network. Modes have no state.

    Attributes:
      num_stages: How many stages a run has. Each takes the same number of epochs.
    """

    num_stages: int = 1

    @abc.abstractmethod
    def make_model(
        self, experiment: Experiment, num_classes: int, image_shape: tuple[int, int, int], key: jax.Array
    ) -> Any:
        """Build the network for images of (height, width, channels)."""

    @abc.abstractmethod
    def loss(self, experiment: Experiment, model: Any, batch: Batch, stage: int) -> tuple[jax.Array, jax.Array | None]:
        """Compute the loss of a batch.

        Args:
          experiment: The arm.
          model: From `make_model`, in training mode. Its batch statistics are updated.
          batch: What to learn from.
          stage: Number of the stage, from 0; static.

        Returns:
          The loss, a float32 scalar, and the logits, [N, classes]; None if training computes no logits.
        """

    def predict(self, model: Any, images: jax.Array, stage: int) -> jax.Array:
        """Compute the logits for evaluation, float32 [N, classes]."""
        del stage
        return model(images)

    def stage_of(self, epoch: int, epochs: int) -> int:
        """Return the stage, counted from 0, of an epoch in a run of `epochs` epochs."""
        return epoch * self.num_stages // epochs

    def restrict(
        self, optimizer: optax.GradientTransformationExtraArgs, stage: int
    ) -> optax.GradientTransformationExtraArgs:
        """Limit an optimizer to the parameters that a stage trains, each at the mode's rate."""
        del stage
        return optimizer

    def stage_state(self, opt_state: optax.OptState, stage: int) -> optax.OptState:
        """Return the part of a restricted optimizer's state that belongs to a stage."""
        del stage
        return opt_state

    def weight_decay_mask(self, experiment: Experiment) -> WeightDecayMask | None:
        """Return a function that marks the parameters to decay; None if all decay."""
        del experiment
        return None


class EndToEnd(TrainingMode):
    """One loss and one backward pass through the whole network."""

    def make_model(
        self, experiment: Experiment, num_classes: int, image_shape: tuple[int, int, int], key: jax.Array
    ) -> WideResNet:
        """Build a `WideResNet`, with the experiment's dropout and activation."""
        return WideResNet(
            experiment.depth,
            experiment.width,
            num_classes,
            dropout=experiment.dropout,
            activation=experiment.activation,
            activation_scale=experiment.activation_scale,
            image_size=image_shape[:2],
            **_common_arguments(experiment, image_shape, key),
        )

    def loss(self, experiment: Experiment, model: WideResNet, batch: Batch, stage: int) -> tuple[jax.Array, jax.Array]:
        """Compute the mean cross-entropy, plus the slope recovery term of adaptive activations."""
        del stage
        logits = model(batch.images, mask=batch.mask, dropout_key=batch.dropout_key)
        loss = _mean_cross_entropy(logits, batch)
        if experiment.activation != "relu":
            loss += experiment.slope_recovery * slope_recovery(model)
        return loss, logits

    def weight_decay_mask(self, experiment: Experiment) -> WeightDecayMask | None:
        """Exclude the slopes of adaptive activations from the decay."""
        if experiment.activation == "relu":
            return None
        return lambda params: jax.tree.map(lambda slope: not slope, is_slope(params))


class Associated(TrainingMode):
    """Local losses for each component, without a backward pass through the whole network."""

    def make_model(
        self, experiment: Experiment, num_classes: int, image_shape: tuple[int, int, int], key: jax.Array
    ) -> AssociatedWideResNet:
        """Build an `AssociatedWideResNet`."""
        common = _common_arguments(experiment, image_shape, key)
        return AssociatedWideResNet(experiment.depth, experiment.width, num_classes, **common)

    def loss(
        self, experiment: Experiment, model: AssociatedWideResNet, batch: Batch, stage: int
    ) -> tuple[jax.Array, None]:
        """Compute the sum of all local losses. They need no logits."""
        del experiment, stage
        return model.local_losses(batch.images, batch.labels, mask=batch.mask).sum(), None

    def restrict(
        self, optimizer: optax.GradientTransformationExtraArgs, stage: int
    ) -> optax.GradientTransformationExtraArgs:
        """Train the autoencoders at twice the rate."""
        del stage
        return optax.chain(optimizer, optax.stateless(_scale_autoencoders))

    def weight_decay_mask(self, experiment: Experiment) -> WeightDecayMask:
        """Decay the kernels of convolutions only, as the authors of Associated Learning do."""
        del experiment
        # Autoencoders and bridges are dense; batch norms and biases are vectors.
        return lambda params: jax.tree.map(lambda x: x.ndim == 4, params)


class Partitioned(TrainingMode):
    """One part of the network per stage, below a head of its own."""

    num_stages = PartitionedWideResNet.num_partitions

    def make_model(
        self, experiment: Experiment, num_classes: int, image_shape: tuple[int, int, int], key: jax.Array
    ) -> PartitionedWideResNet:
        """Build a `PartitionedWideResNet`."""
        common = _common_arguments(experiment, image_shape, key)
        return PartitionedWideResNet(experiment.depth, experiment.width, num_classes, **common)

    def loss(
        self, experiment: Experiment, model: PartitionedWideResNet, batch: Batch, stage: int
    ) -> tuple[jax.Array, jax.Array]:
        """Compute the mean cross-entropy of the stage's head."""
        del experiment
        logits = model.partition_logits(batch.images, stage, mask=batch.mask)
        return _mean_cross_entropy(logits, batch), logits

    def predict(self, model: PartitionedWideResNet, images: jax.Array, stage: int) -> jax.Array:
        """Compute the logits of the stage's head, float32 [N, classes]."""
        return model.partition_logits(images, stage)

    def restrict(
        self, optimizer: optax.GradientTransformationExtraArgs, stage: int
    ) -> optax.GradientTransformationExtraArgs:
        """Give every part its own optimizer state. Change only the part and the state of the stage."""
        all_parts = optax.partition(dict.fromkeys(range(self.num_stages), optimizer), partition_of)

        def update_fn(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> tuple[Any, Any]:
            updates, new_state = all_parts.update(updates, state, params, **extra_args)
            updates = jax.tree.map(
                lambda u, part: u if part == stage else jnp.zeros_like(u), updates, partition_of(updates)
            )
            inner_states = state.inner_states | {stage: new_state.inner_states[stage]}
            return updates, new_state._replace(inner_states=inner_states)

        return optax.GradientTransformationExtraArgs(all_parts.init, update_fn)

    def stage_state(self, opt_state: Any, stage: int) -> optax.OptState:
        """Return the optimizer state of the stage's part."""
        return opt_state.inner_states[stage]


MODES: dict[str, TrainingMode] = {
    "end-to-end": EndToEnd(),
    "associated": Associated(),
    "partitioned": Partitioned(),
}


def _common_arguments(experiment: Experiment, image_shape: tuple[int, int, int], key: jax.Array) -> dict[str, Any]:
    """Return the arguments that all three networks share."""
    return {
        "in_channels": image_shape[2],
        "dtype": jnp.dtype(experiment.dtype),
        "rngs": nnx.Rngs(params=key),
    }


def _mean_cross_entropy(logits: jax.Array, batch: Batch) -> jax.Array:
    """Average the cross-entropy over the rows that are not padding; float32 scalar, in nats."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
    if batch.mask is None:
        return losses.mean()
    return jnp.sum(losses, where=batch.mask) / jnp.sum(batch.mask, dtype=jnp.float32)


def _scale_autoencoders(updates: Any, params: Any) -> Any:
    del params
    return jax.tree.map(
        lambda u, label: _AUTOENCODER_RATE * u if label == "autoencoder" else u, updates, associated_labels(updates)
    )
