"""The README's examples run, and reach a small loss."""

import pathlib
import re

import pytest

README = pathlib.Path(__file__).parent.parent / "README.md"
EXAMPLES = dict(re.findall(r"<!-- example: (\w+) -->\n```python\n(.*?)```", README.read_text(), re.DOTALL))


@pytest.mark.parametrize("name", ["jax", "nnx", "linen"])
def test_example_runs_and_converges(name):
    names: dict = {}
    exec(compile(EXAMPLES[name], f"README:{name}", "exec"), names)
    assert float(names["loss"]) < 1e-3


def test_plain_example_is_short():
    assert sum(map(bool, EXAMPLES["jax"].splitlines())) <= 15
