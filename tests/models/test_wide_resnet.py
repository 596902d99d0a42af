"""The Wide ResNet: sizes, initialisation, statistics, masking, dropout, adaptive activations."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import WideResNet, flops_per_image, is_slope, slope_recovery

X = jax.random.normal(jax.random.key(1), (6, 8, 8, 3))
LABELS = jnp.asarray([0, 1, 2, 0, 1, 2])


def make(**settings):
    return WideResNet(10, 1, 3, **settings, rngs=nnx.Rngs(0))


def split(model):
    return nnx.split(model, nnx.Param, nnx.BatchStat)


def loss_and_stats(model, x, labels, mask=None, key=None):
    graphdef, params, stats = split(model)

    def loss_fn(params):
        m = nnx.merge(graphdef, params, stats, copy=True)
        m.train()
        log_probabilities = jax.nn.log_softmax(m(x, mask=mask, dropout_key=key))
        losses = -jnp.take_along_axis(log_probabilities, labels[:, None], 1)[:, 0]
        return jnp.mean(losses, where=mask), nnx.state(m, nnx.BatchStat)

    return jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(params)


@pytest.mark.parametrize(("classes", "parameters"), [(10, 36_479_194), (100, 36_536_884)])
def test_wrn_28_10_has_the_published_size(classes, parameters):
    model = nnx.eval_shape(lambda: WideResNet(28, 10, classes, rngs=nnx.Rngs(0)))
    assert sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param))) == parameters


def test_wrn_28_10_has_the_published_cost():
    model = nnx.eval_shape(lambda: WideResNet(28, 10, 10, rngs=nnx.Rngs(0)))
    assert flops_per_image(model, 32, 32) == pytest.approx(10.49e9, rel=5e-4)


@pytest.mark.parametrize(("height", "width"), [(7, 7), (33, 17), (8, 8)])
def test_the_cost_is_that_of_the_products(height, width):
    model = make()
    graphdef, state = nnx.split(model)
    image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    total = 0
    for equation in every_equation(jax.make_jaxpr(lambda s, x: nnx.merge(graphdef, s)(x))(state, image).jaxpr):
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            kernel, out = equation.invars[1].aval, equation.outvars[0].aval
            total += 2 * kernel.size * out.size // out.shape[-1]
    assert flops_per_image(model, height, width) == total


def every_equation(jaxpr):
    for equation in jaxpr.eqns:
        inner = [value for value in equation.params.values() if hasattr(value, "eqns") or hasattr(value, "jaxpr")]
        if not inner:
            yield equation
        for value in inner:
            yield from every_equation(getattr(value, "jaxpr", value))


@pytest.mark.parametrize("shape", [(2, 32, 32, 3), (1, 8, 8, 3), (3, 9, 7, 3)])
def test_any_image_size(shape):
    assert make()(jnp.ones(shape)).shape == (shape[0], 3)


def test_compute_dtype_is_an_argument():
    with jax.numpy_dtype_promotion("standard"):  # Flax itself relies on it
        model = make(dtype=jnp.bfloat16)
        close = np.abs(np.asarray(model(X) - make()(X))).max()
        assert model(X).dtype == jnp.float32
    assert 0 < close < 0.3


def test_batch_norm_keeps_its_numbers_in_float32_whatever_it_is_given():
    with jax.numpy_dtype_promotion("standard"):  # Flax itself relies on it
        norm = make(dtype=jnp.bfloat16).norm
        norm.mean[...] = jnp.full_like(norm.mean[...], 1.001)  # 1 in bfloat16
        norm.var[...] = jnp.full_like(norm.var[...], 1e-4)
        x = jnp.ones((1, 1, 1, norm.num_features), jnp.bfloat16)
        out = norm(x, use_running_average=True)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out.astype(jnp.float32), -0.001 / np.sqrt(1.1e-4), rtol=1e-2)


def test_gradients_and_statistics_of_a_bfloat16_network_are_float32():
    with jax.numpy_dtype_promotion("standard"):
        model = make(dtype=jnp.bfloat16)
        (_, stats), grads = loss_and_stats(model, X, LABELS)
    leaves = jax.tree.leaves((nnx.state(model, (nnx.Param, nnx.BatchStat)), stats, grads))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


def test_a_masked_batch_is_the_short_batch():
    padded = jnp.concatenate([X[:4], 100 * jnp.ones((2, 8, 8, 3))])
    masked = loss_and_stats(make(), padded, LABELS, mask=jnp.arange(6) < 4)
    short = loss_and_stats(make(), X[:4], LABELS[:4])
    chex.assert_trees_all_close(masked, short, rtol=2e-4, atol=2e-5)


def test_initialisation():
    model = WideResNet(16, 4, 10, rngs=nnx.Rngs(0))
    for conv in (model.stem, model.blocks[1].conv1, model.blocks[5].conv2, model.blocks[2].shortcut):
        height, width, _, channels = conv.kernel.shape
        assert np.std(conv.kernel) == pytest.approx(np.sqrt(2 / (height * width * channels)), rel=0.06)
        assert conv.bias is None
    bound = 256**-0.5
    kernel = np.asarray(model.linear.kernel)
    assert np.abs(kernel).max() <= bound
    assert np.std(kernel) == pytest.approx(bound / np.sqrt(3), rel=0.05)
    assert (model.linear.bias[...] == 0).all()
    assert (model.norm.scale[...] == 1).all()
    assert (model.norm.bias[...] == 0).all()


def test_running_statistics_move_by_a_tenth_towards_the_biased_ones():
    model = make()
    (_, stats), _ = loss_and_stats(model, X, LABELS)
    seen = np.asarray(model.stem(X))
    first = stats["blocks"][0]["norm1"]
    np.testing.assert_allclose(first["mean"][...], 0.1 * seen.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(first["var"][...], 0.9 + 0.1 * seen.var((0, 1, 2)), rtol=1e-4)


def test_dropout_needs_a_key_in_training_and_none_in_evaluation():
    model = make(dropout=0.5)
    first = loss_and_stats(model, X, LABELS, key=jax.random.key(0))[0][0]
    assert first == loss_and_stats(model, X, LABELS, key=jax.random.key(0))[0][0]
    assert first != loss_and_stats(model, X, LABELS, key=jax.random.key(1))[0][0]
    with pytest.raises(ValueError, match="rngs"):
        loss_and_stats(model, X, LABELS)
    model.eval()
    np.testing.assert_array_equal(model(X), model(X))


def test_state_is_parameters_and_statistics_alone():
    for dropout in (0.0, 0.3):
        assert len(nnx.split(make(dropout=dropout), nnx.Param, nnx.BatchStat)) == 3


@pytest.mark.parametrize(
    "bad",
    [
        {"depth": 11},
        {"depth": 4},
        {"width": 0},
        {"num_classes": 1},
        {"in_channels": 0},
        {"dropout": 1.0},
        {"activation": "laaf"},
        {"activation_scale": 0.5},
        {"activation_scale": np.nan},
        {"image_size": (8, 3)},
        {"image_size": (8,)},
        {"activation": "n-laaf"},
    ],
)
def test_bad_arguments_are_named(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        WideResNet(**({"depth": 10, "width": 1, "num_classes": 3} | bad), rngs=nnx.Rngs(0))


ADAPTIVE = [{"activation": "l-laaf"}, {"activation": "n-laaf", "image_size": (8, 8)}]


def slopes(params):
    return [x for x, flag in zip(jax.tree.leaves(params), jax.tree.leaves(is_slope(params)), strict=True) if flag]


def others(params):
    leaves = zip(nnx.to_flat_state(params), jax.tree.leaves(is_slope(params)), strict=True)
    return {path: np.asarray(leaf[...]) for (path, leaf), flag in leaves if not flag}


def with_slopes(settings, key=2):
    """A network whose slopes are not the ones that it starts from."""
    model = make(activation_scale=2.0, **settings)
    for layer in [*(a for b in model.blocks for a in (b.activation1, b.activation2)), model.activation]:
        layer.slope[...] = jax.random.uniform(jax.random.key(key), layer.slope.shape, minval=0.3, maxval=0.8)
    return model


def test_the_relu_network_has_nothing_of_the_adaptive_ones():
    model = make(activation="relu", activation_scale=2.0, image_size=(8, 8))
    assert split(model)[0] == split(make())[0]
    assert not {name for part in (model, *model.blocks) for name in vars(part) if "activation" in name}
    assert not slopes(split(model)[1])


@pytest.mark.parametrize("settings", ADAPTIVE)
def test_an_adaptive_network_starts_as_the_relu_network(settings):
    adaptive, plain = make(activation_scale=10.0, **settings), make()
    chex.assert_trees_all_equal(others(split(adaptive)[1]), others(split(plain)[1]))
    np.testing.assert_array_equal(adaptive(X), plain(X))
    (loss, stats), grads = loss_and_stats(adaptive, X, LABELS)
    (plain_loss, plain_stats), plain_grads = loss_and_stats(plain, X, LABELS)
    chex.assert_trees_all_close((loss, stats), (plain_loss, plain_stats), rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(others(grads), others(plain_grads), rtol=1e-4, atol=1e-5)
    assert float(slope_recovery(adaptive)) == pytest.approx(np.exp(-0.1))


def test_each_relu_has_slopes_of_its_own():
    l_laaf, n_laaf = (
        nnx.eval_shape(lambda s=s: WideResNet(16, 2, 10, **s, rngs=nnx.Rngs(0)))
        for s in ({"activation": "l-laaf"}, {"activation": "n-laaf", "image_size": (32, 18)})
    )
    assert [s.shape for s in slopes(split(l_laaf)[1])] == 13 * [()]
    shapes = [(b.activation1.slope.shape, b.activation2.slope.shape) for b in n_laaf.blocks]
    assert shapes == [
        ((32, 18, 16), (32, 18, 32)),
        ((32, 18, 32), (32, 18, 32)),
        ((32, 18, 32), (16, 9, 64)),
        ((16, 9, 64), (16, 9, 64)),
        ((16, 9, 64), (8, 5, 128)),
        ((8, 5, 128), (8, 5, 128)),
    ]
    assert n_laaf.activation.slope.shape == (8, 5, 128)
    assert flops_per_image(n_laaf, 32, 32) == flops_per_image(l_laaf, 32, 32)


@pytest.mark.parametrize(
    ("settings", "number"), [(ADAPTIVE[0], 25), (ADAPTIVE[1] | {"image_size": (32, 32)}, 2_310_144)]
)
def test_wrn_28_10_has_the_documented_number_of_slopes(settings, number):
    model = nnx.eval_shape(lambda: WideResNet(28, 10, 10, **settings, rngs=nnx.Rngs(0)))
    assert sum(x.size for x in slopes(nnx.state(model, nnx.Param))) == number


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (4, 5)])
def test_n_laaf_takes_images_of_its_size_alone(size):
    def logits(*seen):
        return make(activation="n-laaf", image_size=size)(jnp.ones((2, *seen, 3)))

    assert jax.eval_shape(lambda: logits(*size)).shape == (2, 3)
    with pytest.raises(ValueError, match=r"The slopes have shape .* for images of this size"):
        jax.eval_shape(lambda: logits(16, 16))


@pytest.mark.parametrize("settings", ADAPTIVE)
def test_gradient_of_the_slopes_is_that_of_finite_differences(settings):
    model = with_slopes(settings)
    (_, _), grads = loss_and_stats(model, X, LABELS)
    graphdef, params, stats = split(model)

    def loss_along(distance):
        moved = jax.tree.map(lambda p, s, g: p + distance * g if s else p, params, is_slope(params), grads)
        return float(loss_and_stats(nnx.merge(graphdef, moved, stats), X, LABELS)[0][0])

    square = sum(float(jnp.sum(g**2)) for g in slopes(grads))
    step = 3e-2 / np.sqrt(square)
    assert (loss_along(step) - loss_along(-step)) / (2 * step) == pytest.approx(square, rel=2e-2)


def test_a_slope_before_a_convolution_with_batch_norm_does_nothing():
    model = with_slopes(ADAPTIVE[0])
    assert model.blocks[0].shortcut is None
    (loss, _), grads = loss_and_stats(model, X, LABELS)
    inert, active = (grads["blocks"][0][name]["slope"][...] for name in ("activation1", "activation2"))
    assert abs(inert) < 1e-3 * abs(active)
    model.blocks[0].activation1.slope[...] *= 4
    (same_loss, _), same_grads = loss_and_stats(model, X, LABELS)
    assert same_loss == pytest.approx(float(loss), rel=1e-4)
    for path, grad in others(grads).items():
        # Batch norm's epsilon moves the next layer's inputs a little, some of them over the edge of their ReLU.
        assert np.linalg.norm(others(same_grads)[path] - grad) < 0.1 * np.linalg.norm(grad), path
    model.blocks[0].activation2.slope[...] *= 4
    assert loss_and_stats(model, X, LABELS)[0][0] != pytest.approx(float(loss), rel=1e-2)


@pytest.mark.parametrize("settings", ADAPTIVE)
def test_adaptive_networks_vmapped_over_seeds_equal_separate_ones(settings):
    models = [with_slopes(settings, key) for key in range(2)]
    graphdef = split(models[0])[0]

    def logits_and_recovery(params, stats):
        model = nnx.merge(graphdef, params, stats)
        return model(X), slope_recovery(model)

    states = [split(model)[1:] for model in models]
    together = jax.jit(jax.vmap(logits_and_recovery))(*jax.tree.map(lambda *x: jnp.stack(x), *states))
    for k, model in enumerate(models):
        expected = (model(X), slope_recovery(model))
        chex.assert_trees_all_close(jax.tree.map(lambda x, k=k: x[k], together), expected, rtol=1e-4, atol=1e-5)
    assert (together[0][0] != together[0][1]).all()


@pytest.mark.parametrize("settings", ADAPTIVE)
@jax.numpy_dtype_promotion("standard")  # Flax itself relies on it
def test_adaptive_networks_start_as_the_relu_network_in_bfloat16_too(settings):
    model = make(dtype=jnp.bfloat16, activation_scale=2.0, **settings)
    np.testing.assert_array_equal(model(X), make(dtype=jnp.bfloat16)(X))


@jax.numpy_dtype_promotion("standard")  # Flax itself relies on it
def test_gradients_of_slopes_in_bfloat16():
    rounded, precise = (
        np.stack(slopes(loss_and_stats(make(dtype=dtype, activation_scale=10.0, **ADAPTIVE[0]), X, LABELS)[1]))
        for dtype in (jnp.bfloat16, jnp.float32)
    )
    assert rounded.dtype == np.float32
    assert 0 < np.linalg.norm(rounded - precise) < 0.2 * np.linalg.norm(precise)
