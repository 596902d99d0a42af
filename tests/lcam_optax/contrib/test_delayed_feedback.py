"""`delayed_feedback` against its control law in NumPy, and systems that it stabilises."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcam_optax import contrib
from lcam_optax.contrib._delayed_feedback import coefficients
from tests.lcam_optax.contrib import descent


def run(tx, params, field_fn, steps):
    """The parameters after each step."""

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(field_fn(params), state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.lax.scan(step, (params, tx.init(params)), length=steps)[1]


def limit(terms):
    return 1 / np.tan(np.pi / (2 * (terms + 1))) ** 2


def radius(terms, multiplier):
    """Spectral radius of the controlled linear map with one multiplier."""
    return np.abs(np.roots([1, *(-multiplier * np.array(coefficients(terms)))])).max()


@pytest.mark.parametrize(
    ("terms", "expected", "mu"),
    [
        (1, [1], 1),
        (2, [2 / 3, 1 / 3], 3),
        (3, [0.4393, 0.4142, 0.1464], 5.828),
        (4, [0.3056, 0.3708, 0.2472, 0.0764], 9.472),
        (5, [0.2233, 0.3094, 0.2679, 0.1547, 0.0447], 13.93),
    ],
)
def test_the_reference_coefficients(terms, expected, mu):
    np.testing.assert_allclose(coefficients(terms), expected, atol=1e-4)
    assert limit(terms) == pytest.approx(mu, abs=1e-2)


@pytest.mark.parametrize("terms", range(1, 8))
def test_the_stable_range_ends_where_the_docstring_says(terms):
    assert sum(coefficients(terms)) == pytest.approx(1)
    assert radius(terms, -0.999 * limit(terms)) < 1 < radius(terms, -1.001 * limit(terms))
    assert radius(terms, 0.999) < 1 < radius(terms, 1.001)
    assert max(radius(terms, m) for m in np.linspace(-0.999 * limit(terms), 0.999, 200)) < 1


def test_flat_directions_get_slower():
    assert radius(2, 0.9) == pytest.approx(0.9245, abs=1e-4)


def twin(w, gradients, rates, terms):
    """The law itself, from the list of all values of the map."""
    a, values, path = coefficients(terms), [], []
    for g, rate in zip(gradients, rates, strict=True):
        values.append(w - rate * g)
        w = sum(a[j] * values[max(len(values) - 1 - j, 0)] for j in range(terms))
        path.append(w)
    return np.stack(path)


@partial(jax.jit, static_argnames="terms")
def run_on_gradients(params, gradients, terms):
    return descent.run(contrib.delayed_feedback(optax.linear_schedule(0.5, 0.1, 10), terms), params, gradients)[0]


@given(terms=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_equals_the_twin(terms, seed):
    rng = np.random.default_rng(seed)
    params = {"w": rng.normal(size=(2, 3)).astype(np.float32), "b": np.float32(rng.normal())}
    gradients = {"w": rng.normal(size=(12, 2, 3)), "b": rng.normal(size=12)}
    gradients = jax.tree.map(lambda x: x.astype(np.float32), gradients)
    path = run_on_gradients(params, gradients, terms)
    rates = 0.5 - 0.04 * np.minimum(np.arange(12), 10)
    for name in params:
        expected = twin(params[name], gradients[name], rates, terms)
        np.testing.assert_allclose(path[name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("terms", [2, 3, 4])
def test_a_quadratic_converges_up_to_its_larger_step(terms):
    def final(learning_rate):
        return abs(run(contrib.delayed_feedback(learning_rate, terms), jnp.ones(()), lambda w: w, 2000)[-1])

    assert final(0.98 * (1 + limit(terms))) < 1e-3
    assert not final(1.02 * (1 + limit(terms))) < 1e3
    assert not abs(run(optax.sgd(2.05), jnp.ones(()), lambda w: w, 2000)[-1]) < 1e3


def test_a_chaotic_map_is_stabilised():
    # f(w) = r w (1 - w) with r = 3.8 is chaotic; at its fixed point 1 - 1/r the multiplier is 2 - r = -1.8.
    def field_fn(w):  # w - f(w), for a rate of 1
        return w - 3.8 * w * (1 - w)

    fixed = 1 - 1 / 3.8
    plain = run(contrib.delayed_feedback(1.0, terms=1), jnp.float32(0.3), field_fn, 600)[-100:]
    controlled = run(contrib.delayed_feedback(1.0, terms=2), jnp.float32(0.3), field_fn, 600)[-100:]
    assert plain.std() > 0.1
    np.testing.assert_allclose(controlled, fixed, rtol=1e-4)


def test_a_saddle_still_repels():
    path = run(contrib.delayed_feedback(0.1), jnp.array([1.0, 1e-3]), lambda w: w * jnp.array([1.0, -1.0]), 200)
    assert abs(path[-1, 0]) < 1e-3
    assert abs(path[-1, 1]) > 1e3


def test_one_term_is_gradient_descent():
    path = run(contrib.delayed_feedback(0.1, 1), jnp.ones(3), jnp.sin, 20)
    np.testing.assert_array_equal(path, run(optax.sgd(0.1), jnp.ones(3), jnp.sin, 20))


def test_a_standstill_stays_put_in_bfloat16():
    params = jnp.linspace(-3, 3, 7).astype(jnp.bfloat16)
    path = run(contrib.delayed_feedback(0.1), params, jnp.zeros_like, 50)
    np.testing.assert_array_equal(path[-1], params)


def test_coarse_gradients_move_fine_parameters():
    tx = contrib.delayed_feedback(1e-3, 2)
    with jax.numpy_dtype_promotion("standard"):  # coarse updates are added to fine parameters
        fine, coarse = (
            run(tx, jnp.ones(1), lambda p, d=dtype: (p - 0.9).astype(d), 200)[-1]
            for dtype in (jnp.float32, jnp.bfloat16)
        )
    np.testing.assert_allclose(coarse, fine, atol=5e-4)


def test_jit_equals_no_jit_and_compiles_once():
    tx = contrib.delayed_feedback(optax.constant_schedule(0.1), 3)
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones((), jnp.bfloat16)}
    descent.assert_jit_changes_nothing_and_compiles_once(tx, params, steps=4, rtol=2e-2)


def test_vmapped_over_rates_equals_separate():
    rates = jnp.array([0.1, 2.5])

    def final(rate):
        return run(contrib.delayed_feedback(rate, 3), jnp.ones(2), jnp.sin, 10)[-1]

    np.testing.assert_allclose(jax.vmap(final)(rates), jnp.stack([final(r) for r in rates]), rtol=1e-5)


def test_inject_hyperparams():
    tx = optax.inject_hyperparams(contrib.delayed_feedback, static_args="terms")(learning_rate=0.5, terms=3)
    path = run(tx, jnp.ones(2), jnp.sin, 10)
    np.testing.assert_allclose(path, run(contrib.delayed_feedback(0.5, 3), jnp.ones(2), jnp.sin, 10), rtol=1e-6)


def test_dtypes_none_and_masked_places_are_kept():
    tx = contrib.delayed_feedback(0.1)
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2), "c": None}
    updates, state = tx.update(params, tx.init(params), params)
    chex.assert_trees_all_equal_dtypes(updates, params, state.recent_targets[0])
    chex.assert_trees_all_equal_shapes_and_dtypes(state, tx.init(params))
    masked = optax.masked(tx, {"a": True, "b": False, "c": False})
    updates, _ = masked.update(params, masked.init(params), params)
    np.testing.assert_array_equal(updates["b"], 1)
    assert updates["c"] is None


@pytest.mark.parametrize("terms", [0, 1.5])
def test_terms_out_of_range(terms):
    with pytest.raises(ValueError, match="terms must be a whole number of at least 1"):
        contrib.delayed_feedback(0.1, terms)


def test_missing_params():
    tx = contrib.delayed_feedback(0.1)
    with pytest.raises(ValueError, match="was given none: call update"):
        tx.update(jnp.ones(1), tx.init(jnp.ones(1)))


@pytest.mark.parametrize("terms", [2, 3])
def test_a_gradient_that_comes_later_finds_a_history(terms):
    """From the start, a parameter without a gradient behaves like one whose gradient is zero."""
    tx = contrib.delayed_feedback(0.1, terms)
    params = {"frozen": jnp.float32(10.0), "still": jnp.float32(10.0)}
    state = tx.init(params)
    for gradient in (None, None, 1.0, 2.0):
        frozen = None if gradient is None else jnp.float32(gradient)
        grads = {"frozen": frozen, "still": jnp.float32(gradient or 0.0)}
        updates, state = tx.update(grads, state, params)
        assert updates["frozen"] == (None if gradient is None else updates["still"])
        params = {name: params[name] + (0 if update is None else update) for name, update in updates.items()}
    assert params["frozen"] == params["still"] != 10
