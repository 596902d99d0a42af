"""The first word of a command line: the command, or the general help."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from train.errors import ConfigError
from train.experiments import arguments, values
from train.experiments.groups import find

_DEFAULT = "run"
_EXAMPLES = {
    "python -m train": "train the quickstart",
    "python -m train --epochs 2": "the same, but shorter",
    "python -m train list fig3": "show the arms of one group",
    "python -m train run fig3 --model 16-4": "train them on a smaller network",
    "python -m train run --help": "show the options of a command",
}


def read(words: Sequence[str], commands: Mapping[str, type]) -> Callable[[Console], None]:
    """Choose the command of a command line, and parse its options.

    Args:
      words: The words after the program's name.
      commands: The dataclasses of the commands by name. An instance is called with a console.

    Returns:
      The command, to be called with a console.

    Raises:
      ConfigError: If there is no such command, if it does not use one of the words, or if a value is not allowed.
      LocationError: If a path is a URL.
      SystemExit: With 0 after the help of a command; with 2 after an option without its value.
    """
    if words and words[0] in ("-h", "--help"):
        return lambda console: _help(commands, console)
    if not words or words[0].startswith("-"):
        words = [_DEFAULT, *words]
    name, *rest = words
    if name not in commands:
        raise ConfigError(_no_command(name, commands))
    command: Any = arguments.parse(commands[name], rest, name=name)
    return command


def _no_command(name: str, commands: Mapping[str, type]) -> str:
    sentence = f"No command is called {values.shortened(name)}."
    try:
        find(name)
    except ConfigError:
        near = values.did_you_mean(name, commands)
        return f"{sentence} {near}`python -m train --help` shows all: {', '.join(commands)}."
    return f"{sentence} To train the experiment of this name: `python -m train run {name}`."


def _help(commands: Mapping[str, type], console: Console) -> None:
    summaries = {name: (command.__doc__ or "").partition("\n")[0] for name, command in commands.items()}
    console.print("usage: python -m train [COMMAND] [OPTIONS]\n", markup=False, highlight=False)
    console.print("Train Wide ResNets with LCAM and with SGD, and say which did better.\n", highlight=False)
    console.print(
        "Without a command the quickstart is trained: SGD, and LCAM in both orders, on images of digits. Each has "
        "three seeds. This takes a minute or two on a CPU. Options without a command are those of `run`.\n",
        highlight=False,
    )
    for title, rows in (("Commands:", summaries), ("Examples:", _EXAMPLES)):
        table = Table(box=None, show_header=False, padding=(0, 0, 0, 2))
        table.add_column(no_wrap=True)
        for row in rows.items():
            table.add_row(*row)
        console.print(title, table, "", sep="\n", highlight=False)
