"""Crop, flip and normalisation, on the device and inside the step."""

import jax
import jax.numpy as jnp


def crop_and_flip(key: jax.Array, images: jax.Array, padding: int, flip: bool) -> jax.Array:
    """Pad with black, crop at a random place, mirror half of the images.

    Padding comes before normalisation, as in the authors' code: the border is black, not grey.

    Args:
      key: A PRNG key.
      images: uint8, [N, H, W, C].
      padding: Pixels added on each side.
      flip: Whether to mirror.

    Returns:
      uint8, [N, H, W, C].
    """
    crop_key, flip_key = jax.random.split(key)
    number, height, width, channels = images.shape
    if padding:
        padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        corners = jax.random.randint(crop_key, (number, 2), 0, 2 * padding + 1)

        def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (height, width, channels))

        images = jax.vmap(crop)(padded, corners)
    if flip:
        mirrored = jax.random.bernoulli(flip_key, shape=(number, 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    return images


def normalize(images: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """Bring uint8 pixels [..., C] to float32 (pixel / 255 - mean) / std, channel by channel."""
    scale = 1 / (255 * jnp.asarray(std, jnp.float32))
    offset = jnp.asarray(mean, jnp.float32) / jnp.asarray(std, jnp.float32)
    return images.astype(jnp.float32) * scale - offset
