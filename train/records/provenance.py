"""What a record says about its making: the command line and the CPU cores."""

import contextlib
import os
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


def cores() -> int:
    """How many CPU cores this process may use; `taskset` and schedulers restrict them."""
    # Python 3.13 has os.process_cpu_count; macOS and Windows have no affinity.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
