"""The command that goes on leaves `--fresh` out, however it was written."""

import pytest

from train.records.provenance import carrying_out, command_line


@pytest.mark.parametrize("fresh", [["--fresh"], ["--fresh", "true"], ["--fresh=true"], []])
def test_the_command_without_fresh(fresh):
    with carrying_out(["run", *fresh, "fig3"]):
        assert command_line(without_fresh=True) == "python -m train run fig3"
