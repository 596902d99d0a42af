"""Parses the words of a command line: switches, lists and paths as people type them, and messages for mistakes.

tyro parses the words into the dataclass of a command. This module adds to tyro:

* A switch can be `--flip`, `--no-flip` or `--flip true`.
* `0,1,2` is a list.
* The message for a wrong value says what is allowed.
* The message for an unknown option or choice gives the nearest one.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import tyro

from train.errors import ConfigError
from train.experiments.values import DASHES, REGISTRY, WrongValue, did_you_mean, shortened
from train.files import local_path

_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def option(default: str, metavar: str | None = None, text: str | None = None) -> Any:
    """Describe an option for `Annotated`.

    Args:
      default: The default in the help, for an option whose default is None.
      metavar: The word for the value in the help; None takes it from the type.
      text: What the option does; None takes it from the docstring of the command.
    """
    return tyro.conf.arg(help=text, help_behavior_hint=f"(default: {default})", metavar=metavar)


def parse(command: type, words: Sequence[str], *, name: str) -> Any:
    """Parse the words of a command.

    Args:
      command: A dataclass. A field that is a dataclass has its options without a prefix.
      words: The words after the command's name.
      name: The command's name.

    Returns:
      The dataclass, with the values of the options.

    Raises:
      ConfigError: If an option is unknown or given twice, if its value is not allowed, or if a word is left over.
      LocationError: If a path is a URL.
      SystemExit: With 0 after `--help`; with 2 after an option without its value, for which tyro prints the reason.
    """
    typed = _without_switch_values(command, words, name)
    parsed: Any
    try:
        parsed, unknown = tyro.cli(
            command,
            args=typed,
            prog=f"python -m train {name}",
            config=(tyro.conf.DisallowNone,),
            registry=REGISTRY,
            return_unknown_args=True,
        )
    except WrongValue as wrong:
        raise ConfigError(f"{name}: {_option_of(wrong, typed, command)} is {wrong}") from wrong
    if unknown:
        raise ConfigError(_answer(unknown[0], words, command, name))
    return _on_this_machine(parsed)


def _without_switch_values(command: type, words: Sequence[str], name: str) -> list[str]:
    """Replace `--flip true` and `--flip=false` by `--flip` and `--no-flip`, and refuse an option that comes twice."""
    switches, flags = _switches(command), {flag for flag, _ in _options(command)}
    left, out, seen = list(words), [], set()
    while left and left[0] != "--":
        word = left.pop(0)
        written, equals, value = word.partition("=")
        flag, negated = _positive(written, switches)
        if flag in flags:
            if flag in seen:
                raise ConfigError(f"{name}: {flag} is given twice. Give it once, with all its values.")
            seen.add(flag)
        if flag in switches:
            if not equals and left and left[0].lower() in (*_YES, *_NO):
                value = left.pop(0)
            elif equals and value.lower() not in (*_YES, *_NO):
                raise ConfigError(f"{name}: {flag} is {shortened(value)}. Type {flag} or --no-{flag[2:]}.")
            word = flag if (value.lower() in _NO) == negated else f"--no-{flag[2:]}"
        out.append(word)
    return out + left


def without_switch(words: Sequence[str], switch: str) -> list[str]:
    """Remove a switch in all its forms, such as `--fresh`, `--fresh true` and `--fresh=true`."""
    kept: list[str] = []
    for before, word in zip(("", *words), words, strict=False):
        is_value = before == switch and word.lower() in (*_YES, *_NO)
        if word != switch and not word.startswith(f"{switch}=") and not is_value:
            kept.append(word)
    return kept


def _positive(word: str, switches: set[str]) -> tuple[str, bool]:
    """The flag that a word means, and whether the word is its `--no-` form."""
    flag = word.replace("_", "-")
    positive = "--" + flag.removeprefix("--no-")
    return (positive, True) if flag.startswith("--no-") and positive in switches else (flag, False)


def _answer(word: str, words: Sequence[str], command: type, name: str) -> str:
    """The message for a word of a command line that the command does not use."""
    see = f"`python -m train {name} --help` shows all options."
    if not word.startswith(DASHES):
        before = words[words.index(word) - 1].replace("_", "-") if word in words[1:] else ""
        flag, _ = _positive(before, _switches(command))
        if flag in _switches(command):
            return f"{name}: {flag} is {shortened(word)}. Type {flag} or --no-{flag[2:]}."
        return f"{name}: {shortened(word)} is one word too many. {see}"
    typed = word.partition("=")[0].replace("_", "-")
    near = did_you_mean(typed, [flag for flag, _ in _options(command)])
    return f"{name}: no option is called {shortened(typed)}. {near}{see}"


def _option_of(wrong: WrongValue, words: Sequence[str], command: type) -> str:
    """The option or the positional argument that a wrong value was given to."""
    options = dict(_options(command))
    places = {field.name.upper(): field for field in dataclasses.fields(command) if _is_positional(field)}
    positional = option = next(iter(places), "")
    places |= options
    for word in words:
        flag, equals, given = word.partition("=")
        if is_option := flag.startswith("--"):
            option = flag.replace("_", "-")
        typed = given if equals and is_option else word
        pieces = (typed, *filter(None, typed.split(",")))
        if option in places and wrong.value in pieces and wrong.type in _types(places[option]):
            break
        if (equals or not is_option) and "tuple[" not in str(getattr(options.get(option), "type", "")):
            option = positional
    return option


def _on_this_machine(command: Any) -> Any:
    """Expand `~` in all paths of a command, and refuse URLs."""
    paths = {
        field.name: local_path(value, field.name.upper() if _is_positional(field) else _flag(field.name))
        for field in dataclasses.fields(command)
        if isinstance(value := getattr(command, field.name), Path)
    }
    return dataclasses.replace(command, **paths)


def _options(command: type) -> Iterator[tuple[str, dataclasses.Field]]:
    """The flags of a command, each with its field."""
    for field in dataclasses.fields(command):
        nested = [each for each in _types(field) if isinstance(each, type) and dataclasses.is_dataclass(each)]
        if nested:
            yield from _options(nested[0])
        elif not _is_positional(field):
            yield _flag(field.name), field


def _switches(command: type) -> set[str]:
    """The flags that are either on or off."""
    return {flag for flag, field in _options(command) if bool in _types(field)}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _is_positional(field: dataclasses.Field) -> bool:
    return tyro.conf.Positional in _members(field.type)


def _types(field: dataclasses.Field) -> tuple[Any, ...]:
    return (field.type, *_members(field.type))


def _members(annotation: Any) -> tuple[Any, ...]:
    """The types and markers in an annotation, at any depth."""
    parts = (*get_args(annotation), *getattr(annotation, "__metadata__", ()))
    return (*parts, *(member for part in parts for member in _members(part)))
