"""Small games with known algebra; each is a pair (losses, players) for `player_field`."""

import jax.numpy as jnp

TWO_PLAYERS = {"x": 0, "y": 1}

BILINEAR = [lambda p: p["x"] * p["y"], lambda p: -p["x"] * p["y"]]

WEAK_ATTRACTOR = [
    lambda p: p["x"] ** 2 / 2 + 10 * p["x"] * p["y"],
    lambda p: p["y"] ** 2 / 2 - 10 * p["x"] * p["y"],
]


def unstable(e):
    """The origin is a fixed point that repels, for e > 0."""
    return [lambda p: -e / 2 * p["x"] ** 2 - p["x"] * p["y"], lambda p: -e / 2 * p["y"] ** 2 + p["x"] * p["y"]]


def four_players(e):
    """Jacobian e * identity + A, where A has +1 above the diagonal and -1 below."""

    def loss(i):
        def of(p):
            return e / 2 * p[i] ** 2 + p[i] * (sum(p[i + 1 :]) - sum(p[:i]))

        return of

    return [loss(i) for i in range(4)]


def start(dtype=jnp.float32):
    return {"x": jnp.asarray(1.0, dtype), "y": jnp.asarray(-0.5, dtype)}


def as_vector(params):
    return jnp.stack([params["x"], params["y"]])
