"""Devices and shardings: one axis, `data`, over which batches are split; all else is replicated."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"


def make_mesh(devices: int | None = None) -> Mesh:
    """A mesh over the first `devices` devices of all processes, by default over all."""
    return Mesh(np.asarray(jax.devices()[:devices]), (AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """The first axis is split over the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def padded_size(size: int, mesh: Mesh) -> int:
    """The smallest number of rows that holds `size` and divides evenly over the devices."""
    return -(-size // mesh.size) * mesh.size
