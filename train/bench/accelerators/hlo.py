"""Parse the text of a scheduled XLA program into computations, instructions and shapes, without interpreting them."""

import dataclasses
import math
import re

_BITS = {"pred": 8, "token": 0, "s4": 4, "u4": 4, "s2": 2, "u2": 2, "c64": 64, "c128": 128}
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,<=]*)\](?:\{([\d,]*)(?::([^{}]*))?\})?")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_INSTRUCTION = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = (.*)$")


@dataclasses.dataclass(frozen=True)
class Shape:
    """An array and its layout in memory.

    Attributes:
      dtype: Dtype as HLO writes it, such as bf16.
      dims: Size of each dimension.
      order: The dimensions from the fastest-varying to the slowest; () if the text does not say.
      tile: The first tile, to whose sizes the fastest dimensions are padded; () for none.
      space: Where the array is: 0 is the device's memory, 5 is the host's, other numbers are memories on the chip.
    """

    dtype: str
    dims: tuple[int, ...]
    order: tuple[int, ...] = ()
    tile: tuple[int, ...] = ()
    space: int = 0

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        """Size in bytes, with the padding to whole tiles."""
        dims = [self.dims[i] for i in reversed(self.order)] if len(self.order) == len(self.dims) else list(self.dims)
        for back, size in enumerate(reversed(self.tile[-len(dims) :] if dims else ()), start=1):
            dims[-back] = -(-dims[-back] // size) * size
        return math.prod(dims) * _bits(self.dtype) // 8

    @property
    def essential(self) -> tuple[int, ...]:
        """Sizes other than 1, sorted. All transposes of an array share them."""
        return tuple(sorted(size for size in self.dims if size != 1))


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
      name: Name, unique within the computation.
      opcode: Kind of instruction, such as fusion.
      shapes: Shape of the result, or one shape per element if the result is a tuple.
      operands: Names of the operands.
      inside: The text between the parentheses: the operands, or the value of a constant.
      attributes: The text after the parentheses.
      root: Whether this is the result of the computation.
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    inside: str
    attributes: str
    root: bool = False

    def attribute(self, name: str) -> str | None:
        """The value of an attribute up to the next comma or space, without a leading %; None if there is none."""
        found = re.search(rf"(?:^|[ ,]){name}=%?([^\s,]+)", self.attributes)
        return None if found is None else found[1]


Computation = dict[str, Instruction]


@dataclasses.dataclass(frozen=True)
class Module:
    """A compiled program.

    Attributes:
      header: First line of its text.
      computations: Maps a name to a computation, whose instructions are in the order of the schedule.
      entry: Name of the computation that runs first.
    """

    header: str
    computations: dict[str, Computation]
    entry: str

    @property
    def donated(self) -> int:
        """Number of outputs that reuse the memory of an argument."""
        start = self.header.find("input_output_alias={")
        return len(re.findall(r"\{[\d, ]*\}: \(\d+,", self.header[start:])) if start >= 0 else 0


def parse(text: str) -> Module:
    """Parse the text that `jax.stages.Compiled.as_text` returns.

    Raises:
      ValueError: If there is no entry computation.
    """
    lines = text.splitlines()
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in lines:
        head = _COMPUTATION.match(line)
        if head is not None:
            current = computations.setdefault(head[2], {})
            entry = head[2] if head[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and (found := _INSTRUCTION.match(line)) is not None:
            instruction = _instruction(found[2], found[3], bool(found[1]))
            current[instruction.name] = instruction
    if not entry:
        raise ValueError("no entry computation: expected the text of a compiled program.")
    return Module(lines[0], computations, entry)


def shapes(text: str) -> tuple[Shape, ...]:
    """The shapes of all arrays in a text, in order."""
    return tuple(_shape(*found.groups()) for found in _SHAPE.finditer(text))


def _instruction(name: str, text: str, root: bool) -> Instruction:
    text = re.sub(r"/\*.*?\*/", "", text)
    # The shape of a tuple is in parentheses and has spaces. The shape of an array has none.
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    opening = text.index("(", end)
    closing = _closing(text, opening)
    inside = text[opening + 1 : closing]
    operands = tuple(re.findall(r"%([\w.\-]+)", inside))
    opcode = text[end:opening].strip()
    return Instruction(name, opcode, shapes(text[:end]), operands, inside, text[closing + 1 :], root)


def _closing(text: str, opening: int) -> int:
    depth = 0
    for match in re.compile(r"[()]").finditer(text, opening):
        depth += 1 if match[0] == "(" else -1
        if depth == 0:
            return match.start()
    raise ValueError(f"unbalanced parentheses: {text[:80]}")


def _shape(dtype: str, dims: str, order: str | None, rest: str | None) -> Shape:
    tile = re.search(r"T\(([\d,]+)\)", rest or "")
    space = re.search(r"S\((\d+)\)", rest or "")
    return Shape(
        dtype,
        _numbers(dims.replace("<=", "")),
        _numbers(order or ""),
        _numbers(tile[1]) if tile else (),
        int(space[1]) if space else 0,
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number)


def _bits(dtype: str) -> int:
    if dtype in _BITS:
        return _BITS[dtype]
    digits = re.search(r"\d+", dtype)
    return int(digits[0]) if digits else 0
