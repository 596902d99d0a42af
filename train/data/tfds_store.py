"""Finds the data sets that TFDS has prepared, downloads and prepares others, and imports local files.

Importing this module imports tensorflow_datasets, which takes a while.
"""

import contextlib
import difflib
import hashlib
import io
import logging
import re
import sys
import tempfile
import unicodedata
from pathlib import Path

import requests
import tensorflow_datasets as tfds
from google.protobuf import json_format  # type: ignore[import-untyped]

# TFDS raises this error, but has no public name for it.
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

from train.data.dataset import Dataset
from train.data.tfds_builders import FORMAT, OFFICIAL, Imported
from train.errors import DataError
from train.files import require_writable

# The errors of TFDS, protocol buffers, array_record and Pillow for damaged files.
UNREADABLE = (OSError, ValueError, RuntimeError, json_format.Error)

_PROBE_SECONDS = 15

_logger = logging.getLogger(__name__)


def find_or_prepare(name: str, data_dir: Path) -> str:
    """Prepares a data set if necessary, and returns the name under which TFDS finds it.

    A prepared set or import of this name takes precedence. For `cifar10` and `cifar100`, an import that is called
    `cifar10_local` or `cifar100_local` comes next. If there is none, TFDS downloads and prepares the set.

    Args:
      name: A name in TFDS, or of an import.
      data_dir: The folder of prepared data.

    Raises:
      DataError: If there is no such set, or it cannot be prepared here.
    """
    builder = _builder(name, data_dir)
    if is_prepared(builder):
        return name
    if builder.name in OFFICIAL:
        local = f"{builder.name}_local"
        if (data_dir / local / str(Imported.VERSION) / "dataset_info.json").is_file():
            _logger.info("%s is not prepared: taking %s, imported from local files", name, local)
            return local
        builder = OFFICIAL[builder.name](data_dir=data_dir)
    _prepare(builder)
    return name


def is_prepared(builder: tfds.core.DatasetBuilder) -> bool:
    """Returns whether a builder's data are complete: TFDS moves the folder into place after writing everything."""
    return (Path(builder.data_dir) / "dataset_info.json").is_file()


def official(archive: Path, data_dir: Path) -> str | None:
    """Prepares TFDS's own set if a file is identical to the archive that TFDS would download.

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


def require_importable(name: str | None, data_dir: Path) -> None:
    """Checks that an import can be stored, before its files are read.

    Args:
      name: The name of the import; None if the name is known to be valid.
      data_dir: The folder of prepared data.

    Raises:
      DataError: If the name is impossible, or belongs to another data set.
      LocationError: If the folder cannot be written.
    """
    if name is not None:
        if not re.fullmatch("[a-z][a-z0-9_]*", name):
            raise DataError(
                f"{name!r}: cannot be the name of a data set; expected lower-case letters, digits and underscores, a "
                f"letter first. Choose another with --name, such as --name {_possible_name(name)}."
            )
        if name == "digits" or name in tfds.list_builders(with_community_datasets=False):
            raise DataError(
                f"{name}: a known data set has this name. Choose another with --name, such as --name my_{name}."
            )
        _require_import(data_dir / name)
    require_writable(data_dir, "--data-dir")


def import_dataset(dataset: Dataset, origin: str, data_dir: Path) -> None:
    """Prepares a data set under its name, and replaces an earlier import with that name.

    Raises:
      DataError: If the name is impossible or belongs to another set, or if the files cannot be written. An earlier
        import is kept then.
      LocationError: If the folder cannot be written.
    """
    require_importable(dataset.name, data_dir)
    target = data_dir / dataset.name
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        _show_progress_on_terminals_only()
        with tempfile.TemporaryDirectory(prefix=".importing-", dir=data_dir) as staging:
            builder = Imported(dataset, origin=origin, data_dir=staging)
            with contextlib.redirect_stdout(io.StringIO()):  # TFDS would print that it is downloading.
                builder.download_and_prepare(file_format=FORMAT)
            _swap(Path(staging) / dataset.name, target)
    except OSError as error:
        raise DataError(f"{target}: cannot be written: {error}. Check the path and the space left.") from error


def _swap(new: Path, target: Path) -> None:
    """Move a complete folder to its place. A folder that was there moves beside the new one's old place."""
    aside = new.with_name(f"{new.name}.old")
    there = target.exists()
    if there:
        target.rename(aside)
    try:
        new.rename(target)
    except OSError:
        if there:
            aside.rename(target)
        raise


def _possible_name(name: str) -> str:
    """A name similar to the given one, with only the characters that `require_importable` accepts."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", ascii_name).lstrip("_0123456789").rstrip("_") or "my_images"


def _require_import(folder: Path) -> None:
    """Raises DataError if a folder contains anything but an import of local files."""
    try:
        for path in folder.iterdir() if folder.exists() else ():
            info = path / "dataset_info.json"
            if not info.is_file() or Imported.__module__ not in info.read_text(errors="replace"):
                raise DataError(
                    f"{path}: not an import of this program, and would be replaced. Choose another name with --name, "
                    "or another --data-dir."
                )
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error}. Choose another name with --name.") from error


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal.

    Raises:
      DataError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}. Check the path and its permissions.") from error


def _builder(name: str, data_dir: Path) -> tfds.core.DatasetBuilder:
    base = re.split("[/:]", name)[0]
    prepared = data_dir / base
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise DataError(
            f"{name}: no such data set.{_suggestion(name, data_dir)} `python -m train data ARCHIVE_OR_FOLDER` imports "
            "local files."
        ) from error
    except (*UNREADABLE, TypeError, AssertionError, ImportError) as error:
        reason, *_ = str(error).splitlines() or [type(error).__name__]
        raise DataError(
            f"{name!r}: TFDS cannot open it ({reason}).{_suggestion(name, data_dir)} Expected the name of a data set. "
            + (
                f"If the files in {prepared} are damaged, move them elsewhere and prepare the set again."
                if base.isidentifier() and prepared.is_dir()
                else "`python -m train data ARCHIVE_OR_FOLDER` imports local files."
            )
        ) from error
    # TFDS also accepts `Cifar10`, but records and checkpoints use one name per data set.
    if base != base.lower():
        raise DataError(f"{name}: no such data set. Did you mean {builder.name}{name.removeprefix(base)}?")
    return builder


def _suggestion(name: str, data_dir: Path) -> str:
    """The question whether a similar name was meant; empty if there is none."""

    def bare(word: str) -> str:
        return re.sub(r"[^a-z0-9]", "", word.lower())

    imports = [path.parent.parent.name for path in data_dir.glob("*/*/dataset_info.json")]
    known = ["digits", *imports, *tfds.list_builders(with_community_datasets=False)]
    if name in known:
        return ""
    near = [word for word in known if bare(word) == bare(name)] or difflib.get_close_matches(name.lower(), known)
    return f" Did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""


def _prepare(builder: tfds.core.DatasetBuilder, manual_dir: Path | None = None) -> None:
    """Prepares one of TFDS's own sets, from a folder with its archive or by downloading."""
    if manual_dir is None:
        _require_source(builder)
    _show_progress_on_terminals_only()
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
        # Network errors are OSErrors; a file that has to be fetched by hand and is missing is an assertion.
        if not is_prepared(builder):  # Otherwise another process was faster.
            raise DataError(f"{builder.name}: cannot be prepared in {builder.data_dir_root}: {error}") from error


def _show_progress_on_terminals_only() -> None:
    """Keep the bars of TFDS, which move the cursor, out of files."""
    tfds.display_progress_bar(sys.stderr.isatty())


def _require_source(builder: tfds.core.DatasetBuilder) -> None:
    """Raises DataError at once if the server of a missing download is unreachable. TFDS would retry for minutes."""
    downloads = Path(builder.data_dir_root) / "downloads"
    # TFDS stores the source next to each download.
    notes = [path.read_text(errors="replace") for path in downloads.rglob("*.INFO")]
    for url, info in (builder.url_infos or {}).items():
        cached = any(f'"{url}"' in note for note in notes)
        if cached or (downloads / "manual" / str(info.filename)).is_file():
            continue
        try:
            requests.head(url, timeout=_PROBE_SECONDS)
        except requests.RequestException as error:
            raise DataError(
                f"{builder.name}: not prepared in {builder.data_dir_root}, and {url} cannot be reached "
                f"({type(error).__name__}). Fetch it on a machine with a network and import it with `python -m train "
                "data ARCHIVE_OR_FOLDER`, or pass the folder of the prepared data with --data-dir."
            ) from error
        return  # One reachable server is enough.
