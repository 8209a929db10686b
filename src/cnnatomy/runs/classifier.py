"""A network that classifies images as they are stored: with the normalisation of its input before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cnnatomy.data import Normalisation
from cnnatomy.errors import UserError


class Classifier(nn.Module):
    """Images, `(images, channels, rows, columns)` of 0 .. 255, to logits: the network after its normalisation."""

    mean: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, normalisation: Normalisation) -> None:
        super().__init__()
        self.network = network
        mean, std = torch.tensor(normalisation.mean), torch.tensor(normalisation.std)
        self.register_buffer("mean", 255 * mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("scale", 1 / (255 * std.view(1, -1, 1, 1)), persistent=False)

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """The logits, `(images, classes)`; a dictionary by head where the network has auxiliary heads in training."""
        outputs: Tensor | dict[str, Tensor] = self.network((images.float() - self.mean).mul_(self.scale))
        return outputs

    def heads(self, outputs: Tensor | dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The main head's logits, and those of the auxiliary ones; raises `UserError` where none is the main one."""
        if isinstance(outputs, Tensor):
            return outputs.flatten(1), []
        auxiliary = set(getattr(getattr(self.network, "head", None), "auxiliary_heads", ())) or set(outputs) - {"main"}
        main = [name for name in outputs if name not in auxiliary]
        if len(main) != 1:
            raise UserError(f"the network has several heads ({', '.join(outputs)}); training needs one main head")
        return outputs[main[0]].flatten(1), [logits.flatten(1) for name, logits in outputs.items() if name in auxiliary]

    def logits(self, images: Tensor) -> Tensor:
        """The main head's logits, `(images, classes)`, of images that may be on another device.

        Raises:
            UserError: if one is no finite number.
        """
        logits, _ = self.heads(self(images.to(self.mean.device)))
        if not logits.isfinite().all():
            wrong = logits[~logits.isfinite()]
            raise UserError(
                f"the network's outputs are not finite ({len(wrong):,} of {logits.numel():,} logits, such as"
                f" {float(wrong[0]):g}), though its weights are: they are too large"
            )
        return logits
