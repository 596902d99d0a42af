"""`python -m train bench` on the command line."""

import errno
import tempfile
import types

import pytest
import tyro
from rich.console import Console

from train.bench import command, result, seeds, step
from train.bench.command import Bench
from train.errors import ConfigError


@pytest.fixture
def ran(monkeypatch):
    """Stand-ins for all benchmarks; holds the options that they were run with."""
    held = []

    def run(options):
        held.append(options)
        return result.Result(benchmark=type(options).__module__.rpartition(".")[2], options={})

    for name in command.Name.__args__:
        monkeypatch.setattr(f"train.bench.{name}.run", run)
    monkeypatch.setattr("jax.config.update", lambda name, value: None)
    return held


def bench(words):
    return tyro.cli(Bench, args=words.split())(Console())


def test_options_reach_the_benchmarks(ran, tmp_path, capsys):
    path = tmp_path / "found[bold].json"
    bench(f"step seeds --depth 10 --dtype float32 --repeats 3 --json {path}")
    assert ran == [step.Options(depth=10, dtype="float32", repeats=3), seeds.Options(depth=10, repeats=3)]
    assert [found.benchmark for found in result.read(path)] == ["step", "seeds"]
    out = " ".join(capsys.readouterr().out.split())
    assert "Seconds mean little on a CPU that other programs use" in out
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
        ("step --repeats 0", "repeats is 0, allowed: a whole number from 1 to"),
        ("startup --depth 11", "depth is 11, allowed: 6n"),
        ("memory scaling --width 300", "width is 1200, allowed: a whole number from 1 to 1000"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(ran, words, message):
    with pytest.raises(ConfigError, match=message):
        bench(words)
    assert ran == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no/found.json", "No such file or directory"),
        ("file/found.json", "Not a directory"),
        (".", "it is a folder or a device"),
        ("x" * 300, "File name too long"),
        # Too long with what stands around the name until it is whole.
        ("x" * 250, "File name too long"),
        ("\0", "null"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(ran, name, reason, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"cannot be written: .*{reason}.*Expected --json with a file in a folder"):
        Bench(names=("step",), json=tmp_path / name)(Console())
    assert ran == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_may_not_be_written_to_is_refused(ran, monkeypatch, tmp_path):
    def denied(*arguments, **keywords):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", denied)  # root may write anywhere
    with pytest.raises(ConfigError, match="cannot be written: Permission denied"):
        bench(f"step --json {tmp_path / 'found.json'}")
    assert ran == []


def test_a_file_that_is_there_stays_until_something_was_found(ran, monkeypatch, tmp_path):
    path = tmp_path / "found.json"
    path.write_text("before")
    monkeypatch.setattr(step, "run", lambda options: pytest.fail(path.read_text()))
    with pytest.raises(pytest.fail.Exception, match="before"):
        bench(f"step --json {path}")
    assert list(tmp_path.iterdir()) == [path]


def test_every_name_is_a_benchmark():
    for name in command.Name.__args__:
        module = command.importlib.import_module(f"train.bench.{name}")
        assert isinstance(module.run, types.FunctionType)
        assert module.networks(module.Options())
