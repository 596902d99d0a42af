"""`extragradient` and its one-call form against literal recursions, and on the bilinear game."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lcam_optax import contrib

ROTATION = jnp.array([[0.0, 1.0], [-1.0, 0.0]])


def rotate(w):
    return ROTATION @ w


def path_of(tx, field_fn, params, steps, **extra_args):
    """The parameters after each step, [steps, ...]."""

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(field_fn(params), state, params, **extra_args)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.lax.scan(step, (params, tx.init(params)), length=steps)[1]


def random_field(seed, size=5):
    """A smooth field, for JAX and for NumPy."""
    matrix = np.random.default_rng(seed).normal(size=(size, size)).astype(np.float32) / 2
    return lambda w: jnp.tanh(jnp.asarray(matrix) @ w), lambda w: np.tanh(matrix @ w)


def extra_sgd(w, grad, *, lr, momentum, weight_decay, nesterov, steps):
    """Gidel et al.: one momentum buffer that both half-steps advance."""
    buf, path = np.zeros_like(w), []

    def half_step(at, buf):
        d = grad(at) + weight_decay * at
        buf = momentum * buf + d
        return -lr * (d + momentum * buf if nesterov else buf), buf

    for _ in range(steps):
        u, buf = half_step(w, buf)
        u, buf = half_step(w + u, buf)
        w = w + u
        path.append(w)
    return np.stack(path)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_twin_with_its_state_touched_twice(seed, momentum, nesterov):
    grad_fn, grad = random_field(seed)
    w = np.random.default_rng(seed + 10).normal(size=5).astype(np.float32)
    inner = optax.chain(optax.add_decayed_weights(0.01), optax.sgd(0.1, momentum=momentum, nesterov=nesterov))
    ours = path_of(contrib.extragradient(inner), grad_fn, jnp.asarray(w), 20, grad_fn=grad_fn)
    theirs = extra_sgd(w, grad, lr=0.1, momentum=momentum, weight_decay=0.01, nesterov=nesterov, steps=20)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_from_the_past_equals_its_two_line_recursion(seed):
    grad_fn, grad = random_field(seed)
    w = np.random.default_rng(seed + 10).normal(size=5).astype(np.float32)
    ours = path_of(contrib.extrapolation_from_the_past(0.1), grad_fn, jnp.asarray(w), 20)
    ahead, path = w, []
    for _ in range(21):
        ahead = w - 0.1 * grad(ahead)
        w = w - 0.1 * grad(ahead)
        path.append(ahead)
    np.testing.assert_allclose(ours, np.stack(path)[:20], rtol=1e-4, atol=1e-5)


def test_bilinear_game():
    w = jnp.ones(2)

    def final(tx, **extra_args):
        return optax.tree.norm(path_of(tx, rotate, w, 500, **extra_args)[-1])

    assert final(optax.sgd(0.5)) > 1e6
    # Extragradient's multiplier is 1 - eta^2 -+ i eta, of modulus below 1 for eta below 1.
    assert final(contrib.extragradient(optax.sgd(0.5)), grad_fn=rotate) < 1e-6
    assert final(contrib.extragradient(optax.sgd(1.05)), grad_fn=rotate) > 1e6
    # The one-call form converges for eta below 1 / sqrt(3).
    assert final(contrib.extrapolation_from_the_past(0.57)) < 1e-3
    assert final(contrib.extrapolation_from_the_past(0.59)) > 1e3


def test_jit_equals_no_jit_and_compiles_once():
    tx = contrib.extragradient(optax.sgd(optax.constant_schedule(0.1), momentum=0.9))
    params = {"w": jnp.ones(3), "b": jnp.zeros(())}

    def step(params, state):
        grad_fn = jax.grad(lambda p: jnp.sum((p["w"] * p["b"] - 2) ** 2) + p["b"] ** 2)
        updates, state = tx.update(grad_fn(params), state, params, grad_fn=grad_fn)
        return optax.apply_updates(params, updates), state

    jitted = jax.jit(chex.assert_max_traces(step, n=1))
    left, right = (params, tx.init(params)), (params, tx.init(params))
    for _ in range(3):
        left, right = step(*left), jitted(*right)
    chex.assert_trees_all_close(left, right, rtol=1e-5)
    assert optax.tree.get(right[1], "count") == 6


def test_vmapped_equals_separate():
    starts = jnp.array([[1.0, 0.0], [2.0, -1.0]])

    def final(w):
        return path_of(contrib.extragradient(optax.sgd(0.1)), rotate, w, 5, grad_fn=rotate)[-1]

    np.testing.assert_allclose(jax.vmap(final)(starts), jnp.stack([final(w) for w in starts]), rtol=1e-6)


def test_inject_hyperparams_inside():
    inner = optax.inject_hyperparams(optax.sgd)(learning_rate=0.5)
    path = path_of(contrib.extragradient(inner), rotate, jnp.ones(2), 3, grad_fn=rotate)
    expected = path_of(contrib.extragradient(optax.sgd(0.5)), rotate, jnp.ones(2), 3, grad_fn=rotate)
    np.testing.assert_allclose(path, expected, rtol=1e-6)


def test_dtypes_and_none_are_kept():
    tx = contrib.extragradient(optax.sgd(0.5, momentum=0.9))
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": None}
    updates, state = tx.update(params, tx.init(params), params, grad_fn=lambda p: p)
    chex.assert_trees_all_equal_dtypes(updates, params)
    assert updates["b"] is None
    chex.assert_trees_all_equal_shapes_and_dtypes(state, tx.init(params))


def test_extra_arguments_reach_both_half_steps():
    seen = []

    def update_fn(updates, state, params=None, *, value, **extra_args):
        seen.append(value)
        return updates, state

    tx = contrib.extragradient(optax.GradientTransformationExtraArgs(lambda p: (), update_fn))
    tx.update(jnp.ones(1), tx.init(jnp.ones(1)), jnp.ones(1), grad_fn=lambda p: p, value=3.0)
    assert seen == [3.0, 3.0]


def test_missing_grad_fn():
    tx = contrib.extragradient(optax.sgd(0.1))
    with pytest.raises(TypeError, match="was given no grad_fn: call"):
        tx.update(jnp.ones(1), tx.init(jnp.ones(1)), jnp.ones(1))


def test_missing_params():
    tx = contrib.extragradient(optax.sgd(0.1))
    with pytest.raises(ValueError, match="moves the parameters and was given none"):
        tx.update(jnp.ones(1), tx.init(jnp.ones(1)), grad_fn=lambda p: p)
