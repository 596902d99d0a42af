"""What Optax asks of each of its optimizers, asked of LCAM."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import lcam_optax


def make(learning_rate=0.01, **settings):
    return lcam_optax.lcam(learning_rate, lcam_optax.epoch_mean(10), 0.8, 0.9, **settings)


def grads_of(function, x):
    """JAX's gradient of a real function of complex numbers is the conjugate of the descent direction."""
    loss, grads = jax.value_and_grad(function)(x)
    return loss, jnp.conj(grads)


TARGETS = {
    "parabola": (
        [-1.0, 10.0, 1.0],
        [1.0, -1.0, 1.0],
        lambda x: jnp.sum(jnp.abs(x - jnp.array([1, -1, 1], x.dtype)) ** 2),
    ),
    "matrix parabola": (
        [[0.0, 0.0], [0.0, 0.0]],
        [[3.0, -2.0], [1.0, 4.0]],
        lambda x: jnp.sum(jnp.abs(x - jnp.array([[3, -2], [1, 4]], x.dtype)) ** 2),
    ),
    "rosenbrock": (
        [0.0, 0.0],
        [1.0, 1.0],
        lambda x: jnp.abs(1 - x[0]) ** 2 + 100 * jnp.abs(x[1] - x[0] ** 2) ** 2,
    ),
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
@pytest.mark.parametrize("target", TARGETS)
def test_converges_on_the_standard_targets(target, dtype):
    start, end, function = TARGETS[target]
    tx = make(2e-4 if target == "rosenbrock" else 0.01)
    params = jnp.asarray(start, dtype)

    def step(carry, _):
        params, state = carry
        loss, grads = grads_of(function, params)
        updates, state = tx.update(grads, state, params, value=loss)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), length=10_000)
    np.testing.assert_allclose(params, jnp.asarray(end, dtype), rtol=3e-2, atol=3e-2)


def test_accepts_unknown_extra_arguments():
    tx = make()
    updates, _ = tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2), value=1.0, grad_fn=None, extra=3)
    assert isinstance(tx, optax.GradientTransformationExtraArgs)
    assert updates.shape == (2,)


def test_compiles_once():
    tx = make(optax.constant_schedule(0.1), weight_decay=0.1)
    step = jax.jit(chex.assert_max_traces(tx.update, n=1))
    params = {"w": jnp.ones(2), "b": jnp.ones((), jnp.bfloat16)}
    with jax.numpy_dtype_promotion("standard"):  # Optax's weight decay: float32 number, bfloat16 parameter
        state = tx.init(params)
        for loss in (2.0, 1.0, 3.0):
            _, state = step(params, state, params, value=jnp.float32(loss))
    assert step._cache_size() == 1


def test_tree_map_params_touches_the_trace_alone():
    tx = make()
    state = tx.init({"w": jnp.ones(2)})
    mapped = optax.tree.map_params(tx, lambda x: x + 7, state, transform_non_params=lambda x: x)
    assert (optax.tree.get(mapped, "trace")["w"] == 7).all()
    assert optax.tree.get(mapped, "momentum") == np.float32(0.9)


def test_fields_are_found_by_name():
    tx = optax.chain(optax.clip(1.0), make(optax.constant_schedule(0.1)))
    state = tx.init(jnp.ones(2))
    for name in ("trace", "momentum", "below", "lcam_step", "loss_mean", "loss_count", "epoch_step", "count"):
        assert optax.tree.get(state, name) is not None
    state = optax.tree.set(state, momentum=jnp.float32(0.3))
    assert lcam_optax.phase(state).momentum == np.float32(0.3)


def test_equals_itself_under_inject_hyperparams():
    plain = make(0.1, weight_decay=0.01)
    injected = optax.inject_hyperparams(lcam_optax.lcam)(0.1, lcam_optax.epoch_mean(10), 0.8, 0.9, weight_decay=0.01)
    params = jnp.ones(3)
    left, right = plain.init(params), injected.init(params)
    for loss in (2.0, 1.0, 3.0, 0.5):
        a, left = plain.update(params, left, params, value=loss)
        b, right = injected.update(params, right, params, value=loss)
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert set(right.hyperparams) >= {"learning_rate", "momentum_below", "momentum_above", "weight_decay"}
    assert lcam_optax.phase(right).momentum == lcam_optax.phase(left).momentum


def test_scheduled_momenta_are_static_under_inject_hyperparams():
    settings = dict.fromkeys(("momentum_below", "momentum_above"), lambda step: 0.1 + 0.1 * step.astype(float))
    injected = optax.inject_hyperparams(lcam_optax.scale_by_lcam, static_args=tuple(settings))
    for factory in (injected, lcam_optax.scale_by_lcam):
        tx = factory(lcam_optax.epoch_mean(9), **settings)
        state = tx.init(jnp.ones(1))
        for momentum in (0.2, 0.3, 0.4):
            _, state = tx.update(jnp.ones(1), state, jnp.ones(1), value=1.0)
            assert float(lcam_optax.phase(state).momentum) == pytest.approx(momentum)


def test_injected_momenta_may_be_changed_by_hand():
    tx = optax.inject_hyperparams(lcam_optax.scale_by_lcam)(lcam_optax.epoch_mean(10), 0.8, 0.9)
    state = tx.init(jnp.ones(1))
    state.hyperparams["momentum_above"] = jnp.float32(0.1)
    _, state = tx.update(jnp.ones(1), state, jnp.ones(1), value=1.0)
    assert lcam_optax.phase(state).momentum == np.float32(0.1)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dtypes_are_preserved(dtype):
    tx = make()
    params = {"a": jnp.ones(2, dtype), "b": jnp.ones((), dtype)}
    updates, state = tx.update(params, tx.init(params), params, value=1.0)
    chex.assert_trees_all_equal_dtypes(updates, params, optax.tree.get(state, "trace"))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_state_types_are_stable_under_cond_with_the_value_in_any_dtype(dtype):
    tx = make()
    params = jnp.ones(2)
    state = tx.init(params)

    @jax.jit
    def maybe(do, state, value):
        return jax.lax.cond(do, lambda s: tx.update(params, s, params, value=value)[1], lambda s: s, state)

    chex.assert_trees_all_equal_shapes_and_dtypes(maybe(True, state, jnp.ones((), dtype)), state)


@pytest.mark.parametrize("field", ["learning_rate", "weight_decay"])
def test_schedules_are_accepted(field):
    tx = make(**{field: optax.linear_schedule(0.1, 0.0, 10)})
    updates, _ = tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2), value=1.0)
    assert jnp.isfinite(updates).all()


def test_init_from_shapes_alone():
    tx = make(weight_decay=0.1)
    params = {"w": jnp.ones((2, 3), jnp.bfloat16)}
    abstract = jax.eval_shape(tx.init, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params))
    chex.assert_trees_all_equal_shapes_and_dtypes(abstract, tx.init(params))


def test_state_is_sharded_as_the_parameters_on_an_explicit_mesh():
    mesh = jax.make_mesh((4,), ("x",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        params = jax.device_put(jnp.ones((8, 2)), NamedSharding(mesh, PartitionSpec("x", None)))
        tx = make(weight_decay=0.1)
        state = tx.init(params)
        _, after = jax.jit(tx.update)(params, state, params, value=jnp.float32(1))
    for each in (state, after):
        assert optax.tree.get(each, "trace").sharding == params.sharding


def test_multi_steps():
    tx = optax.MultiSteps(make(0.1), 2)
    params = jnp.ones(2)
    with jax.numpy_dtype_promotion("standard"):
        state = tx.init(params)
        first, state = tx.update(params, state, params, value=1.0)
        second, state = tx.update(params, state, params, value=1.0)
    np.testing.assert_allclose(first, 0)
    np.testing.assert_allclose(second, -0.1, rtol=1e-6)
