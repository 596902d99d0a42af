"""Loads or opens data sets by name: bundled digits, or anything that TFDS has or imported."""

from pathlib import Path

import numpy as np

from train.data import archives, cifar_records
from train.data.dataset import Dataset, Source, as_source, stratified_split
from train.errors import DataError

# TFDS, Pillow and scikit-learn are imported where they are used: a second that `--help` saves.


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
    from train.data import tfds_reader, tfds_store

    data_dir = None if data_dir is None else _expand(data_dir)
    return tfds_reader.load(tfds_store.find_or_prepare(name, data_dir), data_dir)


def open_source(name: str, data_dir: Path | None = None) -> Source:
    """Opens an image classification set without reading it whole; arguments and errors as of `load`."""
    if name == "digits":
        return as_source(_load_digits())
    from train.data import tfds_reader, tfds_store

    data_dir = None if data_dir is None else _expand(data_dir)
    return tfds_reader.open_source(tfds_store.find_or_prepare(name, data_dir), data_dir)


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
    source = _expand(source)
    data_dir = None if data_dir is None else _expand(data_dir)
    try:
        exists = source.exists()
    except OSError as error:
        raise DataError(f"{str(source)[:100]}: cannot be read: {error.strerror}. Check the path.") from error
    if not exists:
        raise DataError(f"{source}: no such file or folder. Check the path.")
    from train.data import tfds_builders, tfds_store

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


def _expand(path: Path) -> Path:
    """A path with the home folder for `~`."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise DataError(
            f"{path}: {error} Expected ~ or ~USER of a user of this machine; write the path out."
        ) from error


def _read_local(source: Path, name: str | None) -> tuple[Dataset, cifar_records.Layout | None]:
    """The data set in a file or folder, and its layout if that is an official one."""
    if source.is_file():
        records = archives.read_archive(source)
    elif (found := archives.binary_folder(source)) is not None:
        records = archives.read_folder(*found)
    else:
        from train.data import image_folder

        default = source.resolve().name.lower().replace("-", "_").replace(" ", "_")
        return image_folder.read(source, default if name is None else name), None
    return records.dataset(records.layout.local_name if name is None else name), records.layout


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
