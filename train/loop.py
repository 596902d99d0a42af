"""Run one experiment: set up, train epoch by epoch, evaluate, record."""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from rich.console import Console

from train import data, records
from train import mesh as meshes
from train.dataset import Dataset
from train.epoch import Images, StepMetrics, compiled, evaluation_program, slice_program
from train.experiments import ConfigError, Experiment
from train.progress import RunProgress
from train.schedules import learning_rate
from train.state import Setup, TrainState, init_state, make_model

# Steps in one program: few enough for a person to see progress, enough to hide the dispatch.
_SLICE_STEPS = 30
_EVALUATION_BATCH = 500


class RunError(RuntimeError):
    """A run that cannot go on: the message says where it stood and what to do."""


@dataclasses.dataclass(kw_only=True)
class History:
    """What a set of seeds that run together has shown so far; one list an epoch, one entry a seed."""

    rows: list[list[dict[str, Any]]] = dataclasses.field(default_factory=list)
    steps: list[StepMetrics] = dataclasses.field(default_factory=list)  # NumPy [seeds, steps of the epoch]


def run(
    experiment: Experiment,
    *,
    seeds: Sequence[int],
    root: Path,
    data_dir: Path | None = None,
    command: str = "",
    fresh: bool = False,
    devices: int | None = None,
    console: Console | None = None,
) -> list[Path]:
    """Train an experiment with each seed that has no finished record yet.

    Args:
      experiment: The arm.
      seeds: Whole numbers; together in one program where the experiment says so, else one after the other.
      root: Folder of all runs; a record is `root/<arm>/seed-<n>/result.json`.
      data_dir: Where TensorFlow Datasets keeps its data; None is its own default.
      command: Kept in the record.
      fresh: Whether to train anew what has a finished record.
      devices: How many devices to use; None is all.
      console: Where to show progress; None is standard error.

    Returns:
      The paths of the records, in the order of the seeds.

    Raises:
      ConfigError: If a setting does not fit the data, or an earlier record was made with other settings.
      DataError: If the data set cannot be had.
      RunError: If a loss is not finite.
    """
    console = console or Console(stderr=True)
    config = config_of(experiment)
    missing = [s for s in seeds if fresh or not _is_finished(root, experiment.name, s, config)]
    if missing:
        dataset = data.load(experiment.dataset, data_dir)
        cohorts = [missing] if experiment.vmap_seeds else [[seed] for seed in missing]
        for cohort in cohorts:
            _run_together(experiment, cohort, dataset, root, command, devices, console)
    return [records.run_dir(root, experiment.name, seed) / records.RESULT for seed in seeds]


def config_of(experiment: Experiment) -> dict[str, Any]:
    """The settings that decide a run's numbers, as JSON values; which seeds are run, and how, is not among them."""
    config = dataclasses.asdict(experiment)
    del config["seeds"], config["vmap_seeds"]
    return json.loads(json.dumps(config))


def _is_finished(root: Path, name: str, seed: int, config: dict[str, Any]) -> bool:
    path = records.run_dir(root, name, seed) / records.RESULT
    if not path.exists():
        return False
    record = records.read(path)
    differ = [key for key in config if record.config.get(key) != config[key]]
    if differ:
        fields = ", ".join(f"{key} ({record.config.get(key)!r} there, {config[key]!r} now)" for key in differ)
        raise ConfigError(
            f"{path} was made with other settings: {fields}. Choose another --runs folder, or replace it with --fresh."
        )
    return record.finished


def _run_together(
    experiment: Experiment,
    seeds: list[int],
    dataset: Dataset,
    root: Path,
    command: str,
    devices: int | None,
    console: Console,
) -> None:
    mesh = meshes.make_mesh(devices)
    setup = make_setup(experiment, dataset)
    train = _on_device(Images(dataset.train_images, dataset.train_labels), mesh)
    test = _on_device(Images(dataset.test_images, dataset.test_labels), mesh)
    programs = _Programs(setup, mesh, len(seeds), len(dataset.test_labels))
    state = _initial_state(setup, dataset.num_classes, seeds, mesh)
    history = History()
    title = f"{experiment.name} seed{'s' if len(seeds) > 1 else ''} {' '.join(map(str, seeds))}"
    total = experiment.epochs * setup.steps_per_epoch
    with RunProgress(title, total, experiment.batch_size, 0, console) as progress:
        for epoch in range(experiment.epochs):
            state = _epoch(setup, programs, state, train, test, epoch, history, progress)
            _write(experiment, seeds, history, dataset, root, command)


def make_setup(experiment: Experiment, dataset: Dataset) -> Setup:
    """Fit an experiment to a data set.

    Raises:
      ConfigError: If they do not fit.
    """
    channels = dataset.image_shape[-1]
    if len(experiment.mean) != channels:
        raise ConfigError(
            f"{experiment.name}: mean and std have {len(experiment.mean)} numbers, but the images of {dataset.name} "
            f"have {channels} channels; pass as many, such as --mean{' 0.5' * channels} --std{' 0.5' * channels}."
        )
    if experiment.batch_size > len(dataset.train_labels):
        raise ConfigError(
            f"{experiment.name}: batch_size is {experiment.batch_size}, but {dataset.name} has only "
            f"{len(dataset.train_labels)} training images."
        )
    model = nnx.eval_shape(lambda: make_model(experiment, dataset.num_classes, channels, jax.random.key(0)))
    graphdef = nnx.split(model, nnx.Param, nnx.BatchStat)[0]
    return Setup(experiment, graphdef, len(dataset.train_labels), dataset.image_shape)


class _Programs:
    """The jitted programs of a run; each compiles at its first call."""

    def __init__(self, setup: Setup, mesh: meshes.Mesh, seeds: int, test_size: int):
        def program(steps: int, batch: int) -> Callable[[TrainState, Images], Any]:
            return compiled(slice_program(setup, mesh, steps, batch), mesh, seeds, donate=True)

        length = min(_SLICE_STEPS, setup.full_batches)
        number, rest = divmod(setup.full_batches, length)
        self.slices = [program(length, setup.experiment.batch_size)] * number
        if rest:
            self.slices.append(program(rest, setup.experiment.batch_size))
        if setup.last_batch:
            self.slices.append(program(1, setup.last_batch))
        batch = meshes.padded_size(min(_EVALUATION_BATCH, test_size), mesh)
        self.evaluate = compiled(evaluation_program(setup, mesh, batch), mesh, seeds, donate=False)


def _initial_state(setup: Setup, num_classes: int, seeds: list[int], mesh: meshes.Mesh) -> TrainState:
    def make(seed: jax.Array) -> TrainState:
        return init_state(setup, num_classes, seed)

    return jax.jit(jax.vmap(make), out_shardings=meshes.replicated(mesh))(np.asarray(seeds, np.uint32))


def _on_device(images: Images, mesh: meshes.Mesh) -> Images:
    return jax.device_put(images, meshes.replicated(mesh))


def _epoch(
    setup: Setup,
    programs: _Programs,
    state: TrainState,
    train: Images,
    test: Images,
    epoch: int,
    history: History,
    progress: RunProgress,
) -> TrainState:
    """Train one epoch and evaluate; appends to the history."""
    started = time.perf_counter()
    seen = []

    def train_slices() -> Iterator[StepMetrics]:
        nonlocal state
        for train_slice in programs.slices:
            with jax.transfer_guard("disallow"):
                state, metrics = train_slice(state, train)
            yield metrics

    for metrics in _one_late(train_slices()):
        read = jax.device_get(metrics)
        seen.append(read)
        _stop_if_not_finite(setup, read, epoch, sum(m.loss.shape[1] for m in seen[:-1]))
        progress.steps(*read)
    evaluation = jax.device_get(programs.evaluate(state, test))
    steps = StepMetrics(*(np.concatenate(arrays, axis=1) for arrays in zip(*seen, strict=True)))
    history.steps.append(steps)
    rate = float(
        learning_rate(setup.experiment, setup.steps_per_epoch)(np.int32((epoch + 1) * setup.steps_per_epoch - 1))
    )
    size = len(test.labels)
    history.rows.append(
        [
            {
                "epoch": epoch,
                "train_loss": float(steps.loss[i].mean()),
                "test_error": 100 * int(evaluation.wrong[i]) / size,
                "test_loss": float(evaluation.loss[i]) / size,
                "learning_rate": rate,
                "below_fraction": float(steps.below[i].mean()),
                "mean_momentum": float(steps.momentum[i].mean()),
                "seconds": time.perf_counter() - started,
            }
            for i in range(len(steps.loss))
        ]
    )
    progress.epoch(setup.experiment.epochs, history.rows[-1])
    return state


def _one_late(items: Iterator[Any]) -> Iterator[Any]:
    """Hand each item on only when the next one has been asked for: reading a slice then waits for no device."""
    held = None
    for item in items:
        if held is not None:
            yield held
        held = item
    yield held


def _stop_if_not_finite(setup: Setup, steps: StepMetrics, epoch: int, first: int) -> None:
    bad = np.argwhere(~np.isfinite(steps.loss).T)
    if bad.size:
        step, which = bad[0]
        at = epoch * setup.steps_per_epoch + first + int(step)
        rate = float(learning_rate(setup.experiment, setup.steps_per_epoch)(np.int32(at)))
        raise RunError(
            f"{setup.experiment.name}: the loss of step {at} (epoch {epoch}) is {steps.loss[which, step]}, at learning "
            f"rate {rate:.3g} and momentum {steps.momentum[which, step]:.3g}. Try a smaller --learning-rate."
        )


def _write(
    experiment: Experiment, seeds: list[int], history: History, dataset: Dataset, root: Path, command: str
) -> None:
    environment = records.environment()
    environment["versions"]["dataset"] = dataset.name
    for i, seed in enumerate(seeds):
        record = records.Record(
            name=experiment.name,
            group=experiment.group,
            seed=seed,
            config=config_of(experiment),
            versions=environment["versions"],
            device=environment["device"],
            command=command,
            history=[rows[i] for rows in history.rows],
        )
        steps = records.Steps(
            **{
                field: np.concatenate([getattr(epoch, field)[i] for epoch in history.steps])
                for field in StepMetrics._fields
            }
        )
        records.write(root, record, steps)
