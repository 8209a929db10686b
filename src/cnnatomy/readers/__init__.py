"""Networks from wherever they are, as the one description that everything reads."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from cnnatomy import catalogue
from cnnatomy.design import Graph
from cnnatomy.design.listed import ListedNetwork
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import Shape

OTHERS: dict[str, str] = {"python:": "torch.module", ".onnx": "onnx.file", ".prototxt": "caffe.prototxt"}
"""How the name of a network of others begins or ends -> the module here whose `open(name, input)` gives its `Graph`."""


def _other(name: str) -> str | None:
    return next(
        (module for mark, module in OTHERS.items() if name.startswith(mark) or name.lower().endswith(mark)), None
    )


def in_catalogue(name: str) -> bool:
    """Whether a command line names a network of the catalogue, rather than a file or a module."""
    return _other(name) is None and design_file(name) is None


def design_file(name: str) -> Path | None:
    """The file of the YAML design that a command line names, if it names one."""
    return Path(name) if _other(name) is None and name.lower().endswith((".yaml", ".yml")) else None


def read_graph(name: str, classes: int | None = None, input: Shape | None = None) -> tuple[Graph, str]:
    """The graph that a command line names, and what tables call it: anything of `resolve`, or of `OTHERS`.

    Raises:
        UserError: if there is no such network or file, or it is not valid.
    """
    module = _other(name)
    if module is None:
        network = resolve(name, classes, input)
        return network.graph(), network.name
    if classes is not None:
        raise UserError(f"{name}: --classes is for networks that are described here; this one has the classes it has")
    return _open(module, name, input), name


def _open(module: str, name: str, input: Shape | None) -> Graph:
    graph: Graph = import_module(f"cnnatomy.readers.{module}").open(name, input)
    return graph


def resolve(name: str, classes: int | None = None, input: Shape | None = None) -> Design:
    """The network that a command line names, as a value that can be kept, built and trained.

    A catalogue name, the path of a YAML design, or one of `OTHERS`, of which a softmax at the end is left to the loss
    and the last layer gets `classes`.

    Raises:
        UserError: if there is no such network or file, it is not valid, or it cannot be built.
    """
    if in_catalogue(name):
        return catalogue.network(name, classes=classes, input=input)
    path = Path(name)
    module = _other(name)

    from cnnatomy.readers.yaml import listed

    if module is not None:
        return ListedNetwork.of(_open(module, name, input), name).for_classes(classes)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UserError(f"{name}: cannot read the design: {reason}") from None
    network = listed.read(text, source=name)
    network = network.replace(name=network.name or path.stem, input=input or network.input)
    outputs = network.graph().outputs
    if classes is not None and any(output.shape != (classes,) for output in outputs):
        got = ", ".join(str(output.shape[0]) for output in outputs)
        raise UserError(f"{name}: the design has {got} outputs where {classes} classes are needed; change its head")
    return network


__all__ = ["OTHERS", "design_file", "in_catalogue", "read_graph", "resolve"]
