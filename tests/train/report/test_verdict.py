"""The verdict in words."""

import math

import pytest

from tests.train.synthetic import record
from train.report.decision import decide
from train.report.statistics import analyse
from train.report.verdict import verdict


def group(**errors):
    """A group of arms, each with its final errors by seed."""
    runs = [record(arm, seed, [error]) for arm, values in errors.items() for seed, error in enumerate(values)]
    return analyse(runs, "sgd")


def test_no_difference_is_one_that_cannot_be_seen():
    said = verdict(group(sgd=[5.0, 5.5, 7.5], lcam=[5.5, 5.0, 7.0]))
    assert said.startswith("demo: No difference from sgd can be seen with 3 seeds.")
    assert "lcam -0.17 (-1.60 to +1.27)" in said


def test_a_difference_has_a_side_a_size_and_an_interval():
    better = verdict(group(sgd=[5.0, 5.5, 7.5, 6.0], lcam=[4.0, 4.4, 6.6, 5.0]))
    assert "lcam is better than sgd with 4 seeds: its error is 1.00 percentage points lower" in better
    assert "No difference" not in better
    worse = verdict(group(sgd=[5.0, 5.5, 7.5, 6.0], lcam=[6.0, 6.4, 8.6, 7.0]))
    assert "lcam is worse than sgd with 4 seeds: its error is 1.00 percentage points higher" in worse


def test_arms_are_told_apart():
    said = verdict(group(sgd=[5.0, 5.5, 7.5], a=[9.0, 9.4, 11.6], b=[5.5, 5.0, 7.0]))
    assert "a is worse than sgd" in said
    assert "No difference from sgd can be seen with 3 seeds" in said
    assert "b -0.17" in said


def test_an_interval_without_zero_is_no_difference_before_the_correction():
    found = group(sgd=[5.0, 5.5, 7.5], a=[6.0, 6.6, 8.4], b=[5.4, 6.2, 8.0], c=[5.0, 5.6, 7.4], d=[5.41, 6.2, 8.0])
    assert all(comparison.p_holm >= 0.05 for comparison in found.comparisons if comparison.name != "demo/a")
    assert "2 intervals exclude zero, but after Holm's correction p is at least" in verdict(found)


def test_many_arms_are_counted():
    arms = {f"arm{i}": [5.5, 5.0, 7.0 + i / 10] for i in range(6)}
    assert "No difference from sgd can be seen in 6 arms with 3 seeds." in verdict(group(sgd=[5.0, 5.5, 7.5], **arms))


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ({"sgd": [5.0], "lcam": [4.0]}, "One seed cannot show a difference from sgd"),
        ({"sgd": [5.0, 6.0], "lcam": [4.0, 5.0]}, "equal for all seeds"),
        ({"sgd": [5.0, 6.0], "lcam": [math.nan, 5.0]}, "are not numbers"),
        ({"sgd": [5.0, 6.0]}, "only sgd has finished runs"),
        (
            {"lcam": [5.0, 6.0]},
            "no finished run. These arms have some, and could be the --baseline: lcam.",
        ),
    ],
)
def test_what_cannot_be_tested_is_said(errors, said):
    assert said in verdict(group(**errors))


LCAM, YOKED, SGD = "lcam-0.9-0.95", "yoked-0.9-0.95", "sgd-0.9"
FINALS = {SGD: [5.0, 5.5, 7.5, 6.0], LCAM: [4.0, 4.4, 6.6, 5.0], YOKED: [4.2, 4.3, 6.5, 5.1]}


def controlled(**finals):
    """SGD, LCAM and its yoked control; analysed against SGD."""
    runs = [
        record(arm, seed, [error], **({"follows": LCAM} if arm == YOKED else {}))
        for arm, errors in (FINALS | finals).items()
        for seed, error in enumerate(errors)
    ]
    return analyse(runs)


def test_lcam_is_held_against_its_controls_too():
    said = verdict(controlled())
    assert "lcam-0.9-0.95 is better than sgd-0.9" in said
    low, high = controlled().controlled[0].difference.interval
    assert f"minus yoked-0.9-0.95 -0.02 ({low:+.2f} to {high:+.2f}), 4 seeds, no difference can be seen." in said


@pytest.mark.parametrize(("shift", "outcome"), [(3.0, "better"), (-3.0, "worse")])
def test_a_difference_to_a_control_has_a_side(shift, outcome):
    said = verdict(controlled(**{YOKED: [error + shift for error in FINALS[YOKED]]}))
    assert f", 4 seeds, {outcome}." in said


def test_one_seed_is_no_test_against_a_control():
    said = verdict(controlled(**{arm: errors[:1] for arm, errors in FINALS.items()}))
    assert said.endswith("which ignore the loss: nothing can be tested with so few seeds.")


def test_a_decision_says_what_lcam_does_against_its_controls():
    group = controlled()
    said = verdict(group, decide(group, 0.5))
    assert "with a margin of 0.5 percentage points" in said
    assert ", 4 seeds, equivalent." in said
    assert "no difference can be seen" not in said
    assert "minus sgd-0.9" not in said


def test_without_controls_nothing_is_said_of_them():
    assert "controls" not in verdict(group(sgd=[5.0, 5.5, 7.5], lcam=[5.5, 5.0, 7.0]))
