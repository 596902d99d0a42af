"""The tables of the benchmarks in the documentation, made from the committed results."""

from pathlib import Path

from train.bench import budget, result
from train.bench.accelerators.show import markdown_rows, scaling_rows
from train.report.publish import Rows, Tables

_FILES = ("cpu.json", "cpu-startup.json", "cpu-scaling.json", "cpu-seeds-digits.json", "cpu-seeds-cifar10.json")
_COSTS = {
    ("optimizer", "LCAM / SGD"): "update by LCAM / by `optax.sgd`, WRN-28-10",
    (
        "epoch",
        "WRN-16-1: JAX, one program / JAX, loop that fetches each loss",
    ): "epoch as one program / as a loop that fetches each loss, WRN-16-1",
    ("epoch", "WRN-16-1: JAX, one program / PyTorch, tuned"): "epoch in JAX / in PyTorch, WRN-16-1",
    ("epoch", "WRN-16-4: JAX, one program / PyTorch, tuned"): "epoch in JAX / in PyTorch, WRN-16-4",
    ("startup", "import lcam_optax / import jax, optax"): "`import lcam_optax` / `import jax, optax`",
}


def _benchmarks(results: Path) -> Rows:
    """Every ratio of every benchmark."""
    rows = []
    for found in _read(results):
        for name, ratio in found.ratios.items():
            low, high = ratio.quartiles
            rows.append((found.benchmark, name, f"{ratio.median:.3f}", f"{low:.3f} to {high:.3f}"))
    return rows


def _costs(results: Path) -> Rows:
    """The ratios for the README."""
    ratios = {(found.benchmark, name): ratio for found in _read(results) for name, ratio in found.ratios.items()}
    rows = []
    for key, label in _COSTS.items():
        low, high = ratios[key].interval
        rows.append((label, f"{ratios[key].median:.3f}", f"{low:.3f} to {high:.3f}"))
    return rows


def _compiled(results: Path) -> Rows:
    """What the accelerators' compilers count in a training step."""
    return [cells for path in sorted((results / "bench").glob("compiled-*.json")) for cells in markdown_rows(path)]


def _scaling(results: Path) -> Rows:
    """What the accelerators' compilers count in a step on one of several devices."""
    rows = [cells for path in (results / "bench").glob("devices-*.json") for cells in scaling_rows(path)]
    return sorted(rows, key=lambda cells: (cells[0], int(cells[2]) > 1, int(cells[1])))


def _read(results: Path) -> list[result.Result]:
    return [found for name in _FILES for found in result.read(results / "bench" / name)]


def _budgets(results: Path) -> Rows:
    """The work of the large groups, and the least time that it takes on a GPU."""
    return list(budget.rows(results))


TABLES: Tables = {
    "benchmarks": _benchmarks,
    "costs": _costs,
    "compiled": _compiled,
    "devices": _scaling,
    "gpu-budget": _budgets,
}
