"""Run one experiment: set up or resume, train epoch by epoch, evaluate, save, record."""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from rich.console import Console

from train import data, records
from train import mesh as meshes
from train.checkpoints import Checkpoints, Snapshot, begun_cohorts, cohort_dir
from train.cohort import Cohort
from train.dataset import Dataset
from train.epoch import Images
from train.experiments import ConfigError, Experiment
from train.interrupt import Stopped, StopSignals
from train.progress import RunProgress
from train.state import Setup, TrainState, init_state, make_model


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavePolicy:
    """When a run saves on its own: at whichever comes first since the last time.

    Attributes:
      epochs: After as many epochs.
      minutes: After as many minutes, at the next slice.
    """

    epochs: int = 10
    minutes: float = 5.0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"checkpoint-epochs is {self.epochs}, allowed: a whole number of at least 1.")
        if not self.minutes > 0:
            raise ConfigError(f"checkpoint-minutes is {self.minutes}, allowed: a number above 0.")


def run(
    experiment: Experiment,
    *,
    seeds: Sequence[int],
    root: Path,
    data_dir: Path | None = None,
    command: str = "",
    fresh: bool = False,
    policy: SavePolicy | None = None,
    devices: int | None = None,
    console: Console | None = None,
) -> list[Path]:
    """Train an experiment with each seed that has no finished record yet, from its checkpoint where there is one.

    Args:
      experiment: The arm.
      seeds: Whole numbers; together in one program where the experiment says so, else one after the other.
      root: Folder of all runs; a record is `root/<arm>/seed-<n>/result.json`.
      data_dir: Where TensorFlow Datasets keeps its data; None is its own default.
      command: Kept in the record.
      fresh: Whether to train anew what is finished or begun.
      policy: When to save.
      devices: How many devices to use; None is all.
      console: Where to show progress; None is standard error.

    Returns:
      The paths of the records, in the order of the seeds.

    Raises:
      ConfigError: If a setting does not fit the data, or what is there was made with other settings.
      DataError: If the data set cannot be had.
      CheckpointError: If a checkpoint cannot be written.
      RunError: If a loss is not finite.
      Stopped: After SIGTERM or SIGINT, when all is saved.
    """
    console = console or Console(stderr=True)
    policy = policy or SavePolicy()
    config = config_of(experiment)
    missing = [s for s in seeds if fresh or not _is_finished(root, experiment.name, s, config)]
    if missing:
        dataset = data.load(experiment.dataset, data_dir)
        for cohort in _cohorts(experiment, missing, root):
            _run_together(experiment, cohort, dataset, root, command, fresh, policy, devices, console)
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
    _refuse_other_settings(path, record.config, config)
    return record.finished


def _refuse_other_settings(path: Path, there: dict[str, Any], now: dict[str, Any]) -> None:
    differ = [key for key in now if there.get(key) != now[key]]
    if differ:
        fields = ", ".join(f"{key} ({there.get(key)!r} there, {now[key]!r} now)" for key in differ)
        raise ConfigError(
            f"{path} was made with other settings: {fields}. Choose another --runs folder, or replace it with --fresh."
        )


def _cohorts(experiment: Experiment, missing: list[int], root: Path) -> list[list[int]]:
    """Which seeds run together: those that began so, then all others, or each alone."""
    begun = [seeds for seeds in begun_cohorts(root, experiment.name) if set(seeds) <= set(missing)]
    if not experiment.vmap_seeds:
        return [[seed] for seed in missing]
    cohorts: list[list[int]] = []
    for seeds in sorted(begun, key=len, reverse=True):
        if not any(set(seeds) & set(cohort) for cohort in cohorts):
            cohorts.append(seeds)
    rest = [seed for seed in missing if not any(seed in cohort for cohort in cohorts)]
    return [*cohorts, rest] if rest else cohorts


def _run_together(
    experiment: Experiment,
    seeds: list[int],
    dataset: Dataset,
    root: Path,
    command: str,
    fresh: bool,
    policy: SavePolicy,
    devices: int | None,
    console: Console,
) -> None:
    mesh = meshes.make_mesh(devices)
    setup = make_setup(experiment, dataset)
    train, test = (
        jax.device_put(Images(images, labels), meshes.replicated(mesh))
        for images, labels in (
            (dataset.train_images, dataset.train_labels),
            (dataset.test_images, dataset.test_labels),
        )
    )
    cohort = Cohort(setup, mesh, seeds, train, test, _initial_state(setup, dataset.num_classes, seeds, mesh))
    checkpoints = Checkpoints(cohort_dir(root, experiment.name, seeds))
    title = f"{experiment.name} seed{'s' if len(seeds) > 1 else ''} {' '.join(map(str, seeds))}"
    try:
        _resume(cohort, checkpoints, fresh, title, console)
        with RunProgress(title, setup.total_steps, experiment.batch_size, cohort.step, console) as progress:
            _train(cohort, checkpoints, policy, progress)
        _write_records(cohort, dataset, root, command)
    finally:
        checkpoints.close()


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


def _initial_state(setup: Setup, num_classes: int, seeds: list[int], mesh: meshes.Mesh) -> TrainState:
    def make(seed: jax.Array) -> TrainState:
        return init_state(setup, num_classes, seed)

    return jax.jit(jax.vmap(make), out_shardings=meshes.replicated(mesh))(np.asarray(seeds, np.uint32))


def _resume(cohort: Cohort, checkpoints: Checkpoints, fresh: bool, title: str, console: Console) -> None:
    """Bring a cohort to its newest checkpoint, if there is one."""

    def report(sentence: str) -> None:
        console.print(sentence, highlight=False, soft_wrap=True)

    if fresh:
        checkpoints.clear()
        return
    snapshot = checkpoints.restore(cohort.state, report)
    if snapshot is not None:
        _refuse_other_settings(checkpoints.folder, snapshot.config, config_of(cohort.setup.experiment))
        cohort.resume(snapshot.state, snapshot.steps, snapshot.rows)
        report(f"{title}  resumed at step {cohort.step} of {cohort.setup.total_steps}")


def _train(cohort: Cohort, checkpoints: Checkpoints, policy: SavePolicy, progress: RunProgress) -> None:
    """Take a cohort to its last step, saving on the way.

    Raises:
      Stopped: If a signal asked for it, when the checkpoint is on disk.
    """
    saved_at, saved_epochs = time.monotonic(), len(cohort.rows)

    def save() -> None:
        nonlocal saved_at, saved_epochs
        if checkpoints.latest() != cohort.step:
            checkpoints.save(Snapshot(cohort.state, cohort.steps(), cohort.rows, config_of(cohort.setup.experiment)))
        saved_at, saved_epochs = time.monotonic(), len(cohort.rows)

    with StopSignals() as signals:
        for _ in cohort.advance(progress, checkpoints.folder):
            if signals.received is not None:
                cohort.read_all(progress)
                save()
                checkpoints.wait()
                raise Stopped(
                    signals.received,
                    f"Stopped at step {cohort.step} of {cohort.setup.total_steps}, saved in {checkpoints.folder}. "
                    "The same command resumes.",
                )
            epochs_done = len(cohort.rows) - saved_epochs >= policy.epochs
            if epochs_done or time.monotonic() - saved_at >= 60 * policy.minutes or cohort.finished:
                cohort.read_all(progress)
                save()
        checkpoints.wait()


def _write_records(cohort: Cohort, dataset: Dataset, root: Path, command: str) -> None:
    experiment = cohort.setup.experiment
    environment = records.environment()
    environment["versions"]["dataset"] = dataset.name
    steps = cohort.steps()
    for i, seed in enumerate(cohort.seeds):
        record = records.Record(
            name=experiment.name,
            group=experiment.group,
            seed=seed,
            config=config_of(experiment),
            versions=environment["versions"],
            device=environment["device"],
            command=command,
            history=[rows[i] for rows in cohort.rows],
        )
        own = records.Steps(**{field: values[i] for field, values in steps._asdict().items()})
        records.write(root, record, own)
