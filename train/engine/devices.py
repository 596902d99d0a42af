"""Devices and shardings: seeds are spread over one axis of the mesh, and batches are split over the other."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from train.errors import ConfigError

SEED, AXIS = "seed", "data"

Tree = TypeVar("Tree")


def make_mesh(devices: int | None = None, *, rows: int = 1) -> Mesh:
    """Make a mesh over the first `devices` devices, by default over all of all processes.

    Args:
      devices: How many devices.
      rows: Size of the axis `seed`. The devices of a row split each batch. Rows do not communicate.

    Raises:
      ConfigError: If there are fewer devices, they cannot be divided, or some processes would be left without.
    """
    there = jax.devices()
    require_devices(devices)
    chosen = np.asarray(there[:devices])
    if len(chosen) % rows:
        raise ConfigError(f"devices is {len(chosen)}, allowed for {rows} seeds side by side: a multiple of {rows}.")
    mesh = mesh_of(chosen, rows)
    if mesh.shape[AXIS] > 1 and there[0].platform == "cpu":
        # A CPU program that comes from the persistent cache has lost the order of its collectives, and hangs or dies
        # (jaxlib 0.10.2): none is put there.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", float("inf"))
    return mesh


def require_devices(devices: int | None) -> None:
    """Refuse a number of devices that cannot be had.

    Raises:
      ConfigError: If there are fewer, or some processes would be left without.
    """
    there = jax.device_count()
    if devices is not None and not 1 <= devices <= there:
        raise ConfigError(f"devices is {devices}, allowed: 1 to {there}, as many as there are here.")
    if devices not in (None, there) and jax.process_count() > 1:
        raise ConfigError(f"devices is {devices}, allowed with several processes: all {there}; leave it out.")


def mesh_of(devices: Any, rows: int = 1) -> Mesh:
    """Make the mesh of some devices: `rows` rows along the axis `seed`."""
    return Mesh(np.asarray(devices).reshape(rows, -1), (SEED, AXIS), axis_types=(AxisType.Auto,) * 2)


def cores_are_devices() -> bool:
    """Whether `train.engine.backend.make_cores_devices` made the devices; users do it with variables."""
    on_cpu = jax.default_backend() == "cpu"
    return on_cpu and jax.config.values["jax_num_cpu_devices"] > 1 and "JAX_NUM_CPU_DEVICES" not in os.environ


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def by_seed(mesh: Mesh) -> NamedSharding:
    """The first axis, that of the seeds, is spread over the rows; the devices of a row hold the same."""
    return NamedSharding(mesh, PartitionSpec(SEED))


def split_batch(mesh: Mesh) -> NamedSharding:
    """The first axis is split over the devices of a row."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def on_each_row(program: Callable[..., Any], mesh: Mesh, shared: tuple[bool, ...]) -> Callable[..., Any]:
    """Let each row of a mesh run a program on its own seeds, without a word to the other rows.

    Args:
      program: Takes arrays with a leading axis of the row's seeds, and returns such arrays.
      mesh: With `rows` rows.
      shared: Of each argument, whether it is the same for all seeds and has no such axis.

    Returns:
      The function of arrays with a leading axis of all seeds.
    """

    def run(*arguments: Any) -> Any:
        # The convolutions have to know whether the batch is split.
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            if mesh.shape[SEED] == 1:
                return program(*arguments)
            specs = tuple(PartitionSpec() if same else PartitionSpec(SEED) for same in shared)
            # A device that is alone with its seed has nothing left to XLA's partitioner, whose rewriting would round
            # otherwise than a program of one device.
            manual = {SEED, AXIS} if mesh.shape[AXIS] == 1 else {SEED}
            return jax.shard_map(
                program,
                mesh=mesh.abstract_mesh,
                in_specs=specs,
                out_specs=PartitionSpec(SEED),
                axis_names=manual,
                check_vma=False,  # a loop's first values are constants, the same on all rows, and its results are not
            )(*arguments)

    return run


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
    """The smallest number of rows that holds `size` and divides evenly over the devices of a row."""
    return -(-size // mesh.shape[AXIS]) * mesh.shape[AXIS]
