"""Momentum SGD with a salp swarm around it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lcam_optax._checks import (
    is_number,
    require_scalar,
    require_scalar_or_schedule,
    require_seed,
    require_unit_interval,
)
from lcam_optax._scalars import as_arrays, as_float, at_step, counter, incremented, initial_seed, working_dtype
from lcam_optax.contrib._trees import map_with_states, require_real


class SalpSwarmSgdState(NamedTuple):
    """State of `salp_swarm_sgd`: one copy of the parameters per salp, and one more."""

    trace: optax.Updates  # as the parameters; heavy-ball momentum
    population: optax.Params  # as the parameters with a leading axis [population]; the chain, leaders first
    salp_step: jax.Array  # shape=(), int32; updates made
    salp_seed: jax.Array  # shape=(), uint32; of all draws


def salp_swarm_sgd(
    learning_rate: optax.ScalarOrSchedule,
    *,
    iterations: jax.typing.ArrayLike,
    radius: jax.typing.ArrayLike,
    population: int = 50,
    momentum: jax.typing.ArrayLike = 0.9,
    seed: jax.typing.ArrayLike = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Momentum SGD whose parameters are the food source of a salp swarm.

    The salp swarm algorithm moves a chain of :math:`N` salps :math:`x^i` around the best place found so far, the food
    source :math:`F`, in iterations :math:`l = 1, 2, \dots, L`. Here :math:`F` is the parameters, and update :math:`l`
    first takes a step of SGD, then one of the swarm around the result:

    .. math::

      b &\leftarrow \mu b + g, \qquad F \leftarrow F - \eta b \\
      c_1 &= 2 \exp\left( -(4 l / L)^2 \right) \\
      x^i_j &= \begin{cases}
        F_j + c_1 (2 r c_2 - r) & \text{if } c_3 < \tfrac12 \\
        F_j - c_1 (2 r c_2 - r) & \text{otherwise}
      \end{cases} && \text{leaders, the first half} \\
      x^i &= \tfrac12 (x^i + x^{i-1}) && \text{followers, one after the other} \\
      x^i &\leftarrow \operatorname{clip}(x^i, F - r, F + r)

    with :math:`c_2, c_3` uniform on [0, 1) for each leader and coordinate. All salps and :math:`F` are evaluated on the
    batch, and the best salp replaces :math:`F` if its loss is lower. On its own batch, an update is therefore never
    worse than SGD's. One batch says little about a distant salp, so use large batches, or a `radius` that is small
    relative to the parameters.

    We could not find how S-SGD (Oswalt Manoj and Ananth, 2020) combines the two. The combination is ours, and we do not
    claim that it is theirs. The equations of the swarm are from its source, with three changes. Its box is not fixed
    but lies around :math:`F`, so a leader's step has the bounds :math:`-r` and :math:`r`. The loss of :math:`F` is
    recomputed on each batch. The momentum :math:`b` does not change when a salp takes over. After :math:`L` updates
    :math:`c_1` is below 3e-7 and tends to zero: the salps gather around :math:`F`, at the same cost.

    Args:
      learning_rate: :math:`\eta`, a scalar or an Optax schedule of the step (from 0).
      iterations: :math:`L`, positive: updates until the search has narrowed to a point, such as the updates of the
        whole run.
      radius: :math:`r`, not negative, in the unit of the parameters, the same for all parameters.
      population: :math:`N`, at least 1, of which the first half (rounded up) leads; 50 in EvoloPy. The state contains
        :math:`N` copies of the parameters, and an update evaluates :math:`N + 1` losses: use few for large networks.
      momentum: :math:`\mu`, in [0, 1).
      seed: An int, or a key such as `jax.random.key(0)`, which may be traced. All draws depend on it and the step.

    Returns:
      An `optax.GradientTransformationExtraArgs`, the last of its chain: later transformations would not be evaluated.
      Do not put it inside `optax.masked` or `optax.partition`, because `value_fn` would get parameters that contain
      `MaskedNode`.
      `update(grads, state, params, value=loss, value_fn=value_fn)` takes a function `value_fn(params)` that returns the
      loss of the same batch at other parameters, with shape (). It is called once, under `jax.vmap`. It should not use
      dropout. Under `shard_map` or `pmap` it should average over the replicas. A loss of NaN counts as infinite.
      `value`, the loss before the step, is not needed.

      `init` also takes abstract parameters, `jax.ShapeDtypeStruct`. The state is then a template around zeros.

    Raises:
      TypeError: If a setting is not a number (or, for the rate, a schedule); from `update`, if `value_fn` is missing.
      ValueError: If a setting is an array with axes, or a Python number out of its range; if `population` is not a
        Python int, or `seed` neither an integer nor a typed key; from `init`, if a parameter is complex; from
        `update`, if there are no `params` or the loss is not a scalar.

    Examples:
      The start is a local minimum of Rastrigin's function, 12.9, where gradient descent stays. The global minimum is 0.

      >>> import jax, jax.numpy as jnp, optax
      >>> from lcam_optax import contrib
      >>> value_fn = lambda w: jnp.sum(w**2 - 10 * jnp.cos(2 * jnp.pi * w) + 10)
      >>> tx = contrib.salp_swarm_sgd(1e-3, iterations=100, radius=2.5)
      >>> params = jnp.array([3.0, -2.0])
      >>> state = tx.init(params)
      >>> @jax.jit
      ... def step(params, state):
      ...     value, grads = jax.value_and_grad(value_fn)(params)
      ...     updates, state = tx.update(grads, state, params, value=value, value_fn=value_fn)
      ...     return optax.apply_updates(params, updates), state
      >>> for _ in range(200):
      ...     params, state = step(params, state)
      >>> print(f"{value_fn(params):.1f}")
      1.0

    References:
      Mirjalili et al., Salp Swarm Algorithm, Advances in Engineering Software 114, 2017, equations 3.1 to 3.4; half of
      the salps are leaders, as in github 7ossam81/EvoloPy. Oswalt Manoj and Ananth, The Computer Journal, 2020, of
      which we could read only the abstract.
    """
    require_scalar_or_schedule("learning_rate", learning_rate)
    require_unit_interval("momentum", momentum)
    require_seed(seed)
    _check_numbers(iterations, radius, population)

    def init_fn(params: optax.Params) -> SalpSwarmSgdState:
        require_real("salp_swarm_sgd", params)
        salp_seed = initial_seed(seed)
        food = jax.tree.map(_concrete, params)

        def scattered(param: jax.Array, key: jax.Array) -> jax.Array:
            offset = _offset(jnp.asarray(1.0), radius, jax.random.uniform(key, (population, *param.shape)))
            return param[None] + offset.astype(param.dtype)

        salps = jax.tree.map(scattered, food, _keys(salp_seed, counter(), food))
        return SalpSwarmSgdState(optax.tree.zeros_like(params), salps, counter(), salp_seed)

    def update_fn(
        updates: optax.Updates,
        state: SalpSwarmSgdState,
        params: optax.Params | None = None,
        *,
        value_fn: Callable[[optax.Params], jax.Array] | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, SalpSwarmSgdState]:
        del extra_args
        params, value_fn = _required(params, value_fn)
        updates, state, params = as_arrays((updates, state, params))
        step = incremented(state.salp_step)
        rate = at_step("learning_rate", learning_rate, state.salp_step)
        reach = 2 * jnp.exp(-((4 * step.astype(float) / as_float(iterations)) ** 2))

        def moved(salps: jax.Array, food: jax.Array, key: jax.Array) -> jax.Array:
            c2, c3 = jax.random.uniform(key, (2, _leaders(population), *food.shape))
            return _salp_step(salps, food, reach, radius, c2, c3)

        sgd_step = partial(_sgd_step, momentum=as_float(momentum), rate=rate)
        sgd_updates, trace = map_with_states(sgd_step, updates, state.trace)
        food = optax.apply_updates(params, sgd_updates)
        salps = jax.tree.map(moved, state.population, food, _keys(state.salp_seed, step, params))
        candidates = jax.tree.map(_candidates, sgd_updates, salps, params)
        best = _best(value_fn, params, candidates, population + 1)
        new_state = SalpSwarmSgdState(trace, salps, step, state.salp_seed)
        return jax.tree.map(lambda rows: rows[best], candidates), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _required(
    params: optax.Params | None, value_fn: Callable[[optax.Params], jax.Array] | None
) -> tuple[optax.Params, Callable[[optax.Params], jax.Array]]:
    """Return both, or say which is missing."""
    if value_fn is None:
        raise TypeError(
            "salp_swarm_sgd evaluates its population and was given no value_fn: call "
            "update(grads, state, params, value_fn=value_fn), where value_fn(params) gives the loss there. "
            "If you do pass it, a wrapper around this transformation drops it."
        )
    if params is None:
        raise ValueError("salp_swarm_sgd moves the parameters and was given none: call update(grads, state, params)")
    return params, value_fn


def _sgd_step(
    gradient: jax.Array, trace: jax.Array, *, momentum: jax.Array, rate: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the update of one tensor in the dtype of its gradient. The state keeps its dtype."""
    dtype = working_dtype(gradient, trace)
    new_trace = momentum.astype(dtype) * trace.astype(dtype) + gradient.astype(dtype)
    return (-rate.astype(dtype) * new_trace).astype(gradient.dtype), new_trace.astype(trace.dtype)


def _concrete(param: Any) -> jax.Array:
    """Return the parameter, or zeros for an abstract one."""
    return jnp.zeros_like(param) if isinstance(param, jax.ShapeDtypeStruct) else jnp.asarray(param)


def _salp_step(
    salps: jax.Array, food: jax.Array, reach: jax.Array, radius: jax.typing.ArrayLike, c2: jax.Array, c3: jax.Array
) -> jax.Array:
    """Move the chain, [population, ...], by one iteration; `c2` and `c3` are [leaders, ...], `reach` is c1."""
    dtype = salps.dtype
    offset = _offset(reach, radius, c2)
    leaders = food[None].astype(dtype) + jnp.where(c3 < 0.5, offset, -offset).astype(dtype)

    def follow(before: jax.Array, own: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean = (own + before) / 2
        return mean, mean

    _, followers = jax.lax.scan(follow, leaders[-1], salps[_leaders(len(salps)) :])
    half_width = as_float(radius).astype(dtype)
    return jnp.clip(jnp.concatenate([leaders, followers]), food[None] - half_width, food[None] + half_width)


def _leaders(population: int) -> int:
    return (population + 1) // 2


def _offset(reach: jax.Array, radius: jax.typing.ArrayLike, uniform: jax.Array) -> jax.Array:
    """Spread uniform draws over the box around the food, scaled by `reach`, in the scalar dtype of the state."""
    half_width = as_float(radius)
    return reach * (2 * half_width * uniform - half_width)


def _keys(seed: jax.Array, step: jax.Array, tree: Any) -> Any:
    """Return one key per leaf of a tree, from the seed and the step."""
    return optax.tree.split_key_like(jax.random.fold_in(jax.random.key(seed), step), tree)


def _candidates(sgd_update: jax.Array, salps: jax.Array, param: jax.Array) -> jax.Array:
    """Return the updates that lead to the food source (first row) and to each salp."""
    return jnp.concatenate([sgd_update[None], (salps - param[None]).astype(sgd_update.dtype)])


def _best(value_fn: Callable, params: optax.Params, candidates: optax.Updates, size: int) -> jax.Array:
    """Return the first row with the lowest loss, evaluated at the parameters that `optax.apply_updates` will make."""
    losses = jax.vmap(lambda row: value_fn(optax.apply_updates(params, row)))(candidates)
    if jax.tree.map(jnp.shape, losses) != (size,):
        got = jax.tree.map(lambda loss: loss.shape[1:], losses)
        raise ValueError(f"value_fn must return the loss alone, a scalar of shape (), got {got}.")
    return jnp.argmin(jnp.where(jnp.isnan(losses), jnp.inf, losses))


def _check_numbers(iterations: Any, radius: Any, population: Any) -> None:
    require_scalar("iterations", iterations)
    require_scalar("radius", radius)
    if is_number(iterations) and not iterations > 0:
        raise ValueError(f"iterations must be positive, got {iterations}.")
    if is_number(radius) and not radius >= 0:
        raise ValueError(f"radius must not be negative, got {radius}.")
    if not isinstance(population, int) or population < 1:
        raise ValueError(
            f"population must be a Python int of at least 1, for it is a shape, got {population!r}. With "
            'optax.inject_hyperparams, pass static_args=("population",).'
        )
