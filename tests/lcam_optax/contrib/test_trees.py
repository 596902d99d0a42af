"""Tree arithmetic of the contributed methods."""

import chex
import jax.numpy as jnp
import numpy as np
import optax

from lcam_optax.contrib import _trees


def test_inner_product_sums_in_float32():
    ones = {"a": jnp.ones(1000, jnp.bfloat16), "b": jnp.ones(())}
    product = _trees.inner_product(ones, ones)
    assert product.dtype == jnp.float32
    assert product == 1001  # 1000 in bfloat16


def test_add_scaled_keeps_the_dtypes_of_the_first():
    tree = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2)}
    result = _trees.add_scaled(tree, jnp.float32(2), {"a": jnp.ones(2), "b": jnp.ones(2)})
    assert result["a"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(result["b"], 3)


def test_map_with_states_leaves_none_and_masked_places_alone():
    updates = {"a": jnp.ones(2), "b": None, "c": optax.MaskedNode()}
    state = {"a": jnp.ones(2), "b": jnp.zeros(3), "c": optax.MaskedNode()}
    new, held = _trees.map_with_states(lambda u, s: (u + s, u - s), updates, state)
    np.testing.assert_array_equal(new["a"], 2)
    np.testing.assert_array_equal(held["a"], 0)
    assert new["b"] is None
    assert held["b"] is state["b"]
    assert new["c"] == held["c"] == optax.MaskedNode()


def test_map_with_states_of_an_empty_tree():
    assert _trees.map_with_states(lambda u, s: (u, s), {}, {}) == ({}, {})


def test_without_an_update_a_whole_branch_of_states_is_idle():
    updates = {"a": jnp.ones(()), "b": None}
    states = {"a": jnp.zeros(()), "b": {"c": jnp.zeros(()), "d": None}}
    found = _trees.map_with_states(
        lambda u, x, y: (-u, x + 1, y), updates, states, states, idle_fn=lambda x, y: (x, y + 5)
    )
    chex.assert_trees_all_equal(found[0], {"a": -jnp.ones(()), "b": None})
    chex.assert_trees_all_equal(found[1], {"a": jnp.ones(()), "b": {"c": jnp.zeros(()), "d": None}})
    chex.assert_trees_all_equal(found[2], {"a": jnp.zeros(()), "b": {"c": jnp.full((), 5.0), "d": None}})
