"""Which seeds train at the same time, and on which devices."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from train import records
from train.engine.devices import Mesh, cores_are_devices, make_mesh, require_devices
from train.errors import ConfigError
from train.experiments import Experiment

# Maximum number of seeds that a name lists one by one. File systems limit a name to 255 bytes.
_MOST_LISTED = 20


class SeedSet(NamedTuple):
    """Seeds that train at the same time. All fields have JSON types.

    Attributes:
      seeds: The seeds, in the order of the leading axis of all arrays.
      apart: Whether each seed has its own devices. Otherwise the seeds share their devices and are vmapped.
      devices: Number of devices per seed if the seeds are apart, otherwise of all seeds together. None means all.
    """

    seeds: list[int]
    apart: bool = False
    devices: int | None = None

    @property
    def rows(self) -> list[int]:
        """The seeds on the leading axis of the state: `seeds`, and repeats of the last one for rows without a seed.

        With several processes all rows train, because each process must take part in every program.
        """
        if not self.apart or jax.process_count() == 1:
            return self.seeds
        idle = jax.device_count() // (self.devices or 1) - len(self.seeds)
        return self.seeds + idle * self.seeds[-1:]

    @property
    def vmapped(self) -> list[int]:
        """The seeds of a vmapped program. Empty if each seed has its own program."""
        return [] if self.apart or len(self.seeds) == 1 else self.seeds

    def mesh(self) -> Mesh:
        """Make the mesh of the devices.

        Raises:
          ConfigError: If there are too few devices.
        """
        if not self.apart:
            return make_mesh(self.devices)
        rows = len(self.rows)
        return make_mesh(rows * (self.devices or 1), rows=rows)

    def in_words(self) -> str:
        """The seeds in the name of a folder: `3-1-4`, or `0..255` if they are too many to list."""
        if len(self.seeds) > _MOST_LISTED:
            return f"{self.seeds[0]}..{self.seeds[-1]}"
        return "-".join(map(str, self.seeds))


class Placement(NamedTuple):
    """How seeds without a checkpoint are to train.

    Attributes:
      apart: See `SeedSet`.
      devices: See `SeedSet`.
      most: Maximum number of seeds at the same time.
    """

    apart: bool
    devices: int | None
    most: int

    def sets(self, seeds: Sequence[int]) -> list[SeedSet]:
        """Divide seeds into sets that train one after the other."""
        sets, left = [], [*seeds]
        while left:
            together = left[: self.most]
            if together != [*range(together[0], together[0] + len(together))]:
                together = together[:_MOST_LISTED]
            sets.append(SeedSet(together, self.apart, self.devices))
            left = left[len(together) :]
        return sets


class DeviceOptions(NamedTuple):
    """What the command line asks for.

    Attributes:
      devices: Number of devices to use. None means all.
      devices_per_seed: Number of devices per seed. None lets the program decide.
      stream: Whether images are read from disk during training.
    """

    devices: int | None = None
    devices_per_seed: int | None = None
    stream: bool = False

    @property
    def usable(self) -> int:
        """Number of devices that may be used."""
        return self.devices or jax.device_count()

    @property
    def alone(self) -> int | None:
        """Number of devices for seeds that are not apart. None means all."""
        return 1 if self.devices is None and cores_are_devices() else self.devices


def place(experiment: Experiment, number: int, root: Path, options: DeviceOptions, *, fresh: bool = False) -> Placement:
    """Decide how to train the seeds of an arm that have no checkpoint.

    Args:
      experiment: The arm.
      number: Number of seeds asked for, including finished ones.
      root: Folder of all runs. Further seeds are trained like the finished runs of the arm.
      options: What the command line asks for.
      fresh: Whether to ignore finished runs.

    Raises:
      ConfigError: If the devices cannot be divided in this way, or the finished runs had more devices.
    """
    vmapped = _MOST_LISTED if experiment.vmap_seeds and not options.stream else 1
    if options.stream:
        if options.devices_per_seed is not None:
            raise ConfigError(
                f"devices-per-seed is {options.devices_per_seed}: allowed only without --stream. Leave it out."
            )
        return Placement(False, options.alone, vmapped)
    require_devices(options.devices)
    if options.devices_per_seed is not None:
        return _apart(options.devices_per_seed, options.usable)
    known = None if fresh else _known(records.of_arm(root, experiment.name))
    if known is not None:
        devices, together = known
        if devices > options.usable:
            raise ConfigError(
                f"{root / experiment.name}: each finished run was trained on {devices} devices, but only "
                f"{options.usable} may be used here. Use {devices} devices, or choose another number for the other "
                "seeds with --devices-per-seed."
            )
        if together:
            return Placement(False, devices if jax.process_count() == 1 else options.alone, vmapped)
        if jax.process_count() > 1 and options.usable % devices:
            raise ConfigError(
                f"{root / experiment.name}: each finished run was trained on {devices} devices, which does not divide "
                f"the {options.usable} devices of all processes. Choose another number for the other seeds with "
                "--devices-per-seed."
            )
        return _apart(devices, options.usable, exactly=False)
    if number > 1 and options.usable > 1:
        return _apart(1, options.usable)
    return Placement(False, options.alone, vmapped)


def as_begun(begun: SeedSet, options: DeviceOptions, folder: Path) -> SeedSet:
    """Choose the devices on which a set of seeds resumes from its checkpoint.

    Args:
      begun: The set, as the name of its folder describes it.
      options: What the command line asks for.
      folder: Folder of the checkpoints.

    Raises:
      ConfigError: If the set cannot continue as it began.
    """
    own, number = options.devices_per_seed, len(begun.seeds)
    if not begun.apart:
        if own is not None and number > 1:
            raise ConfigError(
                f"{folder}: these seeds share their devices. Leave out --devices-per-seed, or use --fresh."
            )
        # Several processes have to use all their devices.
        return begun._replace(devices=options.alone if own is None or jax.process_count() > 1 else own)
    if options.stream:
        raise ConfigError(
            f"{folder}: each of these seeds has its own devices. Continue without --stream, or use --fresh."
        )
    if own not in (None, begun.devices):
        raise ConfigError(
            f"{folder}: each of these seeds has {begun.devices} devices. Leave out --devices-per-seed, or use --fresh."
        )
    needed = number * (begun.devices or 1)
    if needed > options.usable:
        raise ConfigError(
            f"{folder}: these {number} seeds train on {needed} devices, but only {options.usable} may be used here. "
            f"Use {needed} devices, or start again with --fresh."
        )
    if jax.process_count() > 1 and options.usable % (begun.devices or 1):
        raise ConfigError(
            f"{folder}: each of these seeds has {begun.devices} devices, which does not divide the {options.usable} "
            "devices of all processes. Use another number of devices, or start again with --fresh."
        )
    return begun


def _apart(devices: int, usable: int, *, exactly: bool = True) -> Placement:
    if devices < 1 or devices > usable or (exactly and usable % devices):
        raise ConfigError(
            f"devices-per-seed is {devices}, allowed: a whole number that divides {usable}, the number of devices."
        )
    return Placement(True, devices, usable // devices)


def _known(finished: Iterable[records.Record]) -> tuple[int, bool] | None:
    """Return the number of devices per finished run and whether the runs were vmapped.

    Returns None if the runs differ or do not say. A single run does not decide how several seeds train.
    """
    ways = []
    for record in finished:
        devices, vmapped = record.device.get("count"), record.device.get(records.VMAPPED)
        if type(devices) is int and type(vmapped) is list:
            ways.append((devices, bool(vmapped)))
    return ways[0] if len(ways) > 1 and len(set(ways)) == 1 else None
