"""The command that records name as their own."""

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

_WORDS: ContextVar[tuple[str, ...] | None] = ContextVar("words", default=None)


@contextlib.contextmanager
def carrying_out(words: Sequence[str]) -> Iterator[None]:
    """Within it, `command_line` is the command of these words, whichever program has been given them."""
    token = _WORDS.set(tuple(words))
    try:
        yield
    finally:
        _WORDS.reset(token)


def command_line() -> str:
    """Return the command that a shell repeats the run with; empty if a script began it without the command line."""
    words = _WORDS.get()
    return "" if words is None else shlex.join(["python", "-m", "train", *words])
