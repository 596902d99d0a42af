"""Make augmented batches from images in memory or streamed from disk: their order, crops and flips.

Both loaders give the same batches for the same seed and step, so a streamed run equals a run in memory.
"""

import functools
import threading
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from train.data.augment import CropsAndFlips, crop_and_flip, draw_crops_and_flips
from train.data.dataset import Dataset, Source
from train.engine.devices import AXIS, padded_size, replicate, rows_here, split_batch
from train.engine.state import Setup, TrainState, key_for
from train.errors import DataError

_TEST_CHUNK = 5000
# Batches that are being read or wait to be used.
_READ_AHEAD = 32


class Images(NamedTuple):
    """Images and their labels, on the device or in host memory."""

    images: jax.Array | np.ndarray  # uint8, [..., N, H * W * C]; programs take [..., N, H, W, C] too
    labels: jax.Array | np.ndarray  # [..., N], int32


class AugmentedBatch(NamedTuple):
    """The augmented batch of one step, padded so that it divides evenly between devices."""

    images: jax.Array  # [padded, H, W, C], uint8
    labels: jax.Array  # [padded], int32
    mask: jax.Array | None  # [padded], bool; False for padding; None if there is no padding


def epoch_order(setup: Setup, seed: jax.Array, epoch: jax.Array) -> jax.Array:
    """Compute the permutation of the training set in one epoch; [N], int32."""
    return jax.random.permutation(jax.random.fold_in(key_for(seed, "order"), epoch), setup.train_size)


def flat(images: np.ndarray, labels: np.ndarray) -> Images:
    """Make each image a row, [N, H * W * C]: a TPU would pad a last axis of three channels fourfold."""
    return Images(images.reshape(len(images), -1), labels)


def next_rows(setup: Setup, state: TrainState, order: jax.Array, steps: int, batch: int, padded: int) -> jax.Array:
    """List the images of the next steps.

    Args:
      setup: The setup of the run.
      state: The state before the first of these steps.
      order: The permutation of this epoch, [N], int32.
      steps: Number of steps.
      batch: Images per step.
      padded: Images per step with padding, from `train.engine.devices.padded_size`.

    Returns:
      Indices into the training set, int32 [steps, padded]. Padding repeats the first image.
    """
    first = state.step % setup.steps_per_epoch * setup.experiment.batch_size
    rows = jax.lax.dynamic_slice(order, (first,), (steps * batch,)).reshape(steps, batch)
    return jnp.pad(rows, ((0, 0), (0, padded - batch)))


def take(mesh: Mesh, data: Images, index: jax.Array) -> Images:
    """Gather rows by their index, [N]. The result is split over the devices."""
    if mesh.shape[AXIS] > 1:
        index = jax.lax.with_sharding_constraint(index, split_batch(mesh))
    return Images(data.images[index], data.labels[index])


def draw_step_crops_and_flips(setup: Setup, seed: jax.Array, step: jax.Array, padded: int) -> CropsAndFlips:
    """Draw the crops and flips of one step's images, which depend only on seed and step."""
    key = jax.random.fold_in(key_for(seed, "augment"), step)
    return draw_crops_and_flips(key, padded, setup.experiment.crop_padding, setup.experiment.flip)


def augment(setup: Setup, rows: Images, drawn: CropsAndFlips, batch: int) -> AugmentedBatch:
    """Crop and flip the rows of one step, and mask the padding.

    Args:
      setup: The setup of the run.
      rows: Images and labels, [padded, ...]. The first `batch` rows are real and the rest is padding.
      drawn: Crops and flips, from `draw_step_crops_and_flips`.
      batch: Number of real images.
    """
    padded = len(rows.labels)
    images = jnp.asarray(rows.images).reshape(padded, *setup.image_shape)
    return AugmentedBatch(
        images=crop_and_flip(drawn, images, setup.experiment.crop_padding),
        labels=jnp.asarray(rows.labels),
        mask=None if padded == batch else jnp.arange(padded) < batch,
    )


_jitted_order = jax.jit(epoch_order, static_argnums=0)


class Loader(Protocol):
    """Provides the images of a trainer.

    Attributes:
      streamed: Whether `training` returns only the images of the requested steps, [steps, padded, ...]. Otherwise it
        returns the whole training set.
      test_size: Number of test images.
    """

    streamed: bool
    test_size: int

    def training(self, step: int, steps: int, batch: int) -> Images:
        """Return the images for the program that takes `steps` steps of `batch` images, beginning at step `step`."""
        ...

    def test(self) -> Iterator[Images]:
        """Yield the test set in pieces."""
        ...


class DeviceLoader:
    """A `Loader` for a data set that is replicated on every device."""

    streamed = False

    def __init__(self, dataset: Dataset, mesh: Mesh):
        self.test_size = dataset.test_size
        self._train, self._test = replicate(
            mesh,
            (
                flat(dataset.train_images, dataset.train_labels),
                flat(dataset.test_images, dataset.test_labels),
            ),
        )

    def training(self, step: int, steps: int, batch: int) -> Images:
        """See `Loader.training`."""
        del step, steps, batch
        return self._train

    def test(self) -> Iterator[Images]:
        """See `Loader.test`."""
        yield self._test


class StreamingLoader:
    """A `Loader` that reads ahead from disk. Each process reads its own share of every batch.

    Args:
      source: The data set.
      setup: The setup of the run.
      mesh: The mesh of the run.
      seed: The seed of the run. Only one, because each seed needs its own images.
    """

    streamed = True

    def __init__(self, source: Source, setup: Setup, mesh: Mesh, seed: int):
        self.test_size = source.test_size
        self._source, self._mesh = source, mesh
        self._batches = _RowsByStep(source, setup, mesh, seed)
        self._iterator: Iterator[tuple[np.ndarray, np.ndarray]] = iter(())
        self._next = -1

    def training(self, step: int, steps: int, batch: int) -> Images:
        """See `Loader.training`. The images are [steps, padded, ...] and split over the devices."""
        if step != self._next:
            ahead = grain.ReadOptions(num_threads=16, prefetch_buffer_size=_READ_AHEAD)
            self._iterator = iter(grain.MapDataset.source(self._batches)[step:].to_iter_dataset(ahead))
        self._next = step + steps
        parts = [next(self._iterator) for _ in range(steps)]
        sharding = NamedSharding(self._mesh, PartitionSpec(None, AXIS))
        padded = padded_size(batch, self._mesh)
        return Images(
            *(
                jax.make_array_from_process_local_data(
                    sharding, np.stack(arrays), (steps, padded, *arrays[0].shape[1:])
                )
                for arrays in zip(*(flat(*part) for part in parts), strict=True)
            )
        )

    def test(self) -> Iterator[Images]:
        """See `Loader.test`."""
        for start in range(0, self.test_size, _TEST_CHUNK):
            rows = np.arange(start, min(start + _TEST_CHUNK, self.test_size))
            yield replicate(self._mesh, flat(*self._source.test.read(rows)))


def make_loader(dataset: Dataset | Source, setup: Setup, mesh: Mesh, seed: int) -> Loader:
    """Make the loader of a run. Only streamed data depend on `seed`.

    Raises:
      DataError: If the data set does not fit on a device.
    """
    if isinstance(dataset, Source):
        return StreamingLoader(dataset, setup, mesh, seed)
    try:
        return DeviceLoader(dataset, mesh)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DataError(
            f"{dataset.name}: does not fit into the memory of a device. Add --stream to read images as needed."
        ) from error


class _RowsByStep:
    """A Grain source that maps each step of a run to the rows of its batch that this process needs."""

    def __init__(self, source: Source, setup: Setup, mesh: Mesh, seed: int):
        self._source, self._setup, self._mesh = source, setup, mesh
        self._lock = threading.Lock()
        self._order = functools.lru_cache(maxsize=2)(
            lambda epoch: np.asarray(_jitted_order(setup, np.uint32(seed), np.int32(epoch)))
        )

    def __len__(self) -> int:
        return self._setup.total_steps

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        epoch, place = divmod(int(step), self._setup.steps_per_epoch)
        with self._lock:  # otherwise many threads would compute the same order
            order = self._order(epoch)
        size = self._setup.experiment.batch_size
        rows = order[place * size : (place + 1) * size]
        # Pad a short batch with the first image, as in memory. The mask excludes it.
        rows = np.pad(rows, (0, padded_size(len(rows), self._mesh) - len(rows)))
        return self._source.train.read(rows[rows_here(self._mesh, len(rows))])
