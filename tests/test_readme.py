"""The examples of the README and the documentation run, and do what the pages say."""

import pathlib
import re

import jax.numpy as jnp
import numpy as np
import optax
import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = "".join((ROOT / page).read_text() for page in ("README.md", "docs/frameworks.md", "docs/guides/momenta.md"))
EXAMPLES = dict(re.findall(r"<!-- example: (\w+) -->\n```python\n(.*?)```", PAGES, re.DOTALL))


@pytest.mark.parametrize("name", ["jax", "nnx", "linen", "equinox"])
def test_example_runs_and_converges(name):
    names: dict = {}
    exec(compile(EXAMPLES[name], name, "exec"), names)
    assert float(names["loss"]) < 1e-3


def test_plain_example_is_short():
    assert sum(map(bool, EXAMPLES["jax"].splitlines())) <= 15


def test_the_rising_momentum_is_sgd_with_that_momentum():
    names = {"optax": optax, "n_steps": 10}
    exec(EXAMPLES["rising"], names)
    state = names["tx"].init(jnp.zeros(()))
    trace = 0.0
    for step in range(12):
        trace = (0.9 + 0.005 * min(step, 10)) * trace + 1.0
        update, state = names["tx"].update(jnp.ones(()), state)
        np.testing.assert_allclose(update, -0.1 * trace, rtol=1e-5)
