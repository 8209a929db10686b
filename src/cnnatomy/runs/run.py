"""What a run folder says about itself: the network, its data, how it was trained, and what it was made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from cnnatomy.data import Data, Normalisation
from cnnatomy.design.listed import ListedNetwork
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import Shape
from cnnatomy.readers.yaml import listed

FORMAT = 1
"""Of run.json and summary.json; a reader refuses a higher one."""


@dataclass(frozen=True)
class Run:
    """A run: what was trained, on what, and how.

    Attributes:
        network: the design.
        name: what tables call it.
        shape: of its input, (channels, rows, columns).
        classes: what its outputs mean, in their order.
        normalisation: what is done to an image, of pixels from 0 to 1.
        source, split_seed, fingerprint: the data, the seed of its splits, and what tells it from other data.
        recipe: the fields of a `training.Recipe`; empty where the weights were trained elsewhere.
        parent: the run folder, or the name, of the network that this one was derived from; empty where there is none.
        change: what was done to the parent, in words.
    """

    network: Design
    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    normalisation: Normalisation
    source: str
    split_seed: int
    fingerprint: str
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    parent: str = ""
    change: str = ""

    @classmethod
    def of(cls, network: Design, data: Data, recipe: Mapping[str, Any], parent: str = "", change: str = "") -> Self:
        """The run that trains `network` on `data` by a recipe."""
        return cls(
            network=network,
            name=network.name or "the network",
            shape=data.shape,
            classes=data.classes,
            normalisation=data.normalisation,
            source=data.source,
            split_seed=data.split_seed,
            fingerprint=data.fingerprint,
            recipe=recipe,
            parent=parent,
            change=change,
        )

    def as_dict(self) -> dict[str, Any]:
        """`run.json`: everything but the network, which is in design.yaml."""
        record = {
            "format": FORMAT,
            "network": self.name,
            "input": list(self.shape),
            "classes": list(self.classes),
            "normalisation": {"mean": list(self.normalisation.mean), "std": list(self.normalisation.std)},
            "data": {"source": self.source, "split_seed": self.split_seed, "fingerprint": self.fingerprint},
            "recipe": dict(self.recipe),
        }
        return record | ({"parent": self.parent, "change": self.change} if self.parent else {})

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], network: Design) -> Self:
        """What `as_dict` gave, with the network of design.yaml.

        Raises:
            KeyError, TypeError, ValueError: if it is not what `as_dict` gives.
        """
        channels, rows, columns = record["input"]
        return cls(
            network=network,
            name=record["network"],
            shape=(channels, rows, columns),
            classes=tuple(record["classes"]),
            normalisation=Normalisation(tuple(record["normalisation"]["mean"]), tuple(record["normalisation"]["std"])),
            source=record["data"]["source"],
            split_seed=record["data"]["split_seed"],
            fingerprint=record["data"]["fingerprint"],
            recipe=dict(record["recipe"]),
            parent=record.get("parent", ""),
            change=record.get("change", ""),
        )


def image_shape(network: Design) -> tuple[int, int, int]:
    """The input (channels, rows, columns); raises `UserError` where the network reads no images."""
    if len(network.input) != 3:
        sizes = " x ".join(map(str, network.input))
        raise UserError(f"{network.name} reads {sizes} numbers, no image (channels, rows, columns)")
    channels, rows, columns = network.input
    return channels, rows, columns


def keepable(network: Design, shape: Shape) -> Design:
    """The same network, for inputs of `shape`, in a form that design.yaml can hold.

    A network with a block of one's own cannot be read back by its name, so it is kept as the list of its nodes, under
    the same paths.

    Raises:
        UserError: naming the block or layer that stands in the way, if it cannot be kept as nodes either.
    """
    try:
        problem = "" if listed.read(listed.write(network)) == network else "it does not read back as it was written"
    except UserError as error:
        problem = str(error)
    if not problem:
        return network
    try:
        return ListedNetwork.of(network.graph(shape), network.name)
    except UserError as error:
        raise UserError(
            f"{network.name or 'the network'} cannot be kept in a run folder: as a design, {problem};"
            f" as a list of nodes, {error}. Train it without a folder, or build it of cnnatomy's blocks"
        ) from None
