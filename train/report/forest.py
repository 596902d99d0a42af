"""Draw the README's figure: LCAM minus its controls and minus SGD, on several tasks side by side."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from train.report.statistics import Estimate
from train.report.style import BLACK, GREY, MARGIN_GREY, frame, styled
from train.report.tables import interval

# A white outline keeps words readable where they cross a line.
_HALO = withStroke(linewidth=2.5, foreground="white")
_CAPTION = (
    "LCAM 0.9/0.95 minus another arm, in percentage points of test error, paired by seed. Bars: 95 % intervals, "
    "uncorrected.\nyoked: the momenta of another seed's LCAM run. schedule: LCAM's mean momentum of each epoch. "
    "Below: the verdict."
)
# Maps the verdict on LCAM minus yoked to the title of the figure.
_SENTENCES = {
    "equivalent": "Which steps the loss picks makes no difference as large as the margin",
    "equivalent, not equal": "Which steps the loss picks makes a difference, but a smaller one than the margin",
    "better": "The steps that the loss picks lower the test error",
    "worse": "The steps that the loss picks raise the test error",
    "undecided": "Whether it matters which steps the loss picks is undecided",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """LCAM minus one other arm.

    Attributes:
      against: The other arm, in words.
      difference: Difference in percentage points, paired by seed.
      verdict: A verdict that `train.report.equivalence.conclude` returns.
    """

    against: str
    difference: Estimate
    verdict: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One task of the figure.

    Attributes:
      title: The network and the data, in a few words.
      margin: Margin of equivalence in percentage points.
      rows: The contrasts. The primary one, LCAM minus yoked, is first.
    """

    title: str
    margin: float
    rows: Sequence[Row]


@styled
def draw(tasks: Sequence[Task]) -> Figure:
    """Draw one panel per task, each with its own axis, and one row per contrast."""
    rows = max(len(task.rows) for task in tasks)
    figure = Figure(figsize=(7.2, 1.5 + 0.6 * rows), layout=ConstrainedLayoutEngine(wspace=0.06))
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        _panel(axes, task)
    shaded = Patch(color=MARGIN_GREY, label="within the margin, which differs by task")
    frame(figure, title(tasks), _CAPTION, [shaded])
    return figure


def title(tasks: Sequence[Task]) -> str:
    """Say in one line what the verdicts on LCAM minus yoked mean."""
    verdicts = [task.rows[0].verdict for task in tasks]
    if len(set(verdicts)) == 1:
        return _SENTENCES[verdicts[0]]
    return "LCAM against its own momenta without the loss: " + "; ".join(dict.fromkeys(verdicts))


def in_words(tasks: Sequence[Task]) -> str:
    """Describe the whole figure in words, for readers who cannot see it."""
    sentences = [f"{title(tasks)}."]
    for task in tasks:
        rows = [
            f"LCAM minus {row.against} {row.difference.mean:+.3f} ({interval(row.difference.interval, '+.3f')}), "
            f"{len(row.difference.values)} seeds, {row.verdict}"
            for row in task.rows
        ]
        sentences.append(f"{task.title}, margin {task.margin:g} points: {'; '.join(rows)}.")
    return " ".join(sentences)


def _panel(axes: Axes, task: Task) -> None:
    axes.axvspan(-task.margin, task.margin, color=MARGIN_GREY, zorder=0)
    axes.axvline(0.0, color=GREY, linewidth=1.0, zorder=1)
    for y, row in enumerate(task.rows):
        axes.plot(row.difference.interval, [y, y], "|-", color=BLACK, linewidth=1.6, markersize=7, markeredgewidth=1.6)
        axes.plot(row.difference.mean, y, "D", color=BLACK, markersize=4)
        n = len(row.difference.values)
        # In two lines, so that three tasks fit side by side.
        for offset, words in ((-0.34, f"LCAM \N{MINUS SIGN} {row.against}, n = {n:,}"), (0.3, row.verdict)):
            label = axes.text(0.0, y + offset, words, transform=axes.get_yaxis_transform(), fontsize=8, va="center")
            label.set_path_effects([_HALO])
    axes.set_ylim(len(task.rows) - 0.5, -0.6)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    # Zero in the middle: equal lengths to the left and right are equally better and worse.
    ends = [abs(end) for row in task.rows for end in (*row.difference.interval, row.difference.mean)]
    reach = 1.25 * float(np.nanmax([*ends, task.margin]))
    axes.set_xlim(-reach, reach)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel("← better    points    worse →")
    axes.set_title(f"{task.title}\nmargin ±{task.margin:g} points", loc="left")
