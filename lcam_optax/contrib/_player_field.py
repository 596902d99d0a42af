"""The vector field of a game: each player's gradient in its own parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax


def player_field(
    losses: Sequence[Callable[..., jax.Array]], players: Any | Callable[[optax.Params], Any]
) -> Callable[..., optax.Updates]:
    r"""Build the simultaneous gradient of a differentiable game from its players' losses.

    .. math::

      \xi(w) = \left( \nabla_{w_1} \ell_1(w), \ldots, \nabla_{w_n} \ell_n(w) \right)

    where player :math:`i` owns the slice :math:`w_i` of the parameters and minimises :math:`\ell_i`. An optimizer that
    applies this field makes simultaneous gradient descent.

    Args:
      losses: One function per player, `loss(params, *args, **kwargs)`, of ALL parameters; each returns a real scalar
        of shape ().
      players: The owners: a tree of ints with the structure of the parameters (or a prefix of it), where `i` is the
        player with the loss `losses[i]`; or a function of the parameters that returns such a tree.

    Returns:
      A function `field_fn(params, *args, **kwargs)` that returns a tree like `params` (same shapes and dtypes). All
      losses get the same further arguments, so the players share a batch or a random key.

    Raises:
      ValueError: From `field_fn`, if a player has no parameters, or if `players` names one that has no loss.

    Examples:
      >>> import jax.numpy as jnp, optax
      >>> from lcam_optax import contrib
      >>> field_fn = contrib.player_field(
      ...     [lambda p: p["x"] * p["y"], lambda p: -p["x"] * p["y"]], players={"x": 0, "y": 1}
      ... )
      >>> params = {"x": jnp.array(1.0), "y": jnp.array(0.5)}
      >>> tx = optax.sgd(0.1)
      >>> updates, _ = tx.update(field_fn(params), tx.init(params))
      >>> params = optax.apply_updates(params, updates)
      >>> print(f"x {params['x']:.2f}, y {params['y']:.2f}")
      x 0.95, y 0.60

    References:
      Letcher et al., Differentiable Game Mechanics, JMLR 20 (2019), arXiv 1905.04926.
    """

    def field_fn(params: optax.Params, *args: Any, **kwargs: Any) -> optax.Updates:
        leaves, treedef = jax.tree.flatten(params)
        owners = jax.tree.leaves(jax.tree.broadcast(players(params) if callable(players) else players, params))
        _check_owners(owners, len(losses))
        field: list[jax.Array | None] = [None] * len(leaves)
        for player, loss in enumerate(losses):
            owned = [i for i, owner in enumerate(owners) if owner == player]
            for i, gradient in zip(owned, _partial_gradient(loss, owned, params, args, kwargs), strict=True):
                field[i] = gradient
        return jax.tree.unflatten(treedef, field)

    return field_fn


def _partial_gradient(
    loss: Callable[..., jax.Array], owned: list[int], params: optax.Params, args: Any, kwargs: Any
) -> list[jax.Array]:
    """Return the gradient of one loss only in the leaves at the places `owned`, to save the others' cost."""
    leaves, treedef = jax.tree.flatten(params)

    def loss_of_owned(own_leaves: list[jax.Array]) -> jax.Array:
        replaced = dict(zip(owned, own_leaves, strict=True))
        merged = [replaced.get(i, leaf) for i, leaf in enumerate(leaves)]
        return loss(jax.tree.unflatten(treedef, merged), *args, **kwargs)

    return jax.grad(loss_of_owned)([leaves[i] for i in owned])


def _check_owners(owners: list[Any], number_of_players: int) -> None:
    expected, found = set(range(number_of_players)), set(owners)
    if found != expected:
        raise ValueError(
            f"players has to give each of the {number_of_players} losses some parameters, by its index from 0: "
            f"expected the owners {sorted(expected)}, got {sorted(found, key=str)}. Name a player for every parameter, "
            "and hand over one loss per player."
        )
