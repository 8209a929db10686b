"""What the rules ask of a design: its account, and what follows from it, worked out once and shared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

from cnnatomy.analysis import Account, Row
from cnnatomy.analysis.bounds import intervals
from cnnatomy.analysis.cuts import Cut, cuts
from cnnatomy.analysis.memory.lifetimes import running
from cnnatomy.analysis.receptive_field import ReceptiveField, receptive_fields, smallest_path
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Change, Cost, Fix, Remedy, cost_after
from cnnatomy.errors import LimitError, ShapeError, UserError, nearest
from cnnatomy.layers import BatchNorm, Conv, DepthwiseConv
from cnnatomy.layers.interval import Interval
from cnnatomy.layers.layer import ELEMENT, GLOBAL, TRAINING, Layer, Shape, elements, pair

if TYPE_CHECKING:
    from cnnatomy.analysis.time.latency import Calibration
    from cnnatomy.analysis.time.roofline import Device

PurposeTask = Literal["classification", "segmentation", "detection"]

SPATIAL = (Conv, DepthwiseConv)
"""Convolutions whose rules of thumb are about kernels, strides and normalisation."""


@dataclass(frozen=True)
class Aims:
    """What somebody says that a network is for; None where that is left open.

    Attributes:
        task: classification where the output is a vector, else segmentation, unless given.
        classes: features of the classifier's output unless given.
        objects: the smallest and largest side of what is to be recognised, in input pixels.
        device: a name of devices.yaml, or "here" after `cnnatomy calibrate`.
        memory: bytes that there are at inference.
        latency: seconds that one image may take on the device.
    """

    task: PurposeTask | None = None
    classes: int | None = None
    objects: tuple[int, int] | None = None
    device: str | None = None
    memory: int | None = None
    latency: float | None = None


@dataclass(frozen=True)
class Purpose(Aims):
    """What a network is for; what is left open is read off the network, or its rules stay silent.

    Attributes:
        trained: whether it has its trained weights and is to be run, as a run's; a design is still to be trained.

    Raises:
        UserError: if there is no such task or device, or a number makes no sense.
    """

    trained: bool = False

    def __post_init__(self) -> None:
        if self.task is not None and self.task not in get_args(PurposeTask):
            tasks = get_args(PurposeTask)
            raise UserError(f"task is one of {', '.join(tasks)}, got {self.task!r}.{nearest(str(self.task), tasks)}")
        if self.objects is not None and not 0 < self.objects[0] <= self.objects[1]:
            raise UserError(f"objects are from the smallest side to the largest in pixels, got {self.objects}")
        for name, got in (("classes", self.classes), ("memory", self.memory), ("latency", self.latency)):
            if got is not None and not got > 0:
                raise UserError(f"{name} must be more than 0, got {got!r}")
        if self.latency is not None and self.device is None:
            raise UserError('a latency is one on a device: give its name, or "here" for this machine')
        if self.device is not None:
            _look_up(self.device)


class Study:
    """A design under critique. Everything is computed once, when the first rule asks for it."""

    def __init__(self, account: Account, purpose: Purpose) -> None:
        self.account, self.graph, self.purpose = account, account.graph, purpose

    @cached_property
    def rows(self) -> dict[Node, Row]:
        """The account of each node."""
        return {row.node: row for row in self.account.rows}

    @cached_property
    def readers(self) -> dict[FeatureMap, list[Node]]:
        """Who reads each map; outputs of the network that no node reads have none."""
        readers: dict[FeatureMap, list[Node]] = {x: [] for x in self.graph.inputs}
        for node in self.graph.nodes:
            readers[node.output] = []
            for x in node.inputs:
                if not readers[x] or readers[x][-1] is not node:
                    readers[x].append(node)
        return readers

    def only_reader(self, x: FeatureMap) -> Node | None:
        """The one node that reads a map, where there is one and the map is no output of the network."""
        readers = self.readers[x]
        return readers[0] if len(readers) == 1 and x not in self.graph.outputs else None

    def followers(self, x: FeatureMap) -> Iterator[Node]:
        """The layers after a map, one by one, as long as each is the only reader of what the one before makes."""
        while (reader := self.only_reader(x)) is not None:
            yield reader
            x = reader.output

    def weighted(self, x: FeatureMap) -> Node | None:
        """The last layer with weights before a map, or the join of several maps that comes after it."""
        node = x.node
        while node is not None and len(node.inputs) == 1 and not self.rows[node].weights:
            node = node.inputs[0].node
        return node

    @cached_property
    def inference(self) -> list[Node]:
        """The nodes that run at inference, in order: all but those of auxiliary heads."""
        return running(self.graph, training=False)

    @cached_property
    def convolutions(self) -> list[Node]:
        """Convolutions of every kernel, depthwise ones too, in order."""
        return [node for node in self.graph.nodes if isinstance(node.layer, SPATIAL)]

    @cached_property
    def output(self) -> FeatureMap:
        """The main output: the first that is there at inference, and of outputs of its shape the deepest."""
        made = {node.output for node in self.inference}
        outputs = [x for x in self.graph.outputs if x in made] or list(self.graph.outputs)
        return max((x for x in outputs if x.shape == outputs[0].shape), key=self.depth)

    def depth(self, x: FeatureMap) -> int:
        """Layers with weights on the longest path from the input to a map."""
        return self.rows[x.node].weight_layers if x.node else 0

    @property
    def described(self) -> bool:
        """Whether it is a network of tail, body and head, which is described here to be trained here."""
        return tuple(self.graph.root.children.values()) == ("tail", "body", "head")

    @cached_property
    def intervals(self) -> dict[FeatureMap, Interval]:
        """Between which bounds the values of each map lie, whatever the weights."""
        return intervals(self.graph)

    @cached_property
    def classifier(self) -> Node | None:
        """The last layer with weights before the main output, on a path without joins."""
        node = self.weighted(self.output)
        return node if node is not None and len(node.inputs) == 1 else None

    @property
    def task(self) -> PurposeTask:
        """What was said, or what the shape of the output says."""
        given = self.purpose.task
        return given or ("segmentation" if pixels(self.output.shape) > 1 else "classification")

    @property
    def classes(self) -> int | None:
        """What was said, or what the classifier tells apart."""
        return self.purpose.classes or (self.classifier.output.shape[0] if self.classifier else None)

    @cached_property
    def ancestors(self) -> set[Node]:
        """The nodes that the main output depends on."""
        found: set[Node] = set()
        waiting = [self.output.node]
        while waiting:
            node = waiting.pop()
            if node is not None and node not in found:
                found.add(node)
                waiting += [x.node for x in node.inputs]
        return found

    @property
    def device(self) -> Device | None:
        """The device that the network is for; of this machine its own measured roofline."""
        return self._looked_up[0]

    @property
    def calibration(self) -> Calibration | None:
        """What was measured of this machine, where the network is for it."""
        return self._looked_up[1]

    @cached_property
    def _looked_up(self) -> tuple[Device | None, Calibration | None]:
        return _look_up(self.purpose.device) if self.purpose.device is not None else (None, None)

    @cached_property
    def moved(self) -> dict[Node, int]:
        """Numbers that each layer reads and writes at batch 1: inputs, output, weights, statistics; none for a view."""
        return {
            row.node: 0
            if row.node.layer.is_view(training=False)
            else sum(map(elements, row.inputs)) + elements(row.output) + row.parameters + row.buffers
            for row in self.account.rows
        }

    @cached_property
    def spine(self) -> list[FeatureMap]:
        """The maps that every path from the (first) input to the main output passes, in order, both ends included."""
        order = [node for node in self.graph.nodes if node in self.ancestors]
        last: dict[FeatureMap, int] = {}
        for i, node in enumerate(order):
            for x in node.inputs:
                last[x] = i
        spine: list[FeatureMap] = []
        reach = -1  # the last reader of the maps that are made so far, the one at hand left out
        for i, x in enumerate([self.graph.inputs[0], *[node.output for node in order]], start=-1):
            if reach <= i:
                spine.append(x)
            reach = max(reach, last.get(x, -1))
        return spine

    @cached_property
    def smallest_fields(self) -> dict[FeatureMap, ReceptiveField]:
        """The receptive field of each map along the path from the input that sees least."""
        if all(len(node.inputs) == 1 for node in self.graph.nodes):  # there is one path
            return self.account.fields
        return receptive_fields(self.graph, smallest_path)

    @cached_property
    def normalised(self) -> bool:
        """Whether it has batch norm somewhere, so that a remedy gives it to the layers that it adds, too."""
        return any(isinstance(node.layer, BatchNorm) for node in self.graph.nodes)

    @cached_property
    def cuts(self) -> list[Cut]:
        """Where all that reaches the main output must pass, in order; inputs and output are left out."""
        return cuts(self.graph, sink=self.output)

    @cached_property
    def collapse(self) -> Node | None:
        """The first layer after which no pixels are left on any way to the output: a global average, a vectorisation.

        None for a network whose output has pixels, or that makes a sequence of them.
        """
        if pixels(self.output.shape) > 1:
            return None
        for before, after in zip(self.spine, self.spine[1:], strict=False):
            if pixels(before.shape) > 1 and pixels(after.shape) == 1 and len(after.shape) in (1, 3):
                return after.node
        return None

    @cached_property
    def last_map(self) -> FeatureMap:
        """The last map with pixels before they are summed up; where they never are, the last of the coarsest maps."""
        if self.collapse is not None:
            return next(x for x in reversed(self.spine) if pixels(x.shape) > 1)
        maps = [x for x in self.spine if pixels(x.shape) > 1] or self.spine
        coarsest = min(pixels(x.shape) for x in maps)
        return next(x for x in reversed(maps) if pixels(x.shape) == coarsest)

    @cached_property
    def downsamplings(self) -> list[Node]:
        """The layers whose strides make maps smaller, in order; where paths run side by side, all of them."""
        found = []
        for node in self.graph.nodes:
            x, y = node.inputs[0].shape, node.output.shape
            if node in self.ancestors and len(x) == len(y) == 3 and 1 < pixels(y) < pixels(x):
                window = node.layer.window(*[x.shape for x in node.inputs])
                if window is not None and window is not GLOBAL and max(window.stride) > 1:
                    found.append(node)
        return found

    def remedy(
        self,
        text: str,
        layers: Mapping[Node, Sequence[Layer]] | None = None,
        *,
        dropped: Sequence[Node] = (),
        input: Shape | None = None,
        fix: Fix | None = None,
    ) -> Remedy:
        """A remedy with what the network costs after it; where it would not fit, the advice alone.

        The advice alone too for layers that read tensors of others: they cannot be changed by themselves.
        """
        chains = {node: tuple(chain) for node, chain in (layers or {}).items()}
        if any(node.shared and chain and node.layer not in chain for node, chain in chains.items()):
            return Remedy(text)
        change = Change(chains, frozenset(dropped), input)
        try:
            after = cost_after(self.account, change)
        except (ShapeError, LimitError):
            return Remedy(text)
        return Remedy(text, change, after, fix)

    @cached_property
    def cost(self) -> Cost:
        """What the network costs as it is."""
        return Cost.of(self.account)


def depthwise(node: Node) -> bool:
    """Whether it is a convolution in which each channel is by itself."""
    layer, channels = node.layer, node.inputs[0].shape[0]
    return isinstance(layer, DepthwiseConv) or (isinstance(layer, Conv) and layer.groups == channels > 1)


def pointwise(node: Node) -> bool:
    """Whether it is a convolution with a kernel of 1x1."""
    return isinstance(node.layer, Conv) and max(pair(node.layer.kernel)) == 1


def made_by(x: FeatureMap, *kinds: type[Layer]) -> Node | None:
    """The last layer of these kinds before a map, on a path without joins."""
    node = x.node
    while node is not None and not isinstance(node.layer, kinds):
        node = node.inputs[0].node if len(node.inputs) == 1 else None
    return node


def by_element(node: Node) -> bool:
    """Whether a layer normalises its only input or acts on each element of it."""
    return len(node.inputs) == 1 and node.layer.kind in (ELEMENT, TRAINING)


def _look_up(device: str) -> tuple[Device, Calibration | None]:
    """The device of this name; for "here" this machine as measured, with all that was measured.

    Raises:
        UserError: if there is none of this name, or this machine has not been measured.
    """
    from cnnatomy.analysis.time import latency, roofline  # 40 ms, for designs with a device only

    if device.lower() != "here":
        return roofline.device(device), None
    calibration = latency.required()
    return calibration.device(), calibration


def paths(nodes: Sequence[Node]) -> str:
    """The paths of up to three layers, and how many more there are: `body.conv1, body.conv2 and body.conv3`."""
    named = [node.path for node in nodes[:3]]
    if len(nodes) > 3:
        return f"{', '.join(named)} and {len(nodes) - 3} more"
    return " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)


def pixels(shape: Shape) -> int:
    """Rows times columns; 1 for a vector."""
    return shape[1] * shape[2] if len(shape) == 3 else 1
