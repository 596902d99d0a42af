"""A data set in memory, and the one error in which every unusable input ends."""

from dataclasses import dataclass

import numpy as np


class DataError(ValueError):
    """Data that cannot be used: the message says which, what was expected, and what to do."""


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
    def num_classes(self) -> int:
        """The number of classes, those without an image included."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels


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
