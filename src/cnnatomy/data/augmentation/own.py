"""A transform of one's own, after all others."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from cnnatomy.errors import UserError, own_code

Transform = Callable[[Tensor], Tensor]
"""Float images of 0 .. 1, `(images, channels, rows, columns)`, to as many of the same shape; their targets stay."""


def guarded(transform: Callable[..., object], name: str) -> Transform:
    """A transform of one's own whose mistakes are told as a user's: what it raises, and what it gives but images.

    Raises (the transform, when it is called):
        UserError: with its `name`.
    """

    def checked(images: Tensor) -> Tensor:
        with own_code(f"the transform {name}(images)"):
            found = transform(images)
        if not isinstance(found, Tensor) or found.shape != images.shape:
            given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UserError(f"the transform {name} gives {given}, expected images of the same {tuple(images.shape)}")
        if not found.is_floating_point():
            raise UserError(f"the transform {name} gives {found.dtype}, expected numbers of 0 to 1: float32")
        return found.detach().to(images)

    return checked
