"""Weights of a trained network as the start of another: tail and body as they are, the head where it is the same."""

from __future__ import annotations

from torch import nn

from cnnatomy.runs import folder as run_folder
from cnnatomy.runs.run import Run
from cnnatomy.runs.trained import Trained

HEAD = "head."


def take_weights(module: nn.Module, run: Run, start: Trained) -> list[str]:
    """Gives `module`, the network of `run`, the weights of `start`; the names of the tensors that stay new.

    All of them where network and classes are the same, so that it is trained further. Else the head stays as it was
    initialised: for other classes its weights mean nothing.

    Raises:
        UserError: naming the first tensor of tail or body that is not in both, or has another shape.
    """
    weights, wanted = start.network.state_dict(), module.state_dict()
    same_head = all(
        name in wanted and wanted[name].shape == tensor.shape
        for name, tensor in weights.items()
        if name.startswith(HEAD)
    )
    is_part = not any(name.startswith(HEAD) for name in (*weights, *wanted))
    new = []
    if not is_part and not (same_head and start.run.classes == run.classes):
        new = [name for name in wanted if name.startswith(HEAD)]
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(HEAD)}
        weights |= {name: wanted[name] for name in new}
    run_folder.check_weights(start.name, weights, module, run.name)
    module.load_state_dict(weights)
    return new
