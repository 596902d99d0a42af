"""The pages of the API reference show every public name, and no other."""

import pathlib
import re

import pytest

import lcam_optax
import lcam_optax.contrib
import models

API = pathlib.Path(__file__).parents[2] / "docs" / "api"
DIRECTIVE = re.compile(r"^\.\. auto(?:class|function|data):: (\S+)$", re.MULTILINE)


@pytest.mark.parametrize(
    ("page", "module"),
    [("lcam_optax.md", lcam_optax), ("contrib.md", lcam_optax.contrib), ("models.md", models)],
    ids=["lcam_optax", "contrib", "models"],
)
def test_page_shows_each_public_name_once(page, module):
    shown = DIRECTIVE.findall((API / page).read_text())
    assert sorted(shown) == sorted(f"{module.__name__}.{name}" for name in module.__all__)
