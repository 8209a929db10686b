"""Every network of the lectures by name. The index is explicit: each family's file ends in its own `ENTRIES`."""

from __future__ import annotations

import re

from cnnatomy.catalogue.chain import alexnet, lenet, mobilenet, vgg, zfnet
from cnnatomy.catalogue.dense import densenet, msdnet
from cnnatomy.catalogue.entry import Entry
from cnnatomy.catalogue.parallel import bn_inception, googlenet, inception_v3, inception_v4, squeezenet
from cnnatomy.catalogue.residual import (
    cifar_resnet,
    dpn,
    dual_path_forms,
    inception_resnet,
    mobilenet_v2,
    personal,
    preact_resnet,
    resnet,
    resnet_densenet,
    resnext,
    senet,
    shiftnet,
    shufflenet,
    xception,
)
from cnnatomy.catalogue.searched import amoebanet, cells, nasnet, pnasnet
from cnnatomy.design import Block, Network
from cnnatomy.errors import UserError, nearest, quoted, shown
from cnnatomy.layers.layer import Shape

_FAMILIES = (
    lenet,
    alexnet,
    zfnet,
    vgg,
    mobilenet,
    googlenet,
    bn_inception,
    inception_v3,
    inception_v4,
    squeezenet,
    densenet,
    msdnet,
    resnet,
    preact_resnet,
    cifar_resnet,
    resnext,
    personal,
    senet,
    mobilenet_v2,
    xception,
    shufflenet,
    shiftnet,
    dpn,
    dual_path_forms,
    resnet_densenet,
    inception_resnet,
    cells,
    nasnet,
    amoebanet,
    pnasnet,
)

ENTRIES: tuple[Entry, ...] = tuple(entry for family in _FAMILIES for entry in family.ENTRIES)
BLOCKS: tuple[type[Block], ...] = tuple(block for family in _FAMILIES for block in family.BLOCKS)


def _key(name: str) -> str:
    """Case and separators do not matter: ResNet-50, resnet_50 and resnet50 are one name."""
    return re.sub(r"[-_. ]", "", name.lower())


def _index() -> dict[str, Entry]:
    index: dict[str, Entry] = {}
    for entry in ENTRIES:
        for name in (entry.name, *entry.aliases):
            if index.setdefault(_key(name), entry) is not entry:
                raise ValueError(f"two networks of the catalogue are called {name}")
    return index


_INDEX = _index()


def knows(name: str) -> bool:
    """Whether there is a network of this name or alias."""
    key = _key(name)
    return key in _INDEX or (key.startswith("se") and key[2:] in _INDEX)


def find(name: str) -> Entry:
    """The entry of a name or alias, in any case; `se-NAME` is any network with squeeze and excitation.

    Raises:
        UserError: naming the nearest names, if there is none.
    """
    if not isinstance(name, str):
        raise UserError(f"a network is asked for by its name, got {shown(name)}")
    key = _key(name)
    entry = _INDEX.get(key)
    if entry is None and key.startswith("se") and key[2:] in _INDEX:
        return senet.with_squeeze_excitation(_INDEX[key[2:]])
    if entry is None:
        known = [known for entry in ENTRIES for known in (entry.name, *entry.aliases)]
        raise UserError(f"there is no network called {quoted(name)}.{nearest(name, known)} `cnnatomy list` shows all.")
    return entry


def network(name: str, *, classes: int | None = None, input: Shape | None = None) -> Network:
    """A network of the catalogue: `network("resnet-50", classes=10)`.

    Raises:
        UserError: naming the nearest names, if there is none of this name.
    """
    return find(name).network(classes, input)


__all__ = ["BLOCKS", "ENTRIES", "Entry", "find", "knows", "network"]
