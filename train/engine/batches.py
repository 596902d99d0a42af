"""Where the programs of an epoch get their images from: the device itself, or the disk.

Both give the same images for the same seed and step, so that a streamed run is the run in memory.
"""

import functools
import threading
from collections.abc import Iterator
from typing import Protocol

import grain
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from train.data.dataset import Dataset, Source
from train.engine import devices as meshes
from train.engine.state import Setup
from train.engine.step import Images, epoch_order
from train.errors import DataError

_TEST_CHUNK = 5000
# Batches that are being read, or wait to be used.
_READ_AHEAD = 32

_order_of_epoch = jax.jit(epoch_order, static_argnums=0)


class Feed(Protocol):
    """Gives a cohort its images.

    Attributes:
      streamed: Whether a slice gets the images of its own steps (see `slice_program` in
        `train.engine.step`), or all of them.
      test_size: Number of test images.
    """

    streamed: bool
    test_size: int

    def training(self, step: int, steps: int, batch: int) -> Images:
        """What the program of `steps` steps of `batch` images needs, from step `step` of the run on."""
        ...

    def test(self) -> Iterator[Images]:
        """The test set, in pieces."""
        ...


class OnDevice:
    """A `Feed` of a data set that lies on every device whole."""

    streamed = False

    def __init__(self, dataset: Dataset, mesh: Mesh):
        self.test_size = dataset.test_size
        self._train, self._test = meshes.replicate(
            mesh,
            (
                Images(dataset.train_images, dataset.train_labels),
                Images(dataset.test_images, dataset.test_labels),
            ),
        )

    def training(self, step: int, steps: int, batch: int) -> Images:
        """See `Feed.training`."""
        del step, steps, batch
        return self._train

    def test(self) -> Iterator[Images]:
        """See `Feed.test`."""
        yield self._test


class Streamed:
    """A `Feed` that reads ahead from disk, each process its own share of every batch.

    Args:
      source: The data set.
      setup: Of the run.
      mesh: Of the run.
      seed: Of the run; seeds that run together would each need images of their own.
    """

    streamed = True

    def __init__(self, source: Source, setup: Setup, mesh: Mesh, seed: int):
        self.test_size = source.test_size
        self._source, self._mesh = source, mesh
        self._batches = _Batches(source, setup, mesh, seed)
        self._iterator: Iterator[tuple[np.ndarray, np.ndarray]] = iter(())
        self._next = -1

    def training(self, step: int, steps: int, batch: int) -> Images:
        """See `Feed.training`; [steps, batch padded to the devices, ...], split over the devices."""
        if step != self._next:
            ahead = grain.ReadOptions(num_threads=16, prefetch_buffer_size=_READ_AHEAD)
            self._iterator = iter(grain.MapDataset.source(self._batches)[step:].to_iter_dataset(ahead))
        self._next = step + steps
        parts = [next(self._iterator) for _ in range(steps)]
        sharding = NamedSharding(self._mesh, PartitionSpec(None, meshes.AXIS))
        padded = meshes.padded_size(batch, self._mesh)
        return Images(
            *(
                jax.make_array_from_process_local_data(
                    sharding, np.stack(arrays), (steps, padded, *arrays[0].shape[1:])
                )
                for arrays in zip(*parts, strict=True)
            )
        )

    def test(self) -> Iterator[Images]:
        """See `Feed.test`."""
        for start in range(0, self.test_size, _TEST_CHUNK):
            rows = np.arange(start, min(start + _TEST_CHUNK, self.test_size))
            yield meshes.replicate(self._mesh, Images(*self._source.test.read(rows)))


def make_feed(dataset: Dataset | Source, setup: Setup, mesh: Mesh, seed: int) -> Feed:
    """The feed of a run; `seed` matters to streamed data only.

    Raises:
      DataError: If the data set does not fit on a device.
    """
    if isinstance(dataset, Source):
        return Streamed(dataset, setup, mesh, seed)
    try:
        return OnDevice(dataset, mesh)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DataError(
            f"{dataset.name}: does not fit into the memory of a device. Add --stream to read it as it is needed."
        ) from error


class _Batches:
    """The batches of a whole run by step, as Grain's random access; of each the rows that this process needs."""

    def __init__(self, source: Source, setup: Setup, mesh: Mesh, seed: int):
        self._source, self._setup, self._mesh = source, setup, mesh
        self._lock = threading.Lock()
        self._order = functools.lru_cache(maxsize=2)(
            lambda epoch: np.asarray(_order_of_epoch(setup, np.uint32(seed), np.int32(epoch)))
        )

    def __len__(self) -> int:
        return self._setup.total_steps

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        epoch, place = divmod(int(step), self._setup.steps_per_epoch)
        with self._lock:  # else many threads would compute the same order
            order = self._order(epoch)
        size = self._setup.experiment.batch_size
        rows = order[place * size : (place + 1) * size]
        # As in memory, a short batch is padded with the first image, which the mask leaves out.
        rows = np.pad(rows, (0, meshes.padded_size(len(rows), self._mesh) - len(rows)))
        return self._source.train.read(rows[meshes.rows_here(self._mesh, len(rows))])
