"""Parsing command lines as people type them."""

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from train.errors import ConfigError, LocationError
from train.experiments import arguments


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nested:
    """Options without a prefix."""

    drop_last: Annotated[bool | None, arguments.option("the arm's")] = None
    learning_rate: Annotated[float | None, arguments.option("the arm's")] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """A command."""

    name: tyro.conf.Positional[str] = "quickstart"
    fresh: bool = False
    flip: bool = True
    epochs: int = 3
    seeds: tuple[int, ...] | None = None
    kinds: tuple[Literal["a", "b"], ...] = ()
    mode: Literal["end-to-end", "partitioned"] = "end-to-end"
    out: Path = Path("runs")
    nested: tyro.conf.OmitArgPrefixes[Nested] = dataclasses.field(default_factory=Nested)


def parse(*words: str) -> Command:
    return arguments.parse(Command, words, name="run")


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("--flip", "flip", True),
        ("--no-flip", "flip", False),
        ("--no_flip", "flip", False),
        ("--flip true", "flip", True),
        ("--flip False", "flip", False),
        ("--flip no", "flip", False),
        ("--flip=off", "flip", False),
        ("--flip=1", "flip", True),
        ("--no-flip true", "flip", False),
        ("--no-flip=false", "flip", True),
        ("--fresh", "fresh", True),
        ("--fresh false", "fresh", False),
        ("--no-fresh", "fresh", False),
        ("--seeds 0 1 2", "seeds", (0, 1, 2)),
        ("--seeds 0,1,2", "seeds", (0, 1, 2)),
        ("--seeds=0,1,2", "seeds", (0, 1, 2)),
        ("--seeds 0, 1, 2", "seeds", (0, 1, 2)),
        ("--seeds 7", "seeds", (7,)),
        ("--kinds a,b a", "kinds", ("a", "b", "a")),
        ("--epochs 2", "epochs", 2),
        ("--out a/b", "out", Path("a/b")),
    ],
)
def test_words_mean_what_people_mean_by_them(words, field, value):
    assert getattr(parse(*words.split()), field) == value


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("", None),
        ("--drop-last", True),
        ("--no-drop-last", False),
        ("--drop-last true", True),
        ("--drop_last=0", False),
    ],
)
def test_a_switch_that_overrides_has_a_third_state(words, value):
    assert parse(*words.split()).nested.drop_last is value


def test_a_switch_takes_no_other_word_than_its_own_values():
    found = parse("--flip", "fig3", "--seeds", "0")
    assert (found.name, found.flip, found.seeds) == ("fig3", True, (0,))


def test_words_after_two_dashes_are_no_options():
    assert parse("--", "--flip").name == "--flip"


def test_home_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert parse("--out", "~/runs").out == Path("/somewhere/runs")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--epoch 3", r"no option is called '--epoch'\. Did you mean --epochs\?"),
        ("--lr 3", r"Did you mean --learning-rate\?"),
        ("--learningrate=3", r"Did you mean --learning-rate\?"),
        ("--nothing-like-it", r"'--nothing-like-it'\. `python -m train run --help`"),
        ("fig3 fig4", "'fig4' is one word too many"),
        ("--flip=maybe", "--flip is 'maybe'. Type --flip or --no-flip"),
        ("fig3 --flip maybe", "--flip is 'maybe'. Type --flip or --no-flip"),
        ("--flip --no-flip", "--flip is given twice"),
        ("--seeds 0 --seeds 1", "--seeds is given twice"),
        ("--drop-last --no-drop_last", "--drop-last is given twice"),
    ],
)
def test_slips_are_refused_in_words_that_help(words, message):
    with pytest.raises(ConfigError, match=message):
        parse(*words.split())


@pytest.mark.parametrize("place", ["gs://bucket/runs", "s3://bucket", "hdfs:/runs", "me@host:runs", "host:/runs"])
def test_a_path_on_another_machine_is_refused(place):
    with pytest.raises(LocationError, match=r"^--out is .* not supported\. Expected a path on this machine"):
        parse("--out", place)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--epochs many", "--epochs is 'many', allowed: a whole number, such as 3."),
        ("--epochs=many", "--epochs is 'many', allowed: a whole number, such as 3."),
        ("--epochs 2.5", "--epochs is '2.5', allowed: a whole number, such as 3."),
        ("--learning_rate 0,1", "--learning-rate is '0,1', allowed: a number, such as 0.1."),
        ("--seeds 0 1 --kinds a --seeds x", "--seeds is given twice"),
        ("--seeds 0,x", "--seeds is 'x', allowed: a whole number, such as 3."),
        ("--seeds 0 x --epochs x", "--seeds is 'x', allowed: a whole number, such as 3."),
        ("--kinds=a,c", "--kinds is 'c'. Allowed: a, b."),
        ("--mode parted", "--mode is 'parted'. Did you mean partitioned? Allowed: end-to-end, partitioned."),
        ("--epochs " + "9" * 5000, "--epochs is '99999"),
        ("--learning-rate 0.5 --epochs 0.5", "--epochs is '0.5', allowed: a whole number, such as 3."),
        ("fig3 --epochs fig3", "--epochs is 'fig3', allowed: a whole number, such as 3."),
        ("x --out= --seeds 0, 1", "--out is '', allowed: a path"),
        ("--out abc --epochs abc", "--epochs is 'abc', allowed: a whole number"),
        ("--epochs 1 --seeds 0 x", "--seeds is 'x', allowed: a whole number"),
    ],
)
def test_the_message_for_a_wrong_value_says_what_is_allowed(words, message):
    with pytest.raises(ConfigError, match=f"^run: {re.escape(message)}") as error:
        parse(*words.split())
    assert len(str(error.value)) < 200


def test_an_option_without_its_value_is_named(capsys):
    with pytest.raises(SystemExit) as stop:
        parse("--epochs")
    assert stop.value.code == 2
    assert "Missing value for argument '--epochs'" in capsys.readouterr().err


def test_help_shows_how_to_type_each_option(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    out = capsys.readouterr().out
    for shown in ("--flip, --no-flip", "--drop-last, --no-drop-last", "--epochs N", "--seeds N ...", "(default: 3)"):
        assert shown in out
    assert "the arm's" in out
    assert "None" not in out


@pytest.mark.parametrize("fresh", [["--fresh"], ["--fresh", "true"], ["--fresh=true"], []])
def test_a_switch_is_left_out_however_it_was_written(fresh):
    assert arguments.without_switch(["run", *fresh, "fig3"], "--fresh") == ["run", "fig3"]
