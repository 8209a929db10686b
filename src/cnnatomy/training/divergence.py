"""Where a training went wrong: the first layer whose numbers are none, and what can be done."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from cnnatomy.errors import UserError
from cnnatomy.runs.folder import RunFolder
from cnnatomy.runs.model import Model
from cnnatomy.tasks.losses import OWN
from cnnatomy.training.checkpoints import has_checkpoint
from cnnatomy.training.schema import Recipe

USUAL = {"sgd": 0.01, "nesterov": 0.01, "rmsprop": 0.001, "adam": 0.001, "adamw": 0.001, "muon": 0.001}
"""Learning rates that are rarely too high."""

BEFORE_ANY_STEP = (
    "No step had been taken, so that the learning rate is not why: look at what the loss adds up (l1, loss_weights),"
    " at the weights that it begins with (initialisation, bias, start), and at the images"
)
"""What to do where the first loss of all is no number."""


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


def going_on(folder: RunFolder, recipe: Recipe, start: str = "") -> str:
    """The command that goes on with a run, as it can be typed: with what no run folder keeps.

    That is a loss of one's own and, as long as there is no checkpoint, the weights that it began with (`start`).
    """
    words = ["cnnatomy", "train", str(folder.design), "--out", str(folder.path), "--resume"]
    if start and not has_checkpoint(folder):
        words += ["--start", start]
    if recipe.loss.startswith(OWN):
        words += ["--loss", recipe.loss]
    return shlex.join(words)


def remedy(recipe: Recipe, epochs: int, folder: RunFolder | None, start: str = "") -> str:
    """What to do: advice that works from where a training is, with so many complete epochs."""
    fastest = max([1.0, *recipe.rates.values()])
    rate = f"{min(recipe.learning_rate / 10, USUAL[recipe.optimizer] / fastest):.3g}"
    clip = "" if recipe.clip else ", or limit the gradient, too: --set clip=1"
    if folder is None:
        return f"Begin again with a lower learning rate, such as learning_rate={rate}{clip.replace('--set ', '')}"
    whence = f"Go on after epoch {epochs}" if epochs else "Begin again"
    return f"{whence} with a lower learning rate{clip}:\n  {going_on(folder, recipe, start)} --learning-rate {rate}"
