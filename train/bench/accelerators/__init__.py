"""What the compilers of accelerators say of a run's programs, without the accelerators: counts and bounds."""

from typing import Literal

TargetName = Literal["h200", "h100", "a100", "v5e", "v5p", "v6e"]
