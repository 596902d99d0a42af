"""Let several processes train one model: connect, agree when to stop, and notice when one is lost."""

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

from train.engine.devices import AXIS, SEED, replicated
from train.errors import ConfigError, UserError

# A process that sends no heartbeat for so long counts as lost.
_HEARTBEAT_SECONDS = 30
_MEETING_SECONDS = 300
# At the end, the other processes wait while the first writes the records and the report.
_PARTING_SECONDS = 3600
# After an error, the other processes have this long to fail with the same error.
_LEAVING_SECONDS = 10
# Messages of Gloo, NCCL and JAX's coordination service about a lost process, after a status in capitals.
_LOST = re.compile(
    r"[A-Z_]+: .*(?i:connection (reset|closed|refused)|closed by peer|broken pipe|timeout|timed out|remote process"
    r"|heartbeat|another task|socket closed)"
)


def join(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Connect to the other processes of the run, before JAX starts its devices. Does nothing if none is named.

    Arguments that are None are read from `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`.

    Args:
      coordinator: Address and port of the first process, such as `10.0.0.1:1234`. With `auto`, the cluster provides
        everything, if `jax.distributed` supports it (SLURM, Open MPI, Kubernetes, Cloud TPU and others).
      processes: Number of processes.
      process: Index of this process, counted from 0.

    Raises:
      ConfigError: If only some of the three are given, they do not fit together, or the processes do not connect.
    """
    address = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    number = _whole("JAX_NUM_PROCESSES", processes)
    index = _whole("JAX_PROCESS_ID", process)
    if address == "auto":
        # JAX would read this variable first and use "auto" as an address.
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
    # Gloo, which connects CPUs, may confuse the messages of programs that run at the same time.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    # JAX's own SIGTERM handler would swallow a signal that arrives before `StopSignals` is entered.
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
        raise ConfigError(f"The processes of the run could not connect: {str(error).splitlines()[0]}") from error


def is_first() -> bool:
    """Whether this process is the first, which alone prints and writes."""
    return jax.process_index() == 0


def of_first(look: Callable[[], Any]) -> Any:
    """Call `look` in the first process, and return its result, a JSON value, in all processes.

    All processes have to call this function.

    Raises:
      UserError: If `look` raises one. With several processes, a ConfigError with its message in all of them.
    """
    if jax.process_count() == 1:
        return look()
    told = b""
    if is_first():
        try:
            told = json.dumps({"value": look()}).encode()
        except UserError as error:
            told = json.dumps({"error": str(error)}).encode()
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(told))))
    text = np.frombuffer(told, np.uint8) if is_first() else np.zeros(size, np.uint8)
    heard = json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(text))))
    if "error" in heard:
        raise ConfigError(heard["error"])
    return heard["value"]


class Agreement:
    """Share between processes whether to stop or save, so that all do it after the same slice and none waits.

    Args:
      mesh: The mesh over all devices of all processes.
    """

    def __init__(self, mesh: Mesh):
        self._rows = NamedSharding(mesh, PartitionSpec((SEED, AXIS)))
        self._local = len(mesh.local_devices)
        self._largest = jax.jit(lambda requests: requests.max(axis=0), out_shardings=replicated(mesh))
        self._pending: jax.Array | None = None

    def reach(self, stop: int, save: bool) -> tuple[int, bool]:
        """Send the request of this process and return the combined request of all processes.

        With several processes, the result combines the requests of the previous call.

        Args:
          stop: Reason to stop: the number of a signal or a larger number; 0 to continue. The largest one wins.
          save: Whether it is time for a checkpoint. Only the first process's clock decides.
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
    """Whether this process is connected to others."""
    return jax.distributed.is_initialized()


def leave(status: int) -> None:
    """End this process soon after a failure. Does nothing if it is not connected to others.

    A normal exit would wait up to `_PARTING_SECONDS` for the others. They may be in a step that they cannot finish
    without this process, and only notice the failure when it has ended.
    """
    if not joined():
        return
    sys.stdout.flush()
    # If all processes fail alike, they end at once.
    parting = threading.Thread(target=jax.distributed.shutdown, daemon=True)
    parting.start()
    parting.join(_LEAVING_SECONDS)
    os._exit(status)


def is_loss(error: BaseException) -> bool:
    """Whether an error means that another process is lost. JAX raises such errors with several types."""
    return bool(_LOST.match(_first_line(error)))


def leave_after_loss(error: BaseException) -> None:
    """End this process after an error in a common step, which no process can finish."""
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
