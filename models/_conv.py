"""A convolution whose gradients stay fast inside loops on CPU.

Inside `lax.scan`, XLA's CPU compiler gives the convolutions of the gradients layouts that miss its fast path (see
jax-ml/jax#12868). A scanned step of WRN-16-1 took four to seven times as long as the same step outside. Here the
gradients are convolutions in the layout of the fast path, which cost the same inside a loop as outside. Other platforms
use XLA's own gradients.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_NHWC = ("NHWC", "HWIO", "NHWC")
# Images per piece of the weight gradient: few enough for the transposed copies to fit into the processor's cache.
_PIECE = 16


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Any,
    padding: Any,
    *,
    lhs_dilation: Any = None,
    rhs_dilation: Any = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    **kwargs: Any,
) -> jax.Array:
    """Convolve like `lax.conv_general_dilated`, in the one form that these networks need.

    It has derivatives in reverse mode only: `jax.jvp` and `jax.linearize` raise a TypeError.

    Args:
      lhs: Images, [N, H, W, C].
      rhs: Kernel, [h, w, C, D].
      window_strides: Two ints.
      padding: Two pairs of ints, before and after.
      lhs_dilation: Ones or None.
      rhs_dilation: Ones or None.
      dimension_numbers: Those of NHWC images and an HWIO kernel.
      feature_group_count: 1.
      **kwargs: Passed on, such as `precision`.

    Returns:
      [N, H', W', D].

    Raises:
      NotImplementedError: If dilation, groups or another layout is requested.
    """
    spec = lax.conv_dimension_numbers(lhs.shape, rhs.shape, _NHWC)
    dilated = any(d not in (None, (1, 1), [1, 1], 1) for d in (lhs_dilation, rhs_dilation))
    if dilated or feature_group_count != 1 or dimension_numbers not in (None, spec, _NHWC):
        raise NotImplementedError("Only plain NHWC convolutions without dilation or groups, got another kind.")
    static = (tuple(window_strides), tuple(map(tuple, padding)), tuple(sorted(kwargs.items())))
    return _conv(lhs, rhs, static)


def _plain(lhs: jax.Array, rhs: jax.Array, static: Any) -> jax.Array:
    strides, padding, kwargs = static
    return lax.conv_general_dilated(lhs, rhs, strides, padding, dimension_numbers=_NHWC, **dict(kwargs))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(lhs: jax.Array, rhs: jax.Array, static: Any) -> jax.Array:
    return _plain(lhs, rhs, static)


def _forward(lhs: jax.Array, rhs: jax.Array, static: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _plain(lhs, rhs, static), (lhs, rhs)


def _backward(static: Any, held: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    lhs, rhs = held

    def by_xla(lhs: jax.Array, rhs: jax.Array, grad: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.vjp(functools.partial(_plain, static=static), lhs, rhs)[1](grad)

    def canonical(lhs: jax.Array, rhs: jax.Array, grad: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _input_gradient(lhs, rhs, grad, static), _weight_gradient(lhs, rhs, grad, static)

    return lax.platform_dependent(lhs, rhs, grad, cpu=canonical, default=by_xla)


def _input_gradient(lhs: jax.Array, rhs: jax.Array, grad: jax.Array, static: Any) -> jax.Array:
    """Convolve output gradients, dilated by the strides, with the reversed kernel."""
    strides, padding, kwargs = static
    turned = rhs[::-1, ::-1].transpose(0, 1, 3, 2)  # h w D C
    edges = []
    for k, s, g, size, (before, _) in zip(
        rhs.shape[:2], strides, grad.shape[1:3], lhs.shape[1:3], padding, strict=True
    ):
        spread = (g - 1) * s + 1
        edges.append((k - 1 - before, size - spread + before))
    return lax.conv_general_dilated(
        grad, turned, (1, 1), edges, lhs_dilation=strides, dimension_numbers=_NHWC, **dict(kwargs)
    )


def _weight_gradient(lhs: jax.Array, rhs: jax.Array, grad: jax.Array, static: Any) -> jax.Array:
    """Add up the weight gradients of pieces of the batch.

    The loop also prevents XLA from recomputing the images inside each transposed copy.
    """
    number = len(lhs) // _PIECE
    # On several devices, each piece would end in a sum over the devices. XLA's CPU runtime lets such loops overlap, so
    # each process may reach the sums in a different order (jaxlib 0.10.2). Use one sum, outside of any loop.
    if number < 2 or _devices_per_batch() > 1:
        return _weight_gradient_of_piece(lhs, grad, rhs, static)
    whole = number * _PIECE
    # A piece takes every `number`-th image, so each device has a share of every piece of a split batch.
    images, gradients = (x[:whole].reshape(_PIECE, number, *x.shape[1:]) for x in (lhs, grad))

    # Not in half precision, whose error would grow with the number of pieces.
    total_dtype = jnp.float32 if grad.dtype.itemsize < 4 else grad.dtype

    def of_piece(images: jax.Array, gradients: jax.Array) -> jax.Array:
        return _weight_gradient_of_piece(images, gradients, rhs, static).astype(total_dtype)

    def add(total: jax.Array, piece: jax.Array) -> tuple[jax.Array, None]:
        left, right = (lax.dynamic_index_in_dim(x, piece, axis=1, keepdims=False) for x in (images, gradients))
        return total + of_piece(left, right), None

    total = lax.scan(add, jnp.zeros(rhs.shape, total_dtype), jnp.arange(number))[0]
    if whole < len(lhs):
        total += of_piece(lhs[whole:], grad[whole:])
    return total.astype(grad.dtype)


def _devices_per_batch() -> int:
    """Return the number of devices over which XLA may split a batch.

    The manual axes of `jax.shard_map` do not count, because each device already has its own part along them.
    """
    mesh = jax.sharding.get_abstract_mesh()
    return math.prod(size for axis, size in mesh.shape.items() if axis not in mesh.manual_axes)


def _weight_gradient_of_piece(lhs: jax.Array, grad: jax.Array, rhs: jax.Array, static: Any) -> jax.Array:
    """Convolve images with output gradients. The channel axis acts as the batch, and the batch axis as the channels."""
    strides, padding, kwargs = static
    images = lhs.transpose(3, 1, 2, 0)  # C H W N
    gradients = grad.transpose(1, 2, 0, 3)  # H' W' N D
    # A smaller padding after the images excludes rows and columns that no window reached (with strides).
    after = [
        (k - 1) + s * (g - 1) + 1 - size - before
        for k, s, g, size, (before, _) in zip(
            rhs.shape[:2], strides, grad.shape[1:3], lhs.shape[1:3], padding, strict=True
        )
    ]
    out = lax.conv_general_dilated(
        images,
        gradients,
        (1, 1),
        [(before, a) for (before, _), a in zip(padding, after, strict=True)],
        rhs_dilation=strides,
        dimension_numbers=_NHWC,
        **dict(kwargs),
    )
    return out.transpose(1, 2, 0, 3)  # C h w D -> h w C D


_conv.defvjp(_forward, _backward)
