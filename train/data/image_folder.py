"""Reads a folder of image files, one subfolder per class."""

import logging
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from train.data import folder_layout
from train.data.archives import refuse_pickle
from train.data.dataset import Dataset, stratified_split
from train.errors import DataError

_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "WEBP")
_MODES = ("L", "RGB")
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)

_logger = logging.getLogger(__name__)


def read(folder: Path, name: str) -> Dataset:
    """Reads a folder that `folder_layout.find_splits` accepts.

    Classes are numbered in the alphabetical order of their folders. Without a test folder, `stratified_split` divides
    the images, in the alphabetical order of their files. Images are rotated and mirrored by their EXIF orientation.

    Args:
      folder: The folder.
      name: The name of the data set.

    Raises:
      DataError: If the folder has another structure, or if the images do not all have one size and one mode (RGB, or
        8-bit grey).
    """
    train, test = folder_layout.find_splits(folder)
    if test is not None:
        images = _read_images([*train.files, *test.files])
        train_images, test_images = images[: len(train.files)], images[len(train.files) :]
        train_labels, test_labels = train.labels, test.labels
    else:
        images = _read_images(train.files)
        train_rows, test_rows = stratified_split(train.labels)
        train_images, test_images = images[train_rows], images[test_rows]
        train_labels, test_labels = train.labels[train_rows], train.labels[test_rows]
    return Dataset(
        name=name,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        class_names=train.class_names,
    )


def _read_images(files: list[Path]) -> np.ndarray:
    """All images as uint8 [N, height, width, channels]."""
    first = _read_image(files[0])
    images = np.empty((len(files), *first.shape), np.uint8)
    for index, path in enumerate(files):
        image = _read_image(path)
        if image.shape != first.shape:
            raise DataError(
                f"{path}: {_describe(image)}, but {files[0]} is {_describe(first)}; expected one size and mode "
                "throughout. Convert the images."
            )
        images[index] = image
    return images


def _read_image(path: Path) -> np.ndarray:
    """An image in its upright orientation, as uint8 [height, width, channels]."""
    refuse_pickle(path)
    try:
        with warnings.catch_warnings():
            # Pillow also warns of unusual metadata, which do not affect the pixels.
            warnings.simplefilter("ignore")
            # Refuse a small file that declares a huge image.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                mode, pixels = image.mode, np.asarray(image)
                orientation = _orientation(image, path)
    except _BOMB as error:
        raise DataError(f"{path}: too large an image: {error} Convert it to a smaller one, or move it away.") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path}: not an image, or an image of another format; expected only images in the class folder "
            f"{path.parent.name}, each one of {', '.join(_FORMATS)}. Convert or replace the file, or move it elsewhere."
        ) from error
    except _DAMAGED as error:
        raise DataError(
            f"{path}: not a whole image: {error}. Expected one of {', '.join(_FORMATS)}. Replace the file, or move it "
            "elsewhere."
        ) from error
    if mode not in _MODES:
        raise DataError(f"{path}: mode {mode}; expected {' or '.join(_MODES)}. Convert the image.")
    upright = _upright(pixels, orientation)
    return upright.reshape(*upright.shape[:2], -1)


def _orientation(image: Image.Image, path: Path) -> int:
    """The EXIF orientation, 1 to 8, where 1 is upright."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception as error:  # Pillow raises many kinds of errors for unusual metadata, but the pixels are intact.
        _logger.warning("%s: EXIF cannot be read, so no orientation is applied: %s", path, error)
        return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels [height, width] or [height, width, channels], rotated and mirrored by an EXIF orientation."""
    # Use a new image without the other metadata. `exif_transpose` writes them back, which fails if they are unusual.
    image = Image.fromarray(pixels)
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


def _describe(image: np.ndarray) -> str:
    height, width, channels = image.shape
    return f"{width}x{height} {'L' if channels == 1 else 'RGB'}"
