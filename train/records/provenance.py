"""The command that records name as their own."""

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

# As `train.experiments.arguments` reads them.
_SWITCH_VALUES = ("true", "yes", "on", "1", "false", "no", "off", "0")
_WORDS: ContextVar[tuple[str, ...] | None] = ContextVar("words", default=None)


@contextlib.contextmanager
def carrying_out(words: Sequence[str]) -> Iterator[None]:
    """Within it, `command_line` is the command of these words, whichever program has been given them."""
    token = _WORDS.set(tuple(words))
    try:
        yield
    finally:
        _WORDS.reset(token)


def command_line(*, without_fresh: bool = False) -> str:
    """Return the command that a shell repeats the run with; empty if a script began it without the command line.

    Args:
      without_fresh: Leave `--fresh` out, so that the command goes on with what was begun.
    """
    words = _WORDS.get()
    if words is None:
        return ""
    if without_fresh:
        words = tuple(_without_switch(words, "--fresh"))
    return shlex.join(["python", "-m", "train", *words])


def _without_switch(words: Sequence[str], switch: str) -> Iterator[str]:
    """Leave a switch and its value out: `--fresh`, `--fresh true`, `--fresh=true`."""
    for before, word in zip(("", *words), words, strict=False):
        is_value = before == switch and word.lower() in _SWITCH_VALUES
        if word != switch and not word.startswith(f"{switch}=") and not is_value:
            yield word
