"""A data set, in memory or to be read piece by piece, and the one error in which every unusable input ends."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """An image classification set, whole and in memory.

    Attributes:
      name: which data these are, with the prepared version: `cifar10/3.0.2` was prepared from the
        official archive, `cifar10_local/1.0.0` imported from local files.
      train_images: uint8 [N, height, width, channels], in the order in which they are stored.
      train_labels: int32 [N], each in [0, num_classes).
      test_images: uint8 [M, height, width, channels].
      test_labels: int32 [M].
      class_names: the name of each label.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]

    @property
    def train_size(self) -> int:
        """The number of training images."""
        return len(self.train_labels)

    @property
    def test_size(self) -> int:
        """The number of test images."""
        return len(self.test_labels)

    @property
    def num_classes(self) -> int:
        """The number of classes, those without an image included."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels


class Split(Protocol):
    """Images and labels that are read when they are asked for, from several threads at once."""

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reads some images, uint8 [rows, height, width, channels], and their labels, int32 [rows].

        Raises:
          DataError: if one of them is damaged, or not like the others.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Source:
    """An image classification set that stays on disk.

    Attributes:
      name: as of a `Dataset`.
      train: its training images.
      test: its test images.
      image_shape: (height, width, channels) of every image.
      class_names: the name of each label.
    """

    name: str
    train: Split
    test: Split
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]

    @property
    def train_size(self) -> int:
        """The number of training images."""
        return len(self.train)

    @property
    def test_size(self) -> int:
        """The number of test images."""
        return len(self.test)

    @property
    def num_classes(self) -> int:
        """The number of classes, those without an image included."""
        return len(self.class_names)


@dataclass(frozen=True)
class ArraySplit:
    """A `Split` of arrays in memory."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Split.read`."""
        return self.images[rows], self.labels[rows]


def as_source(dataset: Dataset) -> Source:
    """The same data set, to be read piece by piece."""
    return Source(
        name=dataset.name,
        train=ArraySplit(dataset.train_images, dataset.train_labels),
        test=ArraySplit(dataset.test_images, dataset.test_labels),
        image_shape=dataset.image_shape,
        class_names=dataset.class_names,
    )


def stratified_split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Splits a set without a split of its own: of each class, every fifth image is for testing.

    The images are lined up by class, within a class in the order given, and positions 0, 5, 10, ...
    go to the test set. Nothing is drawn, so no library version can change the split, and each
    class is divided 4 to 1 to within one image.

    Args:
      labels: int [N].

    Returns:
      The indices of the training and of the test images, each ascending.
    """
    by_class = np.argsort(labels, kind="stable")
    for_test = np.zeros(len(labels), bool)
    for_test[by_class[::5]] = True
    return np.flatnonzero(~for_test), np.flatnonzero(for_test)
