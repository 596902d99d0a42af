"""Every published table is the one that its committed record gives."""

import json

import pytest

from tests import published


@pytest.mark.parametrize("name", published.TABLES)
def test_table_follows_from_its_record(name):
    make, path = published.TABLES[name]
    assert published.between_markers(name, path.read_text()) == make()


def test_no_record_tells_of_somebody_s_folders():
    for path in published.ROOT.glob("train/**/*.json"):
        words = str(json.loads(path.read_text())["command"]).split()
        assert not any(word.startswith(("/", "~")) for word in words), path
