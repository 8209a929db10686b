"""One run of a network, replayed on sizes: forward, backward and the optimiser's step, as eager torch does them."""

from __future__ import annotations

from cnnatomy.analysis.memory.lifetimes import Allocation, Tape, readers, releases, running, spans
from cnnatomy.analysis.memory.setting import GRANULE, Setting
from cnnatomy.design.graph import FeatureMap, Graph, Node, Scope
from cnnatomy.layers import Concat
from cnnatomy.layers.layer import Shape, elements
from cnnatomy.layers.memory import INTEGER, NOTHING, total

MAP, KEPT, GRADIENT, WEIGHTS = "feature map", "kept for backward", "gradient of a map", "gradient of weights"
SCRATCH, LOSS, CAST, STEP = "scratch", "loss", "weights in 16 bits", "optimiser's step"
"""What a piece of memory is."""


class Replay:
    """Replays a run on a `Tape`. `saved_by` holds what the forward pass leaves for the backward pass, by path."""

    def __init__(self, graph: Graph, setting: Setting, training: bool) -> None:
        self.graph, self.setting, self.training = graph, setting, training
        self.nodes = running(graph, training)
        self.tape = Tape(GRANULE[setting.device])
        self.autocast = training and setting.map_bytes < 4
        self.saved_by: list[tuple[str, int]] = []
        self._freed = releases(graph, self.nodes)
        self._readers = readers(graph)
        self._each: dict[FeatureMap, int] = dict.fromkeys(graph.inputs, 4 if training else setting.map_bytes)
        self._wants: dict[FeatureMap, bool] = dict.fromkeys(graph.inputs, False)
        self._saved: dict[Node, list[Allocation]] = {}
        self._gradients: dict[FeatureMap, tuple[Allocation, bool]] = {}  # and whether no other map's is part of it
        self._loss: list[Allocation] = []
        self._static = {x: Allocation("input", MAP, self.bytes_of(x)) for x in graph.inputs}
        for block in self._static.values():
            block.refs += 1  # the caller's: never freed
        self._maps: dict[FeatureMap, Allocation] = dict(self._static)
        self._read: dict[Scope, dict[FeatureMap, Allocation]] = {}  # by checkpointed blocks
        self._regions = self._checkpointed() if training and setting.checkpoint else {}
        for node in self.nodes:
            self._type(node)

    def _checkpointed(self) -> dict[int, tuple[int, Scope]]:
        """Last node of each checkpointed block -> its first node, and the block."""
        return {
            last: (first, scope)
            for scope, (first, last) in spans(self.graph, self.nodes).items()
            if scope.path and scope.path.count(".") + 1 == self.setting.checkpoint
        }

    def _type(self, node: Node) -> None:
        """How many bytes an element of the output has, and whether the backward pass reaches it."""
        layer = node.layer
        each = max((self._each[x] for x in node.inputs if self._each[x] < INTEGER), default=self.setting.map_bytes)
        if self.autocast and layer.memory.autocast:
            each = self.setting.map_bytes if layer.memory.autocast == "low" else 4
        self._each[node.output] = INTEGER if layer.memory.integers else each
        if self.training:
            learned = layer.parameters(*[x.shape for x in node.inputs])
            wants = bool(learned) or any(self._wants[x] for x in node.inputs)
            self._wants[node.output] = wants and not layer.memory.integers

    def bytes_of(self, x: FeatureMap) -> int:
        """Bytes of a feature map of the whole batch."""
        return elements(x.shape) * self._each[x] * self.setting.batch

    def _parameters(self, node: Node) -> dict[str, Shape]:
        described = node.layer.parameters(*[x.shape for x in node.inputs])
        return {name: shape for name, shape in described.items() if name not in node.shared}

    def forward(self) -> None:
        """The forward pass; in training with the loss."""
        checkpointed = {i for last, (first, _) in self._regions.items() for i in range(first, last + 1)}
        starts = dict(self._regions.values())
        for i, node in enumerate(self.nodes):
            if i in starts:
                self._read[starts[i]] = {x: self._maps[x] for x in starts[i].inputs}
                for block in self._read[starts[i]].values():
                    block.refs += 1
            self.tape.where = f"forward {node.path}"
            self._run(node, keep=self.training and i not in checkpointed)
            self._release(i)
        if self.training:
            self.tape.where = "forward loss"
            outputs = [x for x in self.graph.outputs if self._wants[x]]
            self._loss = [self.tape.new("loss", LOSS, self._loss_bytes(x)) for x in outputs]
            self._note_saved()

    def _loss_bytes(self, x: FeatureMap) -> int:
        return elements(x.shape) * 4 * self.setting.batch  # the log of the softmax, always float32

    def _release(self, i: int) -> None:
        for x in self._freed[i]:
            block = self._maps.pop(x, None)
            if block:
                self.tape.release(block)

    def _note_saved(self) -> None:
        seen = set(self._static.values())
        kept = [(node.path, blocks) for node, blocks in self._saved.items()]
        kept += [(scope.path, list(maps.values())) for scope, maps in self._read.items()]
        for path, blocks in kept:
            new = [block for block in dict.fromkeys(blocks) if block not in seen and block.what != CAST]
            seen.update(new)
            if new:
                self.saved_by.append((path, sum(block.bytes for block in new)))

    def _overwrites(self, node: Node) -> bool:
        """Whether the output goes where the input was."""
        if node.overwrites:
            return True
        if not (self.setting.in_place and node.layer.memory.in_place):
            return False
        x = node.inputs[0]
        if x.node is None or self._readers[x] > 1:
            return False
        maker, shapes = x.node.layer, [y.shape for y in x.node.inputs]
        return not maker.is_view(self.training) and not (self.training and maker.saves(shapes, x.shape).output)

    def _run(self, node: Node, keep: bool) -> None:
        """One layer forwards; with `keep`, autograd holds what its backward pass needs."""
        layer, tape, setting = node.layer, self.tape, self.setting
        shapes, output = [x.shape for x in node.inputs], node.output
        each = setting.map_bytes if layer.memory.integers else self._each[output]
        keep = keep and self._wants[output]
        saved = layer.saves(shapes, output.shape) if self.training else NOTHING
        kept = self._keep(node, each) if keep else []
        is_view = layer.is_view(self.training)
        own = total(saved.own, setting.batch, each, setting.cuda)
        scratch = total(layer.scratch(shapes, output.shape).forward, setting.batch, each, setting.cuda)
        if keep:
            scratch = max(0, scratch - own)  # what is kept is part of it
        elif self.training:
            scratch = max(scratch, own)  # made all the same, and not kept
        extra = tape.new(node.path, SCRATCH, scratch) if scratch and not is_view else None
        if is_view or self._overwrites(node):
            block = self._maps[node.inputs[0]]
            block.refs += 1
        else:
            block = tape.new(node.path, MAP, self.bytes_of(output))
        self._maps[output] = block
        if extra:
            tape.release(extra)
        if keep:
            if saved.output:
                block.refs += 1
                kept.append(block)
            self._saved[node] = kept

    def _keep(self, node: Node, each: int) -> list[Allocation]:
        """What a layer holds for its backward pass, but for its output."""
        layer, tape, setting = node.layer, self.tape, self.setting
        saved = layer.saves([x.shape for x in node.inputs], node.output.shape)
        low = self.autocast and layer.memory.autocast == "low"
        blocks = []
        for i in saved.inputs:
            x = node.inputs[i]
            narrowed = low and self._each[x] == 4
            if narrowed or (layer.memory.copies and self._overwrites(node)):
                size = elements(x.shape) * setting.batch * (setting.map_bytes if narrowed else self._each[x])
                blocks.append(tape.new(node.path, KEPT, size))  # a copy
                continue
            self._maps[x].refs += 1
            blocks.append(self._maps[x])
        own = 0 if layer.is_view(True) else total(saved.own, setting.batch, each, setting.cuda)
        if own:
            blocks.append(tape.new(node.path, KEPT, own))
        if low:
            weights = sum(map(elements, self._parameters(node).values()))
            blocks.append(tape.new(node.path, CAST, weights * setting.map_bytes))
        return blocks

    def backward(self) -> None:
        """The backward pass, each layer once what follows it is done."""
        tape = self.tape
        outputs = [x for x in self.graph.outputs if self._wants[x]]
        for x, block in zip(reversed(outputs), reversed(self._loss), strict=True):
            tape.where = "backward loss"
            first = tape.new("loss", GRADIENT, self._loss_bytes(x))
            self._deliver(x, tape.new("loss", GRADIENT, self.bytes_of(x)), True)
            tape.release(first)
            tape.release(block)
        for i in reversed(range(len(self.nodes))):
            if i in self._regions:
                self._again(*self._regions[i], i)
            node = self.nodes[i]
            tape.where = f"backward {node.path}"
            gradient, alone = self._gradients.pop(node.output, (None, False))
            if gradient:
                self._back(node, gradient, alone)
            for block in self._saved.pop(node, ()):
                tape.release(block)

    def _again(self, first: int, scope: Scope, last: int) -> None:
        """Computes a checkpointed block once more, now keeping what its backward pass needs."""
        here, self._maps = self._maps, self._read.pop(scope)
        for i in range(first, last + 1):
            self.tape.where = f"backward {self.nodes[i].path}"
            self._run(self.nodes[i], keep=True)
            self._release(i)
        for block in self._maps.values():
            self.tape.release(block)
        self._maps = here

    def _back(self, node: Node, gradient: Allocation, alone: bool) -> None:
        """One layer backwards: the gradients of its inputs and parameters, from that of its output."""
        layer, tape, setting = node.layer, self.tape, self.setting
        shapes = [x.shape for x in node.inputs]
        each = self._each[node.output]
        scratch = total(layer.scratch(shapes, node.output.shape).backward, setting.batch, each, setting.cuda)
        wanted = [x for x in node.inputs if self._wants[x]]
        same = layer.memory.same_gradient or (layer.is_view(True) and layer.memory.in_place)
        whole = alone and (not isinstance(layer, Concat) or setting.batch == 1)
        passed: list[Allocation] = []
        for x in wanted:
            if same:
                gradient.refs += 1
                passed.append(gradient)
            else:
                passed.append(tape.new(node.path, GRADIENT, self.bytes_of(x)))
        low = self.autocast and layer.memory.autocast == "low"
        weights = [(f"{node.path}.{name}", elements(shape)) for name, shape in self._parameters(node).items()]
        if low:  # their gradients come in 16 bits, and are widened once the layer is done
            narrow = tape.new(node.path, SCRATCH, sum(n for _, n in weights) * setting.map_bytes)
        else:
            for path, n in weights:
                tape.new(path, WEIGHTS, n * 4)
        if scratch:
            tape.release(tape.new(node.path, SCRATCH, scratch))
        tape.release(gradient)
        for block in self._saved.pop(node, ()):
            tape.release(block)
        if low:
            for path, n in weights:
                tape.new(path, WEIGHTS, n * 4)
            tape.release(narrow)
        for x, block in zip(wanted, passed, strict=True):
            self._deliver(x, block, whole if same else True)

    def _deliver(self, x: FeatureMap, block: Allocation, alone: bool) -> None:
        """Adds a gradient to what a map has already: in its place, where nothing else holds that."""
        before, before_alone = self._gradients.get(x, (None, False))
        if before is None:
            self._gradients[x] = (block, alone)
            return
        if before.refs > 1 or not before_alone:
            both = self.tape.new(x.node.path if x.node else "input", GRADIENT, self.bytes_of(x))
            self.tape.release(before)
            self._gradients[x] = (both, True)
        self.tape.release(block)

    def step(self) -> None:
        """The optimiser's step: Adam computes a denominator for each parameter."""
        self.tape.where = "step optimizer"
        if self.setting.optimizer != "adam":
            return
        sizes = [elements(shape) * 4 for node in self.nodes for shape in self._parameters(node).values()]
        if sizes:  # on a GPU for all parameters at once, on a CPU one after another, in two steps
            self.tape.release(self.tape.new("", STEP, sum(sizes) if self.setting.cuda else 2 * max(sizes)))
