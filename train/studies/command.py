"""`python -m train mechanism`, `directions`, `games` and `perceptrons`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from train.errors import ConfigError
from train.records.provenance import command_line

if TYPE_CHECKING:  # Imported where they are used: they bring what a `--help` can do without.
    from train.report.tables import Table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mechanism:
    """Show what LCAM does on two ravines and a saddle, with noise: a picture, and numbers over many noise seeds.

    Attributes:
      out: Folder to write to.
      seeds: How many noise seeds the numbers are over; the picture shows the first.
    """

    out: Path = Path("runs/mechanism")
    seeds: int = 200

    def __call__(self, console: Console) -> None:
        """Carry the command out.

        Raises:
          ConfigError: If there are too few seeds for an interval.
        """
        if not 2 <= self.seeds <= 100_000:
            raise ConfigError(f"seeds is {self.seeds}, allowed: a whole number from 2 to 100000.")
        from train.studies.surfaces import report as mechanism_report

        _show(console, *mechanism_report.study(self.out, seeds=self.seeds, command=command_line()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Directions:
    """Measure how large updates are and how often they turn round, by the phase of the loss, and the gradient's noise.

    SGD at both momenta and LCAM both ways, on one device, a seed after the other.

    Attributes:
      out: Folder to write to.
      dataset: Name of a TensorFlow data set of colour images, or `digits`.
      data_dir: Where TensorFlow Datasets keeps its data; by default where it always does.
      depth: Of the Wide ResNet, 6n + 4.
      width: Its factor on the channels.
      epochs: To train for; the schedule stretches with it.
      batch_size: Images a step; with 32 an epoch of the digits has 45 steps.
      seeds: Of everything that is drawn; each arm is trained with each.
      at: Which epochs to measure, counted from 1; by default the last at each learning rate.
      examples: Training images that the gradient's noise is measured on.
    """

    out: Path = Path("runs/directions")
    dataset: str = "digits"
    data_dir: Path | None = None
    depth: int = 10
    width: int = 1
    epochs: int = 10
    batch_size: int = 32
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    at: tuple[int, ...] | None = None
    examples: int = 128

    def __call__(self, console: Console) -> None:
        """Carry the command out.

        Raises:
          ConfigError: If an option is out of its range, or does not fit the data.
          DataError: If the data set cannot be had.
          RunError: If a loss is not finite.
        """
        if self.examples < 2:
            raise ConfigError(f"examples is {self.examples}, allowed: a whole number of at least 2.")
        if self.at is not None and not (self.at and all(1 <= epoch <= self.epochs for epoch in self.at)):
            raise ConfigError(f"at is {self.at}, allowed: one or more whole numbers from 1 to {self.epochs} (epochs).")
        from train import data
        from train.studies.updates import directions
        from train.studies.updates import report as directions_report

        arms = directions.arms(
            self.dataset,
            depth=self.depth,
            width=self.width,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seeds=self.seeds,
        )
        self.out.mkdir(parents=True, exist_ok=True)  # what cannot be is to fail before the minutes of work
        dataset = data.load(self.dataset, self.data_dir)
        found = []
        for arm in arms:
            epochs = self.at or directions.ends_of_rates(arm)
            for each in directions.measure(arm, dataset, epochs=epochs, examples=self.examples):
                where = f"{arm.name}  seed {each.seed}  epoch {each.epoch} of {self.epochs}"
                console.print(f"{where}  loss {each.train_loss:.3f}")
                found.append(each)
        _show(console, *directions_report.write(self.out, found, arms[0], command=command_line()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Games:
    """Play small games and train a small GAN by the methods made for games, beside SGD and Adam.

    Attributes:
      out: Folder to write to.
      seeds: How many final runs of each arm of the GAN; its learning rate is chosen on other seeds.
      steps: Of a run of the GAN.
    """

    out: Path = Path("runs/games")
    seeds: int = 10
    steps: int = 3000

    def __call__(self, console: Console) -> None:
        """Carry the command out.

        Raises:
          ConfigError: If there are too few seeds for an interval, or so many that they meet those of the tuning, or
            if the steps do not divide into looks.
        """
        from train.studies.games import gan
        from train.studies.games import report as games_report

        if not 2 <= self.seeds <= gan.FIRST_TUNING_SEED:
            raise ConfigError(f"seeds is {self.seeds}, allowed: a whole number from 2 to {gan.FIRST_TUNING_SEED}.")
        if self.steps < 1 or self.steps % gan.Gan.look_every:
            raise ConfigError(f"steps is {self.steps}, allowed: a positive multiple of {gan.Gan.look_every}.")
        how = gan.Gan(steps=self.steps)
        _show(console, *games_report.study(self.out, seeds=self.seeds, command=command_line(), gan=how))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perceptrons:
    """Train hundreds of small networks with LCAM, SGD and controls: does it matter which steps the loss picks?

    Attributes:
      out: Folder to write to.
      seeds: How many seeds, for each of 14 arms; a multiple of 5. 200 take about a minute.
      first_seed: The first of them, a multiple of 5; the others follow it.
    """

    out: Path = Path("runs/perceptrons")
    seeds: int = 200
    first_seed: int = 0

    def __call__(self, console: Console) -> None:
        """Carry the command out.

        Raises:
          ConfigError: If the number of seeds or the first of them is out of range.
        """
        from train.studies.perceptrons import controls, study
        from train.studies.perceptrons import report as perceptrons_report
        from train.studies.perceptrons.task import Task, load_digits, num_test_images

        for option, number, low in (("seeds", self.seeds, controls.BLOCK), ("first_seed", self.first_seed, 0)):
            if not low <= number <= 100_000 or number % controls.BLOCK:
                raise ConfigError(
                    f"{option} is {number}, allowed: a multiple of {controls.BLOCK} from {low} to 100000."
                )
        self.out.mkdir(parents=True, exist_ok=True)  # what cannot be is to fail before the minutes of work
        task, digits = Task(), load_digits()
        found = []
        for part in study.parts(self.first_seed, self.seeds):
            found.append((part, study.run(task, digits, part)))
            console.print(f"seeds {part[0]} to {part[-1]} of {self.first_seed} to {self.first_seed + self.seeds - 1}")
        tables, paths = perceptrons_report.write(
            self.out, task, num_test_images(task, digits), found, command=command_line()
        )
        _show(console, tables, paths)


def _show(console: Console, tables: "Sequence[Table]", paths: Sequence[Path]) -> None:
    for table in tables:
        # On a narrow terminal a line that is too long is better than a column that is missing.
        console.print(table, crop=False)
    for path in paths:
        # Never broken into lines, so that it can be copied.
        console.print(Text(str(path)), soft_wrap=True)
