"""Finds the splits, the classes and the image files in a folder of images."""

import itertools
import logging
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.data.archives import refuse_pickle
from train.errors import DataError

_EXPECTED = "CLASS/IMAGE, or train/CLASS/IMAGE and the same classes under test or val"
_SMALLEST_CLASS = 5
# The split in a folder, by the folder's name in lower case.
_SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
# Files that operating systems leave in folders and archives, besides hidden files.
_LEFTOVERS = ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageFiles:
    """The image files of a split.

    Attributes:
      class_names: The names of the class folders in Unicode's form NFC, in alphabetical order.
      files: All files, in the order of classes and of names.
      labels: int32 [files], the index of each file's class.
    """

    class_names: tuple[str, ...]
    files: list[Path]
    labels: np.ndarray


def unwrap(folder: Path) -> Path:
    """Skips outer folders that contain only one folder: returns FOLDER/pets for FOLDER/pets/CLASS/IMAGE."""
    while True:
        entries = visible(folder)
        if len(entries) != 1 or not _has_folders(entries[0]):
            return folder
        # Stop above a lone train folder, whose test folder is missing. In train/train/CLASS, skip the outer folder.
        if _split_of(entries[0]) and not _split_of(folder):
            return folder
        folder = entries[0]


def find_splits(folder: Path) -> tuple[ImageFiles, ImageFiles | None]:
    """Finds the training images, and the test images if they have their own folder.

    It accepts FOLDER/CLASS/IMAGE, and FOLDER/train/CLASS/IMAGE with the same classes under test or val. A split may
    also be called training, testing, valid or validation, in upper or lower case. A test folder takes precedence over a
    validation folder. All of this may be inside further folders.

    Args:
      folder: The folder.

    Returns:
      The training split, and the test split or None.

    Raises:
      DataError: If the folder has another structure. The message says what was expected and what was found.
    """
    folder = unwrap(folder)
    folders = [path for path in visible(folder) if _split_of(path) and _has_folders(path)]
    if not any(_split_of(path) == "train" for path in folders):
        return _whole(folder), None
    train, test = _train_and_test(folder, folders)
    train_split, test_split = _list_classes(unwrap(train)), _list_classes(unwrap(test))
    if test_split.class_names != train_split.class_names:
        odd = ", ".join(sorted({*train_split.class_names} ^ {*test_split.class_names}))
        raise DataError(
            f"{test}: classes differ from those of {train} ({odd}); expected the same class folders in both. "
            "Add the missing ones, or move the others elsewhere."
        )
    return train_split, test_split


def visible(folder: Path) -> list[Path]:
    """Returns the contents of a folder, in alphabetical order, without hidden and system files.

    Raises:
      DataError: If the folder cannot be listed.
    """
    try:
        paths = [*folder.iterdir()]
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be listed: {error}. Expected a folder that you may read; check the path."
        ) from error
    paths = [path for path in paths if not path.name.startswith(".") and path.name.lower() not in _LEFTOVERS]
    # macOS decomposes accents. Without NFC, the order and the split would depend on the machine.
    return sorted(paths, key=lambda path: (_nfc(path.name), path.name))


def _whole(folder: Path) -> ImageFiles:
    """The classes of a folder without splits, each large enough to use some images for testing."""
    splits = [path for path in visible(folder) if _split_of(path)]
    names = " and ".join(path.name for path in splits)
    if any(_has_folders(path) for path in splits):
        raise DataError(f"{folder}: no train folder beside {names}. {_layout(folder)} Add or rename one.")
    if len(splits) > 1:
        raise DataError(
            f"{folder}: no class folders in {names}, so the images have no labels. {_layout(folder)} Sort the images "
            "into class folders."
        )
    split = _list_classes(folder)
    sizes = np.bincount(split.labels)
    smallest = int(sizes.argmin())
    if sizes[smallest] < _SMALLEST_CLASS:
        raise DataError(
            f"{folder}: class {split.class_names[smallest]} has fewer than {_SMALLEST_CLASS} images, too few to keep "
            f"some for testing. Add images, or arrange the folder as {_EXPECTED}."
        )
    return split


def _train_and_test(folder: Path, folders: list[Path]) -> tuple[Path, Path]:
    """The folders of the training and the test split, from the folders that have the name of a split."""
    by_split: dict[str, list[Path]] = {}
    for path in folders:
        by_split.setdefault(_split_of(path), []).append(path)
    twice = [path.name for paths in by_split.values() if len(paths) > 1 for path in paths]
    if twice:
        raise DataError(f"{folder}: {' and '.join(twice)} mean the same split; expected one of them. Rename the other.")
    tests = by_split.get("test", []) + by_split.get("validation", [])
    if not tests:
        train = by_split["train"][0]
        flat = [path.name for path in visible(folder) if _split_of(path) and path not in folders]
        reason = f"no class folders in {' and '.join(flat)}" if flat else "no test folder"
        raise DataError(
            f"{folder}: {reason}. {_layout(folder)} Sort the test images like that, rename their folder, or pass "
            f"{train}, of which every fifth image is then for testing."
        )
    for path in visible(folder):
        if not _split_of(path):
            raise DataError(f"{path}: not part of a split. {_layout(folder)} Move it out of {folder}.")
        if path not in (*by_split["train"], tests[0]):
            _logger.warning("%s: testing on %s; %s is not used", folder, tests[0].name, path.name)
    return by_split["train"][0], tests[0]


def _list_classes(folder: Path) -> ImageFiles:
    classes = visible(folder)
    if len(classes) < 2 or not any(path.is_dir() for path in classes):
        for path in classes:
            if not path.is_dir():
                refuse_pickle(path)
        raise DataError(
            f"{folder}: fewer than 2 class folders. {_layout(folder)} Check the path, or arrange the images like that."
        )
    files, labels = [], []
    for label, path in enumerate(classes):
        own = _list_images(folder, path)
        files += own
        labels += [label] * len(own)
    names = tuple(_nfc(path.name) for path in classes)
    for previous, path in itertools.pairwise(classes):
        if _nfc(previous.name) == _nfc(path.name):
            raise DataError(
                f"{folder}: {previous.name!a} and {path.name!a} are the same name in two forms of Unicode "
                "(NFC and NFD); expected one folder per class. Move the images into one of them, or rename the other."
            )
    return ImageFiles(names, files, np.asarray(labels, np.int32))


def _list_images(folder: Path, path: Path) -> list[Path]:
    """The image files of one class folder."""
    if not path.is_dir():
        refuse_pickle(path)
        raise DataError(f"{path}: a file among the classes; expected only folders. Move it out of {folder}.")
    if not path.name.isprintable() or path.name != path.name.strip():
        raise DataError(
            f"{str(path)!r}: the folder's name contains line breaks, outer spaces or bytes that are not text; "
            "expected the name of a class. Rename it."
        )
    files = visible(path)
    if not files:
        raise DataError(
            f"{path}: a class folder without images. {_layout(folder)} Add images, or move it out of {folder}."
        )
    if any(file.is_dir() for file in files):
        raise DataError(
            f"{path}: contains folders; expected image files. {_layout(folder)} Pass the folder that contains the "
            "classes, or rename and move the folders accordingly."
        )
    return files


def _layout(folder: Path) -> str:
    """The sentence about the expected and the actual contents of a folder."""
    folders, files = [], []
    for path in visible(folder):
        if path.is_dir():
            folders.append(f"{path.name!r} ({_count(path)})")
        else:
            files.append(repr(path.name))
    found = [
        f"{kind} {', '.join(names[:5])}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        for kind, names in (("folders", folders), ("files", files))
        if names
    ]
    return f"Expected {_EXPECTED}; found {'; '.join(found) or 'nothing'}."


def _count(folder: Path) -> str:
    """The number of entries in a folder, such as `2 folders, 1 file`."""
    are_folders = [path.is_dir() for path in visible(folder)]
    counts = (are_folders.count(True), "folder"), (are_folders.count(False), "file")
    return ", ".join(f"{number} {kind}{'s' * (number > 1)}" for number, kind in counts if number) or "empty"


def _split_of(path: Path) -> str:
    """The split that a folder's name means; empty for other names."""
    return _SPLITS.get(path.name.lower(), "")


def _has_folders(folder: Path) -> bool:
    return folder.is_dir() and any(path.is_dir() for path in visible(folder))


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)
