import numpy as np
import pytest

from train.studies.perceptrons import controls

LOW, HIGH = 0.9, 0.95
# Two epochs of four steps; shares of 0.9: 3/4 and 1/4, then 1 and 0.
MOMENTA = np.array(
    [[LOW, LOW, HIGH, LOW, HIGH, LOW, HIGH, HIGH], [LOW, LOW, LOW, LOW, HIGH, HIGH, HIGH, HIGH]], np.float32
)


def test_yoked_runs_replay_the_momenta_of_the_next_seed_of_their_block():
    momenta = np.random.default_rng(0).uniform(LOW, HIGH, (10, 8)).astype(np.float32)
    np.testing.assert_array_equal(controls.yoked(momenta), momenta[[1, 2, 3, 4, 0, 6, 7, 8, 9, 5]])


def test_seeds_that_are_no_whole_blocks_have_no_donors():
    with pytest.raises(ValueError, match="reshape"):
        controls.of_donors(np.arange(7))


def test_a_schedule_has_the_mean_of_each_epoch():
    found = controls.schedule(MOMENTA, 4)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], [0.9125] * 4 + [0.9375] * 4, rtol=1e-6)
    np.testing.assert_allclose(found[1], [0.9] * 4 + [0.95] * 4, rtol=1e-6)


def test_constant_is_the_mean_of_each_run():
    found = controls.constant(np.stack([MOMENTA[0], np.full(8, HIGH, np.float32)]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0.925] * 8, [0.95] * 8], rtol=1e-6)


def test_random_momenta_follow_the_coins_with_the_shares_of_each_epoch():
    coins = np.array([[0.0, 0.74, 0.75, 0.9, 0.0, 0.24, 0.25, 0.9], [0.0, 0.5, 0.9, 0.999, 0.0, 0.5, 0.9, 0.999]])
    found = controls.random(MOMENTA, 4, LOW, HIGH, coins)
    assert found.dtype == np.float32
    expected = [[LOW, LOW, HIGH, HIGH, LOW, LOW, HIGH, HIGH], [LOW] * 4 + [HIGH] * 4]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_random_momenta_of_the_other_order_are_below_as_often():
    coins = np.array([[0.0, 0.24, 0.25, 0.9] * 2] * 2)
    found = controls.random(MOMENTA, 4, HIGH, LOW, coins)
    np.testing.assert_array_equal(found[0, :4], np.array([HIGH, HIGH, LOW, LOW], np.float32))


@pytest.mark.parametrize(("order", "expected"), [((LOW, HIGH), [0.9, 0.925, 0.95]), ((HIGH, LOW), [0.95, 0.925, 0.9])])
def test_rising_goes_from_the_first_to_the_second_in_equal_steps(order, expected):
    found = controls.rising(*order, (2, 6), 2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [np.repeat(expected, 2)] * 2, rtol=1e-6)
