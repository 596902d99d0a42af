import bz2
import contextlib
import gzip
import io
import lzma
import pickle
import tarfile
import tempfile
from pathlib import Path
from unittest import mock

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests.train import tiny_data
from train.data import archives, cifar_records
from train.errors import DataError


@pytest.fixture(autouse=True)
def tiny_layouts(monkeypatch):
    monkeypatch.setattr(cifar_records, "LAYOUTS", tiny_data.LAYOUTS)


def read(data: bytes, folder: Path, name="archive.tar.gz"):
    path = folder / name
    path.write_bytes(data)
    return archives.read_archive(path)


def check(records, layout, files):
    dataset = records.dataset("name")
    train = b"".join(files[name] for name in layout.train_files)
    test = files[layout.test_files[0]]
    fine = len(layout.label_keys) - 1
    np.testing.assert_array_equal(dataset.train_images, tiny_data.expected_images(train, layout))
    np.testing.assert_array_equal(dataset.test_images, tiny_data.expected_images(test, layout))
    np.testing.assert_array_equal(dataset.train_labels, [*train[fine :: layout.record_bytes]])
    np.testing.assert_array_equal(dataset.test_labels, [*test[fine :: layout.record_bytes]])
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int32
    assert dataset.class_names == tuple(f"label_{i}" for i in range(layout.label_counts[-1]))


@pytest.mark.parametrize("layout", tiny_data.LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("prefix", ["", "./"])
def test_archive(tmp_path, layout, prefix):
    members = {prefix + name: data for name, data in tiny_data.members(layout).items()}
    check(read(tiny_data.tar(members), tmp_path), layout, tiny_data.files(layout))


@pytest.mark.parametrize("layout", tiny_data.LAYOUTS, ids=lambda layout: layout.name)
def test_archive_that_a_browser_decompressed(tmp_path, layout):
    check(read(tiny_data.tar(tiny_data.members(layout), mode="w"), tmp_path), layout, tiny_data.files(layout))


def test_cut_archive_that_a_browser_decompressed(tmp_path):
    data = tiny_data.tar(tiny_data.members(tiny_data.CIFAR10), mode="w")
    with pytest.raises(DataError, match=r"not a whole \.tar archive: unexpected end of data"):
        read(data[:50_000], tmp_path)


@pytest.mark.parametrize("layout", tiny_data.LAYOUTS, ids=lambda layout: layout.name)
def test_folder(tmp_path, layout):
    folder = tiny_data.write_folder(tmp_path, layout, tiny_data.files(layout))
    assert archives.binary_folder(folder) == archives.binary_folder(tmp_path) == (layout, folder)
    check(archives.read_folder(layout, folder), layout, tiny_data.files(layout))


def test_official_sizes(monkeypatch):
    monkeypatch.undo()
    cifar10, cifar100 = cifar_records.LAYOUTS
    cifar10.check_size("data_batch_3.bin", 10_000 * 3_073, "here")
    cifar100.check_size("train.bin", 50_000 * 3_074, "here")
    cifar100.check_size("test.bin", 10_000 * 3_074, "here")
    with pytest.raises(DataError, match=r"30,729,999 bytes.*expected 30,730,000.*10,000 records"):
        cifar10.check_size("test_batch.bin", 10_000 * 3_073 - 1, "here")


def test_folder_of_images_is_no_binary_folder(tmp_path):
    assert archives.binary_folder(tmp_path) is None


def test_two_data_sets_in_a_folder(tmp_path):
    for layout in tiny_data.LAYOUTS:
        tiny_data.write_folder(tmp_path, layout, {})
    with pytest.raises(DataError, match="cifar-10-batches-bin and cifar-100-binary"):
        archives.binary_folder(tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("data_batch_2.bin", lambda data: data[:-1], "expected 12,292 bytes: 4 records of 3,073"),
        ("data_batch_2.bin", lambda data: data + data[:3073], r"5 records and 0 bytes.*expected"),
        ("test_batch.bin", lambda data: b"\x0a" + data[1:], "label 10; expected 0 to 9"),
        ("batches.meta.txt", lambda data: data + b"more\n", "11 different names.*expected 10"),
        ("batches.meta.txt", lambda data: data.replace(b"_1", b"_0"), "9 different names in 10"),
        ("batches.meta.txt", lambda data: b"\xff" + data, "not text"),
        ("batches.meta.txt", lambda data: data * 9999, "short list of names"),
    ],
)
def test_wrong_file(tmp_path, file, change, message):
    layout = tiny_data.CIFAR10
    contents = tiny_data.files(layout)
    contents[file] = change(contents[file])
    folder = tiny_data.write_folder(tmp_path, layout, contents)
    packed = tiny_data.tar({f"{layout.folder}/{name}": data for name, data in contents.items()})
    with pytest.raises(DataError, match=message):
        read(packed, tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        archives.read_folder(layout, folder)
    assert str(tmp_path) in str(caught.value)
    assert layout.url in str(caught.value)


def test_inconsistent_superclass(tmp_path):
    layout = tiny_data.CIFAR100
    contents = tiny_data.files(layout)
    fine = contents["train.bin"][1]
    contents["test.bin"] = bytes([(fine // 5 + 1) % 20, fine]) + contents["test.bin"][2:]
    folder = tiny_data.write_folder(tmp_path, layout, contents)
    with pytest.raises(DataError, match=f"class {fine} are in several superclasses"):
        archives.read_folder(layout, folder)


@pytest.mark.parametrize("file", tiny_data.CIFAR100.files)
def test_missing_file(tmp_path, file):
    layout = tiny_data.CIFAR100
    folder = tiny_data.write_folder(tmp_path, layout, tiny_data.files(layout))
    (folder / file).unlink()
    with pytest.raises(DataError, match=f"{file}: no such file"):
        archives.read_folder(layout, folder)
    members = tiny_data.members(layout)
    del members[f"{layout.folder}/{file}"]
    with pytest.raises(DataError, match=f"{file} missing"):
        read(tiny_data.tar(members), tmp_path)


def test_foreign_archives(tmp_path):
    with pytest.raises(DataError, match="no known data set"):
        read(tiny_data.tar({"data.bin": b"1"}), tmp_path)
    with pytest.raises(DataError, match="two data sets"):
        read(
            tiny_data.tar(dict(item for x in tiny_data.LAYOUTS for item in [*tiny_data.members(x).items()])),
            tmp_path,
        )
    with pytest.raises(DataError, match=r"not a \.tar\.gz or \.tar archive: it is empty.*fetch it again"):
        read(b"", tmp_path)
    with pytest.raises(DataError, match=r"it begins with b'<!DOCTYP'.*Check the path"):
        read(b"<!DOCTYPE html>", tmp_path)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"PK\x03\x04" + bytes(99), ".zip"),
        (bz2.compress(tiny_data.tar(tiny_data.members(tiny_data.CIFAR10), mode="w"), 1), ".bz2"),
        (lzma.compress(b"tar"), ".xz"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(99), ".7z"),
        (b"Rar!\x1a\x07" + bytes(99), ".rar"),
        (b"\x28\xb5\x2f\xfd" + bytes(99), ".zst"),
    ],
)
def test_other_archives_are_to_be_unpacked(tmp_path, data, kind):
    with pytest.raises(DataError, match=rf"a \{kind} archive; .*Unpack it, and pass the folder") as error:
        read(data, tmp_path)
    assert "etch" not in str(error.value)


def test_images_in_an_archive_are_to_be_unpacked(tmp_path):
    for mode in ("w", "w:gz"):
        with pytest.raises(DataError, match="archive of images, unpack it and pass the folder"):
            read(tiny_data.tar({"pets/cat/0.png": b"1"}, mode), tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_link_or_device_for_a_file(tmp_path, kind):
    secret = tmp_path / "secret"
    secret.write_bytes(tiny_data.files(tiny_data.CIFAR10)["test_batch.bin"])
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        member.type, member.linkname = kind, str(secret)
        archive.addfile(member)
    with pytest.raises(DataError, match=r"test_batch\.bin: a link, a device"):
        read(buffer.getvalue(), tmp_path)


def test_unsafe_members_are_neither_written_nor_opened(tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(pickle.dumps(0))  # Were it opened, it would be refused as a pickle.
    members = {str(outside): b"new", "../escaped": b"new", **tiny_data.members(tiny_data.CIFAR10)}
    folder = tmp_path / "folder"
    folder.mkdir()
    read(tiny_data.tar(members), folder)
    assert outside.read_bytes() == pickle.dumps(0)
    assert sorted(tmp_path.rglob("*")) == [folder, folder / "archive.tar.gz", outside]


def test_second_copy_of_a_member(tmp_path):
    members = tiny_data.members(tiny_data.CIFAR10)
    twice = {**members, **{f"./{name}": data for name, data in members.items()}}
    with pytest.raises(DataError, match="second copy"):
        read(tiny_data.tar(twice), tmp_path)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("data_batch_1", pickle.dumps({"data": 0}, protocol=2)),
        ("cifar-10-python.tar.gz", b""),
        ("renamed.tar.gz", tiny_data.tar({"cifar-10-batches-py/data_batch_1": b"1"})),
        ("renamed.tar.gz", tiny_data.tar({"./cifar-100-python/train": b"1"})),
        ("renamed.tar.gz", tiny_data.tar({"data/train.pkl": b"1"})),
    ],
)
def test_pickles_are_refused(tmp_path, name, data):
    with pytest.raises(DataError, match=r"runs any code.*cifar-10-binary\.tar\.gz"):
        read(data, tmp_path, name)


def test_unreadable_paths(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        archives.read_archive(tmp_path / "missing.tar.gz")
    with pytest.raises(DataError, match="a folder, a pipe or a device"):
        archives.read_archive(tmp_path)


@st.composite
def damages(draw, data: bytes) -> bytes:
    """The data cut short, with bytes changed, or with foreign bytes put in."""
    at = draw(st.integers(0, len(data) - 1))
    kind = draw(st.sampled_from(["cut", "flip", "insert", "remove"]))
    if kind == "cut":
        return data[:at]
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ draw(st.integers(1, 255))]) + data[at + 1 :]
    if kind == "insert":
        return data[:at] + draw(st.binary(min_size=1, max_size=600)) + data[at:]
    return data[:at] + data[at + draw(st.integers(1, 2000)) :]


PLAIN = tiny_data.tar(tiny_data.members(tiny_data.CIFAR100), mode="w")
PACKED = gzip.compress(PLAIN, mtime=0)


def outcome(data: bytes):
    """The records in an archive, or None if it is refused."""
    tiny = mock.patch.object(cifar_records, "LAYOUTS", tiny_data.LAYOUTS)
    with tiny, tempfile.TemporaryDirectory() as folder, contextlib.suppress(DataError):
        return read(data, Path(folder))
    return None


@hypothesis.settings(max_examples=200)
@hypothesis.given(damages(PACKED))
def test_damaged_archive_is_refused_or_unharmed(data):
    records = outcome(data)
    if records is not None:
        check(records, tiny_data.CIFAR100, tiny_data.files(tiny_data.CIFAR100))


@hypothesis.settings(max_examples=200)
@hypothesis.given(damages(PLAIN))
def test_foreign_contents_are_refused_or_valid(data):
    records = outcome(gzip.compress(data, 1))
    if records is not None:
        dataset = records.dataset("name")
        assert dataset.train_images.shape == (20, 32, 32, 3)
        assert dataset.test_images.shape == (6, 32, 32, 3)
        assert 0 <= dataset.train_labels.min() <= dataset.train_labels.max() < 100
        assert dataset.num_classes == 100


@hypothesis.given(st.binary(max_size=2000))
def test_foreign_bytes_are_refused(data):
    assert outcome(data) is None
    assert outcome(gzip.compress(data)) is None


@hypothesis.settings(max_examples=60)
@hypothesis.given(st.sampled_from(tiny_data.CIFAR100.files), st.data())
def test_damaged_folder_is_refused_or_valid(file, data):
    layout = tiny_data.CIFAR100
    contents = tiny_data.files(layout)
    contents[file] = data.draw(damages(contents[file]))
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(DataError):
        path = tiny_data.write_folder(Path(folder), layout, contents)
        records = archives.read_folder(layout, path)
        assert records.train.tobytes() == contents["train.bin"]
        assert records.test.tobytes() == contents["test.bin"]
