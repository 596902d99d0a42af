"""The lengths of slices. `test_run` and `test_checkpoints` test whole runs made of slices."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from train.engine import slices
from train.engine.state import Setup
from train.experiments import EXPERIMENTS


def mesh(platform, size=1):
    devices = np.array([SimpleNamespace(platform=platform)] * size)
    return SimpleNamespace(shape={"seed": 1, "data": size}, devices=devices)


def setup(image_shape=(32, 32, 3), train_size=50_000, **changes):
    experiment = dataclasses.replace(EXPERIMENTS["fig3/lcam-0.9-0.95"], **changes)
    return Setup(experiment, None, train_size, image_shape)


@pytest.mark.parametrize(
    ("width", "platform", "seeds", "steps"),
    [(1, "cpu", 1, 30), (1, "cpu", 4, 15), (4, "cpu", 1, 4), (10, "cpu", 1, 1), (10, "gpu", 5, 30)],
)
def test_a_slice_is_short_where_steps_are_long(width, platform, seeds, steps):
    assert slices.slice_steps(setup(depth=16, width=width), mesh(platform), seeds) == steps


@pytest.mark.parametrize(("devices", "steps"), [(1, 1), (8, 13)])
def test_a_slice_has_few_images_where_they_are_large(devices, steps):
    large = setup((224, 224, 3), batch_size=1024)
    assert slices.slice_steps(large, mesh("gpu", devices), 1) == steps


def test_a_slice_is_no_longer_than_an_epoch():
    assert slices.slice_steps(setup(train_size=300, batch_size=128), mesh("gpu"), 1) == 2


@pytest.mark.parametrize(
    ("done", "left"),
    [
        (0, [(4, 16), (4, 16), (1, 6)]),
        (4, [(4, 16), (1, 6)]),
        (5, [(3, 16), (1, 6)]),
        (8, [(1, 6)]),
        (9, []),
    ],
)
def test_what_is_left_of_an_epoch_begins_anywhere(done, left):
    assert list(slices.rest_of_epoch(done, [(4, 16), (4, 16), (1, 6)])) == left


def test_an_epoch_is_cut_into_slices_and_the_rest():
    assert slices.cut(setup(), 100) == [(100, 128)] * 3 + [(90, 128), (1, 80)]
    assert slices.cut(setup(drop_last=True), 30) == [(30, 128)] * 13
