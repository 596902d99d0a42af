"""The accelerators that `bench compiled` knows: their compilers, peak rates and topologies."""

import dataclasses
import importlib.metadata
import os
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh

from train.bench.accelerators import TargetName
from train.engine.devices import mesh_of
from train.errors import ConfigError

# Platform to the distribution with its compiler, and to the extra that installs it.
_COMPILERS = {"cuda": ("jax-cuda12-pjrt", "compile-cuda"), "tpu": ("libtpu", "compile-tpu")}
_GPUS_OF_A_HOST = 8
_GPU_FIELDS = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536 shared_memory_per_block: 49152
  {fields}
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 }} device_description_str: "{description}"
"""
_HOPPER = (
    "core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98 l2_cache_size: 52428800 shared_memory_per_core: 233472 "
    "shared_memory_per_block_optin: 232448 cuda_compute_capability { major: 9 } "
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """An accelerator and the peak rates assumed for it.

    Attributes:
      name: Name for `--target`.
      platform: "cuda" or "tpu".
      description: Full name.
      bfloat16: Floating-point operations per second in bfloat16 products.
      float32: Floating-point operations per second in float32 products at XLA's default precision.
      bandwidth: Bytes per second from and to the device's memory.
      link: Bytes per second that a device sends to the others of its host or slice, from the data sheet.
      peaks: Source of the first three rates.
      clock: Cycles per second; None for GPUs, whose compiler estimates no cycles.
      slices: Maps a number of chips to the shape of the smallest topology that has them. For GPUs this is one host.
      gpu_fields: The part of XLA's GPU description that differs between GPUs.
    """

    name: TargetName
    platform: Literal["cuda", "tpu"]
    description: str
    bfloat16: float
    float32: float
    bandwidth: float
    link: float
    peaks: str
    clock: float | None = None
    slices: dict[int, str]
    gpu_fields: str = ""

    def peak(self, dtype: str) -> float:
        """Floating-point operations per second in products of this dtype, written as in HLO, such as bf16."""
        return self.float32 if dtype in ("f32", "f64") else self.bfloat16

    @property
    def compiler(self) -> str:
        """The installed compiler and its version.

        Raises:
          ConfigError: If it is not installed. The message contains the commands that install it.
        """
        distribution, extra = _COMPILERS[self.platform]
        try:
            return f"{distribution} {importlib.metadata.version(distribution)}"
        except importlib.metadata.PackageNotFoundError as error:
            raise ConfigError(
                f"{self.name}: its compiler ({distribution}) is not installed here. Install it into an environment of "
                "its own, never into the one that trains: python -m venv .venv-compile && "
                f'.venv-compile/bin/pip install -e ".[train,{extra}]", then run this command with '
                ".venv-compile/bin/python."
            ) from error

    def mesh(self, devices: int, rows: int = 1) -> Mesh:
        """Make a mesh of described devices, which need not exist here, with `rows` along the axis `seed`.

        Raises:
          ConfigError: If the accelerator cannot have this number of devices.
        """
        if devices not in self.slices:
            allowed = ", ".join(map(str, self.slices))
            raise ConfigError(f"devices is {devices}, allowed for {self.name}: {allowed}.")
        from jax.experimental import topologies

        shape = self.slices[devices]
        if self.platform == "cuda":
            text = _GPU_FIELDS.format(fields=self.gpu_fields, description=self.description)
            topology = topologies.get_topology_desc(
                platform="cuda", topology_name="any", topology=shape, target_config=text
            )
        else:
            topology = topologies.get_topology_desc(platform="tpu", topology_name=f"{self.name}:{shape}")
        chosen: Any = np.asarray(topology.devices[:devices])
        return mesh_of(chosen, rows)


def prepare() -> None:
    """Make JAX compute on the CPU and let the compilers load without their devices. Call before any backend starts."""
    jax.config.update("jax_platforms", "cpu")
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # otherwise libtpu searches minutes for a cloud's metadata server
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # otherwise a lock file admits one process at a time
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # compiling needs no CUDA libraries
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hide the warning that there is no driver


def _gpu(name: TargetName, **fields: Any) -> Target:
    hosts = {number: f"1x1x{number}" for number in range(1, _GPUS_OF_A_HOST + 1)}
    return Target(name=name, platform="cuda", slices=hosts, **fields)


_SQUARES = {1: "2x2", 2: "2x2", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
_CUBES = {1: "2x2x1", 2: "2x2x1", 4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4"}

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        _gpu(
            "h200",
            description="NVIDIA H200 SXM",
            bfloat16=790e12,
            float32=395e12,
            bandwidth=4.3e12,
            link=450e9,
            peaks="products and copies measured on an H200; TF32 taken as half of bfloat16",
            gpu_fields=_HOPPER + "memory_bandwidth: 4800000000000 device_memory_size: 151397597184",
        ),
        _gpu(
            "h100",
            description="NVIDIA H100 SXM",
            bfloat16=989e12,
            float32=494e12,
            bandwidth=3.35e12,
            link=450e9,
            peaks="data sheet; nothing was measured",
            gpu_fields=_HOPPER + "memory_bandwidth: 3352320000000 device_memory_size: 84942979072",
        ),
        _gpu(
            "a100",
            description="NVIDIA A100 SXM 80 GB",
            bfloat16=312e12,
            float32=156e12,
            bandwidth=2.04e12,
            link=300e9,
            peaks="data sheet; nothing was measured",
            gpu_fields=(
                "core_count: 108 fpus_per_core: 64 clock_rate_ghz: 1.41 l2_cache_size: 41943040 "
                "shared_memory_per_core: 167936 shared_memory_per_block_optin: 166912 "
                "cuda_compute_capability { major: 8 } memory_bandwidth: 2039000000000 device_memory_size: 85899345920"
            ),
        ),
        Target(
            name="v5e",
            platform="tpu",
            description="TPU v5e chip",
            bfloat16=197e12,
            float32=197e12,
            bandwidth=819e9,
            link=200e9,
            clock=1.5e9,
            peaks="data sheet; nothing was measured; float32 products are bfloat16 ones by default",
            slices=_SQUARES,
        ),
        Target(
            name="v5p",
            platform="tpu",
            description="TPU v5p chip",
            bfloat16=459e12,
            float32=459e12,
            bandwidth=2765e9,
            link=600e9,
            clock=1.75e9,
            peaks="data sheet; nothing was measured; float32 products are bfloat16 ones by default",
            slices=_CUBES,
        ),
        Target(
            name="v6e",
            platform="tpu",
            description="TPU v6e chip",
            bfloat16=918e12,
            float32=918e12,
            bandwidth=1640e9,
            link=448e9,
            clock=1.75e9,
            peaks="data sheet; nothing was measured; float32 products are bfloat16 ones by default",
            slices=_SQUARES,
        ),
    )
}
