"""A gate, such as squeeze and excitation, added to any network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, cast

from cnnatomy.design.blocks import Block, Chain, Composition, Named, Part, Residual
from cnnatomy.design.network import Network
from cnnatomy.design.parts import SqueezeExcitation
from cnnatomy.layers import Layer
from cnnatomy.layers.layer import ELEMENT


def with_gates(network: Network, gate: Layer | Block = SqueezeExcitation()) -> Network:
    """The same network with a gate in every building block of its body (Hu et al. 2018, figures 2 and 3).

    A block that has a field `gate` gets it there: at the end of a residual branch, before the addition. A body without
    such blocks gets a gate after each of its building blocks; one of layers alone, after each activation. All else
    keeps its path, and computes what it did before where the gates are 1.
    """
    body = network.body
    if any(hasattr(part, "gate") or isinstance(part, Residual) for part in _parts(body)):
        return network.replace(body=_inside(body, gate))
    return network.replace(body=_with_gate_after(body, gate))


def _parts(part: Any) -> Iterator[Any]:
    """A part of a network and all the parts within it."""
    yield part
    if isinstance(part, tuple):
        children: Any = part
    elif isinstance(part, (Block, Named)):
        children = (getattr(part, field.name) for field in dataclasses.fields(cast(Any, part)))
    else:
        return
    for child in children:
        yield from _parts(child)


def _inside(part: Any, gate: Layer | Block) -> Any:
    """The same part with the gate in every block in it that has a place for one."""
    if isinstance(part, Composition):
        parts = [_inside(child, gate) for child in part.parts]
        if isinstance(part, Residual):
            parts.append(Named("gate", gate))
        return type(part)(*parts, **part.options())
    if isinstance(part, tuple):
        return tuple(_inside(child, gate) for child in part)
    if not isinstance(part, (Block, Named)):
        return part
    fields = [field.name for field in dataclasses.fields(cast(Any, part))]
    changes = {name: gate if name == "gate" else _inside(getattr(part, name), gate) for name in fields}
    return part.replace(**changes)


def _with_gate_after(part: Layer | Block, gate: Layer | Block) -> Chain:
    """A chain with a gate after each building block, or, where it has none, after each activation."""
    if not isinstance(part, Chain):
        return Chain(part, gate)
    inner = [piece.part if isinstance(piece, Named) else piece for piece in part.parts]
    blocks = any(isinstance(piece, Block) for piece in inner)
    parts: list[Part] = []
    for piece, bare in zip(part.parts, inner, strict=True):
        if isinstance(bare, Chain) and any(isinstance(child, Block) for child in _parts(bare.parts)):
            deeper = _with_gate_after(bare, gate)
            parts.append(Named(piece.name, deeper) if isinstance(piece, Named) else deeper)
            continue
        parts.append(piece)
        if isinstance(bare, Block) or (not blocks and bare.kind == ELEMENT):
            parts.append(Named(f"{piece.name}_gate", gate) if isinstance(piece, Named) else gate)
    return type(part)(*parts, **part.options())
