"""Associated Learning: the losses against NumPy, the parts that each loss trains, and the prediction."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from models import AssociatedWideResNet, WideResNet, associated_labels
from tests.models.small_batch import LABELS, X, scattered, split


def make(seed=0, **settings):
    return AssociatedWideResNet(10, 1, 3, target_width=16, **settings, rngs=nnx.Rngs(params=jax.random.key(seed)))


# The graph definition is static, as in training.
GRAPHDEF = split(nnx.eval_shape(make))[0]


@functools.cache
def initial(seed):
    return split(make(seed))[1:]


@functools.cache
def state():
    return scattered(*initial(0))


def losses_and_stats(params, stats, images=X, labels=LABELS, mask=None, graphdef=GRAPHDEF):
    model = nnx.merge(graphdef, params, stats, copy=True)
    model.train()
    return model.local_losses(images, labels, mask=mask), nnx.state(model, nnx.BatchStat)


losses_and_stats_jit = jax.jit(losses_and_stats, static_argnames="graphdef")


def weighted_sum(params, stats, images=X, weights=None):
    losses, stats = losses_and_stats(params, stats, images)
    return losses.sum() if weights is None else losses @ weights, (losses, stats)


# One program gives the gradients of the sum and those of each loss.
gradients = jax.jit(jax.grad(lambda *args: weighted_sum(*args)[0]))
ALL = jnp.ones(8)


@jax.jit
def predict(params, stats):
    model = nnx.merge(GRAPHDEF, params, stats, copy=True)
    model.eval()
    return model(X)


def flat(tree):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def owners(tree):
    """Number the loss that each array learns from: 0 to 3 the components', 4 to 7 the autoencoders'."""

    def owner(path, _):
        part, index, *_ = (getattr(entry, "key", None) for entry in path)
        if part in ("norms", "bridges"):
            return index
        if part in ("encoders", "decoders"):
            return 4 + index
        return 0 if part == "stem" else 1 + index  # a block for each group

    return jax.tree.map_with_path(owner, tree)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def dense(x, layer):
    return x @ layer["kernel"] + layer["bias"]


def components_of_a_wide_resnet(params, stats, *, training):
    """The outputs of the stem and the groups by an ordinary network with these layers."""
    plain = nnx.eval_shape(lambda: WideResNet(10, 1, 3, rngs=nnx.Rngs(0)))
    graphdef, own_params, own_stats = nnx.split(plain, nnx.Param, nnx.BatchStat)
    own_params["stem"], own_params["blocks"] = params["stem"], params["blocks"]
    own_stats["blocks"] = stats["blocks"]

    @jax.jit
    def run():
        model = nnx.merge(graphdef, own_params, own_stats, copy=True)
        (model.train if training else model.eval)()
        outputs = [model.stem(X)]
        for block in model.blocks:
            outputs.append(block(outputs[-1], None, None))
        return outputs

    return [np.asarray(x) for x in run()]


def bridged(x, index, params, stats=None):
    """NumPy: batch norm (by the batch, or by statistics), ReLU, pooling and the two layers of one bridge."""
    mean, var = (x.mean((0, 1, 2)), x.var((0, 1, 2))) if stats is None else (stats["mean"], stats["var"])
    norm, bridge = params["norms"][index], params["bridges"][index]
    normed = (x - mean) / np.sqrt(var + 1e-5) * norm["scale"] + norm["bias"]
    pooled = np.maximum(normed, 0).mean((1, 2))
    return sigmoid(dense(sigmoid(dense(pooled, bridge["hidden"])), bridge["output"]))


def test_local_losses_are_those_of_numpy():
    losses, _ = losses_and_stats_jit(*state())
    outputs = components_of_a_wide_resnet(*state(), training=True)
    params = jax.tree.map(np.asarray, nnx.as_pure(state()[0]))
    code = np.eye(3)[np.asarray(LABELS)]
    associated, autoencoder = [], []
    for i in range(4):
        before, code = code, sigmoid(dense(code, params["encoders"][i]))
        decoded = sigmoid(dense(code, params["decoders"][i]))
        autoencoder.append(((decoded - before) ** 2).mean())
        associated.append(((bridged(outputs[i], i, params) - code) ** 2).mean())
    assert losses.shape == (8,)
    np.testing.assert_allclose(losses, associated + autoencoder, rtol=1e-4)


def test_prediction_is_the_last_bridge_decoded_back_to_the_labels():
    outputs = components_of_a_wide_resnet(*state(), training=False)
    params, stats = (jax.tree.map(np.asarray, nnx.as_pure(tree)) for tree in state())
    code = bridged(outputs[3], 3, params, stats["norms"][3])
    for i in (3, 2, 1):
        code = sigmoid(dense(code, params["decoders"][i]))
    np.testing.assert_allclose(predict(*state()), dense(code, params["decoders"][0]), rtol=1e-4, atol=1e-5)


def test_a_loss_has_gradients_in_its_own_parameters_alone():
    params, stats = state()
    whole, numbers = flat(gradients(params, stats, X, ALL)), flat(owners(params))
    for i in range(8):
        for path, own in flat(gradients(params, stats, X, ALL.at[:].set(0).at[i].set(1))).items():
            # Every array learns, from one loss; the sum's gradient is that loss's own.
            assert own.any() == (i == numbers[path]), (i, path)
            if i == numbers[path]:
                np.testing.assert_array_equal(own, whole[path], err_msg=path)


@pytest.mark.parametrize("component", [0, 1, 2, 3])
def test_later_components_do_not_change_a_component_s_gradient(component):
    params, stats = state()
    numbers = owners(params)
    later = jax.tree.map(lambda x, i: x + 0.5 if i % 4 > component else x, params, numbers)
    before, after = (flat(gradients(p, stats, X, ALL)) for p in (params, later))
    changed = {path for path in before if (before[path] != after[path]).any()}
    assert not changed & {path for path, i in flat(numbers).items() if i % 4 <= component}
    assert bool(changed) == (component < 3)


def test_codes_learn_from_the_labels_alone():
    before, after = (gradients(*state(), images, ALL) for images in (X, X[::-1] + 1))
    for part in ("encoders", "decoders"):
        chex.assert_trees_all_equal(before[part], after[part])


def test_a_masked_batch_is_the_short_batch():
    padded = jnp.concatenate([X[:4], 100 * jnp.ones((2, 8, 8, 3))])
    masked = losses_and_stats_jit(*state(), padded, LABELS, jnp.arange(6) < 4)
    short = losses_and_stats_jit(*state(), X[:4], LABELS[:4])
    chex.assert_trees_all_close(masked, short, rtol=2e-4, atol=2e-5)


def test_batch_norm_learns_in_training_and_rests_in_evaluation():
    params, stats = state()
    moved = losses_and_stats_jit(params, stats)[1]
    assert all((a != b).any() for a, b in zip(jax.tree.leaves(stats), jax.tree.leaves(moved), strict=True))

    @jax.jit
    def evaluated():
        model = nnx.merge(GRAPHDEF, params, stats, copy=True)
        model.eval()
        model.local_losses(X, LABELS)
        model(X)
        return nnx.state(model, nnx.BatchStat)

    chex.assert_trees_all_equal(evaluated(), stats)


def test_labels_tell_the_autoencoders_apart():
    params = state()[0]
    labels = associated_labels(params)
    chex.assert_trees_all_equal_structs(labels, params)
    numbers = jax.tree.leaves(owners(params))
    assert jax.tree.leaves(labels) == ["associated" if i < 4 else "autoencoder" for i in numbers]


def test_every_loss_falls_and_the_classes_are_found():
    params, stats = initial(0)
    optimizer = optax.partition({"associated": optax.adam(1e-2), "autoencoder": optax.adam(2e-2)}, associated_labels)
    opt_state, history = optimizer.init(params), []

    @jax.jit
    def train_step(params, stats, opt_state):
        grads, (losses, stats) = jax.grad(weighted_sum, has_aux=True)(params, stats)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return losses, optax.apply_updates(params, updates), stats, opt_state

    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam relies on it
        for _ in range(150):
            losses, params, stats, opt_state = train_step(params, stats, opt_state)
            history.append(losses)
    # On the way the deeper codes' losses rise, as the codes before them spread out.
    assert (history[-1] < 0.5 * history[0]).all()
    np.testing.assert_array_equal(predict(params, stats).argmax(-1), LABELS)


def test_seeds_are_vmapped():
    states = jax.tree.map(lambda *seeds: jnp.stack(seeds), initial(0), initial(1))
    both = jax.jit(jax.vmap(jax.grad(weighted_sum, has_aux=True)))(*states)
    for seed in range(2):
        alone = gradients(*initial(seed), X, ALL), losses_and_stats_jit(*initial(seed))
        chex.assert_trees_all_close(jax.tree.map(lambda x, i=seed: x[i], both), alone, rtol=1e-3, atol=1e-4)


def test_layers_start_as_those_of_the_wide_resnet_of_the_same_rngs():
    plain = nnx.state(WideResNet(10, 1, 3, rngs=nnx.Rngs(params=jax.random.key(0))), nnx.Param)
    params = initial(0)[0]
    assert set(params) == {"stem", "blocks", "norms", "bridges", "encoders", "decoders"}
    for part in ("stem", "blocks"):
        chex.assert_trees_all_equal(params[part], plain[part])


def test_sizes():
    shape = nnx.eval_shape(lambda: AssociatedWideResNet(28, 10, 100, in_channels=1, rngs=nnx.Rngs(0)))
    assert shape.stem.kernel.shape == (3, 3, 1, 16)
    assert [b.hidden.kernel.shape for b in shape.bridges] == [(c, 1500) for c in (16, 160, 320, 640)]
    assert [b.output.kernel.shape for b in shape.bridges] == [(1500, 300)] * 4
    assert [e.kernel.shape for e in shape.encoders] == [(100, 300), *[(300, 300)] * 3]
    assert [d.kernel.shape for d in shape.decoders] == [(300, 100), *[(300, 300)] * 3]


def test_compute_dtype_is_an_argument_and_state_stays_float32():
    with jax.numpy_dtype_promotion("standard"):  # Flax itself relies on it
        graphdef = split(nnx.eval_shape(lambda: make(dtype=jnp.bfloat16)))[0]
        losses, stats = losses_and_stats_jit(*initial(0), graphdef=graphdef)
    assert {leaf.dtype for leaf in jax.tree.leaves((losses, stats))} == {jnp.dtype("float32")}
    difference = np.abs(losses - losses_and_stats_jit(*initial(0))[0])
    assert 0 < difference[:4].max() < 0.02
    assert difference[4:].max() == 0  # codes are float32 whatever the layers are


def test_state_is_parameters_and_statistics_alone():
    assert len(split(nnx.eval_shape(make))) == 3


@pytest.mark.parametrize(
    "bad", [{"target_width": 0}, {"depth": 11}, {"width": 0}, {"num_classes": 1}, {"in_channels": 0}]
)
def test_bad_arguments_are_named(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        AssociatedWideResNet(**({"depth": 10, "width": 1, "num_classes": 3} | bad), rngs=nnx.Rngs(0))
