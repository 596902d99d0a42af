"""The benchmark `epoch`: an epoch as one program, as a loop of steps, with losses fetched, and in PyTorch."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from train.bench.peers import peers
from train.bench.result import Result
from train.bench.timing import Donated, alternate, compile_timed, ratio
from train.bench.workload import SMALL, Case, CaseOptions, Training, cases, filled_in, on_gpu
from train.engine.batches import Images, epoch_order
from train.engine.programs import slice_program
from train.engine.state import TrainState

OURS, LOOP, FETCHED = "JAX, one program", "JAX, loop of steps", "JAX, loop that fetches each loss"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(CaseOptions):
    """The network, the length of an epoch, and the number of turns.

    Attributes:
      steps: Full batches per epoch. None means 390 on a GPU, as CIFAR has, and 5 elsewhere.
      repeats: Number of turns.
    """

    steps: int | None = None
    repeats: int = 20


def networks(options: Options) -> list[Case]:
    """The networks to train."""
    return cases(options, SMALL)


def run(options: Options) -> Result:
    """Time three ways to run an epoch of each network, taking turns with PyTorch."""
    steps = options.steps or (390 if on_gpu() else 5)
    trained = networks(options)
    result = Result(benchmark="epoch", options=filled_in(options, trained) | {"steps": steps})
    for case in trained:
        result.add(_compare(case, steps, options.repeats), f"{case.name}: ")
    return result


def _compare(case: Case, steps: int, repeats: int) -> Result:
    training = Training(case, steps)
    result = Result(benchmark="epoch", options={})
    whole, result.compile_seconds[OURS] = training.slice(steps)
    loop, result.compile_seconds[LOOP] = _loop(training)
    ours: dict[str, Callable[[], Any]] = {
        OURS: Donated(whole, training.state(), training.data),
        LOOP: loop(fetch=False),
        FETCHED: loop(fetch=True),
    }
    with peers(training, steps) as (theirs, facts):
        seconds = alternate(ours | theirs, repeats)
    result.facts.update(facts)
    result.facts["images in an epoch"] = steps * case.batch_size
    for name in seconds:
        result.seconds[name] = seconds[name].tolist()
        if name != OURS:
            result.ratios[f"{OURS} / {name}"] = ratio(seconds[OURS], seconds[name])
    if on_gpu():
        for name in seconds:
            result.facts[f"{name}: images/s"] = steps * case.batch_size / float(np.median(seconds[name]))
    return result


def _loop(training: Training) -> tuple[Callable[..., Callable[[], Any]], float]:
    """Compile one step and the shuffling of an epoch.

    Returns:
      A function that makes a program of an epoch, which is a loop of steps, and the seconds that compiling took.
    """
    setup, mesh, batch = training.setup, training.mesh, training.experiment.batch_size

    one = slice_program(setup, mesh, 1, batch, streamed=True)

    def step(state: TrainState, data: Images, order: jax.Array) -> tuple[TrainState, jax.Array]:
        index = jax.lax.dynamic_slice(order, (state.step % setup.steps_per_epoch * batch,), (batch,))
        state, metrics = one(state, Images(data.images[index][None], data.labels[index][None]))
        return state, metrics.loss[0]

    def order(state: TrainState) -> jax.Array:
        return epoch_order(setup, state.seed, state.step // setup.steps_per_epoch)

    first = jax.tree.map(lambda x: x[0], training.state())
    order_program, order_seconds = compile_timed(jax.jit(order), first)
    arguments = first, training.data, order_program(first)
    step_program, step_seconds = compile_timed(jax.jit(step, donate_argnums=0), *arguments)

    def make(*, fetch: bool) -> Callable[[], Any]:
        def epoch(state: TrainState) -> tuple[TrainState, list[Any]]:
            shuffled, losses = order_program(state), []
            for _ in range(setup.steps_per_epoch):
                state, loss = step_program(state, training.data, shuffled)
                losses.append(float(loss) if fetch else loss)
            return state, losses

        return Donated(epoch, jax.tree.map(lambda x: x[0], training.state()))

    return make, order_seconds + step_seconds
