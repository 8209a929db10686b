"""What a layer leaves in memory when torch runs it: what its backward pass reads again, and what it needs meanwhile."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Extra(NamedTuple):
    """A tensor beside the inputs and the output.

    `elements` are those of one image, or of the whole batch where `per_image` is False. `size` is the bytes of one
    element, 0 for as many as a feature map's; `cuda_size` the same on a GPU where torch keeps another type there.
    """

    elements: int
    size: int = 0
    per_image: bool = True
    cuda_size: int = 0


class Saved(NamedTuple):
    """What autograd keeps of a layer until its backward pass: which inputs, the output, and tensors of its own.

    Parameters and buffers are kept anyway and not named.
    """

    inputs: tuple[int, ...] = ()
    output: bool = False
    own: tuple[Extra, ...] = ()


NOTHING = Saved()
INPUT = Saved((0,))
INPUTS = Saved((0, 1))
OUTPUT = Saved(output=True)
INTEGER = 8
"""Bytes of an index: torch counts in 64 bits."""


class Memory(NamedTuple):
    """How a layer kind treats memory.

    Attributes:
        saves: what the backward pass needs, where that does not depend on the shapes.
        view: the output is the input's memory, read otherwise.
        in_place: torch can write the output over the input.
        copies: when it does so in training, autograd first copies the input, which the backward pass needs.
        same_gradient: the gradient of an input is the memory of the output's gradient (a sum, a concatenation).
        integers: the output are indices, which have no gradient.
        autocast: in mixed precision, torch computes it in 16 bits ("low"), in 32 ("full"), or as its inputs are ("").
    """

    saves: Saved = NOTHING
    view: bool = False
    in_place: bool = False
    copies: bool = False
    same_gradient: bool = False
    integers: bool = False
    autocast: Literal["", "low", "full"] = ""


class Scratch(NamedTuple):
    """Tensors that a layer makes and releases at once: forwards without autograd, and backwards."""

    forward: tuple[Extra, ...] = ()
    backward: tuple[Extra, ...] = ()


def total(extras: tuple[Extra, ...], batch: int, each: int, cuda: bool = False) -> int:
    """Bytes of these tensors for a batch, with `each` bytes to an element of a feature map."""
    return sum(size_of(extra, batch, each, cuda) for extra in extras)


def size_of(extra: Extra, batch: int, each: int, cuda: bool = False) -> int:
    """Bytes of one tensor."""
    size = (cuda and extra.cuda_size) or extra.size or each
    return extra.elements * size * (batch if extra.per_image else 1)
