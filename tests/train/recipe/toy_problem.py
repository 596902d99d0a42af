"""A classification problem of two layers, and the settings of an optimizer, small enough for every optimizer's test."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from train.recipe.optimizer_entry import OptimizerSettings

CLASSES = 3


def params():
    """A convolution that covers a whole image of 2x2, and a linear layer behind it."""
    kernel = jax.random.normal(jax.random.key(0), (2, 2, 1, 8)) / 2
    linear = {"kernel": jax.random.normal(jax.random.key(1), (8, CLASSES)) / 3, "bias": jnp.zeros(CLASSES)}
    return {"conv": kernel, "linear": linear}


def data():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 60).astype(np.int32)
    images = rng.normal(size=(60, 4)).astype(np.float32)
    images[np.arange(60), labels] += 2
    return jnp.asarray(images), jnp.asarray(labels)


def logits(params, images):
    hidden = jax.nn.relu(images @ params["conv"].reshape(4, 8))
    return hidden @ params["linear"]["kernel"] + params["linear"]["bias"]


def loss(params, images, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits(params, images), labels).mean()


def settings(**changes):
    defaults = {
        "learning_rate": optax.constant_schedule(0.1),
        "initial_learning_rate": 0.1,
        "weight_decay": 0.0,
        "weight_decay_mask": None,
        "momentum": 0.9,
        "momentum_above": 0.9,
        "phase": None,
        "delay": True,
        "nesterov": False,
        "steps_per_epoch": 4,
        "total_steps": 40,
        "seed": 0,
    }
    return OptimizerSettings(**defaults | changes)
