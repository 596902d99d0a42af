"""`learning_rate_range` on known curves and after a real range test."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lcam_optax import contrib

RATES = np.float32([1e-3, 1e-2, 1e-1, 1.0, 10.0])


@pytest.mark.parametrize(
    ("information", "margin", "expected"),
    [
        ([0.1, 0.1, 0.3, 0.8, 0.2], 0.1, (0.1, 1.0)),
        ([0.1, 0.1, 0.3, 0.8, 0.2], 0.5, (1.0, 1.0)),
        ([0.0, 0.4, 0.5, 0.48, 0.2], 0.1, (0.01, 1.0)),  # told all it can well before it is ruined
        ([0.0, 0.4, 0.5, 0.6, 0.7], 0.1, (0.01, 10.0)),  # not grown far enough
        ([0.0, 0.4, 0.5, np.nan, np.nan], 0.1, (0.01, 0.1)),  # diverged
        ([0.5, 0.4, 0.3, 0.2, 0.1], 0.1, (0.001, 0.001)),  # all of them too large
    ],
)
def test_known_curves(information, margin, expected):
    np.testing.assert_allclose(contrib.learning_rate_range(RATES, information, margin), expected, rtol=1e-6)


def test_one_curve_per_layer_by_vmap():
    curves = jnp.array([[0.1, 0.1, 0.3, 0.8, 0.2], [0.0, 0.4, 0.5, 0.1, 0.1]])
    low, high = jax.jit(jax.vmap(contrib.learning_rate_range, (None, 0)))(RATES, curves)
    np.testing.assert_allclose(low, [0.1, 0.01], rtol=1e-6)
    np.testing.assert_allclose(high, [1.0, 0.1], rtol=1e-6)


def test_a_range_test_finds_rates_that_train():
    rng = np.random.default_rng(0)
    labels = jnp.asarray(rng.integers(0, 4, 200))
    images = jnp.asarray(np.eye(4)[labels] * 8 + rng.normal(size=(200, 4)), jnp.float32)

    def loss_fn(w):  # squared error: too large a rate diverges
        return jnp.mean((images @ w - jax.nn.one_hot(labels, 4)) ** 2)

    def informations(learning_rate):
        tx = optax.sgd(learning_rate)

        def step(carry, _):
            w, state = carry
            updates, state = tx.update(jax.grad(loss_fn)(w), state)
            w = optax.apply_updates(w, updates)
            table = contrib.contingency_table(labels, (images @ w).argmax(-1), 4, 4)
            told = jnp.where(jnp.isfinite(w).all(), contrib.label_information(table), jnp.nan)
            return (w, state), told

        w = jnp.asarray(np.random.default_rng(1).normal(size=(4, 4)), jnp.float32)
        return jax.lax.scan(step, (w, tx.init(w)), length=300)[1]

    schedule = optax.exponential_decay(1e-5, transition_steps=300, decay_rate=1e8)
    low, high = contrib.learning_rate_range(schedule(jnp.arange(300)), informations(schedule))
    curvature = 2 / 4 * np.linalg.eigvalsh(images.T @ images / 200).max()
    assert 1e-5 < low < high < 8 / curvature  # descent is stable up to 2 / curvature
    assert informations(low)[-1] > 0.9
    assert not informations(4 * high)[-1] > 0.9


@pytest.mark.parametrize(("rates", "information"), [([0.1], [0.1, 0.2]), ([], []), ([[0.1]], [[0.1]])])
def test_arrays_that_do_not_fit(rates, information):
    with pytest.raises(ValueError, match=r"must be of one shape \(n,\)"):
        contrib.learning_rate_range(np.array(rates), np.array(information))


@pytest.mark.parametrize("margin", [0, 0.6, -1])
def test_a_margin_out_of_range(margin):
    with pytest.raises(ValueError, match=r"margin must be in \(0, 0.5\]"):
        contrib.learning_rate_range(RATES, np.ones(5), margin)
