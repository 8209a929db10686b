"""What a prototxt says of its inputs: which blobs no layer computes, and how large they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cnnatomy.layers.layer import Shape
from cnnatomy.limits import MAX_AXES, MAX_INPUT_SIZE
from cnnatomy.readers.caffe.call import CaffeLayer
from cnnatomy.readers.caffe.recurrent import TYPES as RECURRENT
from cnnatomy.readers.caffe.text_format import Message


@dataclass(frozen=True)
class InputBlob:
    """An input: the shape of its map, None where the file does not say it, and where the batch is; see `Blob`."""

    shape: Shape | None = None
    images: int = 1
    batch: int = 0
    many: bool = False

    @property
    def axes(self) -> int | None:
        """How many axes it has; None where the file does not say, or where those of one of its steps do, too."""
        return None if self.shape is None or self.many or self.batch else len(self.shape)

    def sized(self, shape: Shape) -> InputBlob:
        """The same with another shape of the map, or of one of the steps that it has."""
        steps = self.shape is not None and (self.many or self.batch == 1) and len(shape) == len(self.shape) - 1
        return InputBlob(
            (*self.shape[:1], *shape) if steps and self.shape else shape, self.images, self.batch, self.many
        )


Inputs = dict[str, InputBlob]
"""Blobs that no layer computes, by name."""

Sizes = dict[str, list[int] | None]
"""The shapes of such blobs as the file has them, the batch too; None where it does not say them."""


IMAGES = {"data", "imagedata", "windowdata", "annotateddata", "denseimagedata", "imagesegdata", "memorydata"}
"""Types of layers that give images of one or three channels."""


def inputs(net: Message, layers: list[CaffeLayer], others: list[CaffeLayer], read: set[str]) -> Inputs:
    """The inputs in `read`; `others` are layers of the training phase, asked for sizes that the test phase lacks."""
    sizes: Sizes = dict(_declared(net))
    for layer in layers:
        if not layer.bottoms and layer.type != "parameter":
            sizes |= _source(layer)
    if not sizes:  # a network cut out of its data layer
        sizes |= {layer.bottoms[0]: None for layer in layers[:1] if layer.bottoms}
    for layer in others:
        if not layer.bottoms and any(sizes.get(top, ()) is None for top in layer.tops):
            found = _source(layer)
            sizes |= {top: found[top] for top in layer.tops if sizes.get(top, ()) is None}
    steps, frames = sequences(layers)
    return {name: _blob(net, got, name in steps, name in frames) for name, got in sizes.items() if name in read}


def _declared(net: Message) -> Iterator[tuple[str, list[int] | None]]:
    """`input: "data"` with `input_dim` (four for each input) or `input_shape`."""
    names, sizes = net.strings("input"), net.integers("input_dim")
    shapes = [shape.integers("dim") for shape in net.messages("input_shape")]
    shapes = shapes or [sizes[i : i + 4] for i in range(0, len(sizes), 4)]
    for i, name in enumerate(names):
        yield name, _checked(net, shapes[i]) if i < len(shapes) else None


def _source(layer: CaffeLayer) -> Sizes:
    """What a layer without inputs makes: data, and what belongs to it, such as labels."""
    message = layer.message
    tops = layer.tops or [layer.name]
    made: Sizes = dict.fromkeys(tops)
    given = message.messages("input_param", "dummy_data_param", "memory_data_param")
    shapes = [shape.integers("dim") for options in given for shape in options.messages("shape")]
    for options in [] if shapes else given:
        shapes += _in_four_fields(options)
    if not shapes and layer.type in IMAGES and (image := _image(message)):
        shapes = [image]
    if len(shapes) == 1 and layer.type in ("input", "dummydata"):
        shapes *= len(tops)  # one shape for all
    for name, sizes in zip(tops, shapes, strict=False):
        made[name] = _checked(message, sizes)
    return made


def _in_four_fields(options: Message) -> Iterator[list[int]]:
    """The older way: `num`, `channels`, `height` and `width`, once for each blob."""
    columns = [options.integers(name) for name in ("channels", "height", "width")]
    for i, channels in enumerate(columns[0]):
        yield [1, channels, *(column[min(i, len(column) - 1)] if column else 1 for column in columns[1:])]


def _image(message: Message) -> list[int] | None:
    """The image that a data layer gives: what it is cropped to, or else scaled to."""
    transform = message.message("transform_param")
    kinds = ("image_data_param", "dense_image_data_param", "image_seg_data_param", "window_data_param", "data_param")
    layers = [message.message(name) for name in kinds]
    cropped = [
        (options.integer(rows, 0), options.integer(columns, 0))
        for options in (transform, *layers)
        for rows, columns in (("crop_size", "crop_size"), ("crop_height", "crop_width"), ("crop_h", "crop_w"))
    ]
    resized = transform.message("resize_param")
    scaled = [(resized.integer("height", 0), resized.integer("width", 0))]
    scaled += [(options.integer("new_height", 0), options.integer("new_width", 0)) for options in layers]
    size = next(((rows, columns) for rows, columns in (*cropped, *scaled) if rows and columns), None)
    if size is None:
        return None
    grey = transform.flag("force_gray", False) or not all(options.flag("is_color", True) for options in layers)
    return [1, 1 if grey else 3, *size]


def _checked(message: Message, sizes: list[int]) -> list[int]:
    if len(sizes) > MAX_AXES:
        message.fail(f"an input of {len(sizes):,} axes; at most {MAX_AXES} are possible")
    if any(not 1 <= size <= MAX_INPUT_SIZE for size in sizes[1:]):
        message.fail(f"the sizes of an input must be from 1 to {MAX_INPUT_SIZE:,}, got {sizes}")
    return sizes


def _blob(net: Message, sizes: list[int] | None, steps: bool, frames: bool) -> InputBlob:
    """Mostly images by themselves; the steps of a sequence; or what is along the first axis as things of one image."""
    if not sizes:
        return InputBlob(batch=int(steps))
    first = min(max(1, sizes[0]), MAX_INPUT_SIZE)
    if steps and len(sizes) > 1:
        return InputBlob((first, *sizes[2:]), sizes[1], 1)
    if len(sizes) == 1 or (frames and first > 1):
        return InputBlob((first, *sizes[1:]), many=True)
    return InputBlob(tuple(sizes[1:]), first)


def sequences(layers: list[CaffeLayer]) -> tuple[set[str], set[str]]:
    """Blobs that are (steps, sequences, ...), as recurrent layers read them; and those that are reshaped to such."""
    makers: dict[str, list[CaffeLayer]] = {}
    for layer in layers:
        for top in layer.tops:
            makers.setdefault(top, []).append(layer)
    found: tuple[set[str], set[str]] = (set(), set())
    ahead = [(name, 0) for layer in layers if layer.type in RECURRENT for name in layer.bottoms[:2]]
    while ahead:
        name, kind = ahead.pop()
        if name in found[kind]:
            continue
        found[kind].add(name)
        for layer in makers.get(name, []):
            if layer.type != "permute" and layer.type not in RECURRENT:  # which may make sequences of images
                reshapes = kind or layer.type in ("reshape", "flatten")
                ahead += [(bottom, int(reshapes)) for bottom in layer.bottoms]
    return found
