import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train.studies.games.methods import METHODS, make_step

START = {"x": jnp.array([1.0, -2.0]), "y": jnp.array(0.5)}


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax's Adam relies on implicit promotion."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def field_fn(params, offset=0.0):
    return {"x": jnp.sin(params["x"]) + params["y"] - offset, "y": params["y"] - params["x"].sum()}


def played(method, direction, steps=6):
    init, step = make_step(METHODS[method], field_fn, direction, 0.1)
    params, state = START, init(START)
    for _ in range(steps):
        params, state = step(params, state)
    return params


def descended(tx, steps=6):
    params, state = START, tx.init(START)
    for _ in range(steps):
        updates, state = tx.update(field_fn(params), state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize(
    ("method", "direction", "expected"),
    [
        ("plain", optax.identity(), optax.sgd(0.1)),
        ("plain", optax.scale_by_adam(), optax.adam(0.1)),
        ("optimistic", optax.identity(), optax.optimistic_gradient_descent(0.1)),
        ("optimistic", optax.scale_by_adam(b1=0.5), optax.optimistic_adam_v2(0.1, b1=0.5, nesterov=False)),
    ],
)
def test_methods_that_optax_has_are_optax_s(method, direction, expected):
    jax.tree.map(np.testing.assert_array_equal, played(method, direction), descended(expected))


def test_no_two_methods_are_the_same():
    ends = [np.concatenate([end["x"], end["y"][None]]) for end in (played(name, optax.identity()) for name in METHODS)]
    # In this game both align rules choose the forms without one.
    assert len(np.unique(np.round(ends, 4), axis=0)) == len(METHODS) - 2


@pytest.mark.parametrize(("method", "evaluations"), [("plain", 1), ("optimistic", 1), ("extragradient", 2)])
def test_the_cost_counts_evaluations(method, evaluations):
    calls = []
    init, step = make_step(METHODS[method], lambda p: calls.append(1) or field_fn(p), optax.identity(), 0.1)
    step(START, init(START))
    assert len(calls) == METHODS[method].cost == evaluations


def test_both_half_steps_see_the_batch():
    init, step = make_step(METHODS["extragradient"], field_fn, optax.identity(), 0.1)
    params, _ = step(START, init(START), 3.0)
    ahead = jax.tree.map(lambda p, g: p - 0.1 * g, START, field_fn(START, 3.0))
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, START, field_fn(ahead, 3.0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), params, expected)
