"""A workbench for people who design convolutional networks.

>>> import cnnatomy as cn
>>> net = cn.network("resnet-50")
>>> net.account((3, 224, 224)).totals.parameters
25557032
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's, without the time that importing it takes: see `__getattr__`

if TYPE_CHECKING:
    from typing import Any

    import torch

    from cnnatomy.catalogue import ENTRIES, network
    from cnnatomy.design import Block, Chain, Dense, FeatureMap, Graph, Heads, Named, Network, Parallel, Residual
    from cnnatomy.errors import ShapeError, UserError

__version__ = "0.1.0"

__all__ = [
    "ENTRIES",
    "Block",
    "Chain",
    "Dense",
    "FeatureMap",
    "Graph",
    "Heads",
    "Named",
    "Network",
    "Parallel",
    "Residual",
    "ShapeError",
    "UserError",
    "network",
    "read",
]


def __getattr__(name: str) -> object:
    """What the package offers, imported when it is first asked for: the command line handles Ctrl-C before that."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cnnatomy import catalogue, design, errors

    found = next(getattr(home, name) for home in (catalogue, design, errors) if hasattr(home, name))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def read(module: torch.nn.Module, /, *inputs: Any, batch: int | None = 0, **named: Any) -> Graph:
    """Any torch module as a graph; see `cnnatomy.readers.torch.module.read`.

    `inputs` and `named` are what its forward takes, by position and by name: shapes without the batch, such as
    (3, 224, 224), or example tensors, whose axis `batch` is the batch; also in lists, tuples, dicts and dataclasses.
    `cnnatomy.analysis.accounting` counts the graph.
    """
    from cnnatomy.readers.torch.module import read

    return read(module, *inputs, batch=batch, **named)
