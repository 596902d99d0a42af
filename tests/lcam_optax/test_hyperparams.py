"""`loss_controlled` inside Optax's own optimizers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lcam_optax

LOSSES = (2.0, 1.5, 1.8, 1.7, 1.2, 2.2)


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax itself relies on implicit promotion here."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def controlled(below=0.5, above=0.8, initial=0.6, **settings):
    return lcam_optax.loss_controlled(lcam_optax.epoch_mean(6), below, above, initial=initial, **settings)


def values(factory, name, losses=LOSSES, **settings):
    """The hyper-parameter's value at each step."""
    tx = optax.inject_hyperparams(factory)(**{"learning_rate": 0.1} | settings)
    params = jnp.ones(2)
    state, seen = tx.init(params), []
    for loss in losses:
        _, state = tx.update(params, state, params, value=jnp.float32(loss))
        seen.append(float(state.hyperparams[name]))
    return seen


@pytest.mark.parametrize(
    ("factory", "name"), [(optax.adam, "b1"), (optax.lion, "b1"), (optax.sgd, "learning_rate"), (optax.sgd, "momentum")]
)
def test_any_hyperparameter_follows_the_loss(factory, name):
    np.testing.assert_allclose(values(factory, name, **{name: controlled()}), [0.6, 0.8, 0.5, 0.8, 0.5, 0.5])


def test_without_delay_a_loss_acts_at_once():
    seen = values(optax.adam, "b1", b1=controlled(delay=False))
    np.testing.assert_allclose(seen, [0.8, 0.5, 0.8, 0.5, 0.5, 0.8])


@pytest.mark.parametrize("delay", [True, False])
def test_drives_sgd_as_lcam_does(delay):
    schedule = controlled(0.9, 0.95, 0.9, delay=delay)
    theirs = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1, momentum=schedule)
    ours = lcam_optax.lcam(0.1, lcam_optax.epoch_mean(6), 0.9, 0.95, delay=delay)
    params = jnp.ones(2)
    left, right = ours.init(params), theirs.init(params)
    for loss in LOSSES:
        a, left = ours.update(params * loss, left, params, value=loss)
        b, right = theirs.update(params * loss, right, params, value=loss)
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert lcam_optax.read_phase(right).momentum == lcam_optax.read_phase(left).momentum


@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize(("factory", "name"), [(optax.sgd, "momentum"), (optax.adam, "b1")])
def test_a_dtype_keeps_the_state_of_bfloat16_parameters_as_it_is(factory, name, delay):
    schedule = controlled(delay=delay, dtype=jnp.bfloat16)
    tx = optax.inject_hyperparams(factory)(**{"learning_rate": 0.1, name: schedule})
    params = jnp.ones(2, jnp.bfloat16)
    state = tx.init(params)
    _, after = tx.update(params, state, params, value=1.0)
    chex.assert_trees_all_equal_dtypes(state, after)
    assert lcam_optax.read_phase(after).momentum.dtype == jnp.float32


def test_without_inject_hyperparams_it_says_where_it_goes():
    tx = optax.sgd(controlled())
    with pytest.raises(TypeError, match=r"goes through optax.inject_hyperparams"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


@pytest.mark.parametrize("delay", [True, False])
def test_missing_value(delay):
    tx = optax.inject_hyperparams(optax.adam)(learning_rate=0.1, b1=controlled(delay=delay))
    with pytest.raises(TypeError, match="loss_controlled needs the loss"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2))
