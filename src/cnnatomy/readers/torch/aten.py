"""Operators of torch by the names and with the arguments that its schemas give them (`torch.ops.aten`, TorchScript)."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from cnnatomy.readers.torch import rules
from cnnatomy.readers.torch.spec import CallRule, CallSpec


def name_of(func: Any) -> str:
    """The name of an operator without that of its overload."""
    name: str = func.__name__
    return name.partition(".")[0]


def is_operator(func: Any) -> bool:
    """Whether a function is an operator by its schema."""
    return isinstance(func, (torch._ops.OpOverloadPacket, torch._ops.OpOverload))


def like(func: Any) -> Any:
    """The function of torch that does what an operator does, with the same arguments in the same order, if there is."""
    name = name_of(func)
    return next((found for place in (torch._C._nn, torch, torch.Tensor) if (found := getattr(place, name, None))), None)


def _batch_norm(
    input: Any, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float, *rest: Any
) -> CallSpec | None:
    return rules.RULES[F.batch_norm](input, mean, var, weight, bias, training, momentum, eps)


def _layer_norm(
    input: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *rest: Any
) -> CallSpec | None:
    return rules.RULES[F.layer_norm](input, shape, weight, bias, eps)


def _group_norm(
    input: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *rest: Any
) -> CallSpec | None:
    return rules.RULES[F.group_norm](input, groups, weight, bias, eps)


def _convolution(
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    *rest: Any,
) -> CallSpec | None:
    if transposed:
        settings = (stride, padding, output_padding, groups, dilation)
        return rules.RULES[torch.conv_transpose2d](input, weight, bias, *settings)
    return rules.RULES[torch.conv2d](input, weight, bias, stride, padding, dilation, groups)


def _add(name: str) -> CallRule:
    return lambda input, other, alpha=1: rules.RULES[name](input, other, alpha=alpha)


RULES: dict[str, CallRule] = {
    "add": _add("add"),
    "add_": _add("add_"),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    **dict.fromkeys(("_convolution", "convolution"), _convolution),
}
"""By name: rules of those whose arguments stand in another order than those of the function."""
