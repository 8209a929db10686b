"""Rules about what the classifier works with: features, and the positions of the last map."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import ceil, log2
from typing import NamedTuple

from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.strides import less_often, together
from cnnatomy.critique.study import SPATIAL, Study, pixels
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import (
    Conv,
    Dropout,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    MaxPool,
    ReLU,
)
from cnnatomy.layers.layer import Layer, dimensions, elements, pair
from cnnatomy.layers.training import NORMALISATIONS

MIN_SIDE, USUAL_SIDE, MAX_SIDE = 6, 7, 8
"""Positions a side of the last map: "target a feature size of 6 - 8 x 6 - 8 or larger"; ImageNet inputs give 7."""

FEW_FEATURES = 6
"""Classes for each feature with which a classifier is too narrow; with fewer than that it is a matter of taste."""

SMALL_SIDE, SMALLEST_SIDE = 4, 3
"""Positions a side with which many a network for small inputs does well, and with which some still do."""

SMALL_INPUT = 192
"""Pixels a side below which 4 to 5 positions a side are usual."""


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
    larger than the number of classes"; the personal notes ask for a feature per class. A note down to a sixth as many
    features as classes (the smallest vision transformer has 192 for 1,000), and with at least half as many said only
    where it is asked for: ResNet-18 has 512 for 1,000 classes, and classes that resemble each other can share features.
    So it is for an embedding, features that are normalised before a classifier without bias: the classifier is there to
    train them, and is left out in use.
    More features cost few MACs after the global average (Howard et al. 2019, MobileNet V3, section 5.1).
    """
    node, classes = study.classifier, study.classes
    if node is None or classes is None or len(node.output.shape) == 2 or not tells_classes_apart(study, node):
        return
    features = study.rows[node].weights // node.output.shape[0]
    if features >= classes:
        return
    half, embeds = 2 * features >= classes, _is_embedding(node)
    width = ceil((classes if half else classes / 2) / 64) * 64
    remedy = Remedy(f"widen to {width:,} features before {node.path}")
    if isinstance(node.layer, (FullyConnected, Conv)):
        wider = FullyConnected(width) if isinstance(node.layer, FullyConnected) else Conv(width, 1)
        remedy = study.remedy(remedy.text, {node: (wider, ReLU(), node.layer)})
    yield Case(
        where=(node.path,),
        text=f"{node.path} has {several(features, 'feature')} for {classes:,} classes",
        evidence={"features": features, "classes": classes},
        remedy=remedy,
        severity="note" if FEW_FEATURES * features >= classes or embeds else None,
        quiet=half or embeds,
        under=("I8", "I7"),
    )


def _is_embedding(classifier: Node) -> bool:
    """Whether what a classifier without bias reads is normalised: it compares directions, and is left out in use."""
    x = classifier.inputs[0]
    while x.node is not None and isinstance(x.node.layer, (Flatten, Dropout)):
        x = x.node.inputs[0]
    biased = "bias" in classifier.layer.parameters(*[y.shape for y in classifier.inputs])
    return not biased and x.node is not None and isinstance(x.node.layer, NORMALISATIONS)


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
    over few estimates, most of which have seen the border. ImageNet's 224 pixels give 7x7. With 3 a side it is a note
    (small MobileNets on 96 pixels), with 4 or 5 one that is said only where it is asked for (ResNets on 32 pixels and
    MobileNets on 128 end in 4x4), and so it is for networks with several exits, whose coarse maps are made beside finer
    ones. With more than 16 a side another
    down-sampling would still leave more than 8, and would quarter the cost of what comes after it; that is a note, from
    32 on unasked, unless it stays at the resolution of its patches as ConvMixer does, and none of it where objects are
    small, or where a head needs to know where they are.
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
        remedy=_more_positions(study, last) if few else _one_more_stage(study, last),
        severity=None if least < SMALLEST_SIDE else "note",
        quiet=exits(study) if least < SMALL_SIDE else least < 4 * MAX_SIDE or _stays(study),
        under=("I3",) if few else ("C6", "S1"),
    )


def _stays(study: Study) -> bool:
    """Whether maps become smaller once only, by more than 2 a side: by patches."""
    sizes = {node.output.shape[1:] for node in study.downsamplings}
    return len(sizes) == 1 and max(study.account.fields[study.last_map].stride) > 2


def exits(study: Study) -> bool:
    """Whether several outputs say the same at inference, from maps of different depth."""
    made = {node.output for node in study.inference}
    return sum(x.shape == study.output.shape for x in study.graph.outputs if x in made) > 1


def _more_positions(study: Study, last: LastMap) -> list[Remedy]:
    """The last stride out of the way, and padding where layers have none and so eat the border."""
    padded: dict[Node, tuple[Layer, ...]] = {}
    for node in study.convolutions:
        layer = node.layer
        if node in study.ancestors and isinstance(layer, SPATIAL) and not layer.padding and max(pair(layer.kernel)) > 1:
            rows, columns = pair(layer.kernel)
            padded[node] = (layer.replace(padding=(rows // 2, columns // 2)),)
    found = []
    if padded:
        text = f"pad the convolutions that shrink the map by reading no border: {len(padded)}"
        found.append(study.remedy(text, padded))
    short = [ceil(log2(MIN_SIDE / n)) for n in last.map.shape[1:]]
    return [*found, *less_often(study, together(study, short), first=False)] if study.downsamplings else found


def _one_more_stage(study: Study, last: LastMap) -> Remedy:
    """After the first half of the last stage there is room for one stage more."""
    maps = [x for x in study.spine if x.shape[1:] == last.map.shape[1:]]
    stage = [y for x, y in pairwise(maps) if study.depth(y) > study.depth(x)]
    middle = stage[(len(stage) - 1) // 2].node if len(stage) > 1 else None
    rows, columns, channels = last.map.shape[1] // 2, last.map.shape[2] // 2, last.map.shape[0]
    place = f", after {middle.path}" if middle else ""
    return Remedy(
        f"down-sample once more in the middle of the last stage{place}, which leaves {rows}x{columns}, and double its "
        f"{channels:,} channels from there on: for as many MACs each position sees twice as far"
    )


@rule("I3", "down-samplings", "warning", "lecture 001, 'Personal Notes For Vision Optimized CNNs'")
def down_samplings(study: Study) -> Iterator[Case]:
    """More down-sampling stages than the input has room for, or two fewer than it needs before a vectorised head.

    "5 down sampling stages take ImageNet inputs to N x 7 x 7": an input of n pixels a side has room for as many
    halvings as leave at least 6. What was designed for 224 pixels and is given 32 sums up all there is to see before
    its last stages begin. One stage too many that leaves 3 or 4 a side is a note, and where it leaves 4 of less than
    192 pixels only where it is asked for, as it is for networks with several exits. Of a thin image the short side
    alone may be halved too often. Too few stages show in the size of a vectorised head, whose first layer has weights
    for every position; before a global average they show in the size of the last map.
    Each stride that is taken out quadruples the MACs of all that comes after it; with half the width they are as many
    as before, which is how He et al. 2015 made the ResNets for 32 pixels (section 4.2). Where many are too many,
    there is a middle way, all of them or all but one for half the width and up to 4 times the MACs. Widths below 16 are
    not worth it; whoever has the time keeps them all.
    """
    last = _last_map(study)
    if last is None:
        return
    n, axis = min((n, axis) for axis, n in enumerate(study.account.input[1:]) if n > 1)
    strides = [round(log2(stride)) for stride in study.account.fields[last.map].stride]
    rooms = [max(0, (whole // MIN_SIDE).bit_length() - 1) for whole in study.account.input[1:]]
    stages, room, least = strides[axis], rooms[axis], min(_sides(study, last.map))
    by_size = round(log2(n / last.map.shape[1 + axis]))  # more where maps have no padding
    many, few = min(stages, by_size) > room, max(stages, by_size) < room - 1
    if not many and not (few and last.pool is None):
        return
    evidence = {"stages": stages, "room": room, "input": n, "last": least}
    text = f"{several(stages, 'down-sampling stage')} for {n} pixels: {room} would leave {n >> room}"
    if few:
        remedy = Remedy(f"down-sample {room - stages} times more, or pool to {USUAL_SIDE}x{USUAL_SIDE} before the head")
        yield Case(
            (last.map.node.path if last.map.node else "input",), text, evidence, remedy, "note", under=("C1", "C6")
        )
        return
    yield Case(
        where=tuple(node.path for node in study.downsamplings),
        text=f"{text}, these leave {last.size}",
        evidence=evidence,
        remedy=less_often(study, together(study, [a - b for a, b in zip(strides, rooms, strict=True)]), first=room < 5),
        severity="note" if least >= SMALLEST_SIDE else None,
        quiet=(least >= SMALL_SIDE and n < SMALL_INPUT) or exits(study),
    )


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
    says is enlarged to the size of the image (`MapHead`). The rule asks only where the task is given as segmentation,
    so that it does not object to what is to be the body of another network.
    """
    if study.purpose.task != "segmentation" or study.collapse is None or len(study.output.shape) == 2:
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
