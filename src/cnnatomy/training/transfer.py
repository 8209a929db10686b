"""Weights of a trained network as the start of another: tail and body as they are, the head where it is the same."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from cnnatomy.runs import folder as run_folder
from cnnatomy.runs.run import Run
from cnnatomy.runs.trained import Trained

HEAD = "head."
"""Where a network has no part of that name, its head is the last layer with weights."""


def new_tensors(wanted: Mapping[str, Tensor], run: Run, start: Trained) -> list[str]:
    """Of the tensors of `run`'s network, by name, those that do not begin as those of `start`.

    None where network and classes are the same, so that it is trained further. Else the head's: for other classes its
    weights mean nothing.
    """
    weights = start.network.state_dict()
    old, new = _head(weights), _head(wanted)
    same_head = {name: weights[name].shape for name in old} == {name: wanted[name].shape for name in new}
    return [] if same_head and start.run.classes == run.classes else new


def take_weights(module: nn.Module, run: Run, start: Trained) -> None:
    """Gives `module`, the network of `run`, the weights of `start`, but for its `new_tensors`.

    Raises:
        UserError: naming the first tensor of tail or body that is not in both, or has another shape.
    """
    weights, wanted = start.network.state_dict(), module.state_dict()
    if new := new_tensors(wanted, run, start):
        old = _head(weights)
        weights = {name: tensor for name, tensor in weights.items() if name not in old}
        weights |= {name: wanted[name] for name in new}
    run_folder.check_weights(start.name, weights, module, run.name)
    module.load_state_dict(weights)


def _head(weights: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors of the head."""
    last = next((name for name in reversed(list(weights)) if weights[name].dim() > 1), "")
    prefix = HEAD if any(name.startswith(HEAD) for name in weights) else f"{last.rpartition('.')[0]}."
    return [name for name in weights if name.startswith(prefix)]
