"""The arms of a command, and the options that contradict each other."""

import pytest

from train.errors import ConfigError
from train.experiments.overrides import Overrides, chosen_arms


def choose(name="quickstart", model=None, seeds=None, stream=False, **settings):
    return chosen_arms(name, Overrides(**settings), model=model, seeds=seeds, stream=stream)


def test_settings_are_changed_in_all_arms():
    arms = choose(model="WRN-16-2", seeds=[3, 4], epochs=2, flip=True)
    assert [(arm.depth, arm.width, arm.seeds, arm.epochs, arm.flip) for arm in arms] == [(16, 2, (3, 4), 2, True)] * 3


def test_epochs_are_those_of_the_longest_arm():
    assert {arm.epochs for arm in choose("controls", epochs=30)} == {30, 20, 15}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "16-4", "depth": 10}, "--model 16-4 and --depth both set the size"),
        ({"model": "16-4", "depth": 16, "width": 4}, "--depth and --width both set the size"),
        ({"model": "16-4", "width": 4}, "--model 16-4 and --width both"),
        (
            {"learning_rates": (0.1, 0.2), "weight_decays": (0.0,), "learning_rate": 0.1},
            "neither --learning-rate nor --weight-decay",
        ),
        ({"name": "arena-digits", "weight_decay": 0.1}, "pass --learning-rates and --weight-decays"),
        ({"ema_decay": 0.5}, "--ema-decay would change nothing about quickstart: only --phase ema uses it"),
        ({"phase": "ema", "momentum_above": 0.95, "window_size": 9}, "only --phase window uses it"),
        ({"random_probability": (0.5,)}, "only --phase random uses"),
        ({"name": "controls/random-0.9-0.95", "random_probability": (0.2,)}, "only --phase random uses"),
        ({"name": "quickstart/sgd-0.9", "delay": False}, "only a --phase other than none"),
        ({"activation_scale": 2.0}, "only --activation l-laaf or n-laaf"),
        ({"slope_recovery": 2.0}, "only --activation l-laaf or n-laaf"),
        ({"tuning_seeds": (7,)}, "only --learning-rates and --weight-decays"),
        ({"name": "quickstart/sgd-0.9", "optimizer": "yamadam", "learning_rate": 0.1}, "--learning-rate would change"),
        ({"name": "quickstart/sgd-0.9", "optimizer": "polyak", "schedule": "cosine"}, "--schedule would change"),
        (
            {
                "name": "quickstart/sgd-0.9",
                "optimizer": "delayed-feedback",
                "momentum_below": 0.5,
                "momentum_above": 0.5,
            },
            "--momentum-below would change",
        ),
        ({"stream": True, "vmap_seeds": True}, "leave out --stream or --vmap-seeds"),
        ({"stream": True, "holdout": True}, "leave out --stream"),
        ({"stream": True, "name": "arena-digits"}, "leave out --stream"),
    ],
)
def test_options_that_contradict_each_other_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        choose(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"depth": 16, "width": 4},
        {"phase": "ema", "ema_decay": 0.5, "momentum_above": 0.95},
        {"name": "controls", "ema_decay": 0.5},  # two of its arms use it
        {"name": "controls", "delay": False},
        {"name": "arena-digits", "tuning_seeds": (7,)},
        {"stream": True, "vmap_seeds": False},
        {"learning_rates": (0.1,), "weight_decays": (0.0,), "tuning_seeds": (7,)},
    ],
)
def test_options_that_go_together_are_taken(given):
    assert choose(**given)
