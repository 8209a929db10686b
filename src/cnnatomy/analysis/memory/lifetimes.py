"""When each feature map comes and goes, as eager torch runs the modules that a graph becomes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from cnnatomy.design.blocks import Heads
from cnnatomy.design.graph import FeatureMap, Graph, Node, Scope


class Allocation:
    """A piece of memory: who made it (a path), what it is, its bytes, and how many hold it."""

    __slots__ = ("bytes", "path", "refs", "what")

    def __init__(self, path: str, what: str, size: int) -> None:
        self.path, self.what, self.bytes, self.refs = path, what, size, 1


@dataclass
class Tape:
    """Allocations and releases in order; the most that was held at once, where, and what it was.

    `granule` is what sizes are rounded up to: 512 bytes on a GPU.
    """

    granule: int = 1
    where: str = ""
    now: int = 0
    peak: int = 0
    peak_at: str = ""
    _peak_event: int = 0
    events: list[tuple[Allocation, bool]] = field(default_factory=list)

    def new(self, path: str, what: str, size: int) -> Allocation:
        """Allocates."""
        block = Allocation(path, what, -(-size // self.granule) * self.granule)
        self.events.append((block, True))
        self.now += block.bytes
        if self.now > self.peak:
            self.peak, self.peak_at, self._peak_event = self.now, self.where, len(self.events)
        return block

    def release(self, block: Allocation) -> None:
        """One holder less; the last one frees it."""
        block.refs -= 1
        if block.refs == 0:
            self.events.append((block, False))
            self.now -= block.bytes

    def alive_at_peak(self) -> list[Allocation]:
        """What was held then, the largest first."""
        alive: dict[Allocation, None] = {}
        for block, made in self.events[: self._peak_event]:
            if made:
                alive[block] = None
            else:
                del alive[block]
        return sorted((block for block in alive if block.bytes), key=lambda block: -block.bytes)


def running(graph: Graph, training: bool) -> list[Node]:
    """The nodes in the order in which they run; auxiliary heads run in training alone."""
    if training:
        return graph.nodes
    idle = [scope.path + "." for scope in _scopes(graph.root) if _is_idle(scope)]
    idle += [child.path for head in _scopes(graph.root) for child in head.children if _is_idle(child)]
    return [node for node in graph.nodes if node.path not in idle and not node.path.startswith(tuple(idle))]


def _is_idle(part: Node | Scope) -> bool:
    owner = part.scope if isinstance(part, Node) else part.parent
    return owner is not None and isinstance(owner.block, Heads) and part.name in owner.block.auxiliary


def _scopes(scope: Scope) -> list[Scope]:
    """A scope and all below it."""
    found = [scope]
    for child in scope.children:
        if isinstance(child, Scope):
            found += _scopes(child)
    return found


def readers(graph: Graph) -> Counter[FeatureMap]:
    """How many nodes read each map; the caller reads the outputs."""
    counts: Counter[FeatureMap] = Counter(graph.outputs)
    for node in graph.nodes:
        counts.update(node.inputs)
    return counts


def spans(graph: Graph, nodes: list[Node]) -> dict[Scope, tuple[int, int]]:
    """The numbers of the first and the last node that run in each scope; scopes in which none runs are left out."""
    numbers = {node: i for i, node in enumerate(nodes)}
    found: dict[Scope, tuple[int, int]] = {}

    def visit(scope: Scope) -> None:
        own: list[int] = []
        for child in scope.children:
            if isinstance(child, Scope):
                visit(child)
                own += found.get(child, ())
            elif child in numbers:
                own.append(numbers[child])
        if own:
            found[scope] = (min(own), max(own))

    visit(graph.root)
    return found


def releases(graph: Graph, nodes: list[Node]) -> list[list[FeatureMap]]:
    """For each node, the maps that are released once it has run.

    A map lives from the node that makes it to the last that reads it. A block's caller holds what the block reads
    until the block is done, as every call in Python does; and a block holds what it returns. The inputs of the network
    and its outputs are never released.
    """
    last: dict[FeatureMap, int] = {node.output: i for i, node in enumerate(nodes)}
    for i, node in enumerate(nodes):
        for x in node.inputs:
            last[x] = i  # later nodes overwrite
    for scope, (_, end) in spans(graph, nodes).items():
        for x in (*scope.inputs, *scope.outputs):
            if last.get(x, end) <= end:
                last[x] = end
    if graph.held:  # a module of others: its own variables hold maps too
        numbers = {node: i for i, node in enumerate(nodes)}
        for x, node in graph.held.items():
            last[x] = max(last.get(x, -1), numbers.get(node, -1))
    kept = {*graph.inputs, *graph.outputs}
    freed: list[list[FeatureMap]] = [[] for _ in nodes]
    for x, i in last.items():
        if x not in kept and i >= 0:
            freed[i].append(x)
    return freed
