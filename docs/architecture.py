"""Draws docs/architecture.svg from the import contract in pyproject.toml: `python docs/architecture.py`."""

import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

DOCS = Path(__file__).parent
PICTURE = DOCS / "architecture.svg"
WIDTH, ROW, GAP, MARGIN, LEFT = 640, 34, 8, 16, 150


def layers(pyproject: Path = DOCS.parent / "pyproject.toml") -> tuple[list[str], list[list[str]]]:
    """Read the order of the packages, and that of the rooms of `train`, from the highest to the lowest.

    A row of rooms holds those that stand beside each other and do not import one another.
    """
    contracts = tomllib.loads(pyproject.read_text())["tool"]["importlinter"]["contracts"]
    packages, rooms = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return packages, [row.split(" | ") for row in rooms]


def draw(packages: list[str], rooms: list[list[str]]) -> str:
    """Draw one row per layer. What is higher may import what is lower."""
    body, top = [], MARGIN + 24
    for package in packages:
        rows = rooms if package == rooms[0][0].split(".")[0] else []
        height = max(len(rows), 1) * (ROW + GAP) + GAP
        body.append(_box(MARGIN, top, WIDTH - 2 * MARGIN, height, "#f3f5f8"))
        body.append(_text(MARGIN + 12, top + height / 2, package, bold=True))
        for number, row in enumerate(rows):
            width = (WIDTH - LEFT - MARGIN - GAP * (len(row) + 1)) / len(row)
            for column, room in enumerate(row):
                left, y = LEFT + GAP + column * (width + GAP), top + GAP + number * (ROW + GAP)
                body += [_box(left, y, width, ROW, "#ffffff"), _text(left + 12, y + ROW / 2, room.split(".", 1)[1])]
        top += height + GAP
    head = _text(MARGIN, MARGIN + 4, "Each row may import the rows below it, and none above it.")
    size = f'viewBox="0 0 {WIDTH} {top + MARGIN}" width="{WIDTH}" height="{top + MARGIN}"'
    background = f'<rect width="{WIDTH}" height="{top + MARGIN}" fill="#ffffff"/>'
    title = "<title>The layers of the packages, from the import contract</title>"
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">', title, background, head, *body, "</svg>"]
    return "\n".join(lines) + "\n"


def _box(left: float, top: float, width: float, height: float, fill: str) -> str:
    place = f'x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}"'
    return f'<rect {place} rx="4" fill="{fill}" stroke="#5b6b7f"/>'


def _text(left: float, middle: float, text: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    font = f'font-family="sans-serif" font-size="14"{weight} fill="#1d2733" dominant-baseline="central"'
    return f'<text x="{left:g}" y="{middle:g}" {font}>{escape(text)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(draw(*layers()))
