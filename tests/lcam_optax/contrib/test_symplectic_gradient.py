"""`symplectic_gradient` against its matrix form, and on games with known outcomes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from lcam_optax import contrib
from tests.lcam_optax.contrib import games


def field_of(losses):
    return contrib.player_field(losses, games.TWO_PLAYERS)


def final_norm(fn, learning_rate, steps=400, params=None):
    """Distance from the origin after gradient descent with a given field."""
    tx = optax.sgd(learning_rate)
    params = games.start() if params is None else params

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(fn(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), length=steps)
    return optax.tree.norm(params)


def twin(w, field, jacobian, *, align, scale, eps, divisor):
    """Algorithm 1 of the paper with whole matrices, in float64."""
    xi, j = np.float64(field(w)), np.float64(jacobian(w))
    antisymmetric = (j - j.T) / 2
    gradient_of_h = j.T @ xi
    adjustment = antisymmetric.T @ xi
    lam = np.sign((xi @ gradient_of_h) * (adjustment @ gradient_of_h) / divisor + eps) if align else 1.0
    return xi + scale * lam * adjustment


def make_random_game(seed):
    """A smooth game of two players over four tensors: (losses, players, params)."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    def loss(matrix, vector):
        def of(params):
            w = ravel_pytree(params)[0]
            return jnp.sum(jnp.tanh(matrix @ w) * vector) + w @ matrix @ w / 10

        return of

    params = {"a": {"w": normal(2, 3), "b": normal()}, "c": [normal(4), normal(1)]}
    return [loss(normal(12, 12), normal(12)) for _ in range(2)], {"a": 0, "c": 1}, params


@pytest.mark.parametrize(
    ("seed", "normalizer", "align"), [(0, "dim", True), (1, "dim", True), (2, "leaves", True), (0, "dim", False)]
)
def test_equals_the_matrix_form(seed, normalizer, align):
    losses, players, params = make_random_game(seed)
    field_fn = contrib.player_field(losses, players)
    adjusted_fn = contrib.symplectic_gradient(field_fn, align=align, scale=0.7, eps=0.3, normalizer=normalizer)
    w, unravel = ravel_pytree(params)

    def flat_field(w):
        return ravel_pytree(field_fn(unravel(w)))[0]

    divisor = 12 if normalizer == "dim" else 4
    field, jacobian = jax.jit(flat_field), jax.jit(jax.jacobian(flat_field))
    expected = twin(w, field, jacobian, align=align, scale=0.7, eps=0.3, divisor=divisor)
    np.testing.assert_allclose(ravel_pytree(jax.jit(adjusted_fn)(params))[0], expected, rtol=1e-4, atol=1e-4)


def test_jit_equals_no_jit():
    adjusted_fn = contrib.symplectic_gradient(field_of(games.WEAK_ATTRACTOR))
    chex.assert_trees_all_close(jax.jit(adjusted_fn)(games.start()), adjusted_fn(games.start()), rtol=1e-6)


def test_bilinear_game_is_rotated_towards_the_origin():
    params = games.start()
    adjusted = contrib.symplectic_gradient(field_of(games.BILINEAR))(params)
    x, y = games.as_vector(params)
    np.testing.assert_allclose(games.as_vector(adjusted), [y + x, -x + y], rtol=1e-6)


def test_bilinear_game_converges_below_the_step_of_one():
    adjusted_fn = contrib.symplectic_gradient(field_of(games.BILINEAR))
    assert final_norm(adjusted_fn, 0.5, steps=20) == pytest.approx(0.5**10 * np.sqrt(1.25), rel=1e-4)
    assert final_norm(adjusted_fn, 0.9) < 1e-6
    assert final_norm(adjusted_fn, 1.1) > 1e6
    assert final_norm(field_of(games.BILINEAR), 0.5) > 1e6


def test_weak_attractor_loses_its_rotation():
    adjusted_fn = contrib.symplectic_gradient(field_of(games.WEAK_ATTRACTOR))
    params = games.start()
    np.testing.assert_allclose(games.as_vector(adjusted_fn(params)), 101 * games.as_vector(params), rtol=1e-6)
    assert final_norm(adjusted_fn, 0.99 * 2 / 101, steps=1000) < 1e-3
    assert final_norm(adjusted_fn, 1.01 * 2 / 101, steps=1000) > 1e3


@pytest.mark.parametrize(("align", "attracted"), [(False, True), (True, False)])
def test_align_stays_away_from_an_unstable_point(align, attracted):
    adjusted_fn = contrib.symplectic_gradient(field_of(games.unstable(0.5)), align=align)
    norm = final_norm(adjusted_fn, 0.1, params={"x": jnp.float32(1), "y": jnp.float32(1)})
    assert (norm < 1e-3) == attracted
    assert (norm > 1e3) != attracted


@pytest.mark.parametrize("e", [0.0, 0.01])
def test_four_player_game(e):
    field_fn = contrib.player_field(games.four_players(e), players=[0, 1, 2, 3])
    params = [jnp.float32(v) for v in (1, -2, 0.5, 1)]
    assert final_norm(contrib.symplectic_gradient(field_fn), 0.1, steps=1000, params=params) < 1e-3
    assert final_norm(field_fn, 0.1, steps=1000, params=params) > 1e3


def test_normalizer_decides_how_much_the_bias_weighs():
    # One tensor of two numbers: J = [[-1, -1], [1, -1]], xi = (-1, 1), grad H = (2, 0), A'xi = (1, 1), product -4.
    def field_fn(w):
        return jnp.array([[-1.0, -1.0], [1.0, -1.0]]) @ w

    w = jnp.array([1.0, 0.0])
    for normalizer, sign in (("dim", 1), ("leaves", -1)):  # -4 / 2 + 3 > 0 > -4 / 1 + 3
        adjusted = contrib.symplectic_gradient(field_fn, eps=3.0, normalizer=normalizer)(w)
        np.testing.assert_allclose(adjusted, [-1 + sign, 1 + sign], rtol=1e-6)


def test_further_arguments_reach_the_field():
    field_fn = contrib.player_field([lambda p, b: b * p[0] * p[1], lambda p, b: -b * p[0] * p[1]], players=[0, 1])
    params = [jnp.float32(1), jnp.float32(0)]
    adjusted = contrib.symplectic_gradient(field_fn)(params, b=3.0)
    np.testing.assert_allclose(jnp.stack(adjusted), [9, -3])


def test_bfloat16_parameters_among_others():
    params = {"x": jnp.bfloat16(1), "y": jnp.float32(-0.5)}
    losses = [lambda p: p["x"].astype(float) * p["y"], lambda p: -p["x"].astype(float) * p["y"]]
    adjusted = contrib.symplectic_gradient(field_of(losses))(params)
    assert adjusted["x"].dtype == jnp.bfloat16
    np.testing.assert_allclose([float(adjusted["x"]), float(adjusted["y"])], [0.5, -1.5])


def test_vmapped_over_scales_and_players_equals_separate():
    scales, params = jnp.array([0.0, 0.5, 1.0]), jax.tree.map(lambda x: x * jnp.arange(3.0), games.start())

    def adjusted(scale, params):
        return contrib.symplectic_gradient(field_of(games.WEAK_ATTRACTOR), scale=scale)(params)

    together = jax.vmap(adjusted)(scales, params)
    for i, scale in enumerate(scales):
        alone = adjusted(scale, jax.tree.map(lambda x, i=i: x[i], params))
        np.testing.assert_allclose(games.as_vector(together)[:, i], games.as_vector(alone), rtol=1e-6)


def test_losses_may_loop_and_bring_their_own_derivatives():
    @jax.custom_vjp
    def square(x):
        return x**2

    square.defvjp(lambda x: (x**2, x), lambda x, g: (2 * x * g,))

    def loss(p, sign):
        total, _ = jax.lax.scan(lambda c, _: (c + sign * p["x"] * p["y"], None), square(p["x"]) * 0, length=2)
        return total + square(p["x"]) + square(p["y"])

    field_fn = field_of([lambda p: loss(p, 1.0), lambda p: loss(p, -1.0)])
    adjusted = jax.jit(contrib.symplectic_gradient(field_fn, align=False))(games.start())
    # J = [[2, 2], [-2, 2]], xi = J w, adjustment = A'xi with A = [[0, 2], [-2, 0]].
    j, a, w = np.array([[2, 2], [-2, 2]]), np.array([[0, 2], [-2, 0]]), np.array([1, -0.5])
    np.testing.assert_allclose(games.as_vector(adjusted), j @ w + a.T @ j @ w, rtol=1e-6)


def test_unknown_normalizer():
    with pytest.raises(ValueError, match='normalizer must be "dim"'):
        contrib.symplectic_gradient(field_of(games.BILINEAR), normalizer="d")


@pytest.mark.parametrize("adjusted", [contrib.symplectic_gradient, contrib.consensus_gradient])
@pytest.mark.parametrize("make", [float, np.float64, lambda x: np.array([x, x])])
def test_numbers_and_float64_arrays_are_parameters_too(adjusted, make):
    params = {"x": make(1.0), "y": make(-2.0)}
    found = adjusted(lambda p: p)(params)
    like = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    chex.assert_trees_all_close(found, adjusted(lambda p: p)(like))
