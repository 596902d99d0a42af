"""The layout of JSON files."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train import files

DOCUMENT = {
    "command": "x",
    "seeds": [0, 1],
    "edges": [0.5, math.nan],
    "games": {"a": {"title": "A", "arms": {"sgd": {"steps": [1, 2]}, "adam": {"steps": []}}}},
    "measurements": [{"arm": "sgd", "numbers": {"x": [1.5]}}, {"arm": "adam"}],
}


def test_entries_have_a_line_each():
    assert files.dumps_entries(DOCUMENT, entries=("arms", "measurements")) == (
        "{\n"
        ' "command": "x",\n'
        ' "seeds": [0, 1],\n'
        ' "edges": [0.5, null],\n'
        ' "games": {\n'
        '  "a": {\n'
        '   "title": "A",\n'
        '   "arms": {\n'
        '    "sgd": {"steps": [1, 2]},\n'
        '    "adam": {"steps": []}\n'
        "   }\n"
        "  }\n"
        " },\n"
        ' "measurements": [\n'
        '  {"arm": "sgd", "numbers": {"x": [1.5]}},\n'
        '  {"arm": "adam"}\n'
        " ]\n"
        "}\n"
    )


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("arms"), inner, max_size=3),
    max_leaves=10,
)


@given(_JSON)
def test_every_layout_holds_the_same_value(value):
    for text in (files.dumps(value), files.dumps_line(value), files.dumps_entries(value, entries=("arms",))):
        assert text.endswith("\n")
        assert json.loads(text) == value == files.loads(text.encode())
    assert len(files.dumps_line(value).splitlines()) == 1


@pytest.mark.parametrize("dumps", [files.dumps, files.dumps_line, lambda value: files.dumps_entries(value, ())])
def test_numbers_that_are_not_finite_are_null(dumps):
    assert json.loads(dumps({"a": [math.nan, np.float32(math.inf)], "b": np.float64(1.5)})) == {
        "a": [None, None],
        "b": 1.5,
    }
