"""How the value of an option is parsed: numbers, paths, choices and lists, with a message for what is not allowed."""

import dataclasses
import difflib
from collections.abc import Iterable
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

DASHES = ("-", "\u2013", "\u2014", "\u2212")
"""What options begin with. Editors and web pages turn two hyphens into a dash."""

REGISTRY = ConstructorRegistry()
"""The rules by which tyro parses values."""


class WrongValue(Exception):  # noqa: N818 - becomes a ConfigError. tyro prints a ValueError itself and exits.
    """A value that is not allowed. The message continues `--option is`.

    Attributes:
      value: The value as it was typed.
      type: The type that it should have.
    """

    def __init__(self, value: str, type_: Any, rest: str) -> None:
        super().__init__(f"{shortened(value)}{rest}")
        self.value, self.type = value, type_


@REGISTRY.primitive_rule
def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    if info.type not in (int, float):
        return None
    metavar, expected = ("N", "a whole number, such as 3") if info.type is int else ("X", "a number, such as 0.1")

    def read(words: list[str]) -> int | float:
        try:
            return info.type(words[0])
        except ValueError as error:
            raise WrongValue(words[0], info.type, f", allowed: {expected}.") from error

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, info.type),
        str_from_instance=lambda value: [f"{value:g}" if isinstance(value, float) else str(value)],
    )


@REGISTRY.primitive_rule
def _path(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    if info.type is not Path:
        return None

    def read(words: list[str]) -> Path:
        # A variable of the shell may be unset. pathlib would take the current folder.
        if not words[0].strip():
            message = ", allowed: a path, such as runs. For the current folder, type a dot."
            raise WrongValue(words[0], Path, message)
        return Path(words[0])

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    )


@REGISTRY.primitive_rule
def _choice(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    if get_origin(info.type) is not Literal:
        return None
    choices = get_args(info.type)

    def read(words: list[str]) -> str:
        if words[0] not in choices:
            message = f". {did_you_mean(words[0], choices)}Allowed: {', '.join(choices)}."
            raise WrongValue(words[0], info.type, message)
        return words[0]

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(choices)}}}",
        instance_from_str=read,
        is_instance=lambda value: value in choices,
        str_from_instance=lambda value: [value],
    )


@REGISTRY.primitive_rule
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


@REGISTRY.primitive_rule
def _list(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Values between spaces or commas."""
    if get_origin(info.type) is not tuple or get_args(info.type)[1:] != (Ellipsis,):
        return None
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(get_args(info.type)[0], info.markers))
    assert isinstance(spec, PrimitiveConstructorSpec)

    def read(words: list[str]) -> tuple[Any, ...]:
        return tuple(spec.instance_from_str([piece]) for word in words for piece in word.split(",") if piece)

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"{spec.metavar} ...",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda values: [word for value in values for word in spec.str_from_instance(value)],
    )


def did_you_mean(typed: str, names: Iterable[str]) -> str:
    """A sentence with the name nearest to a mistyped one; empty if none is near."""
    # Without the dashes, which all options share: `--resume` does not mean `--fresh`.
    bare = typed.lstrip("".join(DASHES)).lower()
    by_word = {name.lstrip("-"): name for name in names}
    # `--lr` resembles `--learning-rate` by its initials alone.
    near = [name for name in by_word.values() if _initials(name) == bare]
    near += [by_word[word] for word in difflib.get_close_matches(bare, by_word, n=1)]
    return f"Did you mean {near[0]}? " if near else ""


def _initials(name: str) -> str:
    return "".join(part[:1] for part in name.strip("-").split("-"))


def shortened(word: str, most: int = 60) -> str:
    """A word in quotes; the start of a very long one."""
    return repr(word if len(word) <= most else word[:most] + "...")
