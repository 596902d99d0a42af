"""What it gains to train several seeds of a small network as one program."""

import dataclasses
from typing import Any

from train.bench.result import Result
from train.bench.timing import Donated, alternate, ratio
from train.bench.workload import Case, Data, Dtype, Training


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The network, how many seeds of it, and how often the programs take turns.

    Attributes:
      depth: Of the Wide ResNet.
      width: Its factor on the channels.
      batch_size: Images a step.
      dtype: Of activations.
      data: Which data set the made-up images are shaped like.
      seeds: Trained together.
      steps: In one program.
      repeats: Turns.
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
    """What is trained."""
    return [Case(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Case)})]


def run(options: Options) -> Result:
    """Time all seeds as one vmapped program against the same seeds one after the other."""
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
    name = f"seeds a second, {options.seeds} of {case.name}: together / in turn"
    result.ratios[name] = ratio(seconds["in turn"], seconds["together"])
    return result
