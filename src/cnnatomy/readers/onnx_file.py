"""ONNX files: what is on disk, read with care: the structure alone, or with the weights.

A tensor that the file keeps elsewhere ("external data") must lie in the folder of the file: any other place is refused,
even where nothing would be loaded from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from cnnatomy.design.graph import Graph, Node
from cnnatomy.errors import UserError, quoted, shown
from cnnatomy.files import read_bytes
from cnnatomy.layers.layer import elements
from cnnatomy.limits import MAX_AXES, MAX_ELEMENTS, MAX_ONNX_BYTES, MAX_VALUES
from cnnatomy.readers.inputs import AskedInput
from cnnatomy.readers.stored import StoredGraph

if TYPE_CHECKING:
    from cnnatomy.readers.onnx.model import OnnxModel

REMEDY = (
    "Export it in evaluation, with another opset or simplified (onnxsim); or cut out the part that you need"
    " (onnx.utils.extract_model)"
)
"""What can be done about a node that is none of our layers, where a network is built with its weights."""


def open(name: str, input: AskedInput | None = None) -> Graph:
    """The graph of an ONNX file; `input` replaces the shape of its (first) input, and sizes that the file leaves open.

    Raises:
        UserError: if it cannot be read, is no ONNX model, keeps data outside its folder, or a layer does not fit.
    """
    path = Path(name)
    content = read_bytes(path, MAX_ONNX_BYTES, "the ONNX file")
    return read(content, name, path.parent, input)


def read(content: bytes, source: str, folder: Path, input: AskedInput | None = None) -> Graph:
    """The graph of the bytes of an ONNX file that lies in `folder`; `source` is its name for messages.

    Raises:
        UserError: as `open` does.
    """
    with _refusals(source):
        return _read(content, folder, input)[1]


def open_stored(name: str, input: AskedInput | None = None) -> StoredGraph:
    """The graph of an ONNX file, as `open` gives it, with what its layers' tensors are in the file.

    Raises:
        UserError: as `open` does.
    """
    path = Path(name)
    content = read_bytes(path, MAX_ONNX_BYTES, "the ONNX file")
    with _refusals(name):
        model, graph = _read(content, path.parent, input, weights=True)
        from cnnatomy.readers.onnx.scales import check_scales
        from cnnatomy.readers.onnx.weights import OnnxWeights

        check_scales(model)
        weights = OnnxWeights(model, path.parent)

    def tensors(node: Node) -> dict[str, Any]:
        with _refusals(name):
            return weights.of(node)

    return StoredGraph(graph, model.sources.keys(), tensors, REMEDY)


@contextmanager
def _refusals(source: str) -> Iterator[None]:
    """Says of whatever is wrong with a file in which file it is."""
    try:
        import onnx  # noqa: F401 - the first of what is wrong may be that it is not there
    except ImportError:
        raise UserError("reading ONNX files needs onnx: pip install 'cnnatomy[onnx]'") from None
    from cnnatomy.readers.onnx.model import STRANGE
    from cnnatomy.readers.onnx.wire import DamagedError

    try:
        yield
    except DamagedError:
        raise UserError(f"{source}: not an ONNX model, or not all of it") from None
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    except STRANGE as error:
        raise UserError(f"{source}: not a valid ONNX model: {shown(error)}") from error


def _read(content: bytes, folder: Path, input: AskedInput | None, weights: bool = False) -> tuple[OnnxModel, Graph]:
    """What is known of a model, and its graph.

    The numbers of its weights are dropped unless they are asked for; then small tensors of other files are read, too.
    """
    import onnx

    from cnnatomy.readers.onnx import images
    from cnnatomy.readers.onnx.checks import check_names
    from cnnatomy.readers.onnx.external import outside
    from cnnatomy.readers.onnx.functions import inlined
    from cnnatomy.readers.onnx.wire import DamagedError, check_size

    check_size(content)
    try:
        model = onnx.load_model_from_string(content)
    except Exception:  # protobuf's DecodeError, and whatever else damage leads to
        raise DamagedError from None
    if not model.graph.node or not model.opset_import:
        raise UserError("not an ONNX model: there is no node in it")
    for tensor in _tensors(model):
        _check_tensor(tensor, folder)
        if not weights and elements(tuple(tensor.dims)) > MAX_VALUES:
            _drop_numbers(tensor)
        elif (
            weights and tensor.data_location == onnx.TensorProto.EXTERNAL and elements(tuple(tensor.dims)) <= MAX_VALUES
        ):
            tensor.CopyFrom(outside(tensor, folder))
    model = inlined(model)
    check_names(model.graph)
    return images.read(model, input)


def _check_tensor(tensor: Any, folder: Path) -> None:
    """Refuses impossible sizes and places outside the folder."""
    import onnx

    name, dims = quoted(tensor.name), tuple(tensor.dims)
    if any(size < 0 for size in dims):
        raise UserError(f"the tensor {name} has a negative size")
    if len(dims) > MAX_AXES or elements(dims) > MAX_ELEMENTS:
        raise UserError(
            f"the tensor {name} has {len(dims):,} axes; at most {MAX_AXES}, and 2^63 - 1 elements, can be read"
        )
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        _check_location(tensor, folder)


def _drop_numbers(tensor: Any) -> None:
    for field, _ in tensor.ListFields():
        if field.name.endswith("_data"):
            tensor.ClearField(field.name)


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor of a model: of graphs in graphs, attributes and functions too."""
    import onnx

    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            # a message by itself is not iterable; a repeated field is
            for part in value if hasattr(value, "__len__") else [value]:
                yield from _tensors(part)


def _check_location(tensor: Any, folder: Path) -> None:
    """Refuses a place outside the folder: an absolute path, one with `..`, or a link that leads out."""
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    whole = PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor
    parts = location.replace("\\", "/").split("/")
    try:
        inside = (folder / location).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not location or whole or ".." in parts or not inside:
        raise UserError(f"the tensor {quoted(tensor.name)} lies outside the file's folder: {quoted(location)}; refused")
