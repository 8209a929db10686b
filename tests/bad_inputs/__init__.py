"""Bad inputs by the hundred, each a command line with its files; `python tests/bad_inputs FOLDER` writes them out."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from bad_inputs.case import Case

KINDS = ("designs", "onnx_files", "prototxts", "command_lines", "images", "run_folders", "terminals")


def cases(kind: str) -> Iterator[Case]:
    """The cases of one kind."""
    found: Iterator[Case] = import_module(f"bad_inputs.{kind}").cases()
    return found
