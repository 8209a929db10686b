"""What a run folder says about itself: the network, its data, how it was trained, and what it was made from."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cnnatomy.data import Data, Frame, Loading, Normalisation
from cnnatomy.design.listed import ListedNetwork
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError, shown
from cnnatomy.layers.layer import Shape
from cnnatomy.limits import MAX_CLASSES, MAX_IMAGE_PIXELS, MAX_INPUT_SIZE
from cnnatomy.plain import checked, type_text
from cnnatomy.readers.yaml import listed
from cnnatomy.tasks import kinds
from cnnatomy.tasks.label import Label
from cnnatomy.tasks.task import Task, outputs_of
from cnnatomy.tasks.task import chosen as chosen_of

FORMAT = 1
"""Of run.json and summary.json; a reader refuses a higher one."""


@dataclass(frozen=True)
class Run:
    """A run: what was trained, on what, and how.

    Attributes:
        network: the design.
        name: what tables call it.
        shape: of its input, (channels, rows, columns).
        task: what the outputs mean, and what was learned.
        normalisation: what is done to an image, of pixels from 0 to 1.
        source, loading, fingerprint: the data, how it is read, and what tells it from other data.
        recipe: the fields of a `training.Recipe`; empty where the weights were trained elsewhere.
        parent: the run folder, or the name, of the network that this one was derived from; empty where there is none.
        change: what was done to the parent, in words.
    """

    network: Design
    name: str
    shape: tuple[int, int, int]
    task: Task
    normalisation: Normalisation
    source: str
    loading: Loading
    fingerprint: str
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    parent: str = ""
    change: str = ""

    @property
    def frame(self) -> Frame:
        """What images are fitted into; raises `UserError` where the network takes what no image file gives."""
        return Frame(self.shape, self.loading.fit)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of what the outputs mean, in their order."""
        return self.task.names

    @classmethod
    def of(cls, network: Design, data: Data, recipe: Mapping[str, Any], parent: str = "", change: str = "") -> Self:
        """The run that trains `network` on `data` by a recipe."""
        return cls(
            network=network,
            name=network.name or "the network",
            shape=data.shape,
            task=task_of(network, data),
            normalisation=data.normalisation,
            source=data.source,
            loading=data.loading,
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
            "data": {"source": self.source, **self.loading.as_dict(), "fingerprint": self.fingerprint},
            "task": self.task.as_dict(),
            "recipe": dict(self.recipe),
        }
        return record | ({"parent": self.parent, "change": self.change} if self.change else {})

    @classmethod
    def from_dict(cls, record: Any, network: Design, source: str | Path = "run.json") -> Self:
        """What `as_dict` gave, with the network of design.yaml; `source` is the file for messages.

        Raises:
            UserError: naming the file and the key of what `as_dict` does not give.
        """
        about = field(record, "data", dict[str, str | int | bool], source)
        normalisation = field(record, "normalisation", dict[str, tuple[float, ...]], source)
        data, normal = f"{source}: data", f"{source}: normalisation"
        run = cls(
            network=network,
            name=field(record, "network", str, source),
            shape=field(record, "input", tuple[int, int, int], source),
            task=_task(record, source),
            normalisation=Normalisation(
                *(field(normalisation, key, tuple[float, ...], normal) for key in ("mean", "std"))
            ),
            source=field(about, "source", str, data),
            loading=Loading.from_dict(about, data),
            fingerprint=field(about, "fingerprint", str, data),
            recipe=field(record, "recipe", dict[str, Any], source),
            parent=field({"parent": "", **record}, "parent", str, source),
            change=field({"change": "", **record}, "change", str, source),
        )
        for key, got, expected in run._wrong():
            raise UserError(f"{source}: {key}: expected {expected}, got {shown(got)}")
        return run

    def _wrong(self) -> list[tuple[str, Any, str]]:
        """Values of the right type that make no sense: the key, what it is, what was expected."""
        channels = self.shape[0]
        wrong: list[tuple[str, Any, str]] = []
        if not all(1 <= size <= MAX_INPUT_SIZE for size in self.shape):
            wrong.append(("input", self.shape, f"sizes from 1 to {MAX_INPUT_SIZE:,}"))
        if self.shape[1] * self.shape[2] > MAX_IMAGE_PIXELS:
            wrong.append(("input", self.shape, f"at most {MAX_IMAGE_PIXELS:,} pixels"))
        if self.loading.split_seed < 0:
            wrong.append(("data: split_seed", self.loading.split_seed, "a number from 0"))
        if not 0 < len(self.classes) <= MAX_CLASSES:
            wrong.append(("classes", self.classes, f"1 to {MAX_CLASSES:,} names"))
        wrong += [("classes", name, "each name once") for name, count in Counter(self.classes).items() if count > 1]
        wrong += [("classes", name, "names that are text") for name in self.classes if not _is_text(name)]
        for key, numbers in (("mean", self.normalisation.mean), ("std", self.normalisation.std)):
            if len(numbers) != channels:
                wrong.append((f"normalisation: {key}", numbers, f"a number for each of {channels} channels"))
            if not all(math.isfinite(number) and abs(number) < MAX_STATISTIC for number in numbers):
                wrong.append((f"normalisation: {key}", numbers, f"finite numbers below {MAX_STATISTIC:g}"))
        if not all(number > 1 / MAX_STATISTIC for number in self.normalisation.std):
            wrong.append(("normalisation: std", self.normalisation.std, "numbers above 0"))
        return wrong


MAX_STATISTIC = 1e30
"""What a mean or a standard deviation is below, so that it and 1 / it are numbers in float32."""


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # half a character
        return False
    return True


def field(record: Any, key: str, hint: Any, source: str | Path) -> Any:
    """One value of a record that was read from `source`; raises `UserError` where it is missing or of another type."""
    if not isinstance(record, Mapping):
        raise UserError(f"{source}: expected a record with {key!r} and others, got {shown(record)}")
    if key not in record:
        raise UserError(f"{source}: {key} is missing, expected {type_text(hint)}")
    return checked(record[key], hint, f"{source}: {key}")


def _task(record: Mapping[str, Any], source: str | Path) -> Task:
    """One label where the record is of a time that knew nothing else."""
    names = field(record, "classes", tuple[str, ...], source)
    return kinds.from_dict(record["task"], names, source) if "task" in record else Label(names)


def task_of(network: Design, data: Data) -> Task:
    """The task of data as this network does it.

    Raises:
        UserError: if the heads do not give what the task needs, with their shapes.
    """
    graph = network.graph(data.shape)
    outputs = outputs_of(network, graph)
    chosen = kinds.fitting(data.task, outputs, graph, chosen_of(data.train.targets, data.train.indices))
    chosen.check(outputs, data.source)
    return chosen


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
