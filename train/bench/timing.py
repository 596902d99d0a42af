"""Programs timed in turn, and what their times say about each other.

A machine slows down and speeds up as others use it. Programs that take turns share its moods, so the ratio of two
neighbouring times says more than either of them; its median over many turns is what the benchmarks report.
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
    """The ratio of two programs, one value a turn.

    Attributes:
      median: Of all turns.
      quartiles: The middle half of the turns lies between them.
      interval: The 95 % interval of the median, by order statistics: it assumes nothing about how times are
        distributed. nan for fewer than six turns, which cannot give one.
      repeats: Turns.
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

    Every turn runs each program once; the order is reversed from turn to turn, so that no program always follows the
    same other one.

    Args:
      programs: Name to program. What a program returns is waited for; arrays that are not JAX's have to be ready.
      repeats: Turns that are timed.
      warmup: Turns before those.
      clock: Returns seconds.

    Returns:
      Name to seconds, float64 [repeats], in the order of the turns.

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
      numerator: float [repeats].
      denominator: float [repeats], of the same turns, above 0.

    Returns:
      What numerator / denominator was.
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
    """Compile a jitted function for arguments, or for their shapes.

    Returns:
      The compiled program, and the seconds that tracing, lowering and compiling took.
    """
    started = time.perf_counter()
    program = jitted.lower(*arguments).compile()
    return program, time.perf_counter() - started


class Donated:
    """A compiled program that is called again and again on the state that it handed back.

    Args:
      program: (state, *rest) -> (state, anything), donating the state.
      state: Of the first call; deleted by it.
      *rest: The other arguments, the same in all calls.
    """

    def __init__(self, program: Callable[..., Any], state: Any, *rest: Any):
        self._program, self.state, self._rest = program, state, rest

    def __call__(self) -> Any:
        """Run once; returns all that the program returned, to be waited for."""
        self.state, out = self._program(self.state, *self._rest)
        return self.state, out
