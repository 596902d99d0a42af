"""Settings as JSON values: they survive the way there and back, and old ones are compared with new ones."""

import dataclasses
import json

import pytest

from train.experiments import EXPERIMENTS, MAIN_SETTINGS, Experiment, config_of, differences, from_config


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_settings_survive_the_way_through_json(name):
    arm = EXPERIMENTS[name]
    through_json = json.loads(json.dumps(config_of(arm)))
    assert from_config(through_json, seeds=arm.seeds, vmap_seeds=arm.vmap_seeds) == arm


def test_settings_that_are_missing_take_their_defaults():
    assert from_config({"name": "a/b", "dataset": "digits"}) == Experiment(name="a/b", dataset="digits")


def test_the_main_settings_are_fields_in_the_order_of_the_experiment():
    fields = [field.name for field in dataclasses.fields(Experiment)]
    assert [name for name in fields if name in MAIN_SETTINGS] == [*MAIN_SETTINGS]


def test_a_setting_that_an_older_run_does_not_know_had_its_default():
    now = config_of(EXPERIMENTS["quickstart/sgd-0.9"])
    there = {key: value for key, value in now.items() if key not in ("resolution", "epochs")}
    assert differences(there, now) == {"epochs": (150, now["epochs"])}
    assert differences(there, now | {"resolution": 16})["resolution"] == (0, 16)
