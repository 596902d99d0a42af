import contextlib
import pickle
import struct
import tempfile
import warnings
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import ExifTags, Image, PngImagePlugin

from tests.train.tiny_data import write_images
from train.data import image_folder
from train.errors import DataError


@pytest.mark.parametrize("test_name", ["test", "Valid"])
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


@pytest.mark.parametrize("data", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"GIF89a\1\0\1\0\0\0\0;"])
def test_no_image(letters, data):
    (letters / "b/02.png").write_bytes(data)
    with pytest.raises(
        DataError, match=r"02\.png: not an image, or an image of another format.*in the class folder b,"
    ):
        image_folder.read(letters, "letters")


@pytest.mark.parametrize("limit", [9, 15])  # Pillow's error and its warning, for 20 pixels
def test_huge_image(letters, monkeypatch, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DataError, match=r"00\.png: too large an image"):
        image_folder.read(letters, "letters")


@pytest.mark.parametrize("suffix", ["bmp", "jpeg", "png", "ppm", "webp"])
def test_truncated_image(letters, suffix):
    path = letters / f"b/02.{suffix}"
    write_images(letters / "source", 1, size=(64, 64))
    Image.open(letters / "source/00.png").save(path)
    (letters / "source/00.png").unlink()
    (letters / "source").rmdir()
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match=rf"02\.{suffix}: not a whole image"):
        image_folder.read(letters, "letters")


# How a stored image is shown, by the eight values of the EXIF standard.
SHOWN = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: np.rot90(image),
}


def save_rotated(path: Path, orientation: int, **options) -> np.ndarray:
    """Saves an image that is 5 wide and 4 high when shown by its orientation, and returns it as shown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".png").unlink(missing_ok=True)
    size = (4, 5, 3) if orientation < 5 else (5, 4, 3)
    stored = np.random.default_rng(orientation).integers(256, size=size, dtype=np.uint8)
    Image.fromarray(stored).save(path, **options)
    with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
        return SHOWN[orientation](np.asarray(image))


def exif(orientation: int, **tags: object) -> Image.Exif:
    made = Image.Exif()
    made[ExifTags.Base.Orientation] = orientation
    for name, value in tags.items():
        made[ExifTags.Base[name]] = value
    return made


@pytest.mark.parametrize("suffix", ["jpeg", "png", "webp"])
def test_orientation_is_applied(tmp_path, suffix):
    shown = [save_rotated(tmp_path / f"train/a/{k}.{suffix}", k, exif=exif(k)) for k in SHOWN]
    for folder in ("train/b", "test/a", "test/b"):
        write_images(tmp_path / folder, 1)
    dataset = image_folder.read(tmp_path, "rotated")
    np.testing.assert_array_equal(dataset.train_images[:8], np.stack(shown))


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize("suffix", ["jpeg", "png", "webp"])
def test_orientation_in_xmp_is_applied(letters, suffix):
    pytest.importorskip("PIL", minversion="11.2")
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    shown = save_rotated(letters / f"b/02.{suffix}", 6, xmp=XMP, pnginfo=text)
    np.testing.assert_array_equal(image_folder.read(letters, "letters").train_images[5], shown)


def two_tags(tag: int, kind: int, count: int, value: int) -> bytes:
    """EXIF of orientation 6 and one further tag."""
    orientation = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    return b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + orientation + struct.pack(">HHII", tag, kind, count, value) + bytes(4)


ODD_EXIF = {
    "a text that lies outside": two_tags(0x0131, 2, 64, 0xFFFF),
    "a type that does not exist": two_tags(0x0131, 99, 1, 0),
    "two resolutions": two_tags(0x011A, 3, 2, 0x00060007),
    "a resolution of 0 / 0": two_tags(0x011A, 5, 1, 8),
    "a huge count": two_tags(0x0131, 12, 2**31, 0),
}


@pytest.mark.parametrize("suffix", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("tags", ODD_EXIF.values(), ids=ODD_EXIF)
def test_odd_tags_are_no_damage(letters, suffix, tags):
    shown = save_rotated(letters / f"b/02.{suffix}", 6, exif=tags)
    np.testing.assert_array_equal(image_folder.read(letters, "letters").train_images[5], shown)


@pytest.mark.parametrize("suffix", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("tags", [b"Exif\0\0", b"Exif\0\0not TIFF at all", b"Exif\0\0MM\0*\0\0\0\x08\0\xff"])
def test_damaged_metadata_are_no_damage(letters, suffix, tags):
    shown = save_rotated(letters / f"b/02.{suffix}", 1, exif=tags)
    np.testing.assert_array_equal(image_folder.read(letters, "letters").train_images[5], shown)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_do_not_exist(letters, orientation):
    shown = save_rotated(letters / "b/02.png", 1, exif=exif(orientation, Make="x"))
    np.testing.assert_array_equal(image_folder.read(letters, "letters").train_images[5], shown)


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
