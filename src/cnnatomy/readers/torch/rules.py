"""Which call of torch is which layer of ours. A rule that returns None leaves the call to `Tracer.call`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from cnnatomy import layers as ours
from cnnatomy.layers import Conv, DepthwiseConv, Each, FullyConnected, Layer
from cnnatomy.layers.layer import Shape
from cnnatomy.readers.torch.batch import place_of
from cnnatomy.readers.torch.spec import CallRule, CallSpec, batched, one_image, size, weights
from cnnatomy.readers.torch.tensors import map_of


def _conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> CallSpec | None:
    fmap = map_of(input)
    if fmap is None or input.dim() != 4 or not weights(weight, bias):
        return None
    if weight.shape[1] * groups != input.shape[1]:
        return None  # torch says what is wrong
    if isinstance(padding, list):
        padding = tuple(padding)
    stride, dilation = (tuple(x) if isinstance(x, list) else x for x in (stride, dilation))
    layer, shape = _convolution(fmap.shape, weight.shape, bias is not None, stride, padding, dilation, groups)
    return CallSpec(layer, (fmap,), (("weight", weight), ("bias", bias)), input, False, shape)


@functools.lru_cache(4096)
def _convolution(
    shape: Shape, weight: Shape, bias: bool, stride: Any, padding: Any, dilation: Any, groups: int
) -> tuple[Layer, Shape]:
    """The layer and the shape that it gives; a map of four axes is a row of maps."""
    channels, _, *kernel = weight
    got = shape[-3]
    sides: Any = padding if isinstance(padding, str) else size(padding)
    layer: Layer
    if groups == got > 1:
        layer = DepthwiseConv(size(kernel), size(stride), sides, size(dilation), channels // got, bias)
    else:
        layer = Conv(channels, size(kernel), size(stride), sides, size(dilation), groups, bias)
    if len(shape) == 4:
        layer = Each(layer)
    return layer, layer.output_shape(shape)


def _conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> CallSpec | None:
    fmap = batched(input, 4)
    if fmap is None or not weights(weight, bias) or weight.shape[0] != fmap.shape[0]:
        return None
    sizes = (size(weight.shape[2:]), size(stride), size(padding), size(output_padding), size(dilation))
    layer = ours.TransposedConv(weight.shape[1] * groups, *sizes, groups, bias is not None)
    return CallSpec(layer, (fmap,), (("weight", weight), ("bias", bias)), input)


def _linear(input: Any, weight: Any, bias: Any = None) -> CallSpec | None:
    fmap = one_image(input)
    if fmap is None or not weights(weight, bias) or weight.dim() != 2 or weight.shape[1] != fmap.shape[-1]:
        return None
    layer: Layer = FullyConnected(weight.shape[0], bias is not None)
    for _ in fmap.shape[2:]:
        layer = Each(layer)
    return CallSpec(layer, (fmap,), (("weight", weight), ("bias", bias)), input)


def _batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> CallSpec | None:
    fmap = batched(input)
    if fmap is None or len(fmap.shape) not in (1, 3) or running_mean is None or (weight is None) != (bias is None):
        return None
    layer = ours.BatchNorm(eps, momentum, weight is not None)
    tensors = (("weight", weight), ("bias", bias), ("running_mean", running_mean), ("running_var", running_var))
    return CallSpec(layer, (fmap,), tensors, input)


def _group_norm(
    input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> CallSpec | None:
    fmap = batched(input)
    if fmap is None or weight is None or bias is None:
        return None
    return CallSpec(ours.GroupNorm(num_groups, eps), (fmap,), (("weight", weight), ("bias", bias)), input)


def _layer_norm(
    input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> CallSpec | None:
    fmap = one_image(input)
    if fmap is None or fmap.shape[-len(normalized_shape) :] != tuple(normalized_shape):
        return None
    layer = ours.LayerNorm(len(normalized_shape), eps, weight is not None, bias is not None or weight is None)
    return CallSpec(layer, (fmap,), (("weight", weight), ("bias", bias)), input)


def _pool(layer: Any) -> CallRule:
    def pool(
        input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, *more: Any, **named: Any
    ) -> CallSpec | None:
        fmap = batched(input, 4)
        if fmap is None:
            return None
        sizes = (size(kernel_size), size(stride or kernel_size), size(padding))
        made = layer(*sizes, *more, **named)
        return made and CallSpec(made, (fmap,), (), input)

    return pool


def _max_pool(
    kernel: Any, stride: Any, padding: Any, dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False
) -> Layer | None:
    if size(dilation) != 1 or return_indices:
        return None
    return ours.MaxPool(kernel, stride, padding, ceil_mode)


def _avg_pool(
    kernel: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Layer | None:
    return None if divisor_override else ours.AvgPool(kernel, stride, padding, ceil_mode, count_include_pad)


def _adaptive(input: Any, output_size: Any, layer: Any) -> CallSpec | None:
    fmap = batched(input, 4)
    if fmap is None:
        return None
    wanted = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    wanted = tuple(n if want is None else want for n, want in zip(fmap.shape[1:], wanted, strict=True))
    if wanted == (1, 1) and layer is ours.AvgPool:
        return CallSpec(ours.GlobalAvgPool(), (fmap,), (), input)
    if any(n % want for n, want in zip(fmap.shape[1:], wanted, strict=True)):
        return None
    kernel = size(tuple(n // want for n, want in zip(fmap.shape[1:], wanted, strict=True)))
    return CallSpec(layer(kernel), (fmap,), (), input)


def _adaptive_avg_pool2d(input: Any, output_size: Any) -> CallSpec | None:
    return _adaptive(input, output_size, ours.AvgPool)


def _adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> CallSpec | None:
    return None if return_indices else _adaptive(input, output_size, ours.MaxPool)


def _activation(layer: Any, *names: str) -> Callable[..., CallSpec | None]:
    """A rule for one input and the fields of the layer, by these names in torch."""

    def activation(input: Any, *given: Any, inplace: bool = False, **named: Any) -> CallSpec | None:
        fmap = one_image(input)
        if fmap is None:
            return None
        if len(given) > len(names) and isinstance(given[-1], bool):
            given, inplace = given[:-1], given[-1]
        values = dict(zip(names, given, strict=False)) | {k: v for k, v in named.items() if k in names}
        if any(isinstance(value, torch.Tensor) for value in values.values()):
            return None
        return CallSpec(layer(*(values[name] for name in names if name in values)), (fmap,), (), input, inplace)

    return activation


def _in_place(found: CallRule) -> CallRule:
    def write(*args: Any, **kwargs: Any) -> CallSpec | None:
        spec = found(*args, **kwargs)
        return spec and spec._replace(inplace=True)

    return write


_ACTIVATIONS: dict[str, tuple[Any, ...]] = {
    "relu": (ours.ReLU,),
    "relu6": (ours.ReLU6,),
    "leaky_relu": (ours.LeakyReLU, "negative_slope"),
    "elu": (ours.ELU, "alpha"),
    "selu": (ours.SELU,),
    "sigmoid": (ours.Sigmoid,),
    "tanh": (ours.Tanh,),
    "silu": (ours.Swish,),
    "mish": (ours.Mish,),
    "gelu": (ours.GELU, "approximate"),
    "hardswish": (ours.Hardswish,),
    "hardsigmoid": (ours.Hardsigmoid,),
    "hardtanh": (ours.Hardtanh, "min_val", "max_val"),
    "softplus": (ours.Softplus, "beta"),
    "logsigmoid": (ours.LogSigmoid,),
    "softsign": (ours.Softsign,),
}


def _prelu(input: Any, weight: Any) -> CallSpec | None:
    fmap = batched(input)
    if fmap is None or not weights(weight) or tuple(weight.shape) != fmap.shape[:1]:
        return None
    return CallSpec(ours.PReLU(), (fmap,), (("weight", weight),), input)


def _softmax(input: Any, dim: Any = None, *rest: Any, **named: Any) -> CallSpec | None:
    fmap = one_image(input)
    if fmap is None or not isinstance(dim, int):
        return None
    axis, place = dim % input.dim(), place_of(input)
    return None if axis == place else CallSpec(ours.Softmax(axis - (axis > place)), (fmap,), (), input)


def _dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> CallSpec | None:
    fmap = one_image(input)
    if fmap is None:
        return None
    rate = p if training or p < 1 else 0.0  # in evaluation too, so that what is built from it can be trained
    return CallSpec(ours.Dropout(rate), (fmap,), (), input, inplace)


def _local_response_norm(
    input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> CallSpec | None:
    fmap = batched(input, 4)
    return CallSpec(ours.LocalResponseNorm(size, alpha, beta, k), (fmap,), (), input) if fmap else None


def _per_channel(layer: Layer, name: str, x: Any, other: Any) -> CallSpec | None:
    """A learned number for each channel of a map or each feature of a vector."""
    fmap = batched(x)
    if fmap is None or not isinstance(other, torch.nn.Parameter):
        return None
    shape = tuple(other.shape)
    padded = (1,) * (x.dim() - len(shape)) + shape
    if padded != (1, fmap.shape[0]) + (1,) * (len(fmap.shape) - 1):
        return None
    return CallSpec(layer, (fmap,), ((name, other),), x)


def _add(x: Any, other: Any, *, alpha: float = 1) -> CallSpec | None:
    a, b = one_image(x), one_image(other)
    if alpha == 1 and a is not None and b is not None and a.shape == b.shape and x.shape == other.shape:
        return CallSpec(ours.Add(), (a, b), (), x)
    if a is None and b is not None:
        x, other = other, x
    return _per_channel(ours.Bias(), "bias", x, other) if alpha == 1 else None


def _mul(x: Any, other: Any) -> CallSpec | None:
    a, b = batched(x), batched(other)
    if a is not None and b is not None:
        return CallSpec(ours.Multiply(), (a, b), (), x) if len(a.shape) == len(b.shape) else None
    if a is None:
        x, other, a = other, x, b
    if a is not None and isinstance(other, (int, float)) and not isinstance(other, bool):
        return CallSpec(ours.Constant(float(other)), (a,), (), x)
    return _per_channel(ours.Scale(), "weight", x, other)


def _maximum(x: Any, other: Any) -> CallSpec | None:
    a, b = batched(x), batched(other)
    return CallSpec(ours.Maximum(), (a, b), (), x) if a and b and a.shape == b.shape else None


def _cat(tensors: Any, dim: int = 0, **named: Any) -> CallSpec | None:
    maps = [batched(x) for x in tensors]
    if not maps or any(x is None for x in maps) or not isinstance(dim, int) or named:
        return None
    axis = dim % tensors[0].dim() - 1
    return CallSpec(ours.Concat(axis), tuple(maps), (), tensors[0]) if 0 <= axis <= 2 else None  # type: ignore[arg-type]


def _permute(input: Any, *order: Any) -> CallSpec | None:
    fmap = batched(input)
    if fmap is None:
        return None
    axes = tuple(order[0]) if len(order) == 1 and isinstance(order[0], (tuple, list)) else order
    axes = tuple(axis % input.dim() for axis in axes)
    if len(axes) == 2 and input.dim() > 2:  # transpose
        swap = {axes[0]: axes[1], axes[1]: axes[0]}
        axes = tuple(swap.get(axis, axis) for axis in range(input.dim()))
    if axes[0] != 0 or len(axes) != input.dim():
        return None
    return CallSpec(ours.Permute(tuple(axis - 1 for axis in axes[1:])), (fmap,), (), input)


def _activations() -> dict[Any, CallRule]:
    """Each activation by its name, and by that of the function that writes over its input."""
    found: dict[Any, CallRule] = {}
    for name, (layer, *fields) in _ACTIVATIONS.items():
        found[name] = _activation(layer, *fields)
        found[f"{name}_"] = _in_place(found[name])
    return found


def _arithmetic(name: str, rule: CallRule) -> dict[Any, CallRule]:
    """`add`, and what Python makes of `+` and `+=`."""
    writes = _in_place(rule)
    return dict.fromkeys((name, f"__{name}__", f"__r{name}__"), rule) | dict.fromkeys(
        (f"{name}_", f"__i{name}__"), writes
    )


RULES: dict[Any, CallRule] = {
    **dict.fromkeys((torch.max_pool2d, F.max_pool2d), _pool(_max_pool)),
    **dict.fromkeys((F.avg_pool2d, torch._C._nn.avg_pool2d), _pool(_avg_pool)),
    **_activations(),
    **_arithmetic("add", _add),
    **_arithmetic("mul", _mul),
    torch.conv2d: _conv2d,
    torch.conv_transpose2d: _conv_transpose2d,
    F.linear: _linear,
    F.batch_norm: _batch_norm,
    F.group_norm: _group_norm,
    F.layer_norm: _layer_norm,
    **dict.fromkeys((F.adaptive_avg_pool2d, torch._C._nn.adaptive_avg_pool2d), _adaptive_avg_pool2d),
    F.adaptive_max_pool2d: _adaptive_max_pool2d,
    **dict.fromkeys((F.prelu, torch.prelu), _prelu),
    "softmax": _softmax,
    **dict.fromkeys(("dropout", "dropout2d", "feature_dropout"), _dropout),
    F.local_response_norm: _local_response_norm,
    "maximum": _maximum,
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    **dict.fromkeys(("permute", "transpose", "swapaxes"), _permute),
}
"""Function, or name of functions with one signature -> rule."""
