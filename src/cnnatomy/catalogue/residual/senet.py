"""Squeeze and excitation networks (Hu, Shen, Albanie, Sun, Wu: Squeeze-and-excitation networks, 2017).

Any other network of the catalogue has its gates by name too: `se-NAME` is NAME with them (see `with_gates`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from cnnatomy.catalogue.entry import Entry
from cnnatomy.catalogue.residual import resnet, resnext
from cnnatomy.design import Network, with_gates

PAPER = "Hu et al. 2017, Squeeze-and-excitation networks"


def squeezed(make: Callable[..., Network], **arguments: Any) -> Network:
    """What `make` makes, with squeeze and excitation in every building block."""
    return with_gates(make(**arguments))


def with_squeeze_excitation(entry: Entry) -> Entry:
    """`se-NAME` for the entry of any network."""
    summary, arguments = f"{entry.name} with squeeze and excitation", {"make": entry.make, **entry.arguments}
    name = f"se-{entry.name}"
    return replace(
        entry, name=name, year=2017, summary=summary, paper=PAPER, make=squeezed, arguments=arguments, aliases=()
    )


def _entries() -> Iterator[Entry]:
    """The networks of table 1 of the paper as published, and with the tails and strides that are usual now."""
    for entry in (*resnet.ENTRIES, *resnext.ENTRIES):
        gated = with_squeeze_excitation(entry)
        published = replace(gated, arguments={**gated.arguments, "ceil": True})
        if entry.name in ("resnet-50-v1", "resnet-101-v1", "resnet-152-v1"):
            summary = "as published: stride in the first 1x1, the tail pooled as in Caffe"
            yield replace(published, name=gated.name.removesuffix("-v1"), summary=summary)
        elif entry.name in ("resnet-50", "resnet-101", "resnet-152"):
            yield replace(gated, name=f"{gated.name}-v1-5", summary=f"{entry.summary}, with squeeze and excitation")
        elif entry.name in ("resnext-50-32x4d", "resnext-101-32x4d"):
            yield replace(published, summary="as published: the tail pooled as in Caffe")
            yield replace(gated, name=f"{gated.name}-padded", summary="the tail pooled with padding, as ResNeXt's")


BLOCKS = ()
ENTRIES = tuple(_entries())
