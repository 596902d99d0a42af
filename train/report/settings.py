"""The settings of runs in a report: those that runs share, those that differ, and the table of both."""

from collections.abc import Iterable, Mapping
from typing import Any

from train.experiments import DEFAULTS, MAIN_SETTINGS, controls
from train.records import Record
from train.report.statistics import Group
from train.report.tables import Table, number

# Names always differ, and the values tried in tuning matter less than those chosen, which the table shows.
_NOT_COMPARED = ("name", "learning_rates", "weight_decays", "tuning_seeds")


def settings_table(group: Group) -> Table:
    """Make the table of settings that differ between arms, with the minutes of a run and the shared main settings."""
    records = [record for arm in group.arms for record in arm.records]
    shared = common_settings(records) | reductions(records)
    differing = [key for key in differing_settings(records) if key not in _NOT_COMPARED]
    rows = []
    for arm in group.arms:
        seconds = [epoch.seconds for record in arm.records for epoch in record.history]
        config = _settings_of(arm.records[0])
        rows.append(
            (
                group.short(arm.name),
                *(tuned(config, key) for key in differing),
                number(sum(seconds) / len(arm.records) / 60),
            )
        )
    note = "All arms: " + ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in shared.items() if v != "") + "."
    note += " Minutes: what a run took, together with the seeds that trained at the same time."
    if any("*" in cell for row in rows for cell in row[1:]):
        note += " A star: the highest or lowest of the values tried."
    return Table(
        title=f"{group.name}: settings",
        columns=("Arm", *(key.replace("_", " ") for key in differing), "minutes"),
        rows=rows,
        note=note,
    )


def common_settings(records: Iterable[Record]) -> dict[str, Any]:
    """Return the main settings that all these runs share. Without runs, all main settings are None."""
    configs = [_settings_of(record) for record in records]
    first = configs[0] if configs else {}
    return {key: first.get(key) for key in MAIN_SETTINGS if all(config[key] == first[key] for config in configs)}


def reductions(records: Iterable[Record]) -> dict[str, Any]:
    """Return the settings that reduce the data set, if all these runs share them and they are not 0."""
    configs = [_settings_of(record) for record in records]
    shared = {key: {config[key] for config in configs} for key in ("resolution", "train_size")}
    return {key.replace("_", " "): min(values) for key, values in shared.items() if len(values) == 1 and min(values)}


def differing_settings(records: Iterable[Record]) -> list[str]:
    """List the settings that these runs do not share, in the order of an experiment's fields."""
    configs = [_settings_of(record) for record in records]
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if any(config.get(key) != configs[0].get(key) for config in configs)]


def _settings_of(record: Record) -> dict[str, Any]:
    """The settings of a run that do not depend on its seed."""
    return controls.comparable_settings(DEFAULTS | record.config)


def tuned(config: Mapping[str, Any], name: str) -> str:
    """Format a setting, with a star if tuning chose it at an end of the range that was tried.

    There is no star if fewer than three values were tried, or at zero, which cannot be exceeded downwards.
    """
    value, tried = config[name], config.get(f"{name}s") or ()
    at_end = len(tried) > 2 and value in (min(tried), max(tried)) and value != 0
    return (f"{value:g}" if isinstance(value, float) else str(value)) + "*" * at_end
