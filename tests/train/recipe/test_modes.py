"""Training modes: parts that train in turn, local losses at two rates, slopes that do not decay."""

import dataclasses
import functools
from typing import get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lcam_optax
from models import associated_labels, is_slope, partition_of
from tests.train import tiny_run
from train.engine.batches import Images
from train.engine.devices import make_mesh
from train.engine.programs import evaluation_program, slice_program
from train.engine.state import init_state, make_setup
from train.errors import ConfigError
from train.experiments import Experiment
from train.recipe.modes import MODES, Batch
from train.recipe.network import make_model
from train.recipe.optimizers import make_optimizer
from train.recipe.schedules import learning_rate

DATA = tiny_run.dataset()
TRAIN = Images(jnp.asarray(DATA.train_images), jnp.asarray(DATA.train_labels))
TEST = Images(jnp.asarray(DATA.test_images), jnp.asarray(DATA.test_labels))
ONE = make_mesh(1)
PARTITIONED = {"training": "partitioned", "epochs": 6}


def setup_and_state(**changes):
    setup = make_setup(tiny_run.experiment(**changes), DATA)
    return setup, jax.jit(functools.partial(init_state, setup, 3))(np.uint32(3))


def a_slice(setup, state, stage=0):
    return jax.jit(slice_program(setup, ONE, 3, 16, stage=stage))(state, TRAIN)


def moved(before, after):
    """Whether each leaf has changed, by the flat order of leaves."""
    return [bool(np.any(a != b)) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)]


def test_epochs_fall_into_stages():
    assert [MODES["partitioned"].stage_of(epoch, 6) for epoch in range(6)] == [0, 0, 1, 1, 2, 2]
    assert {MODES[name].stage_of(1, 2) for name in ("end-to-end", "associated")} == {0}


def test_every_training_mode_of_an_experiment_has_its_object():
    (allowed,) = [field.type for field in dataclasses.fields(Experiment) if field.name == "training"]
    assert set(MODES) == set(get_args(allowed))


@pytest.mark.parametrize("name", MODES)
def test_only_epochs_that_fill_the_stages_are_allowed(name):
    stages = MODES[name].num_stages
    assert tiny_run.experiment(training=name, epochs=2 * stages).epochs == 2 * stages
    if stages > 1:
        with pytest.raises(ConfigError, match=f"a multiple of {stages}"):
            tiny_run.experiment(training=name, epochs=2 * stages + 1)


@pytest.mark.parametrize("name", MODES)
def test_padding_does_not_enter_the_loss(name):
    arm = tiny_run.experiment(training=name, epochs=3)
    images = jax.random.normal(jax.random.key(1), (6, 8, 8, 1))
    labels = jnp.asarray([0, 1, 2, 0, 1, 2], jnp.int32)
    mask = jnp.arange(6) < 4

    def loss(images, labels, mask):
        model = make_model(arm, 3, (8, 8, 1), jax.random.key(0))
        return MODES[name].loss(arm, model, Batch(images, labels, mask, None), 0)[0]

    padded = loss(images.at[4:].set(images[0]), labels.at[4:].set(1), mask)
    np.testing.assert_allclose(padded, loss(images[:4], labels[:4], None), rtol=1e-5)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_stage_moves_its_part_alone_and_sets_its_phase(stage):
    setup, state = setup_and_state(**PARTITIONED)
    after, metrics = a_slice(setup, state, stage)
    parts = jax.tree.leaves(partition_of(state.params))
    changed = moved(state.params, after.params)
    assert all(part == stage for part, change in zip(parts, changed, strict=True) if change)
    assert sum(changed) > 0.9 * parts.count(stage)
    assert set(np.asarray(metrics.momentum)) <= set(np.float32([0.9, 0.95]))
    for part in range(3):
        reading = lcam_optax.read_phase(MODES["partitioned"].stage_state(after.opt_state, part))
        assert bool(reading.loss_mean > 0) == (part == stage)
    statistics = jax.tree.leaves(partition_of(state.batch_stats))
    changed = moved(state.batch_stats, after.batch_stats)
    assert all(part == stage for part, change in zip(statistics, changed, strict=True) if change)


def test_each_stage_has_the_schedule_anew():
    arm = tiny_run.experiment(**PARTITIONED, schedule="cosine")
    rates = jax.vmap(learning_rate(arm, 4))(jnp.arange(24))
    np.testing.assert_allclose(rates[:8], rates[8:16])
    np.testing.assert_allclose(
        rates[:8], jax.vmap(learning_rate(tiny_run.experiment(schedule="cosine"), 4))(jnp.arange(8))
    )


def test_a_stage_is_evaluated_with_its_own_head():
    setup, state = setup_and_state(**PARTITIONED)
    found = [jax.jit(evaluation_program(setup, ONE, 23, stage=stage))(state, TEST) for stage in range(3)]
    assert len({float(evaluation.loss) for evaluation in found}) == 3


def test_local_losses_add_up_and_the_autoencoders_are_faster():
    plain = {"phase": "none", "momentum_above": 0.9, "weight_decay": 0.0}
    setup, state = setup_and_state(training="associated", **plain)
    tx = make_optimizer(setup.experiment, 4)
    updates, _ = tx.update(state.params, state.opt_state, state.params)
    for update, value, label in zip(
        *map(jax.tree.leaves, (updates, state.params, associated_labels(state.params))), strict=True
    ):
        np.testing.assert_allclose(update, -0.05 * value * (2 if label == "autoencoder" else 1), rtol=1e-6)
    after, metrics = a_slice(setup, state)
    assert 0 < float(metrics.loss[0]) < 8  # eight means of squares of numbers in [0, 1]
    assert np.mean(moved(state.params, after.params)) > 0.9


def test_associated_learning_decays_the_kernels_of_its_layers_alone():
    setup, state = setup_and_state(training="associated", weight_decay=0.1)
    zeros = jax.tree.map(jnp.zeros_like, state.params)
    updates, _ = make_optimizer(setup.experiment, 4).update(zeros, state.opt_state, state.params, value=jnp.float32(1))
    decayed = [path[0].key for path, update in jax.tree.leaves_with_path(updates) if np.any(update != 0)]
    kernels = [path[0].key for path, x in jax.tree.leaves_with_path(state.params) if x.ndim == 4]
    assert decayed == kernels
    assert not {"encoders", "decoders", "bridges"} & set(decayed)


def test_slopes_start_as_relu_recover_and_do_not_decay():
    relu, state = setup_and_state(weight_decay=0.1)
    adaptive, sloped = setup_and_state(weight_decay=0.1, activation="l-laaf", activation_scale=2.0, slope_recovery=0.5)
    _, plain = a_slice(relu, state)
    _, metrics = a_slice(adaptive, sloped)
    # The term at the start: every slope is 1/2.
    np.testing.assert_allclose(metrics.loss[0] - plain.loss[0], 0.5 / np.exp(0.5), rtol=1e-5)
    tx = make_optimizer(adaptive.experiment, 4)
    zeros = jax.tree.map(jnp.zeros_like, sloped.params)
    updates, _ = tx.update(zeros, sloped.opt_state, sloped.params, value=jnp.float32(1.0))
    for update, value, slope in zip(
        *map(jax.tree.leaves, (updates, sloped.params, is_slope(sloped.params))), strict=True
    ):
        assert np.any(update != 0) == (not slope and bool(np.any(value != 0)))


def test_a_gradient_that_is_not_finite_leaves_a_slope_as_it_was():
    setup, state = setup_and_state(activation="l-laaf", nonfinite="skip")
    poisoned = dataclasses.replace(setup.experiment, mean=(3e38,), std=(1e-3,))  # infinite pixels
    broken, _ = a_slice(setup._replace(experiment=poisoned), state)
    chex.assert_trees_all_equal(broken.params, state.params)
    after, metrics = a_slice(setup, broken)
    assert np.all(np.isfinite(metrics.loss))
    chex.assert_tree_all_finite(after.params)


def test_neurons_get_slopes_of_the_size_of_the_image():
    setup, state = setup_and_state(activation="n-laaf")
    leaves, slopes = map(jax.tree.leaves, (state.params, is_slope(state.params)))
    shapes = [leaf.shape for leaf, slope in zip(leaves, slopes, strict=True) if slope]
    assert set(shapes) == {(8, 8, 16), (4, 4, 32), (2, 2, 64)}
    after, _ = a_slice(setup, state)
    chex.assert_tree_all_finite(after.params)
