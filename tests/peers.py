"""The peers: torchvision and timm, which tests compare cnnatomy with. Test-only; nothing in `src` may need them.

torchvision's wheel is built against the CUDA build of torch. Beside a CPU build its compiled operators do not load, and
its Python half then fails at import, because it describes operators that nobody has declared. Declaring them (a name
and a signature; they are never called here) is enough to import `torchvision.models`, and timm, which imports it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest

_UNDECLARED = ("nms", "qnms")  # what torchvision/_meta_registrations.py describes without asking whether it exists
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@functools.cache
def torchvision() -> ModuleType:
    """The module torchvision, with `.models`; skips the calling test where it is not installed."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed: `make test` installs the peers")
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    import torch

    for operator in _UNDECLARED:
        torch.library.define(f"torchvision::{operator}", _SIGNATURE)
    for half_imported in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[half_imported]
    return importlib.import_module("torchvision")


@functools.cache
def timm() -> ModuleType:
    """The module timm; skips the calling test where it is not installed."""
    torchvision()
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed: `make test` installs the peers")
    return importlib.import_module("timm")


def on_meta(name: str) -> tuple[Any, tuple[int, ...]]:
    """A network without numbers, by a name such as torchvision:resnet18 or timm:dpn68, and the shape of its input."""
    import torch

    peer, _, own = name.partition(":")
    make: Any = timm().create_model if peer == "timm" else torchvision().models.get_model
    try:
        with torch.device("meta"):
            module = make(own)
    except (NotImplementedError, RuntimeError):  # some read values while they are made
        module = make(own).to("meta")
    return module, tuple(module.default_cfg["input_size"]) if peer == "timm" else (3, 224, 224)
