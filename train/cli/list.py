"""`python -m train list`: show the arms."""

import dataclasses
import json
from typing import Annotated

import tyro
from rich.console import Console

from train.experiments import MAIN_SETTINGS, listing
from train.experiments.arguments import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class List:
    """Show the arms, by group.

    Attributes:
      pattern: Show only this group, or the arms with these letters in their name.
      json: Print JSON, with more settings.
    """

    pattern: Annotated[tyro.conf.Positional[str], option("all arms", "[GROUP or LETTERS]")] = ""
    json: bool = False

    def __call__(self, console: Console) -> None:
        """Run the command."""
        arms = listing.matching(self.pattern)
        if self.json:
            print(json.dumps([{key: getattr(arm, key) for key in ("name", *MAIN_SETTINGS)} for arm in arms], indent=2))
            return
        listing.show(arms, console)
