import jax
import jax.numpy as jnp
import numpy as np
import optax

from train.recipe.replay import replayed_momentum, scale_by_replayed_momentum

MOMENTA = np.float32([0.9, 0.95, 0.5, 0.0])


def run(tx, grads):
    params = jnp.zeros(2)
    state, seen, used = tx.init(params), [], []
    update = jax.jit(tx.update)
    for grad in grads:
        used.append(replayed_momentum(state))
        updates, state = update(grad, state)
        seen.append(updates)
    return np.stack(seen), np.stack(used)


def test_each_step_uses_its_own_momentum():
    grads = np.random.default_rng(0).standard_normal((4, 2)).astype(np.float32)
    seen, used = run(scale_by_replayed_momentum(MOMENTA), grads)
    trace = np.zeros(2, np.float32)
    for momentum, grad, update in zip(MOMENTA, grads, seen, strict=True):
        trace = momentum * trace + grad
        np.testing.assert_allclose(update, trace, rtol=1e-6)
    np.testing.assert_array_equal(used, MOMENTA)


def test_a_constant_momentum_is_the_trace_of_optax():
    grads = np.random.default_rng(1).standard_normal((5, 2)).astype(np.float32)
    seen, _ = run(scale_by_replayed_momentum(np.full(5, 0.9, np.float32)), grads)
    trace = optax.trace(0.9)
    state = trace.init(jnp.zeros(2))
    for grad, update in zip(grads, seen, strict=True):
        expected, state = trace.update(grad, state)
        np.testing.assert_array_equal(update, expected)


def test_one_program_serves_different_momenta():
    tx = scale_by_replayed_momentum(MOMENTA)
    update = jax.jit(tx.update)
    grad = jnp.ones(2)
    _, first = update(grad, tx.init(jnp.zeros(2)))
    _, other = update(grad, scale_by_replayed_momentum(1 - MOMENTA).init(jnp.zeros(2)))
    one, _ = update(grad, first)
    two, _ = update(grad, other)
    assert update._cache_size() == 1
    np.testing.assert_allclose(one, 1.95, rtol=1e-6)
    np.testing.assert_allclose(two, 1.05, rtol=1e-6)
