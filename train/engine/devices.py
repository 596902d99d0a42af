"""Devices and shardings: one axis, `data`, over which batches are split; all else is replicated."""

from typing import TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from train.errors import ConfigError

AXIS = "data"

Tree = TypeVar("Tree")


def make_mesh(devices: int | None = None) -> Mesh:
    """A mesh over the first `devices` devices, by default over all of all processes.

    Raises:
      ConfigError: If there are not as many, or some processes would be left without.
    """
    there = jax.devices()
    if devices is not None and not 1 <= devices <= len(there):
        raise ConfigError(f"devices is {devices}, allowed: 1 to {len(there)}, as many as there are here.")
    if devices not in (None, len(there)) and jax.process_count() > 1:
        raise ConfigError(f"devices is {devices}, allowed with several processes: all {len(there)}; leave it out.")
    mesh = Mesh(np.asarray(there[:devices]), (AXIS,), axis_types=(AxisType.Auto,))
    if mesh.size > 1 and there[0].platform == "cpu":
        # A CPU program that comes from the persistent cache has lost the order of its collectives, and hangs or dies
        # (jaxlib 0.10.2): none is put there.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", float("inf"))
    return mesh


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """The first axis is split over the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def replicate(mesh: Mesh, tree: Tree) -> Tree:
    """Put NumPy arrays, the same in every process, on every device whole."""
    sharding = replicated(mesh)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_callback(x.shape, sharding, lambda index: x[index]), tree)


def rows_here(mesh: Mesh, size: int) -> np.ndarray:
    """Which rows of a batch, split by `split_batch`, lie on this process's devices; ascending."""
    parts = split_batch(mesh).addressable_devices_indices_map((size,)).values()
    return np.sort(np.concatenate([np.arange(size)[part] for part in parts]))


def padded_size(size: int, mesh: Mesh) -> int:
    """The smallest number of rows that holds `size` and divides evenly over the devices."""
    return -(-size // mesh.size) * mesh.size
