"""A network that takes images as they are stored: with the normalisation of its input before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cnnatomy.data import Normalisation
from cnnatomy.errors import UserError
from cnnatomy.tasks.task import Outputs


class Model(nn.Module):
    """Images, `(images, channels, rows, columns)` of 0 .. 255, to what the network gives: after its normalisation."""

    mean: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, normalisation: Normalisation) -> None:
        super().__init__()
        self.network = network
        mean, std = torch.tensor(normalisation.mean), torch.tensor(normalisation.std)
        self.register_buffer("mean", 255 * mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("scale", 1 / (255 * std.view(1, -1, 1, 1)), persistent=False)

    def normalised(self, images: Tensor) -> Tensor:
        """Images as the network reads them, on its device."""
        values = images.to(self.mean.device, torch.float32, copy=True)
        return values.sub_(self.mean).mul_(self.scale)  # in place: of large batches half of the time is new memory

    def forward(self, images: Tensor) -> Outputs:
        """What the network gives: a dictionary by head where it has several."""
        return self.network(self.normalised(images))

    def heads(self, outputs: Outputs) -> tuple[Outputs, list[Tensor]]:
        """What the main heads give, alone where there is one, and what the auxiliary ones give, in training."""
        if not isinstance(outputs, dict):
            return outputs, []
        auxiliary = set(getattr(getattr(self.network, "head", None), "auxiliary_heads", ()))
        main = {name: output for name, output in outputs.items() if name not in auxiliary}
        others = [output for name, output in outputs.items() if name in auxiliary]
        return (next(iter(main.values())) if len(main) == 1 else main), others


def check_finite(outputs: Any) -> None:
    """Raises `UserError` if an output is no finite number."""
    if isinstance(outputs, Tensor):
        if not outputs.isfinite().all():
            wrong = outputs[~outputs.isfinite()]
            raise UserError(
                f"the network's outputs are not finite ({len(wrong):,} of {outputs.numel():,}, such as"
                f" {float(wrong[0]):g}), though its weights are: they are too large"
            )
        return
    for part in outputs.values() if isinstance(outputs, dict) else outputs:
        check_finite(part)
