import re
from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds

from tests.train import tiny_data
from train.data import cifar_records, tfds_builders, tfds_store
from train.data.dataset import Dataset
from train.errors import DataError, LocationError


@pytest.fixture(autouse=True)
def tiny_layouts(monkeypatch):
    monkeypatch.setattr(cifar_records, "LAYOUTS", tiny_data.LAYOUTS)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def fail(url, **kwargs):
        raise requests.ConnectionError(url)

    monkeypatch.setattr(requests, "head", fail)


def test_downloaded_set_is_prepared_once(tmp_path):
    layout = tiny_data.CIFAR10
    download = tiny_data.plant_download(tmp_path, layout, tiny_data.tar(tiny_data.members(layout)))
    assert tfds_store.find_or_prepare("cifar10", tmp_path) == "cifar10"
    download.unlink()
    assert tfds_store.find_or_prepare("cifar10", tmp_path) == "cifar10"


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_unreachable_server_is_reported_at_once(tmp_path, name):
    with pytest.raises(DataError, match=r"cannot be reached.*python -m train data ARCHIVE"):
        tfds_store.find_or_prepare(name, tmp_path)
    assert not [*tmp_path.rglob("*")]


def test_downloaded_files_need_no_network(tmp_path, monkeypatch):
    plant = tiny_data.plant_download(tmp_path, tiny_data.CIFAR10, b"")
    builder = tfds_builders.Cifar10(data_dir=tmp_path)
    tfds_store._require_source(builder)
    plant.with_name(plant.name + ".INFO").unlink()
    with pytest.raises(DataError, match="cannot be reached"):
        tfds_store._require_source(builder)


def test_download_that_fails(tmp_path):
    layout = tiny_data.CIFAR10
    tiny_data.plant_download(tmp_path, layout, tiny_data.tar(tiny_data.members(layout))[:-100])
    with pytest.raises(DataError, match=r"not a whole \.tar\.gz archive"):
        tfds_store.find_or_prepare("cifar10", tmp_path)
    assert not [*tmp_path.rglob("dataset_info.json")]
    assert not [*tmp_path.rglob("*.array_record*")]


def test_checksum_of_what_was_fetched_by_hand(tmp_path):
    manual = tmp_path / "downloads/manual"
    manual.mkdir(parents=True)
    (manual / "cifar-10-binary.tar.gz").write_bytes(tiny_data.tar(tiny_data.members(tiny_data.CIFAR10)))
    with pytest.raises(DataError, match="wrong checksum"):
        tfds_store.find_or_prepare("cifar10", tmp_path)


def tiny_dataset(name: str, count: int = 6) -> Dataset:
    rng = np.random.default_rng(count)
    images = rng.integers(256, size=(count, 3, 4, 1), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int32) % 2
    return Dataset(
        name=name,
        train_images=images,
        train_labels=labels,
        test_images=images[::-1],
        test_labels=labels[::-1],
        class_names=("even", "odd"),
    )


def stored(name: str, data_dir: Path):
    return tfds.data_source(name, data_dir=data_dir, builder_kwargs={"file_format": "array_record"}, download=False)


def test_import_keeps_the_order(tmp_path):
    dataset = tiny_dataset("parity")
    tfds_store.import_dataset(dataset, "a test", tmp_path)
    sources = stored("parity", tmp_path)
    for split, images in (("train", dataset.train_images), ("test", dataset.test_images)):
        np.testing.assert_array_equal([example["image"] for example in sources[split]], images)
    info = sources["train"].dataset_info
    assert info.full_name == "parity/1.0.0"
    assert info.description == "Imported from a test."
    assert info.supervised_keys == ("image", "label")


def test_import_replaces_an_earlier_one(tmp_path):
    tfds_store.import_dataset(tiny_dataset("parity", 6), "a test", tmp_path)
    tfds_store.import_dataset(tiny_dataset("parity", 9), "a test", tmp_path)
    assert len(stored("parity", tmp_path)["train"]) == 9


def test_import_spares_what_it_did_not_make(tmp_path):
    version = tmp_path / "parity/2.0.0"
    version.mkdir(parents=True)
    (version / "dataset_info.json").write_text('{"moduleName": "parity.parity"}')
    with pytest.raises(DataError, match=r"2\.0\.0: not an import of this program"):
        tfds_store.import_dataset(tiny_dataset("parity"), "a test", tmp_path)
    assert [*tmp_path.rglob("*.json")] == [version / "dataset_info.json"]


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10", "a b", "../up", "Upper", "1st", ""])
def test_names_that_an_import_cannot_have(tmp_path, name):
    with pytest.raises(DataError, match="Choose another"):
        tfds_store.import_dataset(tiny_dataset(name), "a test", tmp_path)
    assert not [*tmp_path.iterdir()]


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LocationError, match=r"--data-dir is .*file, which cannot be written: Not a directory"):
        tfds_store.import_dataset(tiny_dataset("parity"), "a test", tmp_path / "file")


def interrupt(image):
    raise KeyboardInterrupt


def test_interrupted_import_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_builders, "_picture", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tfds_store.import_dataset(tiny_dataset("parity"), "a test", tmp_path)
    assert not [*tmp_path.iterdir()]


def test_interrupted_import_keeps_the_earlier_one(tmp_path, monkeypatch):
    tfds_store.import_dataset(tiny_dataset("parity", 6), "a test", tmp_path)
    monkeypatch.setattr(tfds_builders, "_picture", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tfds_store.import_dataset(tiny_dataset("parity", 9), "a test", tmp_path)
    assert len(stored("parity", tmp_path)["train"]) == 6


def test_an_import_that_cannot_be_moved_to_its_place_keeps_the_earlier_one(tmp_path, monkeypatch):
    tfds_store.import_dataset(tiny_dataset("parity", 6), "a test", tmp_path)
    rename = Path.rename

    def full(path, target):
        if path.parent.name.startswith(".importing-") and path.name == "parity":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(DataError, match="No space left"):
        tfds_store.import_dataset(tiny_dataset("parity", 9), "a test", tmp_path)
    assert len(stored("parity", tmp_path)["train"]) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["parity"]


def test_killed_import_is_not_taken(tmp_path):
    tfds_store.import_dataset(tiny_dataset("parity"), "a test", tmp_path)
    version = tmp_path / "parity/1.0.0"
    version.rename(version.with_name("incomplete.ABCDEF_1.0.0"))
    with pytest.raises(DataError, match="no such data set"):
        tfds_store.find_or_prepare("parity", tmp_path)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("cifar_10", "cifar10"),
        ("CIFAR10", "cifar10"),
        ("CIFAR-10", "cifar10"),
        ("cifar-10", "cifar10"),
        ("cifar 100", "cifar100"),
        ("Cifar100", "cifar100"),
        ("Digits", "digits"),
        ("Fashion-MNIST", "fashion_mnist"),
        ("FashionMNIST", "fashion_mnist"),
        ("Mnist:3.*.*", "mnist:3.*.*"),
        ("Parity", "parity"),
        ("parita", "parity"),
    ],
)
def test_mistyped_name(tmp_path, name, meant):
    tfds_store.import_dataset(tiny_dataset("parity"), "a test", tmp_path)
    with pytest.raises(DataError, match=rf"Did you mean {re.escape(meant)}( or .*)?\?"):
        tfds_store.find_or_prepare(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "proposed"),
    [
        ("2024-Flowers (1)", "flowers_1"),
        ("Été au Québec", "ete_au_quebec"),
        ("2024", "my_images"),
        ("日本", "my_images"),
        ("mnist", "my_mnist"),
    ],
)
def test_impossible_names_of_imports(tmp_path, name, proposed):
    with pytest.raises(DataError, match=f"such as --name {proposed}\\."):
        tfds_store.require_importable(name, tmp_path)
    tfds_store.require_importable(proposed, tmp_path)
    assert not [*tmp_path.iterdir()]


def test_advice_about_damage_is_only_given_about_files_that_are_there(tmp_path):
    with pytest.raises(DataError, match=r"'pets/': TFDS cannot open it.*python -m train data ARCHIVE_OR_FOLDER"):
        tfds_store.find_or_prepare("pets/", tmp_path)
    tfds_store.import_dataset(tiny_dataset("pets"), "a test", tmp_path)
    (tmp_path / "pets/1.0.0/dataset_info.json").write_text("{")
    with pytest.raises(DataError, match=r"'pets': TFDS cannot open it.*If the files in .*pets are damaged, move them"):
        tfds_store.find_or_prepare("pets", tmp_path)


@pytest.mark.parametrize(("terminal", "bars"), [(True, True), (False, False)])
def test_bars_are_for_terminals(tmp_path, monkeypatch, capsys, terminal, bars):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    tfds_store.import_dataset(tiny_dataset("parity"), "a test", tmp_path)
    assert ("splits/s" in capsys.readouterr().err) == bars


@pytest.mark.parametrize("name", ["", "a b", "../up", "mnist:9.9.9", "mnist/what", "mnist/a=b"])
def test_impossible_name(tmp_path, name):
    with pytest.raises(DataError, match="TFDS cannot open it"):
        tfds_store.find_or_prepare(name, tmp_path)


class NeedsPackage(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A set whose preparation imports something that is not there."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"label": np.int64}))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        import no_such_package  # noqa: F401

        yield 0, {"label": 0}


def test_preparation_that_needs_another_package(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: NeedsPackage(data_dir=data_dir))
    with pytest.raises(DataError, match=r"no_such_package.*pip install tensorflow"):
        tfds_store.find_or_prepare("needs_package", tmp_path)
