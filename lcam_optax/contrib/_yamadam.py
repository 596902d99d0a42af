"""YamAdam: moment estimation and unit correction without a hyper-parameter to tune."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lcam_optax._checks import require_scalar
from lcam_optax._scalars import as_arrays, as_float, scalar
from lcam_optax.contrib._trees import map_with_states, require_real


class ScaleByYamadamState(NamedTuple):
    """State of `scale_by_yamadam`: four copies of the parameters and one scalar per tensor.

    To get its shardings, use `jax.jit(tx.init)`. `optax.tree.map_params` takes `beta` for a tree of parameters.
    """

    mu: optax.Updates  # as the parameters; mean of the gradients
    nu: optax.Updates  # as the parameters; variance of the gradients
    update_square: optax.Updates  # as the parameters; mean square of the directions
    last_update: optax.Updates  # as the parameters; the last direction
    beta: optax.Updates  # one scalar per parameter tensor, shape=(), float32; decay of the next step


def scale_by_yamadam(eps: jax.typing.ArrayLike = 1e-6) -> optax.GradientTransformationExtraArgs:
    r"""The YamAdam direction.

    For each parameter tensor, with all of :math:`m, v, s, h, \beta` zero at first:

    .. math::

      m_{t+1} &= \beta_t m_t + (1 - \beta_t) g_t \\
      v_{t+1} &= \beta_t v_t + (1 - \beta_t) (g_t - m_t)^2 \\
      s_{t+1} &= \beta_t s_t + (1 - \beta_t) h_t^2 \\
      h_{t+1} &= m_{t+1} \sqrt{\frac{s_{t+1} + \epsilon}{v_{t+1} + \epsilon}} \\
      \beta_{t+1} &= \operatorname{sigmoid}\left( \frac{\|h_t\|_1 + \epsilon}{\|h_{t+1}\|_1 + \epsilon} \right)
        - \epsilon

    and :math:`h_{t+1}` is the new update. All quantities are element-wise except :math:`\beta`, which is one scalar per
    TENSOR of the tree, as in the author's code. So the partition of the parameters into tensors matters. The variance
    :math:`v` is centred on the OLD mean. There is no learning rate: the square root has the unit of the parameters, and
    the first steps have the size :math:`\sqrt\epsilon`. If a gradient is constant over steps, :math:`v` vanishes and
    the direction grows by a factor of up to :math:`|g| / \sqrt\epsilon` per step, out of float32's range within about
    twenty steps. The method needs gradients that change. Arithmetic is in float32 for tensors of any dtype.

    Args:
      eps: :math:`\epsilon`; 1e-6 in the author's code.

    Returns:
      An `optax.GradientTransformationExtraArgs`, which ignores extra arguments. It returns the direction of ASCENT: put
      `optax.scale(-1.0)` after it, or use `yamadam`.

    Raises:
      TypeError: If `eps` is not a number.
      ValueError: If it is an array with axes; from `init`, if a parameter is complex.

    Examples:
      >>> import jax.numpy as jnp, optax
      >>> from lcam_optax import contrib
      >>> tx = optax.chain(optax.clip_by_global_norm(1.0), contrib.scale_by_yamadam(), optax.scale(-1.0))
      >>> params = jnp.array([1.0, -2.0])
      >>> updates, state = tx.update(params, tx.init(params), params)
      >>> params = optax.apply_updates(params, updates)
      >>> print(f"{params[0]:.3f} {params[1]:.3f}")
      0.999 -1.999

    References:
      K. D. Yamada, Hyperparameter-free optimizer of gradient-descent method incorporating unit correction and moment
      estimation, 2018, bioRxiv 348557; the author's code at github yamada-kd/YamAdam, which these equations follow.
    """
    require_scalar("eps", eps)

    def init_fn(params: optax.Params) -> ScaleByYamadamState:
        require_real("yamadam", params)
        mu, nu, update_square, last_update = (optax.tree.zeros_like(params) for _ in range(4))
        return ScaleByYamadamState(mu, nu, update_square, last_update, jax.tree.map(lambda _: scalar(0.0), params))

    def update_fn(
        updates: optax.Updates, state: ScaleByYamadamState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, ScaleByYamadamState]:
        del params, extra_args
        updates, state = as_arrays((updates, state))
        direction, *new_state = map_with_states(lambda *row: _leaf_step(as_float(eps), *row), updates, *state)
        return direction, ScaleByYamadamState(*new_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def yamadam(eps: jax.typing.ArrayLike = 1e-6) -> optax.GradientTransformationExtraArgs:
    """YamAdam, an optimizer without a learning rate: `scale_by_yamadam` with the sign of descent.

    Args:
      eps: See `scale_by_yamadam`.

    Returns:
      An `optax.GradientTransformationExtraArgs`, which ignores extra arguments.

    Raises:
      TypeError: See `scale_by_yamadam`.
      ValueError: See `scale_by_yamadam`.

    Examples:
      >>> import jax, jax.numpy as jnp, optax
      >>> from lcam_optax import contrib
      >>> tx = contrib.yamadam()
      >>> params = jnp.array([1.0, -2.0])
      >>> state = tx.init(params)
      >>> for _ in range(200):
      ...     grads = jax.grad(lambda p: jnp.sum(p**2) / 2)(params)
      ...     updates, state = tx.update(grads, state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(f"{jnp.sum(params**2) / 2:.3f}")
      0.000

    References:
      See `scale_by_yamadam`.
    """
    return optax.chain(scale_by_yamadam(eps), optax.scale(-1.0))


def _leaf_step(
    eps: jax.Array,
    gradient: jax.Array,
    mu: jax.Array,
    nu: jax.Array,
    update_square: jax.Array,
    last_update: jax.Array,
    beta: jax.Array,
) -> tuple[jax.Array, ...]:
    """Step one tensor. Return the direction and the new state, each in its original dtype."""
    g, m, v, s, h = (x.astype(float) for x in (gradient, mu, nu, update_square, last_update))
    new_m = beta * m + (1 - beta) * g
    new_v = beta * v + (1 - beta) * (g - m) ** 2
    new_s = beta * s + (1 - beta) * h**2
    new_h = new_m * jnp.sqrt((new_s + eps) / (new_v + eps))
    shrinkage = (jnp.sum(jnp.abs(h)) + eps) / (jnp.sum(jnp.abs(new_h)) + eps)
    results = (new_h, new_m, new_v, new_s, new_h)
    homes = (gradient, mu, nu, update_square, last_update)
    stored = (x.astype(home.dtype) for x, home in zip(results, homes, strict=True))
    return *stored, jax.nn.sigmoid(shrinkage) - eps
