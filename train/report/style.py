"""How all figures look: colours, title and caption, and the files that they become.

Colours are those of Okabe and Ito, which the colour-blind can tell apart; line styles and markers differ as well, so
that nothing is lost in black and white. The same records give the same SVG, byte for byte.
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
MARGIN_GREY = "#dedede"  # behind what is drawn: the margin of equivalence
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
    "svg.hashsalt": "lcam-optax",  # the names of clip paths, random without it
}
_DPI = 120  # most figures are 864 pixels wide then, about as wide as a page shows them; the SVG has the details
styled = matplotlib.rc_context(_STYLE)


def png_of(figure: Figure, description: str = "") -> bytes:
    """A figure as PNG.

    Args:
      figure: The figure.
      description: What it shows, in words; kept in the file.
    """
    pixels = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(pixels, format="png", dpi=_DPI)
    return with_palette(pixels.getvalue(), description)


def save(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Writes a figure as `<path>.png` and `<path>.svg` and returns both paths, in this order."""
    png, svg = path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")
    drawing = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(drawing, format="svg", metadata={"Date": None})
    files.write_atomically(png, png_of(figure))
    files.write_atomically(svg, drawing.getvalue())
    return png, svg


def with_palette(png: bytes, description: str = "") -> bytes:
    """The same picture in 256 colours: about a third of the bytes, and no difference that the eye sees."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    # The method keeps rare colours, such as those of thin lines, and a step of k-means the frequent ones. Dithering
    # would only add noise.
    image = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    words = PngImagePlugin.PngInfo()
    if description:
        words.add_itxt("Description", description)
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True, pnginfo=words)
    return buffer.getvalue()


def frame(figure: Figure, title: str, caption: str, handles: Sequence[Artist] = ()) -> None:
    """Title above, legend under it, caption below, all flush left."""
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=8, color=GREY)
    if not handles:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        return
    # The title belongs to the legend: the layout would set a title of the figure on top of it.
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
