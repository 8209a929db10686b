"""Rules about what the classifier works with: features, and the positions of the last map."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise
from math import ceil, log2
from typing import NamedTuple

from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import Study, pixels
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import AvgPool, Conv, DepthwiseConv, FullyConnected, GlobalAvgPool, MaxPool, ReLU, Subsample
from cnnatomy.layers.layer import Layer, dimensions, elements
from cnnatomy.layers.training import NORMALISATIONS

MIN_SIDE, USUAL_SIDE, MAX_SIDE = 6, 7, 8
"""Positions a side of the last map: "target a feature size of 6 - 8 x 6 - 8 or larger"; ImageNet inputs give 7."""


@rule(
    "I1",
    "few-features",
    "warning",
    "lecture 001, 'Linear Classifier' and 'Personal Notes For Vision Optimized CNNs'; Yang et al. 2018, section 2",
)
def few_features(study: Study) -> Iterator[Case]:
    """Fewer features than classes before the linear classifier.

    The scores of all classes are then linear combinations of fewer numbers, so they cannot vary independently (the
    softmax bottleneck). The linear classifier "works best when the number of features is same order of magnitude or
    larger than the number of classes"; the personal notes ask for a feature per class. A note while the order of
    magnitude is the same, to the nearest power of ten. More features cost few MACs after the global average (Howard et
    al. 2019, MobileNet V3, section 5.1). Classes that resemble each other can share features.
    """
    node, classes = study.classifier, study.classes
    if node is None or classes is None or len(node.output.shape) == 2 or not tells_classes_apart(study, node):
        return
    features = study.rows[node].weights // node.output.shape[0]
    if features >= classes:
        return
    width = ceil(classes / 64) * 64
    remedy = Remedy(f"widen to {width:,} features before {node.path}")
    if isinstance(node.layer, (FullyConnected, Conv)):
        wider = FullyConnected(width) if isinstance(node.layer, FullyConnected) else Conv(width, 1)
        remedy = study.remedy(remedy.text, {node: (wider, ReLU(), node.layer)})
    yield Case(
        where=(node.path,),
        text=f"{node.path} has {several(features, 'feature')} for {classes:,} classes",
        evidence={"features": features, "classes": classes},
        remedy=remedy,
        severity="note" if 10 * features**2 >= classes**2 else None,
    )


def tells_classes_apart(study: Study, node: Node) -> bool:
    """Whether a last layer with weights is a classifier; one whose output is normalised gives features."""
    if study.task != "classification" and study.purpose.classes is None:
        return False
    x: FeatureMap | None = study.output
    while x is not None and x.node is not node:
        if x.node is None or isinstance(x.node.layer, NORMALISATIONS):
            return False
        x = x.node.inputs[0]
    return x is not None


class LastMap(NamedTuple):
    """The map whose positions are put together for the classifier, and the layer that pools them, if one does."""

    map: FeatureMap
    pool: Node | None

    @property
    def size(self) -> str:
        return dimensions(self.map.shape[1:])


def _last_map(study: Study) -> LastMap | None:
    if study.task != "classification" or len(study.account.input) != 3 or max(study.account.input[1:]) == 1:
        return None
    for before, after in pairwise(study.spine):
        node = after.node
        if len(after.shape) == 2 or node is None:
            return None  # a sequence of pixels, which attention goes on with
        if node.inputs == (before,) and _pools(study, node):
            return LastMap(before, node)
        if len(after.shape) == 1 or (node is study.collapse and _reads_all(study, node)):
            return LastMap(before, None)
    return None


def _pools(study: Study, node: Node) -> bool:
    before, after = node.inputs[0].shape, node.output.shape
    if isinstance(node.layer, GlobalAvgPool):
        return True
    averages = not study.rows[node].weights and not isinstance(node.layer, MaxPool)
    return averages and before[0] == after[0] == elements(after) < elements(before)


def _reads_all(study: Study, node: Node) -> bool:
    """Whether a layer is fully connected in the guise of a convolution as large as its map."""
    window = node.layer.window(*[x.shape for x in node.inputs])
    return study.rows[node].weights > 0 and window is not None and window.stride == (1, 1)


def _sides(study: Study, x: FeatureMap) -> list[int]:
    """Rows and columns of a map, without an axis along which the input has one pixel."""
    return [n for n, whole in zip(x.shape[1:], study.account.input[1:], strict=True) if whole > 1]


@rule("I2", "last-map-size", "warning", "lecture 001, 'Personal Notes For Vision Optimized CNNs'")
def last_map_size(study: Study) -> Iterator[Case]:
    """The last map is smaller than 6 to 8 a side before the global average, or far larger than needed.

    "Target a feature size of 6 - 8 x 6 - 8 or larger before global avg pooling": with fewer positions the average is
    over few estimates, most of which have seen the border. ImageNet's 224 pixels give 7x7. With more than 16 a side
    another down-sampling would still leave more than 8, and would quarter the cost of what comes before; that is a
    note, and none of it where objects are small, or where a head needs to know where they are.
    """
    last = _last_map(study)
    if last is None or last.pool is None:
        return
    least, size, whole = min(_sides(study, last.map)), last.size, dimensions(study.account.input[1:])
    positions = pixels(last.map.shape)
    if MIN_SIDE <= least <= 2 * MAX_SIDE:
        return
    few = least < MIN_SIDE
    yield Case(
        where=(last.pool.path,),
        text=f"the last map is {size} of {whole} input: {several(positions, 'position')} to pool; "
        f"{MIN_SIDE} to {MAX_SIDE} a side are usual",
        evidence={"rows": last.map.shape[1], "columns": last.map.shape[2], "positions": positions},
        remedy=_larger_input(study, last) if few else _one_more_pool(study, last),
        severity=None if few else "note",
    )


def _larger_input(study: Study, last: LastMap) -> Remedy:
    """An input of which the last map has 7 positions a side, in steps of its stride."""
    channels, *whole = study.account.input
    stride = study.account.fields[last.map].stride
    sizes = zip(whole, last.map.shape[1:], stride, strict=True)
    size = [n + ceil(max(0, USUAL_SIDE - m) * s) if n > 1 else 1 for n, m, s in sizes]
    text = (
        f"use an input of {dimensions(tuple(size))}, of which {USUAL_SIDE} a side are left, or down-sample less often"
    )
    if last.pool is None or not isinstance(last.pool.layer, GlobalAvgPool):
        return Remedy(text)
    return study.remedy(text, input=(channels, *size))


def _one_more_pool(study: Study, last: LastMap) -> Remedy:
    first = next(x for x in study.spine if x.shape[1:] == last.map.shape[1:]).node
    rows, columns = last.map.shape[1] // 2, last.map.shape[2] // 2
    text = f"down-sample once more, which leaves {rows}x{columns}"
    if first is None:
        return Remedy(text)
    return study.remedy(f"{text}: by a 2x2 max pool after {first.path}", {first: (first.layer, MaxPool(2))})


@rule("I3", "down-samplings", "warning", "lecture 001, 'Personal Notes For Vision Optimized CNNs'")
def down_samplings(study: Study) -> Iterator[Case]:
    """More down-sampling stages than the input has room for, or two fewer than it needs before a vectorised head.

    "5 down sampling stages take ImageNet inputs to N x 7 x 7": an input of n pixels a side has room for as many
    halvings as leave at least 6. What was designed for 224 pixels and is given 32 sums up all there is to see before
    its last stages begin. Too few stages show in the size of a vectorised head, whose first layer has weights for every
    position; before a global average they show in the size of the last map.
    """
    last = _last_map(study)
    if last is None:
        return
    n, axis = min((n, axis) for axis, n in enumerate(study.account.input[1:]) if n > 1)
    by_stride = round(log2(study.account.fields[last.map].stride[axis]))
    by_size = round(log2(n / last.map.shape[1 + axis]))  # more where maps have no padding
    room = max(0, (n // MIN_SIDE).bit_length() - 1)
    many, few = min(by_stride, by_size) > room, max(by_stride, by_size) < room - 1
    if not many and not (few and last.pool is None):
        return
    stages = by_stride
    evidence = {"stages": stages, "room": room, "input": n, "last": min(_sides(study, last.map))}
    text = f"{several(stages, 'down-sampling stage')} for {n} pixels: {room} would leave {n >> room}"
    if few:
        remedy = Remedy(f"down-sample {room - stages} times more, or pool to {USUAL_SIDE}x{USUAL_SIDE} before the head")
        yield Case((last.map.node.path if last.map.node else "input",), text, evidence, remedy, "note")
        return
    where = [node.path for node in study.downsamplings]
    yield Case(tuple(where), text, evidence, fewer_stages(study, stages - room, first=room < 5))


def fewer_stages(study: Study, number: int, first: bool) -> Remedy:
    """No stride in the first stages, where the tail takes too much of a small input, or else in the last."""
    stages = [list(nodes) for _, nodes in groupby(study.downsamplings, lambda node: node.output.shape[1:])]
    layers: dict[Node, tuple[Layer, ...]] = {}
    left = number
    for nodes in stages if first else reversed(stages):
        if left <= 0:
            break
        before, after = nodes[0].inputs[0].shape, nodes[0].output.shape
        left -= round(log2(max(2, before[1] / after[1], before[2] / after[2])))
        layers.update({node: _without_stride(node) for node in nodes})
    text = f"take the stride out of the {'first' if first else 'last'} " + (
        "stage" if number == 1 else f"{number} stages"
    )
    return study.remedy(text, layers) if left <= 0 else Remedy(text)


def _without_stride(node: Node) -> tuple[Layer, ...]:
    if isinstance(node.layer, (MaxPool, AvgPool, Subsample)):
        return ()
    return (node.layer.replace(stride=1),) if isinstance(node.layer, (Conv, DepthwiseConv)) else (node.layer,)


@rule(
    "I6",
    "output-without-pixels",
    "warning",
    "Long et al. 2015, 'Fully Convolutional Networks', section 3.1; "
    "lecture 001, 'Feature Map To Feature Vector Transform'",
)
def output_without_pixels(study: Study) -> Iterator[Case]:
    """A network for segmentation whose output has no pixels.

    Segmentation says what each pixel is, and after a global average, or a vectorisation, nothing is left of where
    things are. The classifier has to read the positions of the last map one by one, as a 1x1 convolution, and what it
    says is enlarged to the size of the image (`MapHead`). The rule asks only where the task is given as
    segmentation, so that it does not object to what is to be the body of another network.
    """
    if study.purpose.task != "segmentation" or study.collapse is None or len(study.output.shape) == 2:
        return
    if pixels(study.output.shape) > 1:
        return
    last, stride = study.last_map, max(study.account.fields[study.last_map].stride)
    size, classes = dimensions(last.shape[1:]), study.classes or study.output.shape[0]
    yield Case(
        where=(study.collapse.path,),
        text=f"{study.collapse.path} leaves no pixels of the last map of {size}; the output is "
        f"{several(study.output.shape[0], 'number')} for the whole image",
        evidence={"output": study.output.shape[0], "rows": last.shape[1], "columns": last.shape[2]},
        remedy=Remedy(
            f"classify the {size} positions by a 1x1 convolution to {several(classes, 'channel')}, and enlarge that "
            f"{float(stride):g} times"
        ),
    )
