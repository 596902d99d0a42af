"""Random crop, flip and normalisation, on the device.

Crops and flips are drawn for all steps of a slice at once, and applied in each step (`train.engine.programs`).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class CropsAndFlips(NamedTuple):
    """The random crop and flip of each image: the corner in the padded image, and whether it is mirrored."""

    corners: jax.Array | None  # [..., N, 2], int32, in [0, 2 * padding]; None without padding
    mirrored: jax.Array | None  # [..., N], bool; None without mirroring


def draw_crops_and_flips(key: jax.Array, number: int, padding: int, flip: bool) -> CropsAndFlips:
    """Draw a crop corner for each image, and whether to mirror the image, with probability 1/2.

    Args:
      key: A PRNG key.
      number: Images.
      padding: Pixels added on each side before the crop.
      flip: Whether to mirror.
    """
    crop_key, flip_key = jax.random.split(key)
    return CropsAndFlips(
        corners=jax.random.randint(crop_key, (number, 2), 0, 2 * padding + 1) if padding else None,
        mirrored=jax.random.bernoulli(flip_key, shape=(number,)) if flip else None,
    )


def crop_and_flip(drawn: CropsAndFlips, images: jax.Array, padding: int) -> jax.Array:
    """Pad with black, crop, and mirror.

    Padding comes before normalisation, as in the authors' code: the border is black, not grey.

    Args:
      drawn: From `draw_crops_and_flips`, for the same number of images.
      images: uint8, [N, H, W, C].
      padding: Pixels added on each side; the same as in `draw_crops_and_flips`.

    Returns:
      uint8, [N, H, W, C]; the same on every platform.
    """
    if drawn.corners is not None:
        # On a TPU, slicing crops the images in a serial loop. Elsewhere it is a single kernel.
        images = jax.lax.platform_dependent(
            images, drawn.corners, tpu=_by_selection(padding), default=_by_slices(padding)
        )
    if drawn.mirrored is not None:
        images = jnp.where(drawn.mirrored[:, None, None, None], images[:, :, ::-1], images)
    return images


def normalize(images: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """Convert uint8 pixels [..., C] to float32 (pixel / 255 - mean) / std, per channel."""
    scale = 1 / (255 * jnp.asarray(std, jnp.float32))
    offset = jnp.asarray(mean, jnp.float32) / jnp.asarray(std, jnp.float32)
    return images.astype(jnp.float32) * scale - offset


def _by_slices(padding: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Make the function (images, corners) -> crops that slices each padded image."""

    def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
        padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
        return jax.lax.dynamic_slice(padded, (corner[0], corner[1], 0), image.shape)

    return jax.vmap(crop)


def _by_selection(padding: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Make the function (images, corners) -> crops that selects from all shifts of the whole batch.

    The columns of a row and their channels are one axis, which fills a TPU's lanes better than channels alone.
    """

    def crop(images: jax.Array, corners: jax.Array) -> jax.Array:
        number, height, width, channels = images.shape
        rows = images.reshape(number, height, width * channels)
        rows = jnp.pad(rows, ((0, 0), (padding, padding), (padding * channels, padding * channels)))
        rows = _shifted(rows, corners[:, 0], axis=1, size=height, stride=1, shifts=2 * padding + 1)
        columns = width * channels
        rows = _shifted(rows, corners[:, 1], axis=2, size=columns, stride=channels, shifts=2 * padding + 1)
        return rows.reshape(images.shape)

    return crop


def _shifted(rows: jax.Array, chosen: jax.Array, *, axis: int, size: int, stride: int, shifts: int) -> jax.Array:
    """Cut `size` entries of an axis from each row of a batch, starting at `stride` times the chosen shift."""
    out = jax.lax.slice_in_dim(rows, 0, size, axis=axis)
    for shift in range(1, shifts):
        start = shift * stride
        cut = jax.lax.slice_in_dim(rows, start, start + size, axis=axis)
        out = jnp.where((chosen == shift)[:, None, None], cut, out)
    return out
