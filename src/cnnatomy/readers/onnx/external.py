"""Tensors whose numbers an ONNX file keeps in another file beside it ("external data")."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import onnx

from cnnatomy.errors import UserError, quoted, shown
from cnnatomy.files import open_regular
from cnnatomy.layers.layer import dimensions, elements
from cnnatomy.limits import MAX_WEIGHTS_BYTES


def outside(tensor: Any, folder: Path) -> Any:
    """A tensor whose numbers are in a file in the folder, with them: as many bytes as they take, from where it says.

    Raises:
        UserError: if that file cannot be read, or has not so many bytes there.
    """
    said = {entry.key: entry.value for entry in tensor.external_data}
    name, path = quoted(tensor.name), folder / said.get("location", "")  # checked when the file was read
    wanted = _bytes(tensor)
    try:
        offset, length = int(said.get("offset") or 0), int(said.get("length") or wanted)
    except ValueError:
        raise UserError(f"the tensor {name}: offset and length of its numbers are no integers") from None
    if length != wanted or offset < 0:
        raise UserError(
            f"the tensor {name} is said to be {length:,} bytes from byte {offset:,} of {path.name},"
            f" {wanted:,} are needed for {dimensions(tuple(tensor.dims)) or 'one number'}"
        )
    with open_regular(path, MAX_WEIGHTS_BYTES, f"the numbers of {name}") as file:
        try:
            file.seek(offset)
            raw = file.read(wanted)
        except (OSError, OverflowError, ValueError) as error:
            raise UserError(f"{path}: cannot read the numbers of {name}: {shown(error)}") from None
    if len(raw) != wanted:
        raise UserError(f"{path}: {len(raw):,} of the {wanted:,} bytes of {name} are there from byte {offset:,}")
    return onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type, raw_data=raw)


def _bytes(tensor: Any) -> int:
    """How many bytes the numbers of a tensor take: of four or two bits several share one."""
    bits = _SMALL.get(tensor.data_type) or 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return -(-elements(tuple(tensor.dims)) * bits // 8)


def _named(bits: int, *names: str) -> dict[int, int]:
    return {getattr(onnx.TensorProto, name): bits for name in names if hasattr(onnx.TensorProto, name)}


_SMALL = dict(chain(_named(4, "INT4", "UINT4", "FLOAT4E2M1").items(), _named(2, "INT2", "UINT2").items()))
"""Types of less than a byte, and their bits."""
