"""What a user says of the inputs of a network: their shapes, and where it matters their names and types.

`3x224x224`, `1x16000`, `7`, `tokens:77:int64`: the name first, the type last, the sizes without the batch between them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cnnatomy.errors import UserError, nearest, quoted, some_of
from cnnatomy.layers.layer import Shape, Value, value
from cnnatomy.limits import MAX_AXES, MAX_INPUT_SIZE, MAX_INPUTS

TYPES = (
    *("float32", "float16", "bfloat16", "float64"),
    *("int64", "int32", "int16", "int8", "uint8", "bool"),
)
"""Types of the numbers of an input, as torch and numpy call them."""

NO_AXES = "scalar"
"""What is written for the sizes of an input that is one number for each image, such as a time step."""

MAX_DIGITS = 20
"""Of a size; a number that has more is above every limit."""


@value
class GivenInput(Value):
    """One input as a user gives it: its shape without the batch, its name if it has one, its type if it is said."""

    shape: Shape
    name: str = ""
    type: str = ""

    def __str__(self) -> str:
        """As it is written: `tokens:77:int64`."""
        sizes = "x".join(map(str, self.shape)) if self.shape else NO_AXES
        return ":".join(part for part in (self.name, sizes, self.type) if part)


@value
class InputShapes(Value):
    """The inputs that a user gives, in their order; not all that a network has need be among them."""

    given: tuple[GivenInput, ...]


AskedInput = Shape | InputShapes
"""What commands pass on: the shape of the one input, or of the first; or several, with their names and types."""


def parse(text: str) -> AskedInput:
    """The inputs of a command line, with spaces between them; one that has no name and no type is its shape.

    Raises:
        UserError: naming the part that is no input, or is given twice.
    """
    return joined([_parsed(word) for word in text.split() or [text]])


def joined(inputs: list[GivenInput]) -> AskedInput:
    """Several as one value.

    Raises:
        UserError: where a name comes twice, or where there are too many.
    """
    if len(inputs) > MAX_INPUTS:
        raise UserError(f"{len(inputs):,} inputs are given; at most {MAX_INPUTS} are possible")
    names = [one.name for one in inputs if one.name]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"the input {quoted(twice)} is given twice")
    plain = len(inputs) == 1 and inputs[0].shape and not inputs[0].name and not inputs[0].type
    return inputs[0].shape if plain else InputShapes(tuple(inputs))


def _parsed(word: str) -> GivenInput:
    *before, last = word.split(":")
    kind = ""
    if before and last in TYPES:
        kind, (*before, last) = last, before
    elif last and before and _sizes(last) is None and _sizes(before[-1]) is not None:
        raise UserError(f"{quoted(word)}: there is no type {quoted(last)}.{nearest(last, TYPES)} {_known()}")
    sizes = _sizes(last)
    if sizes is None:
        raise UserError(f"{quoted(word)} is no input: write its sizes without the batch, such as 3x224x224; {_forms()}")
    if len(sizes) >= MAX_AXES:
        raise UserError(f"{quoted(word)} has {len(sizes):,} axes; at most {MAX_AXES - 1} and the batch are possible")
    if sizes and not 1 <= min(sizes) <= max(sizes) <= MAX_INPUT_SIZE:
        raise UserError(f"{quoted(word)}: every size must be from 1 to {MAX_INPUT_SIZE:,}")
    return GivenInput(sizes, ":".join(before), kind)


def _sizes(text: str) -> Shape | None:
    """`3x224x224` or `3,224,224`; None for anything else."""
    if text.lower() == NO_AXES:
        return ()
    sizes = [size.strip() for size in text.lower().replace(",", "x").split("x")]
    if not all(size.isascii() and size.isdigit() for size in sizes):
        return None
    return tuple(int(size) if len(size) <= MAX_DIGITS else 0 for size in sizes)


def _forms() -> str:
    return "of several NAME:SIZES, with :TYPE after them where it is not float32, such as tokens:77:int64"


def _known() -> str:
    return f"Types are {', '.join(TYPES)}."


def one_shape(what: str, asked: AskedInput | None) -> Shape | None:
    """The shape for a network whose one input has no name; `what` is what has it.

    Raises:
        UserError: if several are given, or a name or a type.
    """
    if not isinstance(asked, InputShapes):
        return asked
    if len(asked.given) != 1:
        raise UserError(f"{what} has one input; {len(asked.given)} are given: {asked_text(asked)}")
    one = asked.given[0]
    if one.name:
        raise UserError(f"{what} has one input, which has no name: leave out {quoted(one.name + ':')} of {quoted(one)}")
    if one.type not in ("", TYPES[0]):
        raise UserError(f"the input of {what} is of real numbers, not of {one.type}: leave out the type")
    return one.shape


def assigned(
    asked: AskedInput | None, axes: Mapping[str, int | None], types: Mapping[str, str] | None = None
) -> dict[str, GivenInput]:
    """Which inputs of a network are given, by their names: those that are given by name, and the others in their order.

    Args:
        axes: the inputs of the network in their order, and how many axes each has without the batch; None where any
            number fits.
        types: the types of those of which it is known.

    Raises:
        UserError: where a name is none of the network's, or more are given than there are, or of other axes or types.
    """
    if asked is None:
        return {}
    all_given = given(asked)
    found = {one.name: one for one in all_given if one.name}
    for name, one in found.items():
        if name not in axes:
            raise UserError(
                f"--input {one}: the network has {_listed(axes)}, none is {quoted(name)}.{nearest(name, axes)}"
            )
    free = [name for name in axes if name not in found]
    unnamed = [one for one in all_given if not one.name]
    if len(unnamed) > len(free):
        raise UserError(
            f"--input gives {_inputs(len(all_given))}, {asked_text(asked)}; the network has {_listed(axes)}"
        )
    found |= dict(zip(free, unnamed, strict=False))
    for name, one in found.items():
        expected, kind = axes[name], (types or {}).get(name, "")
        if expected is not None and len(one.shape) != expected:
            got = _axes(len(one.shape))
            raise UserError(
                f"the input {quoted(name)} has {_axes(expected)} without the batch; --input {one} gives {got}"
            )
        if one.type and kind and one.type != kind:
            raise UserError(f"the input {quoted(name)} is of type {kind}; --input {one} says {one.type}")
    return found


def given(asked: AskedInput) -> tuple[GivenInput, ...]:
    """What is asked for, one by one."""
    return asked.given if isinstance(asked, InputShapes) else (GivenInput(asked),)


def asked_text(asked: AskedInput) -> str:
    """As it is written on a command line."""
    return " ".join(map(str, given(asked)))


def _listed(names: Collection[str]) -> str:
    return f"{_inputs(len(names))}: {some_of([quoted(name) for name in names])}" if names else "no input"


def _inputs(number: int) -> str:
    return "1 input" if number == 1 else f"{number:,} inputs"


def _axes(number: int) -> str:
    return "1 axis" if number == 1 else f"{number} axes"
