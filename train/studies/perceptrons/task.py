"""The task of every run: a small multilayer perceptron on the bundled digits, and its random draws."""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from train import data


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """The network, the split and the recipe: the authors' step schedule over 20 epochs.

    Attributes:
      hidden: Units of the hidden layer.
      train_images: Number of training images of the 1,797, a multiple of `batch_size`. The others are for testing.
      batch_size: Images per step.
      epochs: Of each run.
      learning_rate: Of the first epochs.
      drops: Epochs, counted from 0, at whose start the learning rate falls to a fifth.
      weight_decay: Strength of the coupled L2 term on all parameters.
    """

    hidden: int = 32
    train_images: int = 896
    batch_size: int = 32
    epochs: int = 20
    learning_rate: float = 0.1
    drops: tuple[int, ...] = (4, 8, 12)
    weight_decay: float = 5e-4

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return self.train_images // self.batch_size

    @property
    def steps(self) -> int:
        """Optimizer steps of a run."""
        return self.epochs * self.steps_per_epoch

    @property
    def schedule(self) -> optax.Schedule:
        """The learning rate of each step, counted from 0."""
        drops = {epoch * self.steps_per_epoch: 0.2 for epoch in self.drops}
        schedule = optax.piecewise_constant_schedule(self.learning_rate, drops)
        # Optax mixes the step with floats, which strict promotion refuses.
        return lambda step: schedule(jnp.asarray(step, jnp.float32))


class Digits(NamedTuple):
    """All of scikit-learn's handwritten digits."""

    images: np.ndarray  # [1797, 64], float32 in [0, 1]
    labels: np.ndarray  # [1797], int32


class Draws(NamedTuple):
    """All random draws of a run, with a leading axis if several seeds run together."""

    params: dict[str, jax.Array]  # before the first step
    train_rows: jax.Array  # [steps, batch_size], int32: the images of each step, by their row in `Digits`
    test_rows: jax.Array  # [test images], int32
    coins: jax.Array  # [steps], float32 in [0, 1): for the control that draws its momentum


def load_digits() -> Digits:
    """Load the digits, in the order of the training and then the test images of the `digits` data set."""
    digits = data.load("digits")
    images = np.concatenate([digits.train_images, digits.test_images])
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    return Digits(images.reshape(len(images), -1).astype(np.float32) / 255, labels)


def num_test_images(task: Task, digits: Digits) -> int:
    """Count the images that each run is tested on."""
    return len(digits.labels) - task.train_images


@functools.partial(jax.jit, static_argnums=(0, 1))
def draw(task: Task, images: int, seeds: jax.Array) -> Draws:
    """Draw the split, the initial parameters, the order of the images and the coins of some runs.

    Args:
      task: The task of the runs.
      images: The number of all images.
      seeds: uint32 [seeds].

    Returns:
      The draws, each with a leading axis of seeds. All arms of a seed share them.
    """
    return jax.vmap(functools.partial(_draw, task, images))(seeds)


def _draw(task: Task, images: int, seed: jax.Array) -> Draws:
    purposes = (jax.random.fold_in(jax.random.key(seed), purpose) for purpose in range(4))
    split_key, init_key, order_key, coin_key = purposes
    rows = jax.random.permutation(split_key, images)
    train_rows, test_rows = rows[: task.train_images], rows[task.train_images :]

    def shuffled(epoch: jax.Array) -> jax.Array:
        return jax.random.permutation(jax.random.fold_in(order_key, epoch), train_rows)

    orders = jax.vmap(shuffled)(jnp.arange(task.epochs))
    return Draws(
        params=_init_params(task, init_key),
        train_rows=orders.reshape(task.steps, task.batch_size),
        test_rows=test_rows,
        coins=jax.random.uniform(coin_key, (task.steps,), jnp.float32),
    )


def _init_params(task: Task, key: jax.Array) -> dict[str, jax.Array]:
    """Normal weights with variance 2 / inputs before the ReLU and 1 / inputs before the softmax; zero biases."""
    keys = jax.random.split(key)
    return {
        "hidden_weight": math.sqrt(2 / 64) * jax.random.normal(keys[0], (64, task.hidden), jnp.float32),
        "hidden_bias": jnp.zeros(task.hidden, jnp.float32),
        "output_weight": math.sqrt(1 / task.hidden) * jax.random.normal(keys[1], (task.hidden, 10), jnp.float32),
        "output_bias": jnp.zeros(10, jnp.float32),
    }


def logits(params: dict[str, jax.Array], images: jax.Array) -> jax.Array:
    """Apply the network; float32 [N, 64] to [N, 10]."""
    hidden = jax.nn.relu(images @ params["hidden_weight"] + params["hidden_bias"])
    return hidden @ params["output_weight"] + params["output_bias"]
