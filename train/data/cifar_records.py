"""The records of the official CIFAR binary files: their layout, and every check of their contents.

References:
  https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from train.data.dataset import Dataset
from train.errors import DataError

_SIDE = 32
_PIXEL_BYTES = 3 * _SIDE * _SIDE
_MAX_NAMES_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The layout of one of the official archives.

    A record has one byte per label, then the red, the green and the blue plane of 32x32 bytes.

    Attributes:
      name: the data set's name in TFDS.
      url: address of the official archive.
      folder: the folder in the archive that contains the files.
      train_files: record files of the training set, all of the same size.
      test_files: record files of the test set.
      label_keys: the feature of each label byte in TFDS; `label` is the class to learn.
      label_files: the text file that names the values of each label byte, one name per line.
      label_counts: number of values of each label byte.
      train_rows: records in all the training files together.
      test_rows: records in all the test files together.
    """

    name: str
    url: str
    folder: str
    train_files: tuple[str, ...]
    test_files: tuple[str, ...]
    label_keys: tuple[str, ...]
    label_files: tuple[str, ...]
    label_counts: tuple[int, ...]
    train_rows: int = 50_000
    test_rows: int = 10_000

    @property
    def archive(self) -> str:
        """The file name of the official archive."""
        return self.url.rpartition("/")[2]

    @property
    def local_name(self) -> str:
        """The name under which data of this layout are imported from local files."""
        return f"{self.name}_local"

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is needed."""
        return (*self.train_files, *self.test_files, *self.label_files)

    @property
    def record_bytes(self) -> int:
        """The size of one record."""
        return len(self.label_keys) + _PIXEL_BYTES

    def check_size(self, file: str, size: int, where: str) -> None:
        """Raises DataError unless a file of this layout may have this many bytes."""
        if file in self.label_files:
            if size > _MAX_NAMES_BYTES:
                raise DataError(f"{where}: {size:,} bytes; expected a short list of names. {self.advice}")
            return
        if file in self.train_files:
            records = self.train_rows // len(self.train_files)
        else:
            records = self.test_rows // len(self.test_files)
        if size != records * self.record_bytes:
            whole, rest = divmod(size, self.record_bytes)
            raise DataError(
                f"{where}: {size:,} bytes ({whole:,} records and {rest:,} bytes); expected "
                f"{records * self.record_bytes:,} bytes: {records:,} records of "
                f"{self.record_bytes:,}. {self.advice}"
            )

    @property
    def advice(self) -> str:
        """The advice for files that are not as expected."""
        return f"Fetch {self.url} again."


LAYOUTS = (
    Layout(
        name="cifar10",
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        folder="cifar-10-batches-bin",
        train_files=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        test_files=("test_batch.bin",),
        label_keys=("label",),
        label_files=("batches.meta.txt",),
        label_counts=(10,),
    ),
    Layout(
        name="cifar100",
        url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        folder="cifar-100-binary",
        train_files=("train.bin",),
        test_files=("test.bin",),
        label_keys=("coarse_label", "label"),
        label_files=("coarse_label_names.txt", "fine_label_names.txt"),
        label_counts=(20, 100),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Records:
    """The checked contents of an archive.

    Attributes:
      layout: which archive it is.
      train: uint8 [layout.train_rows, layout.record_bytes], in the order of the files.
      test: uint8 [layout.test_rows, layout.record_bytes].
      label_names: for each label byte the names of its values.
    """

    layout: Layout
    train: np.ndarray
    test: np.ndarray
    label_names: tuple[tuple[str, ...], ...]

    def dataset(self, name: str) -> Dataset:
        """The same images with their (fine) labels, under a name."""
        column = self.layout.label_keys.index("label")
        return Dataset(
            name=name,
            train_images=images(self.train),
            train_labels=self.train[:, column].astype(np.int32),
            test_images=images(self.test),
            test_labels=self.test[:, column].astype(np.int32),
            class_names=self.label_names[column],
        )


def images(records: np.ndarray) -> np.ndarray:
    """The images of uint8 records [N, bytes] as uint8 [N, 32, 32, 3]."""
    planes = records[:, -_PIXEL_BYTES:].reshape(-1, 3, _SIDE, _SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def parse(layout: Layout, contents: Mapping[str, bytes], where: str) -> Records:
    """The records in the files of an archive.

    Args:
      layout: which archive it is.
      contents: each file's bytes, by its name.
      where: the archive or folder, for messages.

    Raises:
      DataError: if a file is missing, has another size, or contains impossible labels.
    """
    missing = [file for file in layout.files if file not in contents]
    if missing:
        raise DataError(f"{where}: {', '.join(missing)} missing. {layout.advice}")
    splits = []
    for files in (layout.train_files, layout.test_files):
        for file in files:  # The archive may have declared a wrong size.
            layout.check_size(file, len(contents[file]), f"{where}/{file}")
        data = b"".join(contents[file] for file in files)
        splits.append(np.frombuffer(data, np.uint8).reshape(-1, layout.record_bytes))
    train, test = splits
    _check_labels(layout, np.concatenate([train, test])[:, : len(layout.label_keys)], where)
    names = tuple(
        _names(contents[file], count, f"{where}/{file}", layout)
        for file, count in zip(layout.label_files, layout.label_counts, strict=True)
    )
    return Records(layout=layout, train=train, test=test, label_names=names)


def _check_labels(layout: Layout, labels: np.ndarray, where: str) -> None:
    """Raises DataError unless labels [N, label bytes] are in range and agree with each other."""
    for column, (key, count) in enumerate(zip(layout.label_keys, layout.label_counts, strict=True)):
        largest = int(labels[:, column].max())
        if largest >= count:
            raise DataError(f"{where}: {key} {largest}; expected 0 to {count - 1}. {layout.advice}")
    pairs = np.unique(labels, axis=0)
    classes, superclasses = np.unique(pairs[:, -1], return_counts=True)
    if (superclasses > 1).any():
        label = classes[superclasses > 1][0]
        raise DataError(f"{where}: images of class {label} are in several superclasses; expected one. {layout.advice}")


def _names(data: bytes, count: int, where: str, layout: Layout) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in data.decode().splitlines() if line.strip())
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not text in UTF-8: {error}. {layout.advice}") from error
    if len(names) != count or len(set(names)) != count:
        raise DataError(
            f"{where}: {len(set(names))} different names in {len(names)} lines; expected {count}. {layout.advice}"
        )
    return names
