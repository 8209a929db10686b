"""Where a training went wrong: the first layer whose numbers are none, and what can be done."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cnnatomy.runs.model import Model
from cnnatomy.training.recipe import Recipe


@torch.no_grad()
def first(model: Model, images: Tensor) -> str:
    """Which layer gives the first number that is none, for these images, in words.

    Runs the network once more, in the mode that it is in.
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
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else "every layer gives numbers, so that it is the loss itself that is none"


def remedy(recipe: Recipe, rate: float) -> str:
    """What to try: advice that works from here on."""
    smaller = f"{recipe.learning_rate / 10:.3g}"
    clip = "" if recipe.clip else ", or limit the gradient with --set clip=1"
    return f"Begin again with a lower learning rate than {rate:g}, such as --learning-rate {smaller}{clip}"
