"""The examples of the README and of docs/frameworks.md run, and reach a small loss."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = (ROOT / "README.md").read_text() + (ROOT / "docs" / "frameworks.md").read_text()
EXAMPLES = dict(re.findall(r"<!-- example: (\w+) -->\n```python\n(.*?)```", PAGES, re.DOTALL))


@pytest.mark.parametrize("name", ["jax", "nnx", "linen", "equinox"])
def test_example_runs_and_converges(name):
    names: dict = {}
    exec(compile(EXAMPLES[name], name, "exec"), names)
    assert float(names["loss"]) < 1e-3


def test_plain_example_is_short():
    assert sum(map(bool, EXAMPLES["jax"].splitlines())) <= 15
