"""The builders of Optax's optimizers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.train.recipe import toy_problem
from train.recipe.optax_optimizers import OPTAX_OPTIMIZERS


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax's own Adam mixes integers and floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lion"])
def test_slopes_can_be_excluded_from_the_decay(name):
    def weight_decay_mask(params):
        return {"weight": True, "slope": False}

    params = {"weight": jnp.ones(2), "slope": jnp.ones(2)}
    tx = OPTAX_OPTIMIZERS[name].build(toy_problem.settings(weight_decay=0.5, weight_decay_mask=weight_decay_mask))
    updates, _ = tx.update(optax.tree.zeros_like(params), tx.init(params), params)
    assert np.all(updates["weight"] < 0)
    assert not np.any(updates["slope"])


def test_sam_descends_with_the_gradient_uphill():
    params = {"w": jnp.asarray([3.0, 4.0])}
    tx = OPTAX_OPTIMIZERS["sam"].build(toy_problem.settings())
    updates, _ = tx.update(params, tx.init(params), params, value=0.0, grad_fn=lambda p: p)  # of |w|^2 / 2
    np.testing.assert_allclose(updates["w"], -0.1 * np.asarray([3.0, 4.0]) * (1 + 0.05 / 5), rtol=1e-6)


def test_polyak_counts_the_penalty_that_its_gradient_has():
    params = {"w": jnp.asarray([3.0, 4.0])}
    tx = OPTAX_OPTIMIZERS["polyak"].build(toy_problem.settings(initial_learning_rate=100.0, weight_decay=0.5))
    updates, _ = tx.update({"w": jnp.zeros(2)}, tx.init(params), params, value=jnp.float32(1.0))
    # The loss 1 + 0.5 / 2 * 25 over the squared norm of 0.5 w.
    np.testing.assert_allclose(updates["w"], -(7.25 / 6.25) * 0.5 * np.asarray([3.0, 4.0]), rtol=1e-5)


def test_muon_takes_the_convolutions():
    tx = OPTAX_OPTIMIZERS["muon"].build(toy_problem.settings())
    params = toy_problem.params()
    updates, _ = tx.update(params, tx.init(params), params)
    # Orthogonal: of four rows, all singular values are near each other.
    values = np.linalg.svd(np.reshape(updates["conv"], (4, 8)), compute_uv=False)
    assert values.max() / values.min() < 2
    # Adam's first step (with Nesterov momentum, as Optax has it here), alike for all entries.
    steps = abs(np.asarray(updates["linear"]["kernel"]))
    np.testing.assert_allclose(steps, steps.flat[0], rtol=1e-3)
    assert 0.1 < steps.flat[0] < 0.2
