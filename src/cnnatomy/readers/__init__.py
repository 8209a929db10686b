"""Networks from wherever they are, as the one description that everything reads."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from cnnatomy import catalogue
from cnnatomy.design import Graph
from cnnatomy.design.listed import ListedNetwork, for_classes
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError, printable
from cnnatomy.files import read_text
from cnnatomy.layers.layer import dimensions
from cnnatomy.limits import MAX_DESIGN_BYTES
from cnnatomy.readers.inputs import AskedInput, one_shape
from cnnatomy.readers.stored import StoredNetwork

OTHERS: dict[str, str] = {"python:": "torch.module", ".onnx": "onnx_file", ".prototxt": "caffe.prototxt"}
"""How the name of a network of others begins or ends -> the module here whose `open(name, input)` gives its `Graph`."""

WITH_REGIONS = "caffe.prototxt"
"""The one of them whose `open` takes `regions`, too."""

STORED = ".onnx"
"""How the name of a network of others ends that has its weights with it."""

CAFFE, CAFFE_WEIGHTS = ".prototxt", ".caffemodel"
"""How the names of Caffe's networks, and of their weights, end."""

YAML = (".yaml", ".yml")
"""How the name of a design ends."""

RUN_DESIGN, RUN_RECORD = "design.yaml", "run.json"
"""The design in a run folder, and what makes the folder one."""

WEIGHTS = (".pth", ".pt", ".ckpt", ".safetensors", ".bin", ".h5", CAFFE_WEIGHTS)
"""Files that people take for networks."""


def _other(name: str) -> str | None:
    return next(
        (module for mark, module in OTHERS.items() if name.startswith(mark) or name.lower().endswith(mark)), None
    )


def file_of(name: str) -> Path | None:
    """The file that a command line names, if it is no network of the catalogue and no module."""
    if _other(name) is None:
        return design_file(name)
    return None if name.startswith(tuple(OTHERS)) or "\0" in name else Path(name)


def in_catalogue(name: str) -> bool:
    """Whether a command line names a network of the catalogue, rather than a file or a module."""
    return _other(name) is None and design_file(name) is None


def may_propose(name: str) -> bool:
    """Whether a command line names a file that may be a detector, whose number of regions can be given."""
    return _other(name) == WITH_REGIONS


def design_file(name: str) -> Path | None:
    """The file of the YAML design that a command line names, if it names one: by its path, or by its run folder."""
    if _other(name) is not None or "\0" in name:
        return None
    if name.lower().endswith(YAML):
        return Path(name)
    folder = Path(name)
    return folder / RUN_DESIGN if _exists(folder / RUN_DESIGN) and not catalogue.knows(name) else None


def is_run(name: str) -> bool:
    """Whether a command line names a run folder, that is a network with its trained weights."""
    return design_file(name) not in (None, Path(name))


def read_graph(
    name: str, classes: int | None = None, input: AskedInput | None = None, regions: int | None = None
) -> tuple[Graph, str]:
    """The graph that a command line names, and what tables call it: anything of `resolve`, or of `OTHERS`.

    `regions` are so many as a detector of a prototxt is taken to propose for an image.

    Raises:
        UserError: if there is no such network or file, or it is not valid.
    """
    module = _other(name)
    if regions is not None and not may_propose(name):
        raise UserError(f"{name}: --regions is for detectors of Caffe, as prototxt files; this is none")
    if module is None:
        network, graph = _resolve(name, classes, input)
        return graph or network.graph(), network.name
    if classes is not None:
        raise UserError(f"{name}: --classes is for networks that are described here; this one has the classes it has")
    return _open(module, name, input, regions), printable(name)


def _open(module: str, name: str, input: AskedInput | None, regions: int | None = None) -> Graph:
    more = {} if regions is None else {"regions": regions}
    graph: Graph = import_module(f"cnnatomy.readers.{module}").open(name, input, **more)
    return graph


def has_weights(name: str) -> bool:
    """Whether a command line names a network of others that has its weights with it."""
    return not name.startswith(tuple(OTHERS)) and name.lower().endswith(STORED)


def read_stored(name: str, input: AskedInput | None = None, weights: str = "") -> StoredNetwork:
    """The network of an ONNX file with the weights in it, which are read when they are asked for.

    Of a prototxt, `weights` names the caffemodel that has them; without, only its network is there.

    Raises:
        UserError: if a file cannot be read, or naming the first node that is none of our layers.
    """
    if name.lower().endswith(CAFFE):
        from cnnatomy.readers.caffe import prototxt

        return StoredNetwork.of(prototxt.open_stored(name, weights, input), name, weights)
    from cnnatomy.readers import onnx_file

    return StoredNetwork.of(onnx_file.open_stored(name, input), name)


def resolve(
    name: str,
    classes: int | None = None,
    input: AskedInput | None = None,
    new_head: bool = False,
    stored: bool = False,
) -> Design:
    """The network that a command line names, as a value that can be kept, built and trained.

    A catalogue name, the path of a YAML design or of a run folder, or one of `OTHERS`, of which the last layer gets
    `classes`. A design has the classes that it says; with `new_head` it gets `classes` too. With `stored` a network
    of a file is to get the weights that were made for it: layers whose weights the file computes, or uses twice, are
    ordinary ones then.

    Raises:
        UserError: if there is no such network or file, it is not valid, or it cannot be built.
    """
    return _resolve(name, classes, input, new_head, stored)[0]


def _resolve(
    name: str, classes: int | None, input: AskedInput | None, new_head: bool = False, stored: bool = False
) -> tuple[Design, Graph | None]:
    """The network, and its graph where that was made on the way."""
    if stored and (has_weights(name) or name.lower().endswith(CAFFE)) and not name.startswith(tuple(OTHERS)):
        return read_stored(name, input).network.for_classes(classes), None
    module, file = _other(name), design_file(name)
    if module is not None:
        return ListedNetwork.of(_open(module, name, input), name).for_classes(classes), None
    shape = one_shape(name, input)
    if file is None:
        try:
            return catalogue.network(name, classes=classes, input=shape), None
        except UserError as error:
            raise UserError(f"{error}{_beside(name)}") from None

    from cnnatomy.readers.yaml import listed

    network, lines = listed.read_lines(read_text(file, MAX_DESIGN_BYTES, "the design"), str(file))
    stem = file.parent.name if file.name == RUN_DESIGN else file.stem
    network = network.replace(name=network.name or printable(stem), input=network.input if shape is None else shape)
    try:
        graph = network.graph()
    except UserError as error:
        line = next((f", line {lines[id(part)]}" for part in error.parts if id(part) in lines), "")
        raise type(error)(f"{file}{line}: {error}") from None
    wrong = [x for x in graph.outputs if classes is not None and x.shape != (classes,)]
    if classes is not None and wrong and new_head:
        network = for_classes(network, classes)
        graph = network.graph()
        wrong = [x for x in graph.outputs if x.shape != (classes,)]
    if wrong:
        node = wrong[0].node
        raise UserError(
            f"{file}: {node.path if node else 'the input'} gives {dimensions(wrong[0].shape)},"
            f" the data need {classes} (one for each class or number); change the head of the design"
        )
    return network, graph


def _beside(name: str) -> str:
    """What lies there under nearly this name, and how it is asked for."""
    if not name.strip() or "\0" in name:
        return ""
    path = Path(name)
    for other in (f"{name}.yaml", f"{name}.yml", f"{name}.onnx", f"{name}.prototxt"):
        if _exists(Path(other)):
            return f" There is a file {other}: give its whole name."
    run = Path("runs") / name
    if _exists(run / RUN_DESIGN):
        return f" There is a run folder {run}: give its path."
    if path.suffix.lower() in WEIGHTS:
        return f" A file of weights is no network: `cnnatomy weights NETWORK --from {name}` takes them."
    if _exists(path):
        kind = f"the folder holds no run (no {RUN_DESIGN})" if path.is_dir() else "such a file is none that is read"
        return f" {name} exists, but {kind}: networks are .yaml, .onnx and .prototxt files, and run folders."
    return ""


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file can have, such as one of 300 characters
        return False


__all__ = [
    "OTHERS",
    "design_file",
    "file_of",
    "has_weights",
    "in_catalogue",
    "is_run",
    "may_propose",
    "read_graph",
    "read_stored",
    "resolve",
]
