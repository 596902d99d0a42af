"""Packing is lossless, deletes nothing before that is certain, and can be repeated."""

import contextlib
import json
import math
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train import synthetic
from train import cli, files, records
from train.errors import RecordError
from train.records import packed
from train.report.report import report

ARMS = ("sgd-0.9", "lcam-0.9-0.95")
ERRORS = [8.0, 5.0, 6.0]


def write(root: Path, arm="sgd-0.9", seed=0, errors=ERRORS, **config) -> Path:
    return records.write(root, synthetic.record(arm, seed, errors, **config), synthetic.steps(len(errors)))


def change(path: Path, edit) -> None:
    result = json.loads(path.read_text())
    edit(result)
    path.write_text(json.dumps(result))


def arrays(record) -> list[bytes]:
    return [each.tobytes() for each in (record.steps.loss, record.steps.momentum, record.steps.below)]


@pytest.fixture
def root(tmp_path):
    for arm in ARMS:
        for seed in (0, 1, 2):
            errors = [20.0, 9.0 + seed, 8.0 - seed / 3]
            write(tmp_path / "runs", arm, seed, errors, momentum_above=0.95 if "lcam" in arm else 0.9)
    return tmp_path / "runs"


def test_an_arm_behind_a_link_is_read_and_packed(tmp_path):
    write(tmp_path / "scratch", "sgd-0.9")
    write(tmp_path / "runs", "lcam-0.9-0.95")
    (tmp_path / "runs/demo/sgd-0.9").symlink_to(tmp_path / "scratch/demo/sgd-0.9")
    assert [run.name for run in records.read_all(tmp_path / "runs")] == ["demo/lcam-0.9-0.95", "demo/sgd-0.9"]
    (group,) = records.pack(tmp_path / "runs")
    assert group.runs == 2
    assert not (tmp_path / "scratch/demo/sgd-0.9/seed-0").exists()


@pytest.mark.parametrize("seed", [1, 10, 100])
def test_a_seed_is_found_among_seeds_with_similar_digits(tmp_path, seed):
    for each in (1, 10, 100, 1000):
        write(tmp_path, seed=each)
    records.pack(tmp_path)
    assert records.find(tmp_path, "demo/sgd-0.9", seed).seed == seed
    assert records.find(tmp_path, "demo/sgd-0.9", 0) is None


def test_a_packed_line_without_a_seed_is_damaged(tmp_path):
    write(tmp_path)
    (group,) = records.pack(tmp_path)
    group.path.write_bytes(group.path.read_bytes().replace(b'"seed"', b'"said"'))
    with pytest.raises(RecordError, match="seed"):
        records.find(tmp_path, "demo/sgd-0.9", 3)


def tree(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def contents(root: Path) -> dict[str, bytes]:
    return {path: (root / path).read_bytes() for path in tree(root)}


def test_a_group_becomes_two_files_and_every_record_stays_as_it_was(root):
    before = records.read_all(root)
    steps = [arrays(record) for record in before]
    (group,) = records.pack(root)
    assert group == (root.resolve() / "demo/runs.jsonl", 6, 6)
    assert tree(root) == ["demo/runs.jsonl", "demo/steps.npz"]
    after = records.read_all(root)
    assert after == before
    assert [arrays(record) for record in after] == steps
    assert {record.folder for record in after} == {root / "demo"}


def test_the_report_is_the_same(root, tmp_path):
    loose = report(root, tmp_path / "loose")
    records.pack(root)
    again = report(root, tmp_path / "packed")
    for one, other in zip(loose.paths, again.paths, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_line_is_the_record_with_its_history_as_columns(root):
    path = records.run_dir(root, "demo/sgd-0.9", 1) / "result.json"
    expected = json.loads(path.read_text())
    records.pack(root)
    lines = [json.loads(line) for line in (root / "demo/runs.jsonl").read_text().splitlines()]
    assert [(line["name"], line["seed"]) for line in lines] == [
        (f"demo/{arm}", seed) for arm in sorted(ARMS) for seed in (0, 1, 2)
    ]
    line = lines[4]
    assert line["history"]["test_error"] == [20.0, 10.0, 8.0 - 1 / 3]
    assert set(expected) - set(line) == {"steps_sha256"}
    assert set(line) - set(expected) == {"arrays_sha256"}
    rows = [dict(zip(line["history"], row, strict=True)) for row in zip(*line["history"].values(), strict=True)]
    assert rows == expected["history"]
    assert all(line[key] == expected[key] for key in expected if key not in ("history", "steps_sha256"))


def test_the_checksum_is_over_the_arrays_and_not_over_their_compression(root):
    records.pack(root)
    path = root / "demo/steps.npz"
    with np.load(path, allow_pickle=False) as archive:
        held = dict(archive)
    assert held.keys() >= {f"demo/sgd-0.9/seed-0/{name}" for name in ("loss", "momentum", "below")}
    np.savez(path, **held)
    assert records.find(root, "demo/sgd-0.9", 0).steps.loss.dtype == np.float32
    held["demo/sgd-0.9/seed-0/loss"] = held["demo/sgd-0.9/seed-0/loss"] + np.float32(1e-6)
    np.savez(path, **held)
    with pytest.raises(RecordError, match=r"steps\.npz: demo/sgd-0.9/seed-0/\* does not belong to runs\.jsonl"):
        _ = records.find(root, "demo/sgd-0.9", 0).steps
    assert len(records.find(root, "demo/sgd-0.9", 1).steps.loss) == 18


def test_numbers_that_are_not_finite_and_rows_without_a_count_come_back(tmp_path):
    path = write(tmp_path)

    def edit(result):
        result["history"][1]["train_loss"] = None
        result["history"][2]["skipped_steps"] = 2

    change(path, edit)
    before = json.loads(path.read_text())
    read = records.read(path)
    records.pack(tmp_path)
    line = json.loads((tmp_path / "demo/runs.jsonl").read_text())
    assert line["history"]["skipped_steps"] == [None, None, 2]
    assert packed.from_line(line, "")["history"] == before["history"]
    found = records.find(tmp_path, "demo/sgd-0.9", 0)
    assert files.dumps(list(map(str, found.history))) == files.dumps(list(map(str, read.history)))


@pytest.mark.parametrize("name", ["result.json", "steps.npz", "events.out.tfevents.lcam", "notes.txt"])
def test_files_that_nobody_packs_stay(root, name):
    folder = records.run_dir(root, "demo/sgd-0.9", 0)
    (folder / "notes.txt").write_text("mine")
    records.pack(root)
    assert (folder / name).exists() == (name == "notes.txt")


def test_packing_again_adds_what_is_new(root):
    records.pack(root)
    first = (root / "demo/runs.jsonl").read_text().splitlines()
    write(root, "sgd-0.95", 0)
    write(root, "other", 7, group="next")
    everything = records.read_all(root)
    assert [(group.runs, group.added) for group in records.pack(root)] == [(7, 1), (1, 1)]
    assert (root / "demo/runs.jsonl").read_text().splitlines()[:6] == first
    assert records.read_all(root) == everything
    assert all(len(record.steps.loss) == 18 for record in records.read_all(root))
    before = contents(root)
    assert [(group.runs, group.added) for group in records.pack(root)] == [(7, 0), (1, 0)]
    assert contents(root) == before


def test_a_group_can_be_packed_from_its_own_folder_and_from_within(root, monkeypatch):
    write(root, "other", 0, group="next")
    monkeypatch.chdir(root / "demo")
    (group,) = records.pack(Path())
    assert group.path == root.resolve() / "demo/runs.jsonl"
    assert "next/other/seed-0/result.json" in tree(root)
    assert len(records.read_all(root)) == 7


def refused(root, message):
    before = contents(root)
    with pytest.raises(RecordError, match=message):
        records.pack(root)
    assert contents(root) == before


def test_unfinished_runs_are_refused(root):
    write(root, "sgd-0.95", 1, [20.0], epochs=3)
    refused(root, r"sgd-0.95/seed-1/result.json: 1 of 3 epochs done; finish the run, or move its folder away")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text("{"), "not strict JSON"),
        (lambda path: path.with_name("steps.npz").unlink(), r"steps\.npz: cannot be read"),
        (lambda path: path.with_name("steps.npz").write_bytes(b"x"), "does not belong to result"),
        (lambda path: change(path, lambda result: result.update(seed=5)), r"expected in a folder demo/sgd-0.9/seed-5"),
        (lambda path: change(path, lambda result: result["history"][0].update(more=1.0)), "different fields"),
        (lambda path: path.parents[1].joinpath("trials.json").write_text("["), r"trials\.json: damaged"),
    ],
    ids=["record", "no steps", "steps", "elsewhere", "ragged", "trials"],
)
def test_a_damaged_run_is_refused_and_nothing_changes(root, damage, message):
    damage(records.run_dir(root, "demo/sgd-0.9", 2) / "result.json")
    refused(root, message)


def test_a_damaged_packed_run_is_refused(root):
    records.pack(root)
    write(root, "sgd-0.95", 0)
    with np.load(root / "demo/steps.npz") as archive:
        held = dict(archive)
    del held["demo/sgd-0.9/seed-0/below"]
    np.savez(root / "demo/steps.npz", **held)
    refused(root, r"steps\.npz: not the steps of a run")


def test_a_part_of_a_group_is_refused(root):
    before = contents(root)
    with pytest.raises(RecordError, match=r"sgd-0.9: a part of the group in .*demo; pack that folder"):
        records.pack(root / "demo/sgd-0.9")
    assert contents(root) == before


def test_another_run_of_the_same_arm_and_seed_is_refused(root):
    records.pack(root)
    write(root, "sgd-0.9", 1, [1.0, 2.0, 3.0])
    refused(root, r"another run with this arm and seed is packed in runs\.jsonl; keep one")
    with pytest.raises(RecordError, match=r"demo: the same arm and seed as .*seed-1: demo/sgd-0.9, seed 1; keep one"):
        records.read_all(root)


def test_nothing_to_pack_is_an_error(tmp_path):
    with pytest.raises(RecordError, match=r"no result\.json in it; train an arm"):
        records.pack(tmp_path)


@pytest.mark.parametrize("stop", range(5))
def test_after_a_crash_all_runs_are_there_and_packing_goes_on(root, monkeypatch, stop):
    expected = records.read_all(root)
    calls = []

    def crash(function):
        def counted(*arguments, **settings):
            calls.append(function)
            if len(calls) > stop:
                raise KeyboardInterrupt
            return function(*arguments, **settings)

        return counted

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "replace", crash(os.replace))
        patched.setattr(Path, "unlink", crash(Path.unlink))
        with pytest.raises(KeyboardInterrupt):
            records.pack(root)
    found = [records.find(root, record.name, record.seed) for record in expected]
    assert found == expected
    assert all(len(record.steps.loss) == 18 for record in found)
    records.pack(root)
    assert tree(root)[:2] == ["demo/runs.jsonl", "demo/steps.npz"]
    assert records.read_all(root) == expected


def test_what_is_read_back_decides_whether_runs_are_removed(root, monkeypatch):
    before = tree(root)
    write_atomically = files.write_atomically

    def forget(path, data):
        write_atomically(path, data.replace(b"20.0", b"21.0") if path.name == "runs.jsonl" else data)

    monkeypatch.setattr(files, "write_atomically", forget)
    with pytest.raises(RecordError, match="not what was written; no run was removed"):
        records.pack(root)
    assert set(before) <= set(tree(root))


def test_trials_become_a_line_per_arm(root):
    tried = {arm: {"command": f"train {arm}", "trials": [{"error": [1.5, None]}]} for arm in ARMS}
    for arm, trials in tried.items():
        records.write_trials(root, f"demo/{arm}", trials)
    records.pack(root)
    assert tree(root) == ["demo/runs.jsonl", "demo/steps.npz", "demo/trials.jsonl"]
    assert {arm: records.find_trials(root, f"demo/{arm}") for arm in ARMS} == tried
    assert records.find_trials(root, "demo/sgd") is None
    (root / "demo/sgd-0.9").mkdir()
    records.write_trials(root, "demo/sgd-0.9", {"command": "again"})
    assert records.find_trials(root, "demo/sgd-0.9") == {"command": "again"}
    records.pack(root)
    assert records.find_trials(root, "demo/sgd-0.9") == {"command": "again"}
    assert len((root / "demo/trials.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "message"), [("[", "damaged"), ("[]", "no object"), ('{"command": ""}', "`name` is None")]
)
def test_damaged_trials_are_named(root, text, message):
    (root / "demo/trials.jsonl").write_text(text)
    with pytest.raises(RecordError, match=rf"trials\.jsonl:1: {message}.*run the arm again"):
        records.find_trials(root, "demo/sgd-0.9")


def test_discarding_takes_a_run_out_of_either_form(root):
    records.pack(root)
    write(root, "sgd-0.95", 0)
    for name, seeds in (("demo/sgd-0.9", (0, 2, 9)), ("demo/sgd-0.95", (0,))):
        records.discard(root, name, seeds)
    left = [(record.name, record.seed) for record in records.read_all(root)]
    assert left == [*(("demo/lcam-0.9-0.95", seed) for seed in (0, 1, 2)), ("demo/sgd-0.9", 1)]
    write(root, "sgd-0.9", 0, [3.0])
    records.pack(root)
    assert records.find(root, "demo/sgd-0.9", 0).final_test_error == 3.0
    assert len(records.find(root, "demo/sgd-0.9", 0).steps.loss) == 6
    with np.load(root / "demo/steps.npz") as archive:
        assert not [name for name in archive if "sgd-0.9/seed-2" in name]


def test_runs_are_found_in_either_form(root):
    records.pack(root)
    write(root, "sgd-0.9", 3)
    assert records.find(root, "demo/sgd-0.9", 3).folder == root / "demo/sgd-0.9/seed-3"
    assert records.find(root, "demo/sgd-0.9", 2).folder == root / "demo"
    assert records.find(root, "demo/sgd-0.9", 4) is None
    assert records.find(root, "demo/sgd", 2) is None
    assert records.find(root, "none/sgd-0.9", 2) is None
    assert records.has_runs(root, "demo/lcam-0.9-0.95")
    assert not records.has_runs(root, "demo/lcam")


def test_damage_to_another_arm_s_line_does_not_matter(root):
    records.pack(root)
    path = root / "demo/runs.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(['{"cut": \n', *lines[1:]]))
    assert records.find(root, "demo/sgd-0.9", 0).seed == 0
    damaged: list[RecordError] = []
    assert len(records.read_all(root, damaged=damaged)) == 5
    assert str(damaged[0]).startswith(f"{path}:1: damaged, not strict JSON")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda line: line.update(schema=2), "not a record of schema 1"),
        (lambda line: line.update(history=[]), r"`history` is \[\], expected an object of lists"),
        (lambda line: line["history"].update(epoch=3), "expected an object of lists"),
        (lambda line: line["history"]["seconds"].pop(), "the lists of `history` are of different lengths"),
        (lambda line: line.update(history={}), "`history` is empty"),
        (lambda line: line["history"]["epoch"].reverse(), r"`history\[0\]` is .* expected an object of epoch 0"),
        (lambda line: line.pop("arrays_sha256"), "`arrays_sha256` is None"),
        (lambda line: line.update(final_test_error=1.0), "but the history gives 6.0"),
    ],
)
def test_damaged_lines_are_named(tmp_path, edit, message):
    write(tmp_path)
    records.pack(tmp_path)
    path = tmp_path / "demo/runs.jsonl"
    change(path, edit)
    with pytest.raises(RecordError, match=rf"runs\.jsonl:1: .*{message}.*run the arm again"):
        records.read_all(tmp_path)


def test_a_line_that_is_no_object_is_refused(tmp_path):
    (tmp_path / "runs.jsonl").write_text("[]\n")
    with pytest.raises(RecordError, match=r"runs\.jsonl:1: no object"):
        records.read_all(tmp_path)


def test_nothing_is_unpickled(tmp_path):
    write(tmp_path)
    records.pack(tmp_path)

    class Planted:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "unpickled",))

    for data in (pickle.dumps(Planted()), None):
        if data is None:
            held = {f"demo/sgd-0.9/seed-0/{name}": np.array([Planted()] * 18) for name in ("loss", "momentum", "below")}
            np.savez(tmp_path / "demo/steps.npz", **held)
        else:
            (tmp_path / "demo/steps.npz").write_bytes(data)
        with pytest.raises(RecordError, match=r"steps\.npz: not the steps of a run"):
            _ = records.find(tmp_path, "demo/sgd-0.9", 0).steps
    assert not (tmp_path / "unpickled").exists()


def test_a_single_array_instead_of_steps_is_refused(tmp_path):
    write(tmp_path)
    records.pack(tmp_path)
    with (tmp_path / "demo/steps.npz").open("wb") as file:
        np.save(file, np.zeros(18))
    with pytest.raises(RecordError, match=r"steps\.npz: not the steps of a run: a single array"):
        _ = records.find(tmp_path, "demo/sgd-0.9", 0).steps


def test_the_archive_of_a_group_is_opened_once(root, monkeypatch):
    expected = [arrays(record) for record in records.read_all(root)]
    records.pack(root)
    opened = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda *args, **kwargs: opened.append(args) or load(*args, **kwargs))
    assert [arrays(record) for record in records.read_all(root)] == expected
    assert len(expected) == 6
    assert len(opened) <= 1  # Packing may have opened the same bytes.


@given(data=st.data())
def test_damaged_packed_files_are_refused_or_give_the_records(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("runs")
    write(root)
    whole = records.find(root, "demo/sgd-0.9", 0)
    expected = arrays(whole)
    records.pack(root)
    path = root / "demo" / data.draw(st.sampled_from(["runs.jsonl", "steps.npz"]))
    held = path.read_bytes()
    start = data.draw(st.integers(0, len(held)))
    path.write_bytes(held[:start] + data.draw(st.binary(max_size=4)) + held[start + data.draw(st.integers(0, 8)) :])
    with contextlib.suppress(RecordError):
        (found,) = records.read_all(root)
        assert arrays(found) == expected
        assert not math.isnan(found.final_test_error)
    shutil.rmtree(root)


def test_the_command_packs(root, capsys):
    assert cli.main(["report", "--pack", str(root)]) == 0
    assert "demo/runs.jsonl: 6 runs, 6 of them new" in capsys.readouterr().out
    assert not (root / "report").exists()
    assert cli.main(["report", "--pack", str(root / "none")]) == 2
    assert "no result.json in it" in capsys.readouterr().err
