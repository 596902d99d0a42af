"""Partitioned training: what each stage computes, and which parameters it changes."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from models import PartitionedWideResNet, WideResNet, partition_of
from tests.models.small_batch import LABELS, X, scattered, split

STAGES = pytest.mark.parametrize("stage", [0, 1, 2])


def make(seed=0, **settings):
    return PartitionedWideResNet(10, 1, 3, **settings, rngs=nnx.Rngs(params=jax.random.key(seed)))


# The graph definition is static, as in training.
GRAPHDEF = split(nnx.eval_shape(make))[0]


@functools.cache
def initial(seed):
    return split(make(seed))[1:]


@functools.cache
def state():
    return scattered(*initial(0))


def loss_and_stats(params, stats, stage, images=X, labels=LABELS, mask=None, graphdef=GRAPHDEF):
    model = nnx.merge(graphdef, params, stats, copy=True)
    model.train()
    losses = optax.softmax_cross_entropy_with_integer_labels(model.partition_logits(images, stage, mask=mask), labels)
    return jnp.mean(losses, where=mask), nnx.state(model, nnx.BatchStat)


step = jax.jit(jax.value_and_grad(loss_and_stats, has_aux=True), static_argnames=("graphdef", "stage"))


@functools.partial(jax.jit, static_argnames=("stage", "training"))
def forward(params, stats, stage, images=X, *, training=False):
    """Logits of a stage's head, of the whole network for None; and the statistics after them."""
    model = nnx.merge(GRAPHDEF, params, stats, copy=True)
    model.train() if training else model.eval()
    logits = model(images) if stage is None else model.partition_logits(images, stage)
    return logits, nnx.state(model, nnx.BatchStat)


def flat(tree):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def assert_differ_in(stage, before, after):
    """Check that the arrays of one partition, every one of them, differ, and no other does."""
    labels, before, after = flat(partition_of(before)), flat(before), flat(after)
    assert {path: bool((before[path] != after[path]).any()) for path in before} == {
        path: labels[path] == stage for path in before
    }


def test_network_is_a_wide_resnet():
    params, stats = state()
    plain = nnx.split(nnx.eval_shape(lambda: WideResNet(10, 1, 3, rngs=nnx.Rngs(0))), nnx.Param, nnx.BatchStat)[0]

    @jax.jit
    def plain_logits(params, stats):
        model = nnx.merge(plain, params, stats, copy=True)
        model.eval()
        return model(X)

    whole = forward(params, stats, None)[0]
    np.testing.assert_array_equal(whole, plain_logits(params["network"], stats["network"]))
    np.testing.assert_allclose(whole, forward(params, stats, 2)[0], rtol=1e-5, atol=1e-5)


def test_network_starts_as_the_wide_resnet_of_the_same_rngs():
    plain = WideResNet(10, 1, 3, rngs=nnx.Rngs(params=jax.random.key(0)))
    chex.assert_trees_all_equal(initial(0)[0]["network"], nnx.state(plain, nnx.Param))


@STAGES
def test_logits_are_those_of_a_head_behind_the_frozen_part(stage):
    params, stats = state()

    @jax.jit
    def body():
        network = nnx.merge(GRAPHDEF, params, stats, copy=True).network
        x = network.stem(X)
        for k, block in enumerate(network.blocks[: stage + 1]):
            (block.eval if k < stage else block.train)()
            x = block(x, None, None)
        return x

    x = np.asarray(body())
    head = jax.tree.map(np.asarray, nnx.as_pure(params["network"] if stage == 2 else params["proxies"][stage]))
    normed = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    pooled = np.maximum(normed * head["norm"]["scale"] + head["norm"]["bias"], 0).mean((1, 2))
    want = pooled @ head["linear"]["kernel"] + head["linear"]["bias"]
    np.testing.assert_allclose(forward(params, stats, stage, training=True)[0], want, rtol=1e-4, atol=1e-4)


@STAGES
def test_only_the_stage_s_own_parameters_and_statistics_are_touched(stage):
    params, stats = state()
    (_, moved), grads = step(params, stats, stage)
    assert_differ_in(stage, jax.tree.map(jnp.zeros_like, grads), grads)
    assert_differ_in(stage, stats, moved)


@STAGES
def test_evaluation_gives_the_head_s_test_logits_and_moves_nothing(stage):
    params, stats = state()
    logits, after = forward(params, stats, stage)
    chex.assert_trees_all_equal(after, stats)
    # Running averages are in use: the logits of an image do not depend on the images beside it.
    others = forward(params, stats, stage, X.at[1:].multiply(5.0))[0]
    np.testing.assert_array_equal(others[0], logits[0])
    assert (others[1:] != logits[1:]).any()


def test_later_partitions_have_no_part():
    params, stats = state()
    with_nans = jax.tree.map(lambda x, k: x if k < 2 else jnp.nan * x, params, partition_of(params))
    chex.assert_trees_all_equal(step(with_nans, stats, 1), step(params, stats, 1))


def test_a_masked_batch_is_the_short_batch():
    padded = jnp.concatenate([X[:4], 100 * jnp.ones((2, 8, 8, 3))])
    masked, short = (
        jax.jit(lambda *batch: loss_and_stats(*state(), 1, *batch))(*batch)
        for batch in ((padded, LABELS, jnp.arange(6) < 4), (X[:4], LABELS[:4]))
    )
    chex.assert_trees_all_close(masked, short, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("depth", [10, 16])
def test_labels_follow_the_network(depth):
    params = nnx.state(nnx.eval_shape(lambda: PartitionedWideResNet(depth, 1, 3, rngs=nnx.Rngs(0))), nnx.Param)
    labels = partition_of(params)
    chex.assert_trees_all_equal_structs(labels, params)

    def labels_in(tree):
        return set(jax.tree.leaves(tree))

    network, per_group = labels["network"], (depth - 4) // 6
    assert labels_in(network["stem"]) == {0}
    blocks = [network["blocks"][i] for i in range(3 * per_group)]
    assert [labels_in(block) for block in blocks] == [{i // per_group} for i in range(3 * per_group)]
    assert labels_in((network["norm"], network["linear"])) == {2}
    assert [labels_in(labels["proxies"][k]) for k in range(2)] == [{0}, {1}]


@STAGES
def test_a_stage_learns_and_freezes_the_others(stage):
    start, stats = initial(0)
    before, params = stats, start
    # Weight decay and momentum would move what is only left without a gradient.
    sgd = optax.chain(optax.add_decayed_weights(1e-2), optax.sgd(0.1, momentum=0.9))
    optimizer = optax.partition({k: sgd if k == stage else optax.set_to_zero() for k in range(3)}, partition_of)
    opt_state, losses = optimizer.init(params), []

    @jax.jit
    def train_step(params, stats, opt_state):
        (loss, stats), grads = jax.value_and_grad(loss_and_stats, has_aux=True)(params, stats, stage)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return loss, optax.apply_updates(params, updates), stats, opt_state

    for _ in range(20):
        loss, params, stats, opt_state = train_step(params, stats, opt_state)
        losses.append(loss)
    assert losses[-1] < 0.3 * losses[0]
    assert_differ_in(stage, start, params)
    for k in range(stage):
        np.testing.assert_array_equal(forward(params, stats, k)[0], forward(start, before, k)[0])


def test_the_frozen_part_is_not_kept_for_a_backward_pass():
    images, labels = jnp.ones((32, 32, 32, 3)), jnp.zeros(32, jnp.int32)

    def bytes_held(stage):
        return step.lower(*state(), stage, images, labels).compile().memory_analysis().temp_size_in_bytes

    # The images of the last group have a quarter of the pixels and four times the channels: a quarter of the numbers.
    assert bytes_held(2) < 0.6 * bytes_held(0)


def test_seeds_are_vmapped():
    states = jax.tree.map(lambda *seeds: jnp.stack(seeds), initial(0), initial(1))
    run = jax.value_and_grad(lambda params, stats: loss_and_stats(params, stats, 1), has_aux=True)
    both = jax.jit(jax.vmap(run))(*states)
    for seed in range(2):
        alone = step(*initial(seed), 1)
        chex.assert_trees_all_close(jax.tree.map(lambda x, i=seed: x[i], both), alone, rtol=1e-3, atol=1e-4)


def test_compute_dtype_is_an_argument_and_state_stays_float32():
    with jax.numpy_dtype_promotion("standard"):  # Flax itself relies on it
        graphdef = split(nnx.eval_shape(lambda: make(dtype=jnp.bfloat16)))[0]
        result = step(*initial(0), 1, graphdef=graphdef)
    assert {leaf.dtype for leaf in jax.tree.leaves(result)} == {jnp.dtype("float32")}
    assert 0 < np.abs(result[0][0] - step(*initial(0), 1)[0][0]) < 0.1


def test_state_is_parameters_and_statistics_alone():
    assert len(split(nnx.eval_shape(make))) == 3


@pytest.mark.parametrize("bad", [-1, 3, 1.0, "0"])
def test_unknown_partitions_are_refused(bad):
    with pytest.raises(ValueError, match="partition must be a Python int, 0 to 2"):
        jax.eval_shape(lambda: make().partition_logits(X, bad))


def test_a_traced_partition_is_refused():
    with pytest.raises(ValueError, match="partition must be a Python int"):
        jax.eval_shape(lambda stage: make().partition_logits(X, stage), 1)


@pytest.mark.parametrize("bad", [{"depth": 11}, {"width": 0}, {"num_classes": 1}, {"in_channels": 0}])
def test_bad_arguments_are_named(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        PartitionedWideResNet(**({"depth": 10, "width": 1, "num_classes": 3} | bad), rngs=nnx.Rngs(0))
