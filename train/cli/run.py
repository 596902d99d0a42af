"""`python -m train run`: train arms and compare them."""

import dataclasses
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.text import Text

from train import records
from train.cli.options import DATA_DIR
from train.errors import ConfigError, RecordError
from train.experiments import Experiment, config_of, controls, differences_from_run, tuning
from train.experiments.arguments import option, without_switch
from train.experiments.overrides import Overrides, chosen_arms
from train.files import require_literal, require_writable
from train.records.provenance import command_line

if TYPE_CHECKING:  # imported where it is used, because `--help` does not need JAX
    from train.engine.run import SavePolicy
    from train.engine.signals import TimeUp

_NAMED = tyro.conf.arg(name="experiment")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Train an arm or all arms of a group, and compare them.

    A stopped run continues from its checkpoint. A finished run is not repeated.

    Attributes:
      name: The arm, such as `fig3/sgd-0.9`, or the group, such as `fig3`. `python -m train list` shows all.
      seeds: Train each arm once with each of these whole numbers.
      model: Depth and width of the Wide ResNet: 28-10, 28-2, 16-4, 16-1, ...
      runs: Keep records and checkpoints in this folder.
      data_dir: The folder of prepared data sets. Missing sets are downloaded.
      fresh: Delete the records and checkpoints of these runs, and train again.
      checkpoint_epochs: Save after at most this many epochs.
      checkpoint_minutes: Save after at most this many minutes.
      minutes: Stop after this time. Until then, train all arms in blocks of five seeds. When the time is up, save the
        current run, report the finished runs, and exit with status 75 if runs are left.
      stream: Read the images from disk during training, for data that do not fit on the device.
      devices: How many GPUs, TPU cores or other devices to train on.
      devices_per_seed: Split the batches of each seed over this many devices. Seeds on different devices train at the
        same time.
      coordinator: Train in several processes that meet at the first one: its address, or `auto` on a cluster.
      processes: How many processes there are.
      process: The number of this process, from 0.
      overrides: Change these settings in all named arms.
    """

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[ARM or GROUP]")] = "quickstart"
    seeds: Annotated[tuple[int, ...] | None, option("the arm's")] = None
    model: Annotated[str | None, option("the arm's", "DEPTH-WIDTH")] = None
    runs: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs")
    data_dir: Annotated[Path | None, DATA_DIR] = None
    fresh: bool = False
    checkpoint_epochs: int = 10
    checkpoint_minutes: float = 5.0
    minutes: Annotated[float | None, option("no limit")] = None
    stream: bool = False
    devices: Annotated[int | None, option("all")] = None
    devices_per_seed: Annotated[int | None, option("1 for several seeds, all for one")] = None
    coordinator: Annotated[str | None, option("one process alone", "HOST:PORT")] = None
    processes: Annotated[int | None, option("1")] = None
    process: Annotated[int | None, option("0")] = None
    overrides: tyro.conf.OmitArgPrefixes[Annotated[Overrides, _NAMED]] = dataclasses.field(default_factory=Overrides)  # type: ignore[valid-type]

    def __call__(self, console: Console) -> None:
        """Run the command."""
        if self.minutes is not None and not self.minutes > 0:
            raise ConfigError(f"minutes is {self.minutes}, allowed: a number above 0.")
        arms = chosen_arms(self.name, self.overrides, model=self.model, seeds=self.seeds, stream=self.stream)
        for arm in arms:
            require_writable(self.runs / arm.name, "--runs")
        require_literal(self.runs, "--runs")
        controls.require_donors(arms, self.runs, fresh=self.fresh)
        if not self.process:
            self._announce(arms, console)
        # The engine imports JAX, which takes seconds.
        from train.engine import backend, processes
        from train.engine.run import SavePolicy
        from train.engine.signals import TimeUp

        if not self.process:
            _announce_lost_rates(arms, console)
        deadline = None if self.minutes is None else time.monotonic() + 60 * self.minutes
        policy = SavePolicy(epochs=self.checkpoint_epochs, minutes=self.checkpoint_minutes)
        processes.join(self.coordinator, self.processes, self.process)
        several = any(len(arm.seeds) > 1 for arm in arms)
        if several and self.devices is None and not self.stream and not processes.joined():
            backend.make_cores_devices()
        time_up = self._train(arms, policy, deadline)
        if time_up is not None and time_up.before_fresh:
            raise TimeUp(f"{time_up} Nothing was deleted. This command goes on:\n{command_line()}")
        single = [dataclasses.replace(arm, seeds=(seed,)) for arm in arms for seed in arm.seeds]
        finished = sum(_is_finished(run, self.runs) for run in single)
        if processes.is_first() and (time_up is None or finished):
            self._report(arms, console)
        if time_up is not None:
            again = shlex.join(without_switch(shlex.split(command_line()), "--fresh"))
            raise TimeUp(f"{time_up} {finished} of {len(single)} runs are finished. This command goes on:\n{again}")

    def _train(self, arms: list[Experiment], policy: "SavePolicy", deadline: float | None) -> "TimeUp | None":
        """Train all arms and their trials. Return the `TimeUp` if the deadline passed before the end."""
        from train.engine.run import run_experiment
        from train.engine.signals import TimeUp
        from train.experiments import blocks

        in_order = [run for arm in arms for run in (*tuning.trials(arm), arm)]
        runs = in_order if deadline is None else blocks.in_blocks(arms)
        for i, run in enumerate(runs):
            try:
                run_experiment(
                    run,
                    seeds=run.seeds,
                    root=self.runs,
                    data_dir=self.data_dir,
                    command=command_line(),
                    # The first arm removes the old runs of all arms. Otherwise a stop in between would leave runs that
                    # look finished.
                    fresh=self.fresh and i == 0,
                    fresh_too=runs[1:],
                    among=[seed for other in runs if other.name == run.name for seed in other.seeds],
                    policy=policy,
                    devices=self.devices,
                    devices_per_seed=self.devices_per_seed,
                    stream=self.stream,
                    deadline=deadline,
                )
            except TimeUp as end:
                return end
        return None

    def _announce(self, arms: list[Experiment], console: Console) -> None:
        """Say which arms are finished and which will be trained."""
        finished = [] if self.fresh else [arm for arm in arms if _is_finished(arm, self.runs)]
        for group, what in ((finished, "already finished"), ([arm for arm in arms if arm not in finished], "to train")):
            if group:
                number = "1 arm" if len(group) == 1 else f"{len(group)} arms"
                sentence = f"{number} {what} in {self.runs / arms[0].group}"
                console.print(sentence, highlight=False, markup=False, soft_wrap=True)

    def _report(self, arms: list[Experiment], console: Console) -> None:
        from train.report.report import report

        folder = self.runs / arms[0].group
        made = report(folder, baseline=_baseline(arms, self.runs))
        made.show(console)
        if not made.groups:
            return
        sentences = [f"Open this page in a browser; it has all tables and figures: {folder / 'report' / 'report.html'}"]
        if 2 <= max(len(arm.seeds) for arm in arms) < 5:
            sentences.append("More seeds reveal smaller differences: add --seeds 0 1 2 3 4. Finished runs are kept.")
        sentences.append("Other experiments: python -m train list")
        console.print(Text("\n".join(sentences)), soft_wrap=True)


def _announce_lost_rates(arms: list[Experiment], console: Console) -> None:
    """Say which arms have too few epochs for the whole step schedule."""
    from train.recipe.schedules import lost_rates
    from train.records.stages import lost_in_words

    losing: dict[tuple[int, tuple[float, ...]], list[str]] = {}
    for arm in arms:
        if lost := lost_rates(arm):
            losing.setdefault((arm.epochs, lost), []).append(arm.name)
    for (epochs, lost), names in losing.items():
        sentence = f"{', '.join(names)}: {lost_in_words(epochs, lost)}"
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def _is_finished(arm: Experiment, root: Path) -> bool:
    """Whether all seeds are finished, with the settings of the arm."""
    try:
        now = config_of(tuning.resolved(arm, root))
        found = [records.find(root, arm.name, seed) for seed in arm.seeds]
    except (ConfigError, RecordError):
        return False  # The run itself reports the error.
    return all(record is not None and record.finished and not differences_from_run(record, now) for record in found)


def _baseline(arms: list[Experiment], root: Path) -> str:
    """SGD at 0.9 if it was run, now or earlier; else the first arm."""
    there = records.has_runs(root, f"{arms[0].group}/sgd-0.9")
    return "sgd-0.9" if there else arms[0].name.partition("/")[2]
