"""How a network is run, as far as its memory depends on it."""

from __future__ import annotations

import dataclasses
from typing import Any

from cnnatomy.errors import UserError, nearest

DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of an element."""

STATES = {"sgd": 0, "momentum": 1, "adam": 2}
"""Tensors that an optimiser keeps for each parameter: nothing, the velocity, or two moments."""

GRANULE = {"cpu": 1, "cuda": 512}
"""What torch's allocator rounds a size up to."""

_CHOICES: dict[str, Any] = {"dtype": DTYPES, "optimizer": STATES, "device": GRANULE}


@dataclasses.dataclass(frozen=True)
class Setting:
    """How a network runs.

    Attributes:
        batch: images at once.
        dtype: of feature maps; at inference of the weights too, in training by autocast.
        in_place: activations write over their input where that is safe.
        optimizer: "sgd", "momentum" or "adam".
        device: "cpu" or "cuda", which keep dropout masks in different types and round sizes differently.
        checkpoint: the depth of the tree at which blocks are checkpointed (2 is `body.stage1`), or None: in training
            such a block keeps its input alone, and is computed once more for the backward pass.
    """

    batch: int = 1
    dtype: str = "float32"
    in_place: bool = False
    optimizer: str = "momentum"
    device: str = "cpu"
    checkpoint: int | None = None

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            got = getattr(self, name)
            if got not in choices:
                hint = nearest(str(got), list(choices))
                raise UserError(f"{name} is one of {', '.join(choices)}, got {got!r}.{hint}")
        if type(self.batch) is not int or self.batch < 1:
            raise UserError(f"batch must be a positive integer, got {self.batch!r}")
        if self.checkpoint is not None and (type(self.checkpoint) is not int or self.checkpoint < 1):
            raise UserError(f"checkpoint is a depth of the tree, at least 1, got {self.checkpoint!r}")

    @property
    def map_bytes(self) -> int:
        """Bytes of one element of a feature map."""
        return DTYPES[self.dtype]

    @property
    def cuda(self) -> bool:
        """Whether it runs on a GPU."""
        return self.device == "cuda"

    def parameter_bytes(self, training: bool) -> int:
        """Bytes of one number of a parameter: training keeps float32."""
        return 4 if training else self.map_bytes

    def replace(self, **changes: Any) -> Setting:
        """This setting with some fields changed."""
        return dataclasses.replace(self, **changes)
