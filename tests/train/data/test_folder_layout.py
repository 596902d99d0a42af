"""The layouts of image folders. The files are empty, because none is opened."""

import logging
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from train.data import folder_layout
from train.errors import DataError

EXPECTED = r"Expected CLASS/IMAGE, or train/CLASS/IMAGE and the same classes under test or val; found "


def make(root: Path, *paths: str) -> Path:
    """Makes files at `paths`; a path that ends in `*7` stands for seven files, one in `/` for a folder."""
    for path in paths:
        folder, _, count = path.partition("*")
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(int(count or 0)):
            (root / folder / f"{i:02}.png").touch()
    return root


def sizes(split: folder_layout.ImageFiles) -> dict[str, int]:
    assert len(split.files) == len(split.labels)
    assert all(
        folder.parent.name == split.class_names[label] for folder, label in zip(split.files, split.labels, strict=True)
    )
    return dict(zip(split.class_names, np.bincount(split.labels).tolist(), strict=True))


@pytest.mark.parametrize("train", ["train", "Train", "TRAIN", "training", "Training"])
@pytest.mark.parametrize("test", ["test", "Test", "Testing", "TESTING", "val", "Val", "valid", "Validation"])
def test_names_of_splits(tmp_path, train, test):
    make(tmp_path, f"{train}/a*3", f"{train}/b*2", f"{test}/a*1", f"{test}/b*4")
    found = folder_layout.find_splits(tmp_path)
    assert [sizes(split) for split in found] == [{"a": 3, "b": 2}, {"a": 1, "b": 4}]


def test_folder_without_splits(tmp_path):
    split, test = folder_layout.find_splits(make(tmp_path, "b*6", "a*5"))
    assert (sizes(split), test) == ({"a": 5, "b": 6}, None)
    assert split.labels.dtype == np.int32


def test_classes_may_have_the_names_of_splits(tmp_path):
    split, test = folder_layout.find_splits(make(tmp_path, "train*5", "bus*5"))
    assert (sizes(split), test) == ({"bus": 5, "train": 5}, None)


@pytest.mark.parametrize("around", ["pets", "pets/archive/images", "test"])
def test_folders_too_many(tmp_path, around):
    make(tmp_path / "data" / around, "a*5", "b*5")
    assert sizes(folder_layout.find_splits(tmp_path / "data" / around.split("/")[0])[0]) == {"a": 5, "b": 5}
    if around != "test":
        assert sizes(folder_layout.find_splits(tmp_path / "data")[0]) == {"a": 5, "b": 5}


def test_folders_too_many_around_and_in_splits(tmp_path):
    make(tmp_path, "archive/seg/Training/Training/a*1", "archive/seg/Training/Training/b*1")
    make(tmp_path, "archive/seg/Testing/all/a*1", "archive/seg/Testing/all/b*1")
    found = folder_layout.find_splits(tmp_path)
    assert [sizes(split) for split in found] == [{"a": 1, "b": 1}] * 2


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._a.png", "Icon\r", "ehthumbs.db"])
def test_leftover_files(tmp_path, name):
    make(tmp_path, "train/a*1", "train/b*1", "test/a*1", "test/b*1")
    for folder in [tmp_path, *tmp_path.glob("*"), *tmp_path.glob("*/*/")]:
        (folder / name).touch()
    assert [sizes(split) for split in folder_layout.find_splits(tmp_path)] == [{"a": 1, "b": 1}] * 2


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", ".ipynb_checkpoints"])
def test_leftover_folders(tmp_path, name):
    make(tmp_path, "pets/a*5", "pets/b*5", f"{name}/pets/a*5", f"pets/{name}/a*5", f"pets/a/{name}*1")
    assert sizes(folder_layout.find_splits(tmp_path)[0]) == {"a": 5, "b": 5}


def test_test_folder_comes_before_validation(tmp_path, caplog):
    make(tmp_path, *(f"{split}/{name}*1" for split in ("train", "valid") for name in "ab"), "test/a*2", "test/b*2")
    assert sizes(folder_layout.find_splits(tmp_path)[1]) == {"a": 2, "b": 2}
    assert "testing on test; valid is not used" in caplog.text


def test_unlabelled_test_images_are_not_used(tmp_path, caplog):
    make(tmp_path, *(f"{split}/{name}*1" for split in ("train", "val") for name in "ab"), "test*7")
    with caplog.at_level(logging.WARNING):
        assert sizes(folder_layout.find_splits(tmp_path)[1]) == {"a": 1, "b": 1}
    assert "testing on val; test is not used" in caplog.text


REFUSED = [
    (["train/a*1", "train/b*1"], "no test folder.*found folders 'train' .2 folders.*or pass .*train, of which every"),
    (["train/a*1", "train/b*1", "test*9"], "no class folders in test.*'test' .9 files.*Sort the test images"),
    (["train*9", "test*9"], "no class folders in test and train, so the images have no labels.*Sort the images"),
    (["Training/a*1", "train/b*1", "test/a*1"], "Training and train mean the same split.*Rename"),
    (["train/a*1", "test/a*1", "Testing/a*1"], "Testing and test mean the same split"),
    (["train/a*1", "test/a*1", "extra*1"], "extra: not part of a split.*'extra' .1 file.*Move it out"),
    (["train/a*1", "train/b*1", "test/a*1", "test/c*1"], r"test: classes differ from those of .*train \(b, c\)"),
    (["train/a*1", "train/A*1", "test/a*1", "test/b*1"], r"classes differ .*\(A, b\)"),
    (["x/a*5", "x/b*5", "y/a*5", "y/b*5"], "x: contains folders.*'x' .2 folders., 'y' .2 folders.*Pass the folder"),
    (["val/a*5", "test/b*5"], "no train folder beside test and val"),
    (["train_set/a*5", "test_set/a*5"], "test_set: contains folders.*'test_set' .1 folder."),
    (["a*5", "b/indoor*5"], "b: contains folders"),
    (["a*5", "b*4"], "class b has fewer than 5 images.*Add images"),
    (["a*5", "b"], "b: a class folder without images.*'b' .empty..*Add images"),
    (["a*5"], "fewer than 2 class folders.*found folders 'a' .5 files"),
    (["*5"], "fewer than 2 class folders.*found files '00.png', .*Check the path"),
    (["*9"], "'04.png' and 4 more"),
    ([""], "fewer than 2 class folders.*found nothing"),
]


@pytest.mark.parametrize(
    ("paths", "message"), REFUSED, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_other_layouts_are_refused(tmp_path, paths, message):
    make(tmp_path, *paths)
    with pytest.raises(DataError, match=message) as error:
        folder_layout.find_splits(tmp_path)
    assert "remove" not in str(error.value).lower()
    assert "delete" not in str(error.value).lower()


@pytest.mark.parametrize("paths", [paths for paths, message in REFUSED if "found" in message])
def test_what_was_expected_is_told(tmp_path, paths):
    with pytest.raises(DataError, match=EXPECTED):
        folder_layout.find_splits(make(tmp_path, *paths))


NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def test_forms_of_unicode_are_one_class(tmp_path):
    make(tmp_path, f"train/{NFC}*1", "train/cafz*1", f"test/{NFD}*1", "test/cafz*1")
    train, test = folder_layout.find_splits(tmp_path)
    # Decomposed, the name would come before cafz.
    assert train.class_names == test.class_names == ("cafz", NFC)


def test_two_forms_of_a_class_side_by_side(tmp_path):
    if len([*make(tmp_path, f"{NFC}*5", f"{NFD}*5", "tea*5").iterdir()]) == 2:
        pytest.skip("a file system that normalises names")
    with pytest.raises(DataError, match=r"'cafe\\u0301' and 'caf\\xe9' are the same name.*one folder per class"):
        folder_layout.find_splits(tmp_path)


def test_files_are_ordered_by_composed_names(tmp_path):
    make(tmp_path, "a*5", "b*5")
    for name in (f"{NFD}.png", "cafz.png"):
        (tmp_path / "a" / name).touch()
    names = [unicodedata.normalize("NFC", path.name) for path in folder_layout.visible(tmp_path / "a")]
    assert names[-2:] == ["cafz.png", f"{NFC}.png"]


@pytest.mark.parametrize("name", ["be\ne", " bee", "be\udcff"])
def test_names_that_no_class_can_have(tmp_path, name):
    make(tmp_path, "a*5", f"{name}*5")
    with pytest.raises(DataError, match="expected the name of a class"):
        folder_layout.find_splits(tmp_path)
