"""What a person sees of a run."""

import io

import pytest
from rich.console import Console

from train.engine.progress import RunProgress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(file, **environment):
    screen = Console(file=file, _environ=environment, width=100)
    with RunProgress("arm seed 0", 10, 1, screen):
        pass
    return file.getvalue()


def test_a_terminal_has_a_bar():
    assert "compiling" in shown(Terminal(), TERM="xterm")


@pytest.mark.parametrize(
    "environment",
    [{}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}, {"TTY_INTERACTIVE": "1"}, {"CLICOLOR_FORCE": "1"}],
    ids=lambda environment: " ".join(environment),
)
def test_a_file_has_none_whatever_is_said_of_colour(environment):
    assert "compiling" not in shown(io.StringIO(), TERM="xterm", **environment)


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "xterm", "TTY_INTERACTIVE": "0"}])
def test_a_terminal_that_cannot_move_its_cursor_has_none(environment):
    assert "compiling" not in shown(Terminal(), **environment)
