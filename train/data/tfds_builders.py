"""TFDS builders that prepare data sets without TensorFlow.

Importing this module imports tensorflow_datasets, which takes a while.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from train.data import archives, cifar_records
from train.data.dataset import Dataset

FORMAT = "array_record"


class _ReadsArchive:
    """Replaces the parts of TFDS's CIFAR builders that need TensorFlow.

    The rest is TFDS's own code, so the result is the same data set as for every TFDS user: the same version, features
    and keys, and therefore the same order of images.
    """

    info: tfds.core.DatasetInfo
    url_infos: dict[str, Any]

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
        (url,) = self.url_infos
        # The manager compares the download with the SHA-256 in url_infos.
        records = archives.read_archive(Path(dl_manager.download(url)))
        for key, names in zip(records.layout.label_keys, records.label_names, strict=True):
            self.info.features[key].names = list(names)
        keys = records.layout.label_keys
        return {
            "train": _official_examples("train_", records.train, keys),
            "test": _official_examples("test_", records.test, keys),
        }


class Cifar10(_ReadsArchive, tfds.image_classification.Cifar10, skip_registration=True):  # type: ignore[call-arg]
    """TFDS's own `cifar10`."""

    name = "cifar10"
    url_infos = tfds.image_classification.Cifar10.url_infos


class Cifar100(_ReadsArchive, tfds.image_classification.Cifar100, skip_registration=True):  # type: ignore[call-arg]
    """TFDS's own `cifar100`."""

    name = "cifar100"
    url_infos = tfds.image_classification.Cifar100.url_infos


OFFICIAL = {"cifar10": Cifar10, "cifar100": Cifar100}


class Imported(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A data set from local files, stored in the given order."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, dataset: Dataset, *, origin: str, **kwargs: Any):
        self.name = dataset.name
        self._dataset = dataset
        self._origin = origin
        super().__init__(file_format=FORMAT, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=self._dataset.image_shape),
            "label": tfds.features.ClassLabel(names=self._dataset.class_names),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Imported from {self._origin}.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
        del dl_manager
        dataset = self._dataset
        return {
            "train": self._generate_examples(dataset.train_images, dataset.train_labels),
            "test": self._generate_examples(dataset.test_images, dataset.test_labels),
        }

    def _generate_examples(self, images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[int, dict]]:
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield index, {"image": _picture(image), "label": int(label)}


def _official_examples(prefix: str, records: np.ndarray, label_keys: tuple[str, ...]) -> Iterator[tuple[int, dict]]:
    for index, (row, image) in enumerate(zip(records, cifar_records.images(records), strict=True)):
        labels = {key: int(row[column]) for column, key in enumerate(label_keys)}
        yield index, {"id": f"{prefix}{index:05d}", "image": _picture(image), **labels}


def _picture(image: np.ndarray) -> Image.Image:
    """Convert the image for Pillow: TFDS needs TensorFlow to encode an array, but not to encode a Pillow image."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
