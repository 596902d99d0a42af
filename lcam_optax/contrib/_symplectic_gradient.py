"""Symplectic gradient adjustment: a game's field without its rotation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from lcam_optax._checks import require_scalar
from lcam_optax._scalars import as_arrays, as_float
from lcam_optax.contrib._trees import add_scaled, inner_product, require_like, require_real


def symplectic_gradient(
    field_fn: Callable[..., optax.Updates],
    *,
    align: bool = True,
    scale: jax.typing.ArrayLike = 1.0,
    eps: jax.typing.ArrayLike = 0.1,
    normalizer: Literal["dim", "leaves"] = "dim",
) -> Callable[..., optax.Updates]:
    r"""Symplectic gradient adjustment (SGA) of the field of a game.

    .. math::

      J &= \frac{d\xi}{dw}, \qquad A = \tfrac12 (J - J^\top), \qquad \nabla H = J^\top \xi \\
      A^\top \xi &= \tfrac12 (J^\top \xi - J \xi) \\
      \lambda &= s \cdot \operatorname{sign}\left( \tfrac1d \langle \xi, \nabla H \rangle
        \langle A^\top \xi, \nabla H \rangle + \epsilon \right) \\
      \xi_\lambda &= \xi + \lambda A^\top \xi

    with :math:`H = \frac12 \|\xi\|^2`. Pass the adjusted field :math:`\xi_\lambda` to any optimizer instead of the
    gradients. It costs one evaluation of the field, one product with its Jacobian and one with the transpose, about
    three to four gradients in total. It keeps no state.

    Args:
      field_fn: `field_fn(params, *args, **kwargs)` returns a tree like `params` (same shapes and dtypes, real): the
        simultaneous gradient, such as from `player_field`.
      align: Whether the sign above sets the direction of the adjustment: towards stable fixed points, away from
        unstable ones. False takes :math:`\lambda = s`.
      scale: :math:`s`; 1 in the paper.
      eps: :math:`\epsilon`; 1/10 in the paper. A weak bias towards the adjustment if the sign is in doubt.
      normalizer: The meaning of :math:`d`: "dim", the number of parameters, as in the paper; or "leaves", the number of
        parameter tensors, as in the authors' notebook. It only changes the weight of `eps`.

    Returns:
      A function with the arguments of `field_fn` that returns the adjusted field, in the shapes and dtypes of the
      field.

    Raises:
      TypeError: If `scale` or `eps` is not a number.
      ValueError: If `normalizer` is neither "dim" nor "leaves", or a number is an array with axes; from the adjusted
        function, if the parameters are complex, or `field_fn` does not return a tree with the structure, shapes and
        dtypes of the parameters.

    Examples:
      Gradient descent spirals out of a bilinear game. With the adjustment it converges.

      >>> import jax.numpy as jnp, optax
      >>> from lcam_optax import contrib
      >>> field_fn = contrib.player_field(
      ...     [lambda p: p["x"] * p["y"], lambda p: -p["x"] * p["y"]], players={"x": 0, "y": 1}
      ... )
      >>> adjusted_fn = contrib.symplectic_gradient(field_fn)
      >>> tx = optax.sgd(0.5)
      >>> for fn in (field_fn, adjusted_fn):
      ...     params = {"x": jnp.array(1.0), "y": jnp.array(1.0)}
      ...     state = tx.init(params)
      ...     for _ in range(20):
      ...         updates, state = tx.update(fn(params), state, params)
      ...         params = optax.apply_updates(params, updates)
      ...     print(f"{optax.tree.norm(params):.3f}")
      13.171
      0.001

    References:
      Letcher et al., Differentiable Game Mechanics, JMLR 20 (2019), arXiv 1905.04926, Algorithm 1; the authors'
      notebook at github google-deepmind/symplectic-gradient-adjustment.
    """
    if normalizer not in ("dim", "leaves"):
        raise ValueError(f'normalizer must be "dim" (the paper) or "leaves" (the notebook), got {normalizer!r}.')

    require_scalar("scale", scale)
    require_scalar("eps", eps)

    def adjusted_fn(params: optax.Params, *args: Any, **kwargs: Any) -> optax.Updates:
        require_real("symplectic_gradient", params)
        params = as_arrays(params)
        field, jacobian_product = jax.linearize(lambda p: field_fn(p, *args, **kwargs), params)
        require_like("field_fn", field, params, dtypes=True)
        forward = jacobian_product(field)
        (transposed,) = jax.linear_transpose(jacobian_product, params)(field)
        adjustment = jax.tree.map(lambda t, f: (t - f) / 2, transposed, forward)
        strength = as_float(scale)
        if align:
            leaves = jax.tree.leaves(params)
            divisor = sum(leaf.size for leaf in leaves) if normalizer == "dim" else len(leaves)
            agreement = inner_product(field, transposed) * inner_product(adjustment, transposed)
            strength *= jnp.sign(agreement / divisor + as_float(eps))
        return add_scaled(field, strength, adjustment)

    return adjusted_fn
