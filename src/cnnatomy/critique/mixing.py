"""Rules about what layers in a row combine: channels that never meet, and pixels that never do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cnnatomy.critique.linear import LINEAR_BETWEEN, own_nonlinearity
from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import SPATIAL, Study, depthwise, paths, pixels
from cnnatomy.critique.ways import following
from cnnatomy.design.graph import Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import BatchNorm, Conv, DepthwiseConv, Dropout, LayerNorm
from cnnatomy.layers.layer import ELEMENT, SPACE, TRAINING, Layer, pair


@rule(
    "W11",
    "depthwise-after-depthwise",
    "warning",
    "Howard et al. 2017, 'MobileNets', section 3.1: a depthwise convolution does not combine channels",
)
def depthwise_after_depthwise(study: Study) -> Iterator[Case]:
    """Depthwise convolutions in a row with nothing between that mixes channels.

    A depthwise convolution filters each channel by itself: it needs a 1x1 convolution after it to make new features of
    them. Of several in a row each channel sees a larger window of itself and of no other, which one depthwise layer
    with a larger kernel does as well. Pooling, normalisation and nonlinearities between mix no channels either.

    It is no objection to one large kernel taken apart, with nothing nonlinear between: 1x11 and 11x1, or a dense and a
    dilated one, as in the large-kernel attention of VAN (Guo et al. 2022).
    """
    found = [run for run in _runs(study, depthwise, _channel_by_channel) if not _is_one_kernel(study, run)]
    if not found:
        return
    changes: dict[Node, tuple[Layer, ...]] = {}
    normed = any(isinstance(node.layer, BatchNorm) for node in study.graph.nodes)
    for run in found:
        for node in run[1:]:
            channels = node.inputs[0].shape[0]
            mix = (Conv(channels, 1, bias=False), BatchNorm()) if normed else (Conv(channels, 1),)
            changes[node] = (*mix, own_nonlinearity(study), node.layer)
    layers = [node for run in found for node in run]
    first, channels = found[0], found[0][0].output.shape[0]
    yield Case(
        where=tuple(node.path for node in layers),
        text=f"{several(len(first), 'depthwise convolution')} in a row, {first[0].path} to {first[-1].path}: none of "
        f"the {channels:,} channels sees another",
        evidence={"layers": len(layers), "runs": len(found), "longest": max(map(len, found)), "channels": channels},
        remedy=[
            study.remedy(
                f"put a 1x1 convolution between, before {paths(list(changes))}",
                changes,
                fix="unsafe",
            ),
            *_one_of_each(study, found),
        ],
    )


def _one_of_each(study: Study, runs: list[tuple[Node, ...]]) -> list[Remedy]:
    """To keep the one that changes the size, else the first; no way where several of a run do."""
    spare: list[Node] = []
    for run in runs:
        resizing = [node for node in run if node.output.shape != node.inputs[0].shape]
        if len(resizing) > 1:
            return []
        spare += [node for node in run if node is not (*resizing, run[0])[0]]
    text = f"keep one depthwise convolution of each run: leave {paths(spare)} out"
    return [study.remedy(text, dict.fromkeys(spare, ()))]


def _runs(study: Study, counts: Callable[[Node], bool], passes: Callable[[Node], bool]) -> Iterator[tuple[Node, ...]]:
    """Maximal runs of two or more layers that count, with only layers between that pass, and no other readers."""
    taken: set[Node] = set()
    for node in study.graph.nodes:
        if node in taken or not counts(node):
            continue
        way, _ = following(study, node.output, lambda reader: counts(reader) or passes(reader))
        run = [node, *filter(counts, way)]
        taken.update(run)
        if len(run) > 1:
            yield tuple(run)


def _channel_by_channel(node: Node) -> bool:
    """Whether each channel of the output is made from the same channel of the only input."""
    if len(node.inputs) != 1 or len(node.output.shape) != 3 or node.inputs[0].shape[0] != node.output.shape[0]:
        return False
    return node.layer.kind in (ELEMENT, SPACE, TRAINING) and not isinstance(node.layer, LayerNorm)


def _is_one_kernel(study: Study, run: tuple[Node, ...]) -> bool:
    """Whether depthwise layers are the factors of one kernel: each of another shape, and all between them linear."""
    layers = [node.layer for node in run if isinstance(node.layer, SPATIAL)]
    windows = {(pair(layer.kernel), pair(layer.dilation)) for layer in layers}
    if len(windows) < len(run) or all(1 not in kernel and dilation == (1, 1) for kernel, dilation in windows):
        return False
    x = run[-1].inputs[0]
    while x is not run[0].output and x.node is not None:
        if x.node not in run and not isinstance(x.node.layer, LINEAR_BETWEEN):
            return False
        x = x.node.inputs[0]
    return True


@rule(
    "W14",
    "pointwise-run",
    "warning",
    "Lin et al. 2014, 'Network In Network', section 3.1: an mlpconv layer has two 1x1 layers after each spatial one",
)
def pointwise_run(study: Study) -> Iterator[Case]:
    """Three or more 1x1 convolutions in a row.

    They cost as much as ever, and the receptive field has stopped growing: the same depth with a 3x3 kernel, depthwise
    where it has to be cheap, sees more. Two 1x1 convolutions after a spatial one are a small perceptron at each pixel,
    as in Network in Network, and what an inverted residual ends in meets what the next begins with.

    Layers on one pixel, as in gates and heads of vectors, are not meant, nor the last layer before the output, which
    makes the scores.
    """
    ends = {study.weighted(x) for x in study.graph.outputs}

    def counts(node: Node) -> bool:
        return _is_pointwise(node) and pixels(node.output.shape) > 1 and node not in ends

    found = [run for run in _runs(study, counts, _at_each_pixel) if len(run) > 2]
    if not found:
        return
    middle = [run[len(run) // 2] for run in found]
    layers = [node for run in found for node in run]
    longest = max(found, key=len)
    macs = sum(study.rows[node].macs for node in layers)
    field = study.account.fields[longest[-1].output]
    named = paths(middle)
    yield Case(
        where=tuple(node.path for node in layers),
        text=f"{len(longest)} 1x1 convolutions in a row, {longest[0].path} to {longest[-1].path}: "
        f"{macs:,} MACs, and the receptive field stays at {'x'.join(map(str, field.size))} pixels",
        evidence={"layers": len(layers), "runs": len(found), "longest": len(longest), "macs": macs},
        remedy=[
            study.remedy(
                f"give {named} a 3x3 kernel",
                {node: (node.layer.replace(kernel=3, padding=1),) for node in middle},
                fix="unsafe",
            ),
            study.remedy(
                f"put a depthwise 3x3 convolution before {named}",
                {node: (DepthwiseConv(3, padding=1, bias=False), node.layer) for node in middle},
            ),
        ],
        under=("S1",),
    )


def _is_pointwise(node: Node) -> bool:
    layer = node.layer
    return isinstance(layer, Conv) and layer.kernel == 1 and layer.stride == 1 and layer.groups == 1


def _at_each_pixel(node: Node) -> bool:
    """Whether a layer without other inputs makes each pixel of the same pixel, and no weights mix anything."""
    same = len(node.inputs) == 1 and node.inputs[0].shape == node.output.shape
    return same and (node.layer.kind == ELEMENT or isinstance(node.layer, (BatchNorm, Dropout, LayerNorm)))
