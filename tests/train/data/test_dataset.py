"""Fingerprints of data sets."""

import dataclasses

import numpy as np
import pytest

from train.data.dataset import Dataset, as_source, may_be_same

RNG = np.random.default_rng(0)
DATASET = Dataset(
    name="made-up",
    train_images=RNG.integers(256, size=(300, 4, 5, 3), dtype=np.uint8),
    train_labels=RNG.integers(3, size=300, dtype=np.int32),
    test_images=RNG.integers(256, size=(70, 4, 5, 3), dtype=np.uint8),
    test_labels=RNG.integers(3, size=70, dtype=np.int32),
    class_names=("a", "b", "c"),
)
FIELDS = ("train_images", "train_labels", "test_images", "test_labels")


def copied(**changes: np.ndarray) -> Dataset:
    return dataclasses.replace(DATASET, **{field: getattr(DATASET, field).copy() for field in FIELDS} | changes)


def test_fingerprint_never_changes():
    # Checkpoints keep it.
    ramp = np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1)
    labels = np.array([1, 0], np.int32)
    dataset = Dataset(
        name="", train_images=ramp, train_labels=labels, test_images=ramp, test_labels=labels, class_names=("a", "b")
    )
    assert dataset.fingerprint == "ba34bc6039f00488598a6d4905c7d9dc"


@pytest.mark.parametrize("field", FIELDS)
def test_fingerprint_covers_every_number(field):
    assert copied().fingerprint == copied().fingerprint == DATASET.fingerprint
    for row in (0, 1, -1):
        changed = copied()
        getattr(changed, field)[row] ^= 1
        assert changed.fingerprint != DATASET.fingerprint


def test_fingerprint_covers_order_and_shape():
    assert copied(train_labels=DATASET.train_labels[::-1]).fingerprint != DATASET.fingerprint
    assert copied(test_images=DATASET.test_images.reshape(70, 5, 4, 3)).fingerprint != DATASET.fingerprint
    assert (
        copied(test_images=DATASET.test_images[:-1], test_labels=DATASET.test_labels[:-1]).fingerprint
        != DATASET.fingerprint
    )


def test_fingerprint_is_that_of_the_same_numbers():
    spread = np.repeat(DATASET.train_images, 2, axis=0)[::2]
    assert not spread.flags.c_contiguous
    assert copied(train_images=spread, train_labels=DATASET.train_labels.astype(">i4")).fingerprint == (
        DATASET.fingerprint
    )
    assert dataclasses.replace(DATASET, name="other", class_names=("x", "y", "z")).fingerprint == DATASET.fingerprint


def test_fingerprint_of_a_source_begins_that_of_the_dataset():
    source = as_source(DATASET)
    assert (len(source.fingerprint), len(DATASET.fingerprint)) == (16, 32)
    assert DATASET.fingerprint.startswith(source.fingerprint)
    assert may_be_same(source.fingerprint, DATASET.fingerprint)
    assert may_be_same(DATASET.fingerprint, source.fingerprint)


def test_replaced_data_are_noticed():
    replaced = copied(train_images=DATASET.train_images[::-1])
    for one in (DATASET, as_source(DATASET)):
        for other in (replaced, as_source(replaced)):
            assert not may_be_same(one.fingerprint, other.fingerprint)


def test_reading_a_sample_is_enough():
    rows = []

    class Counting:
        def __len__(self):
            return 10**6

        def read(self, wanted):
            rows.extend(wanted.tolist())
            return np.zeros((len(wanted), 1, 1, 1), np.uint8), np.zeros(len(wanted), np.int32)

    source = dataclasses.replace(as_source(DATASET), train=Counting(), test=Counting())
    assert source.fingerprint
    assert (len(rows), rows[0], rows[63]) == (128, 0, 10**6 - 1)
