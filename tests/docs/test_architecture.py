"""The picture of the architecture is the one that the import contract gives."""

import importlib.util
import pathlib

PATH = pathlib.Path(__file__).parents[2] / "docs" / "architecture.py"
SPEC = importlib.util.spec_from_file_location("architecture", PATH)
assert SPEC is not None
assert SPEC.loader is not None
architecture = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(architecture)


def test_picture_is_current():
    assert architecture.PICTURE.read_text() == architecture.draw(*architecture.layers()), "run docs/architecture.py"


def test_every_layer_of_the_contract_is_drawn():
    packages, rooms = architecture.layers()
    picture = architecture.draw(packages, rooms)
    for name in [*packages, *(room.split(".", 1)[1] for row in rooms for room in row)]:
        assert f">{name}</text>" in picture
