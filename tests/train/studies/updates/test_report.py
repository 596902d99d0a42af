import io

import numpy as np
import pytest
from rich.console import Console

from tests.train import tiny_run
from tests.train.studies.updates.directions_samples import measurements
from train import data, files
from train.errors import ConfigError
from train.studies.command import Directions
from train.studies.updates import directions
from train.studies.updates import report as directions_report
from train.studies.updates import tables as directions_tables

pytestmark = pytest.mark.slow


def test_a_folder_holds_the_numbers_and_a_figure_for_each_epoch(tmp_path):
    measured = measurements((7, 3))
    experiment = tiny_run.experiment(epochs=4, seeds=(7, 3))
    written, paths = directions_report.write(tmp_path / "new", measured, experiment, command="the words")
    names = ["directions.json", *(f"directions-epoch-{epoch}.{kind}" for epoch in (2, 4) for kind in ("png", "svg"))]
    assert [path.name for path in paths] == names
    document = files.loads(paths[0].read_bytes())
    assert (document["command"], document["seeds"], document["settings"]["epochs"]) == ("the words", [7, 3], 4)
    assert document["examples"] == 40
    assert "momentum_below" not in document["settings"]
    for kept, each in zip(document["measurements"], measured, strict=True):
        assert (kept["arm"], kept["seed"], kept["epoch"]) == (each.arm, each.seed, each.epoch)
        for name, value in each.directions._asdict().items():
            np.testing.assert_allclose(np.array(kept["directions"][name], float), value, rtol=1e-5)
        assert len(kept["noise"]["eigenvalues"]) == 32
        for name, value in each.noise._asdict().items():
            np.testing.assert_allclose(
                np.array(kept["noise"][name], float), value[:32] if value.ndim else value, rtol=1e-5
            )
    # From the record alone the tables can be made again.
    again = [directions_tables.updates(document), directions_tables.noise(document)]
    assert written == [*again, directions_tables.against_sgd(document)]


def test_the_command_trains_and_writes(tmp_path, monkeypatch):
    arms = directions.arms
    monkeypatch.setattr(data, "load", lambda name, data_dir: tiny_run.dataset())
    monkeypatch.setattr(directions, "arms", lambda *words, **settings: arms(*words, **settings)[::2])
    console = Console(width=24, file=io.StringIO())
    Directions(out=tmp_path, epochs=2, at=(2,), batch_size=27, seeds=(6,), examples=8)(console)
    document = files.loads((tmp_path / "directions.json").read_bytes())
    assert document["seeds"] == [6]
    for kept, arm in zip(document["measurements"], ("sgd-0.9", "lcam-0.95-0.9"), strict=True):
        assert (kept["arm"], kept["seed"], kept["epoch"], sum(kept["directions"]["steps"])) == (arm, 6, 2, 2)
    assert (tmp_path / "directions-epoch-2.png").exists()
    shown = " ".join(console.file.getvalue().split())
    assert "lcam-0.95-0.9 seed 6 epoch 2 of 2" in shown
    # Narrow as the terminal is, no number is missing.
    assert all(cell in shown for row in directions_tables.updates(document).rows for cell in row[1:])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": (0, -1)}, r"seeds is \(0, -1\), allowed: whole numbers from 0"),
        ({"seeds": (1, 1)}, r"seeds is \(1, 1\), allowed: seeds that differ"),
        ({"seeds": ()}, r"seeds is \(\), allowed: at least one"),
        ({"examples": 1}, "examples is 1, allowed"),
        ({"at": (3, 11)}, "at is"),
        ({"at": ()}, "at is"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        Directions(out=tmp_path, **changes)(Console())
