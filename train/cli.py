"""The commands of `python -m train`."""

import dataclasses
import json
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.text import Text

from train import records
from train.bench.command import Bench
from train.errors import ConfigError, RecordError, UserError
from train.experiments import MAIN_SETTINGS, Experiment, listing, usage
from train.experiments.arguments import option, without_switch
from train.experiments.overrides import Overrides, chosen_arms
from train.files import require_writable
from train.records.provenance import carrying_out, command_line
from train.studies.command import Directions, Games, Mechanism, Perceptrons

if TYPE_CHECKING:  # imported where it is used, as `--help` can do without
    from train.report.publish import Figures, Tables

# EX_TEMPFAIL of sysexits.h: try again. A script's loop can tell it from success and from an error.
_TIME_UP_STATUS = 75
_CHECKOUT = Path(__file__).parent.parent
RESULTS = _CHECKOUT / "train" / "results"
"""The committed records."""

_NAMED = tyro.conf.arg(name="experiment")
_DATA_DIR = option("TFDS_DATA_DIR, or ~/tensorflow_datasets", "FOLDER")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Train an arm or all arms of a group, and compare them.

    A stopped run goes on where it was saved. A finished run is not repeated.

    Attributes:
      name: The arm, such as `fig3/sgd-0.9`, or the group, such as `fig3`. `python -m train list` shows all.
      seeds: Train each arm once with each of these whole numbers.
      model: Depth and width of the Wide ResNet in one word: 28-10, 28-2, 16-4, 16-1, ...
      runs: Keep records and checkpoints in this folder.
      data_dir: The folder of prepared data sets. What is not there is downloaded.
      fresh: Delete the records and checkpoints of these runs, and train again.
      checkpoint_epochs: Save after at most this many epochs.
      checkpoint_minutes: Save after at most this many minutes.
      minutes: Stop after this time, and go block by block of five seeds through all arms until then. What has begun is
        saved, what is finished is reported, and the exit status is 75 if something is left.
      stream: Read the images from disk during training, for data that does not fit on the device.
      devices: How many GPUs, TPU cores or other devices to train on.
      coordinator: Train in several processes that meet at the first one: its address, or `auto` on a cluster.
      processes: How many processes there are.
      process: The number of this process, from 0.
      overrides: Change these settings in all arms that are named.
    """

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[ARM or GROUP]")] = "quickstart"
    seeds: Annotated[tuple[int, ...] | None, option("the arm's")] = None
    model: Annotated[str | None, option("the arm's", "DEPTH-WIDTH")] = None
    runs: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs")
    data_dir: Annotated[Path | None, _DATA_DIR] = None
    fresh: bool = False
    checkpoint_epochs: int = 10
    checkpoint_minutes: float = 5.0
    minutes: Annotated[float | None, option("no limit")] = None
    stream: bool = False
    devices: Annotated[int | None, option("all")] = None
    coordinator: Annotated[str | None, option("one process alone", "HOST:PORT")] = None
    processes: Annotated[int | None, option("1")] = None
    process: Annotated[int | None, option("0")] = None
    overrides: tyro.conf.OmitArgPrefixes[Annotated[Overrides, _NAMED]] = dataclasses.field(default_factory=Overrides)  # type: ignore[valid-type]

    def __call__(self, console: Console) -> None:
        """Carry the command out."""
        if self.minutes is not None and not self.minutes > 0:
            raise ConfigError(f"minutes is {self.minutes}, allowed: a number above 0.")
        arms = chosen_arms(self.name, self.overrides, model=self.model, seeds=self.seeds, stream=self.stream)
        for arm in arms:
            require_writable(self.runs / arm.name, "--runs")
        if not self.process:
            self._announce(arms, console)
        # These bring JAX, which takes seconds.
        from train.engine import processes
        from train.engine.run import SavePolicy, run_experiment
        from train.engine.signals import TimeUp
        from train.experiments import blocks, tuning

        if not self.process:
            _announce_lost_rates(arms, console)
        deadline = None if self.minutes is None else time.monotonic() + 60 * self.minutes
        policy = SavePolicy(epochs=self.checkpoint_epochs, minutes=self.checkpoint_minutes)
        processes.join(self.coordinator, self.processes, self.process)
        in_order = [run for arm in arms for run in (*tuning.trials(arm), arm)]
        runs = in_order if deadline is None else blocks.in_blocks(arms)
        time_up = None
        for i, run in enumerate(runs):
            try:
                run_experiment(
                    run,
                    seeds=run.seeds,
                    root=self.runs,
                    data_dir=self.data_dir,
                    command=command_line(),
                    # The first removes what there is of all, so that a stop in between leaves nothing that looks
                    # finished.
                    fresh=self.fresh and i == 0,
                    fresh_too=runs[1:],
                    policy=policy,
                    devices=self.devices,
                    stream=self.stream,
                    deadline=deadline,
                )
            except TimeUp as end:
                time_up = end
                break
        single = [dataclasses.replace(arm, seeds=(seed,)) for arm in arms for seed in arm.seeds]
        finished = sum(_is_finished(run, self.runs) for run in single)
        if processes.is_first() and (time_up is None or finished):
            self._report(arms, console)
        if time_up is not None:
            raise TimeUp(
                f"{time_up} {finished} of {len(single)} runs are finished. This command goes on:\n"
                f"{shlex.join(without_switch(shlex.split(command_line()), '--fresh'))}"
            )

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
        report(folder, baseline=_baseline(arms, self.runs)).show(console)
        sentences = [f"All tables and figures: {folder / 'report' / 'report.md'}"]
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
    try:
        found = [records.find(root, arm.name, seed) for seed in arm.seeds]
    except RecordError:
        return False  # The run itself says what is wrong with it.
    return all(record is not None and record.finished for record in found)


def _baseline(arms: list[Experiment], root: Path) -> str:
    """SGD at 0.9 where it was run, now or earlier, else the first arm."""
    there = records.has_runs(root, f"{arms[0].group}/sgd-0.9")
    return "sgd-0.9" if there else arms[0].name.partition("/")[2]


@dataclasses.dataclass(frozen=True, kw_only=True)
class List:
    """Show the arms, by group.

    Attributes:
      pattern: Show only this group, or the arms with these letters in their name.
      json: Print JSON, with more settings.
    """

    pattern: Annotated[tyro.conf.Positional[str], option("all arms", "[GROUP or LETTERS]")] = ""
    json: bool = False

    def __call__(self, console: Console) -> None:
        """Carry the command out."""
        arms = listing.matching(self.pattern)
        if self.json:
            print(json.dumps([{key: getattr(arm, key) for key in ("name", *MAIN_SETTINGS)} for arm in arms], indent=2))
            return
        listing.show(arms, console)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Make tables and figures from the records of finished runs.

    Attributes:
      runs: The folder of records, or of one group's, such as `runs/fig3`.
      out: Write the report to this folder.
      baseline: Compare the other arms of a group with this one; its name without the group's.
      margin: Count LCAM as equivalent to another arm if they differ by less than this, in percentage points.
      pack: Instead, pack the runs of this folder: per group one file of records and one of steps.
      publish: Instead, rewrite the tables of the README and docs, and the README's figure, from the committed records.
    """

    runs: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="[FOLDER]")] = Path("runs")
    out: Annotated[Path | None, option("`report` in the folder of records", "FOLDER")] = None
    baseline: Annotated[str, tyro.conf.arg(metavar="ARM")] = "sgd-0.9"
    margin: Annotated[float | None, option("the margin of docs/preregistration.md", "POINTS")] = None
    pack: Annotated[Path | None, option("nothing is packed", "FOLDER")] = None
    publish: bool = False

    def __call__(self, console: Console) -> None:
        """Carry the command out.

        Raises:
          ConfigError: If the margin is not a positive number.
        """
        if self.margin is not None and not 0 < self.margin < float("inf"):
            raise ConfigError(f"margin is {self.margin}, allowed: a positive number of percentage points.")
        if self.pack is not None:
            for group in records.pack(self.pack):
                console.print(Text(f"{group.path}: {group.runs} runs, {group.added} of them new"), soft_wrap=True)
        if self.publish:
            from train.report.publish import publish, redraw

            changed = [*publish(published_tables(), documents(), RESULTS), *redraw(published_figures(), RESULTS)]
            words = "\n".join(map(str, changed)) or "All tables and figures are up to date."
            console.print(Text(words), soft_wrap=True)
        if self.pack is not None or self.publish:
            return
        if self.out is not None or self.runs.is_dir():
            require_writable(self.out or self.runs / "report", "--out")
        from train.report.report import report

        report(self.runs, self.out, baseline=self.baseline, margin=self.margin).show(console)


def published_tables() -> "Tables":
    """The tables of all rooms that the README and docs publish, by the name in their markers."""
    from train.bench import published as bench
    from train.report import published as report
    from train.studies.games import published as games
    from train.studies.perceptrons import published as perceptrons
    from train.studies.surfaces import published as surfaces
    from train.studies.updates import published as updates

    rooms = (report, bench, surfaces, updates, games, perceptrons)
    return {name: make for room in rooms for name, make in room.TABLES.items()}


def published_figures() -> "Figures":
    """The figures that are drawn again from the committed records, by their file's name."""
    from train.studies import published

    return published.FIGURES


def documents() -> list[Path]:
    """The Markdown files that publish tables."""
    return [_CHECKOUT / "README.md", *sorted(_CHECKOUT.glob("docs/**/*.md"))]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """Import a local archive or folder of images, for training without a network.

    Attributes:
      source: `cifar-10-binary.tar.gz`, `cifar-100-binary.tar.gz`, the folder that one of them unpacks to, or a folder
        with one folder of images per class.
      data_dir: The folder to keep prepared data sets in.
      name: Call the data set this in `--dataset`.
    """

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    data_dir: Annotated[Path | None, _DATA_DIR] = None
    name: Annotated[str | None, option("the folder's name", "NAME")] = None

    def __call__(self, console: Console) -> None:
        """Carry the command out."""
        from train import data

        name = data.prepare(self.source, self.data_dir, name=self.name)
        console.print(f"Prepared. Train on it with --dataset {name}.", highlight=False)


_COMMANDS: dict[str, type] = {
    "run": Run,
    "list": List,
    "report": Report,
    "data": Data,
    "bench": Bench,
    "mechanism": Mechanism,
    "directions": Directions,
    "games": Games,
    "perceptrons": Perceptrons,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and carry it out.

    Args:
      arguments: The words after the program's name; None is the process's own.

    Returns:
      The exit status: 0; 2 after an error that was told on standard error; 75 after a run whose `--minutes` were up
      before all was finished; 128 + signal after a run that was asked to stop and saved. Values that cannot be read
      end in SystemExit(2).
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    from train.engine.signals import Stopped, TimeUp

    try:
        with carrying_out(words):
            usage.read(words, _COMMANDS)(Console())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}. Check the path, its permissions and the space left.", file=sys.stderr)
        return 2
    except Stopped as stop:
        print(stop, file=sys.stderr)
        return 128 + stop.signum
    except TimeUp as end:
        print(end, file=sys.stderr)
        return _TIME_UP_STATUS
    except KeyboardInterrupt:  # while nothing was being trained
        print("Interrupted.", file=sys.stderr)
        return 128 + signal.SIGINT
    except RuntimeError as error:
        return _after_device_error(error)
    return 0


def _after_device_error(error: RuntimeError) -> int:
    """Report that the device's memory is full; raise everything else again."""
    import jax

    from train.engine.processes import leave_after_loss

    if not isinstance(error, jax.errors.JaxRuntimeError):
        raise error
    if "RESOURCE_EXHAUSTED" not in str(error):
        if jax.process_count() > 1:
            leave_after_loss(error)
        raise error
    reason = str(error).splitlines()[0]
    print(f"error: The device's memory is full ({reason}). Try a smaller --batch-size or --width.", file=sys.stderr)
    return 2
