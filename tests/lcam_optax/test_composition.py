"""LCAM inside Optax's wrappers, Flax's optimizer and JAX's transformations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, Mesh, PartitionSpec

import lcam_optax
from lcam_optax import contrib

LOSSES = np.float32([2.0, 1.5, 1.8, 1.7, 1.2, 2.2, 0.5])
PARAMS = {"a": jnp.arange(3.0), "b": jnp.ones(())}


def bare(**settings):
    return lcam_optax.scale_by_lcam(lcam_optax.epoch_mean(3), 0.5, 0.9, **settings)


def follow(tx, losses=LOSSES):
    state, seen = tx.init(PARAMS), []
    for loss in losses:
        updates, state = tx.update(PARAMS, state, PARAMS, value=loss)
        seen.append(updates)
    return jax.tree.map(lambda *x: np.stack(x), *seen), state


EXPECTED = follow(bare())[0]
WRAPPED = {
    "chain": lambda: optax.chain(optax.identity(), bare()),
    "named_chain": lambda: optax.named_chain(("one", optax.identity()), ("lcam", bare())),
    "masked": lambda: optax.masked(bare(), {"a": True, "b": True}),
    "partition": lambda: optax.partition({"x": bare()}, {"a": "x", "b": "x"}),
    "flatten": lambda: optax.flatten(bare()),
    "apply_if_finite": lambda: optax.apply_if_finite(bare(), 3),
    "conditionally_mask": lambda: optax.conditionally_mask(bare(), lambda step, **_: jnp.asarray(True)),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrappers_change_nothing(name):
    updates, state = follow(WRAPPED[name]())
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), updates, EXPECTED)
    assert lcam_optax.read_phase(state).loss_mean == 0.5


def test_masked_leaves_pass_through():
    updates, _ = follow(optax.masked(bare(), {"a": True, "b": False}))
    np.testing.assert_array_equal(updates["b"], 1)
    np.testing.assert_allclose(updates["a"], EXPECTED["a"])


def test_schedule_free_hands_the_loss_on():
    tx = optax.contrib.schedule_free(bare(), learning_rate=0.1, b1=0.9)
    with jax.numpy_dtype_promotion("standard"):
        _, state = follow(tx)
    assert lcam_optax.read_phase(state).loss_mean == 0.5


def test_nnx_optimizer():
    model = nnx.Linear(3, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.chain(bare(), optax.scale(-0.01)), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, x):
        loss, grads = nnx.value_and_grad(lambda m: jnp.mean((m(x) - 1) ** 2))(model)
        optimizer.update(model, grads, value=loss)
        return loss

    losses = [step(model, optimizer, jnp.eye(3)) for _ in range(30)]
    assert losses[-1] < losses[0] / 10
    reading = lcam_optax.read_phase(optimizer.opt_state)
    assert float(reading.momentum) in (0.5, np.float32(0.9))
    before = bool(reading.below), float(reading.loss_mean)
    step(model, optimizer, 2 * jnp.eye(3))
    assert (bool(reading.below), float(reading.loss_mean)) == before


def injected(factory, *arguments, **settings):
    return optax.with_extra_args_support(optax.inject_hyperparams(factory)(*arguments, **settings))


def controlled(initial):
    return lcam_optax.loss_controlled(lcam_optax.epoch_mean(3), 0.5, 0.9, initial=initial)


DONATED = {
    "lcam": lambda own, seed: lcam_optax.lcam(0.1, lcam_optax.epoch_mean(3), 0.5, 0.9, initial_momentum=own),
    "random_phase": lambda own, seed: lcam_optax.lcam(0.1, lcam_optax.random_phase(0.5, seed), 0.5, 0.9),
    "lrsgd": lambda own, seed: optax.with_extra_args_support(contrib.lrsgd(0.1, seed=seed)),
    "loss_controlled": lambda own, seed: injected(optax.adam, 0.1, b1=controlled(own)),
    "accumulated": lambda own, seed: lcam_optax.accumulate(injected(optax.adam, 0.1, b1=controlled(own)), 1),
    "injected lcam": lambda own, seed: injected(lcam_optax.lcam, 0.1, lcam_optax.epoch_mean(3), 0.5, 0.9),
    "injected lrsgd": lambda own, seed: injected(contrib.lrsgd, 0.1, seed=jnp.uint32(3)),
}


@pytest.mark.parametrize("name", DONATED)
def test_a_state_that_init_made_can_be_donated_and_takes_nobodys_array_with_it(name):
    arrays = jnp.float32(0.8), jnp.uint32(3)
    tx = DONATED[name](*arrays)

    @functools.partial(jax.jit, donate_argnums=0)
    def steps(state, params):
        def step(state, loss):
            return tx.update(params, state, params, value=loss)[1], ()

        return jax.lax.scan(step, state, jnp.asarray(LOSSES))[0]

    with jax.numpy_dtype_promotion("standard"):  # Optax itself relies on it
        steps(steps(tx.init(PARAMS), PARAMS), PARAMS)
    assert not any(array.is_deleted() for array in arrays)


def test_vmap_over_seeds_decides_for_each():
    tx = bare()
    losses = jnp.stack([LOSSES, LOSSES[::-1]])

    def run(losses):
        def step(state, loss):
            _, state = tx.update(PARAMS, state, value=loss)
            return state, state.momentum

        return jax.lax.scan(step, tx.init(PARAMS), losses)[1]

    both = jax.jit(jax.vmap(run))(losses)
    for i in range(2):
        np.testing.assert_array_equal(both[i], run(losses[i]))
    assert not np.array_equal(both[0], both[1])


def replica_step(tx, state, loss, grad):
    updates, state = tx.update({"a": grad, "b": jnp.ones(())}, state, value=loss)
    return updates, state


def test_pmap_averages_the_loss_over_replicas():
    losses = jnp.asarray([[4.0, 2.0], [1.0, 2.0], [9.0, 1.0]])  # means 3, 1.5, 5 in an epoch of 3
    tx, single = bare(axis_name="replicas"), bare()
    state = jax.tree.map(lambda x: jnp.stack([x, x]), tx.init(PARAMS))
    step = jax.pmap(functools.partial(replica_step, tx), axis_name="replicas", devices=jax.devices()[:2])
    one = single.init(PARAMS)
    for loss in losses:
        updates, state = step(state, loss, jnp.ones((2, 3)))
        expected, one = replica_step(single, one, loss.mean(), jnp.ones(3))
        for i in range(2):
            np.testing.assert_allclose(updates["a"][i], expected["a"], rtol=1e-6)
            assert state.momentum[i] == one.momentum


SHARDED = {
    "bare": (lambda: bare(axis_name="data"), bare),
    "accumulated": (
        lambda: lcam_optax.accumulate(bare(axis_name="data"), 2, axis_name="data"),
        lambda: lcam_optax.accumulate(bare(), 2),
    ),
}


@pytest.mark.parametrize("name", SHARDED)
def test_shard_map_averages_the_loss_over_replicas(name):
    mesh = Mesh(np.asarray(jax.devices()[:4]), ("data",), axis_types=(AxisType.Auto,))
    tx, single = (make() for make in SHARDED[name])

    @jax.jit
    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=(PartitionSpec(), PartitionSpec("data")), out_specs=PartitionSpec()
    )
    def step(state, losses):
        return tx.update(PARAMS, state, value=losses[0])

    state, one = tx.init(PARAMS), single.init(PARAMS)
    for losses in np.float32([[4, 2, 3, 3], [1, 2, 1, 2], [9, 1, 5, 5], [1, 1, 1, 1]]):
        with jax.numpy_dtype_promotion("standard"):  # `optax.MultiSteps` relies on it
            updates, state = step(state, losses)
            expected, one = single.update(PARAMS, one, value=losses.mean())
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), updates, expected)
    assert lcam_optax.read_phase(state).momentum == lcam_optax.read_phase(one).momentum
