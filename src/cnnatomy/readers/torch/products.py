"""What products of matrices, vectors and windows cost: functions of torch that are none of our layers."""

from __future__ import annotations

from math import prod

import torch

from cnnatomy.layers.layer import Operations
from cnnatomy.readers.torch.spec import Arguments, CostRule, times


def matrix(first: int = 0) -> CostRule:
    """A matrix product whose left factor is the tensor with this number."""

    def rule(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
        return Operations(mac=out.numel() * tensors[first].shape[-1])

    return rule


def linear(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
    """x W, and the bias if there is one."""
    return Operations(mac=out.numel() * tensors[0].shape[-1], add=out.numel() * (len(tensors) > 2))


def added(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
    """beta * bias + alpha * product (`addmm` and its kin). `addbmm` also sums the products of a batch."""
    first, second = tensors[1:3]
    macs = first.numel() * (second.shape[-1] if second.dim() > 1 else 1)
    n, beta, alpha = out.numel(), given.get("beta", 1), given.get("alpha", 1)
    scaled = sum(factor not in (0, 1) for factor in (beta, alpha))
    return Operations(mac=macs, multiply=scaled * n, add=n * (beta != 0))


def added_outer(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
    """`addr`: each number of the output is one product, and the matrix that is added."""
    n, beta, alpha = out.numel(), given.get("beta", 1), given.get("alpha", 1)
    scaled = sum(factor not in (0, 1) for factor in (beta, alpha))
    return Operations(multiply=n * (1 + scaled), add=n * (beta != 0))


def bilinear(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
    """x1 A x2 for each feature of the output: x1 A first, then the product with x2."""
    weight = tensors[2]
    features, first, second = weight.shape
    rows = out.numel() // features
    return Operations(mac=rows * features * second * (first + 1), add=out.numel() * (len(tensors) > 3))


def conv(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
    """A convolution along any number of axes."""
    weight = tensors[1]
    return Operations(mac=out.numel() * (weight.numel() // weight.shape[0]), add=out.numel() * (len(tensors) > 2))


def conv_transpose(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
    """Each number of the input is multiplied with a whole window."""
    x, weight = tensors[:2]
    return Operations(mac=x.numel() * (weight.numel() // weight.shape[0]), add=out.numel() * (len(tensors) > 2))


def convolution(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
    """What torch makes of every convolution, transposed ones too."""
    return (conv_transpose if given[6] else conv)(given, tensors, out)


def attention(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
    """Softmax of scaled products of queries and keys, times values; every score counts, also those that are masked."""
    query, key = tensors[:2]
    scores = prod(query.shape[:-1]) * key.shape[-2]
    masked = len(tensors) > 3
    return Operations(
        mac=scores * query.shape[-1] + out.numel() * key.shape[-2],  # a mask may be of more heads than the queries
        multiply=scores,
        add=scores * (1 + masked),
        divide=scores,
        exponential=scores,
    )


def distance(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
    """The distances of pairs of vectors: the differences, and the norm of each (`cdist` and `pdist`)."""
    n, power = out.numel(), given.get("p", given.get(len(tensors), 2.0))
    terms = n * tensors[0].shape[-1]
    if power == 2:
        return Operations(multiply=terms, add=2 * terms, exponential=n)
    if power in (0, 1, float("inf")):
        return Operations(add=terms * (1 + (power != float("inf"))), compare=terms * (1 + (power == float("inf"))))
    return Operations(add=2 * terms, compare=terms, exponential=terms + n)


def cross(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
    """Each number is the difference of two products."""
    return times(out.numel(), Operations(multiply=2, add=1))
