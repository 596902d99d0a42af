"""`scale_by_yamadam` against the author's equations in NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcam_optax import contrib


def twin(w, gradients, eps, dtype):
    """The author's loop for ONE tensor; gradients are [steps, *w.shape]. Returns the path and the betas."""
    m = v = s = h = np.zeros_like(w, dtype)
    eps, beta = dtype(eps), dtype(0)
    path, betas = [], []
    for g in gradients.astype(dtype):
        new_m = beta * m + (1 - beta) * g
        v = beta * v + (1 - beta) * (g - m) ** 2
        s = beta * s + (1 - beta) * h**2
        new_h = new_m * np.sqrt((s + eps) / (v + eps))
        beta = 1 / (1 + np.exp(-(np.abs(h).sum() + eps) / (np.abs(new_h).sum() + eps))) - eps
        m, h = new_m, new_h
        w = w - h
        path.append(w)
        betas.append(beta)
    return np.stack(path), np.stack(betas)


def run(params, gradients, tx):
    """Returns the parameters and betas after each step."""

    def step(carry, grads):
        params, state = carry
        updates, state = tx.update(grads, state)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, optax.tree.get(state, "beta"))

    return jax.lax.scan(step, (params, tx.init(params)), gradients)[1]


def test_the_reference_vector():
    with jax.enable_x64(True):
        w = jnp.array([1.0, -2.0])
        tx, path, betas = contrib.yamadam(), [], []
        state = tx.init(w)
        for _ in range(4):
            updates, state = tx.update(w, state)
            w = optax.apply_updates(w, updates)
            path.append(w)
            betas.append(float(optax.tree.get(state, "beta")))
    np.testing.assert_allclose(path[0], [0.999, -1.999], atol=1e-6)
    expected = [(0.9972691, -1.99726867), (0.99453725, -1.99453472), (0.98991293, -1.98990174)]
    np.testing.assert_allclose(path[1:], expected, atol=1e-8)
    np.testing.assert_allclose(betas, [0.50012394, 0.64055649, 0.65328203, 0.64347313], atol=1e-8)


@jax.jit
def run_yamadam(params, gradients, eps):
    return run(params, gradients, contrib.yamadam(eps))


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-10), (np.float32, 1e-3)])
@given(seed=st.integers(0, 2**32 - 1), eps=st.sampled_from([1e-6, 1e-3]))
def test_equals_the_twin_tensor_by_tensor(dtype, rtol, seed, eps):
    rng = np.random.default_rng(seed)
    params = {"w": rng.normal(size=(2, 3)), "deep": {"b": rng.normal(size=3), "scale": rng.normal(size=())}}
    params = jax.tree.map(lambda x: x.astype(dtype), params)
    gradients = jax.tree.map(lambda x: rng.normal(size=(12, *x.shape)).astype(dtype), params)
    with jax.enable_x64(dtype is np.float64):
        path, betas = jax.device_get(run_yamadam(params, gradients, dtype(eps)))
    for leaf, g, *ours in zip(*map(jax.tree.leaves, (params, gradients, path, betas)), strict=True):
        for mine, theirs in zip(ours, twin(leaf, g, eps, dtype), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=rtol)


def test_beta_is_one_scalar_per_tensor_within_its_bounds():
    noise = jax.random.normal(jax.random.key(0), (50, 8))
    gradients = {"a": noise[:, :4], "b": 3 * noise[:, 4:].reshape(50, 2, 2)}
    _, betas = run({"a": jnp.ones(4), "b": jnp.ones((2, 2))}, gradients, contrib.yamadam())
    for beta in (betas["a"], betas["b"]):
        assert beta.shape == (50,)
        assert (beta > 0.5 - 2e-6).all()
        assert (beta < 1).all()
    assert betas["a"][0] == pytest.approx(0.5, abs=1e-3)
    assert (betas["a"][1:] != betas["b"][1:]).all()


def test_converges_without_a_learning_rate():
    target = jnp.array([3.0, -200.0])
    tx = contrib.yamadam()

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(params - target, state)
        return (optax.apply_updates(params, updates), state), None

    params = jnp.zeros(2)
    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), length=2000)
    np.testing.assert_allclose(params, target, rtol=1e-2)


def test_a_gradient_that_never_changes_makes_the_direction_grow():
    path, _ = run(jnp.zeros(1), jnp.ones((15, 1)), contrib.yamadam())
    assert abs(path[-1, 0]) > 1e3


def test_the_bare_direction_points_uphill():
    tx = contrib.scale_by_yamadam()
    grads = jnp.array([1.0, -2.0])
    direction, _ = tx.update(grads, tx.init(grads))
    assert (jnp.sign(direction) == jnp.sign(grads)).all()


def test_jit_equals_no_jit_and_compiles_once():
    tx = contrib.scale_by_yamadam()
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones((), jnp.bfloat16)}
    step = jax.jit(chex.assert_max_traces(tx.update, n=1))
    left = right = tx.init(params)
    for _ in range(3):
        a, left = tx.update(params, left)
        b, right = step(params, right)
        chex.assert_trees_all_close(a, b, rtol=1e-2)
    assert step._cache_size() == 1


def test_vmapped_equals_separate():
    gradients = jax.random.normal(jax.random.key(0), (3, 5, 4))

    def final(gradients):
        return run(jnp.zeros(4), gradients, contrib.yamadam())[0][-1]

    np.testing.assert_allclose(jax.vmap(final)(gradients), jnp.stack([final(g) for g in gradients]), rtol=1e-5)


def test_inject_hyperparams():
    gradients = jax.random.normal(jax.random.key(0), (5, 4))
    path, _ = run(jnp.zeros(4), gradients, optax.inject_hyperparams(contrib.yamadam)(eps=1e-3))
    expected, _ = run(jnp.zeros(4), gradients, contrib.yamadam(1e-3))
    np.testing.assert_allclose(path, expected, rtol=1e-6)


def test_dtypes_are_kept():
    tx = contrib.scale_by_yamadam()
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2)}
    updates, state = tx.update(params, tx.init(params))
    chex.assert_trees_all_equal_dtypes(updates, params, state.mu, state.nu, state.update_square, state.last_update)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, tx.init(params))
    assert state.beta["a"].dtype == jnp.float32


def test_none_and_masked_places_are_left_alone():
    tx = contrib.scale_by_yamadam()
    params = {"a": jnp.ones(2), "b": None}
    updates, _ = tx.update(params, tx.init(params))
    assert updates["b"] is None
    masked = optax.masked(tx, {"a": True, "b": False})
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    updates, _ = masked.update(params, masked.init(params))
    np.testing.assert_allclose(updates["a"], 1e-3, rtol=1e-3)
    np.testing.assert_array_equal(updates["b"], 1)
