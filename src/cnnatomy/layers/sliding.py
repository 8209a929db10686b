"""Arithmetic that convolutions and pools share: padding on four sides, and how many windows fit."""

from __future__ import annotations

from typing import Literal

from cnnatomy.errors import UserError, shown
from cnnatomy.layers.layer import SPACE, Layer, Pair, Shape, Sides, Window, pair, value
from cnnatomy.limits import MAX_WINDOW

Padding = int | Pair | Sides | Literal["same", "valid"]
"""One number, (rows, columns), (top, bottom, left, right), `valid` (none), or `same`: ceil(size / stride) remains."""


def check_padding(owner: object, padding: object) -> Padding:
    """The padding in its shortest form, or a UserError.

    Equal pairs become one number and four sides with top = bottom and left = right a pair, so that equal means same.
    """
    if padding in ("same", "valid"):
        return 0 if padding == "valid" else "same"
    numbers = tuple(padding) if isinstance(padding, (tuple, list)) else (padding,)
    if len(numbers) not in (1, 2, 4) or not all(type(n) is int and 0 <= n <= MAX_WINDOW for n in numbers):
        raise UserError(
            f"{type(owner).__name__}: padding must be an integer from 0 to {MAX_WINDOW:,}, a pair, four sides "
            f"(top, bottom, left, right), 'same' or 'valid', got {shown(padding)}"
        )
    if len(numbers) == 4 and numbers[0] == numbers[1] and numbers[2] == numbers[3]:
        numbers = (numbers[0], numbers[2])
    if len(numbers) == 2 and numbers[0] == numbers[1]:
        numbers = numbers[:1]
    return numbers[0] if len(numbers) == 1 else numbers


def sides(padding: Padding, size: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> Sides:
    """(top, bottom, left, right). `same` puts the odd pixel at the bottom and right, as torch and TensorFlow do."""
    if isinstance(padding, int):
        return (padding, padding, padding, padding)
    if isinstance(padding, tuple):
        return (padding[0], padding[0], padding[1], padding[1]) if len(padding) == 2 else padding
    if padding == "valid":
        return (0, 0, 0, 0)
    result: list[int] = []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        result += (total // 2, total - total // 2)
    return (result[0], result[1], result[2], result[3])


def positions(
    size: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1, ceil: bool = False
) -> int:
    """How many windows fit; below 1 where none does.

    With `ceil` the last window, even if it is the only one, may hang over the end, if it starts inside the map or the
    padding before it: the rule of Caffe and torch.
    """
    room = size + before + after - dilation * (kernel - 1) - 1
    if not ceil:
        return room // stride + 1 if room >= 0 else 0
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= size + before else count


def pairs(*sizes: int | Pair) -> tuple[Pair, ...]:
    """Each size as (rows, columns)."""
    return tuple(map(pair, sizes))


@value
class Pool(Layer):
    """A window of `kernel` pixels every `stride` (by default the kernel), rounding down, or up with `ceil`."""

    kernel: int | Pair
    stride: int | Pair | None = None
    padding: int | Pair = 0
    ceil: bool = False

    kind = SPACE
    stem = "pool"

    def __post_init__(self) -> None:
        self._positive(kernel=self.kernel)
        if self.stride is not None:
            self._positive(stride=self.stride)
        self._not_negative(padding=self.padding)
        if any(2 * p > k for p, k in zip(pair(self.padding), pair(self.kernel), strict=True)):
            raise UserError(f"{self!r}: padding must be at most half the kernel")

    @property
    def _stride(self) -> Pair:
        return pair(self.kernel if self.stride is None else self.stride)

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, *size = self._map(*inputs)
        counts = tuple(
            positions(n, k, s, p, p, ceil=self.ceil)
            for n, k, s, p in zip(size, pair(self.kernel), self._stride, pair(self.padding), strict=True)
        )
        if min(counts) < 1:
            self._refuse(inputs, f"a map of at least {self.kernel} pixels", "enlarge the input or pool less often")
        return (channels, *counts)

    def window(self, *inputs: Shape) -> Window | None:
        return Window(pair(self.kernel), self._stride, pair(self.padding))
