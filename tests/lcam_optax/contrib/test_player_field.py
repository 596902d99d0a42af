"""`player_field`: each player's gradient in its own parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lcam_optax import contrib
from tests.lcam_optax.contrib import games


def test_each_player_descends_its_own_loss():
    field = contrib.player_field(games.WEAK_ATTRACTOR, games.TWO_PLAYERS)({"x": jnp.float32(2), "y": jnp.float32(3)})
    assert field == {"x": 2 + 30, "y": 3 - 20}


def test_four_players():
    field_fn = contrib.player_field(games.four_players(0.25), players=[0, 1, 2, 3])
    w = np.random.default_rng(0).normal(size=4).astype(np.float32)
    jacobian = 0.25 * np.eye(4) + np.triu(np.ones((4, 4)), 1) - np.tril(np.ones((4, 4)), -1)
    np.testing.assert_allclose(jnp.stack(field_fn(list(jnp.asarray(w)))), jacobian @ w, rtol=1e-5)


PARAMS = {"critic": {"w": jnp.arange(3.0), "b": jnp.float32(1)}, "maker": {"w": jnp.ones((2, 3))}}


def critic_loss(p, batch):
    return jnp.sum(batch @ p["maker"]["w"] @ p["critic"]["w"]) + p["critic"]["b"] ** 2


def maker_loss(p, batch):
    return -jnp.mean((batch @ p["maker"]["w"] @ p["critic"]["w"]) ** 2) + p["critic"]["b"]


@pytest.mark.parametrize(
    "players",
    [
        {"critic": 0, "maker": 1},
        {"critic": {"w": 0, "b": 0}, "maker": {"w": 1}},
        lambda params: {name: int(name == "maker") for name in params},
    ],
    ids=["prefix", "full", "function"],
)
def test_equals_the_whole_gradients_cut_along_the_partition(players):
    batch = jax.random.normal(jax.random.key(0), (4, 2))
    field = jax.jit(contrib.player_field([critic_loss, maker_loss], players))(PARAMS, batch=batch)
    expected = {
        "critic": jax.grad(critic_loss)(PARAMS, batch)["critic"],
        "maker": jax.grad(maker_loss)(PARAMS, batch)["maker"],
    }
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), field, expected)


def test_dtypes_and_places_without_parameters_are_kept():
    params = {"x": jnp.ones(2, jnp.bfloat16), "y": jnp.ones(2), "frozen": None}
    losses = [lambda p: jnp.sum(p["x"]), lambda p: jnp.sum(p["y"])]
    field = contrib.player_field(losses, {"x": 0, "y": 1, "frozen": None})(params)
    assert field["x"].dtype == jnp.bfloat16
    assert field["frozen"] is None


@pytest.mark.parametrize("players", [{"x": 0, "y": 0}, {"x": 0, "y": 2}, {"x": "x", "y": 1}])
def test_a_partition_that_does_not_fit_the_losses(players):
    with pytest.raises(ValueError, match=r"each of the 2 losses .* expected the owners \[0, 1\]"):
        contrib.player_field(games.BILINEAR, players)(games.start())
