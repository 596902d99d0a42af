"""The tables of `train.studies.updates.directions` over seeds, made only from the record.

Sizes and ratios differ between seeds by factors, so their means are geometric, with the interval of the mean logarithm.
Shares and values that may be negative have arithmetic means and ordinary intervals.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from statsmodels.stats.multitest import multipletests

from train.report.statistics import BASELINE, LEVEL, estimate
from train.report.tables import NONE, Table

_Json = Mapping[str, Any]
_Get = Callable[[_Json], float]  # from one measurement; NaN if there is no such number


class _Number(NamedTuple):
    get: _Get
    form: str
    geometric: bool = True


def _in_phase(name: str, phase: int) -> _Get:
    return lambda each: _floats(each["directions"][name])[phase]


def _of_all_steps(name: str) -> _Get:
    return lambda each: np.average(_floats(each["directions"][name]), weights=each["directions"]["steps"])


def _noise(name: str) -> _Get:
    return lambda each: each["noise"][name]


def _ratio(upper: _Get, lower: _Get) -> _Get:
    return lambda each: float(np.exp(_log(upper(each)) - _log(lower(each))))


def _above_to_below(name: str) -> _Get:
    return _ratio(_in_phase(name, 1), _in_phase(name, 0))


_UPDATES = {
    "steps below the mean": _Number(lambda each: np.average([1, 0], weights=each["directions"]["steps"]), ".0%", False),
    "size, frequent / slow half": _Number(
        _ratio(_of_all_steps("frequent_update"), _of_all_steps("slow_update")), ".3f"
    ),
    "size above / below": _Number(_above_to_below("mean_update"), ".3f"),
    "size above / below, slow half": _Number(_above_to_below("slow_update"), ".3f"),
    "size above / below, frequent half": _Number(_above_to_below("frequent_update"), ".3f"),
    "sign changes below": _Number(_in_phase("sign_changes", 0), ".1%", False),
    "sign changes above": _Number(_in_phase("sign_changes", 1), ".1%", False),
}
_NOISE = {
    "training loss": _Number(lambda each: each["train_loss"], ".3f", False),
    "trace": _Number(_noise("trace"), ".3g"),
    "largest eigenvalue / trace": _Number(_ratio(lambda each: each["noise"]["eigenvalues"][0], _noise("trace")), ".2f"),
    "effective rank": _Number(_noise("effective_rank"), ".2f"),
    "squared gradient": _Number(_noise("squared_gradient"), ".3g", False),
    "noise scale": _Number(_noise("noise_scale"), ".3g"),
}
_COMPARED = {
    "size": _of_all_steps("mean_update"),
    "size, frequent / slow half": _UPDATES["size, frequent / slow half"].get,
    "size above / below": _above_to_below("mean_update"),
    "size above / below, frequent / slow half": _ratio(
        _above_to_below("frequent_update"), _above_to_below("slow_update")
    ),
    "sign changes": _of_all_steps("sign_changes"),
    "sign changes above / below": _above_to_below("sign_changes"),
    "trace of the noise": _noise("trace"),
    "effective rank of the noise": _noise("effective_rank"),
}


def updates(record: _Json) -> Table:
    """Sizes and sign changes of each arm's updates, by the phase of the step's loss."""
    return _means(
        record,
        "Updates by the phase of the step's loss",
        _UPDATES,
        "Size: absolute value of the update, mean over parameters and steps. Above / below: that of steps at or above "
        "the mean over that of steps below it. Slow half: the parameters whose updates changed their sign at most as "
        "often as the median parameter's in this epoch; frequent half: the others. Sign changes: share of parameters, "
        "mean over steps. A step's phase is that of the loss whose gradient it took; LCAM's momentum was picked by the "
        "loss before.",
    )


def noise(record: _Json) -> Table:
    """The gradient's noise of each arm after the epoch."""
    return _means(
        record,
        "Noise of the gradient after the epoch",
        _NOISE,
        f"Of {record['examples']} training images in evaluation mode, without weight decay; the training loss is that "
        "of the epoch. Effective rank: tr(C)² / tr(C²). Squared gradient: unbiased, so it may be negative where noise "
        "drowns the gradient. The noise scale, tr(C) over the squared gradient, is then unknown, and a mean over the "
        "other seeds would be too low.",
    )


def against_sgd(record: _Json) -> Table:
    """The numbers of each arm as multiples of SGD's, paired by seed, with intervals and tests."""
    runs = _runs(record)
    factors = {
        (name, arm, epoch): np.exp(_log([*map(get, run)]) - _log([*map(get, runs[BASELINE, epoch])]))
        for name, get in _COMPARED.items()
        for (arm, epoch), run in runs.items()
        if arm != BASELINE
    }
    p_values = {
        key: scipy.stats.ttest_1samp(np.log(values), 0.0).pvalue
        for key, values in factors.items()
        if np.isfinite(estimate(np.log(values).tolist()).interval).all()
    }
    rejected = multipletests([*p_values.values()], 1 - LEVEL, method="holm")[0] if p_values else ()
    starred = {key for key, certain in zip(p_values, rejected, strict=True) if certain}
    stars = (
        f" *: not 1 by the two-sided t-test of the logarithm at {1 - LEVEL:.0%}, after Holm's correction for the "
        f"{len(p_values)} tests of this table."
    )
    cells = {key: _cell(values, ".3f", geometric=True) + "*" * (key in starred) for key, values in factors.items()}
    return _table(
        record,
        f"Times {BASELINE} with the same seed",
        cells,
        "Frequent / slow half: the ratio of these numbers of the two halves. Without a phase: over all steps."
        + (stars if p_values else ""),
    )


def _means(record: _Json, title: str, numbers: Mapping[str, _Number], note: str) -> Table:
    cells = {
        (name, arm, epoch): _cell([*map(number.get, run)], number.form, geometric=number.geometric)
        for name, number in numbers.items()
        for (arm, epoch), run in _runs(record).items()
    }
    return _table(record, title, cells, note)


def _table(record: _Json, title: str, cells: Mapping[tuple[str, str, int], str], note: str) -> Table:
    """One row per number and epoch, one column per arm."""
    arms = list(dict.fromkeys(arm for _, arm, _ in cells))
    seeds = len(record["seeds"])
    means = f"Means over {seeds} seeds with 95 % intervals by Student's t. " if seeds > 1 else "One seed. "
    return Table(
        title=title,
        columns=("Number", "epoch", *arms),
        rows=[
            (name, str(epoch), *(cells[name, arm, epoch] for arm in arms))
            for name, epoch in dict.fromkeys((name, epoch) for name, _, epoch in cells)
        ],
        note=means + note,
    )


def _runs(record: _Json) -> dict[tuple[str, int], list[_Json]]:
    """The measurements of each arm and epoch, in the order of the seeds."""
    runs: dict[tuple[str, int], list[_Json]] = {}
    for each in record["measurements"]:
        runs.setdefault((each["arm"], each["epoch"]), []).append(each)
    return runs


def _cell(values: Sequence[float] | np.ndarray, form: str, *, geometric: bool) -> str:
    """Mean and interval of the values of the seeds, or the number of seeds with a value."""
    values = _floats(values)
    found = estimate((_log(values) if geometric else values).tolist())
    mean, low, high = (np.exp if geometric else np.asarray)([found.mean, *found.interval])
    if not np.isfinite(mean):
        known = np.isfinite(values).sum()
        return f"{NONE} ({known} of {len(values)} seeds)" if known else NONE
    return f"{mean:{form}} ({low:{form}} to {high:{form}})" if np.isfinite(low) else f"{mean:{form}}"


def _floats(values: Any) -> np.ndarray:
    """JSON's numbers, with NaN for null."""
    return np.asarray(values, np.float64)


def _log(values: Any) -> np.ndarray:
    """The logarithm; NaN if there is none."""
    values = _floats(values)
    return np.log(np.where(values > 0, values, np.nan))
