import dataclasses

import numpy as np
import pytest

from tests.train.studies.perceptrons.tiny_task import TASK
from train.studies.perceptrons import controls, study
from train.studies.perceptrons.task import Task, draw, load_digits
from train.studies.perceptrons.training import train_lcam, train_sgd

DIGITS = load_digits()
SEEDS = np.arange(5, 10, dtype=np.uint32)
NUMBER = len(DIGITS.labels)


@pytest.fixture(scope="module")
def outcomes():
    return study.run(TASK, DIGITS, SEEDS)


def test_both_orders_of_every_arm_and_both_sgds_are_run(outcomes):
    kinds = ("lcam", "yoked", "schedule", "random", "constant", "rising")
    assert set(outcomes) == {
        *("sgd-0.9", "sgd-0.95"),
        *(f"{kind}-{order}" for kind in kinds for order in ("0.9-0.95", "0.95-0.9")),
    }
    assert all(outcome.wrong.shape == outcome.finite.shape == (5,) for outcome in outcomes.values())
    assert all(outcome.momentum.shape == (5, 3) for outcome in outcomes.values())


def test_every_lcam_is_compared_with_its_controls_and_with_both_sgds():
    pairs = study.comparisons()
    assert len(pairs) == len(set(pairs)) == 14
    assert pairs[0] == ("lcam-0.9-0.95", "yoked-0.9-0.95")
    for name, against in pairs:
        assert against.startswith("sgd-") or against.partition("-")[2] == name.partition("-")[2]


@pytest.mark.parametrize("order", study.ORDERS)
def test_controls_are_made_of_the_lcam_of_their_order(outcomes, order):
    draws = draw(TASK, NUMBER, SEEDS)
    lcam = train_lcam(TASK, DIGITS, draws, (np.float32(order[0]), np.float32(order[1])))
    np.testing.assert_array_equal(outcomes[study.name("lcam", order)].wrong, lcam.wrong)
    momenta = np.asarray(lcam.momentum)
    steps = TASK.steps_per_epoch
    for kind, own in {
        "yoked": controls.yoked(momenta),
        "schedule": controls.schedule(momenta, steps),
        "random": controls.random(momenta, steps, *order, np.asarray(draws.coins)),
        "constant": controls.constant(momenta),
        "rising": controls.rising(*order, momenta.shape, steps),
    }.items():
        found = outcomes[study.name(kind, order)]
        np.testing.assert_array_equal(found.wrong, train_sgd(TASK, DIGITS, draws, own).wrong)
        np.testing.assert_allclose(found.momentum, controls.epoch_means(own, steps))


def test_sgd_keeps_its_momentum(outcomes):
    for momentum in study.FIXED:
        np.testing.assert_allclose(outcomes[study.sgd_name(momentum)].momentum, momentum, rtol=1e-6)


def test_a_run_that_is_not_finite_has_every_test_image_wrong():
    hot = dataclasses.replace(TASK, learning_rate=1e30)
    outcome = study.run(hot, DIGITS, SEEDS)["lcam-0.9-0.95"]
    assert not outcome.finite.any()
    np.testing.assert_array_equal(outcome.wrong, NUMBER - 64)


def test_seeds_are_divided_into_parts():
    parts = study.parts(10_000, 205)
    assert [(part[0], part[-1]) for part in parts] == [(10_000, 10_099), (10_100, 10_199), (10_200, 10_204)]
    assert [part.tolist() for part in study.parts(10, 5)] == [[10, 11, 12, 13, 14]]
    assert study.TOGETHER % controls.BLOCK == 0


def test_the_real_task_is_learned():
    task = dataclasses.replace(Task(), epochs=4, drops=(2, 3))
    draws = draw(task, NUMBER, SEEDS)
    found = train_lcam(task, DIGITS, draws, (np.float32(0.9), np.float32(0.95)))
    assert np.all(np.asarray(found.wrong) < 0.12 * (NUMBER - task.train_images))
