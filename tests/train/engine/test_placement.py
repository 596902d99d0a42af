"""Where seeds train: one per device, or like their checkpoint, or like the finished runs of their arm."""

import dataclasses

import jax
import pytest

from tests.train import synthetic
from train import records
from train.engine import placement, resume
from train.engine.checkpoint_folders import checkpoint_dir
from train.engine.placement import DeviceOptions, Placement, SeedSet
from train.errors import ConfigError
from train.experiments import Experiment, config_of
from train.records import StepMetrics

ARM = Experiment(name="g/arm", dataset="digits", epochs=2)
VMAPPED = dataclasses.replace(ARM, vmap_seeds=True)


def finish(root, seed, **device):
    record = synthetic.record("arm", seed, [2.0, 1.0], group="g")
    record = dataclasses.replace(record, config=config_of(ARM), device=record.device | device)
    metrics = StepMetrics(*(synthetic.np.zeros(2, dtype) for dtype in ("float32", "float32", "bool")))
    records.write(root, record, metrics)


def place(root, number=3, arm=ARM, fresh=False, **options):
    return placement.place(arm, number, root, DeviceOptions(**options), fresh=fresh)


@pytest.mark.parametrize(
    ("number", "options", "expected"),
    [
        (3, {}, Placement(True, 1, 8)),
        (3, {"devices": 2}, Placement(True, 1, 2)),
        (1, {}, Placement(False, None, 1)),
        (3, {"devices": 1}, Placement(False, 1, 1)),
        (3, {"devices_per_seed": 4}, Placement(True, 4, 2)),
        (1, {"devices_per_seed": 4}, Placement(True, 4, 2)),
        (3, {"devices": 6, "devices_per_seed": 3}, Placement(True, 3, 2)),
        (3, {"stream": True}, Placement(False, None, 1)),
    ],
)
def test_several_seeds_have_a_device_each_and_one_has_all(tmp_path, number, options, expected):
    assert place(tmp_path, number, **options) == expected


def test_seeds_are_vmapped_only_where_there_is_one_device(tmp_path):
    assert place(tmp_path, arm=VMAPPED, devices=1) == Placement(False, 1, 20)
    assert place(tmp_path, arm=VMAPPED) == Placement(True, 1, 8)
    assert place(tmp_path, arm=VMAPPED, stream=True) == Placement(False, None, 1)


def test_several_processes_place_seeds_like_one(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert place(tmp_path) == Placement(True, 1, 8)
    assert place(tmp_path, number=1) == Placement(False, None, 1)
    assert place(tmp_path, devices_per_seed=2) == Placement(True, 2, 4)
    for seed in (0, 1):
        finish(tmp_path, seed, count=4, vmapped_seeds=[], process_count=1)
    assert place(tmp_path) == Placement(True, 4, 2)


def test_several_processes_use_all_their_devices(tmp_path, monkeypatch):
    for seed in (0, 1):
        finish(tmp_path / "apart", seed, count=3, vmapped_seeds=[])
        finish(tmp_path / "vmapped", seed, count=4, vmapped_seeds=[0, 1])
    assert place(tmp_path / "apart") == Placement(True, 3, 2)
    assert place(tmp_path / "vmapped", arm=VMAPPED) == Placement(False, 4, 20)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"arm: each finished run was trained on 3 devices, which does not divide"):
        place(tmp_path / "apart")
    assert place(tmp_path / "vmapped", arm=VMAPPED) == Placement(False, None, 20)
    begin(tmp_path, SeedSet([0, 1], True, 3))
    with pytest.raises(ConfigError, match=r"seeds-0-1-on-3: each of these seeds has 3 devices, which does not divide"):
        plan(tmp_path, 0, 1)
    begin(tmp_path, SeedSet([2]))
    assert plan(tmp_path, 2, devices_per_seed=1) == [SeedSet([2])]


def test_with_several_processes_all_rows_train(monkeypatch):
    assert SeedSet([3, 1, 4], True, 2).rows == [3, 1, 4]
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert SeedSet([3, 1, 4], True, 2).rows == [3, 1, 4, 4]
    assert SeedSet([3, 1, 4], True, 2).mesh().shape == {"seed": 4, "data": 2}
    assert SeedSet([3, 1, 4]).rows == [3, 1, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices_per_seed": 3}, "devices-per-seed is 3, allowed: a whole number that divides 8"),
        ({"devices_per_seed": 0}, "devices-per-seed is 0"),
        ({"devices": 2, "devices_per_seed": 4}, "devices-per-seed is 4, allowed: a whole number that divides 2"),
        ({"devices": 9}, "devices is 9, allowed: 1 to 8"),
        ({"stream": True, "devices_per_seed": 1}, "without --stream"),
    ],
)
def test_devices_that_cannot_be_divided_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        place(tmp_path, **options)


def test_only_consecutive_seeds_train_in_large_sets():
    many = Placement(True, 1, 256)
    assert [each.seeds for each in many.sets(range(5, 300))] == [[*range(5, 261)], [*range(261, 300)]]
    assert [len(each.seeds) for each in many.sets(range(0, 90, 2))] == [20, 20, 5]
    assert [len(each.seeds) for each in Placement(False, 1, 20).sets(range(45))] == [20, 20, 5]


def test_seeds_are_divided_into_rounds():
    assert Placement(True, 2, 2).sets([3, 1, 4]) == [SeedSet([3, 1], True, 2), SeedSet([4], True, 2)]
    mesh = SeedSet([3, 1, 4], True, 2).mesh()
    assert mesh.shape == {"seed": 3, "data": 2}
    assert SeedSet([4]).mesh().shape == {"seed": 1, "data": 8}


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ({"count": 1, "vmapped_seeds": []}, Placement(True, 1, 8)),
        ({"count": 4, "vmapped_seeds": []}, Placement(True, 4, 2)),
        ({"count": 1, "vmapped_seeds": [0, 1]}, Placement(False, 1, 20)),
    ],
)
def test_further_seeds_train_as_the_finished_ones(tmp_path, device, expected):
    for seed in (0, 1):
        finish(tmp_path, seed, **device)
    assert place(tmp_path, arm=VMAPPED) == expected
    assert place(tmp_path, number=1, arm=VMAPPED) == expected
    # Whoever says otherwise, or begins anew, gets what they say.
    assert place(tmp_path, devices_per_seed=2) == Placement(True, 2, 4)
    assert place(tmp_path, fresh=True) == Placement(True, 1, 8)


def test_devices_that_the_finished_runs_had_and_are_not_here_are_refused(tmp_path):
    for seed in (0, 1):
        finish(tmp_path, seed, count=4, vmapped_seeds=[])
    with pytest.raises(
        ConfigError, match=r"arm: each finished run was trained on 4 devices, but only 2 may be used here"
    ):
        place(tmp_path, devices=2)
    assert place(tmp_path, devices=2, devices_per_seed=2) == Placement(True, 2, 1)


@pytest.mark.parametrize(
    "others",
    [
        [{"count": 4}, {"count": 4}],  # older records
        [{"count": 4, "vmapped_seeds": []}],  # one run says nothing of how several are to train
        [{"count": 4, "vmapped_seeds": []}, {"count": 1, "vmapped_seeds": []}],
    ],
)
def test_records_that_do_not_say_how_they_were_trained_are_ignored(tmp_path, others):
    for seed, device in enumerate(others):
        finish(tmp_path, seed, **device)
    assert place(tmp_path) == Placement(True, 1, 8)


def begin(root, seed_set):
    (checkpoint_dir(root, ARM.name, seed_set) / "4").mkdir(parents=True)


def plan(root, *seeds, arm=VMAPPED, **options):
    return resume.make_plan(arm, seeds, root, DeviceOptions(**options), fresh=False).seed_sets


def test_seeds_go_on_as_they_began(tmp_path):
    begin(tmp_path, SeedSet([0, 1], True, 2))
    begin(tmp_path, SeedSet([2, 3]))
    assert plan(tmp_path, *range(6)) == [
        SeedSet([0, 1], True, 2),
        SeedSet([2, 3]),
        SeedSet([4, 5], True, 1),
    ]
    assert plan(tmp_path, 0, 1, arm=ARM, devices=4) == [SeedSet([0, 1], True, 2)]


@pytest.mark.parametrize(
    ("began", "options", "message"),
    [
        (
            SeedSet([0, 1], True, 2),
            {"devices": 2},
            "on-2: these 2 seeds train on 4 devices, but only 2 may be used here",
        ),
        (SeedSet([0, 1], True, 2), {"devices_per_seed": 1}, "on-2: each of these seeds has 2 devices. Leave out"),
        (SeedSet([0, 1], True, 2), {"stream": True}, "Continue without --stream"),
        (SeedSet([0, 1]), {"devices_per_seed": 1}, "seeds-0-1: these seeds share their devices. Leave out"),
    ],
)
def test_seeds_that_cannot_go_on_as_they_began_are_refused(tmp_path, began, options, message):
    begin(tmp_path, began)
    with pytest.raises(ConfigError, match=message):
        plan(tmp_path, 0, 1, **options)


def test_a_single_seed_goes_on_with_any_number_of_devices(tmp_path):
    begin(tmp_path, SeedSet([0]))
    assert plan(tmp_path, 0) == [SeedSet([0])]
    assert plan(tmp_path, 0, devices_per_seed=2) == [SeedSet([0], False, 2)]


def test_where_cores_are_devices_a_single_seed_has_one_device_with_all_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(placement, "cores_are_devices", lambda: True)
    assert place(tmp_path, number=1) == Placement(False, 1, 1)
    assert place(tmp_path, number=3) == Placement(True, 1, 8)
    assert place(tmp_path, number=1, devices=4) == Placement(False, 4, 1)
