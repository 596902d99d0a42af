"""Helpers that the tests of several optimizers share."""

import chex
import jax
import optax


def run(tx, params, gradients):
    """Returns the parameters and the whole state after each step."""

    def step(carry, grads):
        params, state = carry
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, state)

    return jax.lax.scan(step, (params, tx.init(params)), gradients)[1]


def assert_jit_changes_nothing_and_compiles_once(tx, params, steps, rtol):
    """Take steps along the parameters themselves, with jit and without."""
    step = jax.jit(tx.update)
    left = right = tx.init(params)
    for _ in range(steps):
        a, left = tx.update(params, left, params)
        b, right = step(params, right, params)
        chex.assert_trees_all_close((a, left), (b, right), rtol=rtol)
    assert step._cache_size() == 1
