"""The name that is nearest to a mistyped one. How values are parsed is tested with the words of a command."""

from train.experiments.values import did_you_mean


def test_only_words_that_are_alike_are_proposed():
    assert did_you_mean("--resume", ["--fresh", "--seeds"]) == ""
    assert did_you_mean("--FRESH", ["--fresh", "--seeds"]) == "Did you mean --fresh? "
