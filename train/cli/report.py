"""`python -m train report`: tables and figures from records, and the tables that the documents publish."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.text import Text

from train import records
from train.errors import ConfigError
from train.experiments.arguments import option
from train.files import require_writable

if TYPE_CHECKING:  # imported where it is used, because `--help` does not need it
    from train.report.publish import Figures, Tables

_CHECKOUT = Path(__file__).parents[2]
RESULTS = _CHECKOUT / "train" / "results"
"""The committed records."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Make tables and figures from the records of finished runs.

    Attributes:
      runs: The folder of all records, or of one group, such as `runs/fig3`.
      out: Write the report to this folder.
      baseline: Compare the other arms of a group with this one. Give its name without the group.
      margin: Count LCAM as equivalent to another arm if they differ by less than this, in percentage points.
      pack: Instead, pack the runs of this folder into two files per group, or three with trials, and remove the folders
        of the runs.
      publish: Instead, rewrite the tables of the README and docs, and redraw four figures, from the committed
        records.
    """

    runs: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="[FOLDER]")] = Path("runs")
    out: Annotated[Path | None, option("`report` in the folder of records", "FOLDER")] = None
    baseline: Annotated[str, tyro.conf.arg(metavar="ARM")] = "sgd-0.9"
    margin: Annotated[float | None, option("0.2 for `decision-*` and `contest-*`, none for others", "POINTS")] = None
    pack: Annotated[Path | None, option("nothing is packed", "FOLDER")] = None
    publish: bool = False

    def __call__(self, console: Console) -> None:
        """Run the command.

        Raises:
          ConfigError: If the margin is not a positive number, or if an option would be ignored.
        """
        self._refuse_ignored()
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

    def _refuse_ignored(self) -> None:
        """Raise ConfigError if an option of the report is given although no report is made."""
        if self.pack is None and not self.publish:
            return
        instead = "--pack" if self.pack is not None else "--publish"
        for name, word in (("runs", "FOLDER"), ("out", "--out"), ("baseline", "--baseline"), ("margin", "--margin")):
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise ConfigError(
                    f"report: {word} ({getattr(self, name)}) has no effect with {instead}, which makes no report. "
                    f"Leave it out, or leave {instead} out."
                )


def published_tables() -> "Tables":
    """The tables that the README and docs publish, by the name in their markers."""
    from train.bench import published as bench
    from train.report import published as report
    from train.studies.games import published as games
    from train.studies.perceptrons import published as perceptrons
    from train.studies.surfaces import published as surfaces
    from train.studies.updates import published as updates

    rooms = (report, bench, surfaces, updates, games, perceptrons)
    return {name: make for room in rooms for name, make in room.TABLES.items()}


def published_figures() -> "Figures":
    """The figures that are redrawn from the committed records, by the name of their file."""
    from train.studies import published

    return published.FIGURES


def documents() -> list[Path]:
    """The Markdown files that publish tables."""
    return [_CHECKOUT / "README.md", *sorted(_CHECKOUT.glob("docs/**/*.md"))]
