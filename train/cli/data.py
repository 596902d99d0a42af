"""`python -m train data`: import images from this machine."""

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from train.cli.options import DATA_DIR
from train.experiments.arguments import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """Import a local archive or folder of images, for training without a network.

    Attributes:
      source: `cifar-10-binary.tar.gz`, `cifar-100-binary.tar.gz`, the folder that one of them unpacks to, or a folder
        with one folder of images per class.
      data_dir: The folder for prepared data sets.
      name: Call the data set this in `--dataset`.
    """

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    data_dir: Annotated[Path | None, DATA_DIR] = None
    name: Annotated[str | None, option("the folder's name, or that of the CIFAR set", "NAME")] = None

    def __call__(self, console: Console) -> None:
        """Run the command."""
        from train import data

        name = data.prepare(self.source, self.data_dir, name=self.name)
        words = ["--dataset", name, *(["--data-dir", str(self.data_dir)] if self.data_dir else [])]
        console.print(f"Prepared. Train on it with {shlex.join(words)}", highlight=False, markup=False, soft_wrap=True)
