"""ONNX files: what is on disk, read with care. The weights are never read, only their shapes.

A tensor that the file keeps elsewhere ("external data") must lie in the folder of the file: any other place is refused,
although nothing is ever loaded from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from cnnatomy.design.graph import Graph
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import Shape

MAX_BYTES = 2**31
"""A protocol buffer cannot be larger."""


def open(name: str, input: Shape | None = None) -> Graph:
    """The graph of an ONNX file; `input` replaces the shape of its (first) input, and sizes that the file leaves open.

    Raises:
        UserError: if it cannot be read, is no ONNX model, keeps data outside its folder, or a layer does not fit.
    """
    path = Path(name)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{name}: an ONNX file may have at most {MAX_BYTES:,} bytes; keep the weights beside it")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: cannot read the file: {error.strerror}") from None
    return read(content, name, path.parent, input)


def read(content: bytes, source: str, folder: Path, input: Shape | None = None) -> Graph:
    """The graph of the bytes of an ONNX file that lies in `folder`; `source` is its name for messages.

    Raises:
        UserError: as `open` does.
    """
    try:
        import onnx
    except ImportError:
        raise UserError("reading ONNX files needs onnx: pip install 'cnnatomy[onnx]'") from None
    from cnnatomy.readers.onnx.model import STRANGE

    try:
        model = onnx.load_model_from_string(content)
    except Exception:  # protobuf's DecodeError, and whatever else damage leads to
        raise UserError(f"{source}: not an ONNX model, or not all of it") from None
    try:
        return _graph(model, source, folder, input)
    except STRANGE as error:
        raise UserError(f"{source}: not a valid ONNX model: {error}") from error


def _graph(model: Any, source: str, folder: Path, input: Shape | None) -> Graph:
    import onnx

    from cnnatomy.readers.onnx.model import MAX_VALUES, OnnxModel
    from cnnatomy.readers.onnx.walk import walk

    if not model.graph.node or not model.opset_import:
        raise UserError(f"{source}: not an ONNX model: there is no node in it")
    for tensor in _tensors(model):
        if any(size < 0 for size in tensor.dims):
            raise UserError(f"{source}: the tensor {tensor.name!r} has a negative size")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _check_location(tensor, source, folder)
        if _elements(tensor) > MAX_VALUES:
            for field, _ in tensor.ListFields():
                if field.name.endswith("_data"):
                    tensor.ClearField(field.name)
    if model.functions:
        import onnx.inliner

        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as error:  # such as functions that call one another in a circle
            raise UserError(f"{source}: its functions cannot be inlined: {error}") from None
    return walk(OnnxModel(model, source, input))


def _elements(tensor: Any) -> int:
    total = 1
    for size in tensor.dims:
        total *= size
    return total


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


def _check_location(tensor: Any, source: str, folder: Path) -> None:
    """Refuses a place outside the folder: an absolute path, one with `..`, or a link that leads out."""
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    whole = PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor
    parts = location.replace("\\", "/").split("/")
    try:
        inside = (folder / location).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not location or whole or ".." in parts or not inside:
        raise UserError(f"{source}: the tensor {tensor.name!r} lies outside the file's folder: {location!r}; refused")
