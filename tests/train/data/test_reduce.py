import dataclasses

import numpy as np
import pytest

from tests.train import tiny_run
from train.data.dataset import as_source
from train.data.reduce import reduced
from train.errors import ConfigError

DATA = tiny_run.dataset()  # 54 and 23 images of 8 x 8 pixels in 3 classes


def test_nothing_asked_for_changes_nothing():
    assert reduced(DATA, resolution=0, train_size=0) is DATA


@pytest.mark.parametrize("size", [3, 10, 30])
def test_training_images_are_the_first_of_each_class(size):
    small = reduced(DATA, resolution=0, train_size=size)
    counts = np.bincount(small.train_labels, minlength=3)
    assert counts.sum() == size
    assert counts.max() - counts.min() <= 1
    for label in range(3):
        of_class = DATA.train_images[DATA.train_labels == label][: counts[label]]
        np.testing.assert_array_equal(small.train_images[small.train_labels == label], of_class)
    assert small.test_images is DATA.test_images


def test_all_images_stay_in_their_order():
    np.testing.assert_array_equal(reduced(DATA, resolution=0, train_size=54).train_images, DATA.train_images)


def test_a_class_with_few_images_gives_all_of_them():
    labels = np.zeros(54, np.int32)
    labels[7] = 1
    small = reduced(dataclasses.replace(DATA, train_labels=labels), resolution=0, train_size=10)
    assert np.bincount(small.train_labels, minlength=3).tolist() == [9, 1, 0]


def test_pixels_are_rounded_means_of_squares():
    small = reduced(DATA, resolution=4, train_size=0)
    assert small.image_shape == (4, 4, 1)
    means = DATA.test_images.astype(float).reshape(23, 4, 2, 4, 2, 1).mean(axis=(2, 4))
    np.testing.assert_array_equal(small.test_images, np.floor(means + 0.5).astype(np.uint8))


def test_the_fingerprint_tells_reduced_data_apart():
    assert len({DATA.fingerprint, reduced(DATA, resolution=4, train_size=0).fingerprint}) == 2


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"resolution": 0, "train_size": 55}, "train_size is 55, allowed: 0 to 54"),
        ({"resolution": 3, "train_size": 0}, "resolution is 3, but the images of tiny have 8 x 8 pixels"),
        ({"resolution": 16, "train_size": 0}, "resolution is 16"),
    ],
)
def test_what_does_not_fit_is_refused(wanted, message):
    with pytest.raises(ConfigError, match=message):
        reduced(DATA, **wanted)


def test_a_streamed_set_is_not_reduced():
    with pytest.raises(ConfigError, match="leave out --stream"):
        reduced(as_source(DATA), resolution=4, train_size=0)
