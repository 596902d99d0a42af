"""The command line that a record contains."""

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

_WORDS: ContextVar[tuple[str, ...] | None] = ContextVar("words", default=None)


@contextlib.contextmanager
def carrying_out(words: Sequence[str]) -> Iterator[None]:
    """Inside this context, `command_line` returns the command with these words."""
    token = _WORDS.set(tuple(words))
    try:
        yield
    finally:
        _WORDS.reset(token)


def command_line() -> str:
    """Return the shell command that repeats the run; empty if a script started it without the command line."""
    words = _WORDS.get()
    return "" if words is None else shlex.join(["python", "-m", "train", *words])
