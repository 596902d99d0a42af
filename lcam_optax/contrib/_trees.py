"""Arithmetic on trees that several methods share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lcam_optax._scalars import scalar


def require_real(caller: str, params: Any) -> None:
    """Refuse complex parameters. Their imaginary parts would be lost."""
    for path, leaf in jax.tree.leaves_with_path(params):
        dtype = jnp.result_type(leaf)
        if jnp.issubdtype(dtype, jnp.complexfloating):
            raise ValueError(f"{caller} needs real parameters, got {dtype} at params{jax.tree_util.keystr(path)}.")


def require_like(function: str, result: Any, params: Any, *, dtypes: bool) -> None:
    """Refuse the result of a user's function unless it has the structure and shapes (and dtypes) of the parameters."""

    def forms(tree: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), tree)

    def compared(tree: Any) -> Any:
        leaves, structure = jax.tree.flatten(forms(tree))
        return structure, [(leaf.shape, leaf.dtype if dtypes else None) for leaf in leaves]

    if compared(result) != compared(params):
        raise ValueError(
            f"{function} must return one tree like the parameters, and no loss beside it: expected {forms(params)}, "
            f"got {forms(result)}."
        )


def inner_product(left: Any, right: Any) -> jax.Array:
    """Return the inner product of two real trees in the scalar dtype of the state: bfloat16 sums lose the sign."""
    products = jax.tree.map(lambda a, b: jnp.sum(a.astype(float) * b.astype(float)), left, right)
    return sum(jax.tree.leaves(products), scalar(0.0))


def add_scaled(tree: Any, factor: jax.Array, direction: Any) -> Any:
    """Return tree + factor * direction per leaf, in the dtype of `tree`."""
    return jax.tree.map(lambda x, d: x + factor.astype(x.dtype) * d.astype(x.dtype), tree, direction)


def map_with_states(
    leaf_fn: Callable[..., tuple[Any, ...]],
    updates: Any,
    *states: Any,
    idle_fn: Callable[..., tuple[Any, ...]] = lambda *states: states,
) -> tuple[Any, ...]:
    """Map `(update, *states) -> (update, *states)` over the leaves of several trees.

    Args:
      leaf_fn: Takes the leaves of all trees at one place, and returns the same number.
      updates: Tree of updates. A leaf that is None stays None.
      *states: Trees with a value wherever `updates` has a leaf.
      idle_fn: Takes the leaves of the states where the update is None, and returns new ones. By default they do not
        change.

    Returns:
      The same number of trees.
    """

    def idle(*states: Any) -> tuple[Any, ...]:
        return None, *_columns(jax.tree.map(lambda *leaves: _Row(idle_fn(*leaves)), *states), len(states))

    rows = jax.tree.map(
        lambda *row: _Row(idle(*row[1:]) if row[0] is None else leaf_fn(*row)),
        updates,
        *states,
        is_leaf=lambda x: x is None,
    )
    return _columns(rows, 1 + len(states))


def _columns(rows: Any, number: int) -> tuple[Any, ...]:
    return tuple(jax.tree.map(lambda row, i=i: row.values[i], rows) for i in range(number))


class _Row:
    """The new leaves at one place. JAX treats it as a leaf, because the class is not registered."""

    def __init__(self, values: tuple[Any, ...]):
        self.values = values
