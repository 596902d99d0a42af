"""The benchmark `compiled`: what an accelerator's compiler counts in a run's programs. It measures no times."""

import dataclasses
from typing import Any

import jax
from rich.console import Console

from train.bench.accelerators import TargetName, counts, hlo, show
from train.bench.accelerators.programs import STEPS, Compiled, Programs
from train.bench.accelerators.targets import TARGETS, Target, prepare
from train.bench.result import Result
from train.bench.workload import LARGE, Case, Dtype
from train.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The network to compile, and the accelerators to compile it for.

    Attributes:
      target: Names of the accelerators.
      devices: Number of GPUs in one host, or of chips in a TPU slice.
      depth: Depth of the Wide ResNet.
      width: Width factor of the Wide ResNet.
      batch_size: Images per step.
      dtype: Dtype of the activations.
      seeds: Number of seeds. On several devices each seed has its own devices; on one device seeds are vmapped.
    """

    target: tuple[TargetName, ...] = ("h200",)
    devices: int = 1
    depth: int = LARGE.depth
    width: int = LARGE.width
    batch_size: int = LARGE.batch_size
    dtype: Dtype = LARGE.dtype
    seeds: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompiledResult(Result):
    """The figures of each target; see `counts.count` and `describe`."""

    def show(self, console: Console, *, absolute: bool) -> None:
        """Print the counts. `absolute` is ignored, because nothing was timed."""
        del absolute
        for name, found in self.targets.items():
            show.print_target(console, TARGETS[name], self.options, found)
        console.print(show.WHAT_THEY_ARE)


def networks(options: Options) -> list[Case]:
    """The network to compile."""
    fields = {field.name for field in dataclasses.fields(Case)}
    return [Case(**{key: value for key, value in dataclasses.asdict(options).items() if key in fields})]


def run(options: Options) -> Result:
    """Compile the programs for each target.

    Raises:
      ConfigError: If a target's compiler is missing, or the target cannot have this number of devices.
    """
    if not options.target or len(set(options.target)) < len(options.target):
        raise ConfigError(f"target is {' '.join(options.target) or 'missing'}, allowed: one or more, each once.")
    (case,) = networks(options)
    chosen = [TARGETS[name] for name in options.target]
    compilers = [target.compiler for target in chosen]
    prepare()
    # No later run on this machine can use these programs.
    jax.config.update("jax_enable_compilation_cache", False)
    result = CompiledResult(benchmark="compiled", options=dataclasses.asdict(options))
    for target, compiler in zip(chosen, compilers, strict=True):
        found = describe(case, target, options.devices, options.seeds)
        result.targets[target.name] = {"compiler": compiler} | found
    return result


def describe(case: Case, target: Target, devices: int, seeds: int) -> dict[str, Any]:
    """Compile the programs for one target and count what they do.

    Args:
      case: The network.
      target: The accelerator.
      devices: Number of devices.
      seeds: Number of seeds; see `Options`.

    Returns:
      The figures of LCAM's slice on one device, the bytes that SGD moves per step, and under `evaluation` the figures
      of the evaluation.
    """
    lcam, sgd = (Programs(case, target, devices, seeds, optimizer) for optimizer in ("LCAM", "SGD"))
    arrays = _arrays(lcam)
    made, module, found = _counted(lcam.slice(), target, arrays, STEPS)
    leaves = len(jax.tree.leaves(lcam.state(seeds)))
    found |= {
        "description": target.description,
        "peaks": {
            "bfloat16_flops_per_second": target.bfloat16,
            "float32_flops_per_second": target.float32,
            "bytes_per_second": target.bandwidth,
            "link_bytes_per_second": target.link,
            "cycles_per_second": target.clock,
            "source": target.peaks,
        },
        "parameters": lcam.parameters(),
        "optimizer_bytes_per_parameter": counts.optimizer_bytes(module, STEPS, arrays.weights, lcam.parameters()),
        "state_updated_in_place": module.donated >= leaves,
        "peak_bytes": made.peak_bytes,
        "memory": made.memory,
        "compile_seconds": made.seconds,
    }
    other = _counted(sgd.slice(), target, arrays, STEPS)[2]
    found["sgd_bytes_per_step"] = other["bytes_per_step"]
    found["lcam_over_sgd_bytes"] = found["bytes_per_step"] / other["bytes_per_step"]
    evaluated, _, of_evaluation = _counted(lcam.evaluation(), target, arrays, lcam.evaluation_turns)
    found["evaluation"] = of_evaluation | {"peak_bytes": evaluated.peak_bytes, "compile_seconds": evaluated.seconds}
    return found


def _counted(
    made: Compiled, target: Target, arrays: counts.Arrays, turns: int
) -> tuple[Compiled, hlo.Module, dict[str, Any]]:
    module = hlo.parse(made.text)
    return made, module, counts.count(module, target, arrays, turns)


def _arrays(programs: Programs) -> counts.Arrays:
    state = programs.state(programs.seeds_of_device)
    shapes = {hlo.Shape("", leaf.shape).essential for leaf in jax.tree.leaves(state)}
    height, width, channels = programs.setup.image_shape
    pixels = height * width * channels
    return counts.Arrays(
        weights=frozenset(shapes),
        # The size of one device's share of a batch. Every layer but the last makes a larger array.
        activation=programs.batch_of_device * pixels,
        dataset=programs.setup.train_size * pixels,
    )
