"""The parts of the Wide ResNet: its three groups of blocks, and the input of a head after a group."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

NUM_GROUPS = 3


def run_group(blocks: nnx.List, group: int, x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Pass [N, H, W, C] through the blocks of one group of a `WideResNet`; `mask` as in its call."""
    size = len(blocks) // NUM_GROUPS
    for block in blocks[group * size : (group + 1) * size]:
        x = block(x, over_pixels(mask), None)
    return x


def pooled_features(
    norm: nnx.BatchNorm,
    x: jax.Array,
    mask: jax.Array | None,
    activation: Callable[[jax.Array], jax.Array] = nnx.relu,
) -> jax.Array:
    """Pool [N, H, W, C] like the head of a `WideResNet`: batch norm, activation, mean over pixels; float32 [N, C]."""
    x = activation(norm(x, mask=over_pixels(mask)))
    # The mean over many pixels is in float32, because bfloat16 has only eight bits for the sum.
    return jnp.mean(x.astype(jnp.float32), axis=(1, 2))


def group_channels(width: int) -> list[int]:
    """List the channels after the stem and after each group."""
    return [16, *(16 * 2**group * width for group in range(NUM_GROUPS))]


def over_pixels(mask: jax.Array | None) -> jax.Array | None:
    """Add axes to a mask of rows, [N], so that batch norm can broadcast it against [N, H, W, C]."""
    return None if mask is None else mask[:, None, None, None]
