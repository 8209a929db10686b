"""Caffe prototxt files, which Netscope reads too: a `Graph` of the network as it runs in the test phase.

Both formats are read, `layer` with types such as "InnerProduct" and the older `layers` with INNER_PRODUCT. Layers are
looked up in `layers.RULES`; a type that is not there is refused, as the shape of what it makes is not known.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from cnnatomy.design.builder import Builder
from cnnatomy.design.graph import Graph, Node
from cnnatomy.errors import ShapeError, UserError, nearest, quoted
from cnnatomy.files import read_text
from cnnatomy.limits import MAX_CAFFE_LAYERS, MAX_DESIGN_BYTES, MAX_REGIONS
from cnnatomy.readers.caffe import caffemodel, inputs, text_format
from cnnatomy.readers.caffe.call import Blob, CaffeLayer, LayerCall
from cnnatomy.readers.caffe.inputs import Inputs
from cnnatomy.readers.caffe.layers import RULES, WATCHES
from cnnatomy.readers.caffe.regions import POOLINGS, assumed, region_blobs
from cnnatomy.readers.caffe.text_format import Message
from cnnatomy.readers.inputs import AskedInput, assigned
from cnnatomy.readers.stored import StoredGraph

PHASE, STAGES, PHASES = "TEST", {"deploy"}, {"0": "TRAIN", "1": "TEST"}
"""The state of the net (Caffe's NetState) that decides which layers exist: inference, and DIGITS' stage `deploy`."""

REGIONS = 300
"""How many regions the first stage of a detector is taken to propose for an image, as Faster R-CNN does in the test."""

REMEDY = "Take the layers that you do not need out of the prototxt: the weights of the others are found by their names"
"""What can be done about a layer that is none of ours, where a network is built with its weights."""

ASKS_IMAGES = {"python", "proposal"}
"""Types that read inputs whose size plays no part, such as the size of the image."""


def open(name: str, input: AskedInput | None = None, regions: int | None = None) -> Graph:
    """The graph of a prototxt file; `input` replaces the shapes of its (first) inputs.

    `regions` are so many as its first stage is taken to propose for an image, by default `REGIONS`.

    Raises:
        UserError: if it cannot be read, naming file and line.
    """
    return read(read_text(Path(name), MAX_DESIGN_BYTES, "the prototxt"), name, input, regions)


def open_stored(name: str, weights: str, input: AskedInput | None = None) -> StoredGraph:
    """The graph of a prototxt file, with what its layers' tensors are in a caffemodel: by the names of the layers.

    The caffemodel is read when the first tensor is asked for.

    Raises:
        UserError: if one of them cannot be read.
    """
    reader = _reader(read_text(Path(name), MAX_DESIGN_BYTES, "the prototxt"), name, input, REGIONS)
    graph = reader.graph()

    @cache
    def stored() -> dict[str, caffemodel.BlobLayer]:
        # of two of one name Caffe takes the last
        return {layer.name: layer for layer in caffemodel.read(Path(weights))}

    def tensors(node: Node) -> dict[str, Any]:
        own, layers = reader.layer_of[node], stored()
        if own.name not in layers:
            hint = nearest(own.name, layers)
            raise UserError(f"{weights}: it has no weights of layer {quoted(own.name)} ({own.kind}) of {name}.{hint}")
        scale = layers[own.scale.name].blobs if own.scale and own.scale.name in layers else ()
        turned = own.message.message("inner_product_param").flag("transpose", False)
        try:
            return caffemodel.tensors_of(node.layer, layers[own.name].blobs, scale, turned)
        except UserError as error:
            raise UserError(f"{weights}: layer {quoted(own.name)}: {error}") from None

    return StoredGraph(graph, reader.layer_of.keys(), tensors, REMEDY)


def read(text: str, source: str = "prototxt", input: AskedInput | None = None, regions: int | None = None) -> Graph:
    """The graph of a prototxt; `source` is the file name for messages.

    Raises:
        UserError: naming file and line where it is no valid prototxt, or a layer does not fit.
    """
    if regions is not None and not 1 <= regions <= MAX_REGIONS:
        raise UserError(f"regions must be from 1 to {MAX_REGIONS:,}, got {regions:,}")
    graph = _reader(text, source, input, regions or REGIONS).graph()
    if regions is not None and (assumed(regions),) not in graph.assumed.values():
        raise UserError(f"{source}: --regions is for networks that propose and pool regions, which this one does not")
    return graph


def _reader(text: str, source: str, input: AskedInput | None, regions: int) -> _Reader:
    net = text_format.parse(text, source)
    every = [(_exists(layer), CaffeLayer(layer)) for layer in net.messages("layer", "layers")]
    layers = [layer for there, layer in every if there]
    if not layers:
        raise UserError(f"{source}: there is no layer in it; a network is expected, not a solver")
    if max(len(layers), sum(len(layer.tops) for layer in layers)) > MAX_CAFFE_LAYERS:
        raise UserError(f"{source}: more than {MAX_CAFFE_LAYERS:,} layers, or blobs that they make")
    computed = _computed(layers)
    read = {name for layer in computed for name in layer.bottoms}
    absent = [layer for there, layer in every if not there]
    given = inputs.inputs(net, layers, absent, read)
    axes = {name: blob.axes for name, blob in given.items()}
    try:
        asked = assigned(input, axes)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    given |= {name: given[name].sized(one.shape) for name, one in asked.items()}
    _merge_scales(computed)
    blobs = [*net.strings("input"), *(top for layer in layers for top in layer.tops)]
    return _Reader(source, computed, given, blobs, regions, absent)


def _exists(layer: Message) -> bool:
    """Whether the layer is there at inference: Caffe's rules `include` and `exclude`."""

    def met(rule: Message) -> bool:
        stages = set(rule.strings("stage"))
        return (
            PHASES.get(phase := rule.word("phase", PHASE), phase) == PHASE
            and stages <= STAGES
            and not STAGES & set(rule.strings("not_stage"))
            and rule.integer("min_level", 0) <= 0 <= rule.integer("max_level", 0)
        )

    include, exclude = layer.messages("include"), layer.messages("exclude")
    return any(map(met, include)) if include else not any(map(met, exclude))


def _computed(layers: list[CaffeLayer]) -> list[CaffeLayer]:
    """The layers that compute something of the network.

    Not the losses and what else only watches, what reads of them, or a layer without a rule that only such layers read.
    """
    read: set[str] = set()
    watched: set[str] = set()
    lost: set[str] = set()
    watches = set()
    for layer in layers:
        if _only_watches(layer) or lost & set(layer.bottoms):
            watches.add(layer)
            lost |= set(layer.tops) - set(layer.bottoms)
    found = []
    for layer in reversed(layers):
        if not layer.bottoms and layer.type != "parameter":
            continue
        tops = set(layer.tops)
        own_rule = layer.type in RULES and layer.type != "python"
        if layer in watches or (not own_rule and tops & watched and not tops & read):
            watched |= set(layer.bottoms)
            continue
        read |= set(layer.bottoms)
        found.append(layer)
    return found[::-1]


def _only_watches(layer: CaffeLayer) -> bool:
    options = layer.message.message("python_param") if layer.type == "python" else None
    called = options.string("layer").lower() if options else layer.type
    return layer.type in WATCHES or ("loss" in called and layer.type not in RULES.keys() - {"python"})


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
            first.scale, first.tops = second, second.tops
            second.type = "merged"
    layers[:] = [layer for layer in layers if layer.type != "merged"]


class _Reader:
    """Applies the layers one after another to the blobs of that name at that time."""

    def __init__(
        self,
        source: str,
        layers: list[CaffeLayer],
        inputs: Inputs,
        blobs: list[str],
        regions: int,
        absent: list[CaffeLayer],
    ) -> None:
        self.source, self.layers, self.inputs, self.known, self.regions = source, layers, inputs, blobs, regions
        self.absent = {top: layer for layer in absent for top in layer.tops}
        self.region_blobs = region_blobs(layers)
        sized = {name: blob for name, blob in inputs.items() if blob.shape}
        self.builder = Builder([blob.shape or () for blob in sized.values()])
        maps = zip(sized.items(), self.builder.graph.inputs, strict=True)
        self.blobs = {name: Blob(x, blob.images, blob.batch, blob.many) for (name, blob), x in maps}
        self.made_by: dict[str, Blob] = {}  # layer -> its first output
        self.layer_of: dict[Node, CaffeLayer] = {}
        self.owned: set[str] = set()  # names of learned tensors

    def graph(self) -> Graph:
        """The graph of all layers; what nothing reads is an output."""
        writers: dict[str, CaffeLayer] = {}
        read = frozenset(name for layer in self.layers for name in layer.bottoms)
        for layer in self.layers:
            for top in layer.tops:
                first = writers.setdefault(top, layer)
                if first is not layer and top not in layer.bottoms:  # in place it may
                    layer.message.fail(
                        f"layer {quoted(layer.name)} makes {quoted(top)}, which layer {quoted(first.name)} of line "
                        f"{first.message.line} makes already, and does not read it"
                    )
            outputs = self.apply(layer, read)
            nodes = self.builder.graph.nodes
            self.layer_of |= dict.fromkeys(nodes[len(self.layer_of) :], layer)
            self.made_by[layer.name] = outputs[0]
            self.blobs.update(zip(layer.tops or [layer.name], outputs, strict=False))
        graph = self.builder.graph
        if not graph.nodes:
            raise UserError(f"{self.source}: no layer in it computes anything at inference")
        seen = {x for node in graph.nodes for x in node.inputs}
        return self.builder.finish(node.output for node in reversed(graph.nodes) if node.output not in seen)

    def apply(self, layer: CaffeLayer, read: frozenset[str]) -> list[Blob]:
        """What a layer makes of its bottoms."""
        blobs = [x for name in layer.bottoms if (x := self.bottom(layer, name))]
        needed = read & frozenset(layer.tops)
        call = LayerCall(layer, blobs, self.builder, self.shared(layer), self.regions, self.region_blobs, needed)
        if not blobs and layer.type != "parameter":
            layer.message.fail(
                f"layer {quoted(layer.name)} reads nothing whose size is known; give --input, as in 3x224x224"
            )
        try:
            made = RULES[layer.type](call) if layer.type in RULES else call.no_rule(list(RULES))
        except UserError as error:
            if str(error).startswith(f"{self.source}, line"):
                raise
            named = "" if isinstance(error, ShapeError) else f"layer {quoted(layer.name)}: "  # which has its path
            raise UserError(f"{self.source}, line {layer.message.line}: {named}{error}") from None
        return made if isinstance(made, list) else [made]

    def bottom(self, layer: CaffeLayer, name: str) -> Blob | None:
        """The blob that a layer reads: by its name, or, as Netscope takes it, by the layer that makes it."""
        found = self.blobs.get(name) or self.made_by.get(name)
        if found is None and name not in self.inputs:
            if name in self.absent:
                maker = self.absent[name]
                hint = f" Layer {quoted(maker.name)} of line {maker.message.line} does, but is not there in the test"
                hint += " phase (its include or exclude)"
            else:
                hint = nearest(name, self.known)
            layer.message.fail(
                f"layer {quoted(layer.name)} reads {quoted(name)}, which no layer before it makes.{hint}"
            )
        if found is None and self.unsized(layer, name):
            unsized = {one: None for other in self.layers for one in other.bottoms if self.unsized(other, one)}
            each = " ".join(f"{one}:3x224x224" for one in unsized)
            example = f"'{each}'" if len(self.inputs) > 1 else "3x224x224"
            layer.message.fail(
                f"the file does not say how large the input {quoted(name)} is; give --input, as in {example}"
            )
        return found

    def unsized(self, layer: CaffeLayer, name: str) -> bool:
        """Whether what the layer reads is an input whose size is not known and plays a part."""
        regions = layer.type in POOLINGS and name in self.region_blobs  # as many as are assumed
        without = name in self.inputs and name not in self.blobs and name not in self.made_by
        return without and layer.type in RULES and layer.type not in ASKS_IMAGES and not regions

    def shared(self, layer: CaffeLayer) -> frozenset[str]:
        """Which of the layer's tensors an earlier layer has: those with the same `param` name."""
        names = layer.tensors()
        found = frozenset(tensor for tensor, name in names.items() if name in self.owned)
        self.owned |= set(names.values())
        return found
