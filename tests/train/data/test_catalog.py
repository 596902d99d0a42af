import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from tensorflow_datasets.core.download import checksums

from tests.train import tiny_data
from train import data
from train.data import cifar_records, tfds_builders, tfds_reader
from train.data.dataset import stratified_split


@pytest.fixture(autouse=True)
def tiny_layouts(monkeypatch):
    monkeypatch.setattr(cifar_records, "LAYOUTS", tiny_data.LAYOUTS)


def assert_equal(dataset: data.Dataset, expected: data.Dataset):
    for field in ("train_images", "train_labels", "test_images", "test_labels"):
        actual = getattr(dataset, field)
        np.testing.assert_array_equal(actual, getattr(expected, field))
        assert actual.dtype == getattr(expected, field).dtype
    assert dataset.class_names == expected.class_names


def test_digits():
    digits = data.load("digits")
    assert digits.name == "digits"
    assert digits.train_images.shape == (1437, 8, 8, 1)
    assert digits.test_images.shape == (360, 8, 8, 1)
    assert digits.train_images.dtype == digits.test_images.dtype == np.uint8
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.int32
    assert (digits.train_images.min(), digits.train_images.max()) == (0, 255)
    assert (digits.num_classes, digits.image_shape) == (10, (8, 8, 1))
    assert set(np.bincount(digits.test_labels)) <= {35, 36, 37}


def test_digits_never_change():
    digits = data.load("digits")
    digest = hashlib.sha256()
    for array in (digits.train_images, digits.test_images):
        digest.update(array.tobytes())
    for array in (digits.train_labels, digits.test_labels):
        digest.update(array.astype("<i4").tobytes())
    assert digest.hexdigest() == "69107157aefb266e727d8420dd9f70db994c5dfa98f20425c3fbaefc02ae095c"


def test_stratified_split():
    train, test = stratified_split(np.array([1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]))
    # By class: 1 3 5 7 9 | 0 2 4 6 8 10; each fifth of these, from the first on.
    np.testing.assert_array_equal(test, [0, 1, 10])
    np.testing.assert_array_equal(train, [2, 3, 4, 5, 6, 7, 8, 9])


def test_import_is_light():
    code = "import sys, train.data; print({'tensorflow_datasets', 'sklearn', 'PIL'} & {*sys.modules})"
    root = Path(data.__file__).parents[2]
    output = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert output.stdout == "set()\n"


@pytest.mark.parametrize("layout", tiny_data.LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("kind", ["archive", "tar", "folder", "parent", "grandparent"])
def test_prepared_cifar_is_loaded(tmp_path, layout, kind, caplog):
    folder = tiny_data.write_folder(tmp_path / "unpacked/twice", layout, tiny_data.files(layout))
    source = {
        "archive": tmp_path / "somewhere.tar.gz",
        "tar": tmp_path / "somewhere.tar",
        "folder": folder,
        "parent": folder.parent,
        "grandparent": folder.parent.parent,
    }[kind]
    if not source.exists():
        source.write_bytes(tiny_data.tar(tiny_data.members(layout), "w:gz" if kind == "archive" else "w"))

    assert data.prepare(source, tmp_path / "tfds") == layout.name
    with caplog.at_level(logging.INFO):
        dataset = data.load(layout.name, tmp_path / "tfds")
    assert dataset.name == f"{layout.local_name}/1.0.0"
    assert f"taking {layout.local_name}" in caplog.text
    fine = len(layout.label_keys) - 1
    train = b"".join(tiny_data.files(layout)[name] for name in layout.train_files)
    np.testing.assert_array_equal(dataset.train_images, tiny_data.expected_images(train, layout))
    np.testing.assert_array_equal(dataset.train_labels, [*train[fine :: layout.record_bytes]])
    assert_equal(data.load(layout.local_name, tmp_path / "tfds"), dataset)


def test_stock_set_comes_before_the_import(tmp_path, monkeypatch):
    layout = tiny_data.CIFAR10
    archive = tmp_path / layout.archive
    archive.write_bytes(tiny_data.tar(tiny_data.members(layout)))
    assert data.prepare(archive, tmp_path) == "cifar10"
    imported = data.load("cifar10", tmp_path)
    assert imported.name == "cifar10_local/1.0.0"

    # From here on the archive is, to the bit, what TFDS would download.
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    info = checksums.UrlInfo(archive.stat().st_size, digest, layout.archive)
    monkeypatch.setattr(tfds_builders.Cifar10, "url_infos", {layout.url: info})
    assert data.prepare(archive, tmp_path) == "cifar10"
    stock = data.load("cifar10", tmp_path)
    assert stock.name == "cifar10/3.0.2"
    order = np.lexsort(stock.train_images.reshape(20, -1).T)
    imported_order = np.lexsort(imported.train_images.reshape(20, -1).T)
    for field in ("train_images", "train_labels"):
        np.testing.assert_array_equal(getattr(stock, field)[order], getattr(imported, field)[imported_order])

    folder = tiny_data.write_folder(tmp_path, layout, tiny_data.files(layout))
    assert data.prepare(folder, tmp_path) == "cifar10_local"
    assert_equal(data.load("cifar10_local", tmp_path), imported)


def test_default_data_dir(tmp_path):
    # TFDS reads the variable once, when it is imported.
    folder = tmp_path / "letters"
    tiny_data.write_images(folder / "a", 5)
    tiny_data.write_images(folder / "b", 5)
    code = f"""if True:
        from pathlib import Path
        from train import data
        print(data.load(data.prepare(Path({str(folder)!r}))).name)"""
    environment = {**os.environ, "TFDS_DATA_DIR": str(tmp_path / "tfds")}
    root = Path(data.__file__).parents[2]
    output = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert output.stdout == "letters/1.0.0\n"
    assert (tmp_path / "tfds/letters/1.0.0/dataset_info.json").is_file()


@pytest.fixture
def letters(tmp_path):
    """A prepared folder of images."""
    tiny_data.write_images(tmp_path / "My Letters/a", 6, "L")
    tiny_data.write_images(tmp_path / "My Letters/b", 5, "L")
    assert data.prepare(tmp_path / "My Letters", tmp_path) == "my_letters"
    return tmp_path


def test_folder_of_images(letters):
    dataset = data.load("my_letters", letters)
    assert dataset.name == "my_letters/1.0.0"
    assert dataset.class_names == ("a", "b")
    assert dataset.image_shape == (4, 5, 1)
    np.testing.assert_array_equal(dataset.train_labels, [0] * 4 + [1] * 4)
    assert len(dataset.test_images) == 3


def test_name_for_an_import(tmp_path, letters):
    assert data.prepare(letters / "My Letters", letters, name="alphabet") == "alphabet"
    assert_equal(data.load("alphabet", letters), data.load("my_letters", letters))
    layout = tiny_data.CIFAR10
    folder = tiny_data.write_folder(tmp_path, layout, tiny_data.files(layout))
    assert data.prepare(folder, tmp_path, name="mine") == "mine"
    assert data.load("mine", tmp_path).num_classes == 10


def test_fingerprint_in_memory_and_streamed(letters):
    dataset, source = data.load("my_letters", letters), data.open_source("my_letters", letters)
    assert dataset.fingerprint.startswith(source.fingerprint)

    # The same pixels in another compression, then other pixels.
    for path in (letters / "My Letters").glob("*/*.png"):
        with Image.open(path) as image:
            image.load()
        image.save(path, compress_level=0)
    data.prepare(letters / "My Letters", letters, name="same")
    assert data.load("same", letters).fingerprint == dataset.fingerprint
    assert data.open_source("same", letters).fingerprint == source.fingerprint
    Image.new("L", (5, 4)).save(letters / "My Letters/b/03.png")
    data.prepare(letters / "My Letters", letters)
    assert data.load("my_letters", letters).fingerprint != dataset.fingerprint
    assert data.open_source("my_letters", letters).fingerprint != source.fingerprint


def test_training_images_only(letters, monkeypatch):
    generators = tfds_builders.Imported._split_generators
    monkeypatch.setattr(
        tfds_builders.Imported, "_split_generators", lambda *args: {"train": generators(*args)["train"]}
    )
    data.prepare(letters / "My Letters", letters, name="halved")
    for read in (data.load, data.open_source):
        with pytest.raises(data.DataError, match="halved: its splits are train; expected train, and test or val"):
            read("halved", letters)


def test_decoding_happens_once(letters, monkeypatch):
    first = data.load("my_letters", letters)
    monkeypatch.setattr(tfds_reader._PreparedSplit, "read", None)
    assert_equal(data.load("my_letters", letters), first)


def test_damaged_cache_is_rebuilt(letters):
    first = data.load("my_letters", letters)
    cache = letters / "my_letters/1.0.0/decoded_arrays.bin"
    whole = cache.read_bytes()
    cache.write_bytes(whole[:-1] + b"?")
    assert_equal(data.load("my_letters", letters), first)
    assert cache.read_bytes() == whole


def test_stale_cache_is_rebuilt(letters):
    data.load("my_letters", letters)
    cache = letters / "my_letters/1.0.0/decoded_arrays.bin"
    stale = cache.read_bytes()
    tiny_data.write_images(letters / "My Letters/a", 9, "L")
    data.prepare(letters / "My Letters", letters)
    cache.write_bytes(stale)
    assert len(data.load("my_letters", letters).train_images) == 11
    assert cache.read_bytes() != stale


def test_cache_that_cannot_be_written(letters, monkeypatch, caplog):
    first = data.load("my_letters", letters)
    cache = letters / "my_letters/1.0.0/decoded_arrays.bin"
    cache.unlink()

    def fail(*args):
        raise PermissionError("read-only")

    monkeypatch.setattr(tfds_reader.array_cache, "write", fail)
    assert_equal(data.load("my_letters", letters), first)
    assert "decoding is repeated" in caplog.text


@pytest.mark.parametrize("pattern", ["dataset_info.json", "features.json", "*train.array_record*"])
@pytest.mark.parametrize("length", [0, 100, None])
def test_damaged_prepared_files(letters, pattern, length):
    (path,) = (letters / "my_letters/1.0.0").glob(pattern)
    if length is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(data.DataError, match="my_letters"):
        data.load("my_letters", letters)


def test_prepared_in_another_format(tmp_path):
    (tmp_path / "mnist/3.0.1").mkdir(parents=True)
    (tmp_path / "mnist/3.0.1/dataset_info.json").write_text(
        '{"name": "mnist", "version": "3.0.1", "fileFormat": "tfrecord"}'
    )
    with pytest.raises(data.DataError, match=r"mnist.*TFRECORD"):
        data.load("mnist", tmp_path)


def test_no_network(tmp_path, monkeypatch):
    def fail(url, **kwargs):
        raise requests.ConnectionError(url)

    monkeypatch.setattr(requests, "head", fail)
    with pytest.raises(data.DataError, match=r"cifar-100-binary\.tar\.gz cannot be reached"):
        data.load("cifar100", tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(data.DataError, match="no such file or folder"):
        data.prepare(tmp_path / "missing", tmp_path)


def test_refused_source_changes_nothing(letters):
    before = data.load("my_letters", letters)
    (letters / "My Letters/b/00.png").write_bytes(b"damaged")
    with pytest.raises(data.DataError, match=r"00\.png"):
        data.prepare(letters / "My Letters", letters)
    assert_equal(data.load("my_letters", letters), before)
