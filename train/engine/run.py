"""Run one experiment: set up or resume, train epoch by epoch, evaluate, save, record."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from train import data, records
from train.data.dataset import Dataset, Source
from train.data.reduce import reduced
from train.engine import processes, resume
from train.engine.batches import make_loader
from train.engine.checkpoints import Checkpoints, Snapshot, checkpoint_dir
from train.engine.devices import Mesh, make_mesh, replicated
from train.engine.progress import RunProgress
from train.engine.signals import Stopped, StopSignals, TimeUp
from train.engine.state import Setup, init_stacked_state, make_setup
from train.engine.trainer import Trainer
from train.errors import ConfigError
from train.experiments import Experiment, config_of, controls, from_config, tuning
from train.records.events import EventLog

# Stands in an `Agreement` where otherwise a signal's number does; larger than all of those.
_TIME_UP = 1000


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


def run_experiment(
    experiment: Experiment,
    *,
    seeds: Sequence[int],
    root: Path,
    data_dir: Path | None = None,
    command: str = "",
    fresh: bool = False,
    fresh_too: Sequence[Experiment] = (),
    policy: SavePolicy | None = None,
    devices: int | None = None,
    stream: bool = False,
    deadline: float | None = None,
    console: Console | None = None,
) -> list[Path]:
    """Train an experiment with each seed that has no finished record yet, from its checkpoint where there is one.

    Args:
      experiment: The arm.
      seeds: Whole numbers; together in one program where the experiment says so, else one after the other.
      root: Folder of all runs; a record is `root/<arm>/seed-<n>/result.json`, or packed in `root/<group>`.
      data_dir: Where TensorFlow Datasets keeps its data; None is its own default.
      command: Kept in the record.
      fresh: Whether to train anew what is finished or begun: when the run is about to begin, what is there is removed.
      fresh_too: Experiments whose runs, with their own seeds, are removed with it: those that come next.
      policy: When to save.
      devices: How many devices to use; None is all.
      stream: Whether to read the images from disk as they are needed, for data that a device cannot hold; seeds then
        run one after the other.
      deadline: When to save and stop, on the clock of `time.monotonic`, in seconds; the first process's counts. A
        slice that has begun is finished. None is never.
      console: Where to show progress; None is standard error.

    Returns:
      The paths of the records, in the order of the seeds; a run that was packed has left its path.

    Raises:
      ConfigError: If a setting does not fit the data, or what is there was made with other settings.
      DataError: If the data set cannot be had.
      CheckpointError: If a checkpoint cannot be written.
      RunError: If a loss or the state is not finite.
      Stopped: After SIGTERM or SIGINT, when all is saved.
      TimeUp: After the deadline, when all is saved.
    """
    console = console or Console(stderr=True)
    console.quiet = console.quiet or not processes.is_first()
    # Only the first process writes records, so only it knows for certain what there is. Streamed seeds need images of
    # their own.
    together = experiment.vmap_seeds and not stream
    plan = resume.Plan(
        *processes.of_first(lambda: resume.make_plan(experiment, seeds, root, together=together, fresh=fresh))
    )
    if plan.missing:
        _refuse_to_begin_after(deadline)
        dataset = _load_data(experiment, data_dir, stream)
        if not fresh:
            found = dataset.fingerprint
            processes.of_first(lambda: resume.refuse_records_of_other_data(experiment, seeds, root, found))
        mesh = make_mesh(devices)
        stale = [(experiment, seeds), *((other, other.seeds) for other in fresh_too)] if fresh else []
        settled = _resolved_by_first(experiment, root)
        job = _Job(
            experiment=settled,
            dataset=dataset,
            setup=make_setup(settled, dataset),
            mesh=mesh,
            root=root,
            missing=plan.missing,
            command=command,
            policy=policy or SavePolicy(),
            deadline=deadline,
            console=console,
        )
        for seed_set in plan.seed_sets:
            _refuse_to_begin_after(deadline)
            momenta = _momenta_by_first(job, seed_set)
            # Delete old runs only after all checks have passed.
            processes.of_first(functools.partial(resume.discard, stale, root))
            stale = []
            _run_together(job, seed_set, momenta)
    if processes.is_first() and (plan.missing or records.find_trials(root, experiment.name) is None):
        tuning.write_trials(experiment, root, command)
    return [records.run_dir(root, experiment.name, seed) / records.RESULT for seed in seeds]


def _load_data(experiment: Experiment, data_dir: Path | None, stream: bool) -> Dataset | Source:
    """Load or open a data set, and reduce or divide it as the experiment says."""
    dataset = (data.open_source if stream else data.load)(experiment.dataset, data_dir)
    dataset = reduced(dataset, resolution=experiment.resolution, train_size=experiment.train_size)
    return tuning.hold_out(dataset) if experiment.holdout else dataset


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Job:
    """What the seed sets of one call of `run_experiment` have in common."""

    experiment: Experiment
    dataset: Dataset | Source
    setup: Setup
    mesh: Mesh
    root: Path
    missing: list[int]  # seeds whose records are to be written
    command: str
    policy: SavePolicy
    deadline: float | None
    console: Console

    @property
    def settings(self) -> dict[str, Any]:
        """What its checkpoints depend on."""
        return resume.saved_settings(self.experiment, self.dataset)


def _refuse_to_begin_after(deadline: float | None) -> None:
    """End all processes before the next run, if the first process has no time left.

    Raises:
      TimeUp: If so.
    """
    if deadline is not None and processes.of_first(lambda: time.monotonic() >= deadline):
        raise TimeUp("The time is up. No run is under way.")


def _resolved_by_first(experiment: Experiment, root: Path) -> Experiment:
    """Complete an experiment in the first process, which alone knows for certain what there is."""
    config: dict[str, Any] = processes.of_first(lambda: config_of(resume.resolved(experiment, root)))
    return from_config(config, seeds=experiment.seeds, vmap_seeds=experiment.vmap_seeds)


def _momenta_by_first(job: _Job, seeds: list[int]) -> np.ndarray | None:
    """Make the momenta of a control in the first process; float32 [seeds, steps], None for other arms."""
    if job.experiment.control == "none":
        return None

    def look() -> list[list[float]]:
        steps = job.setup.steps_per_epoch
        return [controls.momenta(job.experiment, job.root, seed, steps).tolist() for seed in seeds]

    return np.asarray(processes.of_first(look), np.float32)


def _run_together(job: _Job, seeds: list[int], momenta: np.ndarray | None) -> None:
    experiment, setup = job.experiment, job.setup
    checkpoints = Checkpoints(checkpoint_dir(job.root, experiment.name, seeds))
    title = f"{experiment.name} seed{'s' if len(seeds) > 1 else ''} {' '.join(map(str, seeds))}"
    # From here on, as compiling takes long: a process that a signal ended alone would leave the others waiting for it.
    with contextlib.closing(checkpoints), StopSignals() as signals:
        # Before anything is compiled, and before the arrays are read: another network's would be taken for damaged.
        there = checkpoints.config()
        if there is not None:
            resume.refuse_other_settings(checkpoints.folder, there, job.settings)
        with contextlib.ExitStack() as stack:
            progress = stack.enter_context(RunProgress(title, setup.total_steps, experiment.batch_size, job.console))
            loader = make_loader(job.dataset, setup, job.mesh, seeds[0])
            state = init_stacked_state(setup, job.dataset.num_classes, seeds, replicated(job.mesh), momenta)
            trainer = Trainer(setup, job.mesh, seeds, loader, state)
            _resume(trainer, checkpoints, title, job.console)
            progress.resume(trainer.steps_done)
            events = [stack.enter_context(log) for log in _event_logs(trainer, job)]
            _train(trainer, checkpoints, job, signals, progress, events)
        if processes.is_first():
            _write_records(trainer, job)


def _resume(trainer: Trainer, checkpoints: Checkpoints, title: str, console: Console) -> None:
    """Restore a trainer from its newest checkpoint, if there is one."""

    def report(sentence: str) -> None:
        console.print(sentence, highlight=False, soft_wrap=True)

    if processes.of_first(checkpoints.latest) != checkpoints.latest():
        raise ConfigError(f"{checkpoints.folder}: the processes see different files there; --runs has to be shared.")
    snapshot = checkpoints.restore(trainer.state, report)
    if snapshot is not None:
        trainer.resume(snapshot.state, snapshot.metrics, snapshot.history)
        report(f"{title}  resumed at step {trainer.steps_done} of {trainer.setup.total_steps}")


def _event_logs(trainer: Trainer, job: _Job) -> list[EventLog]:
    """Open the TensorBoard events of each seed; the first process alone writes them."""
    if not processes.is_first():
        return []

    def report(sentence: str) -> None:
        job.console.print(sentence, highlight=False, soft_wrap=True)

    folders = [records.run_dir(job.root, job.experiment.name, seed) for seed in trainer.seeds]
    return [EventLog(folder, len(trainer.history), report) for folder in folders]


def _train(
    trainer: Trainer,
    checkpoints: Checkpoints,
    job: _Job,
    signals: StopSignals,
    progress: RunProgress,
    events: Sequence[EventLog],
) -> None:
    """Take a trainer to its last step, saving on the way.

    Args:
      trainer: With the seeds to train.
      checkpoints: Where to save.
      job: When to save, and what a checkpoint depends on.
      signals: Requests to stop.
      progress: Shows every step.
      events: One log per seed, or none.

    Raises:
      Stopped: If a signal asked for it, when the checkpoint is on disk.
      TimeUp: If the deadline has passed, when the checkpoint is on disk.
    """
    policy, agreement = job.policy, processes.Agreement(job.mesh)
    saved_at, saved_epochs = time.monotonic(), len(trainer.history)
    logged_epochs = len(trainer.history)

    def save() -> None:
        nonlocal saved_at, saved_epochs
        trainer.read_all(progress)
        if checkpoints.latest() != trainer.steps_done:
            checkpoints.save(Snapshot(trainer.state, trainer.metrics(), trainer.history, job.settings))
        saved_at, saved_epochs = time.monotonic(), len(trainer.history)

    for _ in trainer.advance(progress, checkpoints.newest):
        for rows in trainer.history[logged_epochs:]:
            for log, row in zip(events, rows, strict=False):
                log.epoch(row)
        logged_epochs = len(trainer.history)
        late = job.deadline is not None and processes.is_first() and time.monotonic() >= job.deadline
        # A finished run is not stopped by the clock: its records are about to be written.
        late = late and not trainer.finished
        wish = signals.received or (_TIME_UP if late else 0)
        stop, due = agreement.reach(wish, time.monotonic() - saved_at >= 60 * policy.minutes)
        if stop:
            save()
            checkpoints.wait()
            where = f"at step {trainer.steps_done} of {trainer.setup.total_steps}, saved in {checkpoints.folder}."
            if stop == _TIME_UP:
                raise TimeUp(f"The time is up: {job.experiment.name} stopped {where}")
            raise Stopped(stop, f"Stopped {where} The same command resumes (without --fresh).")
        if due or len(trainer.history) - saved_epochs >= policy.epochs or trainer.finished:
            save()
    checkpoints.wait()


def _write_records(trainer: Trainer, job: _Job) -> None:
    experiment = trainer.setup.experiment
    environment = records.environment(job.mesh.size)
    environment["versions"] |= {"dataset": job.dataset.name, records.FINGERPRINT: job.dataset.fingerprint}
    steps = trainer.metrics()
    for i, seed in enumerate(trainer.seeds):
        if seed not in job.missing:
            continue
        record = records.Record(
            name=experiment.name,
            group=experiment.group,
            seed=seed,
            config=config_of(experiment),
            versions=environment["versions"],
            device=environment["device"],
            command=job.command,
            donor_seed=controls.donor_seed(experiment, seed),
            history=[epoch[i] for epoch in trainer.history],
        )
        records.write(job.root, record, steps.of_seed(i))
