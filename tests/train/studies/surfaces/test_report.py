import pytest
from rich.console import Console

from train import files
from train.errors import ConfigError
from train.studies.command import Mechanism
from train.studies.surfaces import report as mechanism_report
from train.studies.surfaces.mechanism import ARMS, CONTROLS, Walk, control
from train.studies.surfaces.surfaces import SURFACES

HOW = Walk(steps=20, steps_per_epoch=5)


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    out = tmp_path_factory.mktemp("mechanism") / "new"
    return out, *mechanism_report.study(out, seeds=3, command="the words", how=HOW)


def test_a_study_writes_numbers_and_a_picture(studied):
    out, _, paths = studied
    assert paths == [out / name for name in ("mechanism.json", "mechanism.png", "mechanism.svg")]
    assert all(path.stat().st_size > 1000 for path in paths)


def test_the_json_holds_settings_and_every_number(studied):
    document = files.loads(studied[2][0].read_bytes())
    assert (document["command"], document["seeds"], document["walk"]["steps"]) == ("the words", 3, 20)
    assert {"versions", "device"} < document.keys()
    assert document["surfaces"].keys() == SURFACES.keys()
    for surface in document["surfaces"].values():
        lcams = [name for name in ARMS if name.startswith("lcam")]
        assert list(surface["arms"]) == [*ARMS, *(control(kind, name) for name in lcams for kind in CONTROLS)]
        for name, numbers in surface["arms"].items():
            differences = {f"progress_minus_{kind}" for kind in CONTROLS}
            assert differences & numbers.keys() == (differences if name in lcams else set())
            assert all(each.keys() == {"mean", "deviation", "interval"} for each in numbers.values())


def test_the_tables_show_what_the_json_holds(studied):
    _, (*tables, _), (path, *_) = studied
    surfaces = files.loads(path.read_bytes())["surfaces"]
    assert [table.title for table in tables] == [surface["title"] for surface in surfaces.values()]
    for table, surface in zip(tables, surfaces.values(), strict=True):
        for row, (name, numbers) in zip(table.rows, surface["arms"].items(), strict=True):
            assert row[0] == name
            assert row[1].startswith(f"{numbers['progress']['mean']:.2f} (")


def test_the_last_table_holds_every_lcam_against_its_controls(studied):
    _, (*_, table), (path, *_) = studied
    surfaces = files.loads(path.read_bytes())["surfaces"]
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(rows) == [f"{surface} {name}" for surface in surfaces for name in ARMS if name.startswith("lcam")]
    for label, row in rows.items():
        surface, name = label.split()
        arms = surfaces[surface]["arms"]
        for kind, cell in zip(CONTROLS, row, strict=True):
            difference = arms[name]["progress"]["mean"] - arms[control(kind, name)]["progress"]["mean"]
            assert float(cell.split(" (")[0]) == pytest.approx(difference, abs=0.006)


def test_one_noise_seed_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="seeds is 1, allowed"):
        Mechanism(out=tmp_path, seeds=1)(Console())
