"""The optimizers of a recipe: which parameters decay, at what rate each part learns, and what Muon is for.

A parameter has no weight decay without `decay_norms` where it belongs to a normalisation layer, is a bias, or is one
number a channel, such as the slope of a PReLU or a layer of scales.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Muon, Optimizer, RMSprop
from torch.optim.adam import Adam

from cnnatomy.errors import UserError, nearest, quoted
from cnnatomy.training.initialisation import CONVOLUTIONS, TRANSPOSED
from cnnatomy.training.schema import Recipe

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
WEIGHTS = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)
DECOUPLED = "decoupled_weight_decay_of_a_step"
"""Key of a group: the decoupled weight decay of an optimizer for which torch has only a coupled one."""


class Learned(NamedTuple):
    """A parameter with its path and the module that owns it."""

    path: str
    module: nn.Module
    parameter: nn.Parameter


def make(recipe: Recipe, module: nn.Module) -> list[Optimizer]:
    """The optimizers of all parameters that are trained: those that require a gradient. Muon has AdamW beside it.

    Every group keeps under `factor` what `recipe.rates` says of it; the longest path that fits counts.

    Raises:
        UserError: if `recipe.rates` names what the network does not have, or nothing is left to train.
    """
    _check_rates(recipe.rates, module)
    learned = [one for one in _learned(module) if one.parameter.requires_grad]
    if not learned:
        raise UserError("recipe: freeze leaves nothing of the network to train; freeze less")
    if recipe.optimizer != "muon":
        return [_MAKERS[recipe.optimizer](recipe, _groups(recipe, learned))]
    hidden = _hidden(module)
    matrices = [one for one in learned if one.parameter in hidden]
    others = [one for one in learned if one.parameter not in hidden]
    made: list[Optimizer] = []
    if matrices:
        made.append(MatrixMuon(_groups(recipe, matrices), lr=recipe.learning_rate, momentum=recipe.momentum))
    if others:
        made.append(_adamw(recipe, _groups(recipe, others)))
    return made


def set_rate(optimizers: Iterable[Optimizer], rate: float) -> None:
    """Sets the learning rate of the next step, in each group times its factor."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]


def l1_penalty(module: nn.Module) -> Tensor:
    """The sum of the absolute values of all weights that are trained; a scalar. Not of normalisation and biases."""
    weights = [one.parameter for one in _learned(module) if one.parameter.requires_grad and _is_weight(one)]
    return torch.stack([weight.abs().sum() for weight in weights]).sum() if weights else torch.zeros(())


def _learned(module: nn.Module) -> Iterator[Learned]:
    """Every parameter once, with the first module that has it."""
    seen: set[nn.Parameter] = set()
    for path, owner in module.named_modules():
        for name, parameter in owner.named_parameters(recurse=False):
            if parameter not in seen:
                seen.add(parameter)
                yield Learned(f"{path}.{name}" if path else name, owner, parameter)


def _is_weight(one: Learned) -> bool:
    return one.parameter.dim() > 1 and not isinstance(one.module, NORMS) and not _is_bias(one)


def _is_bias(one: Learned) -> bool:
    return one.path.rpartition(".")[2].startswith("bias")


def _groups(recipe: Recipe, learned: Iterable[Learned]) -> list[dict[str, Any]]:
    """One group for each factor and weight decay, in the order in which they first appear."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for one in learned:
        decay = recipe.weight_decay if recipe.decay_norms or _is_weight(one) else 0.0
        groups.setdefault((_factor(recipe.rates, one.path), decay), []).append(one.parameter)
    return [
        {"params": parameters, "lr": recipe.learning_rate * factor, "weight_decay": decay, "factor": factor}
        for (factor, decay), parameters in groups.items()
    ]


def _factor(rates: Mapping[str, float], path: str) -> float:
    while path:
        if path in rates:
            return rates[path]
        path = path.rpartition(".")[0]
    return 1.0


def _check_rates(rates: Mapping[str, float], module: nn.Module) -> None:
    if rates:
        paths = [path for path, _ in module.named_modules() if path] + [path for path, _ in module.named_parameters()]
        for path in rates:
            if path not in paths:
                raise UserError(f"recipe: rates names {quoted(path)}, which no part is.{nearest(path, paths)}")


def _sgd(recipe: Recipe, groups: list[dict[str, Any]]) -> Optimizer:
    """Fused on any device: on a CPU twice as fast, and equal to the last bit.

    Without that where the decay is decoupled: a fused step is taken also where gradients of float16 overflow, and
    changes nothing then, but the decay before it would. And without it where parts are trained later than others: a
    fused step takes either first steps only or none.
    """
    decoupled, nesterov = recipe.decays_decoupled, recipe.optimizer == "nesterov"
    fused = not decoupled and not recipe.unfreeze
    return _decoupled(
        lambda: SGD(groups, recipe.learning_rate, recipe.momentum, nesterov=nesterov, fused=fused),
        groups,
        decoupled,
    )


def _rmsprop(recipe: Recipe, groups: list[dict[str, Any]]) -> Optimizer:
    return _decoupled(
        lambda: RMSprop(groups, recipe.learning_rate, recipe.second_moment, recipe.epsilon, momentum=recipe.momentum),
        groups,
        recipe.decays_decoupled,
    )


def _decoupled(make: Callable[[], Optimizer], groups: list[dict[str, Any]], decoupled: bool) -> Optimizer:
    """What `make` makes of the groups; with `decoupled`, their decay is taken off the weights before each step."""
    if not decoupled:
        return make()
    for group in groups:
        group[DECOUPLED], group["weight_decay"] = group["weight_decay"], 0.0
    optimizer = make()
    optimizer.register_step_pre_hook(_decay)
    return optimizer


@torch.no_grad()
def _decay(optimizer: Optimizer, *arguments: Any) -> None:
    """Equation 9 of Loshchilov and Hutter 2019 with the learning rate as its factor, as AdamW does it in torch."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.mul_(1 - group["lr"] * group[DECOUPLED])


def _adam(recipe: Recipe, groups: list[dict[str, Any]]) -> Optimizer:
    if recipe.decays_decoupled:
        return _adamw(recipe, groups)
    return Adam(groups, recipe.learning_rate, (recipe.momentum, recipe.second_moment), recipe.epsilon)


def _adamw(recipe: Recipe, groups: list[dict[str, Any]]) -> Optimizer:
    return AdamW(groups, recipe.learning_rate, (recipe.momentum, recipe.second_moment), recipe.epsilon)


_MAKERS: Mapping[str, Callable[[Recipe, list[dict[str, Any]]], Optimizer]] = {
    "sgd": _sgd,
    "nesterov": _sgd,
    "rmsprop": _rmsprop,
    "adam": _adam,
    "adamw": _adamw,
}


def _hidden(module: nn.Module) -> set[Tensor]:
    """The weights that Muon is for: those of convolutions and of fully connected layers, as matrices.

    Neither the first convolution nor the last weights of each head, as the author of Muon says of convolutional
    networks (README of github.com/KellerJordan/Muon); nor depthwise convolutions, in which no filter reads what another
    reads, so that they make no matrix. What is left learns by AdamW at the same rate.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, WEIGHTS)]
    outside: set[nn.Module] = {_last(head) for head in _heads(module)}
    outside.update(next(([layer] for layer in layers if isinstance(layer, CONVOLUTIONS)), []))
    return {layer.weight for layer in layers if layer not in outside and not _is_depthwise(layer)}


def _heads(module: nn.Module) -> list[nn.Module]:
    """Each head of a network that has several; else its one, or what has no parts as a whole."""
    head = getattr(module, "head", module)
    return list(head.children()) if hasattr(head, "auxiliary_heads") else [head]


def _last(module: nn.Module) -> nn.Module:
    """The last layer in it that has weights; the module itself where there is none."""
    return [module, *(layer for layer in module.modules() if isinstance(layer, WEIGHTS))][-1]


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, CONVOLUTIONS) and 1 < layer.groups == layer.in_channels


class MatrixMuon(Muon):
    """torch's Muon for weights of any number of axes, each seen as a matrix (first axis, all others).

    The steps are as long as those of AdamW (`match_rms_adamw`: Liu et al. 2025, "Muon is scalable for LLM training",
    section 2.2), so that one learning rate and one weight decay fit both. The momentum is Nesterov's. Parameters, their
    gradients and the state keep their own shapes; a matrix is a view of them for the time of the step.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float) -> None:
        super().__init__(
            [nn.Parameter(torch.empty(1, 1))], lr=lr, momentum=momentum, adjust_lr_fn="match_rms_adamw"
        )  # torch refuses other shapes only here, not in `add_param_group`
        self.param_groups.clear()
        for group in groups:
            self.add_param_group(group)

    def _init_group(self, group: Any, params: list[Tensor], grads: list[Tensor], buffers: list[Tensor]) -> bool:
        """Collects what a step of this group works on, as matrices."""
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            buffer = state.get("momentum_buffer")
            if buffer is None or buffer.stride() != parameter.stride():  # or the weight has another order by now
                old, buffer = buffer, torch.zeros_like(parameter, memory_format=torch.preserve_format)
                state["momentum_buffer"] = buffer if old is None else buffer.copy_(old)
            order = _order(parameter)
            params.append(_view(parameter, order))
            grads.append(parameter.grad.permute(order).flatten(1))
            buffers.append(_view(state["momentum_buffer"], order))
        return False


def _order(weight: Tensor) -> tuple[int, ...]:
    """Its axes as they lie in memory, so that all but the first make one axis without a copy."""
    return (0, *sorted(range(1, weight.dim()), key=weight.stride, reverse=True))


def _view(tensor: Tensor, order: tuple[int, ...]) -> Tensor:
    return tensor.detach().permute(order).view(tensor.shape[0], -1)
