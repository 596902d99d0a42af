import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.train import tiny_run
from train.data.augment import normalize
from train.engine.batches import Images
from train.engine.devices import make_mesh
from train.engine.programs import slice_program
from train.engine.state import init_state, make_setup
from train.errors import RunError
from train.experiments import EXPERIMENTS, sgd
from train.studies.updates import directions

pytestmark = pytest.mark.slow

DATA = tiny_run.dataset()
TRAIN = Images(jnp.asarray(DATA.train_images), jnp.asarray(DATA.train_labels))
ONE = make_mesh(1)
EXPERIMENT = tiny_run.experiment(drop_last=True)


@functools.cache
def initial():
    setup = make_setup(EXPERIMENT, DATA)
    return setup, jax.jit(functools.partial(init_state, setup, 3))(np.uint32(3))


@pytest.fixture(scope="module")
def trained():
    """An epoch of three steps, watched, and the same by the ordinary program a step at a time."""
    setup, state = initial()
    after, sums, loss = next(directions._epochs_of_seed(setup, DATA, ONE)(3))
    one_step = jax.jit(slice_program(setup, ONE, 1, 16))
    states, seen = [state], []
    for _ in range(3):
        state, metrics = one_step(states[-1], TRAIN)
        states.append(state)
        seen.append(metrics)
    return jax.device_get((after, sums, loss, states, jax.tree.map(lambda *parts: np.concatenate(parts), *seen)))


def flat(params):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def test_watching_changes_nothing(trained):
    after, _, loss, states, seen = trained
    assert loss == pytest.approx(seen.loss.mean(), rel=1e-4)
    np.testing.assert_allclose(flat(after.params), flat(states[-1].params), rtol=1e-3, atol=1e-4)
    assert int(after.step) == 3


def test_updates_are_those_of_the_parameters(trained):
    _, sums, _, states, seen = trained
    moved = np.abs(np.diff(np.stack([flat(state.params) for state in states]), axis=0))
    assert sums.steps.tolist() == [seen.below.sum(), (~seen.below).sum()]
    for row, phase in zip(sums.moved, (seen.below, ~seen.below), strict=True):
        np.testing.assert_allclose(row, moved[phase].sum(0), rtol=2e-2, atol=1e-5)


def test_sign_changes_are_those_of_the_momentum_buffer(trained):
    _, sums, _, states, _ = trained
    signs = np.sign([flat(optax.tree.get(state.opt_state, "trace")) for state in states])
    changed = (signs[1:] * signs[:-1] < 0).sum(0)
    # Two programs may round differently, which turns the sign of what is nearly zero.
    assert (sums.changed.sum(0) == changed).mean() > 0.999
    assert 0 < changed.mean() < 2


def test_measure_yields_the_epochs_asked_for_of_each_seed():
    experiment = dataclasses.replace(EXPERIMENT, epochs=4, seeds=(5, 0))
    found = list(directions.measure(experiment, DATA, epochs=(1, 3), examples=8))
    assert [(each.arm, each.seed, each.epoch) for each in found] == [
        ("lcam-0.9-0.95", seed, epoch) for seed in (5, 0) for epoch in (1, 3)
    ]
    for each in found:
        assert each.directions.steps.sum() == 3  # and not of all epochs until then
        assert np.isfinite(each.train_loss)
        assert each.noise.eigenvalues.shape == (7,)
        assert each.noise.trace > 0
    assert found[0].train_loss != found[2].train_loss
    # What came before a seed leaves no mark on it.
    (alone,) = directions.measure(dataclasses.replace(experiment, seeds=(0,)), DATA, epochs=(3,), examples=8)
    jax.tree.map(np.testing.assert_array_equal, alone, found[3])


def test_noise_is_of_the_loss_in_evaluation_mode():
    setup, state = initial()
    sample = Images(TRAIN.images[:8], TRAIN.labels[:8])

    def mean_loss(params):
        model = nnx.merge(setup.graphdef, params, state.batch_stats, copy=True)
        model.eval()
        logits = model(normalize(sample.images, EXPERIMENT.mean, EXPERIMENT.std))
        return optax.softmax_cross_entropy_with_integer_labels(logits, sample.labels).mean()

    noise = jax.jit(directions.noise_program(setup))(state, sample)
    squared = np.sum(flat(jax.jit(jax.grad(mean_loss))(state.params)) ** 2)
    assert float(noise.squared_gradient + noise.trace / 8) == pytest.approx(squared, rel=1e-3)


def test_a_loss_that_is_not_finite_ends_the_run(monkeypatch):
    losses = [(None, None, 1.0), (None, None, np.nan)]
    monkeypatch.setattr(directions, "_epochs_of_seed", lambda *_: lambda seed: iter(losses))
    with pytest.raises(RunError, match=r"lcam-0\.9-0\.95, seed 0: a loss of epoch 2 is not finite"):
        list(directions.measure(EXPERIMENT, DATA, epochs=(3,), examples=8))


def test_default_epochs_are_the_last_of_each_rate():
    base = dataclasses.replace(EXPERIMENTS["fig3/sgd-0.9"], epochs=150)
    assert directions.ends_of_rates(base) == (31, 61, 91, 150)
    assert directions.ends_of_rates(dataclasses.replace(base, schedule="constant")) == (150,)


@pytest.mark.parametrize(("dataset", "channels"), [("digits", 1), ("cifar10", 3)])
def test_arms_are_both_sgds_and_both_lcams_on_any_data(dataset, channels):
    arms = directions.arms(dataset, depth=16, width=2, epochs=5, batch_size=64, seeds=(4, 2))
    names = ("sgd-0.9", "sgd-0.95", "lcam-0.95-0.9", "lcam-0.9-0.95")
    assert [arm.name for arm in arms] == [f"directions/{name}" for name in names]
    for arm in arms:
        assert (arm.dataset, arm.depth, arm.width, arm.epochs, arm.batch_size) == (dataset, 16, 2, 5, 64)
        assert arm.seeds == (4, 2)
        assert len(arm.mean) == channels
    assert sgd(arms[0], 0.9).phase == "none"
