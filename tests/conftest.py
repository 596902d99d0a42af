"""Settings of every test: eight virtual CPU devices, strict dtype promotion, programs compiled once."""

import gc
import os
import resource
import sys
from pathlib import Path

# These have to be set before JAX starts its backend. A busy machine may keep one of the devices' threads from its turn
# for longer than XLA's 40 seconds.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_cpu_collective_call_terminate_timeout_seconds=300",
        "--xla_cpu_collective_timeout_seconds=300",
    ]
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the time goes into compiling the same small networks: the processes of a test run, and the next run, share it.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

# Much of that is optimizing what then runs for milliseconds. The slow tests run for longer than that.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "0" if "slow" in sys.argv else "1")

import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")

# A check that a change has to pass tries the same examples each time; new ones are found by whoever runs the tests.
hypothesis.settings.register_profile("default", deadline=None, max_examples=30)
hypothesis.settings.register_profile("ci", hypothesis.settings.get_profile("default"), derandomize=True)
hypothesis.settings.load_profile("ci" if "CI" in os.environ else "default")


# As `ru_maxrss` counts: kilobytes, on macOS bytes.
_MUCH_MEMORY = 2**21 if sys.platform != "darwin" else 2**31


@pytest.fixture(autouse=True, scope="module")
def memory():
    """A process that has taken 2 GiB leaves the programs of a module, and its garbage, behind with it."""
    yield
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > _MUCH_MEMORY:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(autouse=True)
def compile_cache():
    """A mesh of several devices switches the cache off for its process: here, for its test."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    yield
    jax.config.update(name, before)
