import dataclasses
import math

import numpy as np

from train.records import EpochMetrics, StepMetrics
from train.records.metrics import MEASURED

ROW = EpochMetrics(
    epoch=3,
    train_loss=1.5,
    test_error=12.5,
    test_loss=math.nan,
    learning_rate=0.1,
    below_fraction=0.25,
    mean_momentum=0.92,
    seconds=2.0,
    skipped_steps=1,
)


def test_a_row_comes_back_from_its_json_values():
    assert EpochMetrics(**ROW.to_json()) == ROW


def test_what_was_not_counted_is_left_out():
    row = dataclasses.replace(ROW, skipped_steps=None)
    assert "skipped_steps" not in row.to_json()
    assert EpochMetrics(**row.to_json()) == row


def test_measured_numbers_are_the_floats():
    assert {*MEASURED, "epoch", "skipped_steps"} == {field.name for field in dataclasses.fields(EpochMetrics)}


def test_one_seed_of_several():
    steps = StepMetrics(np.arange(6.0).reshape(2, 3), np.full((2, 3), 0.9), np.zeros((2, 3), bool))
    own = steps.of_seed(1)
    np.testing.assert_array_equal(own.loss, [3, 4, 5])
    assert all(values.shape == (3,) for values in own)
