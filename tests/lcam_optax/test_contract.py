"""The checks of Optax's own `alias`, `common` and `sharding` test suites, applied to the optimizers here."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests.lcam_optax import complete
from tests.lcam_optax.complete import OPTIMIZERS


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax itself relies on implicit promotion."""
    with jax.numpy_dtype_promotion("standard"):
        yield


each_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
PARABOLA = jnp.array([-1.0, 10.0, 1.0]), jnp.array([1.0, -1.0, 1.0])
MATRIX = jnp.zeros((2, 2)), jnp.array([[3.0, -2.0], [1.0, 4.0]])
VECTOR = jnp.zeros(3), jnp.array([1.0, -1.0, 2.0])
PARABOLAS = {"parabola": PARABOLA, "matrix": MATRIX, "mixed": tuple(zip(VECTOR, MATRIX, strict=True))}


@pytest.mark.parametrize(
    ("target", "dtype"),
    [("parabola", jnp.float32), ("parabola", jnp.complex64), ("matrix", jnp.float32), ("mixed", jnp.float32)],
)
@each_optimizer
def test_reaches_the_minimum_of_parabolas(name, target, dtype):
    if OPTIMIZERS[name].real and dtype == jnp.complex64:
        pytest.skip("real parameters only")
    start, end = (jax.tree.map(lambda x: x.astype(dtype), tree) for tree in PARABOLAS[target])

    def objective(params):
        return complete.squares(jax.tree.map(jnp.subtract, params, end))

    params = complete.train(OPTIMIZERS[name].make(), objective, start, 10_000)
    chex.assert_trees_all_close(params, end, rtol=3e-2, atol=3e-2)


def rosenbrock(x):
    return jnp.abs(1 - x[0]) ** 2 + 100 * jnp.abs(x[1] - x[0] ** 2) ** 2


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
@each_optimizer
def test_reaches_the_minimum_of_rosenbrocks_function(name, dtype):
    optimizer = OPTIMIZERS[name]
    if optimizer.real and dtype == jnp.complex64:
        pytest.skip("real parameters only")
    params = complete.train(optimizer.make(**optimizer.rosenbrock), rosenbrock, jnp.zeros(2, dtype), 30_000)
    np.testing.assert_allclose(params, 1, rtol=3e-2)


@each_optimizer
def test_accepts_unknown_extra_arguments_and_compiles_once(name):
    tx = OPTIMIZERS[name].make()
    step = jax.jit(functools.partial(complete.step, tx, rosenbrock))
    params, state = step(jnp.zeros(2), tx.init(jnp.zeros(2)))
    step(params, state)
    assert isinstance(tx, optax.GradientTransformationExtraArgs)
    assert step._cache_size() == 1


@each_optimizer
def test_its_state_passes_through_tree_map_params(name):
    tx = OPTIMIZERS[name].make()
    state = tx.init({"w": jnp.ones(2)})
    chex.assert_trees_all_equal(optax.tree.map_params(tx, lambda x: x, state), state)


@each_optimizer
def test_equals_itself_under_inject_hyperparams(name):
    factory, settings, static, *_ = OPTIMIZERS[name]
    injected = optax.inject_hyperparams(factory, static_args=static)(**settings)
    params = [-jnp.ones((2, 3)), jnp.ones((2, 5, 2))]
    results = []
    for tx in (OPTIMIZERS[name].make(), injected):
        state = jax.jit(tx.init)(params)
        results.append(jax.jit(functools.partial(complete.step, tx, complete.squares))(params, state))
    (ours, state), (theirs, injected_state) = results
    chex.assert_trees_all_close(ours, theirs, rtol=1e-5)
    chex.assert_trees_all_close(state, injected_state.inner_state, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@each_optimizer
def test_updates_have_the_dtype_of_the_gradients(name, dtype):
    tx = OPTIMIZERS[name].make()

    def updates(params):
        value, grads = complete.gradients(complete.squares, params)
        return tx.update(grads, tx.init(params), params, **complete.extra_args(complete.squares, value))[0]

    assert jax.eval_shape(updates, jnp.ones(2, dtype)).dtype == dtype


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64, jnp.complex64, jnp.complex128])
@each_optimizer
def test_state_types_are_stable_under_cond_whatever_the_dtypes_of_parameters_and_value(name, dtype):
    if OPTIMIZERS[name].real and jnp.issubdtype(dtype, jnp.complexfloating):
        pytest.skip("real parameters only")
    tx = OPTIMIZERS[name].make()

    def maybe(do, params, state):
        value, grads = complete.gradients(complete.squares, params)
        value = value.astype(jnp.float32 if dtype == jnp.float16 else jnp.float16)
        arguments = complete.extra_args(complete.squares, value)
        # Fails where the two branches differ in a type, weak types included.
        return jax.lax.cond(do, lambda: tx.update(grads, state, params, **arguments), lambda: (grads, state))

    with jax.enable_x64(dtype in (jnp.float64, jnp.complex128)):
        params = jnp.ones(3, dtype)
        state = tx.init(params)
        updates, after = jax.eval_shape(maybe, True, params, state)
        chex.assert_trees_all_equal_shapes_and_dtypes((updates, after), (params, state))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((state, after)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@each_optimizer
def test_works_inside_multi_steps(name, dtype):
    tx = optax.MultiSteps(OPTIMIZERS[name].make(), 4)
    params = jnp.array([1, 2], dtype)
    arguments = complete.extra_args(complete.squares, complete.squares(params))
    updates, state = jax.jit(functools.partial(tx.update, **arguments))(params, tx.init(params), params)
    np.testing.assert_array_equal(updates, 0)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, tx.init(params))


@each_optimizer
def test_init_takes_abstract_parameters(name):
    tx = OPTIMIZERS[name].make()
    params = {"w": jnp.ones((2, 3), jnp.bfloat16)}
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    chex.assert_trees_all_equal_shapes_and_dtypes(tx.init(params), tx.init(abstract), jax.eval_shape(tx.init, abstract))


@each_optimizer
def test_state_is_sharded_alike_by_init_and_update_on_an_explicit_mesh(name):
    tx = OPTIMIZERS[name].make()
    mesh = jax.make_mesh((4,), ("x",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        params = jax.device_put(jnp.ones((2, 8)), NamedSharding(mesh, PartitionSpec(None, "x")))
        state = tx.init(params)
        params, after = jax.jit(functools.partial(complete.step, tx, complete.squares))(params, state)
        types = [jax.tree.map(jax.typeof, each) for each in (state, after, jax.jit(tx.init)(params))]
    assert types[0] == types[1] == types[2]
    like_params = [each.sharding.spec for each in jax.tree.leaves(after) if each.shape == (2, 8)]
    assert all(spec == PartitionSpec(None, "x") for spec in like_params)
