"""The benchmark `startup`: imports, the first step with a cold and with a warm compile cache, and a large compile.

Every time is measured in a fresh process.
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
    """The network of the first step, the network to compile, and the number of turns.

    Attributes:
      depth: Depth of the Wide ResNet. None means 28 on a GPU and 16 elsewhere.
      width: Width factor of the Wide ResNet. None means 10 on a GPU and 1 elsewhere.
      large_depth: Depth of the network that is compiled but not run.
      large_width: Width factor of that network.
      repeats: Number of turns.
    """

    depth: int | None = None
    width: int | None = None
    large_depth: int = LARGE.depth
    large_width: int = LARGE.width
    repeats: int = 20


def networks(options: Options) -> list[Case]:
    """The network that takes a first step, and the network that is compiled but not run."""
    (case,) = cases(options, on_cpu=(Case(),))
    return [case, dataclasses.replace(case, depth=options.large_depth, width=options.large_width)]


def run(options: Options) -> Result:
    """Time processes in turn: three that import packages, and two that take a first step."""
    case, large = networks(options)
    result = Result(benchmark="startup", options=dataclasses.asdict(options) | dataclasses.asdict(case))
    with tempfile.TemporaryDirectory() as folder:
        starts = _FirstSteps(case, Path(folder))
        programs: dict[str, Callable[[], Any]] = {name: _import(words) for name, words in _IMPORTS.items()}
        # Both first steps in one turn: the cold one fills the cache for the warm one.
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
    """Take a first step with an empty compile cache, then another with the cache that the first one filled.

    Args:
      case: The network to train.
      folder: Folder for the caches. Each call makes a new one.

    Attributes:
      seconds: Maps `COLD` and `WARM` to one value per call, measured within the process.
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
        """Number of programs in the last cache."""
        return len(list((self._folder / str(len(self.seconds[COLD]) - 1)).glob("*-cache")))


def _arguments(case: Case, *more: str) -> list[str]:
    words = ["-m", "train.bench.first_step", *more]
    for field, value in dataclasses.asdict(case).items():
        words += [f"--{field.replace('_', '-')}", str(value)]
    return words


def _process(arguments: list[str], variables: dict[str, str]) -> dict[str, float]:
    """Run Python in the checkout and parse the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=_CHECKOUT, env=os.environ | variables, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


def _import(statement: str) -> Callable[[], None]:
    def program() -> None:
        subprocess.run([sys.executable, "-c", statement], cwd=_CHECKOUT, check=True)

    return program
