"""Write tables made from the committed records into the README and docs, and redraw the figures.

A document contains the name and the head of each table. `publish` replaces only the rows:

    <!-- table: NAME -->
    | head |
    |---|
    | rows |
    <!-- end -->
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from train import files
from train.errors import ConfigError
from train.report import style

Rows = Sequence[Sequence[str]]
"""The rows of a table, without its head. Each row is a sequence of cells."""
Tables = Mapping[str, Callable[[Path], Rows]]
"""Maps the name of a table to a function that makes its rows from the folder of committed records."""
Figures = Mapping[str, Callable[[Path], tuple[Figure, str]]]
"""Maps a file name to a function that makes a figure and its description from the folder of records."""

_MARKER = re.compile(r"^<!-- table: (\S+) -->$", re.MULTILINE)
_ROWS = re.compile(r"\n\|.*\n\|[-:| ]+\|\n(?P<rows>(?:\|.*\n)*)<!-- end -->$", re.MULTILINE)


def publish(tables: Tables, documents: Iterable[Path], results: Path) -> list[Path]:
    """Write every table between its markers.

    Args:
      tables: All tables, by name.
      documents: The Markdown files that contain the markers.
      results: The folder of committed records.

    Returns:
      The documents that changed.

    Raises:
      ConfigError: If a table has no marker, a marker has no table, or no table follows a marker. Then nothing is
        written.
      RecordError: If a record is damaged or missing.
    """
    # Reading bytes keeps the line endings.
    texts = {path: path.read_bytes().decode() for path in documents}
    marked = {path: rows_of(text, path) for path, text in texts.items()}
    names = {name for found in marked.values() for name in found}
    if unknown := sorted(names - tables.keys()):
        raise ConfigError(f"Unknown tables are marked: {', '.join(unknown)}. Known: {', '.join(sorted(tables))}.")
    if missing := sorted(tables.keys() - names):
        raise ConfigError(
            f"No document has a marker for {', '.join(missing)}. Put a head between <!-- table: NAME --> and <!-- end "
            "--> where each table belongs."
        )
    made = {name: markdown(tables[name](results)) for name in sorted(names)}
    changed = []
    for path, text in texts.items():
        # Replace from the end, so that the positions of earlier tables stay valid.
        for name, place in sorted(marked[path].items(), key=lambda item: -item[1].start):
            text = text[: place.start] + made[name] + text[place.stop :]
        if text != texts[path]:
            files.write_atomically(path, text.encode())
            changed.append(path)
    return changed


def redraw(figures: Figures, results: Path) -> list[Path]:
    """Redraw every published figure as a PNG next to its records.

    Args:
      figures: All figures, by name.
      results: The folder of committed records.

    Returns:
      The files that changed.

    Raises:
      RecordError: If a record is damaged or missing.
    """
    changed = []
    for name, make in figures.items():
        png, path = style.png_of(*make(results)), results / name
        if not path.exists() or path.read_bytes() != png:
            files.write_atomically(path, png)
            changed.append(path)
    return changed


def rows_of(text: str, path: Path) -> dict[str, slice]:
    """Find the rows of each marked table in a document.

    Args:
      text: The document.
      path: Its path, for error messages.

    Returns:
      Maps the name of a table to the positions of its rows in the text.

    Raises:
      ConfigError: If a table is marked twice, or a marker is not followed by a table and an end marker.
    """
    found: dict[str, slice] = {}
    for marker in _MARKER.finditer(text):
        name, table = marker[1], _ROWS.match(text, marker.end())
        if table is None:
            raise ConfigError(
                f"{path}: table {name}: expected a head of two lines, rows and <!-- end --> directly below the marker."
            )
        if name in found:
            raise ConfigError(f"{path}: table {name} is marked twice. Remove one of the markers.")
        found[name] = slice(*table.span("rows"))
    return found


def markdown(rows: Rows) -> str:
    """Format rows as lines of a Markdown table."""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
