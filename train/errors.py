"""Errors that a user can fix. The command line prints their message on standard error, without a traceback."""


class UserError(Exception):
    """Base class of all errors that the command line reports as `error: <message>` with exit status 2.

    The message says what was wrong, what was expected and what to do.
    """


class ConfigError(UserError, ValueError):
    """A setting or a name that cannot be used."""


class DataError(UserError, ValueError):
    """A data set that cannot be used."""


class RecordError(UserError, ValueError):
    """A record that is missing, damaged, or written by another program."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint that could not be written or read."""


class RunError(UserError, RuntimeError):
    """A run that cannot go on."""


class LocationError(UserError, ValueError):
    """A path that is not on this machine, or a folder that cannot be written."""
