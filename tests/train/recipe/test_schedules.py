"""The authors' schedules against a literal loop, and stretched schedules."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.experiments import EXPERIMENTS
from train.recipe.schedules import learning_rate, lost_rates
from train.records.stages import not_among

STEPS = 391
STEP = EXPERIMENTS["fig3/sgd-0.9"]
SMOOTH = EXPERIMENTS["fig5-cifar10/sgd-0.9"]


def rates(experiment, steps_per_epoch=STEPS):
    steps = jnp.arange(experiment.epochs * steps_per_epoch)
    return np.asarray(jax.vmap(learning_rate(experiment, steps_per_epoch))(steps))


def test_step_is_the_authors():
    expected = np.repeat([0.1] * 31 + [0.02] * 30 + [0.004] * 30 + [0.0008] * 59, STEPS)
    np.testing.assert_allclose(rates(STEP), expected, rtol=1e-6)


def test_smooth_is_the_authors():
    expected, rate = [], 0.1
    for epoch in range(150):
        for _ in range(STEPS):
            if epoch >= 31:
                rate *= 0.99985
            expected.append(rate)
    np.testing.assert_allclose(rates(SMOOTH), expected, rtol=1e-5)
    assert expected[-1] == pytest.approx(9.3e-5, rel=0.01)


@pytest.mark.parametrize(("epochs", "drops"), [(75, (16, 30, 46)), (15, (3, 6, 9)), (300, (62, 122, 182))])
def test_step_stretches_in_proportion(epochs, drops):
    by_epoch = rates(dataclasses.replace(STEP, epochs=epochs), 10)[::10]
    assert tuple(np.flatnonzero(np.diff(by_epoch)) + 1) == drops


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_short_as_a_run_may_be_it_begins_at_the_rate_asked_for(epochs):
    assert rates(dataclasses.replace(STEP, epochs=epochs), 10)[:10] == pytest.approx([STEP.learning_rate] * 10)


@pytest.mark.parametrize("epochs", [30, 75])
def test_smooth_stretches_to_the_same_end(epochs):
    stretched = rates(dataclasses.replace(SMOOTH, epochs=epochs), 100)
    assert stretched[-1] == pytest.approx(rates(SMOOTH)[-1], rel=1e-3)
    held = round(31 * epochs / 150) * 100
    assert (stretched[:held] == np.float32(0.1)).all()
    assert stretched[held] < 0.1


def test_cosine_and_constant():
    cosine = rates(dataclasses.replace(STEP, schedule="cosine", epochs=10), 10)
    assert cosine[0] == np.float32(0.1)
    assert cosine[50] == pytest.approx(0.05, rel=1e-5)
    assert (rates(dataclasses.replace(STEP, schedule="constant", epochs=2), 10) == np.float32(0.1)).all()


# By hand: the drops come at epochs round(31 E / 150), round(61 E / 150) and round(91 E / 150), but none before epoch 1.
@pytest.mark.parametrize(
    ("epochs", "lost"),
    [
        (1, (0.02, 0.004, 0.0008)),
        (2, (0.02, 0.004)),
        (3, (0.02,)),
        (4, (0.004,)),
        (5, ()),
        (6, ()),
        (75, ()),
        (150, ()),
    ],
)
def test_short_runs_lose_stages(epochs, lost):
    assert lost_rates(dataclasses.replace(STEP, epochs=epochs)) == lost


@pytest.mark.parametrize(("training", "stages"), [("end-to-end", 1), ("partitioned", 3)])
@pytest.mark.parametrize("epochs", [*range(1, 9), 24, 151])
def test_what_is_lost_is_what_no_step_has(training, stages, epochs):
    arm = dataclasses.replace(STEP, epochs=epochs * stages, training=training, depth=10, width=1, learning_rate=0.3)
    assert lost_rates(arm) == not_among(0.3, rates(arm, 3).tolist())


@pytest.mark.parametrize("schedule", ["smooth", "cosine", "constant"])
def test_other_schedules_lose_nothing(schedule):
    assert lost_rates(dataclasses.replace(STEP, schedule=schedule, epochs=1)) == ()
