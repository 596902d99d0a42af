"""Devices and shardings: seeds are spread over one axis of the mesh, and batches are split over the other."""

import functools
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
    """Make a mesh of the first `devices` devices.

    Args:
      devices: Number of devices. None uses all devices of all processes.
      rows: Size of the axis `seed`. The devices of a row split each batch. Rows do not communicate.

    Raises:
      ConfigError: If there are too few devices, `rows` does not divide them, or several processes would not use all
        devices.
    """
    there = jax.devices()
    require_devices(devices)
    chosen = np.asarray(there[:devices])
    if len(chosen) % rows:
        raise ConfigError(f"devices is {len(chosen)}, allowed for {rows} seeds side by side: a multiple of {rows}.")
    mesh = mesh_of(chosen, rows)
    communicates = mesh.shape[AXIS] > 1 or jax.process_count() > 1
    if communicates and there[0].platform == "cpu":
        # A CPU program from the persistent cache has lost the order of its collectives. It hangs or crashes (jaxlib
        # 0.10.2), so such programs are not cached.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", float("inf"))
    return mesh


def require_devices(devices: int | None) -> None:
    """Check that this number of devices can be used.

    Raises:
      ConfigError: If there are too few devices, or several processes would not use all devices.
    """
    there = jax.device_count()
    if devices is not None and not 1 <= devices <= there:
        raise ConfigError(f"devices is {devices}, allowed: 1 to {there}, the number of devices here.")
    if devices not in (None, there) and jax.process_count() > 1:
        raise ConfigError(f"devices is {devices}, allowed with several processes: all {there}. Leave it out.")


def mesh_of(devices: Any, rows: int = 1) -> Mesh:
    """Make a mesh of these devices, with `rows` rows along the axis `seed`."""
    return Mesh(np.asarray(devices).reshape(rows, -1), (SEED, AXIS), axis_types=(AxisType.Auto,) * 2)


def cores_are_devices() -> bool:
    """Whether `train.engine.backend.make_cores_devices` made the devices, and not a variable that the user set."""
    on_cpu = jax.default_backend() == "cpu"
    return on_cpu and jax.config.values["jax_num_cpu_devices"] > 1 and "JAX_NUM_CPU_DEVICES" not in os.environ


def replicated(mesh: Mesh) -> NamedSharding:
    """Make the sharding that replicates an array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_seed(mesh: Mesh) -> NamedSharding:
    """Make the sharding of an array whose first axis is seeds: one part per row, replicated on the row's devices."""
    return NamedSharding(mesh, PartitionSpec(SEED))


def split_batch(mesh: Mesh) -> NamedSharding:
    """Make the sharding that splits the first axis over the devices of a row."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def on_each_row(program: Callable[..., Any], mesh: Mesh, shared: tuple[bool, ...]) -> Callable[..., Any]:
    """Make each row of a mesh run a program on its own seeds. Rows do not communicate.

    Args:
      program: Takes and returns arrays whose leading axis is the seeds of a row.
      mesh: The mesh.
      shared: One bool per argument: whether all seeds share it. A shared argument has no axis of seeds.

    Returns:
      The function of arrays whose leading axis is all seeds.
    """

    def run(*arguments: Any) -> Any:
        # The convolutions must know whether the batch is split.
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            if mesh.shape[SEED] == 1:
                return program(*arguments)
            specs = tuple(PartitionSpec() if same else PartitionSpec(SEED) for same in shared)
            # If each row has one device, leave nothing to XLA's partitioner. It would rewrite the
            # program, and rounding would differ from a program for a single device.
            manual = {SEED, AXIS} if mesh.shape[AXIS] == 1 else {SEED}
            return jax.shard_map(
                program,
                mesh=mesh.abstract_mesh,
                in_specs=specs,
                out_specs=PartitionSpec(SEED),
                axis_names=manual,
                check_vma=False,  # loops start with constants, equal on all rows, but their results differ per row
            )(*arguments)

    return run


def replicate(mesh: Mesh, tree: Tree) -> Tree:
    """Replicate NumPy arrays on every device. They must be equal in every process."""
    sharding = replicated(mesh)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_callback(x.shape, sharding, lambda index: x[index]), tree)


def readable(mesh: Mesh, tree: Tree) -> Tree:
    """Let every process read these arrays, which are the results of a program. All processes have to call this.

    The arrays are replicated by a program of their own. This does not wait for it.
    """
    if jax.process_count() == 1 or all(leaf.is_fully_replicated for leaf in jax.tree.leaves(tree)):
        return tree
    return _replicating(mesh)(tree)


@functools.cache
def _replicating(mesh: Mesh) -> Callable[[Any], Any]:
    return jax.jit(lambda tree: tree, out_shardings=replicated(mesh))


def rows_here(mesh: Mesh, size: int) -> np.ndarray:
    """Return the rows of a batch that `split_batch` puts on this process's devices, in ascending order."""
    parts = split_batch(mesh).addressable_devices_indices_map((size,)).values()
    return np.sort(np.concatenate([np.arange(size)[part] for part in parts]))


def padded_size(size: int, mesh: Mesh) -> int:
    """Return the smallest batch size that is at least `size` and divides evenly over the devices of a row."""
    return -(-size // mesh.shape[AXIS]) * mesh.shape[AXIS]
