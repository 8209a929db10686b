"""One line of the catalogue: a name, the function and arguments that make the network, and facts about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cnnatomy.design import Network
from cnnatomy.errors import UserError, shown
from cnnatomy.layers.layer import Shape


@dataclass(frozen=True)
class Entry:
    """A network that the catalogue knows.

    Attributes:
        name: lower case with hyphens, as people say it.
        family: chain, parallel, dense, residual or searched.
        year: of the paper.
        summary: what distinguishes it, in a line.
        paper: where it is described.
        make: returns the Network; takes `classes` besides `arguments`.
        input: the default input shape (channels, rows, columns).
        aliases: other names for the same network.
        classes: the default number of classes; 0 where it ends in features.
        fixed_classes: whether that is the only number it can have: its output codes are given, or it ends in features.
    """

    name: str
    family: str
    year: int
    summary: str
    paper: str
    make: Callable[..., Network]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    input: Shape = (3, 224, 224)
    aliases: tuple[str, ...] = ()
    classes: int = 1000
    fixed_classes: bool = False

    def network(self, classes: int | None = None, input: Shape | None = None) -> Network:
        """The network, for so many classes and a default input shape.

        Raises:
            UserError: if it cannot have so many classes.
        """
        classes = self.classes if classes is None else classes
        if type(classes) is not int:
            raise UserError(f"{self.name}: the number of classes must be an integer, got {shown(classes)}")
        if classes != self.classes if self.fixed_classes else classes < 1:
            if not self.classes:
                raise UserError(f"{self.name} has no classifier: it ends in features")
            needs = f"exactly {self.classes}" if self.fixed_classes else "at least 1"
            raise UserError(f"{self.name}: the number of classes must be {needs}, got {classes}")
        made = self.make(**self.arguments, classes=classes)
        return made.replace(name=self.name, input=self.input if input is None else input)
