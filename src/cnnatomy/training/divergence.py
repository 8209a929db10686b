"""Where a training went wrong: the first layer whose numbers are none, and what can be done."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cnnatomy.errors import UserError
from cnnatomy.runs.folder import RunFolder
from cnnatomy.runs.model import Model
from cnnatomy.training.schema import Recipe

USUAL = {"sgd": 0.01, "nesterov": 0.01, "rmsprop": 0.001, "adam": 0.001, "adamw": 0.001, "muon": 0.001}
"""Learning rates that are rarely too high."""


class DivergenceError(UserError):
    """A training went wrong: what, when, and in which layer first; what to do is still to be said."""


@torch.no_grad()
def first(model: Model, batch: Sequence[Tensor]) -> str:
    """Which layer gives the first number that is none, for the images of a batch in parts.

    In words. Runs the network once more, in the mode that it is in.
    """
    found: list[str] = []
    hooks = []

    def watch(name: str) -> Any:
        def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not found and isinstance(output, Tensor) and not output.isfinite().all():
                weights = [key for key, tensor in module.named_parameters() if not tensor.isfinite().all()]
                why = f"its {weights[0]} is no number either" if weights else "though its input and weights are numbers"
                found.append(f"the first layer whose output is no number is {name} ({why})")

        return look

    for name, module in model.network.named_modules():
        if not list(module.children()):
            hooks.append(module.register_forward_hook(watch(name)))
    try:
        for images in batch:
            if not found:
                model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else "every layer gives numbers, so that it is the loss itself that is none"


def remedy(recipe: Recipe, epochs: int, folder: RunFolder | None) -> str:
    """What to do: advice that works from where a training is, with so many complete epochs."""
    rate = f"{min(recipe.learning_rate / 10, USUAL[recipe.optimizer]):.3g}"
    clip = "" if recipe.clip else ", or limit the gradient, too: --set clip=1"
    if folder is None:
        return f"Begin again with a lower learning rate, such as learning_rate={rate}{clip.replace('--set ', '')}"
    whence = f"Go on after epoch {epochs}" if epochs else "Begin again"
    path = shlex.quote(str(folder.path))
    return (
        f"{whence} with a lower learning rate{clip}:\n"
        f"  cnnatomy train {path} --out {path} --resume --learning-rate {rate}"
    )
