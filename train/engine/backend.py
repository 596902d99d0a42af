"""Settings of XLA that have to be in place before JAX starts its backend."""

import os
from importlib import metadata
from pathlib import Path

from train.records.provenance import cores

# XLA's CPU compiler hands convolutions, products and reductions to a library that is slow at the first: left with the
# reductions alone it makes a step of WRN-16-1 about 1.3 times as fast (jaxlib 0.10.2; a little on 0.12). XLA aborts on
# a flag it does not know: only versions on which it was tried.
_FASTER_CONVOLUTIONS = "--xla_cpu_experimental_ynn_fusion_type=reduce"
_TRIED = ("0.10.", "0.12.")
_DEVICE_COUNT = "xla_force_host_platform_device_count"


def configure() -> None:
    """Set the flags for this machine and switch the persistent compilation cache on, unless the user has chosen.

    `XLA_FLAGS` that name the same flag stay as they are; `JAX_COMPILATION_CACHE_DIR` moves the cache, and an empty one
    switches it off.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if metadata.version("jaxlib").startswith(_TRIED) and "ynn_fusion_type" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_FASTER_CONVOLUTIONS}".strip()

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and (cache := _cache()) is not None:
        # As a variable, because importing JAX takes longer than what `--help` does without it.
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)


def make_cores_devices() -> None:
    """Make each CPU core that this process may use a device of JAX, so that seeds train side by side on a CPU.

    It has to come before JAX starts its backend. It does nothing on one core, or where the user chose a number of CPU
    devices with `JAX_NUM_CPU_DEVICES` or in `XLA_FLAGS`. It changes nothing about GPUs and TPUs.
    """
    import jax

    chosen = "JAX_NUM_CPU_DEVICES" in os.environ or _DEVICE_COUNT in os.environ.get("XLA_FLAGS", "")
    if not chosen and (number := cores()) > 1:
        jax.config.update("jax_num_cpu_devices", number)


def _cache() -> Path | None:
    """A folder for compiled programs, None if there is no place for one."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        # The XDG specification has relative paths ignored. A user that the system does not know has no home.
        cache = (given if given.is_absolute() else Path.home() / ".cache") / "lcam-optax"
        cache.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return cache if os.access(cache, os.W_OK | os.X_OK) else None
