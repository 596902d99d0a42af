"""Adaptive activations, slope recovery and the mask of slopes, against NumPy in float64."""

import operator

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from models import AdaptiveActivation, is_slope, slope_recovery

SHAPES = [(), (3,), (4, 5, 3)]  # L-LAAF; N-LAAF of a dense layer; N-LAAF of a convolution
X = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32)


class Dense(nnx.Module):
    """Two hidden layers of tanh, each with its slopes."""

    def __init__(self, shape, scale, seed):
        rngs = nnx.Rngs(params=jax.random.key(seed))
        self.inner = nnx.List([nnx.Linear(1, 20, rngs=rngs), nnx.Linear(20, 20, rngs=rngs)])
        self.activations = nnx.List([AdaptiveActivation(jnp.tanh, scale, shape) for _ in self.inner])
        self.last = nnx.Linear(20, 1, rngs=rngs)

    def __call__(self, x):
        for linear, activation in zip(self.inner, self.activations, strict=True):
            x = activation(linear(x))
        return self.last(x)


def make(shape, seed=0, scale=10.0):
    """A layer whose slopes are not the ones that it starts from."""
    layer = AdaptiveActivation(jnp.tanh, scale, shape)
    layer.slope[...] = jnp.asarray(np.random.default_rng(seed).uniform(0.05, 0.3, shape), jnp.float32)
    return layer


def forward_twin(slope, x, scale):
    return np.tanh(scale * slope * np.float64(x))


def recovery_twin(*slopes):
    return 1 / (sum(np.exp(np.mean(a)) for a in slopes) / len(slopes))


def finite_differences(fn, at, step=1e-5):
    gradient = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        moved = np.zeros_like(at)
        moved[index] = step
        gradient[index] = (fn(at + moved) - fn(at - moved)) / (2 * step)
    return gradient


def slope_of(layer):
    return np.asarray(layer.slope[...], np.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_formula(shape):
    layer = make(shape)
    np.testing.assert_allclose(layer(X), forward_twin(slope_of(layer), X, 10), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_of_the_slopes_is_that_of_finite_differences(shape):
    layer = make(shape)
    weights = np.random.default_rng(1).normal(size=X.shape)
    grads = nnx.grad(lambda m: jnp.sum(m(X) * weights.astype(np.float32)))(layer)
    expected = finite_differences(lambda a: (forward_twin(a, X, 10) * weights).sum(), slope_of(layer))
    assert grads["slope"].dtype == jnp.float32
    np.testing.assert_allclose(grads["slope"][...], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1, 2, 10, 17.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_starts_from_the_plain_activation(shape, scale):
    layer = AdaptiveActivation(jnp.tanh, scale, shape)
    assert layer.slope.shape == shape
    assert layer.slope.dtype == jnp.float32
    np.testing.assert_allclose(layer.slope[...], 1 / scale, rtol=1e-6)
    np.testing.assert_array_equal(layer(X), jnp.tanh(X))


@pytest.mark.parametrize("scale", [0.99, 0, -1, np.inf, np.nan])
def test_bad_scales(scale):
    with pytest.raises(ValueError, match=f"scale must be a finite number of at least 1, got {scale}"):
        AdaptiveActivation(jnp.tanh, scale, ())


@pytest.mark.parametrize("shape", [(1, 1, 3), (4, 5, 3), (3,)])
def test_inputs_of_another_shape_are_not_broadcast(shape):
    layer = AdaptiveActivation(jnp.tanh, 1, (4, 5, 1))
    with pytest.raises(ValueError, match=r"slopes have shape \(4, 5, 1\) and the inputs"):
        layer(jnp.ones(shape))


def test_bfloat16_keeps_its_dtype_and_adds_the_slope_gradient_up_in_float32():
    layer = AdaptiveActivation(nnx.relu, 2.0, ())
    ones = jnp.ones(4097, jnp.bfloat16)  # a sum that bfloat16 does not have
    assert layer(ones).dtype == jnp.bfloat16
    np.testing.assert_array_equal(layer(ones), ones)
    grads = nnx.grad(lambda m: jnp.sum(m(ones).astype(jnp.float32)))(layer)
    assert grads["slope"].dtype == jnp.float32
    assert grads["slope"][...] == 2 * 4097


def test_slopes_are_parameters():
    _, params, stats = nnx.split(Dense((20,), 10.0, 0), nnx.Param, nnx.BatchStat)
    assert params["activations"][1]["slope"].shape == (20,)
    assert not jax.tree.leaves(stats)


class Layers(nnx.Module):
    def __init__(self, *layers):
        self.layers = nnx.List(layers)


def test_slope_recovery_and_its_gradient_equal_the_formula():
    model = Layers(*(make(shape, seed) for seed, shape in enumerate(SHAPES)))
    slopes = [slope_of(layer) for layer in model.layers]
    value, grads = nnx.value_and_grad(slope_recovery)(model)
    chex.assert_shape(value, ())
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, recovery_twin(*slopes), rtol=1e-6)
    for k, slope in enumerate(slopes):
        expected = finite_differences(lambda a, k=k: recovery_twin(*slopes[:k], a, *slopes[k + 1 :]), slope)
        np.testing.assert_allclose(grads["layers"][k]["slope"][...], expected, rtol=1e-4)
        assert (expected < 0).all()  # a gradient step raises the slopes


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_slope_recovery_at_the_start(scale):
    model = Dense((20,), scale, 0)
    np.testing.assert_allclose(slope_recovery(model), np.exp(-1 / scale), rtol=1e-6)


def test_a_shared_layer_counts_once():
    low, high = make((), 1), make((), 2)
    assert slope_recovery(Layers(low, high, high)) == slope_recovery(Layers(low, high))


def test_slope_recovery_without_slopes():
    with pytest.raises(ValueError, match="Linear has no AdaptiveActivation"):
        slope_recovery(nnx.Linear(2, 2, rngs=nnx.Rngs(0)))


def test_is_slope_has_the_structure_of_the_parameters():
    params = nnx.state(Dense((20,), 10.0, 0), nnx.Param)
    mask = is_slope(params)
    chex.assert_trees_all_equal_structs(mask, params)
    paths = {path for path, flag in nnx.to_flat_state(mask) if flag.get_value() is True}
    assert paths == {("activations", 0, "slope"), ("activations", 1, "slope")}
    assert {type(flag) for flag in jax.tree.leaves(mask)} == {bool}


def test_is_slope_of_shapes():
    shapes = nnx.state(nnx.eval_shape(lambda: Dense((), 10.0, 0)), nnx.Param)
    assert sum(jax.tree.leaves(is_slope(shapes))) == 2


def test_is_slope_of_bare_arrays():
    params = nnx.as_pure(nnx.state(Dense((), 10.0, 0), nnx.Param))
    with pytest.raises(ValueError, match=r"slope.* is a bare .*nnx.as_pure"):
        is_slope(params)


def test_weight_decay_leaves_the_slopes_alone_jitted_and_vmapped():
    tx = optax.add_decayed_weights(0.5, mask=lambda params: jax.tree.map(operator.not_, is_slope(params)))

    @jax.jit
    @jax.vmap
    def decay(seed):
        params = nnx.state(Dense((20,), 10.0, seed), nnx.Param)
        updates, _ = tx.update(optax.tree.zeros_like(params), tx.init(params), params)
        return params, updates

    params, updates = decay(jnp.arange(3))
    for activation in updates["activations"].values():
        np.testing.assert_array_equal(activation["slope"][...], np.zeros((3, 20)))
    np.testing.assert_allclose(updates["last"]["kernel"][...], 0.5 * params["last"]["kernel"][...], rtol=1e-6)


def fit(seed, shape, steps=300):
    """The paper's function of one variable, smaller and shorter: losses, and the parameters before and after."""
    x = np.linspace(-3, 3, 300, dtype=np.float32)[:, None]
    target = np.where(x <= 0, 0.2 * np.sin(6 * x), 1 + 0.1 * x * np.cos(18 * x))
    graphdef, params = nnx.split(Dense(shape, 10.0, seed), nnx.Param)
    tx = optax.adam(2e-3)

    def loss_fn(params):
        model = nnx.merge(graphdef, params, copy=True)
        loss = jnp.mean((model(x) - target) ** 2)
        return loss + slope_recovery(model), loss

    def step(carry, _):
        params, state = carry
        grads, loss = jax.grad(loss_fn, has_aux=True)(params)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), loss

    (after, _), losses = jax.lax.scan(step, (params, tx.init(params)), length=steps)
    return losses, params, after


@pytest.mark.parametrize("shape", [(), (20,)])
@jax.numpy_dtype_promotion("standard")  # Optax's Adam relies on it
def test_a_network_learns_with_its_slopes_and_vmapped_seeds_equal_separate_ones(shape):
    losses, before, after = jax.jit(jax.vmap(lambda seed: fit(seed, shape)))(jnp.arange(2))
    assert (losses[:, -1] < 0.5 * losses[:, 0]).all()
    for k in range(2):
        moved = after["activations"][k]["slope"][...] - before["activations"][k]["slope"][...]
        assert (moved != 0).all()
    alone = jax.jit(lambda seed: fit(seed, shape, steps=5)[0])(jnp.asarray(1))
    np.testing.assert_allclose(losses[1, :5], alone, rtol=1e-4)
