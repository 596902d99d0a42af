import contextlib
import dataclasses
import errno
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train.synthetic import record, steps
from train import files, records
from train.errors import RecordError
from train.records import StepMetrics
from train.records.steps import encode


def _write(root: Path, arm: str = "sgd-0.9", seed: int = 0, errors=(8.0, 5.0, 6.0)) -> Path:
    return records.write(root, record(arm, seed, errors), steps(len(errors)))


def _damage(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_run_lies_under_its_arm_and_seed(tmp_path):
    assert _write(tmp_path, "lcam-0.9-0.95", 3) == (tmp_path / "demo" / "lcam-0.9-0.95" / "seed-3" / "result.json")


@pytest.mark.parametrize("name", ["", "../up", "a//b", "/a", "a/..", "a b", ".hidden"])
def test_names_cannot_leave_the_root(name):
    with pytest.raises(ValueError, match="arm name"):
        records.run_dir(Path("runs"), name, 0)


def test_negative_seeds_are_refused():
    with pytest.raises(ValueError, match="seed -1"):
        records.run_dir(Path("runs"), "a", -1)


def test_what_is_written_is_read_back(tmp_path):
    written = record("sgd-0.9", 0, [8.0, 5.0, 6.0])
    assert records.read(_write(tmp_path)) == written


def test_final_and_best_errors_are_told_apart(tmp_path):
    read = records.read(_write(tmp_path, errors=(8.0, 5.0, 6.0)))
    assert (read.final_test_error, read.best_test_error) == (6.0, 5.0)
    raw = json.loads((read.folder / "result.json").read_text())
    assert (raw["schema"], raw["final_test_error"], raw["best_test_error"]) == (1, 6.0, 5.0)


def test_steps_come_back_with_their_types(tmp_path):
    read, expected = records.read(_write(tmp_path)).steps, steps(3)
    for name, dtype in (("loss", np.float32), ("momentum", np.float32), ("below", np.bool_)):
        assert getattr(read, name).dtype == dtype
        np.testing.assert_array_equal(getattr(read, name), getattr(expected, name))


def test_steps_of_another_run_are_refused(tmp_path):
    path = _write(tmp_path)
    other = _write(tmp_path, seed=1, errors=(8.0,))
    os.replace(other.with_name("steps.npz"), path.with_name("steps.npz"))
    with pytest.raises(RecordError, match=r"steps\.npz: does not belong to result\.json"):
        _ = records.read(path).steps


def test_missing_steps_leave_the_record_readable(tmp_path):
    path = _write(tmp_path)
    path.with_name("steps.npz").unlink()
    read = records.read(path)
    with pytest.raises(RecordError, match=r"steps\.npz: cannot be read"):
        _ = read.steps


def test_a_record_that_was_not_read_has_no_steps():
    with pytest.raises(RecordError, match="read a written record"):
        _ = record("a", 0, [1.0]).steps


def test_steps_have_to_be_vectors_of_one_length():
    with pytest.raises(ValueError, match=r"\(2,\), \(3,\), \(2,\)"):
        encode(StepMetrics(loss=np.zeros(2), momentum=np.zeros(3), below=np.zeros(2, bool)))


def test_steps_have_to_be_shared_equally_by_the_epochs(tmp_path):
    with pytest.raises(RecordError, match="6 steps in 4 epochs"):
        records.write(tmp_path, record("a", 0, [1.0] * 4), steps(1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32(np.nan)])
def test_numbers_that_are_not_finite_are_null_on_disk_and_nan_again(tmp_path, value):
    written = record("a", 0, [8.0, 7.0])
    written.history[1] = dataclasses.replace(written.history[1], train_loss=value, test_error=value)
    path = records.write(tmp_path, written, steps(2))
    raw = json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(word))
    assert raw["history"][1]["train_loss"] is None
    assert raw["final_test_error"] is None
    read = records.read(path)
    assert math.isnan(read.history[1].train_loss)
    assert math.isnan(read.final_test_error)
    assert read.best_test_error == 8.0


def test_numpy_scalars_become_plain_numbers(tmp_path):
    written = record("a", 0, [np.float32(2.5)], width=np.int32(4))
    read = records.read(records.write(tmp_path, written, steps(1)))
    assert read.history[0].test_error == 2.5
    assert read.config["width"] == 4


def test_a_crash_before_the_replacement_leaves_the_old_record(tmp_path, monkeypatch):
    path = _write(tmp_path, errors=(8.0, 5.0))
    before = {file: file.read_bytes() for file in path.parent.iterdir()}

    def crash(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path, errors=(8.0, 5.0, 4.0))
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before


def test_a_crash_between_steps_and_record_is_noticed(tmp_path, monkeypatch):
    path = _write(tmp_path, errors=(8.0, 5.0))
    replace = os.replace

    def crash_at_the_record(source, target):
        if target.name == "result.json":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", crash_at_the_record)
    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path, errors=(8.0, 5.0, 4.0))
    read = records.read(path)
    assert read.final_test_error == 5.0
    with pytest.raises(RecordError, match="does not belong"):
        _ = read.steps


def test_the_file_is_on_disk_before_it_replaces_the_old_one(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda f: (order.append("fsync"), fsync(f)))
    monkeypatch.setattr(files.os, "replace", lambda a, b: (order.append("replace"), replace(a, b)))
    files.write_atomically(tmp_path / "file", b"data")
    assert order[:2] == ["fsync", "replace"]
    assert (tmp_path / "file").read_bytes() == b"data"


def test_a_full_disk_is_named_with_the_file(tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/file'"):
        files.write_atomically(tmp_path / "file", b"data")
    assert not list(tmp_path.iterdir())


def test_a_run_leaves_nothing_of_an_earlier_crash_behind(tmp_path):
    folder = records.run_dir(tmp_path, "demo/sgd-0.9", 0)
    folder.mkdir(parents=True)
    (folder / ".result.json.12345.tmp").write_bytes(b"half")
    records.write(tmp_path, record("sgd-0.9", 0, [1.0]), steps(1))
    assert sorted(file.name for file in folder.iterdir()) == ["result.json", "steps.npz"]


def test_rewriting_a_run_does_not_multiply_its_files(tmp_path):
    path = _write(tmp_path)
    _write(tmp_path)
    names = sorted(file.name for file in path.parent.iterdir())
    assert names == ["result.json", "steps.npz"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema 1"),
        ({"name": 3}, "`name` is 3, expected str"),
        ({"name": "../x"}, "`name` is '../x'"),
        ({"seed": True}, "`seed` is True, expected int"),
        ({"config": {}}, "`config` has no whole number of `epochs`"),
        ({"history": []}, "`history` is empty"),
        ({"history": [{"epoch": 1}]}, r"`history\[0\]` is .* expected an object of epoch 0"),
        ({"history": [{"epoch": 0}]}, r"`history\[0\].train_loss` is 'missing'"),
        ({"final_test_error": 1.0}, "`final_test_error` is 1.0, but the history gives 6.0"),
        ({"best_test_error": "low"}, "`best_test_error` is 'low', expected a number"),
        ({"steps_sha256": None}, "`steps_sha256` is None"),
    ],
)
def test_damaged_fields_are_named(tmp_path, changes, message):
    path = _write(tmp_path)
    _damage(path, **changes)
    with pytest.raises(RecordError, match=message) as error:
        records.read(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "NaN", '{"schema": 1, "seed": NaN}', "[" * 10**5])
def test_files_that_hold_no_record_are_refused(tmp_path, text):
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(RecordError, match=r"result\.json"):
        records.read(path)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_bare_words_for_numbers_are_refused(tmp_path, word):
    path = _write(tmp_path)
    path.write_text(path.read_text().replace('"seconds": 30.0', f'"seconds": {word}'))
    with pytest.raises(RecordError, match=f"not strict JSON: {word} is not JSON"):
        records.read(path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(RecordError, match=r"result\.json: cannot be read"):
        records.read(tmp_path / "result.json")


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("run") / "result.json"
    path.write_bytes(data)
    with pytest.raises(RecordError):
        records.read(path)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
def test_a_field_with_any_other_content_is_read_or_refused(tmp_path_factory, data):
    path = _write(tmp_path_factory.mktemp("runs"))
    field = data.draw(st.sampled_from(sorted(json.loads(path.read_text()))))
    _damage(path, **{field: data.draw(_JSON)})
    with contextlib.suppress(RecordError):
        assert records.read(path).history == record("sgd-0.9", 0, [8.0, 5.0, 6.0]).history


def test_read_all_orders_by_arm_and_seed(tmp_path):
    for arm, seed in (("b", 1), ("b", 0), ("a", 10), ("a", 2)):
        _write(tmp_path, arm, seed)
    found = [(read.name, read.seed) for read in records.read_all(tmp_path)]
    assert found == [("demo/a", 2), ("demo/a", 10), ("demo/b", 0), ("demo/b", 1)]


def test_read_all_of_nothing_is_an_error(tmp_path):
    with pytest.raises(RecordError, match=r"no result\.json or runs\.jsonl in it"):
        records.read_all(tmp_path)
    with pytest.raises(RecordError, match="missing: no such folder"):
        records.read_all(tmp_path / "missing")


def test_read_all_raises_or_collects_damaged_records(tmp_path):
    good, bad = _write(tmp_path, "a"), _write(tmp_path, "b")
    bad.write_text("{")
    with pytest.raises(RecordError, match="damaged"):
        records.read_all(tmp_path)
    damaged: list[RecordError] = []
    assert [read.folder for read in records.read_all(tmp_path, damaged=damaged)] == [good.parent]
    assert [str(bad) in str(error) for error in damaged] == [True]


def test_a_copy_of_a_run_is_not_counted_twice(tmp_path):
    path = _write(tmp_path)
    copy = tmp_path / "old" / "result.json"
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    with pytest.raises(RecordError, match="the same arm and seed as"):
        records.read_all(tmp_path)


def test_a_run_is_finished_when_all_its_epochs_are_done():
    whole = record("a", 0, [1.0, 2.0])
    assert whole.finished
    assert not dataclasses.replace(whole, history=whole.history[:1]).finished


def test_environment_names_versions_and_device():
    found = records.environment()
    packages = {"python", "jax", "jaxlib", "flax", "optax", "numpy", "lcam_optax"}
    assert set(found["versions"]) == packages
    cores = found["device"].pop("cores")
    assert 1 <= cores <= os.cpu_count()
    assert found["device"] == {"platform": "cpu", "kind": "cpu", "count": 8, "available": 8, "process_count": 1}


def test_importing_records_is_light():
    heavy = ["jax", "matplotlib", "scipy", "statsmodels", "tensorboardX"]
    code = f"import sys, train.records; print(sys.modules.keys() & set({heavy}))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "set()"
