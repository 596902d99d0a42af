"""A batch and a slightly trained network, for the tests of networks that are trained in parts."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

X = jax.random.normal(jax.random.key(1), (6, 8, 8, 3))
LABELS = jnp.asarray([0, 1, 2, 0, 1, 2])


def split(model):
    return nnx.split(model, nnx.Param, nnx.BatchStat)


def scattered(params, stats):
    """Parameters and statistics that differ from their simple initial values everywhere."""
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32), params)
    return params, jax.tree.map(lambda x: x + rng.random(x.shape, np.float32), stats)
