"""Compile a run's programs for accelerators that need not be here, and count what the programs do."""

from typing import Literal

TargetName = Literal["h200", "h100", "a100", "v5e", "v5p", "v6e"]
