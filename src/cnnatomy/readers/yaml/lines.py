"""Where in the file of a design its layers and blocks are written."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cnnatomy.design.graph import Node, Scope
from cnnatomy.files import read_text
from cnnatomy.layers.layer import Shape
from cnnatomy.limits import MAX_DESIGN_BYTES
from cnnatomy.readers import design_file
from cnnatomy.readers.yaml import listed


class Lines(NamedTuple):
    """The line of each path of a network, from 1: that of the layer or block itself, or of the block it comes from."""

    file: Path
    by_path: dict[str, int]

    def of(self, path: str) -> int:
        """The line of a path, or of what is written around it."""
        while path and path not in self.by_path:
            path = path.rpartition(".")[0]
        return self.by_path.get(path, 1)


def of_network(name: str, input: Shape) -> Lines | None:
    """The lines of what a command line names, if that is the file of a design, for an input of this shape.

    Raises:
        UserError: if the file is not a valid design.
    """
    file = design_file(name)
    return Lines(file, by_path(read_text(file, MAX_DESIGN_BYTES, "the design"), str(file), input)) if file else None


def by_path(text: str, source: str = "design", input: Shape | None = None) -> dict[str, int]:
    """The line of each path; a name before a part is where the part begins, and so is the key of tail, body and head.

    Raises:
        UserError: if the text is not a valid design.
    """
    network, lines = listed.read_lines(text, source)
    found: dict[str, int] = {}

    def visit(scope: Scope, around: int) -> None:
        for child in scope.children:
            part = child.layer if isinstance(child, Node) else child.block
            found[child.path] = lines.get(id(part), around)
            if isinstance(child, Scope):
                visit(child, found[child.path])

    visit(network.graph(input).root, 1)
    return found
