"""Networks of others with their weights: what the tensors of each layer are in the file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cnnatomy.design.graph import Graph, Node
from cnnatomy.design.listed import ListedNetwork, needed, plain
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import Shape, dimensions, elements


class StoredGraph(NamedTuple):
    """A graph that was read, and the tensors of its layers.

    Attributes:
        graph: as without weights.
        known: the nodes whose tensors the file has.
        tensors: gives those of a node as numpy arrays, by the names that they have in the layer, of any real type; the
            sizes may differ from the layer's in axes of 1.
        remedy: what can be done about a node that is none of our layers.
    """

    graph: Graph
    known: Collection[Node]
    tensors: Callable[[Node], Mapping[str, Any]]
    remedy: str


class StoredTensors(NamedTuple):
    """Those of one layer: the path of its node, what it is, and numpy arrays of float32 by their own names."""

    path: str
    tensors: dict[str, Any]


@dataclass(frozen=True)
class StoredNetwork:
    """A network of a file with its weights, which are in the file `source` and read when they are asked for."""

    network: ListedNetwork
    source: str
    _nodes: tuple[Node, ...] = field(repr=False)
    _tensors: Callable[[Node], Mapping[str, Any]] = field(repr=False)

    @classmethod
    def of(cls, stored: StoredGraph, name: str, source: str = "") -> StoredNetwork:
        """The network of a graph, called `name`, with its weights; `source` has them where that is another file.

        Raises:
            UserError: naming the first node that is none of our layers.
        """
        try:
            network = ListedNetwork.of(stored.graph, name, stored.known)
        except UserError as error:
            condition = "Weights are read where every node is a layer of ours, of one input and one output"
            raise UserError(f"{error}. {condition}. {stored.remedy}") from None
        return cls(network, source or name, tuple(needed(stored.graph)), stored.tensors)

    def tensors(self) -> Iterator[StoredTensors]:
        """The tensors of each layer that has any, one layer after another.

        Raises:
            UserError: naming the layer and the tensor that is not there, or has other sizes.
        """
        for entry, node in zip(self.network.entries, self._nodes, strict=True):
            shapes = [x.shape for x in node.inputs]
            layer = plain(node.layer)
            wanted = layer.parameters(*shapes) | layer.buffers(*shapes)
            if wanted:
                found = self._tensors(node)
                made = {name: self._fitting(entry.path, name, found.get(name), shape) for name, shape in wanted.items()}
                yield StoredTensors(entry.path, made)

    def _fitting(self, path: str, name: str, array: Any, shape: Shape) -> Any:
        import numpy as np

        if array is None:
            raise UserError(f"{self.source}: {path}: its {name} ({dimensions(shape)}) is not in the file")
        if _without_ones(array.shape) != _without_ones(shape) or array.size != elements(shape):
            raise UserError(
                f"{self.source}: {path}: its {name} has {dimensions(array.shape) or 'a number'} in the file,"
                f" {dimensions(shape)} is needed"
            )
        with np.errstate(over="ignore"):  # what is not finite is told by who takes it
            return np.ascontiguousarray(array.reshape(shape), np.float32)


def _without_ones(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)
