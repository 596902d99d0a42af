import contextlib
import pickle
import tempfile
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from tests.train.tiny_data import write_images
from train.data import image_folder
from train.errors import DataError


@pytest.mark.parametrize("test_name", ["test", "val", "validation"])
@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_folders_for_training_and_testing(tmp_path, test_name, mode, channels):
    cats = write_images(tmp_path / "train/cat", 3, mode)
    ants = write_images(tmp_path / "train/ant", 2, mode)
    test_ants = write_images(tmp_path / f"{test_name}/ant", 4, mode)
    test_cats = write_images(tmp_path / f"{test_name}/cat", 1, mode)
    dataset = image_folder.read(tmp_path, "pets")
    assert dataset.name == "pets"
    assert dataset.class_names == ("ant", "cat")
    assert dataset.image_shape == (4, 5, channels)
    np.testing.assert_array_equal(dataset.train_images, np.concatenate([ants, cats]))
    np.testing.assert_array_equal(dataset.train_labels, [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(dataset.test_images, np.concatenate([test_ants, test_cats]))
    np.testing.assert_array_equal(dataset.test_labels, [0, 0, 0, 0, 1])
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int32


def test_one_folder_is_split(tmp_path):
    a, b = write_images(tmp_path / "a", 7), write_images(tmp_path / "b", 5)
    dataset = image_folder.read(tmp_path, "letters")
    np.testing.assert_array_equal(dataset.test_images, np.stack([a[0], a[5], b[3]]))
    np.testing.assert_array_equal(dataset.test_labels, [0, 0, 1])
    np.testing.assert_array_equal(dataset.train_images, np.concatenate([a[1:5], a[6:], b[:3], b[4:]]))
    np.testing.assert_array_equal(dataset.train_labels, [0] * 5 + [1] * 4)


def test_test_folder_comes_before_validation(tmp_path):
    for split, count in (("train", 1), ("val", 2), ("test", 3)):
        write_images(tmp_path / split / "a", count)
        write_images(tmp_path / split / "b", count)
    assert len(image_folder.read(tmp_path, "letters").test_images) == 6


def test_hidden_files_are_left_out(tmp_path):
    write_images(tmp_path / "a", 5)
    write_images(tmp_path / "b", 5)
    (tmp_path / ".DS_Store").write_bytes(b"1")
    (tmp_path / "a/.DS_Store").write_bytes(b"1")
    assert len(image_folder.read(tmp_path, "letters").train_images) == 8


@pytest.fixture
def letters(tmp_path):
    """A folder that is in order, for a test to disturb."""
    write_images(tmp_path / "a", 5)
    write_images(tmp_path / "b", 5)
    return tmp_path


@pytest.mark.parametrize(
    ("mode", "size", "message"),
    [
        ("RGB", (4, 5), r"02\.png: 4x5 RGB, but .*00\.png is 5x4 RGB"),
        ("L", (5, 4), r"02\.png: 5x4 L, but .*00\.png is 5x4 RGB"),
        ("RGBA", (5, 4), r"02\.png: mode RGBA; expected L or RGB"),
        ("P", (5, 4), r"02\.png: mode P; expected L or RGB"),
    ],
)
def test_another_size_or_mode(letters, mode, size, message):
    Image.new(mode, size).save(letters / "b/02.png")
    with pytest.raises(DataError, match=message):
        image_folder.read(letters, "letters")


@pytest.mark.parametrize("data", [b"", b"text", b"\x89PNG\r\n\x1a\n"])
def test_no_image(letters, data):
    (letters / "b/02.png").write_bytes(data)
    with pytest.raises(DataError, match=r"02\.png: not a whole image"):
        image_folder.read(letters, "letters")


def test_huge_image(letters, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15)
    with pytest.raises(DataError, match=r"00\.png: not a whole image"):
        image_folder.read(letters, "letters")


def test_pickles_are_refused(letters):
    batch = letters / "data_batch_1"
    batch.write_bytes(pickle.dumps({"data": 0}, protocol=2))
    with pytest.raises(DataError, match=r"data_batch_1: pickled data"):
        image_folder.read(letters, "letters")
    batch.rename(letters / "b/data_batch_1")
    with pytest.raises(DataError, match=r"data_batch_1: pickled data"):
        image_folder.read(letters, "letters")


def test_file_among_the_classes(letters):
    (letters / "notes.txt").write_text("notes")
    with pytest.raises(DataError, match=r"notes\.txt: a file among the classes"):
        image_folder.read(letters, "letters")


def test_folder_in_a_class(letters):
    (letters / "b/c").mkdir()
    with pytest.raises(DataError, match="b/c: "):
        image_folder.read(letters, "letters")


def test_too_few_classes_or_images(tmp_path):
    with pytest.raises(DataError, match="0 class folders"):
        image_folder.read(tmp_path, "letters")
    write_images(tmp_path / "a", 5)
    with pytest.raises(DataError, match="1 class folders"):
        image_folder.read(tmp_path, "letters")
    write_images(tmp_path / "b", 4)
    with pytest.raises(DataError, match="b: fewer than 5 images"):
        image_folder.read(tmp_path, "letters")
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match="c: no images"):
        image_folder.read(tmp_path, "letters")


def test_training_without_testing(tmp_path):
    write_images(tmp_path / "train/a", 1)
    write_images(tmp_path / "train/b", 1)
    with pytest.raises(DataError, match="none named test or val"):
        image_folder.read(tmp_path, "letters")
    write_images(tmp_path / "test/a", 1)
    write_images(tmp_path / "test/c", 1)
    with pytest.raises(DataError, match=r"classes differ .*\(b, c\)"):
        image_folder.read(tmp_path, "letters")
    (tmp_path / "extra").mkdir()
    with pytest.raises(DataError, match="extra: not part of train or test"):
        image_folder.read(tmp_path, "letters")


@pytest.mark.parametrize("suffix", ["bmp", "jpeg", "png", "ppm", "webp"])
@hypothesis.settings(max_examples=40)
@hypothesis.given(data=st.data())
def test_damaged_image_is_refused_or_read(suffix, data):
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(DataError):
        root = Path(folder)
        for name in ("a", "b"):
            (root / name).mkdir()
            for index in range(5):
                Image.new("RGB", (9, 9), (index, 2, 3)).save(root / name / f"{index}.{suffix}")
        path = root / "b" / f"3.{suffix}"
        content = bytearray(path.read_bytes())
        index = data.draw(st.integers(0, len(content) - 1))
        content[index] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content[: data.draw(st.integers(index, len(content)))])
        assert image_folder.read(root, "letters").image_shape == (9, 9, 3)
