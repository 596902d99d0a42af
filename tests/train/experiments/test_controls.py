"""Controls take the momentum of every step from an LCAM run or from a schedule, never from their own loss."""

import dataclasses

import numpy as np
import pytest

from tests.train import synthetic
from train import records
from train.errors import ConfigError
from train.experiments import Experiment, config_of, controls
from train.records import StepMetrics

LCAM = Experiment(name="g/lcam", dataset="digits", phase="epoch_mean", momentum_above=0.95, epochs=2)
MOMENTA = np.float32([[0.9, 0.95, 0.9, 0.9], [0.95, 0.95, 0.95, 0.9]])


def control(kind, **changes):
    settings = {"name": f"g/{kind}", "phase": "none", "control": kind, "follows": "" if kind == "rising" else "lcam"}
    return dataclasses.replace(LCAM, **settings | changes)


def write_donor(root, seed=3, epochs=2, config_epochs=2, momenta=MOMENTA):
    made = synthetic.record("lcam", seed, [2.0] * epochs, group="g")
    record = dataclasses.replace(made, config=config_of(LCAM) | {"epochs": config_epochs})
    steps = StepMetrics(loss=np.ones(8, np.float32), momentum=momenta.ravel(), below=np.zeros(8, bool))
    records.write(root, record, steps)


def momenta_of(kind, root, seed=3, **changes):
    return controls.momenta(control(kind, **changes), root, seed, steps_per_epoch=4)


def test_an_arm_that_is_no_control_has_no_donor():
    assert controls.donor_seed(LCAM, 3) is None


def test_a_packed_run_is_a_donor_too(tmp_path):
    write_donor(tmp_path)
    records.pack(tmp_path)
    np.testing.assert_allclose(momenta_of("constant", tmp_path), np.full(8, 0.925), rtol=1e-6)


def test_yoked_repeats_the_steps_of_another_seed(tmp_path):
    write_donor(tmp_path, seed=4)
    np.testing.assert_array_equal(momenta_of("yoked", tmp_path, seed=3), MOMENTA.ravel())
    assert controls.donor_seed(control("yoked"), 3) == 4


@pytest.mark.parametrize("block", [0, 5, 10_000])
def test_donors_are_a_derangement_of_each_block_of_five(block):
    seeds = range(block, block + 5)
    donors = [controls.next_in_block(seed) for seed in seeds]
    assert sorted(donors) == list(seeds)
    assert all(donor != seed for donor, seed in zip(donors, seeds, strict=True))


def test_schedule_takes_the_mean_of_each_epoch(tmp_path):
    write_donor(tmp_path)
    np.testing.assert_allclose(momenta_of("schedule", tmp_path), np.repeat([0.9125, 0.9375], 4), rtol=1e-6)


def test_constant_takes_the_mean_of_all_steps(tmp_path):
    write_donor(tmp_path)
    np.testing.assert_allclose(momenta_of("constant", tmp_path), np.full(8, 0.925), rtol=1e-6)


def test_random_uses_each_momentum_as_often_as_the_donor(tmp_path):
    donor = np.where(np.arange(8000).reshape(2, 4000) % 4 < [[3], [1]], np.float32(0.9), np.float32(0.95))
    arm = control("random")
    drawn = controls.CONTROLS["random"].momenta(arm, 3, donor)
    np.testing.assert_allclose(np.mean(drawn == 0.9, axis=1), [0.75, 0.25], atol=0.03)
    assert set(np.unique(drawn)) == {0.9, 0.95}
    again = controls.CONTROLS["random"].momenta(arm, 3, donor)
    np.testing.assert_array_equal(drawn, again)


def test_random_arms_and_seeds_draw_for_themselves():
    donor = np.where(np.arange(400).reshape(2, 200) % 2 < 1, np.float32(0.9), np.float32(0.95))
    draws = [
        controls.CONTROLS["random"].momenta(control("random", name=name), seed, donor)
        for name, seed in (("g/random", 3), ("g/random", 4), ("g/other", 3))
    ]
    for left, right in ((0, 1), (0, 2), (1, 2)):
        assert 0.3 < np.mean(draws[left] == draws[right]) < 0.7


def test_rising_needs_no_donor(tmp_path):
    np.testing.assert_allclose(momenta_of("rising", tmp_path), np.repeat([0.9, 0.95], 4), rtol=1e-6)
    assert controls.donor_seed(control("rising"), 3) is None
    three = controls.momenta(control("rising", epochs=3), tmp_path, 0, steps_per_epoch=1)
    np.testing.assert_allclose(three, [0.9, 0.925, 0.95], rtol=1e-6)


def test_momenta_are_float32(tmp_path):
    write_donor(tmp_path)
    for kind in ("schedule", "random", "constant", "rising"):
        assert momenta_of(kind, tmp_path).dtype == np.float32


def test_a_donor_that_does_not_fit_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"g/random with seed 3 follows g/lcam with seed 3, .*run it first"):
        momenta_of("random", tmp_path)
    with pytest.raises(ConfigError, match=r"g/yoked with seed 3 follows g/lcam with seed 4, .*run it first"):
        momenta_of("yoked", tmp_path)
    write_donor(tmp_path, epochs=2, config_epochs=5)
    with pytest.raises(ConfigError, match=r"has 2 of 5 epochs, not 2"):
        momenta_of("random", tmp_path)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("random", {"width": 4}, r"width \(10 there, 4 here\)"),
        ("constant", {"learning_rate": 0.2}, r"learning_rate \(0.1 there, 0.2 here\)"),
        ("schedule", {"momentum_below": 0.8}, r"momentum_below \(0.9 there, 0.8 here\)"),
    ],
)
def test_a_donor_with_other_settings_is_refused(tmp_path, kind, changes, message):
    write_donor(tmp_path)
    with pytest.raises(ConfigError, match=message):
        momenta_of(kind, tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"control": "none"}, "follows is 'lcam', allowed: empty, as control is none"),
        ({"follows": ""}, "follows is '', allowed: the name of an LCAM arm of the group, as control is random"),
        ({"control": "rising"}, "follows is 'lcam', allowed: empty, as control is rising"),
        ({"phase": "epoch_mean"}, "phase is 'epoch_mean', allowed: none, as control is random"),
        ({"optimizer": "adam"}, "optimizer is 'adam', allowed: sgd"),
    ],
)
def test_settings_that_do_not_fit_a_control_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(control("random"), **changes)


def test_what_version_0_1_0_recorded_of_a_donor_is_no_difference_between_seeds():
    old = config_of(LCAM) | {"phase": "random", "follows": "lcam"}
    first, second = (controls.comparable_settings(old | {"random_probability": p}) for p in ([0.5], [0.6]))
    assert first == second
    new = config_of(control("random"))
    assert controls.comparable_settings(new) == new


def test_a_donor_that_saw_other_data_is_refused(tmp_path):
    made = dataclasses.replace(synthetic.record("lcam", 3, [2.0, 2.0], group="g"), config=config_of(LCAM))
    made.versions[records.FINGERPRINT] = "arrays:one"
    steps = StepMetrics(loss=np.ones(8, np.float32), momentum=MOMENTA.ravel(), below=np.zeros(8, bool))
    records.write(tmp_path, made, steps)
    for unknown_or_same in (None, "arrays:one"):
        controls.momenta(control("constant"), tmp_path, 3, 4, fingerprint=unknown_or_same)
    with pytest.raises(ConfigError, match=r"other images or labels \(fingerprint arrays:one there, arrays:two here\)"):
        controls.momenta(control("constant"), tmp_path, 3, 4, fingerprint="arrays:two")


def test_a_donor_with_another_number_of_steps_is_refused(tmp_path):
    write_donor(tmp_path)
    with pytest.raises(ConfigError, match=r"g/constant has 14 steps, but .*, which it follows, has 8"):
        controls.momenta(control("constant"), tmp_path, 3, steps_per_epoch=7)


def test_missing_donors_are_told_before_anything_is_trained(tmp_path):
    lcam, yoked = (dataclasses.replace(arm, seeds=(3, 4)) for arm in (LCAM, control("yoked")))
    with pytest.raises(ConfigError, match=r"no finished run in .* with the seeds 0\. Add these seeds to --seeds"):
        controls.require_donors([lcam, yoked], tmp_path)
    with pytest.raises(ConfigError, match=r"the seeds 0 4\. Run it first: python -m train run g/lcam --seeds 0 4"):
        controls.require_donors([yoked], tmp_path)
    write_donor(tmp_path, seed=0)
    controls.require_donors([lcam, yoked], tmp_path)
    write_donor(tmp_path, seed=4, epochs=1)  # of 2
    with pytest.raises(ConfigError, match="the seeds 4"):
        controls.require_donors([yoked], tmp_path)
    controls.require_donors([lcam, control("rising")], tmp_path)


def test_finished_controls_need_no_donor_unless_they_are_trained_again(tmp_path):
    made = dataclasses.replace(synthetic.record("yoked", 3, [2.0, 2.0], group="g"), config=config_of(control("yoked")))
    steps = StepMetrics(loss=np.ones(8, np.float32), momentum=MOMENTA.ravel(), below=np.zeros(8, bool))
    records.write(tmp_path, made, steps)
    yoked = dataclasses.replace(control("yoked"), seeds=(3,))
    controls.require_donors([yoked], tmp_path)
    with pytest.raises(ConfigError, match="the seeds 4"):
        controls.require_donors([yoked], tmp_path, fresh=True)
