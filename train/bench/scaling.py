"""How the speed of training changes with depth, width, batch and seeds."""

import dataclasses

from train.bench.result import Result
from train.bench.timing import Donated, alternate, ratio
from train.bench.workload import Case, Data, Dtype, Training, cases

_SEEDS = (2, 4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The base that all others are compared with, and how often they take turns.

    Attributes:
      depth: Of the Wide ResNet.
      width: Its factor on the channels.
      batch_size: Images a step.
      dtype: Of activations; None is bfloat16 on a GPU, float32 elsewhere.
      data: Which data set the made-up images are shaped like; None is CIFAR.
      steps: In one program.
      repeats: Turns.
    """

    depth: int = 16
    width: int = 1
    batch_size: int = 64
    dtype: Dtype | None = None
    data: Data | None = None
    steps: int = 2
    repeats: int = 20


def networks(options: Options) -> list[Case]:
    """What is trained: the base, and what differs from it in one thing."""
    (base,) = cases(options, on_cpu=(Case(),))
    return [base, *(case for case, _ in variants(base).values())]


def run(options: Options) -> Result:
    """Time networks that differ from a base in one thing, all in turn, and relate each to the base."""
    base = networks(options)[0]
    return compare(base, variants(base), options.steps, options.repeats)


def variants(base: Case) -> dict[str, tuple[Case, int]]:
    """Name to a case and its number of seeds: twelve more layers, twice the width and so on, one thing at a time."""
    found = {}
    for field, values in (
        ("depth", (base.depth + 6, base.depth + 12)),
        ("width", (2 * base.width, 4 * base.width)),
        ("batch_size", (max(1, base.batch_size // 2), 2 * base.batch_size)),
    ):
        for value in values:
            name = f"{field.replace('_', ' ')} {value}"
            found[name] = dataclasses.replace(base, **{field: value}), 1  # type: ignore[arg-type]
    return found | {f"{seeds} seeds": (base, seeds) for seeds in _SEEDS}


def compare(base: Case, others: dict[str, tuple[Case, int]], steps: int, repeats: int) -> Result:
    """Time cases in turn with a base.

    Args:
      base: Trained with one seed.
      others: Name to a case and its number of seeds.
      steps: In one program.
      repeats: Turns.

    Returns:
      Steps a second of every seed together, relative to the base.
    """
    name = f"{base.name}, batch {base.batch_size}"
    result = Result(benchmark="scaling", options=dataclasses.asdict(base) | {"steps": steps, "repeats": repeats})
    programs = {}
    for key, (case, seeds) in ({name: (base, 1)} | others).items():
        training = Training(case, steps)
        program, result.compile_seconds[key] = training.slice(steps, seeds)
        programs[key] = Donated(program, training.state(seeds), training.data)
    seconds = alternate(programs, repeats)
    for key, (_, seeds) in others.items():
        result.ratios[f"steps a second: {key} / {name}"] = ratio(seeds * seconds[name], seconds[key])
    result.seconds.update({key: (values / steps).tolist() for key, values in seconds.items()})
    return result
