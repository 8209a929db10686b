"""`python:package.module:callable`, the name of a torch module on the command line."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from cnnatomy.errors import UserError, nearest, own_code, quoted, shown

PREFIX = "python:"


def load(name: str) -> nn.Module:
    """The module that is meant, in evaluation mode.

    A callable is called without arguments, on the meta device if that works, so that no weights are allocated.

    Raises:
        UserError: if there is nothing of that name, or it is no module.
    """
    found = _named(name, ", such as python:torchvision.models:resnet50")
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise UserError(f"{name} is {_kind(found)}, no torch.nn.Module and nothing that gives one")
        found = _made(name, found)
    if not isinstance(found, nn.Module):
        raise UserError(f"{name} gives {_kind(found)}, not a torch.nn.Module")
    return found.eval()


def load_callable(name: str) -> Callable[..., Any]:
    """The function of one's own that is meant.

    Raises:
        UserError: if there is nothing of that name, or it cannot be called.
    """
    found = _named(name)
    if not callable(found):
        raise UserError(f"{name} is {_kind(found)}, nothing that can be called")
    function: Callable[..., Any] = found
    return function


def _named(name: str, example: str = "") -> Any:
    place, colon, what = name.removeprefix(PREFIX).partition(":")
    if not place or not colon or not what:
        raise UserError(f"{name}: write python:package.module:callable{example}")
    return _attribute(name, _imported(name, place), what)


def _kind(found: Any) -> str:
    return "None" if found is None else f"a {type(found).__name__}"


def _imported(name: str, place: str) -> Any:
    if place.endswith(".py") or os.sep in place:  # a file, which Python imports by its name from a folder that it knows
        folder, file = os.path.split(place.removesuffix(".py"))
        where = "" if folder in ("", ".") else f", with PYTHONPATH={quoted(folder)}"
        raise UserError(
            f"{name}: {shown(place)} is a file; name the module as it is imported,"
            f" {PREFIX}{shown(file)}:{name.rpartition(':')[2]}{where}"
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does
    try:
        return importlib.import_module(place)
    except (Exception, SystemExit) as error:  # whatever the module does when it is imported
        raise UserError(f"{name}: cannot import {shown(place)}: {type(error).__name__}: {shown(error)}") from None


def _attribute(name: str, found: Any, path: str) -> Any:
    for part in path.split("."):
        if not hasattr(found, part):
            names = [known for known in dir(found) if not known.startswith("_")]
            raise UserError(f"{name}: {getattr(found, '__name__', found)} has no {quoted(part)}.{nearest(part, names)}")
        found = getattr(found, part)
    return found


def _made(name: str, make: Any) -> Any:
    try:
        with torch.device("meta"):
            return make()
    except (Exception, SystemExit):  # some read values while they build: then with weights
        with own_code(f"{name}: calling it"):
            return make()
