"""Train one seed, or several as one program, from the first step to the last."""

import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train.engine.batches import Loader, epoch_order
from train.engine.devices import SEED, Mesh, padded_size, readable
from train.engine.programs import Evaluation, calibration_program, evaluation_program, jit_over_seeds, slice_program
from train.engine.progress import RunProgress
from train.engine.slices import cut, rest_of_epoch, slice_steps
from train.engine.state import Setup, TrainState
from train.engine.step import all_finite
from train.errors import RunError
from train.recipe.modes import MODES
from train.recipe.optimizers import OPTIMIZERS
from train.recipe.schedules import learning_rate
from train.records import EpochMetrics, StepMetrics

# Batches that recompute the batch statistics: enough for a running mean.
_CALIBRATION_STEPS = 30
_EVALUATION_BATCH = 500


class Trainer:
    """Trains one seed of an experiment, or several as one program.

    Attributes:
      setup: What stays the same during training.
      seeds: The seeds, in the order of the leading axis of all arrays. Rows after the last seed repeat it, and their
        results are dropped.
      state: The state after the last step. Each slice donates it, so keep no reference to it.
      history: One list per epoch, with one row per seed.
    """

    def __init__(self, setup: Setup, mesh: Mesh, seeds: list[int], loader: Loader, state: TrainState):
        self.setup, self.seeds, self.state = setup, seeds, state
        self.history: list[list[EpochMetrics]] = []
        self._mesh, self._loader = mesh, loader
        self._seen: list[StepMetrics] = []  # NumPy, [seeds, steps], one slice each
        self._unread: list[StepMetrics] = []  # on the device
        self._step = 0
        rows = len(state.step)
        self._slices = cut(setup, slice_steps(setup, mesh, rows // mesh.shape[SEED]))
        compile_program = functools.partial(jit_over_seeds, mesh=mesh, seeds=rows)
        # Each program is compiled at its first call.
        stages = range(MODES[setup.experiment.training].num_stages)

        @functools.cache
        def program(stage: int, steps: int, batch: int) -> Callable[..., Any]:
            sliced = slice_program(setup, mesh, steps, batch, stage=stage, streamed=loader.streamed)
            return compile_program(sliced, donate=True)

        self._program = program
        size = padded_size(min(_EVALUATION_BATCH, loader.test_size), mesh)
        self._evaluations = [
            compile_program(evaluation_program(setup, mesh, size, stage=stage), donate=False) for stage in stages
        ]
        self._calibration = (min(_CALIBRATION_STEPS, setup.full_batches), setup.experiment.batch_size)
        self._calibrate = compile_program(
            calibration_program(setup, mesh, *self._calibration, streamed=loader.streamed), donate=False
        )
        # The number of an epoch and the order of its images. Streamed images are in order already.
        self._order: tuple[int, jax.Array | None] = (-1, None)
        self._compute_order = compile_program(
            lambda state, _: epoch_order(setup, state.seed, state.step // setup.steps_per_epoch), donate=False
        )
        self._state_is_finite = compile_program(lambda state, _: all_finite(state), donate=False)

    @property
    def steps_done(self) -> int:
        """Number of steps done."""
        return self._step

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return len(self.history) == self.setup.experiment.epochs

    def resume(self, state: TrainState, metrics: StepMetrics, history: list[list[EpochMetrics]]) -> None:
        """Continue from a state, with the metrics and the history up to it."""
        self.state, self._seen, self.history = state, [metrics], history
        self._step = metrics.loss.shape[1]

    def metrics(self) -> StepMetrics:
        """Return the metrics of all steps read so far; NumPy, [seeds, steps]."""
        return StepMetrics(*(np.concatenate(parts, axis=1) for parts in zip(*self._seen, strict=True)))

    def advance(self, progress: RunProgress, last_good: Callable[[], Path | None]) -> Iterator[None]:
        """Train to the end, and yield after each slice. After the last slice of an epoch, evaluate before the yield.

        Args:
          progress: Shows every step and epoch.
          last_good: Returns the newest checkpoint, for messages.

        Raises:
          RunError: If a loss or the state is not finite, unless such steps are skipped.
        """
        self._last_good = last_good
        while not self.finished:
            started = time.perf_counter()
            done = self._step - len(self.history) * self.setup.steps_per_epoch
            for key in rest_of_epoch(done, self._slices):
                self._take(key)
                # Read the previous slice while this one runs, so that the device need not wait for the host.
                self._read(progress, keep=1)
                if self._step % self.setup.steps_per_epoch:
                    yield
            self.read_all(progress)
            self._end_epoch(started, progress)
            yield

    def read_all(self, progress: RunProgress) -> None:
        """Wait for every step and read its metrics.

        Raises:
          RunError: If a loss or the state is not finite, unless such steps are skipped.
        """
        self._read(progress, keep=0)
        if self.setup.experiment.nonfinite == "skip":
            return
        # Even if the loss is finite, its gradient may not be, or the step may overflow.
        finite = self._fetch(self._state_is_finite(self.state, None))
        what = "parameters, batch statistics or optimizer state"
        self._check(finite, lambda i: f"{what} after {self._at(self._step - 1)} are not finite")

    def _take(self, key: tuple[int, int]) -> None:
        data, order = self._loader.training(self._step, *key), self._order_of(self.state, self._step)
        with jax.transfer_guard("disallow"):
            self.state, metrics = self._program(self._stage, *key)(self.state, data, order)
        # Replicate the metrics now. After the next slice is dispatched, this would wait for that slice.
        self._unread.append(readable(self._mesh, metrics))
        self._step += key[0]

    def _order_of(self, state: TrainState, step: int) -> jax.Array | None:
        """Return the order of the images in the epoch of a step, computed once per epoch; [seeds, N]."""
        epoch = step // self.setup.steps_per_epoch
        if self._order[0] != epoch and not self._loader.streamed:
            self._order = epoch, self._compute_order(state, None)
        return self._order[1]

    def _read(self, progress: RunProgress, keep: int) -> None:
        while len(self._unread) > keep:
            metrics = self._fetch(self._unread.pop(0))
            self._check_losses(metrics)
            self._seen.append(metrics)
            progress.steps(metrics)

    def _fetch(self, tree: Any) -> Any:
        """Copy arrays to the host as NumPy arrays [seeds, ...], without the rows after the last seed."""
        return jax.tree.map(lambda x: x[: len(self.seeds)], jax.device_get(readable(self._mesh, tree)))

    def _check_losses(self, metrics: StepMetrics) -> None:
        finite = np.isfinite(metrics.loss)
        first = int(np.argmin(finite.all(axis=0)))
        step = sum(part.loss.shape[1] for part in self._seen) + first

        def describe(i: int) -> str:
            loss, momentum = metrics.loss[i, first], metrics.momentum[i, first]
            return f"the loss of {self._at(step)} and momentum {momentum:.3g} is {loss}"

        self._check(finite[:, first], describe)

    def _check(self, finite: np.ndarray, describe: Callable[[int], str]) -> None:
        """Raise RunError if `finite`, bool [seeds], is False for a seed, unless such steps are skipped."""
        if finite.all() or self.setup.experiment.nonfinite == "skip":
            return
        i = int(np.argmin(finite))
        raise RunError(
            f"{self.setup.experiment.name}, seed {self.seeds[i]}: {describe(i)}. Last good checkpoint: "
            f"{self._last_good() or 'none yet'}. With --nonfinite skip, the same command continues from there and "
            "skips such steps. A smaller --learning-rate needs --fresh or another --runs."
        )

    def _at(self, step: int) -> str:
        return f"step {step} (epoch {step // self.setup.steps_per_epoch}) at learning rate {self._rate(step):.3g}"

    @property
    def _stage(self) -> int:
        return MODES[self.setup.experiment.training].stage_of(len(self.history), self.setup.experiment.epochs)

    def _state_to_evaluate(self) -> TrainState:
        """The state to evaluate: after the last step, with batch statistics that belong to the evaluated parameters."""
        if not OPTIMIZERS[self.setup.experiment.optimizer].recomputes_batch_stats:
            return self.state
        first = self._step - self.setup.steps_per_epoch
        data = self._loader.training(first, *self._calibration)
        at_start = self.state._replace(step=jnp.full_like(self.state.step, first))
        return self.state._replace(batch_stats=self._calibrate(at_start, data, self._order_of(at_start, first)))

    def _rate(self, step: int) -> float:
        return float(learning_rate(self.setup.experiment, self.setup.steps_per_epoch)(np.int32(step)))

    def _end_epoch(self, started: float, progress: RunProgress) -> None:
        state, evaluate = self._state_to_evaluate(), self._evaluations[self._stage]
        parts = [self._fetch(evaluate(state, data)) for data in self._loader.test()]
        evaluation = Evaluation(*(np.sum(values, axis=0) for values in zip(*parts, strict=True)))
        self._check(
            np.isfinite(evaluation.loss),
            lambda i: f"the test loss after {self._at(self._step - 1)} is {evaluation.loss[i]}",
        )
        seconds = time.perf_counter() - started
        number = self.setup.steps_per_epoch
        steps = StepMetrics(*(values[:, -number:] for values in self.metrics()))
        taken = np.isfinite(steps.loss)
        size = self._loader.test_size
        self.history.append(
            [
                EpochMetrics(
                    epoch=len(self.history),
                    train_loss=float(steps.loss[i].mean(where=taken[i])) if taken[i].any() else float("nan"),
                    test_error=100 * int(evaluation.wrong[i]) / size,
                    test_loss=float(evaluation.loss[i]) / size,
                    learning_rate=self._rate(self._step - 1),
                    below_fraction=float(steps.below[i].mean()),
                    mean_momentum=float(steps.momentum[i].mean()),
                    skipped_steps=number - int(taken[i].sum()),
                    seconds=seconds,
                )
                for i in range(len(self.seeds))
            ]
        )
        progress.epoch(self.setup.experiment.epochs, self.history[-1])
