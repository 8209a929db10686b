"""What every layer kind promises: its shape rule, its tensors, its operations, its window and its torch module."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn, Protocol, Self, TypeVar, dataclass_transform

from cnnatomy.errors import LimitError, ShapeError, UserError, shown
from cnnatomy.layers.interval import ANY, ZERO, Interval, Values
from cnnatomy.layers.memory import Memory, Saved, Scratch
from cnnatomy.limits import MAX_LAYER_SIZE, MAX_WINDOW

if TYPE_CHECKING:
    import torch

Shape = tuple[int, ...]
"""(channels, rows, columns) of a map, (features,) of a vector, (time, features) of a sequence; never the batch."""

Pair = tuple[int, int]
"""(rows, columns)"""

Sides = tuple[int, int, int, int]
"""(top, bottom, left, right)"""

CHANNEL_AND_SPACE = "channel and space"
CHANNEL = "channel"
SPACE = "space"
ELEMENT = "element"
TIME = "time"
REARRANGEMENT = "rearrangement"
TRAINING = "training"
KINDS = (CHANNEL_AND_SPACE, CHANNEL, SPACE, ELEMENT, TIME, REARRANGEMENT, TRAINING)
"""The lectures' seven kinds of layer, by the dimensions in which a layer combines information."""

UNKNOWN = "not counted"
"""The kind of what a reader met and has no rule for."""


class Operations(NamedTuple):
    """How many operations of each kind one image needs.

    A `mac` is one multiply-accumulate of a matrix product or convolution; `multiply` is a multiplication that
    accumulates nothing (a scale, a gate). The other four are Netscope's. A window of k values counts k operations,
    because its accumulator starts at zero (or at minus infinity), as it does for a convolution's MACs.
    """

    mac: int = 0
    multiply: int = 0
    add: int = 0
    compare: int = 0
    divide: int = 0
    exponential: int = 0

    def __repr__(self) -> str:
        return _named(self)


NO_OPERATIONS = Operations()


def times(n: int, each: Operations) -> Operations:
    """The operations of n things of which each needs so many."""
    return Operations(*(n * count for count in each))


class Window(NamedTuple):
    """Which input pixels one output pixel reads, per axis (rows, columns).

    `padding` is what lies before the first row and column; `upsample` is the number of output pixels to one input
    pixel where a layer enlarges the map.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    upsample: Pair = (1, 1)

    def __repr__(self) -> str:
        return _named(self)


def _named(values: Any) -> str:
    """A named tuple as source code: the fields that are not their defaults."""
    defaults = values._field_defaults
    given = [f"{name}={got!r}" for name, got in values._asdict().items() if got != defaults.get(name, ())]
    return f"{type(values).__name__}({', '.join(given)})"


GLOBAL = Window((0, 0))
"""The window of a layer in which every output reads every pixel."""

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def value(cls: type[_T]) -> type[_T]:
    """A frozen dataclass that keeps the short `repr` of `Value`."""
    return dataclasses.dataclass(frozen=True, repr=False)(cls)


@functools.cache
def _fields(kind: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)


class Value:
    """An immutable value: equal and hashed by its fields, with a short `repr` that evaluates back, and `replace`."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._arguments())})"

    def _arguments(self) -> Iterator[str]:
        """The fields as source code: required ones by position, others by name where they differ from the default."""
        for field in _fields(type(self)):  # type: ignore[arg-type]
            got = getattr(self, field.name)
            if field.default is dataclasses.MISSING:
                yield repr(got)
            elif got != field.default:
                yield f"{field.name}={got!r}"

    def replace(self, **changes: Any) -> Self:
        """This value with some fields changed: `Conv(64, 3).replace(stride=2)`."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def _count(self, **fields: object) -> None:
        """Refuses numbers that are no positive integer."""
        for name, got in fields.items():
            if type(got) is not int or not 1 <= got <= MAX_LAYER_SIZE:
                raise self._wrong(f"{name} must be a positive integer", got, MAX_LAYER_SIZE)

    def _finite(self, least: float = -inf, **fields: object) -> None:
        """Refuses what is no number, endless, or below `least`."""
        for name, got in fields.items():
            if not isinstance(got, (int, float)) or type(got) is bool or not -inf < got < inf or got < least:
                what = "a finite number" if least == -inf else f"a finite number of at least {least:g}"
                raise UserError(f"{type(self).__name__}: {name} must be {what}, got {shown(got)}")

    def _positive(self, **fields: object) -> None:
        """Refuses sizes below 1; makes lists tuples and equal pairs one number, so that equal means same."""
        self._at_least(1, "a positive integer", fields)

    def _not_negative(self, **fields: object) -> None:
        """The same for sizes that may be 0."""
        self._at_least(0, "an integer of at least 0", fields)

    def _at_least(self, least: int, what: str, fields: dict[str, object]) -> None:
        for name, got in fields.items():
            if type(got) is int and least <= got <= MAX_WINDOW:
                continue
            numbers = got if isinstance(got, (tuple, list)) else (got,)
            fits = all(type(n) is int and least <= n <= MAX_WINDOW for n in numbers)
            if not fits or len(numbers) > 2 or not numbers:
                raise self._wrong(f"{name} must be {what} or a pair of them", got, MAX_WINDOW)
            if got is not numbers:
                continue
            same = len(set(numbers)) == 1
            object.__setattr__(self, name, numbers[0] if same else tuple(numbers))

    def _wrong(self, expected: str, got: object, limit: int) -> UserError:
        numbers = got if isinstance(got, (tuple, list)) else (got,)
        message = f"{type(self).__name__}: {expected}"
        if any(type(n) is int and n > limit for n in numbers):
            return LimitError(f"{message}, at most {limit:,}, got {shown(got)}")
        return UserError(f"{message}, got {shown(got)}")


class Map(Protocol):
    """What a layer is applied to: a feature map that can add one more layer to the graph it belongs to."""

    @property
    def shape(self) -> Shape: ...

    def apply(self, layer: Layer, inputs: Sequence[Any]) -> Self: ...


M = TypeVar("M", bound=Map)


class Layer(Value):
    """One kind of computation. Calling it on feature maps adds a node to their graph and returns the output map.

    A new kind overrides `output_shape` and whatever else is not nothing: `parameters`, `buffers`, `operations`,
    `window`, and either `module` (torch has one) or `compute` (it does not).
    """

    kind: ClassVar[str]
    """One of `KINDS`."""

    stem: ClassVar[str] = ""
    """What a path calls it: `conv` in `body.block1.conv2`. Empty: the class name in lower case."""

    memory: ClassVar[Memory] = Memory()
    """How it treats memory when torch runs it."""

    values: ClassVar[Values] = ANY
    """Where its outputs lie, unless it says so in `interval`."""

    timed_as: ClassVar[str] = ""
    """The class of kernels that computes it on a CPU; see `kernels`."""

    @property
    def brief(self) -> str:
        """What a table calls it: its source code, but for what is none of our layers."""
        return repr(self)

    def __call__(self, *inputs: M) -> M:
        if not inputs or not hasattr(inputs[0], "apply"):
            raise UserError(f"{self!r} is a description: call it on feature maps, or build a Network of it")
        return inputs[0].apply(self, inputs)

    def output_shape(self, *inputs: Shape) -> Shape:
        """The shape of the output.

        Raises:
            ShapeError: naming this layer, what it got, what it needs and the likely remedy.
        """
        raise NotImplementedError

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        """The shape of each learned tensor, by the name that torch gives it."""
        return {}

    def buffers(self, *inputs: Shape) -> dict[str, Shape]:
        """The shape of each tensor that is stored with the weights but not learned."""
        return {}

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        """What one image costs."""
        return NO_OPERATIONS

    def window(self, *inputs: Shape) -> Window | None:
        """The pixels that one output pixel reads; None where no pixel moves, `GLOBAL` where each reads all."""
        return None

    def interval(self, *inputs: Interval) -> Interval:
        """Bounds of the output's elements at inference, whatever the weights, if the inputs' are within theirs."""
        if isinstance(self.values, Interval):
            return self.values
        return inputs[0].hull(*inputs[1:], *([ZERO] if self.values == "kept or zero" else []))

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        """What autograd keeps of it for the backward pass."""
        return self.memory.saves

    def scratch(self, inputs: Sequence[Shape], output: Shape) -> Scratch:
        """What it holds only while it runs, beside inputs, output and their gradients (kernels' own space left out)."""
        return Scratch(self.saves(inputs, output).own)

    def is_view(self, training: bool) -> bool:
        """Whether the output is the memory of the input."""
        return self.memory.view

    def kernels(self, *inputs: Shape) -> str:
        """The class of kernels that computes it on a CPU, as `cnnatomy calibrate` times them; empty where none is.

        A convolution has several, by batch and threads: see `analysis.kernels`.
        """
        return self.timed_as or ("view" if self.is_view(training=False) else "")

    def module(self, *inputs: Shape) -> torch.nn.Module:
        """The torch module that computes this layer: torch's own where it has one."""
        from cnnatomy.layers.torch_modules import Computed

        return Computed(self, inputs)

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        """The computation itself, for a kind that torch has no module for: `tensors` are its parameters and buffers."""
        raise NotImplementedError

    def initial(self, name: str, shape: Shape) -> torch.Tensor:
        """Start values of a parameter or buffer, for a kind that torch has no module for.

        A bias starts at zero; weights are uniform within 1/sqrt(fan-in), as in torch's own layers.
        """
        import torch

        if name.startswith("bias"):
            return torch.zeros(shape)
        bound = max(1, _product(shape[1:])) ** -0.5
        return torch.empty(shape).uniform_(-bound, bound)

    def _refuse(self, inputs: Sequence[Shape], needs: str, remedy: str = "") -> NoReturn:
        got = " and ".join(dimensions(shape) for shape in inputs)
        raise ShapeError(f"{self!r} got {got}, needs {needs}" + (f": {remedy}" if remedy else ""))

    def _as(self, other: Layer, *inputs: Shape) -> Shape:
        """The output shape of another layer that this one works like; a refusal names this one."""
        try:
            return other.output_shape(*inputs)
        except ShapeError as error:
            raise ShapeError(f"{self!r}{str(error).removeprefix(repr(other))}") from None

    def _map(self, *inputs: Shape) -> tuple[int, int, int]:
        """The one input, which must be a feature map."""
        if len(inputs) != 1 or len(inputs[0]) != 3:
            self._refuse(inputs, "one feature map (channels, rows, columns)")
        return inputs[0]

    def _equal(self, *inputs: Shape) -> Shape:
        """The shape that two or more inputs have in common."""
        if len(inputs) < 2 or any(shape != inputs[0] for shape in inputs):
            remedy = "make strides and channels of the branches equal, or put a 1x1 convolution on one"
            self._refuse(inputs, "two or more inputs of one shape", remedy)
        return inputs[0]


def _product(shape: Shape) -> int:
    result = 1
    for size in shape:
        result *= size
    return result


elements = _product
"""Number of elements of a shape. A plain loop: on three numbers it is faster than `math.prod`."""


def dimensions(shape: Shape) -> str:
    """`64x56x56`, as tables and messages print a shape."""
    return "x".join(map(str, shape))


def pair(size: int | Pair) -> Pair:
    """The same number for rows and columns, unless a pair is given."""
    return size if isinstance(size, tuple) else (size, size)
