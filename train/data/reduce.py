"""Reduces a data set: fewer training images, or a lower resolution."""

import dataclasses

import numpy as np

from train.data.dataset import Dataset, Source
from train.errors import ConfigError


def reduced(dataset: Dataset | Source, *, resolution: int, train_size: int) -> Dataset | Source:
    """Reduce a data set in memory.

    Args:
      dataset: The data set, which must not be streamed.
      resolution: Height of the reduced images in pixels; 0 keeps the resolution. The width shrinks in proportion. Each
        pixel is the rounded mean of a square of pixels.
      train_size: Number of training images; 0 keeps all. Each class keeps its first images. The classes keep equal
        numbers, to within one image if they are large enough. Nothing is random. The test set does not change.

    Raises:
      ConfigError: If the data set is streamed, has fewer images, or cannot be divided into such squares.
    """
    if not resolution and not train_size:
        return dataset
    if isinstance(dataset, Source):
        raise ConfigError("A data set is reduced in memory only: leave out --stream, or --resolution and --train-size.")
    if train_size:
        kept = _first_of_each_class(dataset, train_size)
        dataset = dataclasses.replace(
            dataset, train_images=dataset.train_images[kept], train_labels=dataset.train_labels[kept]
        )
    if resolution:
        factor = _factor(dataset, resolution)
        dataset = dataclasses.replace(
            dataset,
            train_images=_area_means(dataset.train_images, factor),
            test_images=_area_means(dataset.test_images, factor),
        )
    return dataset


def _first_of_each_class(dataset: Dataset, size: int) -> np.ndarray:
    """The indices of the training images to keep, ascending."""
    if size > dataset.train_size:
        raise ConfigError(f"train_size is {size}, allowed: 0 to {dataset.train_size}, the size of {dataset.name}.")
    # The rank of each image within its class. Images of low rank come first, one per class in turn.
    by_class = np.argsort(dataset.train_labels, kind="stable")
    counts = np.bincount(dataset.train_labels, minlength=dataset.num_classes)
    rank = np.empty(dataset.train_size, np.int64)
    rank[by_class] = np.concatenate([np.arange(count) for count in counts])
    return np.sort(np.lexsort((dataset.train_labels, rank))[:size])


def _factor(dataset: Dataset, resolution: int) -> int:
    height, width, _ = dataset.image_shape
    if height % resolution or width % (height // resolution):
        raise ConfigError(
            f"resolution is {resolution}, but the images of {dataset.name} have {height} x {width} pixels; allowed: 0, "
            "or the height divided by a whole number that divides the width too."
        )
    return height // resolution


def _area_means(images: np.ndarray, factor: int) -> np.ndarray:
    """The rounded means of squares of factor x factor pixels, uint8 [N, H / factor, W / factor, C]."""
    number, height, width, channels = images.shape
    squares = images.reshape(number, height // factor, factor, width // factor, factor, channels)
    sums = squares.sum(axis=(2, 4), dtype=np.uint32)
    area = factor * factor
    return ((sums + area // 2) // area).astype(np.uint8)
