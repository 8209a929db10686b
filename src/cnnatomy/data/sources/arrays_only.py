"""Pickles that hold plain data and arrays of numbers, as CIFAR's do, read without running anything that they name.

Python's own reader makes what it is told to. This one knows a few stand-ins for what numpy writes of an array, and
nothing else: no function of numpy or of any other package is called until the array is made from its bytes.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

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


def _with_sound_keys(instruction: bytes, keys: slice) -> Callable[[Any], None]:
    """What fills a dict with what is in these places of the reader's stack, once it is known that keys can be hashed:
    tuples of tuples that share their parts take for ever."""
    fill: Callable[[Any], None] = pickle._Unpickler.dispatch[instruction[0]]

    def load(reader: Any) -> None:
        for key in reader.stack[keys]:
            if not isinstance(key, (str, bytes, int, float)):
                raise UserError(f"a dict has a key of the type {type(key).__name__}: only text and numbers are read")
        fill(reader)

    return load


def _no_set(reader: Any) -> None:
    raise UserError("it holds a set: only plain data and arrays are read")


class _Reader(pickle._Unpickler):
    """Python's reader written in Python: the one in C takes gigabytes where a few bytes name a distant memo."""

    dispatch: ClassVar = pickle._Unpickler.dispatch | {
        pickle.DICT[0]: _with_sound_keys(pickle.DICT, slice(None, None, 2)),
        pickle.SETITEM[0]: _with_sound_keys(pickle.SETITEM, slice(-2, -1)),
        pickle.SETITEMS[0]: _with_sound_keys(pickle.SETITEMS, slice(None, None, 2)),
        pickle.EMPTY_SET[0]: _no_set,
        pickle.FROZENSET[0]: _no_set,
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
