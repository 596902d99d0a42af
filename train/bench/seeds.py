"""The benchmark `seeds`: what is gained by training several seeds of a small network in one program."""

import dataclasses
from typing import Any

from train.bench.result import Result
from train.bench.timing import Donated, alternate, ratio
from train.bench.workload import Case, Data, Dtype, Training


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The network, the number of its seeds, and the number of turns.

    Attributes:
      depth: Depth of the Wide ResNet.
      width: Width factor of the Wide ResNet.
      batch_size: Images per step.
      dtype: Dtype of the activations.
      data: The data set whose shape the random images have.
      seeds: Number of seeds trained together.
      steps: Steps per program.
      repeats: Number of turns.
    """

    depth: int = 10
    width: int = 1
    batch_size: int = 128
    dtype: Dtype = "float32"
    data: Data = "digits"
    seeds: int = 3
    steps: int = 11
    repeats: int = 20


def networks(options: Options) -> list[Case]:
    """The network to train."""
    return [Case(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Case)})]


def run(options: Options) -> Result:
    """Compare all seeds as one vmapped program with the same seeds one after the other."""
    (case,) = networks(options)
    training = Training(case, options.steps)
    result = Result(benchmark="seeds", options=dataclasses.asdict(options))
    vmapped, result.compile_seconds["together"] = training.slice(options.steps, options.seeds)
    single, result.compile_seconds["in turn"] = training.slice(options.steps)
    runs = [Donated(single, training.state(), training.data) for _ in range(options.seeds)]

    def in_turn() -> list[Any]:
        return [run() for run in runs]

    together = Donated(vmapped, training.state(options.seeds), training.data)
    seconds = alternate({"together": together, "in turn": in_turn}, options.repeats)
    result.seconds.update({name: (values / options.seeds).tolist() for name, values in seconds.items()})
    name = f"seeds per second, {options.seeds} of {case.name}: together / in turn"
    result.ratios[name] = ratio(seconds["in turn"], seconds["together"])
    return result
