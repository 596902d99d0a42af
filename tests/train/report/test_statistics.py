import math

import numpy as np
import pytest

from tests.train.synthetic import record
from train.report.statistics import analyse, estimate


def _runs(arm, finals, seeds=None):
    """Runs of one epoch each."""
    seeds = range(len(finals)) if seeds is None else seeds
    return [record(arm, seed, [final]) for seed, final in zip(seeds, finals, strict=True)]


def _comparison(ours, theirs, our_seeds=None, their_seeds=None):
    runs = _runs("lcam", ours, our_seeds) + _runs("sgd-0.9", theirs, their_seeds)
    (comparison,) = analyse(runs).comparisons
    return comparison


def test_mean_deviation_and_interval_of_five():
    found = estimate([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.7764451052 * math.sqrt(2.5 / 5)  # the table's 97.5 % quantile of t, 4 degrees
    assert found.mean == 3.0
    assert found.deviation == pytest.approx(math.sqrt(2.5))
    assert found.interval == pytest.approx((3 - half, 3 + half))


def test_one_seed_has_a_mean_only():
    found = estimate([4.0])
    assert found.mean == 4.0
    assert np.isnan([found.deviation, *found.interval]).all()


def test_no_seed_has_nothing():
    found = estimate([])
    assert np.isnan([found.mean, found.deviation, *found.interval]).all()


def test_equal_values_have_no_interval():
    found = estimate([0.1, 0.1, 0.1])
    assert found.deviation == pytest.approx(0.0)
    assert np.isnan(found.interval).all()


def test_paired_difference_by_hand():
    found = _comparison([4.0, 5.0, 6.0], [5.0, 5.5, 7.5])  # differences -1, -0.5, -1.5
    half = 4.3026527299 * 0.5 / math.sqrt(3)
    t = 1 / (0.5 / math.sqrt(3))
    assert found.difference.values == (-1.0, -0.5, -1.5)
    assert found.difference.mean == -1.0
    assert found.difference.interval == pytest.approx((-1 - half, -1 + half))
    assert found.p_value == pytest.approx(1 - t / math.sqrt(2 + t**2))  # t's law, 2 degrees
    assert found.p_holm == found.p_value


def test_seeds_are_paired_whatever_their_order():
    found = _comparison([6.0, 4.0, 5.0], [7.5, 5.5, 5.0], [2, 0, 1], [2, 1, 0])
    assert found.seeds == (0, 1, 2)
    assert found.difference.values == (-1.0, -0.5, -1.5)


def test_only_common_seeds_are_paired():
    found = _comparison([4.0, 5.0, 6.0], [9.0, 5.5, 7.5, 9.0], [0, 1, 2], [5, 1, 2, 7])
    assert found.seeds == (1, 2)
    assert found.difference.values == (-0.5, -1.5)


def test_no_common_seed_is_no_comparison():
    found = _comparison([4.0], [5.0], [0], [1])
    assert found.seeds == ()
    assert np.isnan([found.difference.mean, found.p_value, found.p_holm]).all()


def test_one_pair_is_no_test():
    found = _comparison([4.0], [5.0])
    assert found.difference.mean == -1.0
    assert np.isnan([found.p_value, found.p_holm]).all()


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_equal_differences_are_no_test(shift):
    finals = [5.1, 6.2, 7.3]
    found = _comparison([final + shift for final in finals], finals)
    assert found.difference.mean == pytest.approx(shift)
    assert np.isnan([found.p_value, found.p_holm, *found.difference.interval]).all()


def test_a_diverged_run_spoils_its_arm_and_no_other():
    runs = _runs("sgd-0.9", [5.0, 6.0]) + _runs("bad", [math.nan, 5.0]) + _runs("good", [4.0, 5.5])
    bad, good = analyse(runs).comparisons
    assert math.isnan(bad.difference.mean)
    assert math.isnan(bad.p_holm)
    assert good.p_holm == good.p_value > 0


def _two_seeds_with(p_value):
    """Finals of two seeds whose differences to 20 have this p: t = tan(pi/2 (1 - p)), 1 degree."""
    t = math.tan(math.pi / 2 * (1 - p_value))
    return [20 + 0.1 * (t + 1), 20 + 0.1 * (t - 1)]


def test_holm_by_hand():
    p_values = {"a": 0.04, "b": 0.01, "c": 0.03, "d": 0.5}
    runs = _runs("sgd-0.9", [20.0, 20.0])
    for arm, p_value in p_values.items():
        runs += _runs(arm, _two_seeds_with(p_value))
    # The smallest times 4, the next times 3, 2 and 1, none smaller than the one before it.
    expected = {"b": 0.04, "c": 0.09, "a": 0.09, "d": 0.5}
    for comparison in analyse(runs).comparisons:
        arm = comparison.name.removeprefix("demo/")
        assert comparison.p_value == pytest.approx(p_values[arm])
        assert comparison.p_holm == pytest.approx(expected[arm])


def test_holm_counts_only_the_tests_that_were_made():
    runs = _runs("sgd-0.9", [20.0, 20.0]) + _runs("tested", _two_seeds_with(0.03))
    single, tested = analyse(runs + _runs("single", [19.0])).comparisons
    assert tested.p_holm == pytest.approx(0.03)
    assert math.isnan(single.p_holm)


def test_the_baseline_leads_and_the_others_follow_by_name():
    runs = [run for arm in ("b", "sgd-0.9", "a") for run in _runs(arm, [5.0, 6.0])]
    group = analyse(runs)
    assert [group.short(arm.name) for arm in group.arms] == ["sgd-0.9", "a", "b"]
    assert group.baseline == "demo/sgd-0.9"
    assert [comparison.name for comparison in group.comparisons] == ["demo/a", "demo/b"]


def test_another_baseline_can_be_named():
    runs = _runs("sgd-0.9", [5.0, 6.0]) + _runs("a", [4.0, 6.0])
    group = analyse(runs, "a")
    assert group.baseline == "demo/a"
    assert group.comparisons[0].difference.mean == 0.5


def test_without_a_baseline_nothing_is_compared_or_reached():
    group = analyse(_runs("a", [4.0]))
    assert (group.baseline, group.comparisons, group.arms[0].reached) == (None, (), (None,))


def test_final_and_best_errors_are_estimated_apart():
    runs = [record("sgd-0.9", seed, [9.0, 3.0 + seed, 5.0 + seed]) for seed in (0, 2)]
    (arm,) = analyse(runs).arms
    assert (arm.final.mean, arm.best.mean) == (6.0, 4.0)


def test_epochs_to_the_baseline_are_counted_from_one_and_censored():
    runs = [record("sgd-0.9", 0, [9.0, 8.0, 4.0]), record("sgd-0.9", 1, [9.0, 7.0, 6.0])]
    runs += [record("a", 0, [5.0, 9.0, 9.0]), record("a", 1, [6.0, 6.0, 5.01])]
    runs += [record("b", 0, [9.0, 9.0, 9.0]), record("b", 1, [9.0, 7.83, 5.0])]
    group = analyse(runs)
    assert group.target == pytest.approx(5 + 2 * math.sqrt(2))  # 7.83; the baseline ends at 4 and 6
    baseline, arm, other = group.arms
    assert baseline.reached == (3, 2)
    assert arm.reached == (1, 1)
    assert other.reached == (None, 3)
    assert other.median_reached == math.inf


def test_the_baseline_s_own_runs_can_reach_the_target():
    finals = np.random.default_rng(0).normal(30, 1, 200)
    (arm,) = analyse([record("sgd-0.9", seed, [90.0, final]) for seed, final in enumerate(finals)]).arms
    assert np.mean([epochs is not None for epochs in arm.reached]) > 0.95


def test_rising_and_random_without_a_donor_are_controls_by_their_names():
    finals = {"sgd-0.9": 5.0, "lcam-0.9-0.95": 4.0, "rising-0.9-0.95": 4.5, "random-0.9-0.95": 4.2}
    others = {"rising-0.95-0.9": 6.0, "cosine-lcam-0.9-0.95": 3.0, "random": 3.0}
    runs = [run for arm, final in (finals | others).items() for run in _runs(arm, [final, final + 1])]
    found = [(each.name, each.against) for each in analyse(runs).controlled]
    assert found == [("demo/lcam-0.9-0.95", "demo/random-0.9-0.95"), ("demo/lcam-0.9-0.95", "demo/rising-0.9-0.95")]


@pytest.mark.parametrize(("finals", "median"), [([5.0, 5.0, 9.0], 2.0), ([5.0, 9.0, 9.0], math.inf)])
def test_the_median_counts_censored_runs_as_later_than_all(finals, median):
    runs = [record("sgd-0.9", 0, [9.0, 5.0])]
    runs += [record("a", seed, [9.0, final]) for seed, final in enumerate(finals)]
    assert analyse(runs).arms[1].median_reached == median


def test_equal_runs_reach_their_own_mean():
    runs = [record("sgd-0.9", seed, [9.0, 0.1]) for seed in range(3)]
    assert analyse(runs).arms[0].reached == (2, 2, 2)


def test_records_of_two_groups_are_refused():
    runs = [record("a", 0, [1.0]), record("a", 0, [1.0], group="other")]
    with pytest.raises(ValueError, match=r"\['demo', 'other'\]"):
        analyse(runs)
