"""The command line of `python -m train`."""

import dataclasses
import json
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import docstring_parser
import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from train import experiments, records
from train.bench.command import Bench
from train.errors import ConfigError, UserError
from train.experiments import MAIN_SETTINGS, Experiment
from train.records.provenance import command_line
from train.studies.command import Directions, Games, Mechanism, Perceptrons

if TYPE_CHECKING:  # imported where it is used, as `--help` can do without
    from train.report.publish import Tables

_CHECKOUT = Path(__file__).parent.parent
RESULTS = _CHECKOUT / "train" / "results"
"""The committed records."""


def _overrides() -> type:
    """A dataclass of all fields of `Experiment` that a command may change, None where it does not."""
    helps = {p.arg_name: p.description or "" for p in docstring_parser.parse(Experiment.__doc__ or "").params}

    def told(text: str) -> Any:
        # The lines of the docstring are not those of the terminal.
        return tyro.conf.arg(help=" ".join(text.split()), help_behavior_hint="(default: the arm's)")

    fields = [
        (
            field.name,
            Annotated[field.type | None, told(helps[field.name])],  # type: ignore[operator]
            dataclasses.field(default=None),
        )
        for field in dataclasses.fields(Experiment)
        if field.name not in ("name", "seeds")
    ]
    return dataclasses.make_dataclass("Overrides", fields, frozen=True, kw_only=True)


Overrides = _overrides()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Train an arm or a group, resume what was begun, and report.

    Attributes:
      name: An arm (`fig3/sgd-0.9`) or a group (`fig3`); `python -m train list` shows them.
      seeds: Whole numbers; by default those of the experiment.
      model: Depth and width of the network in one word, such as 28-10, 28-2, 16-4 or 16-1.
      runs: Folder of the records.
      data_dir: Where TensorFlow Datasets keeps its data; by default where it always does.
      fresh: Train anew what is finished or begun.
      checkpoint_epochs: Save at the latest when as many epochs have passed since the last checkpoint.
      checkpoint_minutes: Save at the latest when as many minutes have passed since the last checkpoint.
      stream: Read images from disk as they are needed, for data that a device cannot hold.
      devices: How many devices to use; by default all.
      coordinator: Several processes: host:port of the first one, or `auto` to ask the cluster.
      processes: Several processes: how many.
      process: Several processes: which one this is, from 0.
      overrides: Fields of the experiment, in all arms named; `epochs` is of the longest, the others in proportion.
    """

    name: tyro.conf.Positional[str] = "quickstart"
    seeds: tuple[int, ...] | None = None
    model: str | None = None
    runs: Path = Path("runs")
    data_dir: Path | None = None
    fresh: tyro.conf.FlagCreatePairsOff[bool] = False
    checkpoint_epochs: int = 10
    checkpoint_minutes: float = 5.0
    stream: tyro.conf.FlagCreatePairsOff[bool] = False
    devices: int | None = None
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    overrides: tyro.conf.OmitArgPrefixes[Overrides] = dataclasses.field(default_factory=Overrides)  # type: ignore[valid-type]

    def __call__(self, console: Console) -> None:
        """Carry the command out."""
        arms = self._arms()
        from train.engine import processes
        from train.engine.run import SavePolicy, run_experiment
        from train.experiments import tuning
        from train.report.report import report

        policy = SavePolicy(epochs=self.checkpoint_epochs, minutes=self.checkpoint_minutes)
        processes.join(self.coordinator, self.processes, self.process)
        runs = [run for arm in arms for run in (*tuning.trials(arm), arm)]
        for i, run in enumerate(runs):
            run_experiment(
                run,
                seeds=run.seeds,
                root=self.runs,
                data_dir=self.data_dir,
                command=command_line(),
                # The first removes what there is of all, so that a stop in between leaves nothing that looks finished.
                fresh=self.fresh and i == 0,
                fresh_too=runs[1:],
                policy=policy,
                devices=self.devices,
                stream=self.stream,
            )
        if processes.is_first():
            folder = self.runs / arms[0].group
            report(folder, baseline=_baseline(arms, self.runs)).show(console)

    def _arms(self) -> list[Experiment]:
        changed = {k: v for k, v in dataclasses.asdict(self.overrides).items() if v is not None}
        if self.model is not None:
            changed |= dict(zip(("depth", "width"), _depth_and_width(self.model), strict=True))
        if self.seeds is not None:
            changed["seeds"] = self.seeds
        arms = experiments.find(self.name)
        if {"learning_rate", "weight_decay"} & set(changed) and any(arm.learning_rates for arm in arms):
            raise ConfigError(
                f"{self.name} tries several learning rates and weight decays: pass --learning-rates and "
                "--weight-decays, one or more of each."
            )
        if "epochs" in changed:
            arms = experiments.scaled(arms, changed.pop("epochs"))
        return [dataclasses.replace(arm, **changed) for arm in arms]


def _depth_and_width(model: str) -> tuple[int, int]:
    match = re.fullmatch(r"(?:wrn-?)?(\d+)-(\d+)", model.lower())
    if match is None:
        raise ConfigError(f"model is {model!r}, allowed: depth-width, such as 28-10, 28-2, 16-4 or 16-1.")
    return int(match[1]), int(match[2])


@dataclasses.dataclass(frozen=True, kw_only=True)
class List:
    """Show all arms; of two momenta the first is that below the mean.

    Attributes:
      json: Print JSON, with more fields.
    """

    json: tyro.conf.FlagCreatePairsOff[bool] = False

    def __call__(self, console: Console) -> None:
        """Carry the command out."""
        arms = experiments.EXPERIMENTS.values()
        if self.json:
            shown = ("name", *MAIN_SETTINGS)
            print(json.dumps([{key: getattr(arm, key) for key in shown} for arm in arms], indent=2))
            return
        if not console.is_terminal:
            console.width = 120  # a file or a pipe has none, and whoever reads it has room
        columns = ("arm", "data", "network", "epochs", "schedule", "optimizer and momentum")
        table = Table(*columns, box=None, padding=(0, 1, 0, 0))
        table.columns[-1].overflow = "fold"
        for column in table.columns[:3]:
            column.no_wrap = True
        for arm in arms:
            network = f"WRN-{arm.depth}-{arm.width}"
            table.add_row(arm.name, arm.dataset, network, str(arm.epochs), arm.schedule, _how_trained(arm))
        console.print(table)


def _how_trained(arm: Experiment) -> str:
    """The optimizer and its momentum, and what else is unlike SGD on the plain network."""
    momenta = f"{arm.momentum_below:g}/{arm.momentum_above:g}"
    match arm.phase:
        case "none" if arm.control != "none":
            how = f"sgd {momenta}, " + experiments.controls.CONTROLS[arm.control].summary.format(follows=arm.follows)
        case "none":
            how = f"{arm.optimizer} {arm.momentum_below:g}"
        case "random":
            how = f"random {momenta}"
        case "epoch_mean":
            how = f"lcam {momenta}"
        case other:
            how = f"lcam with {other} {momenta}"
    others = {
        "no delay": not arm.delay,
        "nesterov": arm.nesterov,
        arm.training: arm.training != "end-to-end",
        arm.activation: arm.activation != "relu",
    }
    return ", ".join([how, *(word for word, differs in others.items() if differs)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Make tables and figures from records.

    Attributes:
      runs: Folder of records, or of some of them, such as `runs/fig3`.
      out: Where to write; by default `report` in that folder.
      baseline: The arm, without its group, that the others are compared with.
      pack: Instead, pack the runs of this folder: a line and arrays of a group's files in place of a folder per run.
      publish: Instead, write the tables of the README and docs anew from the committed records.
    """

    runs: tyro.conf.Positional[Path] = Path("runs")
    out: Path | None = None
    baseline: str = "sgd-0.9"
    pack: Path | None = None
    publish: tyro.conf.FlagCreatePairsOff[bool] = False

    def __call__(self, console: Console) -> None:
        """Carry the command out."""
        if self.pack is not None:
            for group in records.pack(self.pack):
                console.print(Text(f"{group.path}: {group.runs} runs, {group.added} of them new"), soft_wrap=True)
        if self.publish:
            from train.report.publish import publish

            changed = publish(published_tables(), documents(), RESULTS)
            console.print(Text("\n".join(map(str, changed)) or "All tables are up to date."), soft_wrap=True)
        if self.pack is not None or self.publish:
            return
        from train.report.report import report

        report(self.runs, self.out, baseline=self.baseline).show(console)


def published_tables() -> "Tables":
    """The tables of all rooms that the README and docs publish, by the name in their markers."""
    from train.bench import published as bench
    from train.report import published as report
    from train.studies.games import published as games
    from train.studies.surfaces import published as surfaces
    from train.studies.updates import published as updates

    rooms = (report, bench, surfaces, updates, games)
    return {name: make for room in rooms for name, make in room.TABLES.items()}


def documents() -> list[Path]:
    """The Markdown files that publish tables."""
    return [_CHECKOUT / "README.md", *sorted(_CHECKOUT.glob("docs/**/*.md"))]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """Prepare a local archive or folder of images for training without network.

    Attributes:
      source: `cifar-10-binary.tar.gz`, `cifar-100-binary.tar.gz`, one of them unpacked, or a folder of class/image
        files.
      data_dir: Where TensorFlow Datasets keeps its data; by default where it always does.
      name: What to call a folder of images; by default as the folder.
    """

    source: tyro.conf.Positional[Path]
    data_dir: Path | None = None
    name: str | None = None

    def __call__(self, console: Console) -> None:
        """Carry the command out."""
        from train import data

        name = data.prepare(self.source, self.data_dir, name=self.name)
        console.print(f"Prepared. Train on it with --dataset {name}.", highlight=False)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and carry it out.

    Args:
      arguments: The words after the program's name; None is the process's own.

    Returns:
      The exit status: 0; 2 after an error that was told on standard error; 128 + signal after a run that was asked to
      stop and saved. Words that cannot be parsed end in SystemExit(2).
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    command: Any = tyro.extras.subcommand_cli_from_dict(
        {
            "run": Run,
            "list": List,
            "report": Report,
            "data": Data,
            "bench": Bench,
            "mechanism": Mechanism,
            "directions": Directions,
            "games": Games,
            "perceptrons": Perceptrons,
        },
        prog="python -m train",
        description="Train Wide ResNets with LCAM and with SGD, and say which did better.",
        args=arguments or ["run"],
    )
    import jax

    from train.engine.processes import leave_after_loss
    from train.engine.signals import Stopped

    try:
        command(Console())
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            if jax.process_count() > 1:
                leave_after_loss(error)
            raise
        reason = str(error).splitlines()[0]
        print(f"error: The device's memory is full ({reason}). Try a smaller --batch-size or --width.", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}. Check the path, its permissions and the space left.", file=sys.stderr)
        return 2
    except Stopped as stop:
        print(stop, file=sys.stderr)
        return 128 + stop.signum
    except KeyboardInterrupt:  # while nothing was being trained
        print("Interrupted.", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def _baseline(arms: list[Experiment], root: Path) -> str:
    """SGD at 0.9 where it was run, now or earlier, else the first arm."""
    there = records.has_runs(root, f"{arms[0].group}/sgd-0.9")
    return "sgd-0.9" if there else arms[0].name.partition("/")[2]
