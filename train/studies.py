"""`python -m train mechanism` and `python -m train directions`."""

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from train.experiments import ConfigError

if TYPE_CHECKING:  # Imported where they are used: they bring what a `--help` can do without.
    from train.tables import Table


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
        from train import mechanism_report

        _show(console, *mechanism_report.study(self.out, seeds=self.seeds, command=_command()))


def _command() -> str:
    return shlex.join(["python", "-m", "train", *sys.argv[1:]])


def _show(console: Console, tables: "Sequence[Table]", paths: Sequence[Path]) -> None:
    for table in tables:
        console.print(table)
    for path in paths:
        # Never broken into lines, so that it can be copied.
        console.print(Text(str(path)), soft_wrap=True)
