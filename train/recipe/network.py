"""The network of an experiment, and the operations that one image costs in training."""

from typing import Any

import jax
from flax import nnx

from models import flops_per_image
from train.experiments import Experiment
from train.recipe.modes import MODES

# The number of classes hardly changes the operations of a Wide ResNet.
_CLASSES = 10


def make_model(experiment: Experiment, num_classes: int, image_shape: tuple[int, int, int], key: jax.Array) -> Any:
    """Build the network of an experiment.

    Args:
      experiment: The arm.
      num_classes: Number of outputs.
      image_shape: Height, width and channels.
      key: Source of the initial parameters.

    Returns:
      A Flax NNX module from `models`; which one depends on the training mode.
    """
    return MODES[experiment.training].make_model(experiment, num_classes, image_shape, key)


def training_flops(experiment: Experiment, image_shape: tuple[int, int, int]) -> int:
    """Count the operations of one image's forward and backward pass in matrix products and convolutions.

    Every training mode counts as end-to-end training of the same network with ten classes. See
    `models.flops_per_image`.
    """

    def end_to_end_model() -> Any:
        return MODES["end-to-end"].make_model(experiment, _CLASSES, image_shape, jax.random.key(0))

    return 3 * flops_per_image(nnx.eval_shape(end_to_end_model), *image_shape[:2])
