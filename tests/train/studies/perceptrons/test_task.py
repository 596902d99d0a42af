import numpy as np
import pytest

from tests.train.studies.perceptrons.tiny_task import TASK
from train.studies.perceptrons.task import Task, draw, load_digits, logits, num_test_images

NUMBER = 1797


@pytest.fixture(scope="module")
def draws():
    return draw(TASK, NUMBER, np.arange(5, 9, dtype=np.uint32))


def test_all_digits_are_loaded():
    digits = load_digits()
    assert digits.images.shape == (NUMBER, 64)
    assert (digits.images.min(), digits.images.max()) == (0, 1)
    np.testing.assert_array_equal(np.bincount(digits.labels), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    assert num_test_images(Task(), digits) == 901


def test_each_epoch_shows_every_training_image_once_and_no_test_image(draws):
    orders = np.asarray(draws.train_rows).reshape(4, TASK.epochs, TASK.train_images)
    for epochs, test_rows in zip(orders, np.asarray(draws.test_rows), strict=True):
        for order in epochs:
            np.testing.assert_array_equal(np.sort(np.concatenate([order, test_rows])), np.arange(NUMBER))
        assert len(np.unique(epochs, axis=0)) == TASK.epochs


def test_seeds_differ_in_everything(draws):
    assert len(np.unique(np.sort(draws.test_rows, axis=1), axis=0)) == 4
    assert len(np.unique(draws.coins, axis=0)) == 4
    assert len(np.unique(draws.params["hidden_weight"].reshape(4, -1), axis=0)) == 4


def test_a_seed_draws_the_same_whatever_runs_beside_it(draws):
    alone = draw(TASK, NUMBER, np.array([7], np.uint32))
    np.testing.assert_array_equal(alone.train_rows[0], draws.train_rows[2])
    np.testing.assert_array_equal(alone.coins[0], draws.coins[2])
    np.testing.assert_array_equal(alone.params["output_weight"][0], draws.params["output_weight"][2])


def test_coins_are_uniform():
    coins = np.asarray(draw(TASK, NUMBER, np.arange(300, dtype=np.uint32)).coins)
    assert coins.shape == (300, TASK.steps)
    assert np.all((coins >= 0) & (coins < 1))
    np.testing.assert_allclose(np.quantile(coins, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.03)


def test_weights_have_the_variance_of_their_inputs(draws):
    assert np.std(draws.params["hidden_weight"]) == pytest.approx(np.sqrt(2 / 64), rel=0.05)
    assert np.std(draws.params["output_weight"]) == pytest.approx(np.sqrt(1 / 8), rel=0.15)
    assert not np.any(draws.params["hidden_bias"])
    assert not np.any(draws.params["output_bias"])


def test_logits_by_hand():
    params = {
        "hidden_weight": np.eye(64, 2, dtype=np.float32),
        "hidden_bias": np.array([0.5, -2], np.float32),
        "output_weight": np.arange(20, dtype=np.float32).reshape(2, 10),
        "output_bias": np.ones(10, np.float32),
    }
    # The hidden units are 1.5 and 0.
    np.testing.assert_allclose(logits(params, np.ones((1, 64), np.float32))[0], 1.5 * np.arange(10) + 1)


def test_the_rate_falls_to_a_fifth_at_the_start_of_some_epochs():
    task = Task()
    assert (task.steps_per_epoch, task.steps) == (28, 560)
    rates = [float(task.schedule(np.int32(28 * epoch + step))) for epoch in range(20) for step in (0, 27)]
    expected = np.repeat([0.1, 0.02, 0.004, 0.0008], [4, 4, 4, 8])
    np.testing.assert_allclose(rates, np.repeat(expected, 2), rtol=1e-6)
