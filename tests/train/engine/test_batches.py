"""Streamed batches equal those in memory, for all numbers of devices, epochs and first steps."""

import io
import signal

import jax
import numpy as np
import pytest
from rich.console import Console

from tests.train import tiny_data, tiny_run
from train import data, records
from train.data.dataset import as_source
from train.engine import batches, slices
from train.engine.devices import make_mesh
from train.engine.progress import RunProgress
from train.engine.run import run_experiment
from train.engine.signals import Stopped
from train.engine.state import make_setup
from train.errors import DataError

DATA = tiny_run.dataset()


def streamed(mesh, seed=0, **changes):
    setup = make_setup(tiny_run.experiment(**changes), DATA)
    return batches.StreamingLoader(as_source(DATA), setup, mesh, seed), setup


def labels_of_run(stream, setup, step=0):
    """Labels and rows of every step from one on, read in slices of one."""
    for at in range(step, setup.total_steps):
        place = at % setup.steps_per_epoch
        batch = setup.last_batch if place == setup.full_batches else setup.experiment.batch_size
        images = stream.training(at, 1, batch)
        yield np.asarray(images.images)[0, :batch], np.asarray(images.labels)[0, :batch]


def test_every_epoch_holds_every_image_once():
    stream, setup = streamed(make_mesh(1))
    seen = list(labels_of_run(stream, setup))
    assert [len(labels) for _, labels in seen] == [16, 16, 16, 6] * 2
    expected = sorted(image.tobytes() for image in DATA.train_images)
    for epoch in (seen[:4], seen[4:]):
        assert sorted(image.tobytes() for images, _ in epoch for image in images) == expected
    assert seen[0][0].tobytes() != seen[4][0].tobytes()


@pytest.mark.parametrize("step", [1, 4, 7])
def test_it_can_begin_at_any_step(step):
    whole, setup = streamed(make_mesh(1))
    later, _ = streamed(make_mesh(1))
    for (_, left), (_, right) in zip(
        list(labels_of_run(whole, setup))[step:], labels_of_run(later, setup, step), strict=True
    ):
        np.testing.assert_array_equal(left, right)


def test_a_batch_is_padded_and_split_over_the_devices():
    mesh = make_mesh(8)
    stream, setup = streamed(mesh)
    last = stream.training(setup.full_batches, 1, setup.last_batch)
    assert last.images.shape == (1, 8, 64)
    assert {shard.data.shape for shard in last.images.addressable_shards} == {(1, 1, 64)}
    np.testing.assert_array_equal(np.asarray(last.images)[0, 6:], DATA.train_images[[0, 0]].reshape(2, 64))


def test_the_test_set_comes_whole_and_in_order(monkeypatch):
    monkeypatch.setattr(batches, "_TEST_CHUNK", 10)
    stream, _ = streamed(make_mesh(1))
    chunks = list(stream.test())
    assert [len(chunk.labels) for chunk in chunks] == [10, 10, 3]
    np.testing.assert_array_equal(np.concatenate([chunk.labels for chunk in chunks]), DATA.test_labels)


@pytest.fixture(scope="module")
def folder_of_images(tmp_path_factory):
    """A data set that was imported as array_record files."""
    root = tmp_path_factory.mktemp("images")
    for split, count in (("train", 25), ("test", 7)):
        for name in ("a", "b"):
            tiny_data.write_images(root / "letters" / split / name, count, mode="L", size=(8, 8))
    data.prepare(root / "letters", root / "tfds")
    return root / "tfds"


def run(root, data_dir, *, stream, seeds=(0,), text=None):
    arm = tiny_run.experiment(dataset="letters", phase="epoch_mean")
    paths = run_experiment(
        arm,
        seeds=seeds,
        root=root,
        data_dir=data_dir,
        stream=stream,
        devices=2,
        console=Console(file=text or io.StringIO(), width=200),
    )
    return [records.read(path) for path in paths]


@pytest.fixture(scope="module")
def in_memory(folder_of_images, tmp_path_factory):
    return run(tmp_path_factory.mktemp("memory"), folder_of_images, stream=False)


def assert_same(left, right):
    np.testing.assert_array_equal(left.steps.momentum, right.steps.momentum)
    np.testing.assert_array_equal(left.steps.below, right.steps.below)
    np.testing.assert_allclose(left.steps.loss, right.steps.loss, rtol=1e-4)
    for a, b in zip(left.history, right.history, strict=True):
        assert a.test_error == pytest.approx(b.test_error, abs=100 / 14 + 1e-6)  # one image, at most
        assert a.test_loss == pytest.approx(b.test_loss, rel=1e-3)


def test_a_run_streamed_from_array_record_files_equals_the_one_in_memory_and_resumes(
    tmp_path, monkeypatch, folder_of_images, in_memory
):
    (whole,) = run(tmp_path / "whole", folder_of_images, stream=True)
    assert_same(whole, in_memory[0])

    original, left = RunProgress.steps, [3]

    def interrupt(self, *arrays):
        original(self, *arrays)
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(slices, "_SLICE_STEPS", 30)
        patch.setattr(RunProgress, "steps", interrupt)
        with pytest.raises(Stopped):
            run(tmp_path / "stopped", folder_of_images, stream=True)
    text = io.StringIO()
    (resumed,) = run(tmp_path / "stopped", folder_of_images, stream=True, text=text)
    assert "resumed at step" in text.getvalue()
    for name in ("loss", "momentum", "below"):
        np.testing.assert_array_equal(getattr(resumed.steps, name), getattr(whole.steps, name))


def test_images_of_another_size_are_an_error_when_they_come_up(folder_of_images):
    source = data.open_source("letters", folder_of_images)
    assert source.image_shape == (8, 8, 1)
    assert (source.train_size, len(source.test), source.num_classes) == (50, 14, 2)
    other = type(source.train)(source.train.source, "image", "label", (9, 9, 1))
    with pytest.raises(DataError, match="image 3 of train is uint8"):
        other.read(np.asarray([3]))


def test_data_that_do_not_fit_on_the_device_name_the_way_out(monkeypatch):
    def full(mesh, tree):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(batches, "replicate", full)
    setup = make_setup(tiny_run.experiment(), DATA)
    with pytest.raises(DataError, match="--stream"):
        batches.make_loader(DATA, setup, make_mesh(1), 0)
