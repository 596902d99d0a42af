"""Every published table is the one that its committed record gives."""

import json

import numpy as np
import pytest
from PIL import Image

from train import cli, records
from train.experiments import DEFAULTS, find
from train.report import forest as tasks_figure
from train.report import publish
from train.studies import published as published_tasks

TABLES = cli.published_tables()


@pytest.fixture(scope="module")
def published():
    """The rows of each table, as they stand in the README and docs."""
    texts = {path: path.read_text() for path in cli.documents()}
    return {name: text[place] for path, text in texts.items() for name, place in publish.rows_of(text, path).items()}


@pytest.mark.parametrize("name", TABLES)
def test_table_follows_from_its_record(name, published):
    assert published[name] == publish.markdown(TABLES[name](cli.RESULTS)), "run `python -m train report --publish`"


@pytest.mark.parametrize("name", cli.published_figures())
def test_figure_follows_from_its_records(name):
    # Pixels depend on the versions of fonts and Matplotlib; the description has every number.
    _, description = cli.published_figures()[name](cli.RESULTS)
    committed = Image.open(cli.RESULTS / name)
    assert committed.text["Description"] == description, "run `python -m train report --publish`"


def test_the_readme_shows_the_figure_of_all_tasks():
    readme = (cli.RESULTS.parent.parent / "README.md").read_text()
    title = tasks_figure.title(published_tasks.tasks(cli.RESULTS))
    assert f"![{title}](train/results/forest.png)" in readme, f"the alt text is to be: {title}"


def test_every_marked_table_is_made(published):
    assert published.keys() == TABLES.keys()


@pytest.mark.parametrize("group", ["arena-digits", "contest-cifar10", "contest-cosine"])
def test_each_arm_has_the_settings_that_its_trials_decide(group):
    runs = records.read_all(cli.RESULTS / group)
    assert {run.name for run in runs} == {arm.name for arm in find(group)}
    for run in runs:
        trials = records.find_trials(cli.RESULTS, run.name)["trials"]
        # A loss that was not finite stands as null, and loses.
        finite = [trial for trial in trials if None not in trial["loss"]]
        best = min(finite, key=lambda trial: (np.mean(trial["error"]), np.mean(trial["loss"])))
        assert {key: run.config[key] for key in ("learning_rate", "weight_decay")}.items() <= best.items()
        assert len(trials) == len(run.config["learning_rates"]) * len(run.config["weight_decays"])


def test_every_setting_of_a_record_has_the_type_that_it_has_now():
    # Otherwise a run cannot be added beside it: its settings would count as others.
    for record in records.read_all(cli.RESULTS):
        for key in DEFAULTS.keys() & record.config.keys():
            expected = type(DEFAULTS[key])
            allowed = (int, float) if expected is float else (expected,)
            assert type(record.config[key]) in allowed, (record.folder, key)


def test_every_committed_run_has_its_steps():
    for record in records.read_all(cli.RESULTS):
        assert len(record.steps.loss) % len(record.history) == 0


def test_no_record_tells_of_somebody_s_folders():
    documents = [path.read_text() for path in cli.RESULTS.glob("**/*.json")]
    documents += [line for path in cli.RESULTS.glob("**/*.jsonl") for line in path.read_text().splitlines()]
    # The lines of the perceptrons' arms come after a header, which has the command.
    commands = [json.loads(document).get("command") for document in documents]
    assert sum(command is not None for command in commands) > 100
    for command in filter(None, commands):
        assert not any(word.startswith(("/", "~")) for word in command.split()), command
