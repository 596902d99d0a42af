"""The progress of a run on a terminal and in a file."""

import io
import re

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


BAR = "0/10"
LINES = "arm seed 0\ncompiling\n"


def test_a_terminal_has_a_bar():
    assert BAR in shown(Terminal(), TERM="xterm")


@pytest.mark.parametrize(
    "environment",
    [{}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}, {"TTY_INTERACTIVE": "1"}, {"CLICOLOR_FORCE": "1"}],
    ids=lambda environment: " ".join(environment),
)
def test_a_file_has_lines_even_with_colour_forced(environment):
    written = shown(io.StringIO(), TERM="xterm", **environment)
    assert BAR not in written
    assert re.sub("\x1b\\[[0-9;]*m", "", written) == LINES


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "xterm", "TTY_INTERACTIVE": "0"}])
def test_a_terminal_that_cannot_move_its_cursor_has_lines(environment):
    written = shown(Terminal(), **environment)
    assert BAR not in written
    assert "compiling" in written
