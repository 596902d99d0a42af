"""SGD, LCAM, and the momentum that a step used."""

import chex
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lcam_optax
from tests.train import tiny_run
from tests.train.recipe import toy_problem
from train.recipe.optimizers import make_optimizer
from train.recipe.sgd import make_phase, momentum_used, sgd

PARAMS = {"w": jnp.asarray([1.0, -2.0])}
GRADS = {"w": jnp.asarray([0.5, 0.25])}
LOSSES = (2.0, 1.0, 3.0, 0.5, 2.5, 1.0)


def steps(tx, params=PARAMS):
    """Take a step at each loss; yield the optimizer state before and after it, and the updates."""
    state = tx.init(params)
    for loss in LOSSES:
        updates, after = tx.update(GRADS, state, params, value=jnp.float32(loss))
        yield state, after, updates
        state = after


def test_without_a_phase_it_is_sgd_with_an_l2_term():
    tx = optax.with_extra_args_support(sgd(toy_problem.settings(weight_decay=0.1, momentum=0.8)))
    trace = np.zeros(2)
    for _, _, updates in steps(tx):
        trace = 0.8 * trace + GRADS["w"] + 0.1 * PARAMS["w"]
        np.testing.assert_allclose(updates["w"], -0.1 * trace, rtol=1e-6)


def test_with_a_phase_it_is_lcam():
    ours = sgd(
        toy_problem.settings(
            weight_decay=0.1, phase=lcam_optax.epoch_mean(4), momentum_above=0.95, delay=False, nesterov=True
        )
    )
    direct = lcam_optax.lcam(0.1, lcam_optax.epoch_mean(4), 0.9, 0.95, delay=False, nesterov=True, weight_decay=0.1)
    for (_, _, expected), (_, _, updates) in zip(steps(direct), steps(ours), strict=True):
        chex.assert_trees_all_equal(updates, expected)


@pytest.mark.parametrize("delay", [True, False])
def test_the_momentum_used_is_the_one_that_multiplied_the_trace(delay):
    arm = tiny_run.experiment(delay=delay, weight_decay=0.0)
    trace, used = np.zeros(2), []
    for before, after, updates in steps(make_optimizer(arm, 4)):
        momentum = float(momentum_used(arm, before, after))
        trace = momentum * trace + GRADS["w"]
        np.testing.assert_allclose(updates["w"], -0.05 * trace, rtol=1e-5)
        used.append(round(momentum, 4))
    assert set(used) == {0.9, 0.95}


def test_a_constant_momentum_is_the_one_of_the_experiment():
    arm = tiny_run.experiment(phase="none", momentum_below=0.7, momentum_above=0.7)
    momentum = momentum_used(arm, (), ())
    assert momentum == np.float32(0.7)
    assert momentum.dtype == np.float32


def test_each_phase_is_built_from_its_settings():
    assert make_phase(tiny_run.experiment(phase="none", momentum_above=0.9), 4) is None
    means = {}
    for phase, changes in {"ema": {"ema_decay": 0.5}, "window": {"window_size": 3}, "epoch_mean": {}}.items():
        arm = tiny_run.experiment(phase=phase, delay=False, **changes)
        *_, (_, after, _) = steps(make_optimizer(arm, 4))
        means[phase] = float(lcam_optax.read_phase(after).loss_mean)
    # The epochs of four steps: 2, 1, 3, 0.5 and 2.5, 1. The average weighs the losses 1, 2, 4, 8, 16, 32.
    assert means == pytest.approx({"ema": 92 / 63, "window": 4 / 3, "epoch_mean": 1.75})


def test_a_random_phase_takes_the_probability_of_its_epoch():
    arm = tiny_run.experiment(phase="random", random_probability=(1.0, 0.0), delay=False)
    used = [float(momentum_used(arm, before, after)) for before, after, _ in steps(make_optimizer(arm, 3))]
    np.testing.assert_allclose(used, [0.9] * 3 + [0.95] * 3)
