"""The benchmark `memory`: how much memory training takes, and whether the state is updated in place."""

import dataclasses
from typing import Any

import jax

from train.bench.result import Result
from train.bench.timing import Donated
from train.bench.workload import Case, CaseOptions, Training, cases, tree_bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(CaseOptions):
    """The network and the size of its programs.

    Attributes:
      steps: Steps per slice.
      seeds: Number of seeds trained together.
    """

    steps: int = 30
    seeds: int = 2


def networks(options: Options) -> list[Case]:
    """The networks to train."""
    return cases(options, on_cpu=(Case(),))


def run(options: Options) -> Result:
    """Compile a step, a slice and several seeds, ask the compiler for their memory, and run each once.

    The device reports one peak since the process began, so the programs run in order of the memory they need.
    """
    (case,) = networks(options)
    training = Training(case, options.steps)
    result = Result(benchmark="memory", options=dataclasses.asdict(options) | dataclasses.asdict(case))
    result.facts["bytes of data"] = tree_bytes(training.data)
    programs = {
        "a step": (1, 1),
        f"a slice of {options.steps} steps": (options.steps, 1),
        f"a slice of {options.seeds} seeds": (options.steps, options.seeds),
    }
    for name, (steps, seeds) in programs.items():
        program, result.compile_seconds[name] = training.slice(steps, seeds)
        memory: Any = program.memory_analysis()
        result.facts[f"{name}: bytes of state"] = tree_bytes(training.abstract_state(seeds))
        result.facts[f"{name}: bytes of state and others updated in place"] = memory.alias_size_in_bytes
        result.facts[f"{name}: bytes of arguments"] = memory.argument_size_in_bytes
        result.facts[f"{name}: bytes of outputs"] = memory.output_size_in_bytes
        result.facts[f"{name}: bytes of temporaries"] = memory.temp_size_in_bytes
        jax.block_until_ready(Donated(program, training.state(seeds), training.data)())
        result.facts[f"{name}: peak bytes on the device until then"] = _peak()
    return result


def _peak() -> int | None:
    """Peak bytes in use on the device since the process began; None on a device without this count, such as a CPU."""
    statistics = jax.devices()[0].memory_stats()
    return None if statistics is None else statistics.get("peak_bytes_in_use")
