"""Where the images lie in inputs whose axes have no name that says so: on an axis that no node mixes.

The first axis is tried first. Where it is mixed (attention sums over steps, a convolution over channels), the second is
that of the images if it is not; else the whole input is one image. What cannot be told is said to be assumed.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from cnnatomy.design.graph import Graph, Node
from cnnatomy.errors import UserError, printable
from cnnatomy.layers.layer import dimensions
from cnnatomy.readers.inputs import AskedInput
from cnnatomy.readers.onnx.model import OnnxModel, Way
from cnnatomy.readers.onnx.walk import walk


class _Reading(NamedTuple):
    model: OnnxModel
    graph: Graph


def read(proto: Any, input: AskedInput | None) -> tuple[OnnxModel, Graph]:
    """What is known of a model, and the graph of its nodes.

    Raises:
        UserError: naming the node that does not fit.
    """
    found = _best(proto, input)
    for node, name in found.model.images_seen.lost.items():
        if found.model.images > 1:
            _assume(found.graph, [node], f"all {found.model.images} images together ({printable(name)})")
    return found


def _best(proto: Any, input: AskedInput | None) -> _Reading:
    model = OnnxModel(proto, input)
    try:
        first = _Reading(model, walk(model))
    except UserError:
        found = _otherwise(model, input)
        if found is None:
            raise
        return found
    if not model.doubtful or model.images_seen.first:
        return first
    if model.images > 1:
        return _decided(first, proto, input)
    # their number is open: with two it shows whether they are mixed
    several = any(len(dims) > 2 for dims in model.doubtful.values())
    if not several or not _mixes(proto, input, 0) or _mixes(proto, input, 1):
        return first
    second = OnnxModel(proto, input, 1)
    return _Reading(second, walk(second))


def _decided(first: _Reading, proto: Any, input: AskedInput | None) -> _Reading:
    """The reading by the axis that keeps images apart, of inputs of a fixed size."""
    axes = max(len(dims) for dims in first.model.doubtful.values())
    second = _attempt(proto, input, 1) if axes > 2 else None
    apart = second is not None and _is_apart(second)
    if first.model.images_seen.mixed or (apart and second is not None and second.model.images_seen.first):
        return (second if apart else _attempt(proto, input, "whole")) or first
    if apart:  # either may be that of the images
        readers = [node for node in first.graph.nodes if any(x.node is None for x in node.inputs)]
        for name, dims in first.model.doubtful.items():
            said = f"the first axis of {dimensions(dims)} is that of the images ({printable(name)})"
            _assume(first.graph, readers, said)
    return first


def _is_apart(reading: _Reading) -> bool:
    return not reading.model.images_seen.mixed and not reading.model.images_seen.lost


def _assume(graph: Graph, nodes: Iterable[Node], what: str) -> None:
    for node in nodes:
        graph.assumed[node] = (*graph.assumed.get(node, ()), what)


def _otherwise(first: OnnxModel, input: AskedInput | None) -> _Reading | None:
    """Another reading of a file that cannot be read with the first axis as that of the images, as a node mixes it."""
    if first.images == 1 or first.images_seen.first or not first.images_seen.mixed:
        return None
    second = _attempt(first.proto, input, 1) if any(len(dims) > 2 for dims in first.doubtful.values()) else None
    if second is not None and _is_apart(second):
        return second
    return _attempt(first.proto, input, "whole")


def _attempt(proto: Any, input: AskedInput | None, way: Way) -> _Reading | None:
    """A reading with the images elsewhere; None where it cannot be read so."""
    try:
        model = OnnxModel(proto, input, way)
        return _Reading(model, walk(model))
    except UserError:
        return None


def _mixes(proto: Any, input: AskedInput | None, way: Way) -> bool:
    """Whether a node is known to mix two images on an axis of an open size."""
    model = OnnxModel(proto, input, way, 2)
    with suppress(UserError):  # sizes in the file may be those of one image
        walk(model)
    return model.images_seen.mixed
