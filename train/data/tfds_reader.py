"""Reads prepared TFDS data sets: completely into memory, or image by image from their array_record files.

Importing this module imports tensorflow_datasets, which takes a while.
"""

import contextlib
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from train.data import array_cache
from train.data.dataset import Dataset, Source
from train.data.tfds_builders import FORMAT
from train.data.tfds_store import UNREADABLE
from train.errors import DataError

_AGAIN = "Move its folder elsewhere and prepare it again, or choose another --data-dir or data set."
_logger = logging.getLogger(__name__)

# TFDS recommends a faster decoder, but the images of a set in memory are decoded only once.
logging.getLogger("absl").addFilter(lambda record: "OpenCV is not installed" not in record.getMessage())


def load(name: str, data_dir: Path) -> Dataset:
    """Reads a complete prepared data set. Its images are decoded only the first time.

    Raises:
      DataError: If it is not an image classification set, or if its files are damaged.
    """
    with _readable(name):
        train, test = _open(name, data_dir)
        folder = Path(train.info.data_dir)
        cache, key = folder / "decoded_arrays.bin", _cache_key(folder)
        arrays = array_cache.read(cache, key, count=4)
        if arrays is None:
            _logger.info("decoding %s, once", train.info.full_name)
            arrays = [*train.read(np.arange(len(train))), *test.read(np.arange(len(test)))]
            try:
                array_cache.write(cache, key, arrays)
            except OSError as error:
                _logger.warning("%s: cannot be written, so decoding is repeated: %s", cache, error)
    train_images, train_labels, test_images, test_labels = arrays
    return Dataset(
        name=train.info.full_name,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        class_names=tuple(train.info.features[train.label_key].names),
    )


def open_source(name: str, data_dir: Path) -> Source:
    """Opens a prepared data set and reads one image. Raises the same errors as `load`."""
    with _readable(name):
        train, test = _open(name, data_dir)
        return Source(
            name=train.info.full_name,
            train=train,
            test=test,
            image_shape=train.image_shape,
            class_names=tuple(train.info.features[train.label_key].names),
        )


@dataclass(frozen=True)
class _PreparedSplit:
    """A split in array_record files, as `train.data.dataset.Split`."""

    source: Any  # tfds.data_source's, of one split
    image_key: str
    label_key: str
    image_shape: tuple[int, int, int]

    @property
    def info(self) -> tfds.core.DatasetInfo:
        return self.source.dataset_info

    def __len__(self) -> int:
        return len(self.source)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images, labels = np.empty((len(rows), *self.image_shape), np.uint8), np.empty(len(rows), np.int32)
        with _readable(self.info.full_name):
            for place, row in enumerate(rows.tolist()):
                example = self.source[row]
                image, labels[place] = example[self.image_key], example[self.label_key]
                if image.shape != self.image_shape or image.dtype != np.uint8:
                    raise DataError(
                        f"{self.info.full_name}: image {row} of {self.source.split} is {image.dtype} {image.shape}, "
                        f"the first of training uint8 {self.image_shape}; expected one size throughout."
                    )
                images[place] = image
        classes = self.info.features[self.label_key].num_classes
        if len(rows) and (labels.min() < 0 or labels.max() >= classes):
            raise DataError(
                f"{self.info.full_name}: {self.source.split} has labels other than 0 to {classes - 1}. {_AGAIN}"
            )
        return images, labels


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    """Converts the errors of damaged files to a DataError."""
    try:
        yield
    except DataError:
        raise
    except UNREADABLE as error:
        raise DataError(f"{name}: prepared, but not as whole array_record files: {error}. {_AGAIN}") from error


def _open(name: str, data_dir: Path) -> tuple[_PreparedSplit, _PreparedSplit]:
    """The training and the test split."""
    sources = tfds.data_source(name, data_dir=data_dir, download=False, builder_kwargs={"file_format": FORMAT})
    test = "test" if "test" in sources else "validation"
    if not {"train", test} <= set(sources):
        raise DataError(
            f"{name}: its splits are {', '.join(sources)}; expected train, and test or validation. Choose another "
            "data set."
        )
    info = sources["train"].dataset_info
    for split in ("train", test):
        if not len(sources[split]):
            raise DataError(f"{info.full_name}: {split} has no images. {_AGAIN}")
    image_key, label_key = _supervised_keys(info)
    height, width, channels = sources["train"][0][image_key].shape
    train, other = (
        _PreparedSplit(sources[split], image_key, label_key, (height, width, channels)) for split in ("train", test)
    )
    return train, other


def _supervised_keys(info: tfds.core.DatasetInfo) -> tuple[str, str]:
    """The names of the features that contain the image and the label."""
    keys = info.supervised_keys
    if isinstance(keys, tuple) and len(keys) == 2 and all(isinstance(key, str) for key in keys):
        image, label = (info.features[key] for key in keys)
        if isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.ClassLabel):
            return keys
    raise DataError(
        f"{info.full_name}: not an image classification set: its examples are {keys}; expected an image and a class. "
        "Choose another data set."
    )


def _cache_key(folder: Path) -> bytes:
    """Identifies a prepared version by its descriptions, and by the sizes and times of its record files."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".txt"):
            digest.update(path.read_bytes())
        elif ".array_record" in path.name:
            status = path.stat()
            digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.digest()
