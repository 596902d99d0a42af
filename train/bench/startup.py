"""How long it takes to begin: imports, the first step with a cold and a warm compile cache, the largest compile.

Every figure comes from fresh processes.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import train
from train.bench.result import Result
from train.bench.timing import alternate, ratio
from train.bench.workload import LARGE, Case, cases

_CHECKOUT = Path(train.__file__).parents[1]
_IMPORTS = {
    "import jax, optax": "import jax, optax",
    "import lcam_optax": "import lcam_optax",
    "import train.cli": "import train.cli",
}
COLD, WARM = "first step, cold cache", "first step, warm cache"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The network of the first step, and how often the processes take turns.

    Attributes:
      depth: Of the Wide ResNet; None is 28 on a GPU, 16 elsewhere.
      width: Its factor on the channels; None is 10 on a GPU, 1 elsewhere.
      large_depth: Of the network that is compiled and not run.
      large_width: Its factor on the channels.
      repeats: Turns.
    """

    depth: int | None = None
    width: int | None = None
    large_depth: int = LARGE.depth
    large_width: int = LARGE.width
    repeats: int = 20


def networks(options: Options) -> list[Case]:
    """What takes a first step, and what is compiled and not run."""
    (case,) = cases(options, on_cpu=(Case(),))
    return [case, dataclasses.replace(case, depth=options.large_depth, width=options.large_width)]


def run(options: Options) -> Result:
    """Start processes in turn: three that import, and two that take a first step."""
    case, large = networks(options)
    result = Result(benchmark="startup", options=dataclasses.asdict(options) | dataclasses.asdict(case))
    with tempfile.TemporaryDirectory() as folder:
        starts = _FirstSteps(case, Path(folder))
        programs: dict[str, Callable[[], Any]] = {name: _import(words) for name, words in _IMPORTS.items()}
        # Both in one turn, the cold one first: it fills the cache that the warm one finds.
        seconds = alternate(programs | {"first steps": starts}, options.repeats, warmup=0)
        del seconds["first steps"]
        entries = starts.cache_entries()
    result.seconds.update({name: values.tolist() for name, values in seconds.items()} | starts.seconds)
    base = "import jax, optax"
    for name in ("import lcam_optax", "import train.cli"):
        result.ratios[f"{name} / {base}"] = ratio(seconds[name], seconds[base])
    result.ratios[f"{case.name}: {WARM} / {COLD}"] = ratio(
        np.asarray(starts.seconds[WARM]), np.asarray(starts.seconds[COLD])
    )
    result.facts["programs in the compile cache"] = entries
    name = f"{large.name}, batch {large.batch_size}, {large.dtype}: a scanned step"
    found = _process(_arguments(large, "--compile-only"), {"JAX_ENABLE_COMPILATION_CACHE": "false"})
    result.compile_seconds[name] = found["trace, lower and compile a step"]
    return result


class _FirstSteps:
    """A first step with an empty cache, then one with the cache that this left.

    Args:
      case: What is trained.
      folder: For the caches, a new one each time.

    Attributes:
      seconds: `COLD` and `WARM` to one value a call, from within the process.
    """

    def __init__(self, case: Case, folder: Path):
        self._arguments, self._folder = _arguments(case), folder
        self.seconds: dict[str, list[float]] = {COLD: [], WARM: []}

    def __call__(self) -> None:
        cache = self._folder / str(len(self.seconds[COLD]))
        for seconds in self.seconds.values():
            found = _process(self._arguments, {"JAX_COMPILATION_CACHE_DIR": str(cache)})
            seconds.append(found["first step done"])

    def cache_entries(self) -> int:
        """Programs in the last cache."""
        return len(list((self._folder / str(len(self.seconds[COLD]) - 1)).glob("*-cache")))


def _arguments(case: Case, *more: str) -> list[str]:
    words = ["-m", "train.bench.first_step", *more]
    for field, value in dataclasses.asdict(case).items():
        words += [f"--{field.replace('_', '-')}", str(value)]
    return words


def _process(arguments: list[str], variables: dict[str, str]) -> dict[str, float]:
    """Run Python in the checkout and read the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=_CHECKOUT, env=os.environ | variables, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


def _import(statement: str) -> Callable[[], None]:
    def program() -> None:
        subprocess.run([sys.executable, "-c", statement], cwd=_CHECKOUT, check=True)

    return program
