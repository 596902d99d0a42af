"""The least times of groups on a GPU."""

from pathlib import Path

from train import files
from train.bench import budget


def test_counts_every_seed_of_every_arm():
    work = budget.budget("fig3")
    # Four arms, five seeds, 150 epochs of 390 full batches of 128 and a short one.
    assert (work.runs, work.epochs, work.steps) == (20, 3000, 3000 * 391)


def test_counts_the_trials_on_four_fifths_of_the_images():
    work = budget.budget("contest-cifar10")
    trials = 6 * 4 * 2
    assert work.runs - trials == 6 * 5
    assert work.epochs == work.runs * 15
    # 10,000 images make 79 batches, and 8,000 make 63.
    assert work.steps == 15 * (6 * 5 * 79 + trials * 63)


def test_least_hours_are_steps_times_the_bound(tmp_path: Path):
    (tmp_path / "bench").mkdir()
    for network, bound in (("28-10", 7.2), ("28-2", 0.36)):
        text = files.dumps({"targets": {"h200": {"bound_ms": bound}}})
        (tmp_path / f"bench/compiled-h200-wrn-{network}.json").write_text(text)
    found = {row[0]: row for row in budget.rows(tmp_path)}
    assert found["`fig3`"] == ("`fig3`", "WRN-28-10", "20", "3,000", "7.20", f"{3000 * 391 * 7.2 / 3.6e6:.1f}")
    assert found["`controls`"][1] == "WRN-28-2"
