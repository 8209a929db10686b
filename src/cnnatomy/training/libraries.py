"""Lightning, imported so that a torchvision made for another torch does not stop it.

Its torchmetrics imports torchvision wherever it is installed. The wheel on PyPI is built against the CUDA build of
torch; beside a CPU build it fails at import with `operator torchvision::nms does not exist`. Nothing here needs
torchvision, so in that case an empty stand-in takes its place while Lightning is imported, and is removed again.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class _StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `torchvision` and everything below it as modules in which every public name is `object`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        ours = fullname.partition(".")[0] == "torchvision"
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True) if ours else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name)
        module.__dict__["__getattr__"] = _any_name
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


def _any_name(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return object


def _forget_torchvision() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def load(*names: str) -> list[ModuleType]:
    """Imports modules that may import torchvision, and returns them in the same order."""
    with warnings.catch_warnings(), _without_broken_torchvision():
        warnings.simplefilter("ignore")
        modules = [importlib.import_module(name) for name in names]
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)  # its advice is about what is not used here
    return modules


@contextmanager
def _without_broken_torchvision() -> Iterator[None]:
    if importlib.util.find_spec("torchvision") is None:
        yield
        return
    try:
        importlib.import_module("torchvision")
    except Exception:  # whatever it is, torchvision does not fit this torch: RuntimeError, OSError, ImportError, ...
        _forget_torchvision()
    else:
        yield
        return
    stand_in = _StandIn()
    sys.meta_path.insert(0, stand_in)
    try:
        yield
    finally:
        sys.meta_path.remove(stand_in)
        _forget_torchvision()
