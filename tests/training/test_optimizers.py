"""A step of every optimizer, by hand and beside torch's own; what decays, what is frozen, how fast each part learns."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cnnatomy
from cnnatomy.errors import UserError
from cnnatomy.training.optimizers import l1_penalty, make, set_rate
from cnnatomy.training.schema import OPTIMIZERS, Recipe

RATE, MOMENTUM, SECOND, EPSILON, DECAY = 0.1, 0.9, 0.8, 0.01, 0.02


def a_recipe(optimizer: str, **fields: Any) -> Recipe:
    known = {
        "learning_rate": RATE,
        "momentum": MOMENTUM,
        "second_moment": SECOND,
        "epsilon": EPSILON,
        "weight_decay": DECAY,
    }
    return Recipe(**{**known, "optimizer": optimizer, **fields})


def two_steps(recipe: Recipe, start: Tensor, first: Tensor, second: Tensor) -> Tensor:
    layer = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    layer.weight.data.copy_(start)
    (optimizer,) = make(recipe, layer)
    for gradient in (first, second):
        layer.weight.grad = gradient.clone()
        optimizer.step()
    return layer.weight.detach()


def sgd(w: Tensor, g: Tensor, state: dict[str, Tensor], step: int) -> Tensor:
    state["v"] = MOMENTUM * state["v"] + g if step > 1 else g
    return w - RATE * state["v"]


def nesterov(w: Tensor, g: Tensor, state: dict[str, Tensor], step: int) -> Tensor:
    state["v"] = MOMENTUM * state["v"] + g if step > 1 else g
    return w - RATE * (g + MOMENTUM * state["v"])


def rmsprop(w: Tensor, g: Tensor, state: dict[str, Tensor], step: int) -> Tensor:
    state["s"] = SECOND * state.get("s", 0) + (1 - SECOND) * g**2
    state["v"] = MOMENTUM * state.get("v", 0) + g / (state["s"].sqrt() + EPSILON)
    return w - RATE * state["v"]


def adam(w: Tensor, g: Tensor, state: dict[str, Tensor], step: int) -> Tensor:
    state["m"] = MOMENTUM * state.get("m", 0) + (1 - MOMENTUM) * g
    state["s"] = SECOND * state.get("s", 0) + (1 - SECOND) * g**2
    first, second = state["m"] / (1 - MOMENTUM**step), state["s"] / (1 - SECOND**step)
    return w - RATE * first / (second.sqrt() + EPSILON)


Formula = Callable[[Tensor, Tensor, dict[str, Tensor], int], Tensor]
FORMULAS: dict[str, Formula] = {"sgd": sgd, "nesterov": nesterov, "rmsprop": rmsprop, "adam": adam, "adamw": adam}


@pytest.mark.parametrize(
    ("name", "decay"),
    [(name, decay) for name in FORMULAS for decay in ("coupled", "decoupled") if (name, decay) != ("adamw", "coupled")],
)
def test_two_steps_are_those_of_the_formula(name: str, decay: str) -> None:
    start, first, second = torch.randn(3, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected, state = start, dict[str, Tensor]()
    for step, gradient in enumerate((first, second), 1):
        if decay == "coupled":
            expected = FORMULAS[name](expected, gradient + DECAY * expected, state, step)
        else:
            expected = FORMULAS[name](expected * (1 - RATE * DECAY), gradient, state, step)
    got = two_steps(a_recipe(name, decay=decay), start, first, second)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


def test_weight_decay_is_coupled_but_for_adamw_and_muon() -> None:
    assert [name for name in OPTIMIZERS if Recipe(optimizer=name).decays_decoupled] == ["adamw", "muon"]


def small() -> nn.Module:
    """Two convolutions with batch norm, a depthwise one, and two fully connected layers."""
    torch.manual_seed(0)
    body = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.PReLU(8)),
        *(nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.Conv2d(12, 12, 3, groups=12)),
    )
    head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 10), nn.Tanh(), nn.Linear(10, 4))
    return nn.Sequential(body, head)


def names(module: nn.Module, parameters: list[Tensor]) -> set[str]:
    return {name for name, parameter in module.named_parameters() if any(parameter is one for one in parameters)}


def test_everything_decays_unless_norms_and_biases_shall_not() -> None:
    module = small()
    (optimizer,) = make(a_recipe("sgd"), module)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [DECAY]
    (optimizer,) = make(a_recipe("sgd", decay_norms=False), module)
    by_decay = {group["weight_decay"]: names(module, group["params"]) for group in optimizer.param_groups}
    assert by_decay[DECAY] == {"0.0.weight", "0.3.weight", "0.5.weight", "1.2.weight", "1.4.weight"}
    assert by_decay[0.0] == {name for name, _ in module.named_parameters()} - by_decay[DECAY]


def test_a_decoupled_decay_leaves_norms_out_too() -> None:
    module = small()
    (optimizer,) = make(a_recipe("rmsprop", decay="decoupled", decay_norms=False), module)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    optimizer.step()
    changed = {name for name, parameter in module.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {"0.0.weight", "0.3.weight", "0.5.weight", "1.2.weight", "1.4.weight"}


def test_parts_learn_at_their_own_rates_the_longest_path_counting() -> None:
    module = cnnatomy.network("resnet-20-cifar").build()
    (optimizer,) = make(a_recipe("sgd", rates={"body": 0.1, "body.stage3": 0.5, "tail": 0}), module)
    set_rate([optimizer], 0.2)
    by_rate = {round(group["lr"], 9): names(module, group["params"]) for group in optimizer.param_groups}
    assert set(by_rate) == {0.0, 0.02, 0.1, 0.2}
    assert all(name.startswith("body.stage3.") for name in by_rate[0.1])
    assert all(name.startswith("head.") for name in by_rate[0.2])


def test_a_path_that_the_network_has_not_is_refused_with_the_nearest() -> None:
    module = cnnatomy.network("resnet-20-cifar").build()
    with pytest.raises(UserError, match=r"rates names .*body\.stge3.*Did you mean body\.stage3"):
        make(a_recipe("sgd", rates={"body.stge3": 0.1}), module)


def test_frozen_parameters_are_left_out_and_something_must_be_left() -> None:
    module = small()
    module[0].requires_grad_(False)  # type: ignore[index]
    for name in OPTIMIZERS:
        optimizers = make(a_recipe(name), module)
        held = [one for optimizer in optimizers for group in optimizer.param_groups for one in group["params"]]
        assert all(path.startswith("1.") for path in names(module, held))
        assert len(held) == 4
    with pytest.raises(UserError, match="freeze leaves nothing"):
        make(a_recipe("sgd"), module.requires_grad_(False))


def train(module: nn.Module, optimizers: list[torch.optim.Optimizer], steps: range) -> None:
    """A few steps on random images, as of epochs that begin at any of them."""
    for step in steps:
        torch.manual_seed(100 + step)
        images = torch.randn(4, 3, 8, 8)
        module.zero_grad()
        module(images).square().mean().backward()
        set_rate(optimizers, 0.01 / (1 + step))
        for optimizer in optimizers:
            optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_training_goes_on_from_a_state_bit_for_bit(name: str, order: torch.memory_format) -> None:
    recipe = a_recipe(name, decay_norms=False, rates={"1": 0.5}, decay="auto" if name == "muon" else "decoupled")
    whole, again = (small().to(memory_format=order) for _ in range(2))  # type: ignore[call-overload]
    optimizers = make(recipe, whole)
    train(whole, optimizers, range(3))
    file = io.BytesIO()
    torch.save((whole.state_dict(), [optimizer.state_dict() for optimizer in optimizers]), file)
    train(whole, optimizers, range(3, 6))

    file.seek(0)
    weights, states = torch.load(file, weights_only=True)
    again.load_state_dict(weights)
    resumed = make(recipe, again)
    for optimizer, state in zip(resumed, states, strict=True):
        optimizer.load_state_dict(state)
    train(again, resumed, range(3, 6))
    for name_, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name_]), name_


def test_muon_is_for_hidden_matrices_and_adamw_has_the_rest() -> None:
    """Not for the first convolution, nor the classifier, nor a depthwise convolution."""
    module = small()
    muon, adamw = make(a_recipe("muon"), module)
    assert names(module, muon.param_groups[0]["params"]) == {"0.3.weight", "1.2.weight"}
    held = [one for optimizer in (muon, adamw) for group in optimizer.param_groups for one in group["params"]]
    assert len(held) == len(list(module.parameters()))


def test_every_head_keeps_its_last_weights_from_muon() -> None:
    module = cnnatomy.network("googlenet-aux", classes=5, input=(3, 96, 96)).build()
    muon, _ = make(a_recipe("muon"), module)
    by_muon = names(module, [one for group in muon.param_groups for one in group["params"]])
    rows_of_classes = {name for name, one in module.named_parameters() if one.dim() > 1 and one.shape[0] == 5}
    assert len(rows_of_classes) == 3
    assert not rows_of_classes & by_muon


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_muon_on_a_convolution_is_torchs_muon_on_its_matrix(order: torch.memory_format) -> None:
    """With the columns as they lie in memory, which Newton and Schulz's iteration does not care about."""
    module = small().to(memory_format=order)  # type: ignore[call-overload]
    kernels = module.get_parameter("0.3.weight")
    axes = (0, 1, 2, 3) if order == torch.contiguous_format else (0, 2, 3, 1)
    matrix = nn.Parameter(kernels.detach().permute(axes).flatten(1).clone())
    theirs = torch.optim.Muon([matrix], RATE, weight_decay=DECAY, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw")
    ours, _ = make(a_recipe("muon"), module)
    for _ in range(3):
        kernels.grad = torch.randn(kernels.shape).to(memory_format=order)
        matrix.grad = kernels.grad.permute(axes).flatten(1).clone()
        ours.step()
        theirs.step()
        assert torch.equal(kernels.detach().permute(axes).flatten(1), matrix.detach())


def test_muon_goes_on_where_the_order_of_the_weights_has_changed() -> None:
    torch.manual_seed(0)
    gradients = torch.randn(2, 12, 8, 3, 3)
    ends = []
    for second in (torch.contiguous_format, torch.channels_last):
        module = small()
        muon, _ = make(a_recipe("muon"), module)
        kernels = module.get_parameter("0.3.weight")
        kernels.grad = gradients[0].clone()
        muon.step()
        kernels.data = kernels.data.contiguous(memory_format=second)
        kernels.grad = gradients[1].contiguous(memory_format=second)
        muon.step()
        ends.append(kernels.detach())
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=2e-3)  # its arithmetic is bfloat16


def test_the_l1_penalty_is_of_weights_alone() -> None:
    module = small()
    weights = [one for name, one in module.named_parameters() if one.dim() > 1]
    penalty = l1_penalty(module)
    torch.testing.assert_close(penalty, torch.stack([one.abs().sum() for one in weights]).sum())
    penalty.backward()  # type: ignore[no-untyped-call]
    assert torch.equal(weights[0].grad, weights[0].sign())  # type: ignore[arg-type]
    assert module.get_parameter("0.0.bias").grad is None


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_part_that_is_unfrozen_begins_to_learn_beside_the_others(name: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 1))
    optimizers = make(Recipe(optimizer=name, freeze=("0",), unfreeze=1), network)
    before = network[0].weight.detach().clone()
    for trained in (False, True):
        network[0].requires_grad_(trained)
        for optimizer in optimizers:
            optimizer.zero_grad()
        network(torch.randn(2, 3, 8, 8)).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
        assert torch.equal(network[0].weight, before) is not trained
