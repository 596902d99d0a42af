"""Bounds of the learning rate, from a run with a growing learning rate."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lcam_optax._checks import is_number, require_scalar


def learning_rate_range(
    learning_rates: jax.typing.ArrayLike, information: jax.typing.ArrayLike, margin: jax.typing.ArrayLike = 0.1
) -> tuple[jax.Array, jax.Array]:
    """Read the two bounds of `mutual_information_decay` from a range test.

    The test is a short run whose learning rate grows from far too small to too large, such as by
    `optax.exponential_decay(1e-5, transition_steps=steps, decay_rate=1e6)`, with the information of output and label
    recorded at regular intervals. The information rises from its first value to its peak. The lower bound is the first
    rate at which it has covered the share `margin` of this rise. The upper bound is the last rate before it falls by
    the same amount after the peak. At a rate that is too large, the information stays high for some steps, so let the
    rate grow slowly.

    The paper has a range test for these bounds. We could not find its rule; this one is ours.

    Args:
      learning_rates: The rates, in increasing order, shape=(n,).
      information: The information at each rate, such as from `label_information`, shape=(n,). A value that is not
        finite, as from a run that diverged, counts as zero.
      margin: In (0, 0.5].

    Returns:
      The lower and the upper bound, float32 scalars of shape ().

    Raises:
      TypeError: If `margin` is not a number.
      ValueError: If the two arrays do not have the same shape (n,) with n at least 1, or `margin` is a Python number
        outside (0, 0.5].

    Examples:
      >>> from lcam_optax import contrib
      >>> low, high = contrib.learning_rate_range([1e-3, 1e-2, 1e-1, 1.0, 10.0], [0.1, 0.1, 0.3, 0.8, 0.2])
      >>> print(f"{low:.2f} {high:.2f}")
      0.10 1.00
      >>> tx = contrib.mutual_information_decay(low, high, steps_per_epoch=100, threshold=0.01)

    References:
      S. Vasudevan, Mutual Information Based Learning Rate Decay for Stochastic Gradient Descent Training of Deep Neural
      Networks, Entropy 22(5) 560, 2020, has the test as Algorithm 2; L. N. Smith, Cyclical Learning Rates for Training
      Neural Networks, 2017, arXiv 1506.01186, introduces such tests.
    """
    require_scalar("margin", margin)
    if is_number(margin) and not 0 < margin <= 0.5:  # type: ignore[operator]
        raise ValueError(f"margin must be in (0, 0.5], got {margin}.")
    rates, told = jnp.asarray(learning_rates).astype(float), jnp.asarray(information).astype(float)
    if rates.ndim != 1 or rates.shape != told.shape or rates.size == 0:
        raise ValueError(
            "learning_rates and information must be of one shape (n,), one information value per rate, "
            f"got {rates.shape} and {told.shape}."
        )
    told = jnp.where(jnp.isfinite(told), told, 0)
    peak, place = jnp.argmax(told), jnp.arange(told.size)
    slack = jnp.asarray(margin).astype(float) * (told[peak] - told[0])
    fallen = (place > peak) & (told < told[peak] - slack)
    last = jnp.where(fallen.any(), jnp.argmax(fallen) - 1, told.size - 1)
    return rates[jnp.argmax(told >= told[0] + slack)], rates[last]
