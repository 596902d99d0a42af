"""The benchmark `step`: the speed of training steps against PyTorch's, and against plain matrix products."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from train.bench.machine import matrix_rate_program
from train.bench.peers import peers
from train.bench.result import Result
from train.bench.timing import Donated, alternate, ratio
from train.bench.workload import SMALL, Case, CaseOptions, Training, cases, filled_in, on_gpu
from train.recipe.network import training_flops

OURS = "JAX, scanned"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(CaseOptions):
    """The network, its batch size, and the number of turns.

    Attributes:
      steps: Steps per program. None means 30 on a GPU, as in real runs, and 10 elsewhere, which makes the
        fixed cost of a program call small.
      repeats: Number of turns.
    """

    steps: int | None = None
    repeats: int = 20


def networks(options: Options) -> list[Case]:
    """The networks to train."""
    return cases(options, SMALL)


def run(options: Options) -> Result:
    """Time slices of each network in turn with PyTorch and with matrix products."""
    steps = options.steps or (30 if on_gpu() else 10)
    trained = networks(options)
    result = Result(benchmark="step", options=filled_in(options, trained) | {"steps": steps})
    for case in trained:
        result.add(_compare(case, steps, options.repeats), f"{case.name}: ")
    return result


def _compare(case: Case, steps: int, repeats: int) -> Result:
    training = Training(case, steps)
    result = Result(benchmark="step", options={})
    program, result.compile_seconds[OURS] = training.slice(steps)
    matrix, matrix_flops = matrix_rate_program(jnp.dtype(case.dtype))
    name = f"{case.dtype} matrix products"
    with peers(training, steps) as (theirs, facts):
        programs: dict[str, Callable[[], Any]] = {OURS: Donated(program, training.state(), training.data), name: matrix}
        seconds = alternate(programs | theirs, repeats, warmup=2)
    result.facts.update(facts)
    for peer in theirs:
        result.ratios[f"{OURS} / {peer}"] = ratio(seconds[OURS], seconds[peer])
    flops = training_flops(training.experiment, training.setup.image_shape)
    images = steps * case.batch_size
    for key in (OURS, *theirs):
        # Floating-point operations per second in training, divided by those in plain matrix products.
        result.ratios[f"rate of operations: {key} / {name}"] = ratio(
            seconds[name] * (images * flops / matrix_flops), seconds[key]
        )
        result.seconds[key] = (seconds[key] / steps).tolist()
    result.facts["GFLOP per training image"] = flops / 1e9
    if on_gpu():
        result.facts[f"{name}: TFLOP/s"] = matrix_flops / float(np.median(seconds[name])) / 1e12
        for key in (OURS, *theirs):
            result.facts[f"{key}: images/s"] = images / float(np.median(seconds[key]))
    return result
