"""The list of arms on the terminal."""

import io

import pytest
from rich.console import Console

from train.errors import ConfigError
from train.experiments import EXPERIMENTS, listing


class Terminal(io.StringIO):
    """A terminal that keeps what was printed."""

    def isatty(self):
        return True


def shown(arms, width=200, file=None):
    """The lines of a list, by group."""
    console = Console(file=file or Terminal(), width=width, force_terminal=True, color_system=None)
    listing.show(arms, console)
    blocks = console.file.getvalue().split("\n\n")
    return {block.split()[0]: [line.rstrip() for line in block.splitlines()] for block in blocks}


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("fig3/lcam-0.95-0.9", "LCAM 0.95 below, 0.9 above"),
        ("controls/random-0.95-0.9", "0.95 or 0.9 at random, as often as lcam-0.95-0.9"),
        ("controls/constant-0.9-0.95", "the mean momentum of lcam-0.9-0.95"),
        ("controls/ema-0.9-0.95", "LCAM 0.9 below, 0.95 above, ema"),
        ("controls/nodelay-0.9-0.95", "LCAM 0.9 below, 0.95 above, no delay"),
        ("controls/nesterov-0.9", "SGD 0.9, nesterov"),
        ("arena/polyak", "polyak without momentum"),
        ("methods/associated", "adam 0.9, associated"),
        ("methods/n-laaf", "SGD 0.9, n-laaf"),
    ],
)
def test_an_arm_is_told_by_how_it_is_trained(name, how):
    assert listing.how_trained(EXPERIMENTS[name]) == how


def test_settings_of_most_arms_are_in_the_heading_and_others_in_the_line():
    lines = shown(listing.matching("controls"))["controls"]
    assert lines[0] == "controls  cifar10, WRN-28-10, 150 epochs, step schedule"
    own = {line.split()[0]: line for line in lines[1:]}
    assert own["half-sgd-0.9"].endswith("  SGD 0.9, 75 epochs")
    assert own["cosine-sgd-0.9"].endswith("  SGD 0.9, cosine schedule")
    assert own["sgd-0.9"].endswith("  SGD 0.9")


def test_every_arm_has_a_line_of_its_own_and_the_arms_of_a_group_differ():
    groups = shown(EXPERIMENTS.values())
    legend = groups.popitem()[1]
    assert "below the mean" in " ".join(legend)
    names = [f"{group}/{line.split()[0]}" for group, lines in groups.items() for line in lines[1:]]
    assert names == [*EXPERIMENTS]
    for lines in groups.values():
        told = [line.split(maxsplit=1)[1] for line in lines[1:]]
        assert len(set(told)) == len(told)


def test_the_list_fits_a_terminal_of_80_columns():
    lines = [line for block in shown(EXPERIMENTS.values(), width=80).values() for line in block]
    assert max(map(len, lines)) <= 80
    assert len(lines) < len(shown(EXPERIMENTS.values())) + len(EXPERIMENTS) + 4  # hardly any line is broken


@pytest.mark.parametrize(
    ("pattern", "number"), [("fig3", 4), ("fig5", 4), ("quickstart/lcam", 2), ("MUON", 2), ("", len(EXPERIMENTS))]
)
def test_a_pattern_is_a_group_or_part_of_a_name(pattern, number):
    assert len(listing.matching(pattern)) == number


def test_a_pattern_without_an_arm_is_answered_by_near_ones():
    with pytest.raises(ConfigError, match=r"'quikstart'.*Did you mean quickstart.*The groups are fig3, fig4"):
        listing.matching("quikstart")


def test_a_file_has_room_though_it_is_told_to_be_coloured():
    narrow = shown(EXPERIMENTS.values(), width=80)
    in_file = shown(EXPERIMENTS.values(), width=80, file=io.StringIO())
    assert sum(map(len, in_file.values())) < sum(map(len, narrow.values()))
