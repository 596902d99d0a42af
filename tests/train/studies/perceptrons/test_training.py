import dataclasses

import numpy as np
import pytest

from tests.train.studies.perceptrons.tiny_task import TASK
from train.studies.perceptrons.task import draw, load_digits
from train.studies.perceptrons.training import train_lcam, train_sgd

SEEDS = 6
DIGITS = load_digits()
LOW_HIGH = np.float32(0.9), np.float32(0.95)


@pytest.fixture(scope="module")
def draws():
    return draw(TASK, len(DIGITS.labels), np.arange(SEEDS, dtype=np.uint32))


@pytest.fixture(scope="module")
def lcam(draws):
    return train_lcam(TASK, DIGITS, draws, LOW_HIGH)


def loss_and_gradients(params, images, labels):
    """Mean cross-entropy of the network and its gradients, in float64."""
    before = images @ params["hidden_weight"] + params["hidden_bias"]
    hidden = np.maximum(before, 0)
    scores = hidden @ params["output_weight"] + params["output_bias"]
    probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    loss = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    to_scores = (probabilities - np.eye(10)[labels]) / len(labels)
    to_before = (to_scores @ params["output_weight"].T) * (before > 0)
    gradients = {
        "hidden_weight": images.T @ to_before,
        "hidden_bias": to_before.sum(axis=0),
        "output_weight": hidden.T @ to_scores,
        "output_bias": to_scores.sum(axis=0),
    }
    return loss, gradients


def train_by_hand(draws, seed, next_momentum):
    """One run in NumPy: momenta and wrongly classified test images. `next_momentum` sees all losses so far."""
    params = {name: np.asarray(value[seed], np.float64) for name, value in draws.params.items()}
    traces = {name: np.zeros_like(value) for name, value in params.items()}
    losses, momenta = [], []
    for step, rows in enumerate(np.asarray(draws.train_rows[seed])):
        loss, gradients = loss_and_gradients(params, DIGITS.images[rows], DIGITS.labels[rows])
        momenta.append(next_momentum(losses))
        losses.append(loss)
        rate = TASK.learning_rate * 0.2 ** sum(step >= drop * TASK.steps_per_epoch for drop in TASK.drops)
        for name, gradient in gradients.items():
            traces[name] = momenta[-1] * traces[name] + gradient + TASK.weight_decay * params[name]
            params[name] = params[name] - rate * traces[name]
    rows = np.asarray(draws.test_rows[seed])
    hidden = np.maximum(DIGITS.images[rows] @ params["hidden_weight"] + params["hidden_bias"], 0)
    found = (hidden @ params["output_weight"] + params["output_bias"]).argmax(axis=1)
    return momenta, int(np.sum(found != DIGITS.labels[rows]))


def lcam_by_hand(losses):
    """The momentum of the next step, after the losses of a run so far."""
    if not losses:
        return 0.9
    begin = (len(losses) - 1) // TASK.steps_per_epoch * TASK.steps_per_epoch
    return 0.9 if losses[-1] < np.mean(losses[begin:]) - 1e-9 else 0.95


@pytest.mark.parametrize("seed", range(SEEDS))
def test_lcam_is_that_of_numpy(draws, lcam, seed):
    momenta, wrong = train_by_hand(draws, seed, lcam_by_hand)
    np.testing.assert_allclose(lcam.momentum[seed], momenta, rtol=1e-6)
    assert lcam.wrong[seed] == pytest.approx(wrong, abs=2)  # images on the border between two classes
    assert {0.9, 0.95} == set(momenta)


def test_sgd_with_momenta_of_each_step_is_that_of_numpy(draws):
    momenta = np.random.default_rng(0).uniform(0.5, 0.95, (SEEDS, TASK.steps)).astype(np.float32)
    found = train_sgd(TASK, DIGITS, draws, momenta)
    np.testing.assert_array_equal(found.momentum, momenta)
    for seed in range(SEEDS):
        _, wrong = train_by_hand(draws, seed, lambda losses, own=momenta[seed]: own[len(losses)])
        assert found.wrong[seed] == pytest.approx(wrong, abs=2)
    assert np.ptp(found.wrong) > 20  # so the runs can be told apart


def test_sgd_with_lcam_s_own_momenta_is_lcam(draws, lcam):
    replayed = train_sgd(TASK, DIGITS, draws, lcam.momentum)
    np.testing.assert_allclose(replayed.wrong, lcam.wrong, atol=1)


def test_other_momenta_compile_nothing_anew(draws, lcam):
    train_sgd(TASK, DIGITS, draws, np.full((SEEDS, TASK.steps), 0.9, np.float32))
    before = train_sgd._cache_size(), train_lcam._cache_size()
    train_sgd(TASK, DIGITS, draws, np.full((SEEDS, TASK.steps), 0.5, np.float32))
    train_lcam(TASK, DIGITS, draws, LOW_HIGH[::-1])
    assert (train_sgd._cache_size(), train_lcam._cache_size()) == before


def test_a_run_whose_parameters_overflow_is_told(draws, lcam):
    assert np.all(lcam.finite)
    hot = dataclasses.replace(TASK, learning_rate=1e30)
    assert not np.any(train_sgd(hot, DIGITS, draws, np.full((SEEDS, TASK.steps), 0.9, np.float32)).finite)
