"""The nearest name to a mistyped one. `test_arguments` tests how values are parsed."""

from train.experiments.values import did_you_mean


def test_only_words_that_are_alike_are_proposed():
    assert did_you_mean("--resume", ["--fresh", "--seeds"]) == ""
    assert did_you_mean("--FRESH", ["--fresh", "--seeds"]) == "Did you mean --fresh? "
