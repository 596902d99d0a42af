"""Loads data sets by name into memory: bundled digits, or anything that TFDS has or imported."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from train import archives, array_cache, cifar_records
from train.dataset import DataError as DataError
from train.dataset import Dataset as Dataset
from train.dataset import stratified_split

# TFDS, Pillow and scikit-learn are imported where they are used: a second that `--help` saves.

_logger = logging.getLogger(__name__)


def load(name: str, data_dir: Path | None = None) -> Dataset:
    """Loads an image classification set.

    `digits` are the 1,797 8x8 images of handwritten digits that come with scikit-learn, divided by
    `stratified_split` into 1,437 for training and 360 for testing; grey levels 0..16 become
    0..255. Every other name is TFDS's. What is not yet prepared is downloaded and prepared, for
    cifar10 and cifar100 without TensorFlow; imports of `prepare` stand in for what is not there.
    Sets without a test split are tested on their validation split.

    Args:
      name: `digits`, `cifar10`, `cifar100`, `mnist`, ..., or a name that `prepare` returned.
      data_dir: where TFDS keeps its data; None for the environment variable TFDS_DATA_DIR, or
        `~/tensorflow_datasets`.

    Raises:
      DataError: if there is no such set, it cannot be prepared, or its files are damaged.
    """
    if name == "digits":
        return _load_digits()
    from train import tfds_store

    data_dir = None if data_dir is None else data_dir.expanduser()
    return _load_prepared(tfds_store.find_or_prepare(name, data_dir), data_dir)


def prepare(source: Path, data_dir: Path | None = None, *, name: str | None = None) -> str:
    """Imports local files, so that `load` finds them.

    An archive that is to the bit the official one becomes TFDS's own `cifar10` or `cifar100`. The
    same layout with other contents becomes `cifar10_local` or `cifar100_local`, which `load` takes
    for `cifar10` or `cifar100` where TFDS's own is not prepared. A folder of images becomes a set
    of its own. What was imported under the name before is replaced.

    Args:
      source: `cifar-10-binary.tar.gz`, `cifar-100-binary.tar.gz`, what either unpacks to, or a
        folder of class folders of images (see `image_folder.read`).
      data_dir: where TFDS keeps its data; None for its default.
      name: a name for the import; None for that of the layout, or of the folder.

    Returns:
      The name under which `load` finds it.

    Raises:
      DataError: if the source is not one of these, whole and consistent. Nothing is changed then.
    """
    source = source.expanduser()
    data_dir = None if data_dir is None else data_dir.expanduser()
    if not source.exists():
        raise DataError(f"{source}: no such file or folder. Check the path.")
    from train import tfds_builders, tfds_store

    if source.is_file() and name is None:
        official = tfds_store.official(source, data_dir)
        if official is not None:
            return official
    dataset, layout = _read_local(source, name)
    origin = str(source.resolve())
    if source.is_file():
        origin += f" (SHA-256 {tfds_store.sha256(source)})"
    tfds_store.import_dataset(dataset, origin, data_dir)
    if layout is not None and dataset.name == layout.local_name:
        official_set = tfds_builders.OFFICIAL[layout.name](data_dir=data_dir)
        if not tfds_store.is_prepared(official_set):
            return layout.name
    return dataset.name


def _read_local(source: Path, name: str | None) -> tuple[Dataset, cifar_records.Layout | None]:
    """The data set in a file or folder, and its layout if that is an official one."""
    if source.is_file():
        records = archives.read_archive(source)
    elif (found := archives.binary_folder(source)) is not None:
        records = archives.read_folder(*found)
    else:
        from train import image_folder

        default = source.resolve().name.lower().replace("-", "_").replace(" ", "_")
        return image_folder.read(source, name or default), None
    return records.dataset(name or records.layout.local_name), records.layout


def _load_digits() -> Dataset:
    from sklearn.datasets import load_digits

    bundle = load_digits()
    levels = np.rint(bundle.images).astype(np.int32)
    images = ((levels * 255 + 8) // 16).astype(np.uint8)[..., None]
    labels = bundle.target.astype(np.int32)
    train, test = stratified_split(labels)
    return Dataset(
        name="digits",
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        class_names=tuple(str(digit) for digit in range(10)),
    )


def _load_prepared(name: str, data_dir: Path | None) -> Dataset:
    """Reads a prepared set through TFDS, decoding its images only the first time."""
    import tensorflow_datasets as tfds

    from train.tfds_builders import FORMAT
    from train.tfds_store import UNREADABLE

    try:
        sources = tfds.data_source(name, data_dir=data_dir, download=False, builder_kwargs={"file_format": FORMAT})
        return _read(sources)
    except DataError:
        raise
    except UNREADABLE as error:
        raise DataError(
            f"{name}: prepared, but not as whole array_record files: {error}. Remove its folder, "
            "or name another one, and prepare it again."
        ) from error


def _read(sources: Mapping[str, Any]) -> Dataset:
    """The data set behind TFDS's data sources, by split."""
    test = "test" if "test" in sources else "validation"
    if not {"train", test} <= set(sources):
        raise DataError(
            f"splits {', '.join(sources)}: expected train, and test or validation. Choose another data set."
        )
    info = sources["train"].dataset_info
    image_key, label_key = _supervised_keys(info)
    folder = Path(info.data_dir)
    cache, key = folder / "decoded_arrays.bin", _fingerprint(folder)
    arrays = array_cache.read(cache, key, count=4)
    if arrays is None:
        _logger.info("decoding %s, once", info.full_name)
        arrays = [
            *_decode(sources["train"], image_key, label_key),
            *_decode(sources[test], image_key, label_key),
        ]
        try:
            array_cache.write(cache, key, arrays)
        except OSError as error:
            _logger.warning("%s: cannot be written, so decoding is repeated: %s", cache, error)
    train_images, train_labels, test_images, test_labels = arrays
    return Dataset(
        name=info.full_name,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        class_names=tuple(info.features[label_key].names),
    )


def _supervised_keys(info: Any) -> tuple[str, str]:
    """The features that hold the image and the label."""
    import tensorflow_datasets as tfds

    keys = info.supervised_keys
    if isinstance(keys, tuple) and len(keys) == 2 and all(isinstance(key, str) for key in keys):
        image, label = (info.features[key] for key in keys)
        if isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.ClassLabel):
            return keys
    raise DataError(
        f"{info.full_name}: not an image classification set: its examples are {keys}; expected an "
        "image and a class. Choose another data set."
    )


def _fingerprint(folder: Path) -> bytes:
    """What a prepared version is recognised by: its descriptions, and its record files' stamps."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".txt"):
            digest.update(path.read_bytes())
        elif ".array_record" in path.name:
            status = path.stat()
            digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.digest()


def _decode(source: Any, image_key: str, label_key: str) -> tuple[np.ndarray, np.ndarray]:
    """All images of a split as uint8 [N, H, W, C], and their labels as int32 [N]."""
    info, split = source.dataset_info, source.split
    images, labels = None, np.empty(len(source), np.int32)
    for index in range(len(source)):
        example = source[index]
        image, labels[index] = example[image_key], example[label_key]
        if images is None:
            images = np.empty((len(source), *image.shape), np.uint8)
        if image.shape != images.shape[1:] or image.dtype != np.uint8:
            raise DataError(
                f"{info.full_name}: image {index} of {split} is {image.dtype} {image.shape}, the "
                f"first uint8 {images.shape[1:]}; expected one size throughout."
            )
        images[index] = image
    classes = info.features[label_key].num_classes
    if images is None or labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"{info.full_name}: {split} has no images, or labels other than 0 to {classes - 1}. "
            "Remove its folder and prepare it again, or choose another set."
        )
    return images, labels
