"""Pickles that hold plain data and arrays of numbers, as CIFAR's do, read without running anything that they name.

Python's own reader makes what it is told to. This one knows a few stand-ins for what numpy writes of an array, and
nothing else: no function of numpy or of any other package is called until the array is made from its bytes.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from cnnatomy.errors import UserError, quoted, shown


class ArrayStandIn:
    """What a pickled array becomes: it takes the state of one, and is an array only when it is asked for."""

    __slots__ = ("content", "is_fortran", "kind", "shape")

    def __init__(self, *_: object) -> None:
        self.shape, self.kind, self.is_fortran, self.content = (0,), "u1", False, b""

    def __setstate__(self, state: Any) -> None:
        _, self.shape, kind, self.is_fortran, self.content = state
        self.kind = kind.name

    def array(self) -> np.ndarray[Any, Any]:
        """Its numbers; raises ValueError or TypeError where they are not as many as it says."""
        flat = np.frombuffer(self.content, np.dtype(self.kind))
        return flat.reshape(self.shape, order="F" if self.is_fortran else "C")


class FromBufferStandIn(ArrayStandIn):
    """The same as protocol 5 writes it: called with its buffer, type, shape and order."""

    __slots__ = ()

    def __init__(self, content: Any, kind: Any, shape: Any, order: Any) -> None:
        self.shape, self.kind, self.is_fortran, self.content = shape, kind.name, order == "F", content


class TypeStandIn:
    """What a pickled type of numbers becomes: its name, one of integers and floats of up to eight bytes."""

    __slots__ = ("name",)

    def __init__(self, name: Any, *_: object) -> None:
        self.name = name.decode() if isinstance(name, bytes) else name
        if self.name not in ("b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"):
            raise ValueError(f"an array of {shown(self.name)}, where numbers were expected")

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("|", b"|", "<", b"<"):
            raise ValueError("an array of another order of bytes")


class EncodedStandIn(bytes):
    """Bytes as protocol 2 writes them: text of latin 1."""

    __slots__ = ()

    def __new__(cls, text: str, encoding: str) -> EncodedStandIn:
        """Raises ValueError for another encoding."""
        if encoding != "latin1":
            raise ValueError(f"text in {quoted(encoding)}")
        return super().__new__(cls, text.encode("latin1"))

    def __setstate__(self, state: Any) -> None:
        raise ValueError("bytes have no state")


_STAND_INS: dict[tuple[str, str], type] = {
    ("_codecs", "encode"): EncodedStandIn,
    ("numpy", "dtype"): TypeStandIn,
    ("numpy", "ndarray"): ArrayStandIn,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): ArrayStandIn for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): FromBufferStandIn for core in ("core", "_core")},
}


class _Reader(pickle._Unpickler):
    """Python's reader written in Python: the one in C takes gigabytes where a few bytes name a distant memo."""

    stack: list[Any]

    def _check_keys(self, keys: list[Any]) -> None:
        """Hashing tuples of tuples that share their parts takes time without an end."""
        for key in keys:
            if not isinstance(key, (str, bytes, int, float)):
                raise UserError(f"a dict has a key of the type {type(key).__name__}: only text and numbers are read")

    def load_dict(self) -> None:
        self._check_keys(self.stack[::2])
        super().load_dict()  # type: ignore[misc]

    def load_setitem(self) -> None:
        self._check_keys(self.stack[-2:-1])
        super().load_setitem()  # type: ignore[misc]

    def load_setitems(self) -> None:
        self._check_keys(self.stack[::2])
        super().load_setitems()  # type: ignore[misc]

    def load_set(self) -> None:
        raise UserError("it holds a set: only plain data and arrays are read")

    dispatch = pickle._Unpickler.dispatch | {  # type: ignore[assignment]
        pickle.DICT[0]: load_dict,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.EMPTY_SET[0]: load_set,
        pickle.FROZENSET[0]: load_set,
    }
    """By the byte of each instruction."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """A stand-in; raises `UserError` for all else, before it is looked for."""
        found = _STAND_INS.get((module_name, global_name))
        if found is None:
            wanted = shown(f"{module_name}.{global_name}")
            raise UserError(f"it asks for {wanted}, which is not run: only plain data and arrays are read")
        return found


def read_pickle(content: bytes) -> dict[str, Any]:
    """The mapping that a pickle holds, by names; arrays in it are `ArrayStandIn`s.

    Raises:
        UserError: with the reason alone, if it is no pickle, holds something else, or asks for more than arrays.
    """
    try:
        found = _Reader(io.BytesIO(content), encoding="bytes").load()
        if isinstance(found, dict):
            return {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in found.items()}
    except UserError:
        raise
    except Exception as error:  # whatever broken bytes lead the reader to
        raise UserError(f"broken, truncated or no pickle ({shown(error) or type(error).__name__})") from None
    raise UserError(f"it holds {shown(found)}, expected a dict")
