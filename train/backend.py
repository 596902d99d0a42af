"""Settings of XLA that have to be in place before JAX starts its backend."""

import os
from importlib import metadata
from pathlib import Path

# By default XLA's CPU compiler hands convolutions to a library that is slow at weight gradients; without it a WRN-16-1
# step runs about 1.6 times as fast. XLA aborts on a flag it does not know: only versions on which it was tried.
_FASTER_CONVOLUTIONS = "--xla_cpu_experimental_ynn_fusion_type="
_TRIED = ("0.10.",)


def configure() -> None:
    """Set the flags for this machine and switch the persistent compilation cache on, unless the user has chosen.

    `XLA_FLAGS` that name the same flag stay as they are; `JAX_COMPILATION_CACHE_DIR` moves the cache, and an empty one
    switches it off.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if metadata.version("jaxlib").startswith(_TRIED) and "ynn_fusion_type" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_FASTER_CONVOLUTIONS}".strip()

    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(cache / "lcam-optax"))
