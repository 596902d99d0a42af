import dataclasses
import io
import json
import math

import numpy as np
import pytest
import rich.console
import scipy.stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.weightstats import ttost_paired

from tests.train.synthetic import record, steps
from train import records
from train.experiments import find
from train.report.decision import decide, decision_table
from train.report.preregistration import CONTRASTS, MARGINS, SEEDS, admit
from train.report.report import report
from train.report.statistics import analyse
from train.report.verdict import verdict

LCAM, YOKED, SGD = "lcam-0.9-0.95", "yoked-0.9-0.95", "sgd-0.9"
SPREAD = np.array([0.1, -0.1, 0.05, -0.05, 0.0, 0.02])
BASE = np.array([5.0, 6.0, 7.0, 5.5, 6.5, 4.0])


def runs(group="decision-digits", **shifts):
    """LCAM, and arms that lie a shift above it; the seeds of arms differ a little."""
    arms = {LCAM: BASE, YOKED: BASE + SPREAD, SGD: BASE - SPREAD[::-1]}
    for arm, shift in shifts.items():
        name = {"yoked": YOKED, "sgd": SGD}[arm]
        arms[name] = arms[name] + shift
    return [record(arm, seed, [50.0, e], group=group) for arm, es in arms.items() for seed, e in enumerate(es)]


def decided(**shifts):
    return decide(analyse(runs(**shifts)))


def verdicts(decision):
    return {contrast.against: decision.verdict(contrast) for contrast in decision.contrasts}


def test_the_numbers_are_those_of_the_libraries():
    decision = decided(yoked=0.1, sgd=3.0)
    yoked = next(contrast for contrast in decision.contrasts if contrast.against == YOKED)
    theirs = BASE + SPREAD + 0.1
    # SGD's difference is the surer one and its equivalence the worse: Holm leaves one of the two p-values as it is.
    assert yoked.p_different == pytest.approx(scipy.stats.ttest_rel(BASE, theirs).pvalue)
    assert yoked.p_equivalent == pytest.approx(2 * ttost_paired(BASE, theirs, -0.2, 0.2)[0])
    friedman = scipy.stats.friedmanchisquare(BASE, theirs, BASE - SPREAD[::-1] + 3)
    assert decision.p_omnibus == pytest.approx(friedman.pvalue)


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [(0.0, "equivalent"), (0.1, "equivalent, not equal"), (0.5, "better"), (-0.5, "worse"), (0.2, "better")],
)
def test_verdicts(shift, verdict):
    assert verdicts(decided(yoked=shift, sgd=3.0))[YOKED] == verdict


def test_few_and_noisy_runs_are_undecided():
    finals = {LCAM: [5, 9], YOKED: [7, 4], SGD: [9, 5]}
    noisy = [record(arm, seed, [error]) for arm, errors in finals.items() for seed, error in enumerate(errors)]
    assert set(verdicts(decide(analyse(noisy), 0.2)).values()) == {"undecided"}


@pytest.mark.parametrize(("p_omnibus", "verdict"), [(0.05, "undecided"), (0.049, "better")])
def test_without_an_omnibus_difference_none_is_found(p_omnibus, verdict):
    decision = dataclasses.replace(decided(yoked=0.5, sgd=3.0), p_omnibus=p_omnibus)
    assert verdicts(decision)[YOKED] == verdict
    assert ("no single difference" in decision_table(decision).note) == (verdict == "undecided")


def test_the_gate_leaves_equivalence():
    decision = dataclasses.replace(decided(yoked=0.1, sgd=3.0), p_omnibus=0.5)
    assert verdicts(decision)[YOKED] == "equivalent"


@pytest.mark.parametrize("broken", ["test_loss", "test_error", "train_loss"])
def test_a_run_that_is_not_finite_counts_as_wholly_wrong(broken):
    made = runs(yoked=0.5)
    run = next(run for run in made if run.name.endswith(YOKED))
    run.history[-1] = dataclasses.replace(run.history[-1], **{broken: math.nan})
    decision = decide(analyse(made))
    assert decision.contrasts[0].difference.values[0] == BASE[0] - 100
    assert decision.not_finite == {LCAM: 0, YOKED: 1, SGD: 0}
    assert f"{YOKED}: 1 runs were not finite" in decision_table(decision).note


def test_only_seeds_that_all_arms_have_are_compared():
    decision = decide(analyse([run for run in runs() if (run.name.split("/")[1], run.seed) != (SGD, 3)]))
    assert decision.seeds == (0, 1, 2, 4, 5)
    assert {len(contrast.difference.values) for contrast in decision.contrasts} == {5}


def test_pooled_residuals_are_those_of_a_two_way_model():
    finals = {LCAM: [5, 6, 7, 8.0], YOKED: [8, 7, 6.5, 5], SGD: [5, 5.5, 7, 9]}
    made = [record(arm, seed, [error]) for arm, errors in finals.items() for seed, error in enumerate(errors)]
    decision = decide(analyse(made), 0.2)
    found = {c.against: p for c, p in zip(decision.contrasts, decision.pairings, strict=True)}
    assert found[SGD].correlation == pytest.approx(scipy.stats.pearsonr(finals[LCAM], finals[SGD])[0])
    assert found[SGD].pooled is None
    # Columns: the intercept, two arms against yoked, and three seeds against the first.
    arms, seeds = np.repeat([1, 0, 2], 4), np.tile(np.arange(4), 3)
    dummies = [np.ones(12), arms == 1, arms == 2, *(seeds == seed for seed in (1, 2, 3))]
    model = OLS(np.concatenate(list(finals.values())), np.stack(dummies, axis=1).astype(float)).fit()
    np.testing.assert_allclose(found[YOKED].pooled, model.conf_int()[1])


def section(group="decision-digits", **changes):
    """Every preregistered run of a group, made up."""
    return [
        record(arm.name.partition("/")[2], seed, [50.0, 5.0 + seed % 7], group=group, **changes)
        for arm in find(group)
        for seed in SEEDS[group]
    ]


def test_nothing_is_compared_before_all_preregistered_runs_have_ended(tmp_path):
    whole = section()
    kept, reason = admit(whole[:-1])
    assert kept == []
    assert reason.startswith("decision-digits: 899 of 900 preregistered runs have ended. Nothing is compared")
    for run in whole[:3]:
        records.write(tmp_path, run, steps(2))
    made = report(tmp_path)
    assert made.groups == made.decisions == ()
    assert made.left_out[0].startswith("decision-digits: 3 of 900")
    assert "3 of 900" in made.paths[0].read_text()


def test_a_whole_section_is_analysed_without_other_seeds_and_arms():
    whole = section()
    assert admit(whole) == (whole, None)
    pilot = record(SGD, 0, [50.0, 5.0], group="decision-digits")
    another_arm = record("random-0.9-0.95", SEEDS["decision-digits"][0], [50.0, 5.0], group="decision-digits")
    kept, reason = admit([pilot, another_arm, *whole])
    assert kept == whole
    assert reason == "decision-digits: 2 runs that are not preregistered"


def test_other_seeds_and_other_groups_are_not_held_back():
    assert admit(runs()) == (runs(), None)
    assert admit(runs(group="demo")) == (runs(group="demo"), None)


def test_a_run_that_skipped_steps_is_not_finite():
    made = runs(yoked=0.5)
    run = next(run for run in made if run.name.endswith(YOKED))
    run.history[0] = dataclasses.replace(run.history[0], skipped_steps=1)
    assert decide(analyse(made)).not_finite == {LCAM: 0, YOKED: 1, SGD: 0}


@pytest.fixture
def small_section(monkeypatch):
    """The section of the digits with six seeds. SGD is worse by every test, but Friedman's test finds nothing."""
    monkeypatch.setitem(SEEDS, "decision-digits", range(6))
    monkeypatch.setattr("train.report.decision.omnibus", lambda errors: 0.5)
    others = ("schedule-0.9-0.95", "rising-0.9-0.95", "sgd-0.95")
    more = [
        record(arm, seed, [50.0, error], group="decision-digits") for arm in others for seed, error in enumerate(BASE)
    ]
    return [*runs(yoked=0.0, sgd=3.0), *more]


def test_the_preregistered_tests_alone_give_the_verdict(small_section, tmp_path):
    decision = decide(analyse(small_section))
    assert decision.preregistered
    said = verdict(analyse(small_section), decision)
    assert said.startswith("decision-digits: The preregistered contrasts, with a margin of 0.2 percentage points")
    assert "minus sgd-0.9 -3.0" in said
    assert "6 seeds, undecided" in said
    assert "better" not in said
    for run in small_section:
        records.write(tmp_path, run, steps(2))
    made = report(tmp_path)
    markdown = made.paths[0].read_text()
    assert "against sgd-0.9" not in markdown
    assert "against controls" not in markdown
    assert markdown.index("final test error") < markdown.index("LCAM | Difference") < markdown.index("Provenance")
    assert not list(tmp_path.glob("report/*-differences.*"))
    (numbers,) = json.loads(made.paths[1].read_text())["groups"]
    assert numbers["comparisons"] == numbers["controlled"] == []


@pytest.mark.parametrize(("seeds", "margin"), [(range(6), 0.3), (range(5), None)])
def test_other_seeds_or_another_margin_are_not_the_preregistered_tests(small_section, seeds, margin):
    group = analyse([run for run in small_section if run.seed in seeds])
    decision = decide(group, margin)
    assert not decision.preregistered
    assert "preregistered" not in verdict(group, decision)


def test_an_earlier_decision_does_not_stay(tmp_path):
    for run in runs():
        records.write(tmp_path, run, steps(2))
    assert (tmp_path / "report/decision.json") in report(tmp_path).paths
    records.write(tmp_path, section()[0], steps(2))
    report(tmp_path)
    assert not (tmp_path / "report/decision.json").exists()


def test_groups_without_a_margin_or_a_control_are_not_decided():
    assert decide(analyse(runs(group="demo"))) is None
    assert decide(analyse([run for run in runs() if "lcam" not in run.name])) is None
    assert decide(analyse(runs(group="demo")), 0.3).contrasts[0].margin == 0.3


@pytest.mark.parametrize("group", [group for group in MARGINS if group not in CONTRASTS])
def test_the_margins_are_the_preregistered_ones(group):
    assert decide(analyse(runs(group=group))).contrasts[0].margin == 0.2


def test_the_report_has_the_decision_in_every_form(tmp_path):
    for run in runs(yoked=0.5, sgd=3.0):
        records.write(tmp_path, run, steps(2))
    made = report(tmp_path)
    assert made.paths[2].name == "decision.json"
    (written,) = json.loads(made.paths[2].read_text())
    assert written["group"] == "decision-digits"
    assert [row["verdict"] for row in written["contrasts"]] == ["better", "better"]
    assert f"| minus {YOKED} |" in made.paths[0].read_text()


def contest(**trials):
    """Four runs of every arm of the contest; SGD at 0.95 has the lowest held-out error."""
    arms = [arm.name.partition("/")[2] for arm in find("contest-cifar10")]
    return [
        record(arm, seed, [8.0 + seed + 0.1 * i], group="contest-cifar10", learning_rate=0.4)
        for i, arm in enumerate(arms)
        for seed in range(4)
    ]


def test_the_primary_contrast_is_with_the_best_tuned_sgd(tmp_path):
    for run in contest():
        records.write(tmp_path, run, steps(1))
    assert decide(analyse(records.read_all(tmp_path))).primary is None
    for i, arm in enumerate(("sgd-0.9", "sgd-0.95", "nesterov-0.9", "cosine-sgd-0.9")):
        errors = ([31.0, 33.0], [29.0, 30.5 - (i == 1)])
        trials = {"trials": [{"learning_rate": 0.1, "error": error} for error in errors]}
        records.write_trials(tmp_path, f"contest-cifar10/{arm}", trials)
    for packed in (False, True):
        if packed:
            records.pack(tmp_path)
        found = decide(analyse(records.read_all(tmp_path / "contest-cifar10")))
        assert found.primary == ("rising-0.9-0.95", "sgd-0.95")
        assert "Primary contrast: rising-0.9-0.95 minus sgd-0.95." in decision_table(found).note
        assert found.numbers()["primary"] == ("rising-0.9-0.95", "sgd-0.95")


def test_the_primary_contrast_of_the_other_sections_is_yoked():
    assert decided().primary == (LCAM, YOKED)
    without = [run for run in runs() if YOKED not in run.name]
    others = [record("schedule-0.9-0.95", seed, [50.0, e], group="decision-digits") for seed, e in enumerate(BASE)]
    assert decide(analyse([*without, *others])).primary is None
    assert decide(analyse(runs(group="demo")), 0.3).primary is None


def test_the_contest_compares_lcam_and_the_schedule_with_every_sgd():
    arms = [arm.name.partition("/")[2] for arm in find("contest-cifar10")]
    errors = {arm: np.float64([8.0, 9.0, 8.5, 9.5]) + 0.1 * i for i, arm in enumerate(arms)}
    runs = [
        record(arm, seed, [error], group="contest-cifar10") for arm in arms for seed, error in enumerate(errors[arm])
    ]
    found = decide(analyse(runs))
    sgds = ["sgd-0.9", "sgd-0.95", "nesterov-0.9", "cosine-sgd-0.9"]
    lcam, rising = "lcam-0.9-0.95", "rising-0.9-0.95"
    assert [(each.name, each.against) for each in found.contrasts] == [
        *((lcam, sgd) for sgd in sgds),
        *((rising, sgd) for sgd in sgds),
        (lcam, rising),
    ]
    assert {each.margin for each in found.contrasts} == {0.2}
    for each in found.contrasts:
        np.testing.assert_allclose(each.difference.mean, np.mean(errors[each.name] - errors[each.against]))
    assert "The contrasts of the preregistration, but with other seeds or" in verdict(analyse(runs), found)
    assert "other arms, 4 pairs" in decision_table(found).title
    # Holm's correction would be wrong for a part of the contrasts.
    assert decide(analyse([run for run in runs if not run.name.endswith("nesterov-0.9")])) is None


def test_the_contest_with_a_cosine_schedule_has_one_contrast_which_is_primary():
    errors = {"lcam-0.9-0.95": [38.0, 37.0, 36.5, 37.5], "sgd-0.9": [36.0, 36.1, 35.9, 36.2]}
    runs = [record(arm, seed, [e], group="contest-cosine") for arm in errors for seed, e in enumerate(errors[arm])]
    found = decide(analyse(runs))
    assert found.primary == ("lcam-0.9-0.95", "sgd-0.9")
    assert [(each.name, each.against) for each in found.contrasts] == [found.primary]
    assert math.isnan(found.p_omnibus)
    assert found.verdict(found.contrasts[0]) == "worse"
    assert "lcam-0.9-0.95 minus sgd-0.9" in decision_table(found).note


def test_the_terminal_shows_what_fits(tmp_path):
    for run in runs(yoked=0.5, sgd=3.0):
        records.write(tmp_path, run, steps(2))
    made = report(tmp_path)
    console = rich.console.Console(file=io.StringIO(), width=80)
    made.show(console)
    shown = console.file.getvalue()
    assert "minus yoked-0.9-0.95" in shown
    assert "report.md has all tests" in " ".join(shown.split())
    assert "Correlation" not in shown
