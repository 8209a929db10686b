"""Rules about what machines compute well: reuse of what is read, and sizes that fill their units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import lcm

from cnnatomy.analysis import Row
from cnnatomy.critique.cost import BYTES, MUCH, head_of_vectors, pooled_head, severity_of_head
from cnnatomy.critique.rule import Case, Severity, in_bytes, rule, several
from cnnatomy.critique.study import Study, depthwise, pixels
from cnnatomy.design.graph import Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import BatchNorm, ChannelShuffle, Conv, DepthwiseConv, Dropout, FullyConnected
from cnnatomy.layers.layer import ELEMENT, SPACE, Layer

LANES = 8
"""What tensor cores want channels to be multiples of, in 16 bits."""


@rule("C3", "weights-read-once", "warning", "lecture 001, 'Chains – AlexNet / CaffeNet' and 'Chains – VGG', issues")
def weights_read_once(study: Study) -> Iterator[Case]:
    """Layers that use each weight once, whose weights are most of what one image moves.

    "Real time implementation is implicitly a memory bandwidth test": at batch 1 each weight of a fully connected layer,
    or of a convolution on a map of one pixel, is read for a single multiply-accumulate, half a FLOP a byte in float32,
    where other convolutions use it at every pixel. With more than half of all traffic in such weights, no faster
    arithmetic helps. Large batches reuse them. Less than a MiB stays in a cache, and is for those who ask for this
    rule, as are networks whose output has pixels, and vectorised heads of which rule C1 does not speak by itself.
    """
    once = [row for row in study.account.rows if 0 < row.macs <= row.weights]
    moved = sum(row.weights for row in once)
    if 2 * moved <= study.account.totals.parameters:
        return
    everything = sum(study.moved.values())
    if 2 * moved <= everything:
        return
    macs, total = sum(row.macs for row in once), study.account.totals.macs
    rest = everything - sum(study.moved[row.node] for row in once)
    head = head_of_vectors(study)
    remedy = Remedy(f"store these weights in 8 bits: {in_bytes(moved)} in place of {in_bytes(BYTES * moved)}")
    level: Severity | None = "warning" if BYTES * moved >= MUCH and pixels(study.output.shape) == 1 else None
    if head is not None and any(row.node in head.weighted for row in once):
        remedy = pooled_head(study, head)
        level = severity_of_head(study, head, remedy)
    yield Case(
        where=tuple(row.path for row in once),
        text=f"{in_bytes(BYTES * moved)} of weights are read for {macs:,} of {total:,} MACs ({macs / total:.1%}): "
        f"{moved / everything:.0%} of all traffic at {intensity(macs, moved):.1f} FLOPs a byte, "
        f"the rest at {intensity(total - macs, rest):.1f}{_waits(study)}",
        evidence={
            "bytes": BYTES * moved,
            "share_of_traffic": moved / everything,
            "macs": macs,
            "share_of_macs": macs / total,
            "flops_per_byte": intensity(macs, moved),
            "flops_per_byte_of_the_rest": intensity(total - macs, rest),
            **ridge(study),
        },
        remedy=remedy,
        severity=level,
        quiet=level is None,
        under=("C1", "I3"),
    )


@rule("C4", "depthwise-reuse", "note", "lecture 001, 'Chains – MobileNet V1', problems")
def depthwise_reuse(study: Study) -> Iterator[Case]:
    """Depthwise layers, which use each value that they read only a few times.

    "Less reuse of feature maps": a depthwise 3x3 does 9 multiply-accumulates for each value where a dense one does 9
    times the number of channels. That is "good for a particular vector architecture, inefficient for an optimized
    matrix architecture": its time follows its traffic, not its few MACs, and matrix units have no use in it. Fires
    where depthwise layers move a quarter of what all layers with weights move, and do at most a quarter of their work;
    where no device is given, for those who ask for this rule.
    """
    rows = [row for row in study.account.rows if row.weights]
    deep = [row for row in rows if depthwise(row.node)]
    if not deep:
        return
    macs, total = sum(row.macs for row in deep), sum(row.macs for row in rows)
    moved, everything = sum(study.moved[row.node] for row in deep), sum(study.moved[row.node] for row in rows)
    if 4 * moved < everything or 4 * macs > total:
        return
    yield Case(
        where=tuple(row.path for row in deep),
        text=f"{several(len(deep), 'depthwise layer')}: {macs / total:.1%} of the MACs, {moved / everything:.0%} "
        f"of the traffic of layers with weights; {intensity(macs, moved):.1f} FLOPs a byte, the other layers "
        f"{intensity(total - macs, everything - moved):.1f}{_waits(study)}",
        evidence={
            "layers": len(deep),
            "share_of_macs": macs / total,
            "share_of_traffic": moved / everything,
            "flops_per_byte": intensity(macs, moved),
            "flops_per_byte_of_the_rest": intensity(total - macs, everything - moved),
            **ridge(study),
        },
        remedy=_in_groups(study, deep, f"on a matrix machine, convolve {LANES} channels together: the same traffic"),
        quiet=study.device is None,
    )


def _in_groups(study: Study, rows: Sequence[Row], text: str) -> Remedy:
    """The same convolutions with groups of `LANES` channels, where the channels divide into such."""
    layers: dict[Node, tuple[Layer, ...]] = {}
    for row in rows:
        layer, channels = row.node.layer, row.inputs[0][0]
        if row.output[0] == channels and channels % LANES == 0 and channels > LANES:
            if isinstance(layer, DepthwiseConv):
                layer = layer.grouped(row.inputs[0])
            layers[row.node] = (layer.replace(groups=channels // LANES),)
    return study.remedy(text, layers) if layers else Remedy(text)


@rule("C5", "groups-never-mix", "warning", "lecture 001, 'Residual – ShuffleNet'; Zhang et al. 2017, section 3.1")
def groups_never_mix(study: Study) -> Iterator[Case]:
    """Grouped convolutions in a row with nothing between that mixes their groups.

    The channels of a group then never see those of another: the network falls into narrow ones side by side. A shuffle
    of the channels costs no arithmetic and lets each group read from all groups before: "use shuffling of channels to
    allow 1x1 convolutions with grouping". A note for two layers of two groups, which may be meant, as on AlexNet's two
    GPUs. Depthwise layers are not concerned, nor gates, whose maps have one pixel.
    """
    found: list[tuple[Node, Node]] = []
    for node in study.convolutions:
        groups = _groups(node)
        if groups == 1 or pixels(node.output.shape) == 1:
            continue
        before = node.inputs[0].node
        while before is not None and _groups(before) == 1 and _channel_by_channel(before):
            before = before.inputs[0].node
        if before is not None and _groups(before) == groups:
            found.append((before, node))
    if not found:
        return
    layers = {node: (ChannelShuffle(_groups(node)), node.layer) for _, node in found}
    numbers = sorted({_groups(node) for _, node in found})
    yield Case(
        where=tuple(dict.fromkeys(node.path for both in found for node in both)),
        text=f"{several(len(found), 'pair')} of convolutions in {' or '.join(map(str, numbers))} groups with nothing "
        f"between that mixes them, the first {found[0][0].path} and {found[0][1].path}",
        evidence={"groups": numbers, "pairs": [(a.path, b.path) for a, b in found]},
        remedy=study.remedy("shuffle the channels between them: no parameters, no MACs", layers, fix="unsafe"),
        severity="note" if numbers == [2] and {a for a, _ in found}.isdisjoint(b for _, b in found) else None,
    )


def _groups(node: Node) -> int:
    """Of a grouped convolution; 1 for a depthwise one."""
    layer = node.layer
    return layer.groups if isinstance(layer, Conv) and layer.groups > 1 and not depthwise(node) else 1


def _channel_by_channel(node: Node) -> bool:
    """Whether each channel of the output is made from the same channel of the only input."""
    if len(node.inputs) != 1 or len(node.output.shape) != 3 or node.inputs[0].shape[0] != node.output.shape[0]:
        return False
    return depthwise(node) or node.layer.kind in (ELEMENT, SPACE) or isinstance(node.layer, (BatchNorm, Dropout))


@rule("C8", "uneven-channels", "note", "NVIDIA, Convolutional Layers User's Guide, 'Channels In And Out'")
def uneven_channels(study: Study) -> Iterator[Case]:
    """Numbers of channels that are no multiples of 8.

    Tensor cores compute 16-bit convolutions in eights of channels, other machines in lanes of 4 to 16 numbers: what is
    missing to the next multiple is computed all the same, or a slower kernel is taken. The channels of the image and
    the classes are given, depthwise layers are computed elsewhere; where all such layers together have less than a
    twentieth of the MACs, they are left alone. It is a matter of the device, and where none is given, or they have less
    than a million MACs, of those who ask for this rule.
    """
    given = _last_weights(study)
    found: list[Row] = []
    padded = 0
    for row in study.account.rows:
        layer, node = row.node.layer, row.node
        if not row.weights or not isinstance(layer, (Conv, FullyConnected)) or depthwise(node):
            continue
        axis = 0 if isinstance(layer, Conv) else -1
        ins, outs = row.inputs[0][axis], row.output[axis]
        full_ins = ins if row.weight_layers == 1 else _up(ins)
        full_outs = outs if node in given else _up(outs)
        if (full_ins, full_outs) != (ins, outs):
            found.append(row)
            padded += row.macs * full_ins * full_outs // (ins * outs)
    macs, total = sum(row.macs for row in found), study.account.totals.macs
    if not found or 20 * macs < total:
        return
    sizes = sorted({row.output[0] for row in found if row.output[0] % LANES and row.node not in given})
    such = f", such as {', '.join(map(str, sizes[:4]))}" if sizes else ""
    yield Case(
        where=tuple(row.path for row in found),
        text=f"{several(len(found), 'layer')} with {macs / total:.0%} of the MACs read or make channels that are no "
        f"multiple of {LANES}{such}; filled up they are {padded / macs:.3g} times the work",
        evidence={"layers": len(found), "share_of_macs": macs / total, "channels": sizes, "macs_filled_up": padded},
        remedy=_rounded_up(study, [row.node for row in found if row.node not in given]),
        quiet=study.device is None or macs < 1_000_000,
    )


def _up(channels: int, to: int = LANES) -> int:
    return -(-channels // to) * to


def _last_weights(study: Study) -> set[Node]:
    """The layers with weights that make the outputs, whose channels are what the task asks for."""
    found: set[Node] = set()
    for x in study.graph.outputs:
        node = x.node
        while node is not None and len(node.inputs) == 1 and not study.rows[node].weights:
            node = node.inputs[0].node
        if node is not None:
            found.add(node)
    return found


def _rounded_up(study: Study, nodes: Sequence[Node]) -> Remedy:
    layers: dict[Node, tuple[Layer, ...]] = {}
    for node in nodes:
        layer = node.layer
        if isinstance(layer, Conv):
            layers[node] = (layer.replace(channels=_up(layer.channels, lcm(LANES, layer.groups))),)
        elif isinstance(layer, FullyConnected):
            layers[node] = (layer.replace(features=_up(layer.features)),)
    layers = {node: chain for node, chain in layers.items() if chain != (node.layer,)}
    chain = all(len(node.inputs) == 1 for node in study.graph.nodes)
    return study.remedy(f"round them up to multiples of {LANES}", layers, fix="unsafe" if chain and layers else None)


@rule(
    "C9",
    "narrow-groups",
    "note",
    "NVIDIA, Convolutional Layers User's Guide, 'Channels In And Out'; "
    "lecture 001, 'Personal Notes For Vision Optimized CNNs'",
)
def narrow_groups(study: Study) -> Iterator[Case]:
    """Groups of fewer than 8 channels.

    A matrix unit computes a group of 4 channels as one of 8, with half of its lanes idle: "optimize grouping in
    bottleneck for target architecture". Equal MACs in fewer, wider groups run faster there; ResNeXt's 32 groups of 4
    were chosen for accuracy at equal MACs, and the lectures' personal notes, which ask for wider ones where the device
    does, have them in their own network. Depthwise layers are another trade. It is a matter of the device, and where
    none is given of those who ask for this rule.
    """
    found = []
    for node in study.convolutions:
        groups = _groups(node)
        if groups > 1 and min(node.inputs[0].shape[0], node.output.shape[0]) < LANES * groups:
            found.append(study.rows[node])
    if not found:
        return
    widths = sorted({min(row.inputs[0][0], row.output[0]) // _groups(row.node) for row in found})
    macs = sum(row.macs for row in found)
    share = macs / study.account.totals.macs
    yield Case(
        where=tuple(row.path for row in found),
        text=f"{several(len(found), 'convolution')} with {share:.1%} of the MACs, whose groups have "
        f"{' or '.join(several(width, 'channel') for width in widths)}",
        evidence={"layers": len(found), "widths": widths, "macs": macs, "share_of_macs": share},
        remedy=_in_groups(study, found, f"on a matrix machine, make groups of {LANES} channels, or of more"),
        quiet=study.device is None,
    )


def intensity(macs: int, moved: int) -> float:
    """FLOPs a byte, in float32."""
    return 2 * macs / (BYTES * moved) if moved else 0.0


def ridge(study: Study) -> dict[str, float]:
    """FLOPs a byte below which the device waits for its memory, where one is given."""
    device = study.device
    return {} if device is None else {"ridge": device.flops[number_type(study)] / device.bandwidth}


def _waits(study: Study) -> str:
    """What a sentence about FLOPs a byte ends with where a device is given."""
    device = study.device
    return "" if device is None else f"; below {ridge(study)['ridge']:.1f} the device ({device.name}) waits for memory"


def number_type(study: Study) -> str:
    """The number format that the device is asked about: float32, where it has that."""
    flops = study.device.flops if study.device else {}
    return "float32" if "float32" in flops else next(iter(flops), "float32")
