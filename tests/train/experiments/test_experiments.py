"""The authors' twelve arms, and the limits of settings."""

import dataclasses

import pytest

from train.errors import ConfigError
from train.experiments import EXPERIMENTS, find, scaled

ARM = EXPERIMENTS["fig3/lcam-0.9-0.95"]
AUTHORS = {
    ("fig3", "cifar10", "step"): {(0.9, 0.9), (0.95, 0.95), (0.95, 0.9), (0.9, 0.95)},
    ("fig4", "cifar100", "step"): {(0.9, 0.9), (0.95, 0.95), (0.95, 0.9), (0.9, 0.95)},
    ("fig5-cifar10", "cifar10", "smooth"): {(0.9, 0.9), (0.9, 0.95)},
    ("fig5-cifar100", "cifar100", "smooth"): {(0.9, 0.9), (0.93, 0.9)},
}


@pytest.mark.parametrize("key", AUTHORS, ids=str)
def test_authors_arms(key):
    group, dataset, schedule = key
    arms = find(group)
    assert {(arm.momentum_below, arm.momentum_above) for arm in arms} == AUTHORS[key]
    for arm in arms:
        assert (arm.dataset, arm.schedule, arm.depth, arm.width) == (dataset, schedule, 28, 10)
        assert (arm.epochs, arm.batch_size, arm.learning_rate, arm.weight_decay) == (150, 128, 0.1, 5e-4)
        assert (arm.dropout, arm.nesterov, arm.delay, arm.drop_last) == (0.0, False, True, False)
        assert (arm.phase == "none") == (arm.momentum_below == arm.momentum_above)


def test_names_say_the_momenta():
    assert [arm.name for arm in find("fig5-cifar100")] == ["fig5-cifar100/sgd-0.9", "fig5-cifar100/lcam-0.93-0.9"]
    assert len(find("quickstart")) == 3


@pytest.mark.parametrize(
    ("name", "near"), [("fig3/sgd0.9", "fig3/sgd-0.9"), ("quikstart", "quickstart"), ("fg4", "fig4")]
)
def test_mistyped_name_answers_with_the_nearest(name, near):
    with pytest.raises(ConfigError, match=near):
        find(name)


BAD = [
    ("depth", 17), ("depth", 4), ("depth", 6004), ("width", 0), ("epochs", 0), ("batch_size", 0), ("window_size", 0),
    ("dropout", 1.0), ("dropout", -0.1), ("momentum_below", 1.0), ("momentum_above", -0.5), ("ema_decay", 1.5),
    ("random_probability", (1.1,)), ("random_probability", (0.5, 0.5)),
    ("follows", "lcam-0.9-0.95"), ("learning_rate", 0.0), ("learning_rate", float("nan")), ("learning_rate", -1.0),
    ("weight_decay", -1e-4), ("weight_decay", float("inf")), ("crop_padding", -1), ("std", (0.0, 1.0, 1.0)),
    ("mean", (0.5,)), ("mean", (float("nan"), 0.0, 0.0)), ("seeds", ()), ("seeds", (-1,)), ("seeds", (1, 1)),
    ("seeds", (2**31,)), ("dtype", "float16"), ("schedule", "linear"), ("phase", "lunar"),
    ("optimizer", "sdg"), ("training", "sideways"), ("activation", "tanh"),
    ("activation_scale", 0.5), ("slope_recovery", -1.0), ("learning_rates", (0.1, 0.0)), ("weight_decays", (-1e-4,)),
    ("tuning_seeds", ()), ("tuning_seeds", (1, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), BAD, ids=str)
def test_bad_value_is_named_with_what_is_allowed(field, value):
    with pytest.raises(ConfigError) as error:
        dataclasses.replace(ARM, **{field: value})
    assert ARM.name in str(error.value)
    assert field in str(error.value)
    assert repr(value) in str(error.value)
    assert "allowed" in str(error.value)


def test_sgd_has_one_momentum():
    with pytest.raises(ConfigError, match="momentum_above"):
        dataclasses.replace(EXPERIMENTS["fig3/sgd-0.9"], momentum_below=0.8)


def test_epochs_of_a_group_are_of_its_longest_arms():
    arms = {arm.name: arm.epochs for arm in scaled(find("controls"), 30)}
    assert (arms["controls/sgd-0.9"], arms["controls/half-sgd-0.9"], arms["controls/twothirds-sgd-0.9"]) == (30, 15, 20)
    assert scaled(find("controls/half-sgd-0.9"), 30)[0].epochs == 30


def test_every_arm_that_is_followed_runs_before_its_followers():
    names = list(EXPERIMENTS)
    followers = [arm for arm in EXPERIMENTS.values() if arm.follows]
    assert len(followers) == 12
    for arm in followers:
        assert names.index(f"{arm.group}/{arm.follows}") < names.index(arm.name)


TUNED = {"learning_rates": (0.1,), "weight_decays": (0.0,)}
TOGETHER = [
    ({"optimizer": "adamw", "phase": "epoch_mean"}, "phase is 'epoch_mean', allowed: none, as optimizer is adamw"),
    ({"optimizer": "sam", "nesterov": True}, "nesterov is True, allowed: False"),
    ({"optimizer": "momo", "activation": "l-laaf"}, "optimizer is 'momo', allowed: one of sgd, adam"),
    ({"training": "associated", "activation": "n-laaf"}, "activation is 'n-laaf', allowed: relu"),
    ({"training": "partitioned", "epochs": 10}, "epochs is 10, allowed: a multiple of 3"),
    ({"training": "partitioned", "epochs": 9, "phase": "random"}, "phase is 'random', allowed: any but random"),
    ({"optimizer": "schedule-free", "momentum_below": 0.0, "momentum_above": 0.0}, "momentum_below .*above 0"),
    (TUNED | {"control": "yoked", "follows": "lcam", "phase": "none"}, "follows is 'lcam', allowed: empty"),
    (TUNED | {"holdout": True}, "holdout is True, allowed: False"),
    (TUNED | {"seeds": (1000,)}, r"tuning_seeds is \(1000, 1001\), allowed: none of the seeds"),
    ({"learning_rates": (0.1,)}, "weight_decays is .*empty if and only if learning_rates is"),
]


@pytest.mark.parametrize(("changes", "message"), TOGETHER)
def test_what_does_not_go_together_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(EXPERIMENTS["fig3/sgd-0.9"], **changes)


@pytest.mark.parametrize("group", ["arena", "arena-digits"])
def test_all_of_an_arena_have_the_same_budget(group):
    arms = find(group)
    assert {len(arm.learning_rates) * len(arm.weight_decays) for arm in arms} == {10}
    assert len({(arm.tuning_seeds, arm.seeds, arm.epochs, arm.batch_size, arm.dataset) for arm in arms}) == 1
    assert all(not set(arm.tuning_seeds) & set(arm.seeds) and len(arm.seeds) >= 5 for arm in arms)
