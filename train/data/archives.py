"""Reads the official CIFAR binary archives, packed or unpacked, and checks everything in them.

Members of an archive are read by name and never extracted. Nothing is ever unpickled.
"""

import gzip
import io
import tarfile
import zlib
from pathlib import Path, PurePath, PurePosixPath

from train.data import cifar_records
from train.data.cifar_records import Layout, Records
from train.errors import DataError

# The official archives unpack to 184 MB.
_MOST_BYTES = 1 << 29
# The first bytes of archives that are not read.
_OTHER_ARCHIVES = {
    b"PK\x03\x04": ".zip",
    b"BZh": ".bz2",
    b"\xfd7zXZ": ".xz",
    b"7z\xbc\xaf": ".7z",
    b"Rar!": ".rar",
    b"\x28\xb5\x2f\xfd": ".zst",
}
_UNPACK = "If it is one of these, fetch it again; if it is an archive of images, unpack it and pass the folder."
# The errors of gzip and tarfile for damaged archives. Nested headers recurse.
_DAMAGED = (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, ArithmeticError, LookupError, RecursionError)


def binary_folder(folder: Path) -> tuple[Layout, Path] | None:
    """Finds an unpacked official archive: a folder itself, or one of its subfolders.

    Returns:
      The layout and the path of the unpacked archive, or None if there is none.

    Raises:
      DataError: If the folder contains several.
    """
    found = [(layout, folder) for layout in cifar_records.LAYOUTS if folder.resolve().name == layout.folder]
    found = found or [
        (layout, folder / layout.folder) for layout in cifar_records.LAYOUTS if (folder / layout.folder).is_dir()
    ]
    if len(found) > 1:
        names = " and ".join(path.name for _, path in found)
        raise DataError(f"{folder}: contains {names}; expected one data set. Pass one of the two.")
    return found[0] if found else None


def read_folder(layout: Layout, folder: Path) -> Records:
    """Reads an unpacked official archive.

    Raises:
      DataError: If a file is missing, has another size, or contains impossible labels.
    """
    contents = {}
    for file in layout.files:
        path = folder / file
        try:
            if not path.is_file():
                raise DataError(f"{path}: no such file; expected {', '.join(layout.files)}. {layout.advice}")
            layout.check_size(file, path.stat().st_size, str(path))
            contents[file] = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error}. {layout.advice}") from error
    return cifar_records.parse(layout, contents, str(folder))


def read_archive(path: Path) -> Records:
    """Reads an official archive (.tar.gz, or the .tar that some browsers make of it), with any file name.

    Raises:
      DataError: If it is not such an archive, is damaged or incomplete, or contains impossible labels.
    """
    refuse_pickle(path)
    kind = _kind(path)
    try:
        with gzip.open(path) if kind == ".tar.gz" else path.open("rb") as file:
            stream = _Bounded(path, file)
            layout, contents = _read_members(path, stream)
            # The checksum is at the end of the archive, so read to the end to compare it.
            while stream.read(1 << 16):
                pass
    except DataError:
        raise
    except _DAMAGED as error:
        raise DataError(
            f"{path}: not a whole {kind} archive: {error!s:.100}. Expected {_official_archives()}; fetch it again."
        ) from error
    return cifar_records.parse(layout, contents, str(path))


def _kind(path: Path) -> str:
    """Returns `.tar.gz` or `.tar`, by the first bytes of a file.

    Raises:
      DataError: If it is neither. The message says what to do instead.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"\x1f\x8b"):
        return ".tar.gz"
    if head[257:262] == b"ustar":
        return ".tar"
    for magic, kind in _OTHER_ARCHIVES.items():
        if head.startswith(magic):
            raise DataError(
                f"{path}: a {kind} archive; expected a .tar.gz or .tar archive, or a folder. "
                "Unpack it, and pass the folder of images that comes out."
            )
    found = f"it begins with {head[:8]!r}" if head else "it is empty"
    raise DataError(
        f"{path}: not a .tar.gz or .tar archive: {found}. Expected {_official_archives()}, or a folder of images. "
        "Check the path. If it is one of these archives, fetch it again; if it contains other images, save each as a "
        "file in the folder of its class."
    )


def refuse_pickle(path: Path) -> None:
    """Raises DataError if a file is pickled data, judged by its name and its first bytes, or not a plain file."""
    try:
        # Opening a pipe would wait until something writes into it.
        if path.exists() and not path.is_file():
            raise DataError(
                f"{path}: a folder, a pipe or a device; expected a plain file. Check the path, or move it elsewhere."
            )
        with path.open("rb") as file:
            head = file.read(2)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error}. Expected a file that you may read; check the path."
        ) from error
    protocol_mark = len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5
    if protocol_mark or _has_pickle_name(path):
        raise _pickle_error(str(path))


def _has_pickle_name(path: PurePath) -> bool:
    return (
        path.suffix in (".pkl", ".pickle")
        or path.name in ("cifar-10-python.tar.gz", "cifar-100-python.tar.gz")
        or not {*path.parts}.isdisjoint(("cifar-10-batches-py", "cifar-100-python"))
    )


def _pickle_error(where: str) -> DataError:
    return DataError(
        f"{where}: pickled data; expected the binary version. Unpickling a foreign file runs "
        f"any code that is in it, so it is not read. Fetch {_official_archives()} instead."
    )


def _official_archives() -> str:
    return " or ".join(layout.url for layout in cifar_records.LAYOUTS)


class _Bounded(io.RawIOBase):
    """An unpacked stream of limited length, because a short archive may unpack to more than any disk can store."""

    def __init__(self, path: Path, stream: io.BufferedIOBase):
        self._path, self._stream, self._left = path, stream, _MOST_BYTES

    def read(self, size: int = -1) -> bytes:
        # Requested bytes count, because past the end tarfile continues to read until a declared size is reached.
        self._left -= size
        if self._left < 0:
            raise DataError(
                f"{self._path}: unpacks to, or declares, more than {_MOST_BYTES:,} bytes; expected "
                f"{_official_archives()}, which are smaller. {_UNPACK}"
            )
        return self._stream.read(size)


def _read_members(path: Path, stream: _Bounded) -> tuple[Layout, dict[str, bytes]]:
    """The layout of the archive and its needed members by file name, read in one pass."""
    wanted = {f"{layout.folder}/{file}": layout for layout in cifar_records.LAYOUTS for file in layout.files}
    found: dict[str, bytes] = {}
    layouts = set()
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if _has_pickle_name(PurePosixPath(member.name)):
                raise _pickle_error(f"{path}: {member.name!r:.100}")
            where = f"{path}/{member.name}"
            name = member.name.removeprefix("./")
            if name not in wanted:
                continue
            layout, file = wanted[name], PurePosixPath(name).name
            if not member.isreg() or file in found:
                raise DataError(f"{where}: a link, a device or a second copy; expected one plain file. {layout.advice}")
            layouts.add(layout)
            layout.check_size(file, member.size, where)
            data = archive.extractfile(member)
            found[file] = b"" if data is None else data.read()
    if len(layouts) != 1:
        raise DataError(
            f"{path}: {'two data sets' if layouts else 'no known data set'} in the archive; "
            f"expected {_official_archives()}. {_UNPACK}"
        )
    return layouts.pop(), found
