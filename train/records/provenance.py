"""The command that records name as their own."""

import shlex
import sys


def command_line() -> str:
    """`python -m train` and the words of this process, as a shell takes them."""
    return shlex.join(["python", "-m", "train", *sys.argv[1:]])
