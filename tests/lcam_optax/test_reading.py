"""`read_phase`, and other functions that find a state by the names of its fields."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lcam_optax

PHASE = lcam_optax.epoch_mean(4)


def test_read_phase_finds_one_state_however_deep_and_refuses_none_or_two():
    lcam = lcam_optax.lcam(0.1, PHASE, 0.9, 0.95)
    deep = optax.apply_if_finite(optax.chain(optax.clip(1.0), optax.masked(lcam, True)), 3)
    assert lcam_optax.read_phase(deep.init(jnp.ones(2))).momentum == np.float32(0.9)
    with pytest.raises(ValueError, match="found 0"):
        lcam_optax.read_phase(optax.adam(0.1).init(jnp.ones(2)))
    with pytest.raises(ValueError, match="found 2"):
        lcam_optax.read_phase(optax.chain(lcam, lcam).init(jnp.ones(2)))


def test_a_phase_without_a_loss_mean_reads_none():
    tx = lcam_optax.scale_by_lcam(lcam_optax.random_phase(0.5, 0), 0.9, 0.95)
    assert lcam_optax.read_phase(tx.init(jnp.ones(2))).loss_mean is None


def test_the_shapes_of_a_state_give_the_shapes_of_its_reading():
    tx = lcam_optax.lcam(0.1, PHASE, 0.9, 0.95)
    reading = lcam_optax.read_phase(jax.eval_shape(tx.init, jnp.ones(2)))
    assert [(leaf.shape, leaf.dtype) for leaf in reading] == [((), jnp.float32), ((), jnp.float32), ((), jnp.bool_)]


def test_tree_map_params_touches_the_trace_alone():
    tx = lcam_optax.lcam(0.1, PHASE, 0.8, 0.9)
    state = tx.init({"w": jnp.ones(2)})
    mapped = optax.tree.map_params(tx, lambda x: x + 7, state, transform_non_params=lambda x: x)
    assert (optax.tree.get(mapped, "trace")["w"] == 7).all()
    assert optax.tree.get(mapped, "momentum") == np.float32(0.9)


def test_fields_are_found_by_name():
    tx = optax.chain(optax.clip(1.0), lcam_optax.lcam(optax.constant_schedule(0.1), PHASE, 0.8, 0.9))
    state = tx.init(jnp.ones(2))
    for name in ("trace", "momentum", "below", "lcam_step", "loss_mean", "loss_count", "epoch_step", "count"):
        assert optax.tree.get(state, name) is not None
    state = optax.tree.set(state, momentum=jnp.float32(0.3))
    assert lcam_optax.read_phase(state).momentum == np.float32(0.3)
