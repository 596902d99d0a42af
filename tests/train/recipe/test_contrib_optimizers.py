"""The builders of the optimizers from `lcam_optax.contrib`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lcam_optax import contrib
from tests.train.recipe import toy_problem
from train.recipe.contrib_optimizers import CONTRIB_OPTIMIZERS


@pytest.fixture(autouse=True)
def standard_promotion():
    """`inject_hyperparams` mixes integers and floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_extragradient_spends_its_schedule_once_a_step():
    rate = optax.linear_schedule(0.4, 0.0, 4)
    tx = CONTRIB_OPTIMIZERS["extragradient"].build(toy_problem.settings(learning_rate=rate, momentum=0.0))
    params = {"w": jnp.ones(1)}
    state = tx.init(params)
    for step in range(4):
        updates, state = tx.update({"w": jnp.ones(1)}, state, params, grad_fn=lambda p: {"w": jnp.ones(1)})
        np.testing.assert_allclose(updates["w"], -rate(step), rtol=1e-6)


def test_annealed_momentum_ends_without_any_and_with_the_same_effective_step():
    tx = CONTRIB_OPTIMIZERS["annealed-momentum"].build(toy_problem.settings())
    params = {"w": jnp.ones(1)}
    state = tx.init(params)
    for _ in range(40):
        _, state = tx.update({"w": jnp.ones(1)}, state, params)
    hyperparams = optax.tree.get(state, "hyperparams")
    np.testing.assert_allclose(hyperparams["momentum"], 0.9 / 40, rtol=1e-4)
    np.testing.assert_allclose(hyperparams["learning_rate"] / (1 - hyperparams["momentum"]), 1.0, rtol=1e-4)


def test_the_confusion_matrix_covers_the_epoch_so_far():
    tx = CONTRIB_OPTIMIZERS["mutual-information"].build(toy_problem.settings(steps_per_epoch=2))
    params = toy_problem.params()
    state = tx.init(params)
    batches = [([0, 1, 2], [0, 1, 2]), ([0, 1, 2, 2**31 - 1], [0, 1, 1, 0]), ([2], [0])]
    tables = []
    for labels, predictions in batches:
        batch = {"labels": jnp.asarray(labels, jnp.int32), "predictions": jnp.asarray(predictions, jnp.int32)}
        _, state = tx.update(optax.tree.zeros_like(params), state, params, **batch)
        tables.append(np.asarray(state.table))
    np.testing.assert_array_equal(tables[1], [[2, 0, 0], [0, 2, 0], [0, 1, 1]])  # padding is left out
    np.testing.assert_array_equal(tables[2], [[0, 0, 0], [0, 0, 0], [1, 0, 0]])  # the next epoch
    information = optax.tree.get(state, "last_information")
    np.testing.assert_allclose(information, contrib.label_information(tables[1]), rtol=1e-6)
