"""A network: tail (data to weak features), body (weak to strong), head (prediction)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from cnnatomy.design.blocks import Block, Heads, Named
from cnnatomy.design.graph import FeatureMap, Graph, check_shape
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import Layer, Shape, Value, value

if TYPE_CHECKING:
    import torch

    from cnnatomy.analysis import Account


class Design(Value):
    """A network as a value, in any form: what every room takes that counts, criticises, changes, builds or trains one.

    `Network` says it by its parts, `ListedNetwork` by its nodes. `input` is the default input shape (channels, rows,
    columns); `name` says what tables call it and is not compared.
    """

    input: Shape
    name: str

    def graph(self, input: Shape | None = None) -> Graph:
        """The nodes and feature maps for one input shape (default: its own).

        Raises:
            ShapeError: naming the path and layer where a feature map does not fit.
        """
        raise NotImplementedError

    def build(self, input: Shape | None = None) -> torch.nn.Module:
        """An ordinary torch module, nested and named as the paths of the graph: `.tail`, `.body`, `.head`.

        Images of another size run where every layer takes them. Where one does not, the module raises a `ShapeError`
        with its path, what it got and what it was built for.
        """
        from cnnatomy.design.build import build

        return build(self.graph(input))

    def account(self, input: Shape | None = None) -> Account:
        """What every layer costs and can see."""
        from cnnatomy.analysis import account

        return account(self.graph(input), self.name)


LayerOrBlock = Layer | Block


@value
class Network(Design):
    """A convolutional network as a value: described once, read by everything.

    `input` is the default input shape (channels, rows, columns); `name` says what tables call it and is not compared.
    """

    tail: LayerOrBlock
    body: LayerOrBlock
    head: LayerOrBlock
    input: Shape = (3, 224, 224)
    name: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "input", check_shape(self.input))
        for part in (self.tail, self.body, self.head):
            if not isinstance(part, (Layer, Block)):
                raise UserError(f"Network: tail, body and head are layers or blocks, got {part!r}")

    @property
    def heads(self) -> dict[str, LayerOrBlock]:
        """The heads by name; a single one is called `head`."""
        if isinstance(self.head, Heads):
            return {part.name: part.part for part in self.head.parts if isinstance(part, Named)}
        return {"head": self.head}

    def with_heads(
        self, *, reads: Mapping[str, int] | None = None, auxiliary: Iterable[str] = (), **heads: LayerOrBlock
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
        return Graph.trace(self, self.input if input is None else check_shape(input))
