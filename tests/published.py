"""The tables of the README and of docs, as they follow from the committed records.

`python -m tests.published` prints them, to be pasted between the markers; `tests/test_published.py` compares.
"""

import json
from pathlib import Path

from train import records
from train.bench import result
from train.report import tables
from train.report.statistics import Comparison, Group, analyse
from train.report.tables import Table
from train.studies.games import report as games_report
from train.studies.updates import tables as directions_tables

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "train" / "results"
ARENA = RESULTS / "arena-digits"
REPLICATION = RESULTS / "cifar10-wrn-16-1-cpu"
HALF = RESULTS / "cifar10-wrn-16-1-cpu-half"
BENCHMARKS = [RESULTS / "bench" / name for name in ("cpu.json", "cpu-startup.json", "cpu-scaling.json")]


def mechanism() -> str:
    """What each optimizer reached on each surface, and by how much an LCAM differs from its controls."""
    surfaces = json.loads((RESULTS / "mechanism" / "mechanism.json").read_text())["surfaces"].values()
    arms = ("sgd-0.9", "sgd-0.95", "lcam-0.95-0.9", "lcam-0.9-0.95")
    lines = []
    for surface in surfaces:
        title = f"{surface['title']}: {surface['progress']}"
        cells = [f"{surface['arms'][arm]['progress']['mean']:.2f}" for arm in arms]
        lines.append(_row(title, *cells))
        for kind, label in (("constant", "minus constant momentum"), ("random", "minus random switching")):
            differences = [surface["arms"][arm].get(f"progress_minus_{kind}") for arm in arms]
            lines.append(_row(label, *map(_difference, differences)))
    return "\n".join(lines)


def directions() -> str:
    """Updates of each arm, by the phase of the loss."""
    return _rows_of(directions_tables.updates(_directions()))


def directions_against_sgd() -> str:
    """What the other arms' updates and noise are as multiples of SGD's."""
    return _rows_of(directions_tables.against_sgd(_directions()))


def gradient_noise() -> str:
    """The spectrum of the gradient's noise."""
    return _rows_of(directions_tables.noise(_directions()))


def replication() -> str:
    """Final test errors, and the paired differences to SGD."""
    return _compared(records.read_all(REPLICATION))


def controlled() -> str:
    """LCAM against its controls."""
    group = _replication()
    lines = []
    for found in group.controlled:
        cells = [f"{group.short(found.name)} minus {group.short(found.against)}", str(len(found.seeds))]
        lines.append(_row(*cells, *_compared_cells(found)))
    return "\n".join(lines)


def reached() -> str:
    """When each run got to SGD's final error."""
    return _rows_of(tables.epochs(_replication()))


def best() -> str:
    """The best error of any epoch."""
    return _rows_of(tables.best_errors(_replication()))


def half() -> str:
    """Whole schedules in half the epochs, against SGD's in all of them."""
    whole = [run for run in records.read_all(REPLICATION) if run.name == "controls/sgd-0.9"]
    return _compared([*whole, *records.read_all(HALF)])


def arena() -> str:
    """What each optimizer was tuned to, and what it reached."""
    return _compared(records.read_all(ARENA), "learning_rate", "weight_decay")


def methods() -> str:
    """Other activations and ways to train."""
    return _compared(records.read_all(RESULTS / "methods"))


def small_games() -> str:
    """The fewest steps of each method in each small game."""
    return "\n".join(_row(*cells) for cells in games_report.small_rows(_games()))


def gan() -> str:
    """Modes and quality of each arm."""
    return "\n".join(_row(*cells) for cells in games_report.gan_rows(_games()))


def benchmarks() -> str:
    """Every ratio of every benchmark."""
    lines = []
    for found in [found for path in BENCHMARKS for found in result.read(path)]:
        for name, ratio in found.ratios.items():
            low, high = ratio.quartiles
            lines.append(_row(found.benchmark, name, f"{ratio.median:.3f}", f"{low:.3f} to {high:.3f}"))
    return "\n".join(lines)


def costs() -> str:
    """The ratios of the benchmarks that most people ask for."""
    ratios = {
        (found.benchmark, name): ratio
        for path in BENCHMARKS
        for found in result.read(path)
        for name, ratio in found.ratios.items()
    }
    lines = []
    for key, label in _COSTS.items():
        low, high = ratios[key].interval
        lines.append(_row(label, f"{ratios[key].median:.3f}", f"{low:.3f} to {high:.3f}"))
    return "\n".join(lines)


_COSTS = {
    ("optimizer", "LCAM / SGD"): "update of WRN-28-10 by LCAM / by `optax.sgd`",
    (
        "epoch",
        "WRN-16-1: JAX, one program / JAX, loop that fetches each loss",
    ): "epoch of WRN-16-1 as one program / as a loop that fetches each loss",
    ("epoch", "WRN-16-1: JAX, one program / PyTorch, tuned"): "epoch of WRN-16-1 / the same in PyTorch",
    ("epoch", "WRN-16-4: JAX, one program / PyTorch, tuned"): "epoch of WRN-16-4 / the same in PyTorch",
    ("startup", "import lcam_optax / import jax, optax"): "`import lcam_optax` / `import jax, optax`",
}

TABLES = {
    "costs": (costs, ROOT / "README.md"),
    "mechanism": (mechanism, ROOT / "docs" / "mechanism.md"),
    "directions": (directions, ROOT / "docs" / "mechanism.md"),
    "directions-against-sgd": (directions_against_sgd, ROOT / "docs" / "mechanism.md"),
    "gradient-noise": (gradient_noise, ROOT / "docs" / "mechanism.md"),
    "replication": (replication, ROOT / "README.md"),
    "controlled": (controlled, ROOT / "docs" / "replication.md"),
    "reached": (reached, ROOT / "docs" / "replication.md"),
    "half": (half, ROOT / "docs" / "replication.md"),
    "best": (best, ROOT / "docs" / "replication.md"),
    "benchmarks": (benchmarks, ROOT / "docs" / "performance.md"),
    "small-games": (small_games, ROOT / "docs" / "games.md"),
    "gan": (gan, ROOT / "docs" / "games.md"),
    "arena": (arena, ROOT / "docs" / "arena.md"),
    "methods": (methods, ROOT / "docs" / "methods.md"),
}


def between_markers(name: str, text: str) -> str:
    """What stands under the head of a table that is marked with its name."""
    marked = text.partition(f"<!-- table: {name} -->\n")[2].partition("\n<!-- end -->")[0]
    return marked.partition("---|\n")[2]


def _compared(runs: list[records.Record], *settings: str) -> str:
    """Each arm of a group of runs: its seeds, some settings, its final test error, and that minus SGD's."""
    group = analyse(runs, "sgd-0.9")
    differences = {comparison.name: comparison for comparison in group.comparisons}
    lines = []
    for arm in group.arms:
        low, high = arm.final.interval
        cells = [str(len(arm.records)), *(_setting(arm.records[0].config, name) for name in settings)]
        cells += [f"{arm.final.mean:.2f}", f"{low:.2f} to {high:.2f}"]
        found = differences.get(arm.name)
        cells += ["", "", ""] if found is None else _compared_cells(found)
        lines.append(_row(group.short(arm.name), *cells))
    return "\n".join(lines)


def _compared_cells(found: Comparison) -> list[str]:
    low, high = found.difference.interval
    return [f"{found.difference.mean:+.2f}", f"{low:+.2f} to {high:+.2f}", f"{found.p_holm:.3f}"]


def _setting(config: dict, name: str) -> str:
    """A setting, starred where it is the least, but for zero, or the greatest of three and more that were tried."""
    tried = config[f"{name}s"]
    at_end = len(tried) > 2 and config[name] in (min(tried), max(tried)) and config[name] != 0
    return f"{config[name]:g}" + "*" * at_end


def _replication() -> Group:
    return analyse(records.read_all(REPLICATION), "sgd-0.9")


def _games() -> dict:
    return json.loads((RESULTS / "games" / "games.json").read_text())


def _directions() -> dict:
    return json.loads((RESULTS / "directions" / "directions.json").read_text())


def _rows_of(table: Table) -> str:
    return "\n".join(_row(*cells) for cells in table.rows)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _difference(found: dict | None) -> str:
    if found is None:
        return ""
    low, high = found["interval"]
    return f"{found['mean']:+.2f} ({low:+.2f} to {high:+.2f})"


if __name__ == "__main__":
    for name, (make, path) in TABLES.items():
        print(f"{path.name}: {name}\n{make()}\n")
