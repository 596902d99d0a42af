"""A one-page training script to copy: LCAM trains a small Wide ResNet on handwritten digits.

Run it from the checkout:

    python -m train.minimal
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

from lcam_optax import epoch_mean, lcam, read_phase
from models import WideResNet

SEED = 0
EPOCHS = 10
BATCH_SIZE = 128
TEST_SIZE = 261  # leaves 1,536 training images: 12 full batches, so the step compiles once
LEARNING_RATE = 0.1
WEIGHT_DECAY = 5e-4
CROP_PADDING = 1


class TrainState(NamedTuple):
    """All values that a step changes, as plain arrays."""

    params: nnx.State
    batch_stats: nnx.State
    opt_state: optax.OptState


def load_data(key: jax.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Load images [N, 8, 8, 1] in [0, 1] and labels [N], split at random: training images and labels, then test."""
    digits = load_digits()
    images = np.asarray(digits.images[..., None] / 16, np.float32)
    labels = np.asarray(digits.target, np.int32)
    order = np.asarray(jax.random.permutation(key, len(labels)))
    test, train = order[:TEST_SIZE], order[TEST_SIZE:]
    return images[train], labels[train], images[test], labels[test]


def random_crop(key: jax.Array, images: jax.Array) -> jax.Array:
    """Pad every image with black, and crop it to its size at a random position."""
    margin = (CROP_PADDING, CROP_PADDING)
    padded = jnp.pad(images, ((0, 0), margin, margin, (0, 0)))
    corners = jax.random.randint(key, (len(images), 2), 0, 2 * CROP_PADDING + 1)

    def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), images.shape[1:])

    return jax.vmap(crop)(padded, corners)


def make_train_step(graphdef: nnx.GraphDef, optimizer: optax.GradientTransformationExtraArgs) -> Callable:
    """Make the jitted function (state, images, labels, key) -> (state, loss, momentum)."""

    def loss_fn(
        params: nnx.State, batch_stats: nnx.State, images: jax.Array, labels: jax.Array
    ) -> tuple[jax.Array, nnx.State]:
        # A copy: the model must not share its variables with the differentiated parameters.
        model = nnx.merge(graphdef, params, batch_stats, copy=True)
        losses = optax.softmax_cross_entropy_with_integer_labels(model(images), labels)
        return losses.mean(), nnx.state(model, nnx.BatchStat)

    @functools.partial(jax.jit, donate_argnames="state")
    def train_step(
        state: TrainState, images: jax.Array, labels: jax.Array, key: jax.Array
    ) -> tuple[TrainState, jax.Array, jax.Array]:
        images = random_crop(key, images)
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, batch_stats), grads = grad_fn(state.params, state.batch_stats, images, labels)
        # Before `update`, this is the momentum of this step. The loss then picks the momentum of the next step.
        momentum = read_phase(state.opt_state).momentum
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params, value=loss)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, batch_stats, opt_state), loss, momentum

    return train_step


def make_test_error(graphdef: nnx.GraphDef) -> Callable:
    """Make the jitted function (state, images, labels) -> test error in percent."""

    @jax.jit
    def test_error(state: TrainState, images: jax.Array, labels: jax.Array) -> jax.Array:
        model = nnx.merge(graphdef, state.params, state.batch_stats)
        model.eval()  # batch norm uses its running statistics
        return 100 * jnp.mean(model(images).argmax(axis=-1) != labels)

    return test_error


def main(epochs: int = EPOCHS) -> float:
    """Train, print a line per epoch, and return the final test error in percent."""
    data_key, init_key, train_key = jax.random.split(jax.random.key(SEED), 3)
    train_images, train_labels, test_images, test_labels = load_data(data_key)
    # Rounded up, because a smaller last batch also takes a step.
    steps_per_epoch = math.ceil(len(train_labels) / BATCH_SIZE)

    model = WideResNet(depth=10, width=1, num_classes=10, in_channels=1, rngs=nnx.Rngs(params=init_key))
    # Split once and jit functions of arrays: nnx.jit would traverse the modules at every step.
    graphdef, params, batch_stats = nnx.split(model, nnx.Param, nnx.BatchStat)  # type: ignore[misc]
    optimizer = lcam(
        optax.cosine_decay_schedule(LEARNING_RATE, epochs * steps_per_epoch),
        epoch_mean(steps_per_epoch),
        momentum_below=0.9,
        momentum_above=0.95,
        weight_decay=WEIGHT_DECAY,
    )
    state = TrainState(params, batch_stats, optimizer.init(params))
    train_step, test_error = make_train_step(graphdef, optimizer), make_test_error(graphdef)

    for epoch in range(epochs):
        order_key, crop_key = jax.random.split(jax.random.fold_in(train_key, epoch))
        order = np.asarray(jax.random.permutation(order_key, len(train_labels)))
        losses, momenta = [], []
        for step in range(steps_per_epoch):
            rows = order[step * BATCH_SIZE : (step + 1) * BATCH_SIZE]
            key = jax.random.fold_in(crop_key, step)
            state, loss, momentum = train_step(state, train_images[rows], train_labels[rows], key)
            # Device arrays: converting them to numbers here would make every step wait for the previous one.
            losses.append(loss)
            momenta.append(momentum)
        error = float(test_error(state, test_images, test_labels))
        means = f"loss {np.mean(losses):.3f}  momentum {np.mean(momenta):.4f}"
        print(f"epoch {epoch + 1:2}  {means}  test error {error:.2f} %")
    return error


if __name__ == "__main__":
    main()
