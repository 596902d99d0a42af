"""The order of runs under a time budget: blocks of seeds, and in each block the donors first."""

import dataclasses

import pytest

from tests.train import tiny_run
from train.experiments import find
from train.experiments.blocks import in_blocks


def named(runs):
    return [(run.name.partition("/")[2], run.seeds) for run in runs]


def test_a_block_holds_all_arms_before_the_next_block_begins():
    lcam = tiny_run.experiment(name="tiny/lcam", seeds=(5, 6, 0, 7))
    sgd = dataclasses.replace(lcam, name="tiny/sgd")
    assert named(in_blocks([sgd, lcam])) == [
        ("sgd", (5, 6, 7)),
        ("lcam", (5, 6, 7)),
        ("sgd", (0,)),
        ("lcam", (0,)),
    ]


def test_those_that_others_follow_come_first():
    lcam = tiny_run.experiment(name="tiny/lcam", seeds=(0, 1))
    yoked = dataclasses.replace(lcam, name="tiny/yoked", phase="none", control="yoked", follows="lcam")
    assert named(in_blocks([yoked, lcam])) == [("lcam", (0, 1)), ("yoked", (0, 1))]


def test_trials_come_once_and_whole_before_their_arm():
    arm = tiny_run.experiment(
        name="tiny/sgd", seeds=(0, 5), learning_rates=(0.1, 0.2), weight_decays=(0.0,), tuning_seeds=(10, 11)
    )
    runs = in_blocks([arm])
    assert [run.seeds for run in runs] == [(10, 11), (10, 11), (0,), (5,)]
    assert [run.holdout for run in runs] == [True, True, False, False]


@pytest.mark.parametrize("group", ["fig3", "controls", "arena-digits"])
def test_no_run_of_a_group_is_lost_or_repeated(group):
    arms = find(group)
    runs = [(run.name, seed) for run in in_blocks(arms) if not run.holdout for seed in run.seeds]
    assert sorted(runs) == sorted((arm.name, seed) for arm in arms for seed in arm.seeds)
