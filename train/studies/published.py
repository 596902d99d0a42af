"""The published figures, made from the committed records."""

from pathlib import Path

from matplotlib.figure import Figure

from train import files, records
from train.report import decision, forest, preregistration, report
from train.report.publish import Figures
from train.report.statistics import analyse
from train.studies.perceptrons import published as perceptrons
from train.studies.updates import report as updates

_LCAM, _CONTROLS = "lcam-0.9-0.95", {"yoked": "yoked-0.9-0.95", "schedule": "schedule-0.9-0.95", "SGD 0.9": "sgd-0.9"}
_GROUPS = {
    "decision-digits": "WRN-10-1, digits",
    "decision-cifar10": "WRN-10-1, CIFAR-10 at 16 x 16",
}


def tasks(results: Path) -> list[forest.Task]:
    """The tasks of docs/preregistration.md whose runs have all ended.

    Args:
      results: The folder of committed records.

    Raises:
      RecordError: If a record is damaged or missing.
    """
    found = [perceptrons.forest_task(results, _LCAM, _CONTROLS)]
    for group, title in _GROUPS.items():
        runs = preregistration.preregistered(records.read_all(results / group))
        # Before all have ended, not even an average of a section's runs is taken.
        if runs is not None:
            made = decision.decide(analyse(runs))
            assert made is not None, f"{group} has a margin and an LCAM with controls"
            found.append(_task(made, title))
    return found


def _task(made: decision.Decision, title: str) -> forest.Task:
    contrasts = {contrast.against: contrast for contrast in made.contrasts if contrast.name == _LCAM}
    rows = [
        forest.Row(against=words, difference=contrasts[arm].difference, verdict=made.verdict(contrasts[arm]))
        for words, arm in _CONTROLS.items()
    ]
    return forest.Task(title=title, margin=made.contrasts[0].margin, rows=rows)


def _forest(results: Path) -> tuple[Figure, str]:
    found = tasks(results)
    return forest.draw(found), forest.in_words(found)


def _directions(results: Path) -> tuple[Figure, str]:
    document = files.loads((results / "directions" / "directions.json").read_bytes())
    figure = updates.redraw(document, document["settings"]["epochs"])
    return figure, "How often updates change sign and how large they are, in steps below and above the mean loss"


def _contest(results: Path) -> tuple[Figure, str]:
    runs = preregistration.preregistered(records.read_all(results / "contest-cifar10"))
    assert runs is not None, "all runs of the contest have ended"
    group = analyse(runs)
    errors = (f"{group.short(arm.name)} {arm.final.mean:.2f} %" for arm in group.arms)
    return report.curves(group), f"Test error, loss and steps below the mean. Final errors: {', '.join(errors)}"


def _perceptrons(results: Path) -> tuple[Figure, str]:
    return perceptrons.figure(results), "LCAM minus each other arm, and the mean momentum over the epochs"


FIGURES: Figures = {
    "forest.png": _forest,
    "contest-cifar10/contest-cifar10-curves.png": _contest,
    "directions/directions-epoch-10.png": _directions,
    "perceptrons/perceptrons.png": _perceptrons,
}
