"""Controls take from the LCAM run of the same seed how often, not when."""

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from tests.train import synthetic, tiny_run
from train import data, records
from train.engine import run as loop
from train.experiments import ConfigError, Experiment, config_of, controls
from train.records import Steps

LCAM = Experiment(name="g/lcam", dataset="digits", phase="epoch_mean", momentum_above=0.95, epochs=2)
RANDOM = dataclasses.replace(LCAM, name="g/random", phase="random", follows="lcam")
CONSTANT = Experiment(name="g/constant", dataset="digits", follows="lcam", epochs=2)
MOMENTA = np.float32([[0.9, 0.95, 0.9, 0.9], [0.95, 0.95, 0.95, 0.9]]).ravel()


def write_run(root, seed=3, epochs=2, config_epochs=2):
    row = synthetic.record("lcam", seed, [2.0] * epochs, group="g")
    record = dataclasses.replace(row, config=config_of(LCAM) | {"epochs": config_epochs})
    steps = Steps(loss=np.ones(8, np.float32), momentum=MOMENTA, below=np.zeros(8, bool))
    records.write(root, record, steps)


def test_the_random_control_keeps_the_share_of_each_epoch(tmp_path):
    write_run(tmp_path)
    assert controls.followed_fields(RANDOM, tmp_path, 3) == {"random_probability": (0.75, 0.25)}


def test_the_constant_control_keeps_the_mean(tmp_path):
    write_run(tmp_path)
    fields = controls.followed_fields(CONSTANT, tmp_path, 3)
    assert fields == {"momentum_below": pytest.approx(0.925), "momentum_above": pytest.approx(0.925)}


def test_a_packed_run_is_followed_too(tmp_path):
    write_run(tmp_path)
    records.pack(tmp_path)
    assert controls.followed_fields(RANDOM, tmp_path, 3) == {"random_probability": (0.75, 0.25)}


def test_others_take_nothing(tmp_path):
    assert controls.followed_fields(LCAM, tmp_path, 3) == {}


def test_a_run_that_cannot_be_followed_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"g/random follows g/lcam, which has no run with seed 3 .*run it first"):
        controls.followed_fields(RANDOM, tmp_path, 3)
    write_run(tmp_path, epochs=2, config_epochs=5)
    with pytest.raises(ConfigError, match=r"has 2 of 5 epochs, not 2"):
        controls.followed_fields(RANDOM, tmp_path, 3)


@pytest.mark.parametrize(
    ("control", "changes", "message"),
    [
        (RANDOM, {"width": 4}, r"width \(10 there, 4 here\)"),
        (CONSTANT, {"learning_rate": 0.2}, r"learning_rate \(0.1 there, 0.2 here\)"),
        (RANDOM, {"momentum_below": 0.8}, r"momentum_below \(0.9 there, 0.8 here\)"),
    ],
)
def test_a_run_with_other_settings_is_not_followed(tmp_path, control, changes, message):
    write_run(tmp_path)
    with pytest.raises(ConfigError, match=message):
        controls.followed_fields(dataclasses.replace(control, **changes), tmp_path, 3)


def test_a_run_with_controls(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", lambda name, data_dir: tiny_run.dataset())
    lcam = tiny_run.experiment(name="tiny/lcam")
    arms = [
        lcam,
        dataclasses.replace(lcam, name="tiny/random", phase="random", follows="lcam"),
        tiny_run.experiment(name="tiny/constant", phase="none", momentum_above=0.9, follows="lcam"),
    ]
    for _ in range(2):  # the second time finds all of it finished, whatever it followed
        for arm in arms:
            loop.run(arm, seeds=(0, 1), root=tmp_path, devices=1, console=Console(file=io.StringIO()))
    runs = {(run.name, run.seed): run for run in records.read_all(tmp_path)}
    for seed in (0, 1):
        followed, drawn, constant = (runs[arm.name, seed] for arm in arms)
        shares = [np.mean(part == np.float32(0.9)) for part in np.split(followed.steps.momentum, 2)]
        np.testing.assert_allclose(drawn.config["random_probability"], shares, atol=1e-6)
        assert set(drawn.steps.momentum) <= set(np.float32([0.9, 0.95]))
        np.testing.assert_allclose(constant.steps.momentum, followed.steps.momentum.mean(dtype=float), rtol=1e-5)
