"""Writes the tables that follow from the committed records into the README and docs, and draws the figures again.

A document gives a table's name and head; `publish` replaces the rows and nothing else:

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
"""The cells of a table's rows, without its head."""
Tables = Mapping[str, Callable[[Path], Rows]]
"""Functions that make the rows of a table from the folder of committed records, by the name of the table."""
Figures = Mapping[str, Callable[[Path], tuple[Figure, str]]]
"""Functions that make a figure and its description from the folder of committed records, by the file's name."""

_MARKER = re.compile(r"^<!-- table: (\S+) -->$", re.MULTILINE)
_ROWS = re.compile(r"\n\|.*\n\|[-:| ]+\|\n(?P<rows>(?:\|.*\n)*)<!-- end -->$", re.MULTILINE)


def publish(tables: Tables, documents: Iterable[Path], results: Path) -> list[Path]:
    """Write every table between its markers.

    Args:
      tables: All tables, by name.
      documents: The Markdown files that contain the markers.
      results: The folder of committed records.

    Returns:
      The documents that changed; the others had these rows already.

    Raises:
      ConfigError: If a table has no marker, a marker has no table, or a marked table is not one. Nothing is written
        then.
      RecordError: If a record is damaged or missing.
    """
    # Read as bytes: the ends of lines stay as they are.
    texts = {path: path.read_bytes().decode() for path in documents}
    marked = {path: rows_of(text, path) for path, text in texts.items()}
    names = {name for found in marked.values() for name in found}
    if unknown := sorted(names - tables.keys()):
        raise ConfigError(
            f"Marked tables that nothing makes: {', '.join(unknown)}. Known: {', '.join(sorted(tables))}."
        )
    if missing := sorted(tables.keys() - names):
        raise ConfigError(
            f"No document has a marker for {', '.join(missing)}. Put a head between <!-- table: NAME --> and <!-- end "
            "--> where each table belongs."
        )
    made = {name: markdown(tables[name](results)) for name in sorted(names)}
    changed = []
    for path, text in texts.items():
        # From the end, so that the positions of the tables before stay true.
        for name, place in sorted(marked[path].items(), key=lambda item: -item[1].start):
            text = text[: place.start] + made[name] + text[place.stop :]
        if text != texts[path]:
            files.write_atomically(path, text.encode())
            changed.append(path)
    return changed


def redraw(figures: Figures, results: Path) -> list[Path]:
    """Draw every published figure again, as PNG beside the records that it is made of.

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
    """Where in a document the rows of each marked table stand.

    Args:
      text: The document.
      path: Where it is from, for errors.

    Raises:
      ConfigError: If a name is marked twice, or if a marker is not followed by a table and an end.
    """
    found: dict[str, slice] = {}
    for marker in _MARKER.finditer(text):
        name, table = marker[1], _ROWS.match(text, marker.end())
        if table is None:
            raise ConfigError(
                f"{path}: table {name}: expected two lines of head, rows and <!-- end --> right under its marker."
            )
        if name in found:
            raise ConfigError(f"{path}: table {name} is marked twice. Remove one of the markers.")
        found[name] = slice(*table.span("rows"))
    return found


def markdown(rows: Rows) -> str:
    """The rows as lines of a Markdown table."""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
