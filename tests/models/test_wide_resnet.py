"""The Wide ResNet: sizes, initialisation, statistics, masking, dropout."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import WideResNet
from models._wide_resnet import flops_per_image

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


@pytest.mark.parametrize("shape", [(2, 32, 32, 3), (1, 8, 8, 3), (3, 9, 7, 3)])
def test_any_image_size(shape):
    assert make()(jnp.ones(shape)).shape == (shape[0], 3)


def test_compute_dtype_is_an_argument_and_state_stays_float32():
    with jax.numpy_dtype_promotion("standard"):  # Flax itself relies on it
        model = make(dtype=jnp.bfloat16)
        close = np.abs(np.asarray(model(X) - make()(X))).max()
        assert model(X).dtype == jnp.float32
        (_, stats), grads = loss_and_stats(model, X, LABELS)
    assert 0 < close < 0.3
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
    "bad", [{"depth": 11}, {"depth": 4}, {"width": 0}, {"num_classes": 1}, {"in_channels": 0}, {"dropout": 1.0}]
)
def test_bad_arguments_are_named(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        WideResNet(**({"depth": 10, "width": 1, "num_classes": 3} | bad), rngs=nnx.Rngs(0))
