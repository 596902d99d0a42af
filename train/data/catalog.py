"""Loads or opens data sets by name: the bundled digits, data sets of TFDS, and imports."""

import os
from pathlib import Path

import numpy as np

from train.data import archives, cifar_records, folder_layout
from train.data.dataset import Dataset, Source, as_source, stratified_split
from train.errors import DataError, LocationError
from train.files import local_path

# TFDS, Pillow and scikit-learn are imported at first use, which makes `--help` a second faster.


def load(name: str, data_dir: Path | None = None) -> Dataset:
    """Loads an image classification set.

    `digits` are the 1,797 8x8 images of handwritten digits that come with scikit-learn. `stratified_split` divides them
    into 1,437 for training and 360 for testing. Grey levels 0..16 become 0..255.

    Every other name is a name in TFDS, or the name of an import. A set that is neither prepared nor imported is
    downloaded and prepared. For cifar10 and cifar100, this does not need TensorFlow. If a set has no test split, its
    validation split is the test set.

    Args:
      name: `digits`, `cifar10`, `cifar100`, `mnist`, ..., or a name that `prepare` returned.
      data_dir: The folder of prepared data; None for the environment variable TFDS_DATA_DIR, or
        `~/tensorflow_datasets`.

    Raises:
      DataError: If there is no such set, it cannot be prepared, or its files are damaged.
      LocationError: If the folder of prepared data is not on this machine.
    """
    folder = _data_dir(name, data_dir)
    if folder is None:
        return _load_digits()
    from train.data import tfds_reader, tfds_store

    return tfds_reader.load(tfds_store.find_or_prepare(name, folder), folder)


def open_source(name: str, data_dir: Path | None = None) -> Source:
    """Opens an image classification set without reading all of it. Arguments and errors as for `load`."""
    folder = _data_dir(name, data_dir)
    if folder is None:
        return as_source(_load_digits())
    from train.data import tfds_reader, tfds_store

    return tfds_reader.open_source(tfds_store.find_or_prepare(name, folder), folder)


def prepare(source: Path, data_dir: Path | None = None, *, name: str | None = None) -> str:
    """Imports local files, so that `load` finds them.

    An archive that is identical to the official one becomes TFDS's own `cifar10` or `cifar100`. The same layout with
    other contents becomes `cifar10_local` or `cifar100_local`. `load` uses it for `cifar10` or `cifar100` if TFDS's own
    is not prepared. A folder of images becomes a new set. An earlier import of the same name is replaced.

    Args:
      source: `cifar-10-binary.tar.gz`, `cifar-100-binary.tar.gz`, the folder that either unpacks to, or a folder of
        class folders of images (see `folder_layout.find_splits`).
      data_dir: The folder of prepared data; None for the default of `load`.
      name: A name for the import; None for the name of the layout, or of the folder.

    Returns:
      The name under which `load` finds it.

    Raises:
      DataError: If the source is none of these, if it is incomplete or inconsistent, or if the name is not allowed.
        Nothing is changed then.
      LocationError: If a path is not on this machine, or if the folder of prepared data cannot be written.
    """
    source = _existing(source)
    root = _default_data_dir() if data_dir is None else local_path(data_dir, "--data-dir")
    from train.data import tfds_store

    unpacked = None
    if source.is_dir():
        unpacked = archives.binary_folder(folder_layout.unwrap(source))
        if unpacked is None:
            return _import_images(source, root, name)
    elif source.is_file() and name is None:
        official = tfds_store.official(source, root)
        if official is not None:
            return official
    _require_importable(name, root)
    origin = str(source.resolve())
    if unpacked is not None:
        records = archives.read_folder(*unpacked)
    else:
        records = archives.read_archive(source)
        origin += f" (SHA-256 {tfds_store.sha256(source)})"
    return _import_records(records, origin, root, name)


def _require_importable(name: str | None, root: Path) -> None:
    """Raises an error if an import cannot be stored, or cannot have its name. None means that no name was chosen."""
    from train.data import tfds_store

    for layout in cifar_records.LAYOUTS:
        if name == layout.local_name:
            raise DataError(
                f"{name}: --dataset {layout.name} would use the import of this name instead of the archive of "
                f"{layout.name}. Choose another with --name, such as --name my_{layout.name}."
            )
    tfds_store.require_importable(name, root)


def _existing(source: Path) -> Path:
    """The path of a file or folder that exists."""
    source = local_path(source, "SOURCE")
    try:
        exists = source.exists()
    except OSError as error:
        raise DataError(f"{str(source)[:100]}: cannot be read: {error.strerror}. Check the path.") from error
    if not exists:
        raise DataError(f"{source}: no such file or folder. Check the path.")
    return source


def _import_images(folder: Path, root: Path, name: str | None) -> str:
    """Imports a folder of images under a name, by default the folder's, and returns the name."""
    from train.data import image_folder, tfds_store

    if root.resolve().is_relative_to(folder.resolve()):
        raise LocationError(
            f"--data-dir is {root}, within the folder of images, {folder}, and would become a class of them. Name a "
            "folder elsewhere."
        )
    if name is None:
        name = folder.resolve().name.lower().replace("-", "_").replace(" ", "_")
    # Reading the images may take minutes.
    _require_importable(name, root)
    tfds_store.import_dataset(image_folder.read(folder, name), str(folder.resolve()), root)
    return name


def _import_records(records: cifar_records.Records, origin: str, root: Path, name: str | None) -> str:
    """Imports the records of an archive under a name, by default the layout's, and returns the name for `load`."""
    from train.data import tfds_builders, tfds_store

    layout = records.layout
    dataset = records.dataset(layout.local_name if name is None else name)
    tfds_store.import_dataset(dataset, origin, root)
    if dataset.name == layout.local_name:
        official_set = tfds_builders.OFFICIAL[layout.name](data_dir=root)
        if not tfds_store.is_prepared(official_set):
            return layout.name
    return dataset.name


def _data_dir(name: str, given: Path | None) -> Path | None:
    """The folder of prepared data, or None for a data set that needs none. A given folder is always checked."""
    if given is not None:
        given = local_path(given, "--data-dir")
    if name == "digits":
        return None
    return _default_data_dir() if given is None else given


def _default_data_dir() -> Path:
    """TFDS's default folder, which TFDS does not expand if there is no home folder."""
    given = os.environ.get("TFDS_DATA_DIR")
    if given is not None:
        return local_path(given, "TFDS_DATA_DIR")
    return local_path("~/tensorflow_datasets", "The default of --data-dir")


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
