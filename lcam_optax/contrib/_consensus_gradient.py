"""Consensus optimization: the field of a game plus descent on its norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lcam_optax._checks import require_scalar
from lcam_optax._scalars import as_arrays, as_float
from lcam_optax.contrib._trees import add_scaled, inner_product, require_like, require_real


def consensus_gradient(
    field_fn: Callable[..., optax.Updates], *, align: bool = True, scale: jax.typing.ArrayLike = 1.0
) -> Callable[..., optax.Updates]:
    r"""Consensus optimization, for comparison with `symplectic_gradient`.

    .. math::

      \nabla H = J^\top \xi, \qquad
      \xi_\lambda = \xi + |\lambda| \operatorname{sign}(\langle \xi, \nabla H \rangle) \nabla H

    with :math:`H = \frac12 \|\xi\|^2` and :math:`J` the Jacobian of the field. It costs one evaluation of the field
    and one product with the transposed Jacobian, and keeps no state.

    Args:
      field_fn: See `symplectic_gradient`.
      align: True is the aligned form above, of Letcher et al. False is :math:`\xi + \lambda \nabla H`, the original
        method, which also converges to unstable fixed points. In a game that only rotates, such as a bilinear one, the
        inner product is zero, so rounding picks the sign and the aligned field does not converge. Use False there, or
        `symplectic_gradient`, whose `eps` is for this case.
      scale: :math:`\lambda`; 1 by default.

    Returns:
      A function with the arguments of `field_fn` that returns the adjusted field, in the shapes and dtypes of the
      field.

    Raises:
      TypeError: If `scale` is not a number.
      ValueError: If it is an array with axes; from the adjusted function, if the parameters are complex, or `field_fn`
        does not return a tree with the structure, shapes and dtypes of the parameters.

    Examples:
      A bilinear game only rotates, so the sign is not aligned.

      >>> import jax.numpy as jnp, optax
      >>> from lcam_optax import contrib
      >>> field_fn = contrib.player_field([lambda p: p[0] * p[1], lambda p: -p[0] * p[1]], players=[0, 1])
      >>> adjusted_fn = contrib.consensus_gradient(field_fn, align=False)
      >>> params, tx = [jnp.array(1.0), jnp.array(1.0)], optax.sgd(0.5)
      >>> state = tx.init(params)
      >>> for _ in range(20):
      ...     updates, state = tx.update(adjusted_fn(params), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(f"{optax.tree.norm(params):.3f}")
      0.001

    References:
      Mescheder, Nowozin, Geiger, The Numerics of GANs, 2017, arXiv 1705.10461; Letcher et al., Differentiable Game
      Mechanics, JMLR 20 (2019), arXiv 1905.04926, for the aligned form.
    """
    require_scalar("scale", scale)

    def adjusted_fn(params: optax.Params, *args: Any, **kwargs: Any) -> optax.Updates:
        require_real("consensus_gradient", params)
        params = as_arrays(params)
        field, transposed_product = jax.vjp(lambda p: field_fn(p, *args, **kwargs), params)
        require_like("field_fn", field, params, dtypes=True)
        (transposed,) = transposed_product(field)
        strength = as_float(scale)
        if align:
            strength = jnp.abs(strength) * jnp.sign(inner_product(field, transposed))
        return add_scaled(field, strength, transposed)

    return adjusted_fn
