"""The command in a record can be run again."""

import shlex
import sys

from train.records.provenance import carrying_out, command_line


def test_command_can_be_split_into_the_words_it_came_from():
    words = ["run", "fig3", "--runs", "my runs", "--follows", ""]
    with carrying_out(words):
        assert shlex.split(command_line()) == ["python", "-m", "train", *words]


def test_the_words_of_another_program_are_no_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "/tmp/kernel.json"])
    with carrying_out(["list"]):
        pass
    assert command_line() == ""
