"""Parses the words of a command line: switches, lists and paths as people type them, and messages for mistakes.

tyro parses the words into the dataclass of a command. This module adds to tyro: a switch can be `--flip`, `--no-flip`
or `--flip true`; `0,1,2` is a list; the message for a wrong value gives an example of a valid one; and the message for
an unknown option gives the nearest one of the same command.
"""

import dataclasses
import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from train.errors import ConfigError
from train.files import local_path

# Editors and web pages turn two hyphens into a dash.
_DASHES = ("-", "\u2013", "\u2014", "\u2212")
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
      ConfigError: If an option is unknown or given twice, or if a word is left over.
      LocationError: If a path is a URL.
      SystemExit: With 0 after `--help`; with 2 after a value that cannot be parsed, for which tyro prints the reason.
    """
    parsed: Any
    parsed, unknown = tyro.cli(
        command,
        args=_without_switch_values(command, words, name),
        prog=f"python -m train {name}",
        config=(tyro.conf.DisallowNone,),
        registry=_REGISTRY,
        return_unknown_args=True,
    )
    if unknown:
        raise ConfigError(_answer(unknown[0], words, command, name))
    return _on_this_machine(parsed)


_REGISTRY = ConstructorRegistry()


@_REGISTRY.primitive_rule
def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    if info.type not in (int, float):
        return None
    metavar, expected = ("N", "a whole number, such as 3") if info.type is int else ("X", "a number, such as 0.1")

    def read(words: list[str]) -> int | float:
        try:
            return info.type(words[0])
        except ValueError as error:
            raise ValueError(f"{shortened(words[0])} is not {expected}.") from error

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, info.type),
        str_from_instance=lambda value: [f"{value:g}" if isinstance(value, float) else str(value)],
    )


@_REGISTRY.primitive_rule
def _path(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    if info.type is not Path:
        return None

    def read(words: list[str]) -> Path:
        # A variable of the shell may be unset. pathlib would take the current folder.
        if not words[0].strip():
            raise ValueError(f"{words[0]!r} is not a path, such as runs. For the current folder, type a dot.")
        return Path(words[0])

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    )


@_REGISTRY.primitive_rule
def _optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Parse `X | None` as X. To get None, omit the option."""
    inner = [each for each in get_args(info.type) if each is not NoneType]
    if NoneType not in get_args(info.type) or len(inner) != 1:
        return None
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(inner[0], info.markers))
    assert isinstance(spec, PrimitiveConstructorSpec)
    return dataclasses.replace(
        spec,
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: ["none"] if value is None else spec.str_from_instance(value),
    )


@_REGISTRY.primitive_rule
def _list(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Values between spaces or commas."""
    if get_origin(info.type) is not tuple or get_args(info.type)[1:] != (Ellipsis,):
        return None
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(get_args(info.type)[0], info.markers))
    assert isinstance(spec, PrimitiveConstructorSpec)

    def read(words: list[str]) -> tuple[Any, ...]:
        pieces = [piece for word in words for piece in word.split(",") if piece]
        for piece in pieces:
            if spec.choices is not None and piece not in spec.choices:
                raise ValueError(f"{shortened(piece)} is not one of {', '.join(spec.choices)}.")
        return tuple(spec.instance_from_str([piece]) for piece in pieces)

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"{spec.metavar} ...",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda values: [word for value in values for word in spec.str_from_instance(value)],
    )


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
    if not word.startswith(_DASHES):
        before = words[words.index(word) - 1].replace("_", "-") if word in words[1:] else ""
        flag, _ = _positive(before, _switches(command))
        if flag in _switches(command):
            return f"{name}: {flag} is {shortened(word)}. Type {flag} or --no-{flag[2:]}."
        return f"{name}: {shortened(word)} is one word too many. {see}"
    typed = word.partition("=")[0].replace("_", "-")
    near = did_you_mean(typed, [flag for flag, _ in _options(command)])
    return f"{name}: no option is called {shortened(typed)}. {near}{see}"


def did_you_mean(typed: str, names: Iterable[str]) -> str:
    """A sentence with the name nearest to a mistyped one; empty if none is near."""
    # Without the dashes, which all options share: `--resume` does not mean `--fresh`.
    bare = typed.lstrip("".join(_DASHES)).lower()
    by_word = {name.lstrip("-"): name for name in names}
    # `--lr` resembles `--learning-rate` by its initials alone.
    near = [name for name in by_word.values() if _initials(name) == bare]
    near += [by_word[word] for word in difflib.get_close_matches(bare, by_word, n=1)]
    return f"Did you mean {near[0]}? " if near else ""


def _initials(name: str) -> str:
    return "".join(part[:1] for part in name.strip("-").split("-"))


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
        parts = (field.type, *_members(field.type))
        nested = [each for each in parts if isinstance(each, type) and dataclasses.is_dataclass(each)]
        if nested:
            yield from _options(nested[0])
        elif not _is_positional(field):
            yield _flag(field.name), field


def _switches(command: type) -> set[str]:
    """The flags that are either on or off."""
    return {flag for flag, field in _options(command) if bool in (field.type, *_members(field.type))}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _is_positional(field: dataclasses.Field) -> bool:
    return tyro.conf.Positional in _members(field.type)


def _members(annotation: Any) -> tuple[Any, ...]:
    """The types and markers in an annotation, at any depth."""
    parts = (*get_args(annotation), *getattr(annotation, "__metadata__", ()))
    return (*parts, *(member for part in parts for member in _members(part)))


def shortened(word: str, most: int = 60) -> str:
    """A word in quotes; the start of a very long one."""
    return repr(word if len(word) <= most else word[:most] + "...")
