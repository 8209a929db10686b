"""Where a training went wrong: the weights that a step broke, or the first layer whose numbers are none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from cnnatomy.errors import UserError
from cnnatomy.runs.model import Model


class DivergenceError(UserError):
    """A training went wrong: what, when, and in which layer first; what to do is still to be said."""


@torch.no_grad()
def first(model: Model, batches: Iterable[Tensor], what: str = "") -> str:
    """Which layer failed first: its weights by the step before, or its output for the images of one of the batches.

    In words; `what` is said of the batch, with its number. Runs the network once more, in the mode that it is in.
    """
    if broken := [name for name, tensor in model.network.named_parameters() if not tensor.isfinite().all()]:
        others = f" and in {len(broken) - 1} tensors before it" if len(broken) > 1 else ""
        return f"the step before left values that are no numbers in {broken[-1]}{others}"  # gradients come from the end
    found: list[str] = []
    hooks = []

    def watch(name: str) -> Any:
        def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not found and isinstance(output, Tensor) and not output.isfinite().all():
                found.append(f"the first layer whose output is no number is {name}")

        return look

    for name, module in model.network.named_modules():
        if not list(module.children()):
            hooks.append(module.register_forward_hook(watch(name)))
    try:
        for number, images in enumerate(batches, 1):
            model(images)
            if found:
                return f"{found[0]}, for {what} {number}" if what else found[0]
    finally:
        for hook in hooks:
            hook.remove()
    return "every layer gives numbers, so that it is the loss itself that is none"
