"""Which seeds are finished, which have begun, and which train together."""

import dataclasses
import itertools

import numpy as np
import pytest

from tests.train import synthetic, tiny_run
from train import records
from train.engine import checkpoint_folders, resume
from train.engine.placement import DeviceOptions, SeedSet
from train.errors import CheckpointError, ConfigError, RecordError
from train.experiments import Experiment, config_of
from train.records import StepMetrics

ARM = Experiment(name="g/arm", dataset="digits", epochs=2)
ONE_DEVICE = DeviceOptions(devices=1)
BUSY = "another process is training these seeds"


def finish(root, *seeds, **changes):
    for seed in seeds:
        config = config_of(ARM) | changes
        record = dataclasses.replace(synthetic.record("arm", seed, [2.0, 1.0], group="g"), config=config)
        zeros = np.zeros(2, np.float32)
        records.write(root, record, StepMetrics(loss=zeros, momentum=zeros, below=zeros > 0))


def begin(root, *seeds):
    folder = checkpoint_folders.checkpoint_dir(root, ARM.name, SeedSet(seeds))
    (folder / "4").mkdir(parents=True)
    return folder


def plan(root, *seeds, together=True, fresh=False, among=()):
    arm = dataclasses.replace(ARM, vmap_seeds=together)
    missing, seed_sets = resume.make_plan(arm, seeds, root, ONE_DEVICE, fresh=fresh, among=among)
    assert {(seed_set.apart, seed_set.devices) for seed_set in seed_sets} <= {(False, 1)}
    return missing, [seed_set.seeds for seed_set in seed_sets]


@pytest.mark.parametrize(
    ("together", "begun", "seed_sets"),
    [
        (True, [], [[0, 1, 2]]),
        (True, [[0, 2]], [[0, 2], [1]]),
        (True, [[0], [0, 1, 2]], [[0, 1, 2]]),
        (False, [[0, 1]], [[0], [1], [2]]),
    ],
)
def test_seeds_run_together_as_they_began(tmp_path, together, begun, seed_sets):
    for seeds in begun:
        begin(tmp_path, *seeds)
    assert plan(tmp_path, 0, 1, 2, together=together) == ([0, 1, 2], seed_sets)


def test_many_seeds_are_split_so_that_their_folder_has_a_name(tmp_path):
    seeds = range(2**31 - 50, 2**31)
    _, seed_sets = plan(tmp_path, *seeds)
    assert [*itertools.chain.from_iterable(seed_sets)] == [*seeds]
    for seed_set in seed_sets:
        folder = checkpoint_folders.checkpoint_dir(tmp_path, ARM.name, SeedSet(seed_set, apart=True, devices=1000))
        assert len(f".{folder.name}-damaged.lock") < 256


def test_what_is_finished_is_not_missing_unless_all_is_to_be_fresh(tmp_path):
    finish(tmp_path, 0, 2)
    assert plan(tmp_path, 0, 1, 2) == ([1], [[1]])
    assert plan(tmp_path, 0, 2) == ([], [])
    assert plan(tmp_path, 0, 2, fresh=True) == ([0, 2], [[0, 2]])


def test_packed_runs_are_not_missing_until_they_are_discarded(tmp_path):
    finish(tmp_path, 0, 2)
    records.pack(tmp_path)
    assert plan(tmp_path, 0, 1, 2) == ([1], [[1]])
    with pytest.raises(ConfigError, match=r"g: g/arm, seed 0 was made with other settings: width \(10 there, 16 now\)"):
        resume.make_plan(dataclasses.replace(ARM, width=16), [0], tmp_path, ONE_DEVICE, fresh=False)
    resume.discard([(ARM, [0])], tmp_path)
    assert plan(tmp_path, 0, 1, 2) == ([0, 1], [[0, 1]])


def test_a_seed_set_goes_on_when_its_other_seeds_have_their_records(tmp_path):
    begin(tmp_path, 0, 1)
    finish(tmp_path, 0)
    assert plan(tmp_path, 1) == plan(tmp_path, 0, 1) == ([1], [[0, 1]])


def test_a_seed_set_with_seeds_that_nobody_asked_for_is_left(tmp_path):
    begin(tmp_path, 0, 1)
    assert plan(tmp_path, 1) == ([1], [[1]])


def test_a_seed_set_of_several_blocks_goes_on_as_a_whole(tmp_path):
    begin(tmp_path, *range(8))
    finish(tmp_path, 6)
    assert plan(tmp_path, 0, 1, among=range(8)) == ([0, 1, 2, 3, 4, 5, 7], [[*range(8)]])
    assert plan(tmp_path, 0, 1, among=range(5)) == ([0, 1], [[0, 1]])


def test_a_record_of_another_block_has_to_be_in_order(tmp_path):
    begin(tmp_path, *range(8))
    finish(tmp_path, 6, batch_size=99)
    with pytest.raises(ConfigError, match=r"batch_size \(99 there, 128 now\)"):
        plan(tmp_path, 0, 1, among=range(8))


def test_seeds_of_other_blocks_count_in_the_placement(tmp_path):
    eight = DeviceOptions()
    for among, apart in (((), False), ((0, 5, 10), True)):
        (seed_set,) = resume.make_plan(ARM, [0], tmp_path, eight, fresh=False, among=among).seed_sets
        assert seed_set.apart == apart


def test_a_seed_set_without_a_checkpoint_is_none(tmp_path):
    checkpoint_folders.checkpoint_dir(tmp_path, ARM.name, SeedSet([0, 1])).mkdir(parents=True)
    finish(tmp_path, 0)
    assert plan(tmp_path, 1) == ([1], [[1]])


def test_records_of_seeds_that_were_asked_for_have_to_be_in_order(tmp_path):
    finish(tmp_path, 0, 1)
    (records.run_dir(tmp_path, ARM.name, 1) / records.RESULT).write_text("{}")
    with pytest.raises(RecordError):
        plan(tmp_path, 1)
    begin(tmp_path, 0, 1, 2)
    assert plan(tmp_path, 2) == ([2], [[2]])


def test_other_seeds_of_an_arm_need_its_settings_too(tmp_path):
    finish(tmp_path, 0, width=3)
    for seed in (0, 1):
        with pytest.raises(ConfigError, match=r"seed 0 was made with other settings: width \(3 there, 10 now\)"):
            plan(tmp_path, seed)
    # Nothing is to be trained.
    finish(tmp_path, 1)
    assert plan(tmp_path, 1) == ([], [])


def test_other_seeds_of_an_arm_need_its_data_too(tmp_path):
    finish(tmp_path, 0)
    record = records.find(tmp_path, ARM.name, 0)
    record = dataclasses.replace(record, versions=record.versions | {records.FINGERPRINT: "a"})
    zeros = np.zeros(2, np.float32)
    records.write(tmp_path, record, StepMetrics(loss=zeros, momentum=zeros, below=zeros > 0))
    resume.refuse_records_of_other_data(ARM, tmp_path, "ab")
    with pytest.raises(ConfigError, match="seed 0 was made with other images or labels"):
        resume.refuse_records_of_other_data(ARM, tmp_path, "b")


@pytest.mark.parametrize(("first", "second"), [((0, 1, 2), (0,)), ((0,), (2, 0)), ((0, 1), (0, 1))])
def test_two_processes_never_train_a_seed_at_the_same_time(tmp_path, first, second):
    first, second, other = (
        checkpoint_folders.checkpoint_dir(tmp_path, ARM.name, SeedSet([*seeds])) for seeds in (first, second, (7, 8))
    )
    with checkpoint_folders.claim_seeds(first), checkpoint_folders.claim_seeds(other):
        with pytest.raises(CheckpointError, match=BUSY):
            checkpoint_folders.claim_seeds(second)
        if second != first:
            # The refused process keeps no lock.
            checkpoint_folders.claim(second).close()
    checkpoint_folders.claim_seeds(second).close()


def test_what_is_older_than_a_setting_had_its_default(tmp_path):
    finish(tmp_path, 0)
    config = config_of(ARM)
    del config["optimizer"]
    resume.refuse_other_settings(tmp_path, config, config_of(ARM))
    with pytest.raises(ConfigError, match=r"optimizer \('sgd' there, 'adam' now\)"):
        resume.refuse_other_settings(tmp_path, config, config | {"optimizer": "adam"})


def test_discarding_leaves_what_other_seeds_need(tmp_path):
    finish(tmp_path, 0, 1, 3)
    own, with_finished, with_unfinished, others = (begin(tmp_path, *s) for s in ([0], [0, 1], [0, 2], [1, 3]))
    resume.discard([(ARM, [0])], tmp_path)
    assert [path.exists() for path in (own, with_finished, with_unfinished, others)] == [False, False, True, True]
    assert [record.seed for record in records.read_all(tmp_path)] == [1, 3]


def test_discarding_counts_all_blocks_of_an_arm_together(tmp_path):
    both = begin(tmp_path, 0, 5)
    resume.discard([(ARM, [0]), (ARM, [5])], tmp_path)
    assert not both.exists()


def test_nothing_is_discarded_while_another_process_trains(tmp_path):
    finish(tmp_path, 0)
    free, busy = begin(tmp_path, 0), begin(tmp_path, 0, 1)
    with (
        checkpoint_folders.claim(busy),
        pytest.raises(CheckpointError, match="another process is training these seeds"),
    ):
        resume.discard([(ARM, [0, 1])], tmp_path)
    assert free.exists()
    assert busy.exists()
    assert [record.seed for record in records.read_all(tmp_path)] == [0]
    resume.discard([(ARM, [0, 1])], tmp_path)
    assert not free.exists()


@pytest.mark.parametrize("busy", [(0,), (0, 7), (7, 0, 8)])
def test_a_process_that_has_not_saved_yet_is_spared_too(tmp_path, busy):
    finish(tmp_path, 0)
    folder = checkpoint_folders.checkpoint_dir(tmp_path, ARM.name, SeedSet([*busy]))
    with (
        checkpoint_folders.claim(folder),
        pytest.raises(CheckpointError, match="another process is training these seeds"),
    ):
        resume.discard([(ARM, [0])], tmp_path)
    assert [record.seed for record in records.read_all(tmp_path)] == [0]
    resume.discard([(ARM, [0])], tmp_path)
    assert not list(tmp_path.rglob(records.RESULT))


def test_other_processes_do_not_matter(tmp_path):
    finish(tmp_path, 0)
    with checkpoint_folders.claim(checkpoint_folders.checkpoint_dir(tmp_path, ARM.name, SeedSet([7, 8]))):
        resume.discard([(ARM, [0])], tmp_path)
    assert not list(tmp_path.rglob(records.RESULT))


def test_a_run_that_skipped_nothing_is_finished_with_either_way_to_treat_such_steps(tmp_path):
    finish(tmp_path, 0, nonfinite="skip")
    finish(tmp_path, 1)
    skips = dataclasses.replace(ARM, nonfinite="skip")
    assert plan(tmp_path, 0) == ([], [])
    assert resume.make_plan(skips, [1], tmp_path, ONE_DEVICE, fresh=False) == ([], [])


def test_a_run_that_skipped_steps_is_not_one_that_would_have_stopped(tmp_path):
    record = dataclasses.replace(synthetic.record("arm", 0, [2.0, 1.0], group="g"))
    record.history[1] = dataclasses.replace(record.history[1], skipped_steps=1)
    record = dataclasses.replace(record, config=config_of(ARM) | {"nonfinite": "skip"})
    zeros = np.zeros(2, np.float32)
    records.write(tmp_path, record, StepMetrics(loss=zeros, momentum=zeros, below=zeros > 0))
    with pytest.raises(ConfigError, match=r"nonfinite \('skip' there, 'stop' now\)"):
        plan(tmp_path, 0)


def test_a_checkpoint_depends_on_the_data_and_not_on_what_comes_next():
    dataset = tiny_run.dataset()
    settings = resume.saved_settings(ARM, dataset)
    assert settings == resume.saved_settings(dataclasses.replace(ARM, nonfinite="skip"), dataset)
    fewer = dataclasses.replace(dataset, test_labels=dataset.test_labels[:-1], test_images=dataset.test_images[:-1])
    assert settings != resume.saved_settings(ARM, fewer)
