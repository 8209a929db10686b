"""Data sets: images and targets in three splits that share no image, in the network's input shape."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False

if TYPE_CHECKING:
    from cnnatomy.data.dataset import load, load_labelled, open_source, recorded
    from cnnatomy.data.frames import Frame
    from cnnatomy.data.images import ImageError, read_image
    from cnnatomy.data.loading import Loading
    from cnnatomy.data.parts import Data, Normalisation, Report, Split

__all__ = [
    "Data",
    "Frame",
    "ImageError",
    "Loading",
    "Normalisation",
    "Report",
    "Split",
    "load",
    "load_labelled",
    "open_source",
    "read_image",
    "recorded",
]
_FILES = ("dataset", "frames", "images", "loading", "parts")


def __getattr__(name: str) -> object:
    """What the room offers, imported when it is first asked for: its table of sources is help without torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    files = (importlib.import_module(f"{__name__}.{file}") for file in _FILES)
    found = next(getattr(file, name) for file in files if hasattr(file, name))
    globals()[name] = found
    return found
