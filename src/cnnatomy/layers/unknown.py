"""What a reader of other people's networks does not understand: kept, named, and reported as not counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnatomy.errors import UserError
from cnnatomy.layers.layer import GLOBAL, UNKNOWN, Layer, Shape, Window, value
from cnnatomy.layers.memory import INPUT, Memory

if TYPE_CHECKING:
    import torch


@value
class NotCounted(Layer):
    """A computation without a rule of ours: its name, the shape that it gives, and the learned tensors that it reads.

    Parameters and feature maps are known and counted; operations are not, and the totals say so. It may mix all pixels.
    """

    what: str
    shape: Shape
    learned: tuple[tuple[str, Shape], ...] = ()

    kind = UNKNOWN
    stem = "unknown"
    memory = Memory(INPUT)  # an assumption

    @property
    def brief(self) -> str:
        return self.what

    def output_shape(self, *inputs: Shape) -> Shape:
        return self.shape

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return dict(self.learned)

    def window(self, *inputs: Shape) -> Window | None:
        return GLOBAL

    def module(self, *inputs: Shape) -> torch.nn.Module:
        raise UserError(f"{self.what} is not one of our layers, so it cannot be built")
