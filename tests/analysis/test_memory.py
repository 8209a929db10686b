"""What a network takes in memory is what torch's allocator hands out and autograd keeps."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

import cnnatomy as cn
import peers
from _allocations import measure_inference, measure_training, saved_bytes
from cnnatomy.analysis.memory import footprint as memory
from cnnatomy.analysis.memory.setting import Setting
from cnnatomy.layers import LSTM
from cnnatomy.layers.memory import size_of
from helpers import inputs_of
from kinds import each_shallow_kind, others_in_full
from layer_examples import EXAMPLES, Example, each_example, later_ones_slowly


@pytest.mark.parametrize("example", later_ones_slowly([e for e in EXAMPLES if not isinstance(e.layer, LSTM)]))
@pytest.mark.parametrize("batch", [3])
def test_a_layer_keeps_for_its_backward_pass_what_autograd_keeps(example: Example, batch: int) -> None:
    """An LSTM keeps a workspace besides, whose size is its library's affair."""
    layer, shapes = example
    module = layer.module(*shapes).train()
    inputs = tuple(x.requires_grad_() if x.is_floating_point() else x for x in inputs_of(layer, shapes, batch))
    output = module(*inputs)
    saved = layer.saves(shapes, layer.output_shape(*shapes))
    own = sum(size_of(extra, batch, 4) for extra in saved.own)
    mine = saved.output and not layer.is_view(training=True)
    said = own + (output.untyped_storage().nbytes() if mine else 0)
    assert saved_bytes(module, inputs) == said, f"{layer!r} on {shapes}: say in its `saves` what autograd keeps"


@pytest.mark.slow
@each_example
def test_a_layer_says_whether_its_output_is_memory_of_its_input(example: Example) -> None:
    layer, shapes = example
    for training in (True, False):
        inputs = inputs_of(layer, shapes)
        output = layer.module(*shapes).train(training)(*inputs)
        shared = output.untyped_storage().data_ptr() == inputs[0].untyped_storage().data_ptr()
        assert layer.is_view(training) == shared


def close(predicted: int, measured: int, within: float) -> bool:
    return abs(predicted - measured) <= within * measured


def slow(*names: str) -> list[object]:
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(
    "name",
    [
        *("resnet-18", "mobilenet-v2", "squeezenet"),
        *slow("resnet-50", "preact-resnet-50", "densenet-121", "shufflenet-g3", "alexnet-torchvision", "googlenet"),
    ],
)
def test_the_peak_is_that_of_the_allocator(name: str, batch: int) -> None:
    network, shape = cn.network(name), (3, 64, 64)
    graph, setting, x = network.graph(shape), Setting(batch=batch), torch.randn(batch, *shape)
    module = network.build(shape)
    assert close(memory.inference(graph, setting).peak, measure_inference(module, x).tensors, 0.001)
    if batch > 1:  # a batch norm of one value has no deviation
        assert close(memory.training(graph, setting).peak, measure_training(module, x).tensors, 0.005)


@pytest.mark.parametrize("name", ["mobilenet-v2", "shufflenet-g3"])
def test_what_is_saved_for_the_backward_pass_is_exact(name: str) -> None:
    saved_as_said(name, (3, 64, 64))


def saved_as_said(name: str, shape: tuple[int, ...]) -> None:
    network = cn.network(name)
    module, x = network.build(shape).train(), torch.randn(2, *shape)
    assert memory.training(network.graph(shape), Setting(batch=2)).saved == saved_bytes(module, (x,))


@pytest.mark.slow
@each_shallow_kind
def test_what_every_network_saves_is_exact(name: str) -> None:
    own = cn.network(name).input
    for size in (own[1] if own[1] < 100 else 64, 128, own[1]):  # the smallest that fits
        try:
            cn.network(name).graph((own[0], size, size))
        except cn.ShapeError:
            continue
        return saved_as_said(name, (own[0], size, size))
    raise AssertionError("no size fits")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_optimiser_counts(optimizer: str) -> None:
    network, shape = cn.network("alexnet-torchvision"), (3, 64, 64)
    setting, x = Setting(batch=2, optimizer=optimizer), torch.randn(2, *shape)
    footprint = memory.training(network.graph(shape), setting)
    assert footprint.optimizer == {"sgd": 0, "adam": 2}[optimizer] * footprint.parameters
    measured = measure_training(network.build(shape), x, optimizer).tensors
    assert close(footprint.peak, measured, 0.001)


@pytest.mark.parametrize("name", ["resnet-18", *slow("mobilenet-v2", "densenet-121", "alexnet-torchvision")])
def test_mixed_precision(name: str) -> None:
    network, shape = cn.network(name), (3, 64, 64)
    footprint = memory.training(network.graph(shape), Setting(batch=4, dtype="bfloat16"))
    measured = measure_training(network.build(shape), torch.randn(4, *shape), dtype=torch.bfloat16).tensors
    assert close(footprint.peak, measured, 0.01)


def test_inference_in_16_bits_takes_half() -> None:
    network, shape = cn.network("resnet-18"), (3, 64, 64)
    footprint = memory.inference(network.graph(shape), Setting(batch=2, dtype="bfloat16"))
    module = network.build(shape).to(torch.bfloat16)
    measured = measure_inference(module, torch.randn(2, *shape, dtype=torch.bfloat16))
    assert close(footprint.peak, measured.tensors, 0.001)
    assert footprint.parameters == sum(p.numel() * p.element_size() for p in module.parameters())


@pytest.mark.parametrize("depth", [pytest.param(2, marks=[pytest.mark.slow, pytest.mark.full]), 3])
@pytest.mark.parametrize("name", ["resnet-18", *slow("densenet-121")])
def test_checkpointed_blocks_are_computed_again(name: str, depth: int) -> None:
    network, shape = cn.network(name), (3, 64, 64)
    module = network.build(shape)
    for path, part in module.named_modules():
        if path.count(".") + 1 == depth and list(part.children()):
            part.forward = partial(checkpoint, part.forward, use_reentrant=False)
    setting = Setting(batch=4, checkpoint=depth)
    footprint = memory.training(network.graph(shape), setting)
    assert footprint.saved < memory.training(network.graph(shape), setting.replace(checkpoint=None)).saved
    assert close(footprint.peak, measure_training(module, torch.randn(4, *shape)).tensors, 0.01)


@pytest.mark.parametrize("name", ["resnet-18", "mobilenet-v2"])
def test_activations_in_place(name: str) -> None:
    network, shape = cn.network(name), (3, 64, 64)
    module, graph, x = network.build(shape), network.graph(shape), torch.randn(4, *shape)
    for part in module.modules():
        if isinstance(part, torch.nn.ReLU | torch.nn.ReLU6):
            part.inplace = True
    setting = Setting(batch=4, in_place=True)
    assert close(memory.inference(graph, setting).peak, measure_inference(module, x).tensors, 0.001)
    assert close(memory.training(graph, setting).peak, measure_training(module, x).tensors, 0.001)


def test_the_peak_of_vgg_16_by_hand() -> None:
    """Its first two convolutions: 64 channels of 224x224, read and written; the pool needs room for indices too."""
    footprint = memory.inference(cn.network("vgg-16").graph())
    assert footprint.peak == 2 * 64 * 224 * 224 * 4
    assert {piece.path for piece in footprint.alive} == {"tail.conv1_1", "tail.relu1_1"}
    assert footprint.parameters == 138_357_544 * 4
    assert footprint.total == footprint.parameters + 3 * 224 * 224 * 4 + footprint.peak


def test_auxiliary_heads_take_memory_in_training_alone() -> None:
    with_heads, without = (cn.network(name).graph() for name in ("googlenet-aux", "googlenet"))
    assert memory.inference(with_heads).peak == memory.inference(without).peak
    assert memory.training(with_heads).saved > memory.training(without).saved


def test_the_largest_batch_fits_and_the_next_does_not() -> None:
    graph, room = cn.network("resnet-50").graph(), 2 * 2**30

    def footprint(batch: int) -> memory.Footprint:
        return memory.training(graph, Setting(batch=batch))

    batch = memory.largest_batch(footprint, room)
    assert footprint(batch).total <= room < footprint(batch + 1).total
    assert memory.largest_batch(footprint, 1000) == 0


@pytest.mark.parametrize(
    "wrong", [{"dtype": "float8"}, {"optimizer": "adma"}, {"device": "tpu"}, {"batch": 0}, {"checkpoint": 0}]
)
def test_a_setting_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(cn.UserError, match=next(iter(wrong))):
        Setting(**wrong)  # type: ignore[arg-type]


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    others_in_full(
        ("torchvision:mobilenet_v2", "timm:ghostnet_100"),
        [
            *("torchvision:resnet18", "torchvision:mobilenet_v2", "torchvision:densenet121"),
            *("timm:efficientnet_b0", "timm:ghostnet_100", "timm:res2net50_26w_4s"),
        ],
    ),
)
def test_networks_of_others_take_what_is_predicted(name: str) -> None:
    """Read as they are: what they write in place, and what a local variable holds longer than needed."""
    source, _, model = name.partition(":")
    if source == "timm":
        module = peers.timm().create_model(model)
    else:
        module = getattr(peers.torchvision().models, model)(weights=None)
    setting, x = Setting(batch=2), torch.randn(2, 3, 64, 64)
    predicted = memory.inference(cn.read(module.eval(), (3, 64, 64)), setting).peak
    assert close(predicted, measure_inference(module, x).tensors, 0.001)
    predicted = memory.training(cn.read(module.train(), (3, 64, 64)), setting).peak
    assert close(predicted, measure_training(module, x).tensors, 0.01)


class Keeps(torch.nn.Module):
    """Its variable `early` lives to the end, although the last layers do not read it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        early = torch.relu_(self.first(x))
        late = self.second(early)
        late = self.third(late)
        late += x
        return late


def test_what_a_variable_of_a_module_holds_counts() -> None:
    module, x, one = Keeps(), torch.randn(2, 3, 32, 32), 2 * 3 * 32 * 32 * 4
    footprint = memory.inference(cn.read(module, (3, 32, 32)), Setting(batch=2))
    assert (
        footprint.peak == measure_inference(module, x).tensors == 3 * one
    )  # early, and what the third reads and writes
    assert {piece.path for piece in footprint.alive} == {"first", "second", "third"}


@given(st.integers(1, 50), st.integers(0, 2000), st.integers(1, 7), st.integers(1, 20_000))
def test_the_largest_batch_is_found_where_totals_jump(each: int, fixed: int, jump: int, room: int) -> None:
    """Totals of whole pages: between jumps several batches take the same."""

    def footprint(batch: int) -> memory.Footprint:
        tried.append(batch)
        peak = each * batch // jump * jump
        return memory.Footprint(Setting(), False, fixed, 0, 0, 0, 0, 0, (), peak, "", "forward", ())

    tried: list[int] = []
    found = memory.largest_batch(footprint, room)
    assert len(tried) < 45
    assert found == 0 or footprint(found).total <= room
    assert found == memory.MAX_BATCH or footprint(found + 1).total > room
