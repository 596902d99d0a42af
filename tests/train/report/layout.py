"""Checks of figures: nothing is cut off, and nothing overlaps."""

import matplotlib
from matplotlib.figure import Figure


def nothing_is_cut_off(figure: Figure) -> None:
    """Assert that axes, legend, title and caption lie on the page and apart from each other."""
    figure.draw_without_rendering()
    page = figure.bbox
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    boxes += [text.get_window_extent() for text in (figure._supxlabel, figure._suptitle) if text is not None]
    for index, box in enumerate(boxes):
        assert box.x0 >= page.x0 - 1
        assert box.x1 <= page.x1 + 1
        assert box.y0 >= page.y0 - 1
        assert box.y1 <= page.y1 + 1
        for other in boxes[index + 1 :]:
            shared = matplotlib.transforms.Bbox.intersection(box, other)
            assert shared is None or min(shared.width, shared.height) < 2
