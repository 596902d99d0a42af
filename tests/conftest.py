"""Settings of every test: eight virtual CPU devices, strict dtype promotion, programs compiled once."""

import os
import sys
from pathlib import Path

# These have to be set before JAX starts its backend.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
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

hypothesis.settings.register_profile("default", deadline=None, max_examples=30)
hypothesis.settings.load_profile("default")


@pytest.fixture(autouse=True)
def compile_cache():
    """A mesh of several devices switches the cache off for its process: here, for its test."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    yield
    jax.config.update(name, before)
