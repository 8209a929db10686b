"""What readers of other people's networks need beside our own layers, to count what they read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnnatomy.errors import UserError
from cnnatomy.layers.interval import Interval
from cnnatomy.layers.layer import (
    ELEMENT,
    GLOBAL,
    REARRANGEMENT,
    TRAINING,
    UNKNOWN,
    Layer,
    Operations,
    Shape,
    Window,
    value,
)
from cnnatomy.layers.memory import INPUT, Memory, Saved, Scratch

if TYPE_CHECKING:
    import torch

NamedShapes = tuple[tuple[str, Shape], ...]
_MIXES_NO_PIXELS = (ELEMENT, REARRANGEMENT, TRAINING)


@value
class Foreign(Layer):
    """A function that is none of our layers, whose cost is known: its name, the shape it gives, its operations.

    `learned` and `stored` are the tensors that it reads, by name; `mixes` is its kind. Where it mixes pixels, `sees` is
    the window through which it reads them, or None where it may read all. It cannot be built.
    """

    what: str
    shape: Shape
    costs: Operations = Operations()
    mixes: str = ELEMENT
    learned: NamedShapes = ()
    stored: NamedShapes = ()
    sees: Window | None = None

    stem = "function"
    memory = Memory(INPUT)  # the usual case, and an assumption

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", self.mixes)
        object.__setattr__(self, "stem", self.what)

    @property
    def brief(self) -> str:
        return self.what

    def output_shape(self, *inputs: Shape) -> Shape:
        return self.shape

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return dict(self.learned)

    def buffers(self, *inputs: Shape) -> dict[str, Shape]:
        return dict(self.stored)

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        return self.costs

    def window(self, *inputs: Shape) -> Window | None:
        return self.sees or (None if self.mixes in _MIXES_NO_PIXELS else GLOBAL)

    def module(self, *inputs: Shape) -> torch.nn.Module:
        raise UserError(f"{self.what} is counted, but is not one of our layers, so it cannot be built")


@value
class Derived(Layer):
    """A layer whose weights are computed from other tensors (weight standardisation, weight norm, a fixed filter).

    `learned` and `stored` are those tensors, by name, in place of the layer's own; `costs` is what the computation of
    the weights costs, in each run; `unknown` names functions in it that have no rule.
    """

    layer: Layer
    learned: NamedShapes = ()
    stored: NamedShapes = ()
    costs: Operations = Operations()
    unknown: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", UNKNOWN if self.unknown else self.layer.kind)
        object.__setattr__(self, "memory", self.layer.memory)
        object.__setattr__(self, "stem", self.layer.stem or type(self.layer).__name__.lower())

    @property
    def what(self) -> str:
        """The functions without a rule."""
        return ", ".join(self.unknown)

    @property
    def brief(self) -> str:
        return f"{self.layer.brief} of computed weights"

    def output_shape(self, *inputs: Shape) -> Shape:
        return self.layer.output_shape(*inputs)

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return dict(self.learned)

    def buffers(self, *inputs: Shape) -> dict[str, Shape]:
        return dict(self.stored)

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        return Operations(*map(sum, zip(self.layer.operations(inputs, output), self.costs, strict=True)))

    def interval(self, *inputs: Interval) -> Interval:
        return self.layer.interval(*inputs)

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        return self.layer.saves(inputs, output)

    def scratch(self, inputs: Sequence[Shape], output: Shape) -> Scratch:
        return self.layer.scratch(inputs, output)

    def window(self, *inputs: Shape) -> Window | None:
        return self.layer.window(*inputs)

    def module(self, *inputs: Shape) -> torch.nn.Module:
        raise UserError(f"{self.layer!r} computes its weights from other tensors, which no layer of ours does")


@value
class Each(Layer):
    """A layer applied to each of n things alike: (n, ...) becomes (n, ...), with one set of weights.

    `Each(FullyConnected(8))` of (rows, columns, channels) treats every pixel; what it reads of several inputs is one
    thing of each.
    """

    layer: Layer

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", self.layer.kind)
        object.__setattr__(self, "memory", self.layer.memory)
        object.__setattr__(self, "stem", self.layer.stem or type(self.layer).__name__.lower())

    @property
    def brief(self) -> str:
        return f"Each({self.layer.brief})"

    def _one(self, inputs: Sequence[Shape]) -> list[Shape]:
        return [shape[1:] for shape in inputs]

    def output_shape(self, *inputs: Shape) -> Shape:
        if not inputs or any(len(shape) < 2 or shape[0] != inputs[0][0] for shape in inputs):
            self._refuse(inputs, "inputs of at least two axes, the first of which agree")
        return (inputs[0][0], *self._as(self.layer, *self._one(inputs)))

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return self.layer.parameters(*self._one(inputs))

    def buffers(self, *inputs: Shape) -> dict[str, Shape]:
        return self.layer.buffers(*self._one(inputs))

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        each = self.layer.operations(self._one(inputs), output[1:])
        return Operations(*(output[0] * count for count in each))

    def interval(self, *inputs: Interval) -> Interval:
        return self.layer.interval(*inputs)

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        saved = self.layer.saves(self._one(inputs), output[1:])
        return saved._replace(own=tuple(e._replace(elements=e.elements * output[0]) for e in saved.own))

    def scratch(self, inputs: Sequence[Shape], output: Shape) -> Scratch:
        return Scratch(self.saves(inputs, output).own)

    def is_view(self, training: bool) -> bool:
        return self.layer.is_view(training)

    def window(self, *inputs: Shape) -> Window | None:
        return self.layer.window(*self._one(inputs))

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from cnnatomy.layers import torch_modules

        return torch_modules.EachModule(self.layer.module(*self._one(inputs)))
