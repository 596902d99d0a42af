"""`python -m train mechanism`, `directions`, `games` and `perceptrons`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.text import Text

from train.errors import ConfigError
from train.experiments.arguments import option
from train.files import require_writable
from train.records.provenance import command_line

if TYPE_CHECKING:  # Imported where they are used, because `--help` does not need them.
    from train.report.tables import Table

_Out = Annotated[Path, tyro.conf.arg(metavar="FOLDER")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mechanism:
    """Draw the paths of LCAM and SGD on small noisy surfaces.

    The surfaces are two ravines and a saddle in two dimensions.

    Attributes:
      out: Write the picture and the tables to this folder.
      seeds: Average over this many paths with different noise. The picture shows the first.
    """

    out: _Out = Path("runs/mechanism")
    seeds: int = 200

    def __call__(self, console: Console) -> None:
        """Run the command.

        Raises:
          ConfigError: If there are too few seeds for an interval.
          LocationError: If the folder cannot be written.
        """
        if not 2 <= self.seeds <= 100_000:
            raise ConfigError(f"seeds is {self.seeds}, allowed: a whole number from 2 to 100000.")
        require_writable(self.out, "--out")
        from train.studies.surfaces import report as mechanism_report

        _show(console, *mechanism_report.study(self.out, seeds=self.seeds, command=command_line()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Directions:
    """Measure the size and the sign changes of updates, and the noise of gradients.

    Steps with a loss below the mean are measured apart from the others.

    SGD is trained at two momenta, LCAM with both orders of them, on one device.

    Attributes:
      out: Write the tables and figures to this folder.
      dataset: The data set: `digits`, the name of an import, or a name in TensorFlow Datasets such as `cifar10`.
      data_dir: The folder of prepared data sets. Missing sets are downloaded.
      depth: Layers of the Wide ResNet: 10, 16, 22, 28, ... (6n + 4).
      width: Factor of the channels of the Wide ResNet.
      epochs: Passes over the training set. The learning rate schedule stretches with them.
      batch_size: Images per step. With 32, an epoch of the digits has 45 steps.
      seeds: Train each arm once with each of these whole numbers.
      at: Measure in these epochs, counted from 1.
      examples: Measure the noise of gradients on this many training images.
    """

    out: _Out = Path("runs/directions")
    dataset: Annotated[str, tyro.conf.arg(metavar="NAME")] = "digits"
    data_dir: Annotated[Path | None, option("TFDS_DATA_DIR, or ~/tensorflow_datasets", "FOLDER")] = None
    depth: int = 10
    width: int = 1
    epochs: int = 10
    batch_size: int = 32
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    at: Annotated[tuple[int, ...] | None, option("the last epoch at each learning rate")] = None
    examples: int = 128

    def __call__(self, console: Console) -> None:
        """Run the command.

        Raises:
          ConfigError: If an option is out of its range, or does not fit the data.
          LocationError: If the folder cannot be written.
          DataError: If the data set is not available.
          RunError: If a loss is not finite.
        """
        if self.examples < 2:
            raise ConfigError(f"examples is {self.examples}, allowed: a whole number of at least 2.")
        if self.at is not None and not (self.at and all(1 <= epoch <= self.epochs for epoch in self.at)):
            raise ConfigError(f"at is {self.at}, allowed: one or more whole numbers from 1 to {self.epochs} (epochs).")
        require_writable(self.out, "--out")
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
    """Compare optimizers for games with SGD and Adam, on small games and a small GAN.

    Attributes:
      out: Write the tables and figures to this folder.
      seeds: Train the GAN this many times per optimizer. Its learning rate is chosen with other seeds.
      steps: Optimizer steps of each run of the GAN.
    """

    out: _Out = Path("runs/games")
    seeds: int = 10
    steps: int = 3000

    def __call__(self, console: Console) -> None:
        """Run the command.

        Raises:
          ConfigError: If there are too few seeds for an interval, or so many that they overlap with the tuning seeds,
            or if the number of steps is not a multiple of the interval between evaluations.
          LocationError: If the folder cannot be written.
        """
        from train.studies.games import gan
        from train.studies.games import report as games_report

        if not 2 <= self.seeds <= gan.FIRST_TUNING_SEED:
            raise ConfigError(f"seeds is {self.seeds}, allowed: a whole number from 2 to {gan.FIRST_TUNING_SEED}.")
        if self.steps < 1 or self.steps % gan.Gan.look_every:
            raise ConfigError(f"steps is {self.steps}, allowed: a positive multiple of {gan.Gan.look_every}.")
        require_writable(self.out, "--out")
        how = gan.Gan(steps=self.steps)
        _show(console, *games_report.study(self.out, seeds=self.seeds, command=command_line(), gan=how))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perceptrons:
    """Test with many small networks whether it matters which steps LCAM picks.

    Attributes:
      out: Write the tables and figures to this folder.
      seeds: Train each of the 14 arms with this many seeds, a multiple of 5. 200 take about a minute.
      first_seed: Start with this seed, a multiple of 5.
    """

    # A short word, so that the usage fits 80 columns.
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/perceptrons")
    seeds: int = 200
    first_seed: int = 0

    def __call__(self, console: Console) -> None:
        """Run the command.

        Raises:
          ConfigError: If the number of seeds or the first seed is out of range.
          LocationError: If the folder cannot be written.
        """
        from train.studies.perceptrons import controls, study
        from train.studies.perceptrons import report as perceptrons_report
        from train.studies.perceptrons.task import Task, load_digits, num_test_images

        for name, number, low in (("seeds", self.seeds, controls.BLOCK), ("first_seed", self.first_seed, 0)):
            if not low <= number <= 100_000 or number % controls.BLOCK:
                raise ConfigError(f"{name} is {number}, allowed: a multiple of {controls.BLOCK} from {low} to 100000.")
        require_writable(self.out, "--out")
        self.out.mkdir(parents=True, exist_ok=True)
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
        # On a narrow terminal, a long line is better than a missing column.
        console.print(table, crop=False)
    for path in paths:
        # Never broken into lines, so that it can be copied.
        console.print(Text(str(path)), soft_wrap=True)
