"""Settings of XLA that must be in place before JAX starts its backend."""

import os
from importlib import metadata
from pathlib import Path

from train.records.provenance import cores

# XLA's CPU compiler gives convolutions, products and reductions to a library whose convolutions are slow. This flag
# leaves only the reductions to it. A step of WRN-16-1 gets about 1.3 times as fast with jaxlib 0.10.2, and a little
# faster with 0.12. XLA aborts on unknown flags, so only versions on which the flag was tried get it.
_FASTER_CONVOLUTIONS = "--xla_cpu_experimental_ynn_fusion_type=reduce"
_TRIED = ("0.10.", "0.12.")
_DEVICE_COUNT = "xla_force_host_platform_device_count"


def configure() -> None:
    """Set the flags for this machine and turn on the persistent compilation cache, unless the user chose otherwise.

    If `XLA_FLAGS` already contains the flag, its value is kept. `JAX_COMPILATION_CACHE_DIR` sets the folder of the
    cache. An empty value turns the cache off.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if metadata.version("jaxlib").startswith(_TRIED) and "ynn_fusion_type" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_FASTER_CONVOLUTIONS}".strip()

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and (cache := _cache()) is not None:
        # Set as a variable: importing JAX to set it would slow down `--help`.
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)


def make_cores_devices() -> None:
    """Turn each CPU core of this process into a JAX device, so that seeds train side by side on a CPU.

    Call this function before JAX starts its backend. It does nothing on one core, or if the user chose a number of CPU
    devices with `JAX_NUM_CPU_DEVICES` or in `XLA_FLAGS`. GPUs and TPUs are not affected.
    """
    import jax

    chosen = "JAX_NUM_CPU_DEVICES" in os.environ or _DEVICE_COUNT in os.environ.get("XLA_FLAGS", "")
    if not chosen and (number := cores()) > 1:
        jax.config.update("jax_num_cpu_devices", number)


def _cache() -> Path | None:
    """Return a folder for compiled programs, or None if none can be written."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        # The XDG specification says to ignore relative paths. `Path.home` fails for a user unknown to the system.
        cache = (given if given.is_absolute() else Path.home() / ".cache") / "lcam-optax"
        cache.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return cache if os.access(cache, os.W_OK | os.X_OK) else None
