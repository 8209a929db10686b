"""Rules about how layers are put together: strides and kernels, and what belongs to training or to inference alone."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import e, gcd, log

from cnnatomy.analysis.coverage import repeated
from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import SPATIAL, Study, pixels
from cnnatomy.design import Heads
from cnnatomy.design.graph import FeatureMap, Node, Scope
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    DepthwiseConv,
    FullyConnected,
    Layer,
    MaxPool,
    Permute,
    Reshape,
    Sigmoid,
    Softmax,
    Subsample,
    TransposedConv,
)
from cnnatomy.layers.layer import ELEMENT, GLOBAL, REARRANGEMENT, TRAINING, Pair, Window, pair
from cnnatomy.layers.sliding import pairs

AVERAGE_BEFORE = "average the pixels before, as ResNet-D does in its shortcuts"
LARGER_KERNELS = "take kernels at least as large as the stride, without holes"

Places = tuple[int, int]
"""Rows and columns of a map, a bit for each."""


@rule(
    "W1",
    "stride-skips-pixels",
    "warning",
    "He et al. 2018, 'Bag of Tricks', section 4.2 and figure 2; Goyal et al. 2017, section 5.1",
)
def stride_skips_pixels(study: Study) -> Iterator[Case]:
    """A stride larger than the kernel, which skips pixels that were computed.

    A 1x1 convolution of stride 2 reads a quarter of its map: where nothing else reads the rest, three quarters of the
    layer before were computed for nothing. So it is in ResNet as published, whose blocks begin with it. With the stride
    in the 3x3 convolution after it (v1.5) every pixel is read, for 6 % more operations and half a point of accuracy.
    Where another branch reads the rest, as next to the projection of v1.5, it is a note: ResNet-D averages 2x2 pixels
    there before an unstrided 1x1.
    """
    skipping: dict[FeatureMap, list[Node]] = {}
    for node in study.downsamplings:
        window = node.layer.window(*[x.shape for x in node.inputs])
        if window is not None and _leaves_gaps(window):
            skipping.setdefault(_source(study, node.inputs[0]), []).append(node)
    shares = {x: _share_read(study, x) for x in skipping}
    lost = [node for x, nodes in skipping.items() if shares[x] < 1 for node in nodes]
    partly = [node for x, nodes in skipping.items() if shares[x] == 1 for node in nodes]
    if lost:
        most = float(max(share for share in shares.values() if share < 1))
        maps = sum(share < 1 for share in shares.values())
        changes, moved = _every_pixel_read(study, [nodes for x, nodes in skipping.items() if shares[x] < 1])
        way = f"move the stride of {several(moved, 'layer')} to the next convolution" if moved else AVERAGE_BEFORE
        yield Case(
            where=tuple(node.path for node in lost),
            text=f"of {several(maps, 'map')} at most {most:.0%} of the pixels are ever read",
            evidence={"maps": maps, "layers": len(lost), "share_read": most},
            remedy=study.remedy(way, changes, fix="unsafe") if changes else Remedy(LARGER_KERNELS),
        )
    if partly:
        averaged = {node: chain for node in partly for chain in [_averaged(node.layer)] if chain}
        yield Case(
            where=tuple(node.path for node in partly),
            text=f"{several(len(partly), 'layer')} with pixels between the windows, which other branches read",
            evidence={"layers": len(partly)},
            remedy=study.remedy(AVERAGE_BEFORE, averaged) if averaged else Remedy(LARGER_KERNELS),
            severity="note",
        )


def _leaves_gaps(window: Window) -> bool:
    """Whether there are pixels between the windows, or in the holes of all windows."""
    axes = zip(window.kernel, window.stride, window.dilation, strict=True)
    return any(min(k, s // gcd(d, s)) < s for k, s, d in axes)


def _passes_pixels(study: Study, node: Node) -> bool:
    """Whether a layer does no more than pass each pixel on, perhaps moved by padding or cropping, changed or not."""
    if len(node.inputs) != 1 or study.rows[node].weights or isinstance(node.layer, (Reshape, Permute)):
        return False
    maps = len(node.output.shape) == 3 == len(node.inputs[0].shape)
    if not maps or node.layer.kind not in (ELEMENT, TRAINING, REARRANGEMENT):
        return False
    window = node.layer.window(node.inputs[0].shape)
    return window is None or (window.kernel == window.stride == window.upsample == (1, 1))


def _source(study: Study, x: FeatureMap) -> FeatureMap:
    """The map whose pixels a map shows."""
    while x.node is not None and _passes_pixels(study, x.node):
        x = x.node.inputs[0]
    return x


def _share_read(study: Study, x: FeatureMap) -> Fraction:
    """Which part of the pixels of a map some layer reads."""
    rows, columns = x.shape[1:]
    by_columns = {0: (1 << rows) - 1}  # columns that are read -> the rows of which just these are
    for some_rows, some_columns in _read(study, x):
        parts: dict[int, int] = {}
        for union, those in by_columns.items():
            for key, part in ((union | some_columns, those & some_rows), (union, those & ~some_rows)):
                if part:
                    parts[key] = parts.get(key, 0) | part
        by_columns = parts
    count = sum(union.bit_count() * those.bit_count() for union, those in by_columns.items())
    return Fraction(count, rows * columns)


def _read(study: Study, x: FeatureMap) -> list[Places]:
    """The pixels that each reader reads."""
    rows, columns = x.shape[1:]
    everything = ((1 << rows) - 1, (1 << columns) - 1)
    if x in study.graph.outputs:
        return [everything]
    found: list[Places] = []
    for node in study.readers[x]:
        window = node.layer.window(*[y.shape for y in node.inputs])
        if _passes_pixels(study, node):
            top, left = window.padding if window else (0, 0)
            found += [
                (_moved(some_rows, -top) & everything[0], _moved(some_columns, -left) & everything[1])
                for some_rows, some_columns in _read(study, node.output)
            ]
        elif window is None or window is GLOBAL or not _leaves_gaps(window) or len(node.output.shape) != 3:
            return [everything]
        else:
            found.append((_windows(window, 0, rows, node), _windows(window, 1, columns, node)))
    return found


def _moved(places: int, by: int) -> int:
    return places << by if by >= 0 else places >> -by


def _windows(window: Window, axis: int, size: int, node: Node) -> int:
    """The places along one axis that lie in some window."""
    one = repeated(1, window.kernel[axis], window.dilation[axis])
    every = repeated(one, node.output.shape[1 + axis], window.stride[axis])
    return _moved(every, -window.padding[axis]) & ((1 << size) - 1)


def _every_pixel_read(study: Study, maps: list[list[Node]]) -> tuple[dict[Node, tuple[Layer, ...]], int]:
    """Changes after which every pixel is read, and how many of them move a stride.

    Of the layers that skip pixels of one map, those move their stride that have a convolution after them to move it to;
    if there is none, all average before.
    """
    changes: dict[Node, tuple[Layer, ...]] = {}
    moved = 0
    for nodes in maps:
        successors = [
            (node, node.layer.stride, successor)
            for node in nodes
            if isinstance(node.layer, SPATIAL)
            and (successor := _next_convolution(study, node, pair(node.layer.stride)))
        ]
        for node, stride, successor in successors:
            changes[node] = (node.layer.replace(stride=1),)
            changes[successor] = (successor.layer.replace(stride=stride),)
        moved += len(successors)
        if not successors:
            changes |= {node: chain for node in nodes for chain in [_averaged(node.layer)] if chain}
    return changes, moved


def _next_convolution(study: Study, node: Node, stride: Pair) -> Node | None:
    """The unstrided convolution after one, with at most pointwise layers between, that could have its stride."""
    reader = study.only_reader(node.output)
    while reader is not None and _passes_pixels(study, reader) and reader.output.shape == node.output.shape:
        reader = study.only_reader(reader.output)
    if reader is None or not isinstance(reader.layer, SPATIAL) or reader.layer.stride != 1:
        return None
    layer = reader.layer
    return reader if min(pair(layer.kernel)) >= max(stride) and layer.dilation == 1 else None


def _averaged(layer: Layer) -> tuple[Layer, ...]:
    """A layer that skips pixels as one that averages them; empty where that is not known."""
    if isinstance(layer, Subsample):
        return (AvgPool(layer.stride, ceil=True),)
    if isinstance(layer, (Conv, DepthwiseConv)) and layer.kernel == 1:
        return (AvgPool(layer.stride, ceil=True), layer.replace(stride=1))
    if isinstance(layer, (MaxPool, AvgPool)) and layer.kernel == 1 and layer.stride is not None:
        return (layer.replace(kernel=layer.stride, ceil=True),)
    return ()


@rule(
    "W2",
    "uneven-transposed-convolution",
    "warning",
    "lecture 002, 'Upsampling Layers: Subpixel Convolution'; Odena et al. 2016",
)
def uneven_transposed_convolution(study: Study) -> Iterator[Case]:
    """A transposed convolution whose kernel is not a multiple of its stride: checkerboards.

    Neighbouring pixels of the output get unequally many products: with a 3x3 kernel and stride 2 one pixel of four
    gets 4, two get 2 and one gets 1. The weights have to even that out and seldom do, so that the output, and the
    gradient, have the pattern of a checkerboard. A kernel that is a multiple of the stride gives all pixels the same;
    resizing and an ordinary convolution do too.
    """
    found: dict[Node, tuple[int, int]] = {}
    for node in study.graph.nodes:
        if isinstance(node.layer, TransposedConv):
            most, least = _products(node.layer)
            if most != least:
                found[node] = (most, least)
    if not found:
        return
    node, (most, least) = max(found.items(), key=lambda item: item[1][0] / max(item[1][1], 0.5))
    kernels = {node: _evened(node.layer) for node in found if isinstance(node.layer, TransposedConv)}
    sizes = sorted({"x".join(map(str, pair(layer.kernel))) for layer in kernels.values()})
    yield Case(
        where=tuple(node.path for node in found),
        text=f"{node.path}: of a channel's weights {most} meet in some pixels of the output and {least} in others",
        evidence={"layers": len(found), "most": most, "least": least},
        remedy=study.remedy(
            f"take {'kernels' if len(found) > 1 else 'a kernel'} of {' and '.join(sizes)}, or resize and convolve",
            {node: (layer,) for node, layer in kernels.items()},
            fix="unsafe",
        ),
    )


def _products(layer: TransposedConv) -> tuple[int, int]:
    """How many weights of a channel meet in one pixel of the output, at the most and at the least."""
    most = least = 1
    for k, s, d in zip(*pairs(layer.kernel, layer.stride, layer.dilation), strict=True):
        hits = [sum(i * d % s == phase for i in range(k)) for phase in range(s)]
        most, least = most * max(hits), least * min(hits)
    return most, least


def _evened(layer: TransposedConv) -> TransposedConv:
    """The same layer with the next larger kernel that is a multiple of the stride, and the same output size."""
    kernels, paddings, more = [], [], []
    sizes = pairs(layer.kernel, layer.stride, layer.padding, layer.output_padding, layer.dilation)
    for k, s, p, o, d in zip(*sizes, strict=True):
        wanted = -(-k // s) * s
        surplus = 2 * p - o + d * (wanted - k)  # what padding has to take away, twice the padding less the rest
        kernels.append(wanted)
        paddings.append(max(0, -(-surplus // 2)))
        more.append(2 * paddings[-1] - surplus)
    if any(o >= s for o, s in zip(more, pair(layer.stride), strict=True)):
        return layer
    return layer.replace(
        kernel=(kernels[0], kernels[1]), padding=(paddings[0], paddings[1]), output_padding=(more[0], more[1])
    )


@rule("W7", "softmax-before-loss", "error", "lecture 000, 'Linear Classifier'; Goodfellow et al. 2016, section 6.2.2.3")
def softmax_before_loss(study: Study) -> Iterator[Case]:
    """A softmax or sigmoid as the output of a network to be trained.

    The cross-entropy loss has a softmax of its own, and of values between 0 and 1 it cannot come near zero. With C
    classes it stays above ln(1 + (C - 1) / e), and gradients vanish where the network is sure and wrong. The loss reads
    the linear classifier; whoever wants probabilities takes the softmax of what comes out. A note where the network was
    read from a file or module, which may be for inference, and for sigmoids: there are binary losses that read them,
    but what has a sigmoid of its own, as torch's BCEWithLogitsLoss, stays above ln 2 for what is not there.
    """
    for x in study.graph.outputs:
        node = x.node
        while node is not None and node.layer.kind == REARRANGEMENT and len(node.inputs) == 1:
            node = node.inputs[0].node
        if node is None or not isinstance(node.layer, (Softmax, Sigmoid)):
            continue
        wrong = study.described and isinstance(node.layer, Softmax)
        if isinstance(node.layer, Softmax):
            classes = node.output.shape[node.layer.axis]
            least, untrained = log(1 + (classes - 1) / e), log(classes)
            text = f"after it the cross-entropy of {classes:,} classes cannot fall below {least:.2f}; knowing nothing"
            text = f"{text} is {untrained:.2f}" if classes > 1 else "a softmax of one value is 1, whatever the value"
        else:
            classes = node.output.shape[0]
            least = untrained = log(2)
            text = f"after it a binary cross-entropy of logits cannot fall below {least:.2f} for what is not there"
        yield Case(
            where=(node.path,),
            text=text,
            evidence={"classes": classes, "least_loss": least, "untrained_loss": untrained},
            remedy=study.remedy(f"leave {node.path} to the loss", {node: ()}, fix="safe" if study.described else None),
            severity=None if wrong else "note",
        )


@rule(
    "W8", "auxiliary-heads", "warning", "lecture 000, 'Parallel – Inception V2 And V3'; Szegedy et al. 2014, section 5"
)
def auxiliary_heads(study: Study) -> Iterator[Case]:
    """Auxiliary classifiers that are still there at inference.

    A head on shallower features feeds gradients into the middle of a deep network in training; nothing reads it at
    inference, and it is paid for all the same. Early exits, which stop there when they are sure enough, are meant to
    stay. A note where the description says which heads are auxiliary: they are left out in evaluation, and have to be
    left out of what is exported.
    """
    running = set(study.inference)
    declared = [node for node in study.graph.nodes if node not in running]
    nodes = declared or ([] if _declares_heads(study) else _side_heads(study))
    if not nodes:
        return
    totals = study.account.totals
    parameters = sum(study.rows[node].parameters for node in nodes)
    macs = sum(study.rows[node].macs for node in nodes)
    own = set(nodes)
    heads = [x for x in study.graph.outputs if x.node in own]
    yield Case(
        where=tuple(x.node.path for x in heads if x.node),
        text=f"{several(len(heads), 'head')} on shallower features: {parameters:,} parameters "
        f"({parameters / max(totals.parameters, 1):.0%}) and {macs:,} MACs ({macs / max(totals.macs, 1):.0%})",
        evidence={"heads": len(heads), "parameters": parameters, "macs": macs},
        remedy=study.remedy(
            f"leave {several(len(heads), 'head')} out of what is exported",
            dropped=nodes,
            fix=None if declared else "unsafe",
        ),
        severity="note" if declared else None,
    )


def _declares_heads(study: Study) -> bool:
    heads = [child for child in study.graph.root.children if isinstance(child, Scope)]
    return any(isinstance(scope.block, Heads) for scope in heads)


def _side_heads(study: Study) -> list[Node]:
    """What only outputs of the main output's shape need that branch off a map with pixels before the last one."""
    main, limit = study.output, study.depth(study.last_map)
    found: list[Node] = []
    for x in study.graph.outputs:
        if x is main or x.shape != main.shape or pixels(x.shape) > 1 or study.depth(x) >= study.depth(main):
            continue
        own: dict[Node, None] = {}
        starts: set[FeatureMap] = set()
        waiting = [x]
        while waiting:
            y = waiting.pop()
            if y.node is None or y.node in study.ancestors:
                starts.add(y)
            elif y.node not in own:
                own[y.node] = None
                waiting += y.node.inputs
        if starts and all(pixels(y.shape) > 1 and study.depth(y) < limit for y in starts):
            found += [node for node in own if node not in found]
    return found


@rule(
    "W9",
    "unfolded-batch-norm",
    "note",
    "lecture 001, 'Personal Notes For Vision Optimized CNNs'; Jacob et al. 2018, section 3.2",
)
def unfolded_batch_norm(study: Study) -> Iterator[Case]:
    """Batch norm after a linear layer in a network that is to be run.

    At inference batch norm is one multiplication and one addition to a channel, which the weights of the layer before
    can take in: the same output, one map less to write and read for each. It is asked of networks for inference alone:
    files exported for it, and networks asked about with a device. Batch norm before the convolution
    (pre-activation, DenseNet) mostly cannot be folded.
    """
    if not study.deployed:
        return
    norms = [node for node in study.graph.nodes if isinstance(node.layer, BatchNorm)]
    changes: dict[Node, tuple[Layer, ...]] = {}
    for node in norms:
        before = node.inputs[0].node
        if (
            before is not None
            and isinstance(before.layer, (Conv, DepthwiseConv, TransposedConv, FullyConnected))
            and len(node.output.shape) != 2
            and study.only_reader(before.output) is node
        ):
            changes |= {before: (before.layer.replace(bias=True),), node: ()}
    if not changes:
        return
    rows = [study.rows[node] for node, layers in changes.items() if not layers]
    maps, buffers = sum(row.feature_map_elements for row in rows), sum(row.buffers for row in rows)
    share = maps / study.account.totals.feature_map_elements
    yield Case(
        where=tuple(row.path for row in rows),
        text=f"{len(rows)} of {several(len(norms), 'batch norm')} can be folded into the layer before: {maps:,} values "
        f"({share:.0%} of all maps) need not be written, {buffers:,} statistics not be stored",
        evidence={"layers": len(rows), "of": len(norms), "elements": maps, "share_of_maps": share, "buffers": buffers},
        remedy=study.remedy(f"fold {several(len(rows), 'batch norm')} into the weights before", changes),
    )
