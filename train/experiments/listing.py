"""The list of arms for people: by group, with the shared settings of a group shown once."""

import difflib
import statistics
from collections.abc import Iterable, Iterator

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from train.errors import ConfigError
from train.experiments.controls import CONTROLS
from train.experiments.experiment import Experiment
from train.experiments.groups import EXPERIMENTS

_LEGEND = (
    "LCAM 0.9 below, 0.95 above: momentum 0.9 after a loss below the mean of the epoch, 0.95 after any other loss. "
    "`python -m train run GROUP` trains all arms of a group, `python -m train run GROUP/ARM` one."
)


def matching(pattern: str) -> list[Experiment]:
    """Return the arms of a group, or all arms with a pattern in their name. An empty pattern matches all.

    Raises:
      ConfigError: If there is none. The message contains the nearest names.
    """
    arms = [arm for arm in EXPERIMENTS.values() if arm.group == pattern]
    arms = arms or [arm for name, arm in EXPERIMENTS.items() if pattern.lower() in name]
    if arms:
        return arms
    groups = list(dict.fromkeys(arm.group for arm in EXPERIMENTS.values()))
    near = difflib.get_close_matches(pattern.lower(), [*groups, *EXPERIMENTS], n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise ConfigError(f"No arm has {pattern!r} in its name. {hint}The groups are {', '.join(groups)}.")


def show(arms: Iterable[Experiment], console: Console) -> None:
    """Print arms by group."""
    if not console.file.isatty():
        console.width = 120  # A file or a pipe has no width, so lines may be long.
    groups: dict[str, list[Experiment]] = {}
    for arm in arms:
        groups.setdefault(arm.group, []).append(arm)
    for name, members in groups.items():
        console.print(*_group(name, members), "", sep="\n", highlight=False)
    console.print(Text(_LEGEND))


def how_trained(arm: Experiment) -> str:
    """The optimizer and its momentum, and other differences from SGD on the plain network."""
    below, above = f"{arm.momentum_below:g}", f"{arm.momentum_above:g}"
    match arm.phase:
        case "none" if arm.control != "none":
            how = CONTROLS[arm.control].summary.format(follows=arm.follows, below=below, above=above)
        case "none":
            how = f"{'SGD' if arm.optimizer == 'sgd' else arm.optimizer} {_constant_momentum(arm)}"
        case "random":
            how = f"{below} or {above} at random"
        case "epoch_mean":
            how = f"LCAM {below} below, {above} above"
        case other:
            how = f"LCAM {below} below, {above} above, {other}"
    others = {
        "no delay": not arm.delay,
        "nesterov": arm.nesterov,
        arm.training: arm.training != "end-to-end",
        arm.activation: arm.activation != "relu",
    }
    return ", ".join([how, *(word for word, differs in others.items() if differs)])


def _constant_momentum(arm: Experiment) -> str:
    return f"{arm.momentum_below:g}" if arm.momentum_below else "without momentum"


def _group(name: str, arms: list[Experiment]) -> Iterator[RenderableType]:
    """A heading with the settings of most arms, and one line per arm with its differing settings."""
    settings = [_settings(arm) for arm in arms]
    usual = [statistics.mode(values) for values in zip(*settings, strict=True)]
    yield Text.assemble((name, "bold"), f"  {', '.join(usual)}")
    table = Table(box=None, show_header=False, padding=(0, 0, 0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for arm, own in zip(arms, settings, strict=True):
        words = [how_trained(arm), *(setting for setting in own if setting not in usual)]
        table.add_row(arm.name.partition("/")[2], ", ".join(words))
    yield table


def _settings(arm: Experiment) -> list[str]:
    return [arm.dataset, f"WRN-{arm.depth}-{arm.width}", f"{arm.epochs} epochs", f"{arm.schedule} schedule"]
