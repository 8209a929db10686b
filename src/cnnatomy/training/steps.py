"""What a step of training is made of: its random numbers, the parts of a batch, and the sums of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cnnatomy.data.augmentation import Wanted
from cnnatomy.tasks.task import Outputs, Target
from cnnatomy.training.schema import Recipe


class Sums:
    """Loss, score and images since an epoch, or its validation, began.

    Of a GPU they are kept there: reading them waits for it. On a CPU plain numbers cost less.
    """

    def __init__(self) -> None:
        self.loss: Any = 0.0
        self.score: Any = 0.0
        self.images = 0

    @torch.no_grad()
    def add(self, loss: Tensor, score: Tensor, images: int) -> None:
        """Counts a batch with its mean loss, and the sum of its scores."""
        if loss.device.type == "cpu":
            self.loss += loss.item() * images
            self.score += score.item()
        else:
            self.loss += loss.detach().double() * images
            self.score += score.double()
        self.images += images

    def measured(self) -> tuple[float, float]:
        """Mean loss, and mean score."""
        return float(self.loss) / max(self.images, 1), float(self.score) / max(self.images, 1)

    def state(self) -> dict[str, float | int]:
        """For a checkpoint."""
        return {"loss": float(self.loss), "score": float(self.score), "images": self.images}

    @classmethod
    def of(cls, state: dict[str, Any]) -> Sums:
        """What `state` gave."""
        sums = cls()
        sums.loss, sums.score, sums.images = state["loss"], state["score"], state["images"]
        return sums


def seed(number: int, device: torch.device) -> None:
    """Seeds torch's generator of the device that computes, and of the CPU: as `torch.manual_seed`, but for no other."""
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)


def has_gradients(optimizer: torch.optim.Optimizer) -> bool:
    """Whether there is anything to step on."""
    return any(parameter.grad is not None for group in optimizer.param_groups for parameter in group["params"])


def in_float32(outputs: Outputs) -> Outputs:
    """Outputs as the loss reads them, whatever they were computed in."""
    if isinstance(outputs, Tensor):
        return outputs.float()
    if isinstance(outputs, dict):
        return {name: output.float() for name, output in outputs.items()}
    return tuple(output.float() for output in outputs)


def parts(images: Tensor, wanted: Sequence[Wanted], count: int) -> list[tuple[Tensor, Sequence[Wanted]]]:
    """A batch in so many parts, of nearly the same size."""
    if count <= 1:
        return [(images, wanted)]
    cut = images.tensor_split(min(count, len(images)))
    each = [[Wanted(share, part) for part in _cut(target, len(cut))] for share, target in wanted]
    return [(part, [goals[i] for goals in each]) for i, part in enumerate(cut)]


def _cut(target: Target, count: int) -> Sequence[Target]:
    if isinstance(target, Tensor):
        return target.tensor_split(count)
    each = {name: tensor.tensor_split(count) for name, tensor in target.items()}
    return [{name: tensors[i] for name, tensors in each.items()} for i in range(count)]


def weighted(wanted: Sequence[Wanted], measure: Callable[[Target], Tensor]) -> Tensor:
    """What is measured against each target, by their shares."""
    if len(wanted) == 1:
        return measure(wanted[0].target)
    return torch.stack([share * measure(target) for share, target in wanted]).sum()


def frozen(network: nn.Module, recipe: Recipe, epoch: int) -> list[nn.Module]:
    """The parts that are frozen in an epoch, counted from 0.

    With `unfreeze`, after every so many epochs the last of those that `freeze` names is trained again.
    """
    paths = list(recipe.freeze)
    if recipe.unfreeze:
        paths = paths[: max(0, len(paths) - int(epoch / recipe.unfreeze))]
    modules = dict(network.named_modules())
    return [modules[path] for path in paths]
