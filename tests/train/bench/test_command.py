"""`python -m train bench`, as a person calls it."""

import types

import pytest
import tyro
from rich.console import Console

from train.bench import command, result, seeds, step
from train.bench.command import Bench
from train.experiments import ConfigError


@pytest.fixture
def ran(monkeypatch):
    """Stand-ins for two benchmarks; holds the options that they were run with."""
    held = []

    def run(options):
        held.append(options)
        return result.Result(benchmark=type(options).__module__.rpartition(".")[2], options={})

    for module in (step, seeds):
        monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr("jax.config.update", lambda name, value: None)
    return held


def bench(words):
    return tyro.cli(Bench, args=words.split())(Console())


def test_options_reach_the_benchmarks(ran, tmp_path, capsys):
    path = tmp_path / "found.json"
    bench(f"step seeds --depth 10 --dtype float32 --repeats 3 --json {path}")
    assert ran == [step.Options(depth=10, dtype="float32", repeats=3), seeds.Options(depth=10, repeats=3)]
    assert [found.benchmark for found in result.read(path)] == ["step", "seeds"]
    out = " ".join(capsys.readouterr().out.split())
    assert "seconds on a CPU that others may use say little" in out
    assert f"Written to {path}" in out


@pytest.mark.parametrize(("load", "told"), [(0.0, False), (1000.0, True), (None, False)])
def test_a_busy_machine_is_told(ran, load, told, monkeypatch, capsys):
    monkeypatch.setattr(command, "_load", lambda: load)
    bench("step")
    assert ("kept this machine busy" in capsys.readouterr().out) == told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "names are missing, allowed: one or more of optimizer step epoch"),
        ("step step", "names are step step"),
        ("step optimizer --batch-size 3", "bench optimizer: takes no --batch-size. It takes --depth, --width, --up"),
        ("memory --repeats 3", "bench memory: takes no --repeats"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(ran, words, message):
    with pytest.raises(ConfigError, match=message):
        bench(words)
    assert ran == []


def test_every_name_is_a_benchmark():
    for name in command.Name.__args__:
        module = command.importlib.import_module(f"train.bench.{name}")
        assert isinstance(module.run, types.FunctionType)
        module.Options()
