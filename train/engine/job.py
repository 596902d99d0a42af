"""Train one set of seeds: resume, train epoch by epoch, evaluate, save, record."""

import contextlib
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from train import records
from train.data.dataset import Dataset, Source
from train.engine import processes, resume
from train.engine.batches import make_loader
from train.engine.checkpoint_folders import checkpoint_dir
from train.engine.checkpoints import Checkpoints, Snapshot
from train.engine.devices import AXIS, Mesh
from train.engine.placement import SeedSet
from train.engine.progress import RunProgress
from train.engine.signals import Stopped, StopSignals, TimeUp
from train.engine.state import Setup, init_stacked_state
from train.engine.trainer import Trainer
from train.errors import ConfigError
from train.experiments import Experiment, config_of, controls
from train.records.events import EventLog

# Replaces a signal's number in an `Agreement`. It is larger than all of them.
_TIME_UP = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavePolicy:
    """When a run saves a checkpoint: after this many epochs or minutes, whichever comes first.

    Attributes:
      epochs: Epochs since the last checkpoint.
      minutes: Minutes since the last checkpoint. The run finishes the current slice before it saves.
    """

    epochs: int = 10
    minutes: float = 5.0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"checkpoint-epochs is {self.epochs}, allowed: a whole number of at least 1.")
        if not self.minutes > 0:
            raise ConfigError(f"checkpoint-minutes is {self.minutes}, allowed: a number above 0.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What all seed sets of one call of `run_experiment` share.

    Attributes:
      experiment: The arm, with its tuned settings filled in.
      dataset: The data set, in memory or opened for streaming.
      setup: The setup of the experiment on this data set.
      root: Folder of all runs.
      missing: Seeds that have no record yet.
      command: The command line, kept in the records.
      policy: When to save checkpoints.
      deadline: When to stop, on the clock of `time.monotonic`. None means no deadline.
      console: Where to show progress.
    """

    experiment: Experiment
    dataset: Dataset | Source
    setup: Setup
    root: Path
    missing: list[int]
    command: str
    policy: SavePolicy
    deadline: float | None
    console: Console

    @property
    def settings(self) -> dict[str, Any]:
        """The settings and the data that its checkpoints depend on."""
        return resume.saved_settings(self.experiment, self.dataset)


def train_seed_set(job: Job, seed_set: SeedSet, mesh: Mesh, momenta: np.ndarray | None) -> None:
    """Train a set of seeds to the end, from their checkpoint if there is one, and write their records.

    Args:
      job: The job that the set belongs to.
      seed_set: The seeds.
      mesh: The mesh of their devices.
      momenta: For a control, the momentum of every step, float32 [rows, steps]. None for other arms.
    """
    experiment, setup, seeds = job.experiment, job.setup, seed_set.seeds
    checkpoints = Checkpoints(checkpoint_dir(job.root, experiment.name, seed_set))
    title = f"{experiment.name} seed{'s' if len(seeds) > 1 else ''} {' '.join(map(str, seeds))}"
    # Catch signals from here on, because compiling takes long. If a signal ended one process, the others would wait.
    with contextlib.closing(checkpoints), StopSignals() as signals:
        # Check before compiling, and before reading the arrays: arrays of another network would look damaged.
        there = checkpoints.config()
        if there is not None:
            resume.refuse_other_settings(checkpoints.folder, there, job.settings)
        with contextlib.ExitStack() as stack:
            progress = stack.enter_context(RunProgress(title, setup.total_steps, experiment.batch_size, job.console))
            loader = make_loader(job.dataset, setup, mesh, seeds[0])
            state = init_stacked_state(setup, job.dataset.num_classes, seed_set.rows, mesh, momenta)
            trainer = Trainer(setup, mesh, seeds, loader, state)
            _resume(trainer, checkpoints, title, job.console)
            progress.resume(trainer.steps_done)
            events = [stack.enter_context(log) for log in _event_logs(trainer, job)]
            _train(trainer, checkpoints, job, signals, processes.Agreement(mesh), progress, events)
        if processes.is_first():
            _write_records(trainer, job, seed_set, mesh)


def _resume(trainer: Trainer, checkpoints: Checkpoints, title: str, console: Console) -> None:
    """Restore a trainer from its newest checkpoint, if there is one."""

    def report(sentence: str) -> None:
        console.print(sentence, highlight=False, soft_wrap=True)

    if processes.of_first(checkpoints.latest_step) != checkpoints.latest_step():
        raise ConfigError(
            f"{checkpoints.folder}: the processes see different files there. Put --runs in a shared folder."
        )
    snapshot = checkpoints.restore(trainer.state, report, seeds=len(trainer.seeds))
    if snapshot is not None:
        if trainer.setup.experiment.nonfinite == "stop" and not np.isfinite(snapshot.metrics.loss).all():
            raise ConfigError(f"{checkpoints.folder}: this run has skipped steps. Add --nonfinite skip to go on.")
        trainer.resume(snapshot.state, snapshot.metrics, snapshot.history)
        report(f"{title}  resumed at step {trainer.steps_done} of {trainer.setup.total_steps}")


def _event_logs(trainer: Trainer, job: Job) -> list[EventLog]:
    """Open the TensorBoard events of each seed. Only the first process writes them."""
    if not processes.is_first():
        return []

    def report(sentence: str) -> None:
        job.console.print(sentence, highlight=False, soft_wrap=True)

    folders = [records.run_dir(job.root, job.experiment.name, seed) for seed in trainer.seeds]
    return [EventLog(folder, len(trainer.history), report) for folder in folders]


def _train(
    trainer: Trainer,
    checkpoints: Checkpoints,
    job: Job,
    signals: StopSignals,
    agreement: processes.Agreement,
    progress: RunProgress,
    events: Sequence[EventLog],
) -> None:
    """Train to the last step and save checkpoints on the way.

    Args:
      trainer: The trainer of the seeds.
      checkpoints: Where to save.
      job: When to save, and what a checkpoint depends on.
      signals: Requests to stop.
      agreement: Makes all processes stop and save at the same step.
      progress: Shows every step.
      events: One log per seed, or none.

    Raises:
      Stopped: After a signal, once the checkpoint is on disk.
      TimeUp: After the deadline, once the checkpoint is on disk.
    """
    saved_at, saved_epochs = time.monotonic(), len(trainer.history)
    logged_epochs = len(trainer.history)

    def save() -> None:
        nonlocal saved_at, saved_epochs
        trainer.read_all(progress)
        if checkpoints.latest_step() != trainer.steps_done:
            checkpoints.save(Snapshot(trainer.state, trainer.metrics(), trainer.history, job.settings))
        saved_at, saved_epochs = time.monotonic(), len(trainer.history)

    for _ in trainer.advance(progress, checkpoints.newest_folder):
        for rows in trainer.history[logged_epochs:]:
            for log, row in zip(events, rows, strict=False):
                log.epoch(row)
        logged_epochs = len(trainer.history)
        late = job.deadline is not None and processes.is_first() and time.monotonic() >= job.deadline
        # The deadline does not stop a finished run, because its records come next.
        late = late and not trainer.finished
        request = signals.received or (_TIME_UP if late else 0)
        stop, due = agreement.reach(request, time.monotonic() - saved_at >= 60 * job.policy.minutes)
        if stop:
            save()
            checkpoints.wait()
            where = f"at step {trainer.steps_done} of {trainer.setup.total_steps}, saved in {checkpoints.folder}."
            if stop == _TIME_UP:
                raise TimeUp(f"The time is up: {job.experiment.name} stopped {where}")
            raise Stopped(stop, f"Stopped {where} The same command resumes (without --fresh).")
        if due or len(trainer.history) - saved_epochs >= job.policy.epochs or trainer.finished:
            save()
    checkpoints.wait()


def _write_records(trainer: Trainer, job: Job, seed_set: SeedSet, mesh: Mesh) -> None:
    experiment = trainer.setup.experiment
    environment = records.environment(mesh.shape[AXIS])
    environment["device"][records.VMAPPED] = seed_set.vmapped
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
