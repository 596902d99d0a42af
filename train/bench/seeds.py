"""The benchmark `seeds`: train seeds of a small network one per device, as one vmapped program, or in turn."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from train.bench.result import Result
from train.bench.timing import Donated, alternate, ratio
from train.bench.workload import Case, Data, Dtype, Training
from train.engine.devices import make_mesh

_SEEDS = (1, 3, 8)
_DATA: tuple[Data, ...] = ("digits", "cifar10")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The network, the number of its seeds, and the number of turns.

    Attributes:
      depth: Depth of the Wide ResNet.
      width: Width factor of the Wide ResNet.
      batch_size: Images per step.
      dtype: Dtype of the activations.
      data: The data set whose shape the random images have. None uses digits, then CIFAR-10.
      seeds: Number of seeds. None uses 1, 3 and 8.
      steps: Steps per program.
      repeats: Number of turns.
    """

    depth: int = 10
    width: int = 1
    batch_size: int = 128
    dtype: Dtype = "float32"
    data: Data | None = None
    seeds: int | None = None
    steps: int = 11
    repeats: int = 20


def networks(options: Options) -> list[Case]:
    """The networks to train."""
    names = [field.name for field in dataclasses.fields(Case) if field.name != "data"]
    common: dict[str, Any] = {name: getattr(options, name) for name in names}
    return [Case(**common, data=data) for data in (_DATA if options.data is None else (options.data,))]


def run(options: Options) -> Result:
    """Time all seeds side by side, vmapped and one after the other.

    A single seed is timed on one device, and with its batches split over all devices.
    """
    result = Result(benchmark="seeds", options=dataclasses.asdict(options))
    result.facts["devices"] = jax.device_count()
    for case in networks(options):
        trained = _Programs(case, options.steps, result)
        for number in _SEEDS if options.seeds is None else (options.seeds,):
            _compare(trained, number, options.repeats, result)
    return result


def _compare(trained: "_Programs", number: int, repeats: int, result: Result) -> None:
    """Time the programs for one number of seeds, and add the result."""
    name = f"{number} of {trained.case.name} on {trained.case.data}"
    programs = {"in turn": trained.in_turn(number)}
    if number > 1:
        programs["vmapped"] = trained.vmapped(number)
    if jax.device_count() > 1:
        if number == 1:
            programs["batches split over all devices"] = trained.split()
        else:
            programs["one per device"] = trained.side_by_side(number)
    seconds = alternate(programs, repeats)
    result.seconds.update({f"{name}: {key}": (values / number).tolist() for key, values in seconds.items()})
    for key in programs:
        if key != "in turn":
            result.ratios[f"seeds per second, {name}: {key} / in turn"] = ratio(seconds["in turn"], seconds[key])


class _Programs:
    """The programs of a case, each compiled once."""

    def __init__(self, case: Case, steps: int, result: Result):
        self.case = case
        self._steps, self._result = steps, result
        self._made: dict[tuple[int, int, int], tuple[Training, Any]] = {}

    def in_turn(self, number: int) -> Callable[[], Any]:
        """Seeds one after the other on the first device."""
        return _one_after_the_other([self._program(1, 1, 1) for _ in range(number)])

    def vmapped(self, number: int) -> Callable[[], Any]:
        """Seeds as one program on the first device."""
        return self._program(1, 1, number)

    def split(self) -> Callable[[], Any]:
        """One seed, whose batches are split over all devices."""
        return self._program(jax.device_count(), 1, 1)

    def side_by_side(self, number: int) -> Callable[[], Any]:
        """Rounds of one seed per device."""
        whole, rest = divmod(number, jax.device_count())
        rounds = [jax.device_count()] * whole + ([rest] if rest else [])
        return _one_after_the_other([self._program(rows, rows, rows) for rows in rounds])

    def _program(self, devices: int, rows: int, seeds: int) -> Donated:
        """A program with its own state."""
        key = (devices, rows, seeds)
        if key not in self._made:
            training = Training(self.case, self._steps, make_mesh(devices, rows=rows))
            program, seconds = training.slice(self._steps, seeds)
            self._result.compile_seconds[f"{self.case.data}: {seeds} seed(s) on {devices} device(s)"] = seconds
            self._made[key] = training, program
        training, program = self._made[key]
        return Donated(program, training.state(seeds), training.data)


def _one_after_the_other(programs: list[Donated]) -> Callable[[], Any]:
    # Wait for each program. Otherwise JAX would run programs of different devices at the same time.
    return lambda: [jax.block_until_ready(program()) for program in programs]
