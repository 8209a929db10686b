"""Rules about what is computed or stored and makes no difference."""

from __future__ import annotations

from collections.abc import Iterator

from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import Study, paths
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import Concat, Conv, Crop, Slice
from cnnatomy.layers.layer import ELEMENT, NO_OPERATIONS, TRAINING, Layer, Shape, elements
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
    """A layer with weights of whose output only a part is read.

    Channels that a slice leaves out, or pixels that a crop cuts off, were computed for nothing; the layer can make
    what is read and no more. Where branches are concatenated and a slice takes none of the channels of one, the whole
    branch was computed for nothing. Cropping what a transposed convolution or an interpolation made is how its size is
    set, and no objection.
    """
    yield from _dropped_branches(study)
    found: dict[Node, tuple[float, list[int]]] = {}
    changes: dict[Node, tuple[Layer, ...]] = {}
    for node in study.convolutions:
        x = _end_of_pointwise(study, node)
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


def _dropped_branches(study: Study) -> Iterator[Case]:
    """Of concatenations the branches of which every reader drops all channels."""
    dead: dict[Node, None] = {}
    joins: dict[Node, tuple[int, int]] = {}
    partly: dict[Node, tuple[Node, int, int]] = {}  # the end of a branch -> its join, the channels read, all channels
    changes: dict[Node, tuple[Layer, ...]] = {}
    for join in study.graph.nodes:
        if not isinstance(join.layer, Concat) or join.layer.axis or len(join.output.shape) != 3:
            continue
        x = _end_of_pointwise(study, join)
        readers = study.readers[x]
        if not readers or x in study.graph.outputs or not all(_takes_channels(reader) for reader in readers):
            continue
        read = set().union(*(_part_read(reader.layer, x.shape)[0] for reader in readers))
        unread: list[range] = []
        start = 0
        for y in join.inputs:
            channels = range(start, start + y.shape[0])
            start = channels.stop
            own = list(_only_for(study, y, join)) if read.isdisjoint(channels) and join.inputs.count(y) == 1 else []
            if own:
                unread.append(channels)
                dead |= dict.fromkeys(own)
            elif y.node is not None and 0 < len(read.intersection(channels)) < len(channels):
                partly[y.node] = (join, len(read.intersection(channels)), len(channels))
        if unread:
            joins[join] = (len(read), x.shape[0])
            changes |= _without(join, readers, unread, x.shape[0])
    if partly and not joins:
        end, (join, taken, made) = next(iter(partly.items()))
        yield Case(
            where=tuple(node.path for node in partly),
            text=f"of {end.path} {taken} of {made} channels are read after {join.path}, the others by nobody",
            evidence={"branches": len(partly), "channels_read": taken, "channels": made},
            remedy=Remedy(f"let the branch that ends in {end.path} make {taken} channels"),
        )
    if not joins:
        return
    nodes = [node for node in study.graph.nodes if node in dead]
    parameters, macs = sum(study.rows[n].parameters for n in nodes), sum(study.rows[n].macs for n in nodes)
    join, (taken, made) = next(iter(joins.items()))
    ends = [y.node for join in joins for y in join.inputs if y.node in dead]
    yield Case(
        where=tuple(node.path for node in nodes),
        text=f"of {join.path} {taken} of {made} channels are read: what ends in {paths(ends)} is "
        f"computed for nothing, {several(parameters, 'parameter')} and {several(macs, 'MAC')}",
        evidence={"layers": len(nodes), "parameters": parameters, "macs": macs},
        remedy=study.remedy(
            f"delete the {'branch' if len(ends) == 1 else 'branches'} that nobody reads: "
            f"{several(len(nodes), 'layer')}, {several(parameters, 'parameter')}",
            changes,
            dropped=nodes,
            fix="safe",
        ),
    )


def _takes_channels(node: Node) -> bool:
    return isinstance(node.layer, Slice) and node.layer.axis == 0


def _only_for(study: Study, x: FeatureMap, reader: Node) -> Iterator[Node]:
    """The layers that are there for one reader of a map alone."""
    waiting, own = [x], {reader}
    while waiting:
        node = waiting.pop().node
        if node is None or node.output in study.graph.outputs or not own.issuperset(study.readers[node.output]):
            continue
        own.add(node)
        yield node
        waiting += node.inputs


def _without(join: Node, readers: list[Node], unread: list[range], channels: int) -> dict[Node, tuple[Layer, ...]]:
    """What becomes of a concatenation, and of the slices that read it, without these channels."""
    left = channels - sum(map(len, unread))
    changes: dict[Node, tuple[Layer, ...]] = {}
    if len(join.inputs) - len(unread) == 1:
        changes[join] = ()
    for reader in readers:
        assert isinstance(reader.layer, Slice)
        before = sum(len(gone) for gone in unread if gone.start < reader.layer.start)
        inside = sum(len(gone) for gone in unread if reader.layer.start <= gone.start < reader.layer.stop)
        start, stop = reader.layer.start - before, reader.layer.stop - before - inside
        changes[reader] = () if (start, stop) == (0, left) else (reader.layer.replace(start=start, stop=stop),)
    return changes


def _end_of_pointwise(study: Study, node: Node) -> FeatureMap:
    """What batch norm and nonlinearities make of the output of a layer, as long as nothing else reads it."""
    x = node.output
    reader = study.only_reader(x)
    while reader is not None and reader.layer.kind in (ELEMENT, TRAINING) and len(reader.inputs) == 1:
        x = reader.output
        reader = study.only_reader(x)
    return x


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
