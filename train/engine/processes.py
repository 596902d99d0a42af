"""Several processes that train as one: how they meet, agree, and notice that one is lost."""

import json
import os
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from train.engine.devices import AXIS, replicated
from train.errors import ConfigError, RecordError

# After so long without a sign of life a process counts as lost.
_HEARTBEAT_SECONDS = 30
_MEETING_SECONDS = 300
# At the end the others wait while the first writes the records and the report.
_PARTING_SECONDS = 3600
# After an error the others are given this long to end with the same error.
_LEAVING_SECONDS = 10
# What Gloo, NCCL and JAX's coordination service say, after a status in capitals, where a process is gone or silent.
_LOST = re.compile(
    r"[A-Z_]+: .*(?i:connection (reset|closed|refused)|closed by peer|broken pipe|timeout|timed out|remote process"
    r"|heartbeat|another task|socket closed)"
)


def join(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Meet the other processes of the run, before JAX starts its devices; alone if nobody else is named.

    What is not given is read from `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`.

    Args:
      coordinator: Address and port of the first process, such as `10.0.0.1:1234`; or `auto`, to take everything from
        the cluster (SLURM, Open MPI, Kubernetes, Cloud TPU, whatever `jax.distributed` knows).
      processes: How many there are.
      process: Which one this is, from 0.

    Raises:
      ConfigError: If only some of the three are given, they do not fit together, or the others do not come.
    """
    address = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    number = _whole("JAX_NUM_PROCESSES", processes)
    index = _whole("JAX_PROCESS_ID", process)
    if address == "auto":
        # JAX would look there first, and take "auto" for an address.
        os.environ.pop("JAX_COORDINATOR_ADDRESS", None)
        address = None
    elif address is None and number is None and index is None:
        return
    elif address is None or number is None or index is None:
        raise ConfigError(
            f"coordinator is {address}, processes {number}, process {index}: expected all three of them, or "
            "--coordinator auto on a cluster that JAX knows."
        )
    elif not (0 <= index < number and address.rpartition(":")[2].isdigit()):
        raise ConfigError(
            f"coordinator is {address}, processes {number}, process {index}: expected host:port, and a process from 0 "
            "to processes - 1."
        )
    # Gloo, which connects CPUs, may mix up the messages of programs that run at the same time.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    # JAX's own watch for SIGTERM would swallow one that comes before `StopSignals` looks out for it.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            address,
            number,
            index,
            initialization_timeout=_MEETING_SECONDS,
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_PARTING_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"The processes of the run did not meet: {str(error).splitlines()[0]}") from error


def is_first() -> bool:
    """Whether this process is the one that speaks and writes."""
    return jax.process_index() == 0


def of_first(look: Callable[[], Any]) -> Any:
    """What the first process sees, of JSON's types, in all processes; all of them have to call.

    Raises:
      ConfigError: In all of them, if it is raised in the first, or another error that names an unusable file.
    """
    if jax.process_count() == 1:
        return look()
    told = b""
    if is_first():
        try:
            told = json.dumps({"value": look()}).encode()
        except (ConfigError, RecordError) as error:
            told = json.dumps({"error": str(error)}).encode()
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(told))))
    text = np.frombuffer(told, np.uint8) if is_first() else np.zeros(size, np.uint8)
    heard = json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(text))))
    if "error" in heard:
        raise ConfigError(heard["error"])
    return heard["value"]


class Agreement:
    """What any process wishes is known to all of them after the same slice, without anybody waiting.

    Args:
      mesh: Over all devices of all processes.
    """

    def __init__(self, mesh: Mesh):
        self._rows = NamedSharding(mesh, PartitionSpec(AXIS))
        self._local = len(mesh.local_devices)
        self._largest = jax.jit(lambda wishes: wishes.max(axis=0), out_shardings=replicated(mesh))
        self._pending: jax.Array | None = None

    def reach(self, stop: int, save: bool) -> tuple[int, bool]:
        """Say what this process wishes, and hear what some process wished: now if alone, else one call ago.

        Args:
          stop: Why to stop, the number of a signal or a larger one; 0 to go on. The largest is heard.
          save: Whether it is time for a checkpoint; the first process's watch counts.
        """
        if jax.process_count() == 1:
            return stop, save
        own = np.tile(np.asarray([stop, save and is_first()], np.int32), (self._local, 1))
        heard, self._pending = (
            self._pending,
            self._largest(jax.make_array_from_process_local_data(self._rows, own)),
        )
        if heard is None:
            return 0, False
        stop, due = np.asarray(heard).tolist()
        return stop, bool(due)


def joined() -> bool:
    """Whether this process has met others."""
    return jax.distributed.is_initialized()


def leave(status: int) -> None:
    """End this process after a failure, soon; does nothing if it is alone.

    Python's own exit waits for the others for as long as `_PARTING_SECONDS`. They may be in a step that they cannot
    finish without this process, and learn of the failure when it is gone.
    """
    if not joined():
        return
    sys.stdout.flush()
    # Where all of them fail alike, they part at once.
    parting = threading.Thread(target=jax.distributed.shutdown, daemon=True)
    parting.start()
    parting.join(_LEAVING_SECONDS)
    os._exit(status)


def is_loss(error: BaseException) -> bool:
    """Whether an error says that another process is gone; JAX raises such errors as several types."""
    return bool(_LOST.match(_first_line(error)))


def leave_after_loss(error: BaseException) -> None:
    """End this process after an error in a common step: nobody can finish the step, nor say goodbye."""
    reason = _first_line(error)
    what = (
        f"lost the connection to another process ({reason}). Look for the cause in the output of the others."
        if is_loss(error)
        else f"failed in a common step ({reason}). The others stop as well."
    )
    print(
        f"error: process {jax.process_index()} of {jax.process_count()} {what} Start all of them again, without "
        "--fresh: they resume from the last checkpoint.",
        file=sys.stderr,
        flush=True,
    )
    sys.stdout.flush()
    os._exit(2)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]


def _whole(name: str, given: int | None) -> int | None:
    value = os.environ.get(name) if given is None else given
    try:
        return None if value is None else int(value)
    except ValueError as error:
        raise ConfigError(f"{name} is {value!r}, allowed: a whole number.") from error
