"""What TFDS has prepared, and where: finds it, downloads it, or imports it from local files.

Importing this module imports tensorflow_datasets, which takes a while.
"""

import contextlib
import difflib
import hashlib
import io
import logging
import shutil
import tempfile
from pathlib import Path

import requests
import tensorflow_datasets as tfds
from google.protobuf import json_format  # type: ignore[import-untyped]
from tensorflow_datasets.core import constants
from tensorflow_datasets.core.download import resource
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

from train.data.dataset import Dataset
from train.data.tfds_builders import FORMAT, OFFICIAL, Imported
from train.errors import DataError

# What TFDS, protocol buffers, array_record and Pillow raise for damaged files.
UNREADABLE = (OSError, ValueError, RuntimeError, json_format.Error)

_PROBE_SECONDS = 15

_logger = logging.getLogger(__name__)


def find_or_prepare(name: str, data_dir: Path | None) -> str:
    """The TFDS name of a data set that is prepared by the time this returns.

    What TFDS itself calls by the name comes first; then what was imported from local files in its
    place; then TFDS downloads and prepares.

    Args:
      name: a TFDS name, or that of an import.
      data_dir: where prepared data are; None for TFDS's default.

    Raises:
      DataError: if there is no such set, or it cannot be prepared here.
    """
    builder = _builder(name, data_dir)
    if is_prepared(builder):
        return name
    if builder.name in OFFICIAL:
        local = f"{builder.name}_local"
        folder = Path(builder.data_dir_root) / local / str(Imported.VERSION)
        if (folder / "dataset_info.json").is_file():
            _logger.info("%s is not prepared: taking %s, imported from local files", name, local)
            return local
        builder = OFFICIAL[builder.name](data_dir=builder.data_dir_root)
    _prepare(builder)
    return name


def is_prepared(builder: tfds.core.DatasetBuilder) -> bool:
    """Whether a builder's data are there: TFDS moves its folder into place when all is written."""
    return (Path(builder.data_dir) / "dataset_info.json").is_file()


def official(archive: Path, data_dir: Path | None) -> str | None:
    """Prepares TFDS's own set if a file is, to the bit, the archive that it would download.

    Returns:
      The name of the set, or None if the file is another one.
    """
    for name, builder_class in OFFICIAL.items():
        ((_, expected),) = builder_class.url_infos.items()
        if archive.name == expected.filename and sha256(archive) == expected.checksum:
            builder = builder_class(data_dir=data_dir)
            if not is_prepared(builder):
                _prepare(builder, manual_dir=archive.parent)
            return name
    return None


def import_dataset(dataset: Dataset, origin: str, data_dir: Path | None) -> None:
    """Prepares a data set under its own name, in place of an earlier import of that name.

    Raises:
      DataError: if the name cannot be one or is that of another set, or if the files cannot be
        written. What was there before is unharmed then.
    """
    if dataset.name == "digits" or dataset.name in tfds.list_builders(with_community_datasets=False):
        raise DataError(f"{dataset.name}: a known data set has this name. Choose another.")
    if not (dataset.name.isascii() and dataset.name.isidentifier() and dataset.name.islower()):
        raise DataError(
            f"{dataset.name!r}: cannot be the name of a data set; expected lower-case letters, "
            "digits and underscores, a letter first. Choose another."
        )
    root = Path(constants.DATA_DIR).expanduser() if data_dir is None else data_dir
    target = root / dataset.name
    try:
        _require_import(target)
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".importing-", dir=root) as staging:
            builder = Imported(dataset, origin=origin, data_dir=staging)
            with contextlib.redirect_stdout(io.StringIO()):  # TFDS would speak of a download.
                builder.download_and_prepare(file_format=FORMAT)
            # Only now, with the new data whole, do the old ones go.
            if target.exists():
                shutil.rmtree(target)
            (Path(staging) / dataset.name).rename(target)
    except OSError as error:
        raise DataError(f"{target}: cannot be written: {error}.") from error


def _require_import(folder: Path) -> None:
    """Raises DataError if a folder holds anything but what was imported from here."""
    for path in folder.iterdir() if folder.exists() else ():
        info = path / "dataset_info.json"
        if not info.is_file() or Imported.__module__ not in info.read_text(errors="replace"):
            raise DataError(
                f"{path}: prepared by something else, or not data, and would be replaced; expected an earlier import. "
                "Choose another name, or remove the folder."
            )


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
      DataError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}.") from error


def _builder(name: str, data_dir: Path | None) -> tfds.core.DatasetBuilder:
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        near = difflib.get_close_matches(name, ["digits", *tfds.list_builders(with_community_datasets=False)])
        raise DataError(
            f"{name}: no such data set{': did you mean ' + ' or '.join(near) if near else ''}. "
            "`python -m train data ARCHIVE_OR_FOLDER` imports local files."
        ) from error
    except (*UNREADABLE, TypeError, AssertionError, ImportError) as error:
        reason, *_ = str(error).splitlines() or [type(error).__name__]
        raise DataError(
            f"{name!r}: TFDS cannot open it ({reason}). Expected the name of a data set, with "
            "intact files if it is prepared; if they are damaged, remove its folder and prepare it "
            "again."
        ) from error


def _prepare(builder: tfds.core.DatasetBuilder, manual_dir: Path | None = None) -> None:
    """Downloads, unless it is at hand, and prepares a set of TFDS's own."""
    if manual_dir is None:
        _require_source(builder)
    try:
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=manual_dir),
            file_format=FORMAT,
        )
    except ImportError as error:
        raise DataError(
            f"{builder.name}: TFDS needs a further package to prepare it: {error}. Install it "
            "(for TensorFlow: pip install tensorflow-cpu) for this one step, or import local files "
            "with `python -m train data FOLDER`."
        ) from error
    except NonMatchingChecksumError as error:
        raise DataError(f"{builder.name}: the download is damaged: {error}") from error
    except (OSError, AssertionError) as error:
        # Network errors are OSErrors; the lack of what has to be fetched by hand is an assertion.
        if not is_prepared(builder):  # Else another process was faster.
            raise DataError(f"{builder.name}: cannot be prepared: {error}") from error


def _require_source(builder: tfds.core.DatasetBuilder) -> None:
    """Raises DataError at once where TFDS would retry an unreachable server for minutes."""
    downloads = Path(builder.data_dir_root) / "downloads"
    for url, info in (builder.url_infos or {}).items():
        cached = any(downloads.rglob(resource.get_dl_fname(url, info.checksum)))
        if cached or (downloads / "manual" / str(info.filename)).is_file():
            continue
        try:
            requests.head(url, timeout=_PROBE_SECONDS)
        except requests.RequestException as error:
            raise DataError(
                f"{builder.name}: not prepared in {builder.data_dir_root}, and {url} cannot be "
                f"reached ({type(error).__name__}). Fetch it on a machine with a network and "
                "import it with `python -m train data ARCHIVE_OR_FOLDER`, or name the folder of "
                "the prepared data."
            ) from error
        return  # Reachable: one server is as good a sign as many.
