"""The benchmark `scaling`: how the speed of training changes with depth, width, batch size and seeds."""

import dataclasses

from train.bench.result import Result
from train.bench.timing import Donated, alternate, ratio
from train.bench.workload import Case, Data, Dtype, Training, cases

_SEEDS = (2, 4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The base network that the others are compared with, and the number of turns.

    Attributes:
      depth: Depth of the Wide ResNet.
      width: Width factor of the Wide ResNet.
      batch_size: Images per step.
      dtype: Dtype of the activations. None means bfloat16 on a GPU and float32 elsewhere.
      data: The data set whose shape the random images have. None means CIFAR.
      steps: Steps per program.
      repeats: Number of turns.
    """

    depth: int = 16
    width: int = 1
    batch_size: int = 64
    dtype: Dtype | None = None
    data: Data | None = None
    steps: int = 2
    repeats: int = 20


def networks(options: Options) -> list[Case]:
    """The networks to train: the base, and those that differ from it in one setting."""
    (base,) = cases(options, on_cpu=(Case(),))
    return [base, *(case for case, _ in variants(base).values())]


def run(options: Options) -> Result:
    """Time the base and the networks that differ from it in one setting, all in turn."""
    base = networks(options)[0]
    return compare(base, variants(base), options.steps, options.repeats)


def variants(base: Case) -> dict[str, tuple[Case, int]]:
    """Map a name to each case that differs from the base in one setting, with its number of seeds."""
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
    """Compare the speed of several cases with that of a base, all timed in turn.

    Args:
      base: The case to compare with, trained with one seed.
      others: Maps a name to a case and its number of seeds.
      steps: Steps per program.
      repeats: Number of turns.

    Returns:
      Steps per second, summed over seeds, relative to the base.
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
        result.ratios[f"steps per second: {key} / {name}"] = ratio(seeds * seconds[name], seconds[key])
    result.seconds.update({key: (values / steps).tolist() for key, values in seconds.items()})
    return result
