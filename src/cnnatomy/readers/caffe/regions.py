"""Caffe's layers of detectors: regions that are proposed and pooled, prior boxes, and the detections at the end.

How many regions there are, only an image can tell: as many are assumed as `--regions` says. What is pooled of a map has
the regions as its first axis, and whatever follows is applied to each of them with the same weights.
"""

from __future__ import annotations

from cnnatomy.errors import UserError
from cnnatomy.layers import Foreign, NotCounted
from cnnatomy.layers.layer import REARRANGEMENT, SPACE, Layer, Operations, Shape, dimensions
from cnnatomy.limits import MAX_LAYER_SIZE, MAX_WINDOW
from cnnatomy.readers.caffe.call import Blob, CaffeLayer, CaffeRule, LayerCall, scaled, total
from cnnatomy.readers.caffe.text_format import Message

POOLINGS = {"roipooling", "psroipooling", "roialign", "psroialign", "roiwarping"}
"""Types that read a map and regions, and pool each of these."""

PROPOSALS = ("ProposalLayer", "proposal_layer")
"""The class and the module of the layer in Python whose tops are known: py-faster-rcnn's, and its successors'."""

REGION = (5,)
"""The image that a region is of, and its four corners."""


def assumed(regions: int) -> str:
    """What numbers rest on."""
    return f"{regions:,} region{'s' * (regions != 1)} (--regions)"


def _of_regions(call: LayerCall, layer: Layer, part: str = "") -> Blob:
    """A layer that gives one thing of this shape for each region."""
    made = call.add(layer, [blob.map for blob in call.blobs], part, assumed(call.regions))
    return Blob(made, many=True)


def _proposals(call: LayerCall) -> list[Blob]:
    """Regions, and their scores where a second top is there: sorted and suppressed, at a cost that images decide."""
    shapes: list[Shape] = [REGION, (1,)]
    tops = max(1, len(call.spec.tops))
    if tops > len(shapes):
        call.fail("a proposal layer makes regions, and their scores")
    layers = [NotCounted(call.spec.kind, (call.regions, *shape)) for shape in shapes[:tops]]
    later: list[Layer] = [Foreign(call.spec.kind, one.shape, mixes=REARRANGEMENT) for one in layers[1:]]
    return [_of_regions(call, layer, f"top{i}" if i else "") for i, layer in enumerate([layers[0], *later])]


def _python(call: LayerCall) -> list[Blob]:
    """A layer written in Python: what it makes is known if it is a proposal layer, or read as regions only."""
    options = call.param("python_param")
    if options.string("layer") in PROPOSALS or options.string("module").rpartition(".")[2] in PROPOSALS:
        return _proposals(call)
    if call.needed and call.needed <= call.region_blobs:
        return [_of_regions(call, NotCounted(call.spec.kind, (call.regions, *REGION)))]
    named = ".".join(filter(None, (options.string("module"), options.string("layer")))) or "a layer"
    raise UserError(
        f"{named} is written in Python (type {call.spec.kind}), and only running it would tell the shape of what it "
        "makes. Take it out of the file, and put an Input layer of that shape in its place"
    )


def _pooled(options: Message) -> tuple[int, int]:
    rows, columns = (options.integer(f"pooled_{side}", 0) for side in "hw")
    if not 1 <= min(rows, columns) <= max(rows, columns) <= MAX_WINDOW:
        options.fail(f"pooled_h and pooled_w must be from 1 to {MAX_WINDOW:,}, got {rows} and {columns}")
    return rows, columns


def _options(call: LayerCall, *names: str) -> Message:
    return next((call.param(name) for name in names if call.spec.message.has(name)), call.param(names[0]))


def _checked(call: LayerCall) -> Blob:
    # regions that the network reads, and whose number the file does not say, are as many as are assumed
    if len(call.spec.bottoms) < 2 or not call.blobs or len(call.x.map.shape) != 3:
        raise UserError(f"{call.spec.kind} reads a map, channels x rows x columns, and regions")
    return call.x


def _roi_pooling(call: LayerCall) -> Blob:
    """The largest of each bin of each region; how many pixels these hold is the image's."""
    rows, columns = _pooled(_options(call, "roi_pooling_param", "roi_warping_param"))
    shape = (call.regions, _checked(call).item[0], rows, columns)
    return _of_regions(call, NotCounted(call.spec.kind, shape))


def _roi_align(call: LayerCall) -> Blob:
    """The mean of `sampling_ratio`^2 samples of each bin, each of four pixels; where it is 0, regions decide."""
    options = _options(call, "roi_align_param", "roialign_param", "roi_pooling_param")
    rows, columns = _pooled(options)
    item = (_checked(call).item[0], rows, columns)
    ratio = options.integer("sampling_ratio", 0)
    if not 1 <= ratio <= MAX_WINDOW:
        return _of_regions(call, NotCounted(call.spec.kind, (call.regions, *item)))
    n, samples = total(item), total(item) * ratio**2
    costs = scaled(call.regions, Operations(multiply=4 * samples, add=4 * samples, divide=n))
    return _of_regions(call, Foreign(call.spec.kind, (call.regions, *item), costs, SPACE))


def _position_sensitive(call: LayerCall) -> Blob:
    """R-FCN's: each bin is the mean of channels of its own (Dai et al. 2016)."""
    options = _options(call, "psroi_pooling_param", "psroi_align_param")
    channels, group = options.integer("output_dim", 0), options.integer("group_size", 0)
    if not (1 <= channels <= MAX_LAYER_SIZE and 1 <= group <= MAX_WINDOW):
        options.fail(f"output_dim and group_size must be positive, got {channels} and {group}")
    inputs = _checked(call).item[0]
    if inputs != channels * group**2:
        raise UserError(f"it reads {inputs} channels, needs {channels} x {group} x {group} = {channels * group**2}")
    return _of_regions(call, NotCounted(call.spec.kind, (call.regions, channels, group, group)))


def _prior_boxes(call: LayerCall) -> Blob:
    """SSD's: of each least size one for each aspect ratio, and one for each greatest size (Liu et al. 2015)."""
    options = call.param("prior_box_param")
    small, large = options.numbers("min_size"), options.numbers("max_size")
    if not small or (large and len(large) != len(small)):
        options.fail("min_size is missing, or there is not one max_size for each")
    flip, ratios = options.flag("flip", True), [1.0]
    for ratio in options.numbers("aspect_ratio"):
        if not 0 < ratio < float("inf"):
            options.fail(f"aspect_ratio: expected a positive number, got {ratio}")
        if all(abs(ratio - known) >= 1e-6 for known in ratios):
            ratios += [ratio, 1 / ratio] if flip else [ratio]
    boxes = len(ratios) * len(small) + len(large)
    return _boxes(call, boxes)


def _clustered_boxes(call: LayerCall) -> Blob:
    """Prior boxes whose sizes were found by clustering: pairs of a width and a height (OpenVINO)."""
    options = call.param("prior_box_param")
    if call.spec.message.has("prior_box_clustered_param"):
        options = call.param("prior_box_clustered_param")
    widths, heights = options.numbers("width"), options.numbers("height")
    if not widths or len(widths) != len(heights):
        options.fail(f"width, height: expected as many of both, got {len(widths)} and {len(heights)}")
    return _boxes(call, len(widths))


def _boxes(call: LayerCall, each: int) -> Blob:
    """So many boxes of each pixel, with their variances: numbers that sizes alone decide, at no cost."""
    x = call.x
    if len(x.item) != 3:
        raise UserError(f"it reads {dimensions(x.shape)}, needs channels, rows and columns")
    return call.foreign(Operations(), (2, total(x.item[1:]) * each * 4), REARRANGEMENT, on=[x])


def _detections(call: LayerCall) -> Blob:
    """SSD's detections, of seven numbers each: as many as it keeps, or, where it keeps all, as there are boxes."""
    options = call.param("detection_output_param")
    if len(call.blobs) < 3 or len(call.blobs[2].item) != 2:
        raise UserError("DetectionOutput reads places, confidences, and prior boxes, of 2 x (4 for each box)")
    kept = options.integer("keep_top_k", -1)
    if kept < 0:
        classes = options.integer("num_classes", 0)
        if classes < 1:
            options.fail("num_classes is missing")
        each = options.message("nms_param").integer("top_k", -1)
        boxes = call.blobs[2].item[-1] // 4
        scored = classes - (0 <= options.integer("background_label_id", 0) < classes)
        kept = max(1, scored) * (min(each, boxes) if each >= 0 else boxes)
    if not 1 <= kept <= MAX_LAYER_SIZE:
        options.fail(f"keep_top_k: expected a number from 1 to {MAX_LAYER_SIZE:,}, got {kept}")
    on = [Blob(blob.map) for blob in call.blobs]
    text = f"at most {kept:,} detection{'s' * (kept != 1)}"
    return call.of(*on).not_counted((1, kept, 7), *on, assumed=text)


def region_blobs(layers: list[CaffeLayer]) -> frozenset[str]:
    """The names of the blobs that region poolings read as regions."""
    return frozenset(name for layer in layers if layer.type in POOLINGS for name in layer.bottoms[1:2])


RULES: dict[str, CaffeRule] = {
    "python": _python,
    "proposal": _proposals,
    "roipooling": _roi_pooling,
    "roiwarping": _roi_pooling,
    "roialign": _roi_align,
    "psroipooling": _position_sensitive,
    "psroialign": _position_sensitive,
    "priorbox": _prior_boxes,
    "priorboxclustered": _clustered_boxes,
    "detectionoutput": _detections,
}
"""Type, in lower case and without underscores -> what adds its nodes and returns its outputs."""
