"""The Wide ResNet in pieces: its three groups of blocks, and what a head reads behind one of them."""

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
    """Read [N, H, W, C] as the head of a `WideResNet`: batch norm, activation, mean over pixels; float32 [N, C]."""
    x = activation(norm(x, mask=over_pixels(mask)))
    # The mean over many pixels is taken in float32: bfloat16 has eight bits to add them up in.
    return jnp.mean(x.astype(jnp.float32), axis=(1, 2))


def group_channels(width: int) -> list[int]:
    """List the channels behind the stem and behind each group."""
    return [16, *(16 * 2**group * width for group in range(NUM_GROUPS))]


def over_pixels(mask: jax.Array | None) -> jax.Array | None:
    """Give a mask of rows, [N], the axes that batch norm needs to broadcast it against [N, H, W, C]."""
    return None if mask is None else mask[:, None, None, None]
