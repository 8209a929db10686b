"""A layer of a prototxt applied to its blobs: what the rules of all kinds of layer share.

Caffe's blobs have the images of a batch along one of their axes, mostly the first; our maps have not. A `Blob` is a map
of ours that knows where that axis was, so that rules can speak of axes as the file does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from cnnatomy.design.builder import Builder
from cnnatomy.design.graph import FeatureMap
from cnnatomy.errors import UserError, nearest, printable, quoted
from cnnatomy.layers import Each, Foreign, Reshape
from cnnatomy.layers.layer import ELEMENT, Layer, Operations, Shape, Window, dimensions, elements
from cnnatomy.layers.unknown import NotCounted
from cnnatomy.readers.caffe.text_format import Message

NamedTensors = tuple[tuple[str, Shape], ...]
"""NamedTensors tensors by name."""


_OLD_TYPES = """
NONE ACCURACY BNLL CONCAT CONVOLUTION DATA DROPOUT EUCLIDEAN_LOSS FLATTEN HDF5_DATA HDF5_OUTPUT IM2COL IMAGE_DATA
INFOGAIN_LOSS INNER_PRODUCT LRN MULTINOMIAL_LOGISTIC_LOSS POOLING RELU SIGMOID SOFTMAX SOFTMAX_LOSS SPLIT TANH
WINDOW_DATA ELTWISE POWER SIGMOID_CROSS_ENTROPY_LOSS HINGE_LOSS MEMORY_DATA ARGMAX THRESHOLD DUMMY_DATA SLICE MVN
ABSVAL SILENCE CONTRASTIVE_LOSS EXP DECONVOLUTION
"""
OLD_TYPES = _OLD_TYPES.split()
"""Types of the format of 2014 by their numbers, by which a file may name them, too."""

TENSORS = {
    "bias": ("bias",),
    "batchnorm": ("running_mean", "running_var"),
    "bn": ("weight", "bias", "running_mean", "running_var"),
    "lstm": ("W_xc", "b_c", "W_hc"),
    "lstm static": ("W_xc", "b_c", "W_xc_static", "W_hc"),
    "rnn": ("W_xh", "b_h", "W_hh", "W_ho", "b_o"),
    "rnn static": ("W_xh", "b_h", "W_xh_static", "W_hh", "W_ho", "b_o"),
}
"""The tensors of a layer in Caffe's order, by our names; of other types weight and bias."""


class CaffeLayer:
    """One layer of the file: its type without case and underscores, its name, and the blobs it reads and makes."""

    def __init__(self, message: Message) -> None:
        self.message = message
        kind = message.word("type", "")
        self.kind = printable(OLD_TYPES[int(kind)] if kind.isdecimal() and int(kind) < len(OLD_TYPES) else kind)
        self.type = self.kind.replace("_", "").lower()
        self.name = message.string("name") or self.kind
        self.bottoms, self.tops = message.strings("bottom"), message.strings("top")
        if self.type.startswith("softmax"):  # the second that a loss reads is the label
            self.bottoms = self.bottoms[:1]
        self.scale: CaffeLayer | None = None  # the Scale after a BatchNorm, whose scale and bias it has
        if not self.type:
            old = "; this is Caffe's format of 2013, which its `upgrade_net_proto_text` brings up to date"
            message.fail("a layer needs a type" + (old if message.has("layer") else ""))

    def tensors(self) -> dict[str, str]:
        """The tensors that have a name by which layers share them: theirs -> that name."""
        values = [value for value, _ in self.message.every("param")]
        names = [value.string("name") if isinstance(value, Message) else str(value) for value in values]
        static = len(self.bottoms) > 2 + self.message.message("recurrent_param").flag("expose_hidden", False)
        own = TENSORS.get(f"{self.type} static" if static else self.type, ("weight", "bias"))
        found = {tensor: name for tensor, name in zip(own, names, strict=False) if name}
        return found | (self.scale.tensors() if self.scale else {})


@dataclass(frozen=True)
class Blob:
    """A map, and where the batch was: `images` of them along `batch`, an axis of Caffe's shape.

    Where there are `many` things of each image (its regions, the frames of a clip) along that axis, the map has it as
    its first one. A sequence has its steps first and the batch second, as Caffe's recurrent layers want it.
    """

    map: FeatureMap
    images: int = 1
    batch: int = 0
    many: bool = False

    @property
    def shape(self) -> Shape:
        """As Caffe has it, the batch too."""
        own = self.map.shape
        if self.many:
            return (self.images * own[0], *own[1:])
        return (*own[: self.batch], self.images, *own[self.batch :])

    @property
    def leads(self) -> bool:
        """Whether the first axis of the map counts things that layers treat alike: regions, frames, steps."""
        return self.many or self.batch == 1

    @property
    def item(self) -> Shape:
        """What layers work on: the shape of the map, or of one of the things it holds."""
        return self.map.shape[1:] if self.leads else self.map.shape

    @property
    def channels(self) -> int:
        """The first size of what layers work on.

        Raises:
            UserError: where there is none.
        """
        if not self.item:
            raise UserError(f"it reads {dimensions(self.shape)}, needs channels beside what counts images")
        return self.item[0]

    def axis(self, axis: int) -> int:
        """An axis of Caffe's shape, from the end where it is negative, as one of `item`; below 0 outside it.

        Raises:
            UserError: where there is no such axis.
        """
        shape = self.shape
        if not -len(shape) <= axis < len(shape):
            raise UserError(f"axis {axis}: the blob {dimensions(shape)} has axes 0 to {len(shape) - 1}")
        return axis % len(shape) - 1 - self.batch


@dataclass(frozen=True)
class LayerCall:
    """A layer of the file, applied: what a rule needs to add nodes.

    `regions` are so many as are assumed for an image, `region_blobs` the names of the blobs that hold them; `needed`
    are those of its tops that a layer reads which computes something.
    """

    spec: CaffeLayer
    blobs: Sequence[Blob]
    builder: Builder
    shared: frozenset[str] = frozenset()
    regions: int = 1
    region_blobs: frozenset[str] = frozenset()
    needed: frozenset[str] = frozenset()

    def param(self, name: str) -> Message:
        """The parameters of the layer, such as `convolution_param`."""
        return self.spec.message.message(name)

    @property
    def x(self) -> Blob:
        """The first blob that it reads."""
        return self.blobs[0]

    def of(self, *blobs: Blob) -> LayerCall:
        """The same layer, applied to other blobs."""
        return replace(self, blobs=blobs)

    def add(self, layer: Layer, maps: Sequence[FeatureMap], part: str = "", assumed: str = "") -> FeatureMap:
        """Adds a node under the layer's name (and `part`, for a second node)."""
        *groups, name = [piece for piece in self.spec.name.split("/") if piece] or [self.spec.type]
        path = (*groups, f"{name}_{part}" if part else name)
        made = self.builder.put(layer, maps, path, assumed=(assumed,) if assumed else ())
        if self.shared and made.node is not None:
            shapes = [x.shape for x in maps]
            made.node.shared = self.shared & {*layer.parameters(*shapes), *layer.buffers(*shapes)}
        return made

    def put(self, layer: Layer, *blobs: Blob, part: str = "", assumed: str = "") -> Blob:
        """Applies a layer to each image, and to each region, frame or step of it; by default to all blobs."""
        inputs = blobs or tuple(self.blobs)
        first = inputs[0]
        if any(blob.leads != first.leads for blob in inputs):
            shapes = " and ".join(dimensions(blob.shape) for blob in inputs)
            raise UserError(f"it reads {shapes}, of which only some hold several things of each image")
        made = self.add(
            Each(layer) if first.leads and first.item else layer, [blob.map for blob in inputs], part, assumed
        )
        return replace(first, map=made)

    def foreign(
        self,
        costs: Operations,
        shape: Shape | None = None,
        mixes: str = ELEMENT,
        learned: NamedTensors = (),
        *,
        stored: NamedTensors = (),
        part: str = "",
        sees: Window | None = None,
        on: Sequence[Blob] = (),
    ) -> Blob:
        """A layer that is none of ours, with what one item of `shape` costs: by default that of the first blob."""
        first = (on or self.blobs)[0]
        count = first.map.shape[:1] if first.leads else ()
        shape = (*count, *(self.x.item if shape is None else shape))
        layer = Foreign(self.spec.kind, shape, scaled(total(count), costs), mixes, learned, stored, sees)
        return replace(first, map=self.add(layer, [blob.map for blob in on or self.blobs], part))

    def not_counted(self, shape: Shape | None = None, *on: Blob, part: str = "", assumed: str = "") -> Blob:
        """A layer whose shape is known and whose operations are not."""
        layer = NotCounted(self.spec.kind, self.x.item if shape is None else shape)
        return self.put(layer, *on, part=part, assumed=assumed)

    def reshaped(self, x: Blob, shape: Shape, layer: Layer | None = None, part: str = "") -> Blob:
        """The same elements in another shape of Caffe's; `layer` does it, where the batch stays what it is.

        Raises:
            UserError: where the elements of several images would be mixed.
        """
        images = x.images
        if elements(shape) != elements(x.shape):
            raise UserError(
                f"the {elements(x.shape):,} elements of {dimensions(x.shape)} do not fit into {dimensions(shape)}"
            )
        if x.batch == 1 and shape[:2] == x.shape[:2]:
            return self.put(layer or Reshape(shape[2:] or (1,)), x, part=part)
        if x.many and shape[0] == x.shape[0]:
            if x.item:
                return self.put(layer or Reshape(shape[1:] or (1,)), x, part=part)
            return replace(x, map=self.add(Reshape((x.map.shape[0], *shape[1:])), [x.map], part))
        if shape[0] == images:
            made = self.add(layer if layer and not x.leads else Reshape(shape[1:] or (1,)), [x.map], part)
            return Blob(made, images)
        if x.leads and len(shape) > 1 and shape[1] == images and shape[0] * images == elements(x.shape[: x.batch + 1]):
            return Blob(self.add(Reshape((shape[0], *shape[2:])), [x.map], part), images, 1)
        if shape[0] % images:
            raise UserError(f"{dimensions(x.shape)} to {dimensions(shape)} mixes the {images} images of the batch")
        return Blob(self.add(Reshape((shape[0] // images, *shape[1:])), [x.map], part), images, many=True)

    def fail(self, message: str) -> NoReturn:
        """Refuses the layer, with its type and what would help."""
        raise UserError(f"{message} (type {self.spec.kind})")

    def no_rule(self, known: Sequence[str]) -> NoReturn:
        """Refuses a layer of a type that has no rule."""
        raise UserError(
            f"type {quoted(self.spec.kind)} has no rule here, so the shape of what it makes is not known."
            f"{nearest(self.spec.type, known)} Take the layer out of the file, or put one that is known in its place"
        )


CaffeRule = Callable[[LayerCall], Blob | list[Blob]]


def scaled(n: int, each: Operations) -> Operations:
    """What n elements cost."""
    return Operations(*(n * count for count in each))


def outputs(message: Message) -> int:
    """`num_output`, which has to be there."""
    if not message.has("num_output"):
        message.fail("num_output is missing")
    return message.integer("num_output", 0)


def total(shape: Sequence[int]) -> int:
    """The product of some sizes."""
    return elements(tuple(shape))
