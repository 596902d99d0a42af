"""The faults that the check of a record finds."""

import json
import re

import pytest

from train.bench.accelerators import check

CLEAN = {
    "serial_loops": 0,
    "loops": [],
    "host_transfers": 0,
    "wrong_dtypes": [],
    "copies": {},
    "collectives": [],
    "lcam_over_sgd_bytes": 1.0009,
    "state_updated_in_place": True,
    "outside_the_loop": {"copies": {"weights": {"count": 28, "bytes": 10**8}}, "collectives": []},
}
COPY = {"count": 1, "bytes": 10**8}


def test_a_clean_step_passes():
    assert check.faults(CLEAN, "bfloat16", 1) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"serial_loops": 1, "loops": [{"turns": 128}]}, "serial loops in the step: .*128"),
        ({"host_transfers": 2}, "2 transfers from or to the host"),
        ({"wrong_dtypes": ["fusion.1: f32[128, 32, 32, 160]"]}, "not bfloat16: .*fusion.1"),
        ({"copies": {"activations": COPY}}, "copies in the step: .*activations"),
        ({"copies": {"weights": COPY}}, "copies in the step: .*weights"),
        ({"outside_the_loop": {"copies": {"data set": COPY}, "collectives": []}}, "around the steps: .*data set"),
        ({"collectives": [{"kind": "all-reduce"}]}, "unnecessary collectives"),
        ({"lcam_over_sgd_bytes": 1.0011}, "1.00110 times the bytes of SGD"),
        ({"lcam_over_sgd_bytes": 0.9989}, "0.99890 times"),
        ({"state_updated_in_place": False}, "not updated in place"),
    ],
)
def test_each_fault_is_named(change, message):
    (fault,) = check.faults(CLEAN | change, "bfloat16", 1)
    assert re.search(message, fault)


def test_float32_networks_and_several_devices_may_do_what_they_must():
    found = CLEAN | {"wrong_dtypes": ["fusion.1: f32[128, 32, 32, 160]"], "collectives": [{"kind": "all-reduce"}]}
    assert check.faults(found, "float32", 8) == []


@pytest.mark.parametrize(("seeds", "status"), [(1, 0), (4, 0), (8, 1)])
def test_only_the_devices_of_one_seed_may_communicate(tmp_path, seeds, status):
    options = {"benchmark": "compiled", "options": {"dtype": "bfloat16", "devices": 8, "seeds": seeds}}
    found = CLEAN | {"collectives": [{"kind": "all-reduce"}]}
    (tmp_path / "record").write_text(json.dumps({"results": [options], "targets": {"v5e": found}}))
    assert check.main([str(tmp_path / "record")]) == status


def test_a_record_with_a_fault_ends_in_failure(tmp_path, capsys):
    options = {"benchmark": "compiled", "options": {"dtype": "bfloat16", "devices": 1, "seeds": 1}}
    for name, change in (("clean", {}), ("bad", {"host_transfers": 1})):
        document = {"results": [options], "targets": {"v5e": CLEAN | change}}
        (tmp_path / name).write_text(json.dumps(document))
    assert check.main([str(tmp_path / "clean")]) == 0
    assert check.main([str(tmp_path / "clean"), str(tmp_path / "bad")]) == 1
    assert capsys.readouterr().out == "bad, v5e: 1 transfers from or to the host\n"
