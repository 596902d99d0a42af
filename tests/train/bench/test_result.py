"""Results in files and on the terminal."""

import io
import math

from rich.console import Console

from train import files
from train.bench import result
from train.bench.result import Result
from train.bench.timing import Ratio

RATIO = Ratio(median=1.25, quartiles=(1.125, 1.5), interval=(1.0, 2.0), repeats=20)


def make_result():
    return Result(
        benchmark="step",
        options={"depth": 10, "dtype": "float32", "data": None},
        ratios={"ours / theirs": RATIO},
        seconds={"ours": [0.5, 0.25], "theirs": [0.25, 0.5]},
        compile_seconds={"ours": 3.5},
        facts={"parameters": 36479194, "GFLOP": 31.5, "peak": None, "PyTorch": "missing"},
    )


def test_json_round_trip(tmp_path):
    path = tmp_path / "bench.json"
    result.write(path, [make_result(), make_result()], "python -m train bench step step")
    assert result.read(path) == [make_result(), make_result()]
    document = files.loads(path.read_bytes())
    assert document["command"] == "python -m train bench step step"
    assert document["device"]["platform"] == "cpu"
    assert "jaxlib" in document["versions"]


def test_an_interval_that_could_not_be_had_survives(tmp_path):
    path = tmp_path / "bench.json"
    few = Ratio(median=1.0, quartiles=(1.0, 1.0), interval=(math.nan, math.nan), repeats=1)
    result.write(path, [Result(benchmark="step", options={}, ratios={"a / b": few})], "")
    (found,) = result.read(path)
    assert all(map(math.isnan, found.ratios["a / b"].interval))


def test_add_puts_findings_under_a_prefix():
    whole = Result(benchmark="step", options={})
    whole.add(make_result(), "WRN-16-1: ")
    assert whole.ratios == {"WRN-16-1: ours / theirs": RATIO}
    assert set(whole.seconds) == {"WRN-16-1: ours", "WRN-16-1: theirs"}
    assert whole.facts["WRN-16-1: parameters"] == 36479194
    assert whole.compile_seconds == {"WRN-16-1: ours": 3.5}


def shown(absolute):
    console = Console(width=120, record=True, file=io.StringIO())
    make_result().show(console, absolute=absolute)
    return console.export_text()


def test_tables_hold_every_number():
    text = shown(absolute=True)
    for expected in ("1.250", "1.125 to 1.500", "1.000 to 2.000", "36,479,194", "31.5", "not known here", "missing"):
        assert expected in text
    assert "375" in text  # milliseconds


def test_seconds_are_shown_only_where_they_mean_something():
    text = shown(absolute=False)
    assert "milliseconds" not in text
    assert "1.250" in text
