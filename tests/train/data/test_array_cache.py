import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from train.data import array_cache

ARRAYS = [np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.array([1, -2], np.int32)]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "arrays.bin"
    array_cache.write(path, b"key", ARRAYS)
    return path


def test_round_trip(stored):
    arrays = array_cache.read(stored, b"key", 2)
    for array, expected in zip(arrays, ARRAYS, strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype
        assert array.flags.writeable
    assert [*stored.parent.iterdir()] == [stored]


def test_missing_or_stale(stored):
    assert array_cache.read(stored.with_name("other.bin"), b"key", 2) is None
    assert array_cache.read(stored, b"other key", 2) is None


def test_a_file_that_cannot_be_read_is_none(tmp_path):
    assert array_cache.read(tmp_path, b"key", 2) is None  # a folder; permissions do not stop a superuser


def test_rewriting_replaces(tmp_path):
    path = tmp_path / "arrays.bin"
    array_cache.write(path, b"old", ARRAYS)
    array_cache.write(path, b"new", ARRAYS[1:])
    assert array_cache.read(path, b"old", 2) is None
    np.testing.assert_array_equal(array_cache.read(path, b"new", 1), ARRAYS[1:])


@hypothesis.given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(0, 255))
def test_damage_is_noticed(stored, position, flip):
    data = bytearray(stored.read_bytes())
    index = int(position * len(data))
    data[index] ^= flip
    damaged = stored.with_name("damaged.bin")
    damaged.write_bytes(data if flip else data[:index])
    assert array_cache.read(damaged, b"key", 2) is None


def test_objects_are_never_pickled(tmp_path):
    with pytest.raises(ValueError, match="allow_pickle=False"):
        array_cache.write(tmp_path / "arrays.bin", b"key", [np.array([{}])])
    assert not [*tmp_path.iterdir()]
