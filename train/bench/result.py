"""The results of a benchmark: written as JSON and printed as tables."""

import dataclasses
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from train import files, records
from train.bench.timing import Ratio
from train.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """The results of one benchmark.

    Attributes:
      benchmark: Name of the benchmark.
      options: Its options, with the defaults filled in.
      ratios: Maps the name of a comparison to its ratio, of times unless the name says otherwise.
      seconds: Maps a program to its seconds in each turn, per step, update or other unit of work.
      compile_seconds: Maps a program to the seconds that compiling it took. No other figure includes them.
      facts: Maps a name to a figure that is not a time, or to a remark.
      targets: Maps an accelerator to the counts of its compiler; only `compiled` has any.
    """

    benchmark: str
    options: dict[str, Any]
    ratios: dict[str, Ratio] = dataclasses.field(default_factory=dict)
    seconds: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    compile_seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    facts: dict[str, float | int | str | None] = dataclasses.field(default_factory=dict)
    targets: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def add(self, other: "Result", prefix: str) -> None:
        """Add the figures of another result, with a prefix before their names."""
        for field in ("ratios", "seconds", "compile_seconds", "facts"):
            getattr(self, field).update({f"{prefix}{key}": value for key, value in getattr(other, field).items()})

    def show(self, console: Console, *, absolute: bool) -> None:
        """Print the tables.

        Args:
          console: The console to print to.
          absolute: Whether to print seconds too.
        """
        _print(console, _ratio_table(self))
        if absolute:
            _print(console, _seconds_table(self))
        _print(console, _table("compile seconds", self.compile_seconds))
        _print(console, _table("fact", self.facts))


def write(path: Path, results: list[Result], command: str) -> None:
    """Write results with the versions and the device they were measured on. Replaces the file."""
    fields = [dataclasses.asdict(result) for result in results]
    # At the top level of the document, where other tools look for them.
    targets = {name: found for result in fields for name, found in result.pop("targets").items()}
    document = records.environment() | {"command": command, "results": fields}
    if targets:
        document["targets"] = targets
    files.write_atomically(path, files.dumps(document).encode())


def require_writable(path: Path) -> None:
    """Raise an error if `write` could not write to this path. Changes and creates nothing.

    Raises:
      ConfigError: Naming the path, and why it cannot be written.
    """
    try:
        # A device or a pipe would be replaced by a plain file.
        reason = "it is a folder or a device" if path.exists() and not path.is_file() else None
        if reason is None:
            # Try it in the same folder, with a name as long as the temporary one that `write` uses.
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"):
                pass
    except OSError as error:
        reason = error.strerror
    except ValueError as error:  # a zero byte
        reason = str(error)
    if reason is not None:
        raise ConfigError(
            f"{path}: cannot be written: {reason}. Expected --json with a file in a folder that exists and that you "
            "may write to."
        )


def read(path: Path) -> list[Result]:
    """Read the results that `write` wrote. Numbers that were not finite come back as nan."""
    results = []
    for fields in files.loads(path.read_bytes())["results"]:
        ratios = {name: _ratio(numbers) for name, numbers in fields["ratios"].items()}
        results.append(Result(**fields | {"ratios": ratios}))
    return results


def _ratio(numbers: dict[str, Any]) -> Ratio:
    low, high = (math.nan if bound is None else bound for bound in numbers["interval"])
    return Ratio(**numbers | {"quartiles": tuple(numbers["quartiles"]), "interval": (low, high)})


def _print(console: Console, table: Table) -> None:
    if table.row_count:
        console.print(table)
        console.print()


def _ratio_table(result: Result) -> Table:
    table = Table(f"{result.benchmark}: ratio", "median", "middle half", "95 % interval", "turns", box=None)
    for name, ratio in result.ratios.items():
        low, high = ratio.quartiles
        interval = "" if math.isnan(ratio.interval[0]) else "{:.3f} to {:.3f}".format(*ratio.interval)
        table.add_row(name, f"{ratio.median:.3f}", f"{low:.3f} to {high:.3f}", interval, str(ratio.repeats))
    return table


def _seconds_table(result: Result) -> Table:
    table = Table(f"{result.benchmark}: milliseconds", "median", "middle half", box=None)
    for name, seconds in result.seconds.items():
        low, middle, high = 1000 * np.quantile(seconds, (0.25, 0.5, 0.75))
        table.add_row(name, f"{middle:.4g}", f"{low:.4g} to {high:.4g}")
    return table


def _table(title: str, values: dict[str, Any]) -> Table:
    table = Table(title, "", box=None)
    for name, value in values.items():
        table.add_row(name, f"{value:,.4g}" if isinstance(value, float) else _whole(value))
    return table


def _whole(value: int | str | None) -> str:
    if value is None:
        return "not known here"
    return f"{value:,}" if isinstance(value, int) else value
