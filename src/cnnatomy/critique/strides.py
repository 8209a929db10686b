"""Fewer strides: what a network that samples down too often for its input becomes, and how its MACs stay near."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import groupby

from cnnatomy.critique.rule import several
from cnnatomy.critique.scaling import scaled
from cnnatomy.critique.study import Study
from cnnatomy.design.graph import Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import AvgPool, Conv, DepthwiseConv, MaxPool, Subsample
from cnnatomy.layers.layer import Layer, Pair, pair

NARROWER = tuple(Fraction(n, 2) for n in (3, 4, 6, 8, 12, 16, 24, 32))
"""By how much a remedy may divide widths, the least first."""

HALF, AFFORDED = Fraction(2), 4
"""What widths are divided by when a stride goes, and how many times the MACs that may take in the middle way."""


def together(study: Study, numbers: Sequence[int]) -> Pair:
    """So many halvings fewer of rows and columns, as many of both unless one side is thin and wants two more."""
    rows, columns = (
        max(0, n) if whole > 1 else max(numbers) for n, whole in zip(numbers, study.account.input[1:], strict=True)
    )
    most = max(rows, columns)
    return (rows, columns) if abs(rows - columns) > 1 else (most, most)


def less_often(study: Study, numbers: Pair, first: bool) -> list[Remedy]:
    """Without so many halvings of rows and of columns; where that is dear, with narrower layers, and as it is last.

    Where layers would have to be less than half as wide, the middle way stands first: half the width, and as many of
    these halvings, or one less, as take at most `AFFORDED` times the MACs.
    """
    layers, chosen = _without_strides(study, numbers, first)
    plain = _plain(study, layers, chosen)
    if not plain.is_dear(study.cost):
        return [plain]
    for by in (n for n in NARROWER if n <= 2 * 2 ** max(numbers)):
        narrowed = _narrowed(study, layers, chosen, by)
        if not narrowed.is_dear(study.cost):
            break
    text = f"take the stride out of {chosen}, and leave all widths as they are, {_for_macs(study, plain)}"
    middle = _half_way(study, numbers, first) if by > HALF else []
    return [*middle, narrowed, plain._replace(text=text)]


def _half_way(study: Study, numbers: Pair, first: bool) -> list[Remedy]:
    """Half the width, and all of these strides or all but one taken out, if it takes at most `AFFORDED` the MACs."""
    for fewer in (0, 1):
        rows, columns = (max(0, n - fewer) for n in numbers)
        layers, chosen = _without_strides(study, (rows, columns), first)
        if layers:
            remedy = _narrowed(study, layers, chosen, HALF)
            if remedy.after is not None and remedy.after.macs <= AFFORDED * study.cost.macs:
                return [remedy._replace(text=f"{remedy.text}, {_for_macs(study, remedy)}")]
    return []


def _for_macs(study: Study, remedy: Remedy) -> str:
    """What a remedy takes, as `for 3.2 times the MACs`."""
    after = remedy.after.macs if remedy.after else 0
    return f"for {after / max(1, study.cost.macs):.1f} times the MACs"


def _narrowed(study: Study, layers: dict[Node, tuple[Layer, ...]], chosen: str, by: Fraction) -> Remedy:
    """These layers without their strides, and all widths divided."""
    narrow = scaled(study, lambda _: 1 / by)
    changed: dict[Node, tuple[Layer, ...]] = {node: (layer,) for node, layer in narrow.items()}
    for node, chain in layers.items():
        wide = narrow.get(node)
        width = {"channels": wide.channels, "groups": wide.groups} if isinstance(wide, Conv) else {}
        changed[node] = tuple(layer.replace(**width) for layer in chain)
    widths = [layer.channels for layer in narrow.values() if isinstance(layer, Conv)]
    left = f" ({min(widths):,} to {max(widths):,} channels are left)" if widths else ""
    return study.remedy(f"take the stride out of {chosen}, and divide all widths by {float(by):g}{left}", changed)


def fewer_stages(study: Study, number: int) -> Remedy:
    """No stride in the last stages, so many of them."""
    return _plain(study, *_without_strides(study, (number, number), first=False))


def _plain(study: Study, layers: dict[Node, tuple[Layer, ...]], chosen: str) -> Remedy:
    text = f"take the stride out of {chosen.partition(' (')[0]}"
    return study.remedy(text, layers) if layers else Remedy(text)


def _without_strides(study: Study, numbers: Pair, first: bool) -> tuple[dict[Node, tuple[Layer, ...]], str]:
    """The layers of so many halvings of rows and columns without their strides, and what to call them.

    None if there are not so many.
    """
    stages = [list(nodes) for _, nodes in groupby(study.downsamplings, lambda node: node.output.shape[1:])]
    layers: dict[Node, tuple[Layer, ...]] = {}
    paths: list[str] = []
    left = list(numbers)
    for nodes in stages if first else reversed(stages):
        strides = [_stride(node) for node in nodes]
        taken = [min(left[axis], max(stride[axis] for stride in strides).bit_length() - 1) for axis in (0, 1)]
        if max(taken) <= 0:
            continue
        for node, stride in zip(nodes, strides, strict=True):
            rows, columns = (max(1, s >> max(0, n)) for s, n in zip(stride, taken, strict=True))
            layers[node] = _strided(node, (rows, columns))
        kept = max(max(stride) >> max(taken) for stride in strides)
        left = [n - gone for n, gone in zip(left, taken, strict=True)]
        paths.append(nodes[0].path if kept <= 1 else f"{nodes[0].path} down to {kept}")
    side = "first" if first else "last"
    if max(left) > 0:
        return {}, f"the {side} {several(max(numbers), 'stage')}"
    along = "" if len(set(numbers)) == 1 else " along the short side" if 0 in numbers else ", more along the short side"
    which = f"the {side} stage" if len(paths) == 1 else f"the {side} {len(paths)} stages"
    return layers, f"{which}{along} ({', '.join(paths)})"


def _stride(node: Node) -> Pair:
    window = node.layer.window(*[x.shape for x in node.inputs])
    assert window is not None  # a down-sampling has one
    rows, columns = window.stride
    return int(rows), int(columns)


def _strided(node: Node, stride: Pair) -> tuple[Layer, ...]:
    """With a smaller stride; a large kernel that reads the image itself becomes one of 3x3, as small images want."""
    layer = node.layer
    if isinstance(layer, (MaxPool, AvgPool, Subsample)) and stride == (1, 1):
        return ()
    if isinstance(layer, (MaxPool, AvgPool)):
        kept = [one == old for one, old in zip(stride, _stride(node), strict=True)]
        kernel = [k if keep else s for k, s, keep in zip(pair(layer.kernel), stride, kept, strict=True)]
        padding = [p if keep else 0 for p, keep in zip(pair(layer.padding), kept, strict=True)]
        return (layer.replace(kernel=tuple(kernel), stride=stride, padding=tuple(padding)),)
    if isinstance(layer, Conv) and node.inputs[0].node is None and min(pair(layer.kernel)) > 3:
        return (layer.replace(stride=stride, kernel=3, padding=1),)
    return (layer.replace(stride=stride),) if isinstance(layer, (Conv, DepthwiseConv, Subsample)) else (layer,)
