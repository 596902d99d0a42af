"""`python -m train bench`."""

import dataclasses
import importlib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from train.bench.accelerators import TargetName
from train.errors import ConfigError
from train.experiments import arguments
from train.records.provenance import command_line

Name = Literal["optimizer", "step", "epoch", "seeds", "memory", "startup", "scaling", "compiled"]

_OWN = arguments.option("the benchmark's")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure the time and the memory that LCAM, JAX and PyTorch take on this machine.

    The programs of a benchmark take turns, so that other work slows all of them.

    Attributes:
      names: The benchmarks to run, one after the other: optimizer, step, epoch, seeds, memory, startup, scaling,
        compiled. On a GPU step, epoch, memory and the first steps of startup take the authors' network, WRN-28-10, and
        an epoch has 390 batches. On a CPU step and epoch take WRN-16-1 and WRN-16-4, the others WRN-16-1, and an epoch
        has 5 batches. Everywhere optimizer and the large compile of startup take WRN-28-10, seeds WRN-10-1 and scaling
        WRN-16-1. The benchmark compiled runs nothing: it asks the compilers of accelerators that need not be here for
        counts and bounds of a step of WRN-28-10. It needs the extras compile-cuda and compile-tpu, in an environment of
        their own.
      json: Write all numbers to this file.
      repeats: Let each program take this many turns.
      depth: Layers of the Wide ResNet: 10, 16, 22, 28, ... (6n + 4).
      width: Factor on the channels of the Wide ResNet.
      batch_size: Images per step.
      dtype: Number format of the activations.
      data: Shape the random images like those of this data set.
      steps: Optimizer steps in one program, or in an epoch.
      seeds: Train this many seeds. The benchmark `seeds` compares ways to do it. `compiled` gives each seed devices of
        its own.
      updates: Optimizer updates in one call, for the benchmark `optimizer`.
      target: Accelerators to compile for, for the benchmark `compiled`.
      devices: How many of them together, for the benchmark `compiled`.
    """

    names: Annotated[
        tyro.conf.Positional[tuple[Name, ...]],
        tyro.conf.arg(metavar="BENCHMARK ...", help_behavior_hint="(one or more)"),
    ]
    json: Annotated[Path | None, arguments.option("no file", "FILE")] = None
    repeats: Annotated[int | None, _OWN] = None
    depth: Annotated[int | None, _OWN] = None
    width: Annotated[int | None, _OWN] = None
    batch_size: Annotated[int | None, _OWN] = None
    dtype: Annotated[Literal["bfloat16", "float32"] | None, _OWN] = None
    data: Annotated[Literal["cifar10", "digits"] | None, _OWN] = None
    steps: Annotated[int | None, _OWN] = None
    seeds: Annotated[int | None, _OWN] = None
    updates: Annotated[int | None, _OWN] = None
    target: Annotated[tuple[TargetName, ...] | None, _OWN] = None
    devices: Annotated[int | None, _OWN] = None

    def __call__(self, console: Console) -> None:
        """Carry the command out.

        Raises:
          ConfigError: If no benchmark is named, one is named twice, an option is of no use to one or out of its range,
            or the file cannot be written.
        """
        if not self.names or len(set(self.names)) < len(self.names):
            raise ConfigError(
                f"bench: names are {' '.join(self.names) or 'missing'}, allowed: one or more of "
                "optimizer step epoch seeds memory startup scaling compiled, each once."
            )
        if "seeds" in self.names:
            from train.engine.backend import make_cores_devices

            make_cores_devices()
        modules = [importlib.import_module(f"train.bench.{name}") for name in self.names]
        # All that can be wrong is looked at before the first benchmark takes its minutes.
        runs = [(module.run, self._options(name, module)) for name, module in zip(self.names, modules, strict=True)]
        if self.json is not None:
            from train.bench import result

            result.require_writable(self.json)
        self._carry_out(runs, console)

    def _options(self, name: str, module: Any) -> Any:
        """The options of one benchmark, with those that were given; none is out of its range."""
        from train.bench.workload import experiment_of, require_counts

        given = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("names", "json") and getattr(self, field.name) is not None
        }
        taken = [field.name for field in dataclasses.fields(module.Options)]
        for option in given:
            if option not in taken:
                words = ", ".join(f"--{other.replace('_', '-')}" for other in taken)
                raise ConfigError(f"bench {name}: takes no --{option.replace('_', '-')}. It takes {words}.")
        options = module.Options(**given)
        require_counts(options)
        for case in module.networks(options):
            experiment_of(case)
        return options

    def _carry_out(self, runs: list[Any], console: Console) -> None:
        import jax

        from train.bench import result
        from train.bench.workload import on_gpu

        # Compile times are to be those of the compiler, not of the disk.
        jax.config.update("jax_enable_compilation_cache", False)
        results = []
        for run, options in runs:
            load = _load()
            results.append(run(options))
            results[-1].facts["load average before"] = load
            results[-1].show(console, absolute=on_gpu())
            if self.json is not None:
                # After each benchmark, so that a later failure costs nothing.
                result.write(self.json, results, command_line())
        if not on_gpu() and self.names != ("compiled",):
            console.print(
                "Ratios of programs that took turns; seconds on a CPU that others may use say little and are only in "
                "the JSON."
            )
        if any((found.facts["load average before"] or 0) > (os.cpu_count() or 1) / 2 for found in results):
            console.print(
                "Other programs kept this machine busy. PyTorch's threads suffer more from that than JAX's, as they "
                "wait for each other: compare the two on an idle machine."
            )
        if self.json is not None:
            # No markup: a path may have brackets in it.
            console.print(f"Written to {self.json}", highlight=False, markup=False, soft_wrap=True)


def _load() -> float | None:
    """How many processes wanted to run in the last minute; None where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
