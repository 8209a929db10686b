"""How modules call each other while one is read: torch's own become layers at once, by their attributes.

Every part has a call of ours in the meantime, where torch keeps that of a compiled module. A part that nobody hooked
runs its forward with nothing around it. One whose class is in `MODULES`, and that is as torch made it, does not even
run: the rule for the function that it would call gives the layer. Whatever else there is (hooks, compiled parts, other
threads, modules that are no part) is called as ever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import get_ident
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.module import (
    _global_backward_hooks,
    _global_backward_pre_hooks,
    _global_forward_hooks,
    _global_forward_pre_hooks,
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from cnnatomy.layers.layer import Layer, Shape
from cnnatomy.readers.torch import batch
from cnnatomy.readers.torch.handlers import RULES
from cnnatomy.readers.torch.scopes import Scopes
from cnnatomy.readers.torch.spec import CallRule, CallSpec
from cnnatomy.readers.torch.tensors import map_of
from cnnatomy.readers.torch.tracer import STORED, Tracer

Given = tuple[tuple[torch.Tensor | None, ...], tuple[Any, ...]]
"""What a module would give to its function after the input: tensors and settings."""

CALL = "_compiled_call_impl"
"""What `nn.Module.__call__` calls in the place of a module's forward and hooks, if it is not None."""


@contextlib.contextmanager
def noted_calls(tracer: Tracer, scopes: Scopes) -> Iterator[None]:
    """Tells the scopes which modules run, and makes layers of those that are known; undone at the end."""
    begin = register_module_forward_pre_hook(scopes.enter)
    end = register_module_forward_hook(scopes.leave, always_call=True)
    ours: list[dict[str, Any]] = []
    try:
        if not tracer.for_real and not torch._C._get_tracing_state():
            call = _call(tracer, scopes)
            for part in scopes.names:
                if part._compiled_call_impl is None and type(part)._call_impl is _CALL_IMPL:
                    own = part.__dict__
                    if "_forward_hooks" not in own:
                        continue  # of TorchScript
                    own[CALL] = MethodType(call, part)
                    ours.append(own)
        yield
    finally:
        for own in ours:
            del own[CALL]
        begin.remove()
        end.remove()


_CALL_IMPL = nn.Module._call_impl


def _call(tracer: Tracer, scopes: Scopes) -> Callable[..., Any]:
    """What is called in the place of a part."""
    known = {kind: about for kind, about in MODULES.items() if kind.forward is about.forward}
    thread = get_ident()

    def call(module: Any, /, *args: Any, **kwargs: Any) -> Any:
        own = module.__dict__
        if (
            get_ident() != thread
            or own["_forward_hooks"]
            or own["_forward_pre_hooks"]
            or own["_backward_hooks"]
            or own["_backward_pre_hooks"]
            or len(_global_forward_hooks) > 1  # one is ours
            or len(_global_forward_pre_hooks) > 1
            or _global_backward_hooks
            or _global_backward_pre_hooks
        ):
            return module._call_impl(*args, **kwargs)
        about = known.get(type(module))
        if about is not None and len(args) == 1 and not kwargs and "forward" not in own and not own["_modules"]:
            output = args[0] if about.given is _nothing else _made(tracer, scopes, about, module, args[0])
            if output is not None:
                return output
        scopes.begin(module)
        try:
            result = module.forward(*args, **kwargs)
        except BaseException:
            scopes.fail(module)
            raise
        scopes.end(module)
        return result

    return call


def _made(tracer: Tracer, scopes: Scopes, about: About, module: Any, x: Any) -> torch.Tensor | None:
    """The output of a module that is known, for a stand-in; None where it must run."""
    fmap = map_of(x)
    if fmap is None or batch.moved(x) or not scopes.open or not torch._C._is_torch_function_mode_enabled():
        return None
    mode = torch._C._pop_torch_function_stack()
    try:
        given = about.given(module) if mode is tracer else None
        if given is None:
            return None
        tensors, settings = given
        key: tuple[Any, ...] = (about, fmap.shape, x.dim(), settings)
        if tensors:  # rules look at the shape of the first, and whether there are others
            key += (tensors[0] if tensors[0] is None else tensors[0].shape, *[y is None for y in tensors])
        plan = _PLANS.get(key) or _planned(key, about.rule(x, *tensors, *settings), tensors)
        layer, shape, inplace, names, learned = plan
        shared = tracer.tensors.take(tensors, names, learned) if tensors and layer is not None else []
        if layer is None or shared is None:
            return None
        output = tracer.add(layer, (fmap,), shape, shared, scopes.name(module))
        return tracer.stands(tracer.blank(x, fmap.shape, shape, inplace), output, inplace)
    except Exception:  # it runs, and says what is wrong
        return None
    finally:
        torch._C._push_on_torch_function_stack(mode)


class PlannedCall(NamedTuple):
    """What a module of certain settings makes of a map of a certain shape; the names of its tensors, and which of them
    are learned; no layer where that cannot be told without running it."""

    layer: Layer | None = None
    shape: Shape = ()
    inplace: bool = False
    names: tuple[str, ...] = ()
    learned: tuple[bool, ...] = ()


def _planned(key: Any, spec: CallSpec | None, tensors: tuple[torch.Tensor | None, ...]) -> PlannedCall:
    """What a rule says, kept for the same settings and shapes."""
    plan = PlannedCall()
    if spec is not None:
        of = {id(x): name for name, x in spec.tensors}
        names = tuple(of.get(id(x), "") for x in tensors)
        shape = spec.shape or spec.layer.output_shape(*[x.shape for x in spec.maps])
        plan = PlannedCall(spec.layer, shape, spec.inplace, names, tuple(name not in STORED for name in names))
    if len(_PLANS) >= MAX_PLANS:
        _PLANS.clear()
    _PLANS[key] = plan
    return plan


MAX_PLANS = 4096
_PLANS: dict[Any, PlannedCall] = {}


@dataclass(frozen=True, eq=False)
class About:
    """What is known of a class of torch: its forward, the rule for its function, and what it gives to that."""

    forward: Any
    rule: CallRule
    given: Callable[[Any], Given | None]


def _nothing(m: Any) -> Given | None:
    return None


def _convolution(m: Any) -> Given | None:
    if m.padding_mode != "zeros" or m._conv_forward.__func__ is not _CONV_FORWARD:
        return None
    own = m._parameters
    return (own["weight"], own["bias"]), (m.stride, m.padding, m.dilation, m.groups)


_CONV_FORWARD = nn.Conv2d._conv_forward


def _linear(m: Any) -> Given | None:
    own = m._parameters
    return (own["weight"], own["bias"]), ()


def _batch_norm(m: Any) -> Given | None:
    if m.training:
        return None  # it counts batches
    own, stored = m._parameters, m._buffers
    tensors = (stored["running_mean"], stored["running_var"], own["weight"], own["bias"])
    return tensors, (False, 0.0 if m.momentum is None else m.momentum, m.eps)


def _layer_norm(m: Any) -> Given | None:
    own = m._parameters
    return (own["weight"], own["bias"]), (m.normalized_shape, m.eps)


def _group_norm(m: Any) -> Given | None:
    own = m._parameters
    return (own["weight"], own["bias"]), (m.num_groups, m.eps)


def _max_pool(m: Any) -> Given | None:
    return (), (m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices)


def _avg_pool(m: Any) -> Given | None:
    return (), (m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override)


def _adaptive_avg_pool(m: Any) -> Given | None:
    return (), (m.output_size,)


def _dropout(m: Any) -> Given | None:
    return (), (m.p, m.training, m.inplace)


def _activation(m: Any) -> Given | None:
    return (), (m.inplace,)


def _relu6(m: Any) -> Given | None:
    return (), (m.min_val, m.max_val, m.inplace)


def _leaky_relu(m: Any) -> Given | None:
    return (), (m.negative_slope, m.inplace)


def _plain(m: Any) -> Given | None:
    return (), ()


def _gelu(m: Any) -> Given | None:
    return (), (m.approximate,)


def _in_place(rule: str) -> Callable[..., CallSpec | None]:
    """A rule to which only a flag is given."""
    return lambda x, inplace: RULES[rule](x, inplace=inplace)


MODULES: dict[type[nn.Module], About] = {
    kind: About(kind.forward, rule, given)
    for kind, rule, given in (
        (nn.Identity, lambda x: None, _nothing),
        (nn.Conv2d, RULES[torch.conv2d], _convolution),
        (nn.Linear, RULES[F.linear], _linear),
        (nn.BatchNorm1d, lambda x, *given: RULES[F.batch_norm](x, *given) if x.dim() == 2 else None, _batch_norm),
        (nn.BatchNorm2d, lambda x, *given: RULES[F.batch_norm](x, *given) if x.dim() == 4 else None, _batch_norm),
        (
            nn.LayerNorm,
            lambda x, weight, bias, shape, eps: RULES[F.layer_norm](x, shape, weight, bias, eps),
            _layer_norm,
        ),
        (
            nn.GroupNorm,
            lambda x, weight, bias, groups, eps: RULES[F.group_norm](x, groups, weight, bias, eps),
            _group_norm,
        ),
        (nn.MaxPool2d, RULES[F.max_pool2d], _max_pool),
        (nn.AvgPool2d, RULES[F.avg_pool2d], _avg_pool),
        (nn.AdaptiveAvgPool2d, RULES[F.adaptive_avg_pool2d], _adaptive_avg_pool),
        (nn.Dropout, RULES["dropout"], _dropout),
        (nn.ReLU, _in_place("relu"), _activation),
        (nn.SiLU, _in_place("silu"), _activation),
        (nn.Hardswish, _in_place("hardswish"), _activation),
        (nn.Hardsigmoid, _in_place("hardsigmoid"), _activation),
        (nn.ReLU6, RULES["hardtanh"], _relu6),
        (nn.LeakyReLU, RULES["leaky_relu"], _leaky_relu),
        (nn.Sigmoid, RULES["sigmoid"], _plain),
        (nn.Tanh, RULES["tanh"], _plain),
        (nn.GELU, RULES["gelu"], _gelu),
    )
}
"""What is known of classes of torch whose modules call one function of torch and do nothing else."""
