"""Caffe prototxt files, which Netscope reads too: a `Graph` of the network as it runs in the test phase.

Both formats are read, `layer` with types such as "InnerProduct" and the older `layers` with INNER_PRODUCT. Layers are
looked up in `caffe_layers.RULES`; a type that is not there is kept as `NotCounted`, with the shape of its input.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from cnnatomy.design.builder import Builder
from cnnatomy.design.graph import FeatureMap, Graph, Node
from cnnatomy.errors import ShapeError, UserError, nearest, quoted
from cnnatomy.files import read_text
from cnnatomy.layers.layer import Shape
from cnnatomy.limits import MAX_AXES, MAX_CAFFE_LAYERS, MAX_DESIGN_BYTES, MAX_INPUT_SIZE
from cnnatomy.readers.caffe import caffemodel, text_format
from cnnatomy.readers.caffe.layers import RULES, CaffeLayer, LayerCall
from cnnatomy.readers.caffe.text_format import Message
from cnnatomy.readers.stored import StoredGraph

PHASE, STAGES = "TEST", {"deploy"}
"""The state of the net (Caffe's NetState) that decides which layers exist: inference, and DIGITS' stage `deploy`."""

WATCHES = {"accuracy", "silence", "hdf5output"}
"""Types that compute nothing of the network and are left out; so are losses, but for the softmax of a softmax loss."""


def open(name: str, input: Shape | None = None) -> Graph:
    """The graph of a prototxt file; `input` replaces the shape of its (first) input.

    Raises:
        UserError: if it cannot be read, naming file and line.
    """
    return read(read_text(Path(name), MAX_DESIGN_BYTES, "the prototxt"), name, input)


def open_stored(name: str, weights: str, input: Shape | None = None) -> StoredGraph:
    """The graph of a prototxt file, with what its layers' tensors are in a caffemodel: by the names of the layers.

    Raises:
        UserError: if one of them cannot be read.
    """
    reader = _reader(read_text(Path(name), MAX_DESIGN_BYTES, "the prototxt"), name, input)
    graph = reader.graph()
    layers = {layer.name: layer for layer in caffemodel.read(Path(weights))}  # of two of one name Caffe takes the last

    def tensors(node: Node) -> dict[str, Any]:
        own = reader.layer_of[node]
        if own.name not in layers:
            hint = nearest(own.name, layers)
            raise UserError(f"{weights}: it has no weights of layer {quoted(own.name)} ({own.kind}) of {name}.{hint}")
        scale = layers[own.scale].blobs if own.scale in layers else ()
        turned = own.message.message("inner_product_param").flag("transpose", False)
        try:
            return caffemodel.tensors_of(node.layer, layers[own.name].blobs, scale, turned)
        except UserError as error:
            raise UserError(f"{weights}: layer {quoted(own.name)}: {error}") from None

    return StoredGraph(graph, reader.layer_of.keys(), tensors)


def read(text: str, source: str = "prototxt", input: Shape | None = None) -> Graph:
    """The graph of a prototxt; `source` is the file name for messages.

    Raises:
        UserError: naming file and line where it is no valid prototxt, or a layer does not fit.
    """
    return _reader(text, source, input).graph()


def _reader(text: str, source: str, input: Shape | None) -> _Reader:
    net = text_format.parse(text, source)
    layers = [CaffeLayer(layer) for layer in net.messages("layer", "layers") if _exists(layer)]
    if not layers:
        raise UserError(f"{source}: there is no layer in it; a network is expected, not a solver")
    if max(len(layers), sum(len(layer.tops) for layer in layers)) > MAX_CAFFE_LAYERS:
        raise UserError(f"{source}: more than {MAX_CAFFE_LAYERS:,} layers, or blobs that they make")
    inputs = _inputs(net, layers, input)
    computed = [layer for layer in layers if layer.bottoms and not _only_watches(layer)]
    _merge_scales(computed)
    blobs = [*net.strings("input"), *(top for layer in layers for top in layer.tops)]
    return _Reader(source, computed, inputs, blobs)


def _exists(layer: Message) -> bool:
    """Whether the layer is there at inference: Caffe's rules `include` and `exclude`."""

    def met(rule: Message) -> bool:
        stages = set(rule.strings("stage"))
        return (
            rule.string("phase", PHASE) == PHASE
            and stages <= STAGES
            and not STAGES & set(rule.strings("not_stage"))
            and rule.integer("min_level", 0) <= 0
        )

    include, exclude = layer.messages("include"), layer.messages("exclude")
    return any(map(met, include)) if include else not any(map(met, exclude))


def _only_watches(layer: CaffeLayer) -> bool:
    return layer.type in WATCHES or ("loss" in layer.type and layer.type not in RULES)


Inputs = dict[str, Shape | None]
"""Blobs that no layer computes, and their shapes where the file says so."""


def _inputs(net: Message, layers: list[CaffeLayer], input: Shape | None) -> Inputs:
    """The inputs that some layer reads; the first has the shape `input`, where it is given."""
    shapes: Inputs = dict(_declared(net))
    for layer in layers:
        if not layer.bottoms:
            shapes |= _source(layer)
    if not shapes:  # a network cut out of its data layer
        shapes |= {layer.bottoms[0]: None for layer in layers[:1]}
    read = {name for layer in layers if not _only_watches(layer) for name in layer.bottoms}
    shapes = {name: shape for name, shape in shapes.items() if name in read}
    if input is not None and shapes:
        shapes[next(iter(shapes))] = input
    return shapes


def _declared(net: Message) -> Iterator[tuple[str, Shape | None]]:
    """`input: "data"` with `input_dim` (four for each input) or `input_shape`."""
    names, sizes = net.strings("input"), net.integers("input_dim")
    shapes = [shape.integers("dim") for shape in net.messages("input_shape")]
    shapes = shapes or [sizes[i : i + 4] for i in range(0, len(sizes), 4)]
    for i, name in enumerate(names):
        yield name, _shape(net, shapes[i]) if i < len(shapes) else None


def _source(layer: CaffeLayer) -> Inputs:
    """What a layer without inputs makes: data, and what belongs to it, such as labels."""
    message = layer.message
    tops = layer.tops or [layer.name]
    made: Inputs = dict.fromkeys(tops)
    shapes = [
        shape.integers("dim")
        for options in message.messages("input_param", "dummy_data_param")
        for shape in options.messages("shape")
    ]
    crop = message.message("transform_param")
    if not shapes and crop.has("crop_size"):
        size = crop.integer("crop_size", 0)
        shapes = [[1, 1 if crop.flag("force_gray", False) else 3, size, size]]
    for options in message.messages("memory_data_param", "dummy_data_param"):
        if not shapes and options.has("channels"):
            shapes = [[1, *(options.integer(size, 1) for size in ("channels", "height", "width"))]]
    for name, sizes in zip(tops, shapes, strict=False):
        made[name] = _shape(message, sizes)
    return made


def _shape(message: Message, sizes: list[int]) -> Shape | None:
    """A shape without the batch, which comes first; None for a label."""
    if len(sizes) > MAX_AXES:
        message.fail(f"an input of {len(sizes):,} axes; at most {MAX_AXES} are possible")
    if any(not 1 <= size <= MAX_INPUT_SIZE for size in sizes[1:]):
        message.fail(f"the sizes of an input must be from 1 to {MAX_INPUT_SIZE:,}, got {sizes}")
    return tuple(sizes[1:]) or None


def _merge_scales(layers: list[CaffeLayer]) -> None:
    """Caffe's BatchNorm and the Scale after it are one batch norm, if nothing else reads what is between them."""
    for first, second in pairwise(list(layers)):
        if first.type != "batchnorm" or second.type != "scale" or second.bottoms != first.tops:
            continue
        options = second.message.message("scale_param")
        per_channel = (options.integer("axis", 1), options.integer("num_axes", 1)) == (1, 1)
        following = layers[layers.index(second) + 1 :]
        others = second.tops != first.tops and any(first.tops[0] in later.bottoms for later in following)
        if per_channel and options.flag("bias_term", False) and not others:
            first.affine, first.tops, first.scale = True, second.tops, second.name
            second.type = "merged"
    layers[:] = [layer for layer in layers if layer.type != "merged"]


class _Reader:
    """Applies the layers one after another to the blobs of that name at that time."""

    def __init__(self, source: str, layers: list[CaffeLayer], inputs: Inputs, blobs: list[str]) -> None:
        self.source, self.layers, self.inputs, self.known = source, layers, inputs, blobs
        sized = {name: shape for name, shape in inputs.items() if shape}
        self.builder = Builder(list(sized.values()))
        self.blobs: dict[str, FeatureMap] = dict(zip(sized, self.builder.graph.inputs, strict=True))
        self.layer_of: dict[Node, CaffeLayer] = {}
        self.made_by: dict[str, FeatureMap] = {}  # layer -> its first output
        self.owned: set[str] = set()  # names of learned tensors

    def graph(self) -> Graph:
        """The graph of all layers; what nothing reads is an output."""
        writers: dict[str, CaffeLayer] = {}
        for layer in self.layers:
            for top in layer.tops:
                first = writers.setdefault(top, layer)
                if first is not layer and top not in layer.bottoms:  # in place it may
                    layer.message.fail(
                        f"layer {quoted(layer.name)} makes {quoted(top)}, which layer {quoted(first.name)} of line "
                        f"{first.message.line} makes already, and does not read it"
                    )
            maps = [x for name in layer.bottoms if (x := self.bottom(layer, name))]
            call = LayerCall(layer, maps, self.builder, self.shared(layer))
            if not maps:
                layer.message.fail(
                    f"layer {quoted(layer.name)} reads nothing whose size is known; give --input, as in 3x224x224"
                )
            try:
                made = RULES[layer.type](call) if layer.type in RULES else call.unknown()
            except UserError as error:
                if str(error).startswith(f"{self.source}, line"):
                    raise
                named = "" if isinstance(error, ShapeError) else f"layer {quoted(layer.name)}: "  # which has its path
                raise UserError(f"{self.source}, line {layer.message.line}: {named}{error}") from None
            nodes = self.builder.graph.nodes
            self.layer_of |= dict.fromkeys(nodes[len(self.layer_of) :], layer)
            outputs = made if isinstance(made, list) else [made]
            self.made_by[layer.name] = outputs[0]
            self.blobs.update(zip(layer.tops or [layer.name], outputs, strict=False))
        graph = self.builder.graph
        if not graph.nodes:
            raise UserError(f"{self.source}: no layer in it computes anything at inference")
        read = {x for node in graph.nodes for x in node.inputs}
        return self.builder.finish(node.output for node in reversed(graph.nodes) if node.output not in read)

    def bottom(self, layer: CaffeLayer, name: str) -> FeatureMap | None:
        """The blob that a layer reads: by its name, or, as Netscope takes it, by the layer that makes it."""
        found = self.blobs.get(name) or self.made_by.get(name)
        if found is None and name not in self.inputs:
            hint = nearest(name, self.known)
            layer.message.fail(
                f"layer {quoted(layer.name)} reads {quoted(name)}, which no layer before it makes.{hint}"
            )
        if found is None and layer.type in RULES:
            layer.message.fail(
                f"the file does not say how large the input {quoted(name)} is; give --input, as in 3x224x224"
            )
        return found

    def shared(self, layer: CaffeLayer) -> frozenset[str]:
        """Which of the layer's tensors (weight, then bias) an earlier layer has: those with the same `param` name."""
        names = layer.tensors()
        found = {tensor for tensor, name in zip(("weight", "bias"), names, strict=False) if name in self.owned}
        self.owned |= {name for name in names if name}
        return frozenset(found)
