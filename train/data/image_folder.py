"""Reads a folder of image files, one subfolder a class."""

import logging
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from train.data.archives import refuse_pickle
from train.data.dataset import Dataset, stratified_split
from train.errors import DataError

_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "WEBP")
_MODES = ("L", "RGB")
_SMALLEST_CLASS = 5

_logger = logging.getLogger(__name__)


def read(folder: Path, name: str) -> Dataset:
    """Reads FOLDER/CLASS/IMAGE, or FOLDER/train/CLASS/IMAGE with the same under test (or val).

    Classes are numbered in the alphabetical order of their folders. Without a train folder the
    images are divided by `stratified_split`, in the alphabetical order of their files. Files and
    folders whose names begin with a dot are left out.

    Args:
      folder: the folder.
      name: the name that the data set is given.

    Raises:
      DataError: if there is anything else in the folder, or if the images are not all of one size
        and one mode (RGB, or 8-bit grey).
    """
    if (folder / "train").is_dir():
        test = _test_folder(folder)
        class_names, train_files, train_labels = _list_classes(folder / "train")
        test_names, test_files, test_labels = _list_classes(test)
        if test_names != class_names:
            odd = ", ".join(sorted({*class_names} ^ {*test_names}))
            raise DataError(
                f"{test}: classes differ from {folder / 'train'} ({odd}); expected the same "
                "folders in both. Add or remove them."
            )
        images = _read_images([*train_files, *test_files])
        train_images, test_images = images[: len(train_files)], images[len(train_files) :]
    else:
        class_names, files, labels = _list_classes(folder)
        smallest = int(np.bincount(labels).argmin())
        if np.bincount(labels)[smallest] < _SMALLEST_CLASS:
            raise DataError(
                f"{folder / class_names[smallest]}: fewer than {_SMALLEST_CLASS} images, too few "
                "to keep some for testing. Add images, or make the folders train and test."
            )
        images = _read_images(files)
        train, test_indices = stratified_split(labels)
        train_images, train_labels = images[train], labels[train]
        test_images, test_labels = images[test_indices], labels[test_indices]
    return Dataset(
        name=name,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        class_names=class_names,
    )


def _test_folder(folder: Path) -> Path:
    present = [folder / name for name in ("test", "val", "validation") if (folder / name).is_dir()]
    if not present:
        raise DataError(f"{folder}: a folder train, but none named test or val. Add one.")
    known = {"train", *(path.name for path in present)}
    for path in _visible(folder):
        if path.name not in known:
            raise DataError(f"{path}: not part of train or test. Move it out of {folder}.")
    if len(present) > 1:
        _logger.info("%s: testing on %s, the others are not read", folder, present[0].name)
    return present[0]


def _list_classes(folder: Path) -> tuple[tuple[str, ...], list[Path], np.ndarray]:
    """The class names, all files in the order of classes and names, and their labels."""
    classes, files, labels = _visible(folder), [], []
    for label, path in enumerate(classes):
        if not path.is_dir():
            refuse_pickle(path)
            raise DataError(f"{path}: a file among the classes; expected only folders. Move it.")
        if not path.name.isprintable() or path.name != path.name.strip():
            raise DataError(
                f"{str(path)!r}: a folder whose name holds line breaks, outer spaces or bytes that are no text; "
                "expected the name of a class. Rename it."
            )
        own = _visible(path)
        if not own:
            raise DataError(f"{path}: no images. Add some, or remove the folder.")
        files += own
        labels += [label] * len(own)
    if len(classes) < 2:
        raise DataError(
            f"{folder}: {len(classes)} class folders; expected at least 2, each with image files, "
            "or an unpacked cifar-10-batches-bin or cifar-100-binary."
        )
    return tuple(path.name for path in classes), files, np.asarray(labels, np.int32)


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be listed: {error}. Expected a folder that you may read; check the path."
        ) from error


def _read_images(files: list[Path]) -> np.ndarray:
    """All images as uint8 [N, height, width, channels]."""
    first = _read_image(files[0])
    images = np.empty((len(files), *first.shape), np.uint8)
    for index, path in enumerate(files):
        image = _read_image(path)
        if image.shape != first.shape:
            raise DataError(
                f"{path}: {_describe(image)}, but {files[0]} is {_describe(first)}; expected one "
                "size and mode throughout. Convert the images."
            )
        images[index] = image
    return images


def _read_image(path: Path) -> np.ndarray:
    refuse_pickle(path)
    try:
        with warnings.catch_warnings():
            # A small file that claims a huge image is refused, not just warned about.
            warnings.simplefilter("error")
            with Image.open(path, formats=_FORMATS) as image:
                mode, pixels = image.mode, np.asarray(image)
    except (
        *(OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Warning),
        Image.DecompressionBombError,
    ) as error:
        raise DataError(
            f"{path}: not a whole image: {error}. Expected one of {', '.join(_FORMATS)}; replace or remove the file."
        ) from error
    if mode not in _MODES:
        raise DataError(f"{path}: mode {mode}; expected {' or '.join(_MODES)}. Convert the image.")
    return pixels.reshape(*pixels.shape[:2], -1)


def _describe(image: np.ndarray) -> str:
    height, width, channels = image.shape
    return f"{width}x{height} {'L' if channels == 1 else 'RGB'}"
