"""Networks from wherever they are, as the one description that everything reads."""

from __future__ import annotations

from pathlib import Path

from cnnatomy import catalogue
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import Shape
from cnnatomy.network import Network


def resolve(name: str, classes: int | None = None, input: Shape | None = None) -> Network:
    """The network that a command line names: a catalogue name, or the path of a YAML design.

    Raises:
        UserError: if there is no such network or file, or the design is not valid.
    """
    path = Path(name)
    if path.suffix.lower() not in (".yaml", ".yml"):
        return catalogue.network(name, classes=classes, input=input)

    from cnnatomy.readers import design

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UserError(f"{name}: cannot read the design: {reason}") from None
    network = design.read(text, source=name)
    network = network.replace(name=network.name or path.stem, input=input or network.input)
    outputs = network.graph().outputs
    if classes is not None and any(output.shape != (classes,) for output in outputs):
        got = ", ".join(str(output.shape[0]) for output in outputs)
        raise UserError(f"{name}: the design has {got} outputs where {classes} classes are needed; change its head")
    return network


__all__ = ["resolve"]
