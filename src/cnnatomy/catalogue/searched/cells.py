"""Cells: the search space of Zoph et al. 2017 (Learning transferable architectures), shared by all families here.

A cell is data. It reads the outputs of the two cells before it, states 0 and 1; each of its pairs applies an operation
to each of two states and adds the results, which is the next state; some states, concatenated, are its output.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from cnnatomy.catalogue.entry import Entry
from cnnatomy.design import Block, Chain, Composition, FeatureMap, LinearHead, Named, Network
from cnnatomy.design.blocks import composition
from cnnatomy.errors import UserError, nearest
from cnnatomy.layers import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Crop,
    DepthwiseConv,
    MaxPool,
    ReLU,
    Subsample,
    ZeroPad,
)
from cnnatomy.layers.layer import Pair, value

Operation = Literal["identity", "sep 3x3", "sep 5x5", "sep 7x7", "1x7 7x1", "avg 3x3", "max 3x3"]
OPERATIONS: tuple[str, ...] = get_args(Operation)

PREVIOUS, CURRENT = 0, 1
"""The states that a cell starts with: the output of the cell before the last, and of the last. Pair p makes p + 1."""

Pairs = tuple[tuple[Operation, int, Operation, int], ...]
"""For each pair its left operation and the state that it reads, and its right operation and state."""


def norm(x: FeatureMap) -> FeatureMap:
    """Batch norm with TensorFlow's epsilon, as in the released networks."""
    return BatchNorm(1e-3)(x)


def relu_conv_bn(x: FeatureMap, filters: int, kernel: int | Pair = 1, stride: int | Pair = 1) -> FeatureMap:
    """ReLU, convolution without bias, batch norm: the order of every layer here."""
    return norm(Conv(filters, kernel, stride, padding="same", bias=False)(ReLU()(x)))


@value
class Separable(Block):
    """ReLU, depthwise and 1x1 convolution, batch norm; all twice, the stride in the first (appendix A.4)."""

    filters: int
    kernel: int
    stride: int = 1

    def __call__(self, x: FeatureMap) -> FeatureMap:
        for stride in (self.stride, 1):
            x = DepthwiseConv(self.kernel, stride, padding="same", bias=False)(ReLU()(x))
            x = norm(Conv(self.filters, 1, bias=False)(x))
        return x


@value
class FactorizedReduction(Block):
    """Halves rows and columns by 1x1 convolutions, half of the filters on the even pixels and half on the odd."""

    filters: int

    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = ReLU()(x)
        even = Conv(self.filters // 2, 1, bias=False)(Subsample(2)(x))
        between = Crop((1, 0, 1, 0))(ZeroPad((0, 1, 0, 1))(x))
        odd = Conv(self.filters - self.filters // 2, 1, bias=False)(Subsample(2)(between))
        return norm(Concat()(even, odd))


@value
class Branch(Block):
    """One operation of a cell, with `filters` channels at the end.

    Average pools of stride 2 count their padding as zeros, as in timm; TensorFlow leaves it out of the mean.
    """

    operation: Operation
    filters: int
    stride: int = 1

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            near = nearest(str(self.operation), OPERATIONS)
            raise UserError(f"a cell has no operation {self.operation!r}.{near} It knows: {', '.join(OPERATIONS)}")

    def __call__(self, x: FeatureMap) -> FeatureMap:
        kind, _, size = self.operation.partition(" ")
        if kind == "identity":
            return relu_conv_bn(x, self.filters, 1, self.stride)
        if kind == "sep":
            return Separable(self.filters, int(size[0]), self.stride)(x)
        if kind == "1x7":
            y = relu_conv_bn(x, max(1, self.filters // 4))
            y = relu_conv_bn(y, y.channels, (1, 7), (1, self.stride))
            y = relu_conv_bn(y, y.channels, (7, 1), (self.stride, 1))
            return relu_conv_bn(y, self.filters)
        y = self.pool(kind, x)
        return y if y.channels == self.filters else norm(Conv(self.filters, 1, bias=False)(y))

    def pool(self, kind: str, x: FeatureMap) -> FeatureMap:
        """3x3 pooling that leaves ceil(size / stride): TensorFlow's `same`, the odd pixel at the bottom and right."""
        if self.stride == 1:
            return MaxPool(3, 1, padding=1)(x) if kind == "max" else AvgPool(3, 1, padding=1, count_padding=False)(x)
        top, left = (size % 2 for size in x.shape[1:])
        if kind == "max":
            return MaxPool(3, 2, padding=(top, left), ceil=True)(x)
        return AvgPool(3, 2)(ZeroPad((top, 1, left, 1))(x))


@value
class Cell(Block):
    """A table of pairs as a block: reads the outputs of the two cells before it (figure 2 right).

    Both are first brought to `filters` channels, and the older one to the size of the newer; the first cell of a
    network, which reads one map twice, takes it once as it is. A stride applies to the two inputs, not within.
    """

    filters: int
    pairs: Pairs
    output: tuple[int, ...]
    stride: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", tuple(tuple(pair) for pair in self.pairs))
        object.__setattr__(self, "output", tuple(self.output))
        states = [(state, number) for number, pair in enumerate(self.pairs) for state in (pair[1], pair[3])]
        states += [(state, len(self.pairs)) for state in self.output]
        wrong = [state for state, pairs_before in states if not 0 <= state < 2 + pairs_before]
        if wrong or not self.output:
            raise UserError(f"Cell: a pair reads 0, 1 or the number of a pair before it (from 2), got {wrong}")

    def __call__(self, previous: FeatureMap, current: FeatureMap) -> FeatureMap:
        states = [self.fit(previous, current), relu_conv_bn(current, self.filters)]
        for number, (left, i, right, j) in enumerate(self.pairs, start=1):
            a = self.branch(f"pair{number}_left", left, i, states)
            b = self.branch(f"pair{number}_right", right, j, states)
            states.append(Add()(a, b))
        return Concat()(*[states[i] for i in self.output])

    def fit(self, previous: FeatureMap, current: FeatureMap) -> FeatureMap:
        """The older input in the size and channels of the newer."""
        if previous is current:
            return previous
        if previous.shape[1:] != current.shape[1:]:
            return FactorizedReduction(self.filters)(previous)
        return relu_conv_bn(previous, self.filters)

    def branch(self, name: str, operation: Operation, state: int, states: list[FeatureMap]) -> FeatureMap:
        """An operation on a state, strided if that is an input of the cell."""
        x, stride = states[state], self.stride if state in (PREVIOUS, CURRENT) else 1
        if operation == "identity" and stride == 1 and x.channels == self.filters:
            return x
        x.graph.ask(name)
        return Branch(operation, self.filters, stride)(x)


@composition
class Cells(Composition):
    """A chain in which every part reads the outputs of the two before it; the first reads the input twice.

    The part that follows one named in `around` does not read what came just before that one, but what came before that:
    NASNet-A large skips around its reduction cells.
    """

    around: tuple[str, ...] = ()

    def __call__(self, x: FeatureMap) -> FeatureMap:
        previous = current = x
        for part in self.parts:
            result = part(previous, current)
            if not (isinstance(part, Named) and part.name in self.around):
                previous = current
            current = result
        return current


@value
class StemConv(Block):
    """The tail: a 3x3 convolution of stride 2 without padding, and batch norm; the first cells bring the ReLU."""

    filters: int

    stem = "tail"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        return norm(Conv(self.filters, 3, 2, bias=False)(x))


def network_of_cells(stem: int, cells: Cells, classes: int) -> Network:
    """The frame of every network here: `stem` filters, the cells, ReLU, and a linear classifier with dropout."""
    return Network(tail=StemConv(stem), body=Chain(cells=cells, relu=ReLU()), head=LinearHead(classes, dropout=0.5))


class Found(NamedTuple):
    """What a search found: a normal cell that keeps the size, a reduction cell that halves it, and their outputs."""

    normal: Pairs
    normal_output: tuple[int, ...]
    reduction: Pairs
    reduction_output: tuple[int, ...]

    def cells(self, repeats: int, filters: int, around: tuple[str, ...] = ()) -> Cells:
        """Two reductions, then three stacks of so many normal cells with a reduction between (figure 2 left).

        The filters double at every reduction, so that the first stack has `filters`.
        """

        def halving(filters: int) -> Cell:
            return Cell(filters, self.reduction, self.reduction_output, stride=2)

        cells = {"stem1": halving(filters // 4), "stem2": halving(filters // 2)}
        for stack in range(3):
            if stack:
                cells[f"reduction{stack}"] = halving(filters << stack)
            for number in range(stack * repeats + 1, (stack + 1) * repeats + 1):
                cells[f"normal{number}"] = Cell(filters << stack, self.normal, self.normal_output)
        return Cells(around=around, **cells)


BLOCKS = (Separable, FactorizedReduction, Branch, Cell, Cells, StemConv)
ENTRIES: tuple[Entry, ...] = ()
"""Cells are parts; the networks made of them are in the files beside this one."""
