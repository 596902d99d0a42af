"""The common style of all figures, and how they are saved.

The colours are those of Okabe and Ito, which colour-blind readers can tell apart. Line styles and markers differ too,
so figures are readable in grey. The same records always give the same SVG, byte for byte.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from PIL import Image, PngImagePlugin

from train import files

BLACK, GREY, BLUE, VERMILLION = "#000000", "#6b6b6b", "#0072B2", "#D55E00"
MARGIN_GREY = "#dedede"  # shades the margin of equivalence
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": BLACK,
    "ytick.labelcolor": BLACK,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "svg.hashsalt": "lcam-optax",  # otherwise the names of clip paths are random
}
_DPI = 120  # makes most figures 864 pixels wide, about the width of a page; the SVG has the details
styled = matplotlib.rc_context(_STYLE)


def png_of(figure: Figure, description: str = "") -> bytes:
    """Render a figure as PNG.

    Args:
      figure: The figure.
      description: What the figure shows, in words. It is stored in the file.
    """
    pixels = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(pixels, format="png", dpi=_DPI)
    return with_palette(pixels.getvalue(), description)


def save(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Write a figure as `<path>.png` and `<path>.svg`, and return both paths in this order."""
    png, svg = path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")
    drawing = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(drawing, format="svg", metadata={"Date": None})
    files.write_atomically(png, png_of(figure))
    files.write_atomically(svg, drawing.getvalue())
    return png, svg


def with_palette(png: bytes, description: str = "") -> bytes:
    """Reduce a picture to 256 colours, which takes a third of the bytes and looks the same."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    # MAXCOVERAGE keeps rare colours, such as those of thin lines, and a step of k-means adapts the frequent ones.
    # Dithering would only add noise.
    image = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    words = PngImagePlugin.PngInfo()
    if description:
        words.add_itxt("Description", description)
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True, pnginfo=words)
    return buffer.getvalue()


def frame(figure: Figure, title: str, caption: str, handles: Sequence[Artist] = ()) -> None:
    """Add a title at the top, the legend under it, and a caption at the bottom, all left-aligned.

    Lines of the caption that are wider than the figure are broken between words.
    """
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=8, color=GREY, wrap=True)
    if not handles:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        return
    # Make the title that of the legend, because a title of the figure would overlap the legend.
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=4,
        title=title,
        alignment="left",
        title_fontproperties={"size": 11, "weight": "bold"},
        borderpad=0.2,
        borderaxespad=0.2,
    )
