"""Rules about layers that repeat what the one before them did: pools of pools, norms of norms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from cnnatomy.critique.inference import from_elsewhere
from cnnatomy.critique.linear import NONLINEARITIES
from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import Study, paths
from cnnatomy.critique.ways import following
from cnnatomy.design.graph import Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import (
    AvgPool,
    BatchNorm,
    Bias,
    Dropout,
    GlobalAvgPool,
    Interpolate,
    MaxPool,
    ReLU,
    Scale,
)
from cnnatomy.layers.layer import ELEMENT, GLOBAL, Layer, pair
from cnnatomy.layers.training import NORMALISATIONS


@rule("W12", "pool-after-pool", "warning", "arithmetic: a maximum of maxima is a maximum, a mean of equal means a mean")
def pool_after_pool(study: Study) -> Iterator[Case]:
    """A pool that reads what a pool made, also with a ReLU or dropout between, and one of a single pixel.

    The maximum of maxima is the maximum of the larger window, and the mean of means a mean: one pool does what two do,
    writes one map less, and mostly one of them was not meant. A pool with a 1x1 window, and an enlargement by 1, read
    and write a whole map and change nothing; so does a global average of what is one pixel already.

    It is no objection where every stage is read by others too, as in the pyramid of SPP and YOLO's SPPF, to an average
    that smooths what a maximum of stride 1 has picked (Zhang 2019), nor to a global average after a maximum. Where the
    network was read from a module or file, pools that change nothing may come from adaptive ones, for other sizes
    of the image: then it is said only with `--pedantic`.
    """
    idle = [node for node in study.graph.nodes if _changes_nothing(node)]
    idle += [node for node in study.graph.nodes if _pools_one_pixel(study, node)]
    if idle:
        maps = sum(study.rows[node].feature_map_elements for node in idle)
        kinds = Counter(isinstance(node.layer, Interpolate) for node in idle)
        phrases = {False: ("pool", "of one pixel"), True: ("enlargement", "by 1")}
        named = " and ".join([f"{several(n, phrases[kind][0])} {phrases[kind][1]}" for kind, n in kinds.items()])
        yield Case(
            where=tuple(node.path for node in idle),
            text=f"{named}: none of {maps:,} values can change",
            evidence={"layers": len(idle), "elements": maps},
            remedy=study.remedy(f"leave {paths(idle)} out", dict.fromkeys(idle, ()), fix="safe"),
            quiet=from_elsewhere(study),
        )
    found = [both for both in _pools_of_pools(study) if both.first not in idle and both.second not in idle]
    if found:
        yield _pooled_twice(study, found)


class _Pools(NamedTuple):
    """Two pools of one kind with nothing between; `one` is the pool that does the same, where there is one."""

    first: Node
    second: Node
    one: Layer | None


def _pooled_twice(study: Study, found: list[_Pools]) -> Case:
    first, second, _ = found[0]
    exact = all(both.one is not None for both in found)
    spare = [_spare(both) for both in found]
    leave_out = study.remedy(f"leave {paths(spare)} out", dict.fromkeys(spare, ()), fix="unsafe")
    if all(isinstance(both.second.layer, GlobalAvgPool) for both in found):
        remedies = [leave_out._replace(fix="safe" if exact else "unsafe")]
    elif all(map(_keeps_size, spare)):
        remedies = [leave_out, *_merged(study, found)]
    else:
        remedies = [*_merged(study, found), Remedy("put a convolution with its nonlinearity between the two")]
    more = f", and {several(len(found) - 1, 'other pair')}" if len(found) > 1 else ""
    return Case(
        where=tuple(dict.fromkeys(node.path for both in found for node in both[:2])),
        text=f"{second.path} pools what {first.path} has pooled, with no convolution between{more}",
        evidence={"pairs": [(both.first.path, both.second.path) for both in found]},
        remedy=remedies,
        quiet=all(type(a.layer) is not type(b.layer) for a, b, _ in found) and from_elsewhere(study),
    )


def _merged(study: Study, found: list[_Pools]) -> list[Remedy]:
    """One pool in place of each two, where that gives the same and the pairs do not overlap."""
    same = {both.second: both.one for both in found if both.one is not None}
    if len(same) < len(found) or {both.first for both in found} & same.keys():
        return []
    layers: dict[Node, tuple[Layer, ...]] = {both.first: () for both in found}
    layers |= {node: (layer,) for node, layer in same.items()}
    text = ", ".join(f"{layer!r} for {node.path}" for node, layer in list(same.items())[:2])
    return [study.remedy(f"make each two one pool: {text}", layers, fix="safe")]


def _changes_nothing(node: Node) -> bool:
    layer = node.layer
    if isinstance(layer, (MaxPool, AvgPool)):
        return pair(layer.kernel) == (1, 1) and _keeps_size(node)
    return isinstance(layer, Interpolate) and pair(layer.scale) == (1, 1)


def _pools_one_pixel(study: Study, node: Node) -> bool:
    """Whether it averages over all pixels what a layer before has made one pixel for every size of the image."""
    if not isinstance(node.layer, GlobalAvgPool) or not _keeps_size(node):
        return False
    before = node.inputs[0].node
    while before is not None and len(before.inputs) == 1 and before.output.shape[1:] == (1, 1):
        if before.layer.window(before.inputs[0].shape) is GLOBAL:
            return True
        before = before.inputs[0].node
    return False


def _pools_of_pools(study: Study) -> Iterator[_Pools]:
    """Pools with no layer with weights between; not an average that smooths what a maximum of stride 1 has picked."""
    for first in study.graph.nodes:
        if not isinstance(first.layer, (MaxPool, AvgPool)):
            continue
        between, x = following(study, first.output, lambda node: isinstance(node.layer, (ReLU, BatchNorm, Dropout)))
        second = study.only_reader(x)
        if second is None:
            continue
        monotone = isinstance(first.layer, MaxPool) and all(isinstance(node.layer, ReLU) for node in between)
        alike = type(second.layer) is type(first.layer)
        if isinstance(first.layer, AvgPool) and isinstance(second.layer, GlobalAvgPool):
            if not between:
                yield _Pools(first, second, GlobalAvgPool() if _divides(first) else None)
        elif alike:
            yield _Pools(first, second, _one_pool(first, second) if monotone or not between else None)
        elif isinstance(second.layer, (MaxPool, AvgPool)) and not _smooths(first, second):
            yield _Pools(first, second, None)


def _smooths(first: Node, second: Node) -> bool:
    """Whether an average samples what a maximum of all windows has picked."""
    return isinstance(first.layer, MaxPool) and not _smaller(first) and _smaller(second)


def _smaller(node: Node) -> bool:
    window = node.layer.window(node.inputs[0].shape)
    return window is not None and max(window.stride) > 1


def _divides(node: Node) -> bool:
    """Whether each pixel is in just one window."""
    layer, (_, rows, columns) = node.layer, node.inputs[0].shape
    assert isinstance(layer, AvgPool)
    kernel = pair(layer.kernel)
    apart = layer.padding == 0 and pair(layer.stride or layer.kernel) == kernel
    return apart and rows % kernel[0] == columns % kernel[1] == 0


def _one_pool(first: Node, second: Node) -> Layer | None:
    """The pool that gives what two give, where that is exact: of averages those of windows that do not overlap."""
    a, b = first.layer, second.layer
    assert isinstance(a, (MaxPool, AvgPool))
    assert isinstance(b, (MaxPool, AvgPool))
    if a.ceil or b.ceil:
        return None
    if isinstance(a, AvgPool) and (not _divides(first) or b.padding != 0):
        return None
    kernels, strides, paddings = [], [], []
    sizes = (a.kernel, a.stride or a.kernel, a.padding, b.kernel, b.stride or b.kernel, b.padding)
    for k, s, p, n, t, q in zip(*map(pair, sizes), strict=True):
        if s > k or (q and (p != q * s or 2 * p + 1 != k)):  # holes; padding after padding is one padding only here
            return None
        kernels.append(k + (n - 1) * s)
        strides.append(s * t)
        paddings.append(p + q * s)
    if any(2 * p > k for p, k in zip(paddings, kernels, strict=True)):
        return None
    one = (kernels[0], kernels[1]), (strides[0], strides[1]), (paddings[0], paddings[1])
    return MaxPool(*one) if isinstance(a, MaxPool) else AvgPool(*one)


def _spare(both: _Pools) -> Node:
    """Of two pools the one that keeps the size, the second if both do."""
    return both.second if _keeps_size(both.second) else both.first


def _keeps_size(node: Node) -> bool:
    return node.output.shape == node.inputs[0].shape


@rule(
    "W13",
    "norm-after-norm",
    "warning",
    "arithmetic: what has mean 0 and variance 1 keeps them; Ioffe and Szegedy 2015, algorithm 1",
)
def norm_after_norm(study: Study) -> Iterator[Case]:
    """Batch norm of what batch norm has normalised, or another normalisation with no weights between.

    The second takes back the scale and the bias that the first has learned, and sets its own: together they compute
    what one does, for one more map in training and twice the statistics. Mostly a block that begins with batch norm was
    put after one that ends with it. It is no objection where the map between is read elsewhere too, as by a shortcut,
    nor after an addition, whose sum has another mean and variance.

    With a nonlinearity or a pool between it is a note, as that changes the mean and the variance, though in a way that
    the weights after it can take in; a warning where at least a third of all normalisations, and three, are such ones.
    A stem that ends in a nonlinearity and one first block that begins with batch norm and another are how pre-activated
    networks are published: that is said with `--pedantic` or `--rule norm-after-norm` alone.
    """
    norms = [node for node in study.graph.nodes if isinstance(node.layer, NORMALISATIONS)]
    again: list[tuple[Node, Node]] = []
    at_once: list[tuple[Node, Node]] = []
    for node in norms:
        between, x = following(study, node.output, _passes_channels)
        second = study.only_reader(x)
        if second is not None and isinstance(second.layer, NORMALISATIONS):
            nothing_between = all(isinstance(one.layer, (Scale, Bias, Dropout)) for one in between)
            (at_once if nothing_between else again).append((node, second))
    if again:
        yield _normed_again(study, len(norms), again)
    if at_once:
        yield _normed_at_once(study, at_once)


def _normed_again(study: Study, norms: int, pairs: list[tuple[Node, Node]]) -> Case:
    """Of normalisations with a nonlinearity or a pool between."""
    spare = [second for _, second in pairs]
    maps = sum(study.rows[node].feature_map_elements for node in spare)
    begins = study.only_reader(spare[0].output)
    pre_activated = len(pairs) == 1 and begins is not None and isinstance(begins.layer, NONLINEARITIES)
    everywhere = len(pairs) >= 3 and 3 * len(pairs) >= norms
    return Case(
        where=tuple(dict.fromkeys(node.path for both in pairs for node in both)),
        text=f"{len(pairs)} of {several(norms, 'normalisation')} have no weights between them and the one before: "
        f"{spare[0].path} after {pairs[0][0].path}" + (f" and {len(spare) - 1} more" if len(spare) > 1 else ""),
        evidence={"layers": len(spare), "of": norms, "elements": maps},
        remedy=study.remedy(
            f"normalise once for each layer with weights: leave {paths(spare)} out",
            dict.fromkeys(spare, ()),
            fix="unsafe",
        ),
        severity="warning" if everywhere else "note",
        quiet=pre_activated,
    )


def _passes_channels(node: Node) -> bool:
    """Whether it treats each channel by itself, with no learned weights that mix pixels."""
    if len(node.inputs) != 1 or isinstance(node.layer, NORMALISATIONS):
        return False
    return isinstance(node.layer, (MaxPool, AvgPool, Dropout, Scale, Bias)) or node.layer.kind == ELEMENT


def _normed_at_once(study: Study, pairs: list[tuple[Node, Node]]) -> Case:
    """Of normalisations right after one another."""
    found = list(dict.fromkeys(node for both in pairs for node in both))
    rows = study.rows
    spare = [first if rows[first].parameters < rows[second].parameters else second for first, second in pairs]
    maps = sum(study.rows[node].feature_map_elements for node in spare)
    alike = len({type(node.layer) for node in found}) == 1
    return Case(
        where=tuple(node.path for node in found),
        text=f"{several(len(spare), 'normalisation')} of what is normalised already: {spare[0].path}"
        + (f" and {len(spare) - 1} more" if len(spare) > 1 else ""),
        evidence={"layers": len(spare), "elements": maps},
        remedy=study.remedy(f"leave {paths(spare)} out", dict.fromkeys(spare, ()), fix="safe" if alike else "unsafe"),
    )
