"""The noise of the gradient: the spectrum of the diffusion matrix, without the matrix."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree


class GradientNoise(NamedTuple):
    """The spread of the gradients of single examples; all float32, of n examples."""

    eigenvalues: jax.Array  # [n - 1], descending; the other eigenvalues of the covariance are zero
    trace: jax.Array  # shape=(), unbiased estimate of tr(C)
    squared_gradient: jax.Array  # shape=(), unbiased estimate of |g|^2; may come out negative where noise drowns g
    effective_rank: jax.Array  # shape=(), tr(C)^2 / tr(C^2), from 1 to n - 1; NaN if all gradients are equal
    noise_scale: jax.Array  # shape=(), tr(C) / |g|^2; NaN if the estimate of |g|^2 is not positive


def gradient_noise(
    loss_fn: Callable[[Any, Any], jax.Array], params: Any, batch: Any, *, chunk: int = 32
) -> GradientNoise:
    r"""Estimate the covariance of single examples' gradients by the spectrum of their Gram matrix.

    With :math:`g_k` the gradient of example :math:`k` and :math:`\bar g` their mean, the covariance

    .. math::

      C = \frac{1}{n - 1} \sum_k (g_k - \bar g) (g_k - \bar g)^\top

    has as many rows as there are parameters, but its nonzero eigenvalues are those of the matrix of the products
    :math:`(g_j - \bar g)^\top (g_k - \bar g) / (n - 1)`, which has as many rows as there are examples. The expectation
    of :math:`C` is the diffusion matrix D of the examples' distribution, and :math:`C / b` the covariance of the
    gradient of a batch of :math:`b`.

    `trace` and `squared_gradient`, :math:`|\bar g|^2 - \operatorname{tr} C / n`, are unbiased. `effective_rank` is the
    participation ratio of the sample: no sample shows a rank above :math:`n - 1`, so compare only samples of one size.
    `noise_scale` is the batch size at which noise and gradient are equally strong; as a ratio it is not unbiased.

    Args:
      loss_fn: (params, example) -> scalar loss of one example. An example is like `batch` without the first axis.
      params: Tree of float arrays. Gradients are computed in their dtype, and products and sums in float32.
      batch: Tree of arrays [n, ...], n at least 2.
      chunk: Examples per chunk. The gradients of two chunks are in memory at once, which takes 2 * chunk copies of the
        parameters. Every gradient is computed about n / chunk times.

    Returns:
      The `GradientNoise`. Can be jitted.

    Raises:
      ValueError: If the batch has fewer than two examples, or `chunk` is below 1.

    References:
      Chaudhari and Soatto 2018, arXiv 1710.11029 (the diffusion matrix); McCandlish et al. 2018, arXiv 1812.06162 (the
      noise scale and its unbiased parts).
    """
    number = jax.tree.leaves(batch)[0].shape[0]
    if number < 2:
        raise ValueError(f"batch has {number} examples, expected at least 2: one gradient has no spread.")
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}, expected at least 1.")
    chunk = min(chunk, number)
    gradients = functools.partial(_gradients, loss_fn, params, batch)
    starts = jnp.arange(0, number, chunk)
    # The rows after the end repeat the last example and are ignored.
    chunks = starts[:, None] + jnp.arange(chunk)

    def summed(total: jax.Array, index: jax.Array) -> tuple[jax.Array, None]:
        return total + jnp.sum(gradients(index), axis=0, where=(index < number)[:, None]), None

    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    mean = jax.lax.scan(summed, jnp.zeros(size, jnp.float32), chunks)[0] / number

    def rows(index: jax.Array) -> jax.Array:
        own = gradients(index) - mean
        # Centre before the products. Afterwards, the large common part would cancel all digits of the small rest.
        products = jax.lax.map(lambda other: _products(own, gradients(other) - mean), chunks)
        return products.transpose(1, 0, 2).reshape(chunk, -1)

    gram = jax.lax.map(rows, chunks).reshape(len(chunks) * chunk, -1)[:number, :number]
    return _noise(gram / (number - 1), jnp.vdot(mean, mean, precision="highest"))


def _gradients(loss_fn: Callable[[Any, Any], jax.Array], params: Any, batch: Any, index: jax.Array) -> jax.Array:
    """The gradients of some examples, [examples, parameters], float32. Indices after the end give the last example."""
    last = jax.tree.leaves(batch)[0].shape[0] - 1
    examples = jax.tree.map(lambda leaf: jnp.asarray(leaf)[jnp.minimum(index, last)], batch)
    gradients = jax.vmap(jax.grad(loss_fn), in_axes=(None, 0))(params, examples)
    return jax.vmap(lambda tree: ravel_pytree(tree)[0])(gradients).astype(jnp.float32)


def _products(left: jax.Array, right: jax.Array) -> jax.Array:
    # The default precision of a GPU would keep only ten bits of each factor.
    return jnp.matmul(left, right.T, precision="highest")


def _noise(covariance: jax.Array, squared_mean: jax.Array) -> GradientNoise:
    """The statistics from the centred Gram matrix divided by n - 1, [n, n]."""
    number = len(covariance)
    # Centring removed one dimension: the smallest eigenvalue is zero up to rounding.
    eigenvalues = jnp.maximum(jnp.linalg.eigvalsh(covariance)[:0:-1], 0)
    trace = jnp.trace(covariance)
    squared_gradient = squared_mean - trace / number
    return GradientNoise(
        eigenvalues=eigenvalues,
        trace=trace,
        squared_gradient=squared_gradient,
        effective_rank=trace**2 / jnp.sum(covariance**2),
        noise_scale=jnp.where(squared_gradient > 0, trace / squared_gradient, jnp.nan),
    )
