"""What functions of torch that are none of our layers cost, by name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cnnatomy.layers.layer import (
    CHANNEL_AND_SPACE,
    ELEMENT,
    KINDS,
    NO_OPERATIONS,
    REARRANGEMENT,
    SPACE,
    TIME,
    TRAINING,
    Operations,
)
from cnnatomy.readers.torch import products, recurrent
from cnnatomy.readers.torch.spec import Arguments, CostRule, FunctionCost, times, total
from cnnatomy.readers.torch.tensors import tensors_in


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


ROOT = Operations(exponential=1)
"""A square root, as every transcendental function."""


def _each(**counts: int) -> CostRule:
    """So much for each element of the output."""
    each = Operations(**counts)
    return lambda given, tensors, out: times(out.numel(), each)


def _over(then: Operations = NO_OPERATIONS, **counts: int) -> CostRule:
    """So much for each element of the (first) input, as reductions do, and `then` so much for each of the output."""
    each = Operations(**counts)
    return lambda given, tensors, out: total(times(tensors[0].numel(), each), times(out.numel(), then))


def _pool(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
    """An adaptive pool: the windows together cover the input (at least once)."""
    return Operations(add=max(tensors[0].numel(), out.numel()), divide=out.numel())


def _lp_pool(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
    """The root of the sum of powers in each window: squares are products, other powers exponentials."""
    n, power, kernel = tensors[0].numel(), given[1], given[2]
    window = kernel**2 if isinstance(kernel, int) else prod(kernel)
    powers = Operations(multiply=n) if power == 2 else Operations(exponential=n)
    return total(powers, Operations(add=window * out.numel(), exponential=out.numel()))


def _norm(parts: Callable[[Arguments, torch.Tensor], int]) -> CostRule:
    """As `GroupNorm` is counted; `parts` is how many parts are normalised, each by itself."""

    def rule(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
        n, groups = out.numel(), parts(given, out)
        return Operations(multiply=2 * n, add=4 * n + groups, divide=n + 2 * groups, exponential=groups)

    return rule


def _vectors(given: Arguments, x: torch.Tensor) -> int:
    return x.numel() // prod(given.get(1) or given["normalized_shape"])


def _weight_norm(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
    """v times g / |v|, which has one norm for each number of g."""
    n, norms = out.numel(), tensors[1].numel()
    return Operations(multiply=2 * n, add=n, divide=norms, exponential=norms)


def _embedding_bag(given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> Operations:
    """The sum, mean or largest of the vectors of each bag."""
    table, tokens = tensors[:2]
    n, mode = tokens.numel() * table.shape[1], given.get(4, 0)
    return Operations(add=n * (mode < 2), divide=out.numel() * (mode == 1), compare=n * (mode == 2))


def _table(kind: str, rule: CostRule, names: str) -> dict[str, tuple[str, Any]]:
    return dict.fromkeys(names.split(), (kind, rule))


COSTS: dict[str, tuple[str, Any]] = {
    **_table(ELEMENT, _each(add=1), "add sub rsub neg cumsum"),
    **_table(ELEMENT, _each(multiply=1), "mul square"),
    **_table(ELEMENT, _each(divide=1), "div true_divide reciprocal floor_divide remainder fmod"),
    **_table(ELEMENT, _each(multiply=1, add=1), "addcmul lerp"),
    **_table(ELEMENT, _each(exponential=1), "exp log log2 exp2 log1p expm1 sqrt pow sin cos erf atan2 tan atan"),
    **_table(ELEMENT, _each(exponential=1, divide=1), "rsqrt"),
    **_table(ELEMENT, _each(add=1, divide=1, exponential=1), "sigmoid silu"),
    **_table(ELEMENT, _each(add=2, divide=1, exponential=1), "tanh"),
    **_table(ELEMENT, _each(multiply=3, add=1, exponential=1), "gelu"),
    **_table(ELEMENT, _each(compare=1), "bool relu abs sign maximum minimum eq ne lt le gt ge where masked_fill"),
    **_table(
        ELEMENT, _each(compare=1), "logical_not logical_and logical_or bitwise_not bitwise_and bitwise_or floor ceil"
    ),
    **_table(
        ELEMENT,
        _each(compare=1),
        "round isnan isinf heaviside bernoulli leaky_relu threshold prelu rrelu trunc",
    ),
    **_table(ELEMENT, _each(compare=2), "relu6 hardtanh clamp clip clamp_min clamp_max nan_to_num hardshrink"),
    **_table(ELEMENT, _each(compare=2, add=1), "softshrink"),
    **_table(ELEMENT, _each(add=1, divide=1), "addcdiv"),
    **_table(ELEMENT, _each(multiply=2, add=1, exponential=1), "hypot"),
    **_table(ELEMENT, _each(compare=2, add=1, divide=1), "hardsigmoid hardswish"),
    **_table(ELEMENT, _each(add=1, divide=1, exponential=1), "softmax _safe_softmax"),
    **_table(ELEMENT, _each(add=2, divide=1, exponential=2), "log_softmax"),
    **_table(ELEMENT, _each(compare=1, multiply=1, add=1, exponential=1), "elu celu selu"),
    **_table(ELEMENT, _each(add=1, exponential=2), "softplus logsigmoid"),
    **_table(ELEMENT, _each(multiply=1, add=1, divide=1, exponential=1), "glu"),
    **_table(SPACE, _over(add=1), "sum"),
    **_table(SPACE, _over(multiply=1, add=2), "mse_loss"),
    **_table(SPACE, _over(multiply=1), "prod cumprod"),
    **_table(SPACE, _over(ROOT, add=1, exponential=1), "logsumexp logcumsumexp"),
    **_table(SPACE, lambda given, tensors, out: Operations(add=min(tensors[0].shape)), "trace"),
    **_table(SPACE, _over(Operations(divide=1), add=1), "mean adaptive_avg_pool1d adaptive_avg_pool3d"),
    **_table(SPACE, _pool, "adaptive_avg_pool2d avg_pool1d avg_pool2d avg_pool3d"),
    **_table(SPACE, _lp_pool, "lp_pool2d"),
    **_table(
        SPACE,
        _over(compare=1),
        "amax amin max min median kthvalue argmax argmin any all topk sort argsort max_pool1d max_pool2d",
    ),
    **_table(SPACE, _over(compare=1), "max_pool3d adaptive_max_pool2d adaptive_max_pool1d max_pool2d_with_indices"),
    **_table(SPACE, _over(multiply=1, add=2), "var var_mean"),
    **_table(SPACE, _over(ROOT, multiply=1, add=2), "std std_mean"),
    **_table(SPACE, _over(ROOT, multiply=1, add=1), "norm vector_norm linalg_vector_norm linalg_norm"),
    **_table(SPACE, _each(multiply=4, add=3), "grid_sample grid_sampler upsample_bilinear2d upsample_linear1d"),
    **_table(SPACE, _each(multiply=8, add=7), "upsample_trilinear3d _upsample_bilinear2d_aa"),
    **_table(SPACE, _each(multiply=16, add=15), "upsample_bicubic2d _upsample_bicubic2d_aa"),
    **_table(
        SPACE,
        _each(),
        "roll upsample_nearest1d upsample_nearest2d upsample_nearest3d"
        " _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d",
    ),
    **_table(SPACE, _embedding_bag, "_embedding_bag _embedding_bag_forward_only"),
    **_table(TRAINING, _each(multiply=1, add=1), "batch_norm"),
    **_table(TRAINING, _weight_norm, "_weight_norm"),
    **_table(TRAINING, _norm(_vectors), "layer_norm rms_norm native_layer_norm"),
    **_table(TRAINING, _norm(lambda given, x: x.shape[0] * (given.get(1) or given["num_groups"])), "group_norm"),
    **_table(TRAINING, _norm(lambda given, x: x.shape[0] * (given.get(6) or given["group"])), "native_group_norm"),
    **_table(TRAINING, _norm(lambda given, x: x.shape[0] * x.shape[1]), "instance_norm"),
    **_table(CHANNEL_AND_SPACE, products.matrix(), "matmul bmm mm mv dot vdot inner affine_grid_generator"),
    **_table(CHANNEL_AND_SPACE, products.linear, "linear"),
    **_table(CHANNEL_AND_SPACE, products.added, "addmm baddbmm addmv addbmm"),
    **_table(ELEMENT, products.added_outer, "addr"),
    **_table(CHANNEL_AND_SPACE, products.bilinear, "bilinear _trilinear"),
    **_table(CHANNEL_AND_SPACE, products.distance, "cdist pdist"),
    **_table(CHANNEL_AND_SPACE, products.cross, "cross linalg_cross"),
    **_table(CHANNEL_AND_SPACE, products.conv, "conv1d conv2d conv3d _conv_forward"),
    **_table(CHANNEL_AND_SPACE, products.conv_transpose, "conv_transpose1d conv_transpose2d conv_transpose3d"),
    **_table(CHANNEL_AND_SPACE, products.convolution, "convolution"),
    **_table(CHANNEL_AND_SPACE, products.attention, "scaled_dot_product_attention"),
    **_table(TIME, recurrent.layers("lstm"), "lstm"),
    **_table(TIME, recurrent.layers("gru"), "gru"),
    **_table(TIME, recurrent.layers("rnn_tanh"), "rnn_tanh"),
    **_table(TIME, recurrent.layers("rnn_relu"), "rnn_relu"),
    **_table(TIME, recurrent.cell("lstm"), "lstm_cell"),
    **_table(TIME, recurrent.cell("gru"), "gru_cell"),
    **_table(TIME, recurrent.cell("rnn_tanh"), "rnn_tanh_cell"),
    **_table(TIME, recurrent.cell("rnn_relu"), "rnn_relu_cell"),
    **_table(
        REARRANGEMENT,
        _each(),
        "view reshape flatten unflatten permute transpose T mT H mH t movedim moveaxis swapaxes swapdims squeeze"
        " unsqueeze expand expand_as broadcast_to repeat repeat_interleave tile cat concat concatenate stack hstack"
        " vstack chunk split split_with_sizes tensor_split unbind narrow select __getitem__ __setitem__ index_select"
        " gather scatter scatter_add take_along_dim flip pad constant_pad_nd zero fill fill_diagonal copy embedding"
        " unfold fold im2col col2im diagonal tril triu pixel_shuffle pixel_unshuffle channel_shuffle one_hot view_as"
        " native_channel_shuffle reshape_as zeros_like ones_like empty_like full_like rand_like randn_like new_zeros"
        " new_ones new_empty new_full new_tensor uniform normal meshgrid as_strided index_put masked_scatter"
        " view_as_real view_as_complex real imag rot90 unsafe_chunk unsafe_split unsafe_view reshape_alias"
        " broadcast_tensors _pad_packed_sequence max_unpool1d max_unpool2d max_unpool3d"
        " slice empty zeros ones full arange scalar_tensor empty_strided index_fill index_add index_copy block_diag",
    ),
    **_table(
        TRAINING, _each(), "dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout"
    ),
}

FREE = words(
    "contiguous to to_copy detach clone float half bfloat16 double int long short byte char type cpu cuda data"
    " requires_grad alias lift_fresh detach_ requires_grad_ type_as positive as_tensor asarray tensor"
)
"""What changes neither shape nor number: the feature map stays the same one."""

VIEWS = words(
    "view reshape flatten unflatten permute transpose T mT t squeeze unsqueeze expand chunk split split_with_sizes"
    " unbind"
    " narrow select __getitem__ detach data view_as swapaxes swapdims movedim diagonal"
)
"""What shares its numbers with its input, so that a change in place changes both."""

READS_VALUES = words(
    "item __bool__ __int__ __float__ __index__ __complex__ tolist numpy __array__ nonzero equal allclose is_nonzero"
    " unique masked_select __contains__ isclose bincount"
)

SIZED_BY_VALUES = words("nonzero argwhere unique unique_consecutive unique_dim masked_select nms")
"""What gives more or fewer elements by the values of its input."""

_OPERATORS = {"truediv": "div", "floordiv": "floor_divide", "mod": "remainder", "invert": "bitwise_not"}
_OPERATORS |= {"and": "bitwise_and", "or": "bitwise_or", "_pow_by_scalar": "pow"}
_REFLECTED = words("add sub mul truediv pow matmul floordiv div mod and or")


@functools.lru_cache(1024)
def base_name(func: Any) -> tuple[str, bool]:
    """The name without operator underscores, and whether it works in place: `__iadd__` is (add, True)."""
    name: str = func.__name__.partition(".")[0]  # of an operator without its overload
    if name == "__get__":
        return func.__self__.__name__, False
    if name in ("__set__", "__setitem__"):
        return name, True
    if not name.startswith("__"):
        return (name[:-1], True) if name.endswith("_") else (name, False)
    core, inplace = name.strip("_"), False
    if core[0] in "ir" and core[1:] in _REFLECTED:
        core, inplace = core[1:], core[0] == "i"
    known = _OPERATORS.get(core, core)
    return (known if known in COSTS or known in _OPERATORS.values() else name), inplace


def cost_of(name: str, given: Arguments, tensors: list[torch.Tensor], out: torch.Tensor) -> FunctionCost | None:
    """What a call costs; None where nobody knows. `tensors` are those among its arguments, in order."""
    if name not in COSTS:
        return None
    kind, rule = COSTS[name]
    return FunctionCost(rule(given, tensors, out), kind)


class Parts(TorchDispatchMode):
    """Sees what torch makes of a function that is not in the table, such as the products and sums of an `einsum`."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.costs: list[FunctionCost | None] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if isinstance(func, torch._ops.OpOverload):
            name = func._schema.name.partition("::")[2]
            name = name if name in COSTS or name in FREE else name.strip("_")
            if name not in FREE:
                given = {**dict(enumerate(args)), **kwargs}
                out = next(tensors_in(result), None)
                self.costs.append(None if out is None else cost_of(name, given, [*tensors_in((args, kwargs))], out))
        else:
            self.costs.append(None)
        return result

    def cost(self) -> FunctionCost | None:
        """That of all parts together, as the kind that mixes most; None where one is not known, or none was seen."""
        known = [cost for cost in self.costs if cost is not None]
        if len(known) != len(self.costs) or not known:
            return None
        return FunctionCost(total(*(cost.costs for cost in known)), min((cost.kind for cost in known), key=KINDS.index))


def _linear_output(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor | None:
    if weight.dim() != 2 or x.shape[-1:] != weight.shape[1:] or (bias is not None and bias.shape != weight.shape[:1]):
        return None
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


def _attention_output(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: Any = None, *rest: Any, **named: Any
) -> torch.Tensor | None:
    fits = query.shape[:-2] == key.shape[:-2] == value.shape[:-2] and query.shape[-1] == key.shape[-1]
    if attn_mask is not None or not fits or key.shape[-2] != value.shape[-2]:
        return None
    return query.new_empty((*query.shape[:-1], value.shape[-1]))


OUTPUTS: dict[str, Callable[..., torch.Tensor | None]] = {
    "linear": _linear_output,
    "scaled_dot_product_attention": _attention_output,
}
"""Functions for whose shapes torch's meta kernels take long: what they return, or None where torch shall say it."""
