"""The programs of an epoch: their inputs, and that slices, padding and sharding do not change the results."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.train import tiny_run
from train.data.augment import normalize
from train.engine.batches import Images, epoch_order, next_rows
from train.engine.devices import by_seed, make_mesh, padded_size, replicated
from train.engine.programs import calibration_program, evaluation_program, jit_over_seeds, slice_program
from train.engine.state import init_stacked_state, init_state, make_setup

DATA = tiny_run.dataset()
TRAIN = Images(jnp.asarray(DATA.train_images), jnp.asarray(DATA.train_labels))
TEST = Images(jnp.asarray(DATA.test_images), jnp.asarray(DATA.test_labels))
ONE = make_mesh(1)


def setup_and_state(seeds=(3,), **changes):
    setup = make_setup(tiny_run.experiment(**changes), DATA)
    states = jax.vmap(lambda seed: init_state(setup, 3, seed))(jnp.asarray(seeds, jnp.uint32))
    return setup, states


def train(setup, state, mesh, pieces):
    """Run an epoch in pieces of (steps, batch)."""
    seen = []
    state, data = jax.device_put(state, by_seed(mesh)), jax.device_put(TRAIN, replicated(mesh))
    for steps, batch in pieces:
        program = jit_over_seeds(slice_program(setup, mesh, steps, batch), mesh, len(state.step), donate=False)
        state, metrics = program(state, data)
        seen.append(jax.device_get(metrics))
    return state, jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *seen)


def test_an_epoch_sees_every_image_once_in_an_order_of_its_own():
    setup, state = setup_and_state()
    state = jax.tree.map(lambda x: x[0], state)
    orders = []
    for epoch in range(2):
        seen = []
        for step, batch in enumerate([16, 16, 16, 6]):
            at = state._replace(step=jnp.int32(epoch * 4 + step))
            order = epoch_order(setup, at.seed, jnp.int32(epoch))
            rows = next_rows(setup, at, order, 1, batch, batch)
            seen += np.asarray(rows[0]).tolist()
        assert sorted(seen) == list(range(54))
        orders.append(seen)
    assert orders[0] != orders[1]


def test_slices_of_any_length_make_the_same_epoch():
    setup, state = setup_and_state()
    whole, seen_whole = train(setup, state, ONE, [(3, 16), (1, 6)])
    pieces, seen_pieces = train(setup, state, ONE, [(1, 16), (2, 16), (1, 6)])
    chex.assert_trees_all_close(whole.params, pieces.params, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal(seen_whole.momentum, seen_pieces.momentum)
    assert int(whole.step[0]) == 4


def test_eight_devices_equal_one():
    # 16 and 6 rows: the short batch has to be padded to 8.
    setup, state = setup_and_state()
    one, seen_one = train(setup, state, ONE, [(3, 16), (1, 6)])
    many, seen_many = train(setup, state, make_mesh(8), [(3, 16), (1, 6)])
    chex.assert_trees_all_equal(seen_one.momentum, seen_many.momentum)
    chex.assert_trees_all_equal(seen_one.below, seen_many.below)
    np.testing.assert_allclose(seen_one.loss, seen_many.loss, rtol=1e-4)
    for left, right in ((one.params, many.params), (one.batch_stats, many.batch_stats)):
        chex.assert_trees_all_close(jax.device_get(left), jax.device_get(right), rtol=1e-3, atol=1e-4)


def test_seeds_side_by_side_equal_each_alone_bit_for_bit():
    # The loop over pieces of a batch, in weight gradients, needs 32 images, and the short batch is masked.
    pieces = [(1, 48), (1, 6)]
    setup = make_setup(tiny_run.experiment(batch_size=48), DATA)

    def ended(mesh, seeds):
        state, seen = train(setup, init_stacked_state(setup, 3, seeds, mesh), mesh, pieces)
        evaluate = jit_over_seeds(evaluation_program(setup, mesh, 23), mesh, len(seeds), donate=False)
        return jax.device_get((state, seen, evaluate(state, jax.device_put(TEST, replicated(mesh)))))

    together = ended(make_mesh(3, rows=3), [0, 5, 7])
    for i, seed in enumerate([0, 5, 7]):
        alone = ended(ONE, [seed])
        chex.assert_trees_all_equal(jax.tree.map(lambda x, i=i: x[i : i + 1], together), alone)


@pytest.mark.slow
def test_vmapped_seeds_equal_separate_ones():
    setup, both = setup_and_state(seeds=(0, 5))
    _, seen = train(setup, both, ONE, [(3, 16), (1, 6)])
    for i in range(2):
        _, alone = train(setup, jax.tree.map(lambda x, i=i: x[i : i + 1], both), ONE, [(3, 16), (1, 6)])
        np.testing.assert_allclose(seen.loss[i], alone.loss[0], rtol=1e-4)
        np.testing.assert_array_equal(seen.momentum[i], alone.momentum[0])
    assert not np.allclose(seen.loss[0], seen.loss[1])


@pytest.mark.parametrize(
    ("phase", "delay"),
    [("epoch_mean", True), ("epoch_mean", False), ("random", False)],
)
def test_recorded_momentum_is_the_one_used(phase, delay):
    setup, state = setup_and_state(phase=phase, delay=delay)
    _, seen = train(setup, state, ONE, [(3, 16)])
    picked = {np.float32(0.9), np.float32(0.95)}
    assert set(seen.momentum[0]) <= picked
    if phase == "epoch_mean":
        acted = np.where(seen.below[0], np.float32(0.9), np.float32(0.95))
        expected = np.concatenate([[np.float32(0.9)], acted[:-1]]) if delay else acted
        np.testing.assert_array_equal(seen.momentum[0], expected)
        np.testing.assert_array_equal(
            seen.below[0], seen.loss[0] < np.cumsum(seen.loss[0]) / np.arange(1, 4, dtype=np.float32)
        )


@pytest.mark.parametrize(("batch", "devices"), [(5, 1), (23, 1), (9, 8)])
def test_evaluation_counts_every_image_once(batch, devices):
    setup, state = setup_and_state()
    mesh = make_mesh(devices)
    program = jit_over_seeds(evaluation_program(setup, mesh, padded_size(batch, mesh)), mesh, seeds=1, donate=False)
    result = jax.device_get(program(*jax.device_put((state, TEST), replicated(mesh))))
    model = nnx.merge(setup.graphdef, *jax.tree.map(lambda x: x[0], (state.params, state.batch_stats)))
    model.eval()
    logits = np.asarray(model(normalize(TEST.images, (0.5,), (0.5,))), np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert result.wrong[0] == (logits.argmax(1) != DATA.test_labels).sum()
    np.testing.assert_allclose(result.loss[0], -log_probabilities[np.arange(23), DATA.test_labels].sum(), rtol=1e-4)


def test_the_state_is_donated():
    setup, state = setup_and_state()
    program = jit_over_seeds(slice_program(setup, ONE, 1, 16), ONE, seeds=1, donate=True)
    state = jax.device_put(state, replicated(ONE))
    program(state, TRAIN)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state)))


def test_bfloat16_keeps_state_and_loss_in_float32():
    # Flax itself relies on implicit promotion of bfloat16.
    with jax.numpy_dtype_promotion("standard"):
        setup, state = setup_and_state(dtype="bfloat16")
        after, seen = train(setup, state, ONE, [(1, 16)])
    chex.assert_trees_all_equal_dtypes(after, state)
    assert {leaf.dtype for leaf in jax.tree.leaves((after.params, after.batch_stats))} == {jnp.dtype("float32")}
    assert seen.loss.dtype == np.float32


def test_statistics_found_anew_are_those_of_the_weights_judged_and_of_nothing_else():
    setup, states = setup_and_state(optimizer="lookahead", phase="none", momentum_above=0.9)
    state = jax.tree.map(lambda x: x[0], states)
    calibrate = jax.jit(calibration_program(setup, ONE, 3, 16))
    found = calibrate(state, TRAIN)
    other = state._replace(
        batch_stats=jax.tree.map(lambda x: x + 5, state.batch_stats),
        params=state.params._replace(fast=jax.tree.map(lambda x: 2 * x, state.params.fast)),
    )
    chex.assert_trees_all_equal(calibrate(other, TRAIN), found)
    # A network that trains nothing ends with running means of the same batches, and a rest of where they began.
    still, plain = setup_and_state(learning_rate=1e-30, weight_decay=0.0, momentum_below=0.0, momentum_above=0.0)
    ran = jax.jit(slice_program(still, ONE, 3, 16))(jax.tree.map(lambda x: x[0], plain), TRAIN)[0].batch_stats
    start = jax.tree.map(lambda x: x[0], plain.batch_stats)
    anew = jax.tree.map(lambda ran, start: (ran - 0.9**3 * start) / (1 - 0.9**3), ran, start)
    chex.assert_trees_all_close(found, anew, rtol=1e-3, atol=1e-4)


def test_a_step_that_is_skipped_does_not_enter_the_mean():
    setup, states = setup_and_state(nonfinite="skip")
    state = jax.tree.map(lambda x: x[0], states)
    broken = Images(jnp.zeros_like(TRAIN.images), TRAIN.labels)  # all pixels infinite, of a mean of 3e38
    infinite = setup._replace(experiment=tiny_run.experiment(nonfinite="skip", mean=(3e38,), std=(1e-3,)))
    after, _ = jax.jit(slice_program(infinite, ONE, 2, 16))(state, broken)
    chex.assert_trees_all_equal(after.params, state.params)
    assert (int(after.step), int(after.observed.loss_count)) == (2, 0)
    _, metrics = jax.jit(slice_program(setup, ONE, 1, 16))(after, TRAIN)
    assert not metrics.below[0]  # the first loss of all is its own mean
