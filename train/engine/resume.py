"""Which runs are finished, which were interrupted, and which seeds train together next."""

import contextlib
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from train import records
from train.data.dataset import Dataset, Source, may_be_same
from train.engine.checkpoint_folders import begun_seed_sets, checkpoint_dir, claimed
from train.engine.placement import DeviceOptions, SeedSet, as_begun, place
from train.errors import ConfigError, RecordError
from train.experiments import Experiment, config_of, differences, differences_from_run, tuning
from train.records.events import remove_events

_FINGERPRINT = "fingerprint"


class Plan(NamedTuple):
    """What is left to do. All fields have JSON types.

    Attributes:
      missing: The seeds without a finished record.
      seed_sets: The seeds that train together, and their devices. A set also contains finished seeds if its run was
        killed while it wrote the records.
    """

    missing: list[int]
    seed_sets: list[SeedSet]


def make_plan(
    experiment: Experiment,
    seeds: Sequence[int],
    root: Path,
    options: DeviceOptions,
    *,
    fresh: bool,
    among: Sequence[int] = (),
) -> Plan:
    """Find out what is left to do.

    Args:
      experiment: The arm.
      seeds: The seeds asked for.
      root: Folder of all runs.
      options: What the command line asks for.
      fresh: Whether to ignore finished and interrupted runs.
      among: All seeds of the arm that the command trains, if it trains some at other times. An interrupted run of
        several of them goes on as a whole.

    Raises:
      ConfigError: If existing runs were made with other settings, or cannot continue on these devices.
      RecordError: If a record is damaged.
    """
    every = {*seeds, *among}
    if fresh:
        return Plan([*seeds], place(experiment, len(every), root, options, fresh=True).sets(seeds))
    missing = [seed for seed in seeds if not _is_finished(experiment, root, seed)]
    if missing:
        _refuse_beside_other_settings(experiment, root)
    begun = [
        seed_set
        for seed_set in begun_seed_sets(root, experiment.name)
        if set(seed_set.seeds) & set(missing)
        and all(seed in every or _is_recorded(experiment, root, seed) for seed in seed_set.seeds)
    ]
    if options.stream or not experiment.vmap_seeds:
        # Seeds that must train one after the other cannot resume from a vmapped checkpoint. They start again.
        begun = [seed_set for seed_set in begun if seed_set.apart or len(seed_set.seeds) == 1]
    going_on = [
        as_begun(seed_set, options, checkpoint_dir(root, experiment.name, seed_set)) for seed_set in _disjoint(begun)
    ]
    rest = [seed for seed in missing if not any(seed in seed_set.seeds for seed_set in going_on)]
    new = place(experiment, len(every), root, options).sets(rest) if rest else []
    others = [seed for seed_set in going_on for seed in seed_set.seeds if seed not in seeds]
    # A record of a seed that the command trains later has to be in order too.
    also_missing = [
        seed for seed in others if not (_is_finished if seed in every else _is_recorded)(experiment, root, seed)
    ]
    return Plan(missing + also_missing, going_on + new)


def discard(runs: Iterable[tuple[Experiment, Sequence[int]]], root: Path) -> None:
    """Delete the records of these experiments and seeds, and the checkpoints that no other seed needs.

    Raises:
      CheckpointError: If another process is training one of these seeds. Then nothing is deleted.
    """
    by_name: dict[str, tuple[Experiment, list[int]]] = {}
    for experiment, seeds in runs:
        by_name.setdefault(experiment.name, (experiment, []))[1].extend(seeds)
    with contextlib.ExitStack() as stack:
        for experiment, seeds in by_name.values():
            stack.enter_context(claimed(root, experiment.name, seeds))
        for experiment, seeds in by_name.values():
            _discard(experiment, seeds, root)


def _discard(experiment: Experiment, seeds: Sequence[int], root: Path) -> None:
    for seed_set in begun_seed_sets(root, experiment.name):
        others = set(seed_set.seeds) - set(seeds)
        if others != set(seed_set.seeds) and all(_is_recorded(experiment, root, seed) for seed in others):
            shutil.rmtree(checkpoint_dir(root, experiment.name, seed_set))
    records.discard(root, experiment.name, seeds)
    for seed in seeds:
        remove_events(records.run_dir(root, experiment.name, seed))


def saved_settings(experiment: Experiment, dataset: Dataset | Source) -> dict[str, Any]:
    """Return the settings and the data that a checkpoint depends on, as JSON values."""
    size = " x ".join(map(str, dataset.image_shape))
    data = f"{dataset.name}: {dataset.train_size} and {dataset.test_size} images of {size}"
    config = config_of(experiment) | {"data": data, _FINGERPRINT: dataset.fingerprint}
    # This setting takes effect at the first loss that is not finite. The steps before do not depend on it.
    del config["nonfinite"]
    return config


def refuse_other_settings(path: Path | str, there: dict[str, Any], now: dict[str, Any]) -> None:
    """Check that a run or checkpoint on disk was made with the settings asked for.

    Raises:
      ConfigError: If the settings differ. The message names them.
    """
    there, now = dict(there), dict(now)
    refuse_other_data(path, there.pop(_FINGERPRINT, None), now.pop(_FINGERPRINT, None))
    _refuse(path, differences(there, now))


def _refuse(path: Path | str, differ: dict[str, tuple[Any, Any]]) -> None:
    if differ:
        listed = ", ".join(f"{key} ({old!r} there, {new!r} now)" for key, (old, new) in differ.items())
        raise ConfigError(
            f"{path} was made with other settings: {listed}. Choose another --runs folder, or replace it with --fresh."
        )


def refuse_other_data(path: Path | str, there: str | None, now: str | None) -> None:
    """Check by its fingerprint that a run or checkpoint on disk was made with the present data.

    Runs older than fingerprints have none and are accepted.

    Raises:
      ConfigError: If the data differ.
    """
    if there is not None and now is not None and not may_be_same(there, now):
        raise ConfigError(
            f"{path} was made with other images or labels, though the data set has the same name (fingerprint {there} "
            f"there, {now} now). Restore the data, choose another --runs folder, or replace the run with --fresh."
        )


def refuse_records_of_other_data(experiment: Experiment, root: Path, fingerprint: str) -> None:
    """Check that all runs of an arm were trained on the present data. Others could not be averaged with new ones.

    Raises:
      ConfigError: If one was trained on other data.
    """
    for record in records.of_arm(root, experiment.name):
        refuse_other_data(_where(record), record.versions.get(records.FINGERPRINT), fingerprint)


def _refuse_beside_other_settings(experiment: Experiment, root: Path) -> None:
    """Check that all runs of an arm have the present settings. Others could not be averaged with new ones."""
    existing = records.of_arm(root, experiment.name)
    if existing:
        config = config_of(tuning.resolved(experiment, root))
        for record in existing:
            _refuse(_where(record), differences_from_run(record, config))


def _is_finished(experiment: Experiment, root: Path, seed: int) -> bool:
    record = records.find(root, experiment.name, seed)
    if record is None:
        return False
    _refuse(_where(record), differences_from_run(record, config_of(tuning.resolved(experiment, root))))
    return record.finished


def _where(record: records.Record) -> str:
    return f"{record.folder}: {record.name}, seed {record.seed}"


def _is_recorded(experiment: Experiment, root: Path, seed: int) -> bool:
    """Whether a seed is finished. A record that cannot be used counts as missing, and raises no error."""
    try:
        return _is_finished(experiment, root, seed)
    except (ConfigError, RecordError):
        return False


def _disjoint(begun: list[SeedSet]) -> list[SeedSet]:
    """If sets of seeds overlap, keep the larger ones."""
    chosen: list[SeedSet] = []
    for seed_set in sorted(begun, key=lambda each: len(each.seeds), reverse=True):
        if not any(set(seed_set.seeds) & set(other.seeds) for other in chosen):
            chosen.append(seed_set)
    return chosen
