import numpy as np
import pytest

from tests.train.studies.updates.directions_samples import ARMS, measurement, measurements
from train.studies.updates import tables as directions_tables
from train.studies.updates.report import _numbers

SEEDS = (0, 1, 2)
T = 4.302653  # of Student's t with two degrees of freedom, 97.5 %


def record(measured, seeds=SEEDS):
    return {"seeds": list(seeds), "examples": 40, "measurements": [_numbers(each) for each in measured]}


MEASURED = measurements(SEEDS)


def cells(table, name):
    """The cells of a number after epoch 4, by arm."""
    (row,) = [row for row in table.rows if tuple(row[:2]) == (name, "4")]
    return dict(zip(table.columns[2:], row[2:], strict=True))


def of(arm, get):
    return np.array([get(each) for each in MEASURED if (each.arm, each.epoch) == (arm, 4)], np.float64)


def interval(values):
    half = T * values.std(ddof=1) / np.sqrt(len(values))
    return np.array([values.mean(), values.mean() - half, values.mean() + half])


def sizes(name):
    return lambda each: getattr(each.directions, name)[1] / getattr(each.directions, name)[0]


@pytest.mark.parametrize(
    ("name", "get"),
    [
        ("size above / below", sizes("mean_update")),
        ("size above / below, slow half", sizes("slow_update")),
        ("size above / below, frequent half", sizes("frequent_update")),
        (
            "size, frequent / slow half",
            lambda each: (
                (each.directions.frequent_update @ each.directions.steps)
                / (each.directions.slow_update @ each.directions.steps)
            ),
        ),
    ],
)
def test_ratios_are_geometric_means_over_seeds(name, get):
    found = cells(directions_tables.updates(record(MEASURED)), name)
    for arm in ARMS:
        mean, low, high = np.exp(interval(np.log(of(arm, get))))
        assert found[arm] == f"{mean:.3f} ({low:.3f} to {high:.3f})"


def test_shares_are_arithmetic_means_over_seeds():
    table = directions_tables.updates(record(MEASURED))
    assert cells(table, "steps below the mean")["sgd-0.9"] == "60%"  # the same for all seeds: no interval
    for phase, name in enumerate(("sign changes below", "sign changes above")):
        mean, low, high = interval(of("lcam-0.9-0.95", lambda each, phase=phase: each.directions.sign_changes[phase]))
        assert cells(table, name)["lcam-0.9-0.95"] == f"{mean:.1%} ({low:.1%} to {high:.1%})"


def test_the_noise_is_that_of_the_record():
    found = directions_tables.noise(record(MEASURED))
    assert "Of 40 training images" in found.note
    mean, low, high = np.exp(interval(np.log(of("sgd-0.95", lambda each: each.noise.trace))))
    assert cells(found, "trace")["sgd-0.95"] == f"{mean:.3g} ({low:.3g} to {high:.3g})"
    mean, low, high = np.exp(
        interval(np.log(of("sgd-0.95", lambda each: each.noise.eigenvalues[0] / each.noise.trace)))
    )
    assert cells(found, "largest eigenvalue / trace")["sgd-0.95"] == f"{mean:.2f} ({low:.2f} to {high:.2f})"


@pytest.mark.parametrize(("squared", "cell"), [((0.5, -0.1, 0.5), "n/a (2 of 3 seeds)"), ((-1, -1, -1), "n/a")])
def test_a_noise_scale_that_cannot_be_told_is_said_so(squared, cell):
    measured = [measurement("sgd-0.9", seed, 4, value) for seed, value in zip(SEEDS, squared, strict=True)]
    assert cells(directions_tables.noise(record(measured)), "noise scale") == {"sgd-0.9": cell}


def test_other_arms_are_held_against_sgd_seed_by_seed():
    table = directions_tables.against_sgd(record(MEASURED))
    assert table.columns[2:] == ARMS[1:]
    for arm in ARMS[1:]:
        ratios = of(arm, sizes("sign_changes")) / of("sgd-0.9", sizes("sign_changes"))
        mean, low, high = np.exp(interval(np.log(ratios)))
        expected = f"{mean:.3f} ({low:.3f} to {high:.3f})"
        assert cells(table, "sign changes above / below")[arm].rstrip("*") == expected


def test_only_what_holds_against_all_tests_of_the_table_is_starred():
    measured = [
        each._replace(noise=each.noise._replace(trace=np.float32(np.exp(factor + jitter))))
        for each in MEASURED
        for factor in [{"lcam-0.95-0.9": 9, "lcam-0.9-0.95": 0.15}.get(each.arm, 0)]
        for jitter in [{"sgd-0.9": 0.0}.get(each.arm, (0.0, 0.02, -0.02)[each.seed])]
    ]
    table = directions_tables.against_sgd(record(measured))
    found = cells(table, "trace of the noise")
    assert "for the 48 tests" in table.note
    assert found["lcam-0.95-0.9"].endswith(")*")
    # Its interval leaves out 1, but so may one of 48 by chance.
    assert float(found["lcam-0.9-0.95"].split("(")[1].split()[0]) > 1
    assert not found["lcam-0.9-0.95"].endswith("*")


def test_one_seed_has_numbers_without_intervals_and_without_tests():
    one = record(measurements((5,)), seeds=(5,))
    for make in (directions_tables.updates, directions_tables.noise, directions_tables.against_sgd):
        table = make(one)
        assert table.note.startswith("One seed.")
        assert not any("(" in cell or "*" in cell for row in table.rows for cell in row)
    assert "Holm" not in directions_tables.against_sgd(one).note
