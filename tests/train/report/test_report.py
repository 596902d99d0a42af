import dataclasses
import io
import json
import math
import re

import numpy as np
import pytest
import rich.console
import scipy.stats

from tests.train.synthetic import record, steps
from train import records
from train.errors import RecordError
from train.experiments import EXPERIMENTS, config_of
from train.report.report import report

ARMS = {
    "sgd-0.9": ([5.0, 5.5, 7.5], 0.9, 0.9),
    "lcam-0.9-0.95": ([4.0, 5.0, 6.0], 0.9, 0.95),
    "sgd-0.95": ([8.0, 9.0, 10.0], 0.95, 0.95),
}


def _fill(root, group="demo", seeds=(0, 1, 2)):
    """Three arms; each run's best error is half a point below its final one."""
    for arm, (finals, below, above) in ARMS.items():
        for seed in seeds:
            errors = [20.0, finals[seed] - 0.5, finals[seed]]
            momenta = {"momentum_below": below, "momentum_above": above}
            records.write(root, record(arm, seed, errors, group=group, **momenta), steps(3))


@pytest.fixture
def root(tmp_path):
    _fill(tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report of undamaged runs, made once for the tests that only look at it."""
    root = tmp_path_factory.mktemp("runs")
    _fill(root)
    return report(root)


@pytest.fixture(scope="module")
def markdown(made):
    return made.paths[0].read_text()


def _shown(made):
    console = rich.console.Console(file=io.StringIO(), width=80)
    made.show(console)
    return console.file.getvalue()


def _table(markdown, title):
    """The rows of the table under a heading, split into cells."""
    section = markdown.split(f"### {title}")[1].split("###")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "--" not in line]


def test_final_errors_come_first_and_best_errors_apart(markdown):
    titles = re.findall(r"^### demo: (.*)$", markdown, re.MULTILINE)
    assert titles[0] == "final test error (%)"
    assert titles.index("best test error of any epoch (%)") == 3
    assert _table(markdown, "demo: final test error (%)")[1] == [
        "sgd-0.9", "3", "6.00", "1.32", "2.71 to 9.29",
    ]  # fmt: skip
    assert _table(markdown, "demo: best test error")[1][2] == "5.50"
    assert "Selected on the test set" in markdown


def test_the_paired_table_holds_the_tests(markdown):
    head, lcam, sgd = _table(markdown, "demo: final test error against sgd-0.9")
    assert head == ["Arm", "Pairs", "Difference", "95 % interval", "p", "p by Holm"]
    assert lcam == ["lcam-0.9-0.95", "3", "-1.00", "-2.24 to +0.24", "0.074", "0.074"]
    assert sgd == ["sgd-0.95", "3", "+3.00", "+1.76 to +4.24", "0.009", "0.018"]
    assert "corrected for the 2 tests" in markdown


def test_censored_runs_are_named(markdown):
    rows = _table(markdown, "demo: epochs to the final test error of sgd-0.9 plus an allowance (8.65 %)")
    assert rows[1] == ["sgd-0.9", "3 of 3", "2", "2, 2, 2"]
    assert rows[3] == ["sgd-0.95", "2 of 3", "2", "2, 2, never in 3"]
    assert "the baseline's mean final error, 6.00 %, plus twice its standard deviation" in markdown


def test_epochs_of_many_runs_are_a_range_and_a_number(tmp_path):
    for seed in range(11):
        records.write(tmp_path, record("sgd-0.9", seed, [9.0, 5.0 if seed else 4.0, 5.0]), steps(3))
        late = [9.0, 9.0, 9.0 if seed < 2 else 4.0]
        records.write(tmp_path, record("other", seed, [5.0, 4.0, 4.0] if seed == 10 else late), steps(3))
        records.write(tmp_path, record("worse", seed, [9.0, 9.0, 9.0]), steps(3))
    report(tmp_path)
    rows = _table((tmp_path / "report" / "report.md").read_text(), "demo: epochs to the final")
    assert {row[0]: row[-1] for row in rows[1:]} == {
        "sgd-0.9": "2",
        "other": "1 to 3, 2 never",
        "worse": "11 never",
    }


def test_a_baseline_alone_has_no_empty_table(tmp_path):
    records.write(tmp_path, record("sgd-0.9", 0, [5.0]), steps(1))
    made = report(tmp_path)
    assert "against" not in _shown(made)
    assert "against" not in (tmp_path / "report" / "report.md").read_text()
    assert "only sgd-0.9 has finished runs" in " ".join(_shown(made).split())
    assert "epochs to" not in (tmp_path / "report" / "report.md").read_text()


def test_settings_are_split_into_common_and_differing(markdown):
    head, *rows = _table(markdown, "demo: settings")
    assert head == ["Arm", "momentum below", "momentum above", "minutes"]
    assert rows[1] == ["lcam-0.9-0.95", "0.9", "0.95", "1.50"]
    assert "All arms: dataset digits, depth 10, width 1, epochs 3" in markdown
    assert "- Command: `python -m train run demo/sgd-0.9 --seeds 0`" in markdown


def test_every_setting_that_differs_is_shown(tmp_path):
    for arm, dropout in (("sgd-0.9", 0.0), ("lcam-0.9-0.95", 0.3)):
        records.write(tmp_path, record(arm, 0, [20.0], dropout=dropout), steps(1))
    report(tmp_path)
    head, *rows = _table((tmp_path / "report/report.md").read_text(), "demo: settings")
    assert head == ["Arm", "dropout", "minutes"]
    assert [row[:2] for row in rows] == [["sgd-0.9", "0"], ["lcam-0.9-0.95", "0.3"]]


def test_errors_on_images_held_out_are_called_so(tmp_path):
    records.write(tmp_path, record("sgd-0.9", 0, [20.0], holdout=True), steps(1))
    report(tmp_path)
    text = (tmp_path / "report/report.md").read_text()
    assert "final error on training images held out (%)" in text
    assert "final test error (%)" not in text


def test_the_numbers_are_strict_json(made):
    text = made.paths[1].read_text()
    numbers = json.loads(text, parse_constant=lambda word: pytest.fail(word))
    (group,) = numbers["groups"]
    assert group["baseline"] == "demo/sgd-0.9"
    assert group["arms"][0]["final_test_error"]["values"] == [5.0, 5.5, 7.5]
    assert group["arms"][2]["median_epochs_to_baseline"] == 2
    assert group["target_error"] == made.groups[0].target
    assert group["comparisons"][0]["p_holm"] == made.groups[0].comparisons[0].p_holm


def test_all_files_exist_and_the_markdown_shows_the_figures(made, markdown):
    names = [path.name for path in made.paths]
    stems = ["demo-curves", "demo-differences", "demo-lcam-0.9-0.95-steps"]
    assert names == [
        "report.md",
        "report.json",
        "report.html",
        *(f"{s}.{e}" for s in stems for e in ("png", "svg")),
    ]
    assert all(path.stat().st_size for path in made.paths)
    assert re.findall(r"!\[.*\]\((.*)\)", markdown) == [f"{stem}.png" for stem in stems]


def test_the_terminal_shows_tables_and_whole_paths(made):
    shown = _shown(made)
    assert "final test error (%)" in shown
    assert re.search(r"lcam-0.9-0.95 +3 +-1.00 +-2.24 to \+0.24 +0.074 +0.074", shown)
    assert str(made.paths[2]) in shown.splitlines()
    assert "LEFT OUT" not in shown


def test_the_same_records_give_the_same_report(root, tmp_path):
    first, second = report(root, tmp_path / "a"), report(root, tmp_path / "b")
    for one, other in zip(first.paths, second.paths, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_each_group_is_analysed_by_itself(root):
    _fill(root, "other", seeds=(0, 1))
    made = report(root)
    assert [(group.name, len(group.arms[0].records)) for group in made.groups] == [
        ("demo", 3), ("other", 2),
    ]  # fmt: skip


def test_one_group_can_be_reported_from_its_own_folder(root):
    _fill(root, "other")
    made = report(root / "other")
    assert [group.name for group in made.groups] == ["other"]
    assert made.paths[0] == root / "other" / "report" / "report.md"


def test_one_seed_gives_a_report_without_tests(tmp_path):
    _fill(tmp_path, seeds=(0,))
    report(tmp_path)
    markdown = (tmp_path / "report" / "report.md").read_text()
    assert _table(markdown, "demo: final test error (%)")[1] == [
        "sgd-0.9",
        "1",
        "5.00",
        "n/a",
        "n/a",
    ]
    rows = _table(markdown, "demo: final test error against")
    assert rows[1] == ["lcam-0.9-0.95", "1", "-1.00", "n/a", "n/a", "n/a"]


def test_unequal_seeds_and_equal_differences_are_said(root):
    records.write(root, record("extra", 0, [20.0, 9.0, 4.0]), steps(3))
    for seed, final in enumerate(ARMS["sgd-0.9"][0]):
        records.write(root, record("twin", seed, [20.0, 9.0, final + 1]), steps(3))
    report(root)
    markdown = (root / "report" / "report.md").read_text()
    assert "extra: 1 runs against the baseline's 3, 1 of them with the same seed." in markdown
    assert "twin: all differences are equal" in markdown


def test_a_group_without_its_baseline_is_reported_without_comparison(tmp_path):
    records.write(tmp_path, record("a", 0, [5.0]), steps(1))
    made = report(tmp_path)
    assert made.groups[0].comparisons == ()
    assert "nothing is compared" in (tmp_path / "report" / "report.md").read_text()
    assert "against" not in _shown(made)


def test_diverged_runs_are_reported(root):
    broken = record("sgd-9", 0, [20.0, 90.0, math.nan])
    broken.history[2] = dataclasses.replace(broken.history[2], train_loss=math.inf, seconds=math.nan)
    records.write(root, broken, steps(3))
    report(root)
    markdown = (root / "report" / "report.md").read_text()
    assert _table(markdown, "demo: final test error (%)")[4] == ["sgd-9", "1", "n/a", "n/a", "n/a"]


def _left_out(root, message):
    """The one reason, which has to be in all forms of the report."""
    made = report(root)
    (reason,) = made.left_out
    assert message in reason
    assert f"- {reason}" in (root / "report" / "report.md").read_text()
    assert json.loads((root / "report" / "report.json").read_text())["left_out"] == [reason]
    assert "LEFT OUT" in _shown(made)
    return made


def test_settings_changed_on_the_command_line_are_told(tmp_path):
    arms = {arm: config_of(EXPERIMENTS[f"quickstart/{arm}"]) for arm in ("sgd-0.9", "lcam-0.9-0.95")}
    for arm, config in arms.items():
        del config["name"]
        changed = config | {"epochs": 3, **({"optimizer": "adam"} if arm == "sgd-0.9" else {})}
        for seed in range(2):
            records.write(tmp_path, record(arm, seed, [9.0, 8.0, 7.0], group="quickstart", **changed), steps(3))
    made = report(tmp_path)
    usual = arms["sgd-0.9"]["epochs"]
    assert made.changed == (
        f"quickstart, all arms: epochs 3 instead of {usual}",
        "quickstart, sgd-0.9: optimizer adam instead of sgd",
    )
    assert json.loads((tmp_path / "report" / "report.json").read_text())["changed"] == list(made.changed)
    assert all(f"- {change}" in (tmp_path / "report" / "report.md").read_text() for change in made.changed)
    assert "CHANGED: quickstart, sgd-0.9: optimizer adam instead of sgd" in _shown(made)


def test_a_tuned_arm_is_compared_by_what_was_tried(tmp_path):
    config = config_of(EXPERIMENTS["arena-digits/sgd-0.9"])
    del config["name"]
    for root, tried in ((tmp_path / "usual", config["learning_rates"]), (tmp_path / "other", [0.1])):
        run = config | {"learning_rate": 0.3, "learning_rates": tried}
        run = record("sgd-0.9", 0, [9.0] * config["epochs"], group="arena-digits", **run)
        records.write(root, run, steps(config["epochs"]))
    assert report(tmp_path / "usual").changed == ()
    (change,) = report(tmp_path / "other").changed
    assert change.startswith("arena-digits, sgd-0.9: learning_rates 0.1 instead of 0.0")


def test_a_damaged_record_is_left_out_loudly(root):
    path = records.run_dir(root, "demo/sgd-0.95", 1) / "result.json"
    path.write_bytes(path.read_bytes()[:100])
    made = _left_out(root, f"{path}: damaged")
    assert [len(arm.records) for arm in made.groups[0].arms] == [3, 3, 2]


def test_an_unfinished_run_is_left_out_loudly(root):
    records.write(root, record("sgd-0.95", 1, [20.0], epochs=3), steps(1))
    made = _left_out(root, "demo/sgd-0.95, seed 1: 1 of 3 epochs done; run it again")
    assert [len(arm.records) for arm in made.groups[0].arms] == [3, 3, 2]


def test_skipped_steps_are_told_loudly(root):
    run = record("sgd-0.95", 0, [9.0, 8.0, 8.0], momentum_below=0.95, momentum_above=0.95)
    run.history[1:] = [dataclasses.replace(row, skipped_steps=2) for row in run.history[1:]]
    records.write(root, run, steps(3))
    _left_out(root, "demo/sgd-0.95, seed 0: 4 steps")


def test_a_lost_stage_is_told_loudly(root):
    for seed in range(2):
        short = record("half", seed, [9.0, 8.0, 8.0], schedule="step")
        rates = (0.1, 0.004, 0.0008)
        short.history[:] = [dataclasses.replace(r, learning_rate=x) for r, x in zip(short.history, rates, strict=True)]
        records.write(root, short, steps(3))
    _left_out(root, "demo/half: 3 epochs leave out the learning rate 0.02 of the step schedule")


def test_an_arm_of_mixed_settings_is_left_out_loudly(root):
    momenta = {"momentum_below": 0.95, "momentum_above": 0.95}
    mixed = record("sgd-0.95", 1, [20.0, 9.0, 8.0], width=10, dtype="float32", **momenta)
    records.write(root, mixed, steps(3))
    made = _left_out(root, "demo/sgd-0.95: its runs differ in width, dtype")
    assert len(made.groups[0].arms) == 2


def _on(data, arm, seed):
    momentum = {"sgd-0.95": 0.95}.get(arm, 0.9)
    run = record(arm, seed, [20.0, 9.0, 8.0], momentum_below=momentum, momentum_above=0.95)
    return dataclasses.replace(run, versions=run.versions | {records.FINGERPRINT: data})


def test_an_arm_of_mixed_data_is_left_out_loudly(tmp_path):
    for arm, data in (("sgd-0.9", "aa"), ("sgd-0.95", "ab")):
        for seed in range(2):
            records.write(tmp_path, _on(data if seed else "aa", arm, seed), steps(3))
    made = _left_out(tmp_path, "demo/sgd-0.95: its runs were trained on different images or labels")
    assert [arm.name for arm in made.groups[0].arms] == ["demo/sgd-0.9"]


def test_an_arm_with_other_data_than_the_baseline_is_left_out_loudly(tmp_path):
    for arm, data in (("lcam-0.9-0.95", "ab"), ("sgd-0.9", "aa"), ("sgd-0.95", "a")):
        for seed in range(2):
            records.write(tmp_path, _on(data, arm, seed), steps(3))
    made = _left_out(tmp_path, "demo/lcam-0.9-0.95: it was trained on other images or labels than demo/sgd-0.9")
    assert [arm.name for arm in made.groups[0].arms] == ["demo/sgd-0.9", "demo/sgd-0.95"]


def test_runs_that_would_stop_and_runs_that_would_skip_are_averaged(root):
    momenta = {"momentum_below": 0.95, "momentum_above": 0.95}
    records.write(root, record("sgd-0.95", 1, [20.0, 9.0, 8.0], nonfinite="skip", **momenta), steps(3))
    (group,) = report(root).groups
    assert [len(arm.records) for arm in group.arms] == [3, 3, 3]


def test_what_a_control_takes_from_its_own_run_is_no_other_setting(tmp_path):
    for seed, share in enumerate((0.4, 0.5)):
        drawn = {"phase": "random", "random_probability": [share], "momentum_above": 0.95}
        held = {"phase": "none", "momentum_below": 0.9 + share / 10, "momentum_above": 0.9 + share / 10}
        for arm, settings in (("random-0.9-0.95", drawn), ("constant-0.9-0.95", held)):
            followed = record(arm, seed, [20.0], follows="lcam-0.9-0.95", **settings)
            records.write(tmp_path, followed, steps(1))
    (group,) = report(tmp_path).groups
    assert {arm.name: len(arm.records) for arm in group.arms} == {
        "demo/constant-0.9-0.95": 2,
        "demo/random-0.9-0.95": 2,
    }


def test_an_arm_is_held_against_the_controls_that_follow_it(tmp_path):
    for seed, (own, drawn) in enumerate([(7.0, 8.0), (6.0, 7.5), (7.0, 7.5)]):
        records.write(tmp_path, record("lcam-0.9-0.95", seed, [own]), steps(1))
        records.write(tmp_path, record("random-0.9-0.95", seed, [drawn], follows="lcam-0.9-0.95"), steps(1))
        records.write(tmp_path, record("constant-0.95-0.9", seed, [9.0], follows="lcam-0.95-0.9"), steps(1))
    made = report(tmp_path)
    text = (tmp_path / "report/report.md").read_text()
    _, row = _table(text, "demo: final test error against controls that ignore the loss (percentage points)")
    difference = np.array([-1.0, -1.5, -0.5])
    expected = scipy.stats.ttest_1samp(difference, 0)
    low, high = expected.confidence_interval(0.95)
    assert row[:4] == ["lcam-0.9-0.95 minus random-0.9-0.95", "3", "-1.00", f"{low:+.2f} to {high:+.2f}"]
    (comparison,) = json.loads((tmp_path / "report/report.json").read_text())["groups"][0]["controlled"]
    assert comparison["p_value"] == comparison["p_holm"] == pytest.approx(expected.pvalue)
    assert "against controls that ignore the loss" in _shown(made)


def test_missing_steps_cost_their_figure_only(root):
    path = records.run_dir(root, "demo/lcam-0.9-0.95", 0) / "steps.npz"
    path.unlink()
    made = _left_out(root, f"the figure of single steps: {path}")
    assert len(made.paths) == 7


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(RecordError, match=r"no result\.json or runs\.jsonl"):
        report(tmp_path)
    assert not (tmp_path / "report").exists()


def test_a_folder_of_damaged_records_is_an_error(tmp_path):
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(RecordError, match=r"no finished run .* not a record of schema 1"):
        report(tmp_path)


def test_reduced_images_and_rates_at_an_end_are_told(tmp_path):
    for arm, rate in (("sgd-0.9", 0.4), ("sgd-0.95", 0.1)):
        tuned = {"learning_rate": rate, "learning_rates": [0.05, 0.1, 0.4], "resolution": 16, "train_size": 10000}
        records.write(tmp_path, record(arm, 0, [20.0], **tuned), steps(1))
    markdown = report(tmp_path).paths[0].read_text()
    assert "resolution 16, train size 10000" in markdown
    assert re.search(r"\| sgd-0\.9 \|.* 0\.4\* \|", markdown)
    assert re.search(r"\| sgd-0\.95 \|.* 0\.1 \|", markdown)
    assert "A star: the highest or lowest of the values tried." in markdown
