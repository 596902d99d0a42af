"""Time programs in turn and compare their times.

A machine slows down and speeds up as other programs use it. Programs that take turns are slowed alike, so the ratio of
two neighbouring times is steadier than either time. The benchmarks report its median over many turns.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import scipy.stats

LEVEL = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ratio:
    """The ratio of the times of two programs, measured once per turn.

    Attributes:
      median: Median over all turns.
      quartiles: First and third quartile over all turns.
      interval: The 95 % interval of the median from order statistics, which assume nothing about the
        distribution of times. nan with fewer than six turns, which are too few for an interval.
      repeats: Number of turns.
    """

    median: float
    quartiles: tuple[float, float]
    interval: tuple[float, float]
    repeats: int


def alternate(
    programs: Mapping[str, Callable[[], Any]],
    repeats: int,
    *,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, np.ndarray]:
    """Time programs in turn.

    Every turn runs each program once. The order is reversed from turn to turn, so that no program always follows the
    same one.

    Args:
      programs: Maps a name to a program. The clock stops when the JAX arrays that it returns are ready; a program that
        returns other arrays has to wait for them itself.
      repeats: Number of timed turns.
      warmup: Number of untimed turns before them.
      clock: A function that returns seconds.

    Returns:
      Maps each name to its seconds, float64 [repeats], in the order of the turns.

    Raises:
      ValueError: If there is nothing to time.
    """
    if not programs or repeats < 1:
        raise ValueError(f"Expected at least one program and one repeat, got {len(programs)} and {repeats}.")
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(-warmup, repeats):
        names = list(programs) if turn % 2 == 0 else list(programs)[::-1]
        for name in names:
            started = clock()
            jax.block_until_ready(programs[name]())
            took = clock() - started
            if turn >= 0:
                seconds[name].append(took)
    return {name: np.asarray(values) for name, values in seconds.items()}


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> Ratio:
    """Compare two programs turn by turn.

    Args:
      numerator: Times of one program, float [repeats].
      denominator: Times of the other in the same turns, float [repeats], all above 0.

    Returns:
      The ratio numerator / denominator.
    """
    values = numerator / denominator
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    interval = scipy.stats.quantile_test(values, p=0.5).confidence_interval(LEVEL)
    return Ratio(
        median=float(middle),
        quartiles=(float(low), float(high)),
        interval=(float(interval.low), float(interval.high)),
        repeats=len(values),
    )


def compile_timed(jitted: Any, *arguments: Any) -> tuple[jax.stages.Compiled, float]:
    """Compile a jitted function for arguments or their shapes.

    Returns:
      The compiled program, and the seconds that tracing, lowering and compiling took.
    """
    started = time.perf_counter()
    program = jitted.lower(*arguments).compile()
    return program, time.perf_counter() - started


class Donated:
    """A compiled program that is called repeatedly, each time with the state that its last call returned.

    Args:
      program: A function (state, *rest) -> (state, anything) that donates the state.
      state: The state of the first call, which deletes it.
      *rest: The other arguments, the same in every call.
    """

    def __init__(self, program: Callable[..., Any], state: Any, *rest: Any):
        self._program, self.state, self._rest = program, state, rest

    def __call__(self) -> Any:
        """Run the program once and return its whole result."""
        self.state, out = self._program(self.state, *self._rest)
        return self.state, out
