"""Rules about what is computed or stored and makes no difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import Study, paths
from cnnatomy.critique.ways import end_of_pointwise, joins_channels
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import Conv, Crop, Slice
from cnnatomy.layers.layer import NO_OPERATIONS, Layer, Shape, elements
from cnnatomy.layers.sliding import sides


@rule("W3", "unread-output", "warning", "dead code: Aho et al. 2006, 'Compilers', section 9.1.6")
def unread_output(study: Study) -> Iterator[Case]:
    """Layers whose output nobody reads, and learned tensors that no layer uses.

    They are computed, or stored and loaded, for nothing: what is left of a branch that was cut, a head that was
    replaced, an exported network of which one output is used. Modules keep weights that only training uses (auxiliary
    heads), which need not be shipped.
    """
    dead: dict[Node, None] = {}
    outputs = set(study.graph.outputs)
    for node in reversed(study.graph.nodes):
        if node.output not in outputs and all(reader in dead for reader in study.readers[node.output]):
            dead[node] = None
    if any(study.rows[node].parameters or study.rows[node].operations != NO_OPERATIONS for node in dead):
        parameters = sum(study.rows[node].parameters for node in dead)
        macs = sum(study.rows[node].macs for node in dead)
        yield Case(
            where=tuple(node.path for node in reversed(dead)),
            text=f"no output depends on {several(len(dead), 'layer')} with {several(parameters, 'parameter')} and "
            f"{several(macs, 'MAC')}",
            evidence={"layers": len(dead), "parameters": parameters, "macs": macs},
            remedy=study.remedy(f"leave {several(len(dead), 'layer')} out", dropped=tuple(dead), fix="safe"),
        )
    unused = study.graph.unused
    if unused:
        numbers = sum(elements(shape) for _, shape in unused)
        yield Case(
            where=tuple(name for name, _ in unused),
            text=f"{several(len(unused), 'learned tensor')} with {numbers:,} numbers that no layer reads",
            evidence={"tensors": len(unused), "parameters": numbers},
            remedy=Remedy(f"do not store {several(len(unused), 'tensor')}: {numbers:,} numbers less"),
        )


@rule("W4", "dropped-channels", "warning", "Li et al. 2016, 'Pruning Filters for Efficient ConvNets', section 3")
def dropped_channels(study: Study) -> Iterator[Case]:
    """Channels or pixels that are computed, or joined, and that nobody reads.

    Channels that a slice leaves out, or pixels that a crop cuts off, were computed for nothing; the layer can make
    what is read and no more. Where branches are concatenated and a slice takes none of the channels of one, the whole
    branch was computed for nothing; where what is dropped is read elsewhere too, as the skip of a U-Net is, nothing was
    computed in vain, but the skip is not used, and what it was for does not happen. Cropping what a transposed
    convolution or an interpolation made is how its size is set, and no objection.
    """
    yield from _dropped_branches(study)
    found: dict[Node, tuple[float, list[int]]] = {}
    changes: dict[Node, tuple[Layer, ...]] = {}
    for node in study.convolutions:
        x = end_of_pointwise(study, node.output)
        readers = study.readers[x]
        if not readers or x in study.graph.outputs or not all(isinstance(r.layer, (Slice, Crop)) for r in readers):
            continue
        parts = [_part_read(reader.layer, x.shape) for reader in readers]
        read = [len(set().union(*(part[axis] for part in parts))) for axis in range(3)]
        share = elements(tuple(read)) / elements(x.shape)
        if share < 1:
            found[node] = (share, read)
            changes |= _narrowed(node, readers, x.shape, read)
    if not found:
        return
    wasted = sum(round(study.rows[node].macs * (1 - share)) for node, (share, _) in found.items())
    worst = min(found, key=lambda node: found[node][0])
    share, (channels, rows, columns) = found[worst]
    shape = worst.output.shape
    text = f"make what is read and no more: of {worst.path} {channels} channels of {rows}x{columns} pixels"
    yield Case(
        where=tuple(node.path for node in found),
        text=f"{several(len(found), 'convolution')} read in part: of {worst.path} {channels} of {shape[0]} channels, "
        f"{rows}x{columns} of {shape[1]}x{shape[2]} pixels; {wasted:,} MACs for nothing",
        evidence={"layers": len(found), "share_read": share, "macs": wasted},
        remedy=study.remedy(text, changes, fix="safe") if changes else Remedy(text),
    )


class _Cut(NamedTuple):
    """A concatenation that slices alone read, and what of its inputs they leave out.

    `dead` are the channels of inputs that are made for it alone, with the layers that make them, `idle` the inputs that
    are read elsewhere too: none of their channels are taken. `partly` says of how many some are.
    """

    join: Node
    slices: list[Node]
    read: int
    channels: int
    dead: dict[range, list[Node]]
    idle: list[FeatureMap]
    partly: list[tuple[FeatureMap, int]]


def _cuts(study: Study) -> Iterator[_Cut]:
    for join in study.graph.nodes:
        if not joins_channels(join):
            continue
        x = end_of_pointwise(study, join.output)
        slices = study.readers[x]
        if not slices or x in study.graph.outputs or not all(_takes_channels(reader) for reader in slices):
            continue
        read = set().union(*(_part_read(reader.layer, x.shape)[0] for reader in slices))
        cut = _Cut(join, slices, len(read), x.shape[0], {}, [], [])
        start = 0
        for y in join.inputs:
            channels = range(start, start + y.shape[0])
            start = channels.stop
            taken = len(read.intersection(channels))
            if 0 < taken < len(channels):
                cut.partly.append((y, taken))
            elif not taken and join.inputs.count(y) == 1:
                own = list(_only_for(study, y, join))
                if own:
                    cut.dead[channels] = own
                else:
                    cut.idle.append(y)
        yield cut


def _dropped_branches(study: Study) -> Iterator[Case]:
    """Of concatenations the inputs of which every reader drops all channels, or some."""
    cuts = list(_cuts(study))
    dead, idle = [cut for cut in cuts if cut.dead], [cut for cut in cuts if cut.idle]
    if dead:
        yield _dead_branches(study, dead)
    if idle:
        yield _idle_skips(study, idle)
    partly = [(cut, y.node, taken) for cut in cuts for y, taken in cut.partly if y.node is not None]
    if partly and not dead and not idle:
        cut, end, taken = partly[0]
        made = end.output.shape[0]
        alone = study.only_reader(end.output) is cut.join
        yield Case(
            where=tuple(dict.fromkeys(end.path for _, end, _ in partly)),
            text=f"of {end.path} {taken} of {made} channels are read after {cut.join.path}"
            + ", the others by nobody" * alone,
            evidence={"branches": len(partly), "channels_read": taken, "channels": made},
            remedy=Remedy(f"let the branch that ends in {end.path} make {taken} channels")
            if alone
            else _read_all(study, [cut]),
        )


def _dead_branches(study: Study, cuts: Sequence[_Cut]) -> Case:
    """Branches that are there for a concatenation alone, of which nothing is taken."""
    dead = {node for cut in cuts for own in cut.dead.values() for node in own}
    nodes = [node for node in study.graph.nodes if node in dead]
    changes = {node: chain for cut in cuts for node, chain in _without(cut).items()}
    parameters, macs = sum(study.rows[n].parameters for n in nodes), sum(study.rows[n].macs for n in nodes)
    ends = [y.node for cut in cuts for y in cut.join.inputs if y.node in dead]
    delete = study.remedy(
        f"delete the {'branch' if len(ends) == 1 else 'branches'} that nobody reads: "
        f"{several(len(nodes), 'layer')}, {several(parameters, 'parameter')}",
        changes,
        dropped=nodes,
        fix="safe",
    )
    remedies = [delete, _read_all(study, cuts)]
    return Case(
        where=tuple(node.path for node in nodes),
        text=f"of {cuts[0].join.path} {cuts[0].read} of {cuts[0].channels} channels are read: what ends in "
        f"{paths(ends)} is "
        + (
            f"computed for nothing, {several(parameters, 'parameter')} and {several(macs, 'MAC')}"
            if parameters or macs
            else "not used"
        ),
        evidence={"layers": len(nodes), "parameters": parameters, "macs": macs},
        remedy=remedies if parameters or macs else remedies[::-1],  # without weights it is a skip
    )


def _idle_skips(study: Study, cuts: Sequence[_Cut]) -> Case:
    """Maps that are read elsewhere, and are concatenated for nothing."""
    first = cuts[0]
    skip = first.idle[0]
    source = skip.node.path if skip.node else "the input"
    more = f", and so at {several(len(cuts) - 1, 'other concatenation')}" if len(cuts) > 1 else ""
    joins, slices = [cut.join for cut in cuts], [node for cut in cuts for node in cut.slices]
    return Case(
        where=tuple(node.path for cut in cuts for node in (cut.join, *cut.slices)),
        text=f"the skip from {source} is not used: {first.join.path} joins its {several(skip.shape[0], 'channel')}, "
        f"and {paths(first.slices)} {'drops' if len(first.slices) == 1 else 'drop'} all of them{more}",
        evidence={"joins": len(cuts), "channels_read": first.read, "channels": first.channels},
        remedy=[
            _read_all(study, cuts),
            Remedy(f"leave the skip out, with {paths(joins)} and {paths(slices)}: the same output"),
        ],
    )


def _read_all(study: Study, cuts: Sequence[_Cut]) -> Remedy:
    """The slices left out; where the layers after them do not take so many channels, a 1x1 in their places."""
    slices = [node for cut in cuts for node in cut.slices]
    if any(len(cut.slices) > 1 for cut in cuts):
        return Remedy(f"let {paths(slices)} take all channels that {paths([cut.join for cut in cuts])} has")
    out = study.remedy(f"leave {paths(slices)} out, so that all is read", dict.fromkeys(slices, ()), fix="unsafe")
    if out.change is not None:
        return out
    mixed = {node: (Conv(node.output.shape[0], 1),) for node in slices}
    return study.remedy(f"put 1x1 convolutions, which read all, in place of {paths(slices)}", mixed, fix="unsafe")


def _takes_channels(node: Node) -> bool:
    return isinstance(node.layer, Slice) and node.layer.axis == 0


def _only_for(study: Study, x: FeatureMap, reader: Node) -> Iterator[Node]:
    """The layers that are there for a map that has one reader, and for nothing else, what else that reads included."""
    waiting, own = [x], {reader}
    while waiting:
        node = waiting.pop().node
        if node is None or node.output in study.graph.outputs or not own.issuperset(study.readers[node.output]):
            continue
        if node.output is not x and node.output in reader.inputs:
            continue
        own.add(node)
        yield node
        waiting += node.inputs


def _without(cut: _Cut) -> dict[Node, tuple[Layer, ...]]:
    """What becomes of a concatenation, and of the slices that read it, without the channels that are dead."""
    left = cut.channels - sum(map(len, cut.dead))
    changes: dict[Node, tuple[Layer, ...]] = {}
    if len(cut.join.inputs) - len(cut.dead) == 1:
        changes[cut.join] = ()
    for reader in cut.slices:
        assert isinstance(reader.layer, Slice)
        before = sum(len(gone) for gone in cut.dead if gone.start < reader.layer.start)
        inside = sum(len(gone) for gone in cut.dead if reader.layer.start <= gone.start < reader.layer.stop)
        start, stop = reader.layer.start - before, reader.layer.stop - before - inside
        changes[reader] = () if (start, stop) == (0, left) else (reader.layer.replace(start=start, stop=stop),)
    return changes


def _part_read(layer: Layer, shape: Shape) -> list[range]:
    """The channels, rows and columns that a slice or crop lets through."""
    part = [range(size) for size in shape]
    if isinstance(layer, Slice):
        part[layer.axis] = range(layer.start, layer.stop)
    elif isinstance(layer, Crop):
        top, bottom, left, right = sides(layer.margin, (0, 0), (1, 1), (1, 1), (1, 1))
        part[1:] = [range(top, shape[1] - bottom), range(left, shape[2] - right)]
    return part


def _narrowed(node: Node, readers: list[Node], shape: Shape, read: list[int]) -> dict[Node, tuple[Layer, ...]]:
    """The change, where one slice takes some of the channels and the layer can make fewer."""
    if len(readers) > 1 or tuple(read[1:]) != shape[1:] or node.shared:
        return {}
    if not isinstance(node.layer, Conv) or node.layer.groups > 1:
        return {}
    return {node: (node.layer.replace(channels=read[0]),), readers[0]: ()}
