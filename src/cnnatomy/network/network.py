"""A network: tail (data to weak features), body (weak to strong), head (prediction)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from cnnatomy.errors import UserError
from cnnatomy.layers.layer import Layer, Shape, Value, value
from cnnatomy.network.block import Block, Composition, Named, composition
from cnnatomy.network.graph import FeatureMap, Graph

if TYPE_CHECKING:
    import torch


@composition
class Heads(Composition):
    """Several heads, by name, on one tail and body: `Heads(classes=..., depth=...)`.

    Each reads the body's output, or, where the body returns several, the one whose number `reads` gives for its name.
    Heads named in `auxiliary` exist in training alone: built, the module leaves them out in evaluation.
    Built, the result is a dictionary by name, or the tensor itself where only one head is left.
    """

    reads: tuple[tuple[str, int], ...] = ()
    auxiliary: tuple[str, ...] = ()

    def __init__(self, *parts: Named, **named: Any) -> None:
        super().__init__(*parts, **named)
        for name in ("reads", "auxiliary"):
            if isinstance(getattr(self, name), (Layer, Block, str)):
                raise UserError(f"Heads: {name!r} is an option, no name for a head, got {getattr(self, name)!r}")
        reads = self.reads.items() if isinstance(self.reads, Mapping) else self.reads
        object.__setattr__(self, "reads", tuple((name, number) for name, number in reads))
        object.__setattr__(self, "auxiliary", tuple(self.auxiliary))
        unknown = {name for name, _ in self.reads} | set(self.auxiliary)
        unknown -= {part.name for part in self.parts if isinstance(part, Named)}
        if unknown or not self.parts or not all(isinstance(part, Named) for part in self.parts):
            raise UserError(
                f"Heads: every head needs a name, and these have no head: {', '.join(sorted(unknown)) or '-'}"
            )

        if len(self.auxiliary) == len(self.parts):
            raise UserError("Heads: at least one head must not be auxiliary")

    def __call__(self, *maps: FeatureMap) -> Any:
        reads = dict(self.reads)
        if not all(0 <= number < len(maps) for number in reads.values()):
            raise UserError(f"Heads: reads {reads}, but the body returns {len(maps)} feature maps")
        return tuple(part(maps[reads.get(part.name, 0)]) for part in self.parts if isinstance(part, Named))


Piece = Layer | Block


@value
class Network(Value):
    """A convolutional network as a value: described once, read by everything.

    `input` is the default input shape (channels, rows, columns); `name` says what tables call it and is not compared.
    """

    tail: Piece
    body: Piece
    head: Piece
    input: Shape = (3, 224, 224)
    name: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "input", tuple(self.input))
        for part in (self.tail, self.body, self.head):
            if not isinstance(part, (Layer, Block)):
                raise UserError(f"Network: tail, body and head are layers or blocks, got {part!r}")

    @property
    def heads(self) -> dict[str, Piece]:
        """The heads by name; a single one is called `head`."""
        if isinstance(self.head, Heads):
            return {part.name: part.part for part in self.head.parts if isinstance(part, Named)}
        return {"head": self.head}

    def with_heads(
        self, *, reads: Mapping[str, int] | None = None, auxiliary: Iterable[str] = (), **heads: Piece
    ) -> Self:
        """The same tail and body with several heads, by name; see `Heads`."""
        return self.replace(head=Heads(reads=reads or (), auxiliary=auxiliary, **heads))

    def __call__(self, x: FeatureMap) -> Any:
        for name, part in (("tail", self.tail), ("body", self.body), ("head", self.head)):
            maps = x if isinstance(x, tuple) else (x,)
            x = Named(name, part)(*maps)
        return x

    def graph(self, input: Shape | None = None) -> Graph:
        """The nodes and feature maps of this network for one input shape (default: its own).

        Raises:
            ShapeError: naming the path and layer where a feature map does not fit.
        """
        return Graph.trace(self, tuple(input or self.input))

    def build(self, input: Shape | None = None) -> torch.nn.Module:
        """An ordinary torch module with `.tail`, `.body` and `.head`, nested and named as the paths of the graph."""
        from cnnatomy.network.build import build

        return build(self.graph(input))

    def account(self, input: Shape | None = None) -> Any:
        """What every layer costs and can see; see `cnnatomy.analysis.Account`."""
        from cnnatomy.analysis import account

        return account(self.graph(input), self.name)
