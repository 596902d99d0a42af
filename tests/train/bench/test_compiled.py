"""`python -m train bench compiled` with the compiler for CPUs, which every installation has."""

import json

import jax
import pytest
from rich.console import Console

from train.bench import compiled, result
from train.bench.accelerators import programs, show, targets
from train.bench.workload import Case
from train.engine.devices import mesh_of
from train.errors import ConfigError

FIELDS = {
    "flops_per_step",
    "bytes_per_step",
    "bound_ms",
    "estimated_ms",
    "serial_loops",
    "collectives",
    "host_transfers",
    "optimizer_bytes_per_parameter",
    "lcam_over_sgd_bytes",
    "peak_bytes",
    "state_updated_in_place",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The record of a tiny network, compiled for this CPU in place of an H200."""
    path = tmp_path_factory.mktemp("bench") / "found.json"
    with pytest.MonkeyPatch.context() as patch:

        def mesh(target, devices, rows):
            return mesh_of(jax.devices()[:devices], rows)

        patch.setattr(targets.Target, "mesh", mesh)
        patch.setattr(targets.Target, "compiler", "this machine's")
        patch.setitem(targets._COMPILERS, "cpu", ("", ""))
        host = targets.dataclasses.replace(targets.TARGETS["h200"], platform="cpu")
        patch.setitem(targets.TARGETS, "h200", host)
        patch.setattr(compiled, "prepare", lambda: None)
        patch.setattr(jax.config, "update", lambda name, value: None)
        patch.setattr(programs, "_IMAGE", (8, 8, 3))
        patch.setattr(programs, "_TRAIN", 120)  # one slice of 30 batches
        patch.setattr(programs, "_TEST", 600)
        found = compiled.run(compiled.Options(depth=10, width=1, batch_size=4, dtype="float32"))
    result.write(path, [found], "bench compiled")
    return found, path


def test_the_fields_that_other_tools_read_lie_under_their_target(written):
    _, path = written
    document = json.loads(path.read_text())
    found = document["targets"]["h200"]
    assert found.keys() >= FIELDS
    assert "targets" not in document["results"][0]
    assert found["state_updated_in_place"] is True
    assert found["estimated_ms"] is None
    assert found["host_transfers"] == 0
    assert found["collectives"] == []
    assert found["parameters"] == 77_850
    assert found["lcam_over_sgd_bytes"] == pytest.approx(1, abs=0.01)
    assert result.read(path)[0].options["depth"] == 10


def test_flops_are_those_of_the_network(written):
    found, _ = written
    setup_flops = 3 * 4 * 2 * 77_850  # no layer has fewer products than weights
    assert found.targets["h200"]["flops_per_step"] > setup_flops


def test_the_tables_say_what_the_figures_are_not(written, capsys):
    found, path = written
    found.show(Console(), absolute=False)
    out = " ".join(capsys.readouterr().out.split())
    assert "no time was measured" in out
    assert "WRN-10-1, batch 4, float32" in out
    (row,) = show.markdown_rows(path)
    assert row[:2] == ["h200", "WRN-10-1"]
    assert len(row) == 12


def test_a_row_about_several_devices_says_what_they_send_each_other(written, tmp_path):
    _, path = written
    document = json.loads(path.read_text())
    document["results"][0]["options"] |= {"devices": 8, "seeds": 2}
    document["targets"]["h200"]["collectives"] = [{"kind": "all-reduce", "count": 53, "bytes": 60_000_000}]
    (tmp_path / "several.json").write_text(json.dumps(document))
    (row,) = show.scaling_rows(tmp_path / "several.json")
    assert row[:3] == ["h200", "8", "2"]
    # Four devices share a batch: 2 x 3/4 x 60 MB / 450 GB/s.
    assert row[6:9] == ["53", "60.0", "0.20"]


@pytest.mark.parametrize(("devices", "seeds"), [(8, 3), (8, 16)])
def test_seeds_that_cannot_be_spread_are_refused(devices, seeds):
    with pytest.raises(ConfigError, match=f"seeds is {seeds}, allowed on 8 devices: a whole number that divides 8"):
        programs.Programs(Case(), targets.TARGETS["h200"], devices, seeds, "LCAM")


@pytest.mark.parametrize(("target", "extra"), [("h100", "compile-cuda"), ("v5e", "compile-tpu")])
def test_a_missing_compiler_names_the_commands_that_install_it(target, extra, monkeypatch):
    def missing(name):
        raise targets.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(targets.importlib.metadata, "version", missing)
    with pytest.raises(ConfigError, match=rf'pip install -e "\.\[train,{extra}\]"'):
        compiled.run(compiled.Options(target=(target,)))


@pytest.mark.parametrize("target", [(), ("h200", "h200")])
def test_no_target_or_one_twice_is_refused(target):
    with pytest.raises(ConfigError, match="each once"):
        compiled.run(compiled.Options(target=target))


@pytest.mark.parametrize(("target", "devices"), [("h200", 9), ("v5e", 3), ("v5e", 512)])
def test_devices_that_there_are_not_are_refused(target, devices):
    with pytest.raises(ConfigError, match=f"devices is {devices}, allowed for {target}: 1, 2"):
        targets.TARGETS[target].mesh(devices)
