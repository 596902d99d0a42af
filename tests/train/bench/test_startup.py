"""The benchmark of start-up: with processes that only report a time, and once with real ones."""

import json

import pytest

from tests.train.bench.tiny_bench import NETWORK
from train.bench import first_step, startup
from train.engine import backend

WORDS = [word for key, value in NETWORK.items() for word in (f"--{key.replace('_', '-')}", str(value))]


class Processes:
    """Stands in for fresh processes; a first step takes 8 s, or 2 s where its cache was used before."""

    def __init__(self):
        self.caches, self.arguments = [], []

    def __call__(self, arguments, variables):
        self.arguments.append(arguments)
        if "--compile-only" in arguments:
            assert variables == {"JAX_ENABLE_COMPILATION_CACHE": "false"}
            return {"trace, lower and compile a step": 30.0}
        cache = variables["JAX_COMPILATION_CACHE_DIR"]
        self.caches.append(cache)
        return {"first step done": 2.0 if self.caches.count(cache) == 2 else 8.0}


def test_each_turn_has_a_cold_and_a_warm_start(monkeypatch):
    processes = Processes()
    monkeypatch.setattr(startup, "_process", processes)
    monkeypatch.setattr(startup, "_IMPORTS", dict.fromkeys(startup._IMPORTS, "pass"))
    result = startup.run(startup.Options(depth=10, width=1, repeats=2))
    assert result.seconds[startup.COLD] == [8.0, 8.0]
    assert result.seconds[startup.WARM] == [2.0, 2.0]
    assert result.ratios[f"WRN-10-1: {startup.WARM} / {startup.COLD}"].median == 0.25
    assert result.compile_seconds == {"WRN-28-10, batch 128, float32: a scanned step": 30.0}
    assert len(set(processes.caches)) == 2
    assert processes.arguments[-1][-10:-6] == ["--depth", "28", "--width", "10"]
    assert {"import lcam_optax / import jax, optax", "import train.cli / import jax, optax"} < set(result.ratios)


def test_first_step_says_how_long_each_part_took(monkeypatch, capsys):
    monkeypatch.setattr(backend, "configure", lambda: None)
    first_step.main(WORDS)
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"import", "trace, lower and compile a step", "first step done"}
    first_step.main([*WORDS, "--compile-only"])
    assert "first step done" not in json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_real_processes():
    result = startup.run(startup.Options(depth=10, width=1, large_depth=10, large_width=1, repeats=1))
    assert result.facts["programs in the compile cache"] > 0
    assert all(ratio.median > 0 for ratio in result.ratios.values())
