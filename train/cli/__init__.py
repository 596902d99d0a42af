"""The commands of `python -m train`: one module per command, and `main`, which reads the command line."""

from train.cli.data import Data as Data
from train.cli.list import List as List
from train.cli.main import COMMANDS as COMMANDS
from train.cli.main import main as main
from train.cli.report import RESULTS as RESULTS
from train.cli.report import Report as Report
from train.cli.report import documents as documents
from train.cli.report import published_figures as published_figures
from train.cli.report import published_tables as published_tables
from train.cli.run import Run as Run
