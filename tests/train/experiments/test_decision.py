import dataclasses

import pytest

from train.experiments import EXPERIMENTS, config_of, find

ARMS = ["lcam-0.9-0.95", "yoked-0.9-0.95", "schedule-0.9-0.95", "rising-0.9-0.95", "sgd-0.9"]


@pytest.mark.parametrize(("group", "more"), [("decision-digits", ["sgd-0.95"]), ("decision-cifar10", [])])
def test_the_arms_are_those_of_the_preregistration_the_followed_one_first(group, more):
    assert [arm.name for arm in find(group)] == [f"{group}/{name}" for name in ARMS + more]


def test_the_digits_are_trained_on_as_in_the_quickstart():
    ours, quickstart = (EXPERIMENTS[f"{group}/lcam-0.9-0.95"] for group in ("decision-digits", "quickstart"))
    assert config_of(dataclasses.replace(ours, name=quickstart.name)) == config_of(quickstart)


def test_arms_of_a_group_differ_in_the_momentum_alone():
    own = {"name", "phase", "control", "follows", "momentum_below", "momentum_above"}
    for group in ("decision-digits", "decision-cifar10"):
        first, *others = ({k: v for k, v in config_of(arm).items() if k not in own} for arm in find(group))
        assert all(other == first for other in others)


def test_all_of_the_contest_have_the_same_trials():
    arms = find("contest-cifar10")
    assert len(arms) == 6
    assert len({(arm.learning_rates, arm.weight_decays, arm.tuning_seeds) for arm in arms}) == 1
    small = EXPERIMENTS["decision-cifar10/sgd-0.9"]
    assert {(arm.resolution, arm.train_size, arm.epochs) for arm in arms} == {
        (small.resolution, small.train_size, small.epochs)
    }


def test_the_contest_with_a_cosine_schedule_is_lcam_against_sgd():
    lcam, sgd = find("contest-cosine")
    own = {"name", "phase", "momentum", "momentum_below", "momentum_above"}
    assert {k: v for k, v in config_of(lcam).items() if k not in own} == {
        k: v for k, v in config_of(sgd).items() if k not in own
    }
    assert (lcam.schedule, lcam.learning_rates, lcam.nonfinite) == ("cosine", (0.1, 0.2, 0.4, 0.8), "skip")
    steps = EXPERIMENTS["contest-cifar10/lcam-0.9-0.95"]
    like_section_e = dataclasses.replace(
        lcam, name=steps.name, schedule=steps.schedule, learning_rates=steps.learning_rates
    )
    assert like_section_e == steps
