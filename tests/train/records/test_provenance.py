"""The command that records name can be run again."""

import shlex
import sys

from train.records.provenance import command_line


def test_command_can_be_split_into_the_words_it_came_from(monkeypatch):
    words = ["run", "fig3", "--runs", "my runs", "--follows", ""]
    monkeypatch.setattr(sys, "argv", ["/somewhere/train/__main__.py", *words])
    assert shlex.split(command_line()) == ["python", "-m", "train", *words]
