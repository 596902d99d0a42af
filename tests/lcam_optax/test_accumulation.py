"""`accumulate`: micro-batches give the same decisions as the whole batch."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import lcam_optax


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax itself relies on implicit promotion here."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def inner():
    return lcam_optax.lcam(0.1, lcam_optax.epoch_mean(4), 0.5, 0.9, weight_decay=0.01)


LOSSES = np.float32([[2, 4], [1, 3], [4, 1], [1, 1.5]])
GRADS = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)


def accumulated(tx):
    params = jnp.ones(3)
    state = tx.init(params)
    for losses, grads in zip(LOSSES, GRADS, strict=True):
        for loss, grad in zip(losses, grads, strict=True):
            updates, state = tx.update(jnp.asarray(grad), state, params, value=loss)
            params = optax.apply_updates(params, updates)
    return params, state


def test_equals_the_whole_batch_with_the_mean_loss():
    tx, params = inner(), jnp.ones(3)
    state = tx.init(params)
    for losses, grads in zip(LOSSES, GRADS, strict=True):
        updates, state = tx.update(jnp.asarray(grads.mean(0)), state, params, value=losses.mean())
        params = optax.apply_updates(params, updates)
    small, small_state = accumulated(lcam_optax.accumulate(inner(), 2))
    np.testing.assert_allclose(params, small, rtol=1e-5)
    chex.assert_trees_all_close(lcam_optax.read_phase(state), lcam_optax.read_phase(small_state))


def test_multi_steps_alone_decides_by_the_last_micro_batch():
    _, ours = accumulated(lcam_optax.accumulate(inner(), 2))
    _, theirs = accumulated(optax.MultiSteps(inner(), 2))
    assert lcam_optax.read_phase(ours).loss_mean == LOSSES.mean()
    assert lcam_optax.read_phase(theirs).loss_mean == LOSSES[:, 1].mean()


def test_every_k_may_be_a_schedule():
    tx = lcam_optax.accumulate(inner(), lambda step: jnp.where(step < 1, 1, 3))
    params = jnp.ones(1)
    state, moved = tx.init(params), []
    for loss in (8.0, 1.0, 2.0, 6.0):
        updates, state = tx.update(params, state, params, value=loss)
        moved.append(bool(updates[0] != 0))
    assert moved == [True, False, False, True]
    assert lcam_optax.read_phase(state).loss_mean == (8 + 3) / 2


def test_a_skipped_micro_batch_leaves_the_loss_mean_alone():
    tx = lcam_optax.accumulate(inner(), 2, should_skip_update_fn=optax.skip_not_finite)
    params = jnp.ones(1)
    state = tx.init(params)
    for grad, loss in ((1.0, 2.0), (np.nan, 50.0), (1.0, 4.0)):
        _, state = tx.update(params * grad, state, params, value=loss)
    assert lcam_optax.read_phase(state).loss_mean == 3.0


@pytest.mark.parametrize("k", [2.0, np.int64(2), np.float64(2)])
def test_k_may_be_any_whole_number(k):
    tx = lcam_optax.accumulate(inner(), k)
    params = jnp.ones(1)
    first, state = tx.update(params, tx.init(params), params, value=1.0)
    second, _ = tx.update(params, state, params, value=1.0)
    assert (bool(first[0]), bool(second[0])) == (False, True)


@pytest.mark.parametrize("k", [0, 1.5])
def test_a_k_that_makes_no_steps_is_refused(k):
    with pytest.raises(ValueError, match="every_k_schedule must be a whole number of at least 1"):
        lcam_optax.accumulate(inner(), k)


def grads_through(tx, gradients):
    """The updates of a few micro-batches, and whether each made a step, if the outermost wrapper knows."""
    params, found, made = jnp.zeros(()), [], []
    state = tx.init(params)
    for gradient in gradients:
        updates, state = tx.update(jnp.float32(gradient), state, params, value=jnp.float32(1.0))
        found.append(float(updates))
        if isinstance(state, lcam_optax._accumulation.AccumulateState):
            made.append(bool(tx.has_updated(state)))
    return found, made


def test_a_skipped_micro_batch_makes_no_step():
    tx = lcam_optax.accumulate(inner(), 2, should_skip_update_fn=optax.skip_not_finite)
    _, made = grads_through(tx, [1, 1, np.nan, np.nan, 1, 1])
    assert made == [False, True, False, False, False, True]


def test_after_a_gradient_that_is_not_finite_it_goes_on_as_the_docstring_says():
    skipping = lcam_optax.accumulate(inner(), 2, should_skip_update_fn=optax.skip_not_finite)
    around = optax.apply_if_finite(lcam_optax.accumulate(inner(), 2), 100)
    inside = lcam_optax.accumulate(optax.apply_if_finite(inner(), 100), 2)
    gradients = [1, 1, np.nan, 1, 1, 1, 1, 1]
    for recovers, tx in ((True, skipping), (True, around), (False, inside)):
        later = grads_through(tx, gradients)[0][2:]
        assert np.isfinite(later).all()
        assert np.any(later) == recovers


def test_whether_a_step_was_made_is_read_from_an_nnx_optimizer():
    model = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
    tx = lcam_optax.accumulate(inner(), 2)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    made = []
    for _ in range(4):
        grads = nnx.grad(lambda m: jnp.sum(m(jnp.ones((1, 1)))))(model)
        optimizer.update(model, grads, value=jnp.float32(1.0))
        made.append(bool(tx.has_updated(optimizer.opt_state)))
    assert made == [False, True, False, True]
