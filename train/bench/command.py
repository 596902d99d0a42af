"""The command `python -m train bench`."""

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

    The programs take turns, so that other work on the machine affects all of them.

    Attributes:
      names: The benchmarks to run, one after the other: optimizer, step, epoch, seeds, memory, startup, scaling,
        compiled. On a GPU, step, epoch, memory and the first step of startup use the authors' network, WRN-28-10, and
        an epoch has 390 batches. On a CPU, step and epoch use WRN-16-1 and WRN-16-4, memory and startup use WRN-16-1,
        and an epoch has 5 batches. On any machine, optimizer and the large compile of startup use WRN-28-10, seeds uses
        WRN-10-1 and scaling uses WRN-16-1. The benchmark compiled runs nothing: it compiles a step of WRN-28-10 for
        accelerators that this machine need not have, and prints counts and bounds. It needs the extras compile-cuda and
        compile-tpu in an environment of their own.
      json: Write all numbers to this file.
      repeats: Time each program this many times.
      depth: Layers of the Wide ResNet: 10, 16, 22, 28, ... (6n + 4).
      width: Width factor of the Wide ResNet.
      batch_size: Images per step.
      dtype: Number format of the activations.
      data: Give the random images the shape of this data set.
      steps: Optimizer steps per program, or per epoch.
      seeds: Train this many seeds. The benchmark `seeds` compares ways to do it. `compiled` gives each seed devices of
        its own.
      updates: Optimizer updates per call, for the benchmark `optimizer`.
      target: Accelerators to compile for, for the benchmark `compiled`.
      devices: Number of accelerators that share the step, for the benchmark `compiled`.
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
        """Run the benchmarks.

        Raises:
          ConfigError: If no benchmark is named, one is named twice, a benchmark does not have a given option, an option
            is out of range, or the file cannot be written.
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
        # Check every option before the first benchmark, which takes minutes, begins.
        runs = [(module.run, self._options(name, module)) for name, module in zip(self.names, modules, strict=True)]
        if self.json is not None:
            from train.bench import result

            result.require_writable(self.json)
        self._carry_out(runs, console)

    def _options(self, name: str, module: Any) -> Any:
        """Return the options of one benchmark, changed as the command line says, and check their ranges."""
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

        # Measure the compiler, not how fast the disk reads its cache.
        jax.config.update("jax_enable_compilation_cache", False)
        results = []
        for run, options in runs:
            load = _load()
            results.append(run(options))
            results[-1].facts["load average before"] = load
            results[-1].show(console, absolute=on_gpu())
            if self.json is not None:
                # Write after each benchmark, so that a later failure loses nothing.
                result.write(self.json, results, command_line())
        if not on_gpu() and self.names != ("compiled",):
            console.print(
                "The programs took turns, and the table shows the ratios of their times. Seconds mean little on a CPU "
                "that other programs use; --json writes them to a file."
            )
        # Later loads are those of the benchmarks themselves.
        if (results[0].facts["load average before"] or 0) > (os.cpu_count() or 1) / 2:
            console.print(
                "Other programs kept this machine busy. That slows PyTorch more than JAX, because PyTorch's threads "
                "wait for each other. Compare the two on an idle machine."
            )
        if self.json is not None:
            # A path may contain brackets, which Rich would read as markup.
            console.print(f"Written to {self.json}", highlight=False, markup=False, soft_wrap=True)


def _load() -> float | None:
    """Average number of runnable processes in the last minute; None if the system does not report it."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
