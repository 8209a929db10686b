"""While a module is read its parts are called by us: the graph is the one that torch's own calls with hooks give."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.design.graph import Graph, Scope
from cnnatomy.readers.torch import calls as torch_calls
from kinds import others_in_full
from peers import on_meta

MAP = (4, 10, 12)
CALL = nn.Module.__call__


@pytest.fixture(autouse=True, scope="module")
def _imported() -> None:
    """What torch imports for the first shape that it is asked for holds on to tensors for a while."""
    cn.read(Each(lambda x: x + 1), MAP)


def by_hooks(module: nn.Module, shape: tuple[int, ...]) -> Graph:
    """The graph as it is read where somebody else has replaced `nn.Module.__call__`: by hooks alone."""

    def call(module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
        return CALL(module, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "__call__", call)
        return cn.read(module, shape)


def everything(graph: Graph) -> list[Any]:
    """All that a graph says, with numbers in the place of maps."""
    number = {x: i for i, x in enumerate([*graph.inputs, *(node.output for node in graph.nodes)])}
    place = {node: i for i, node in enumerate(graph.nodes)}

    def scopes(scope: Scope) -> Iterator[Any]:
        inside = [(child.path, name) for child, name in scope.children.items()]
        yield (
            scope.path,
            repr(scope.block),
            [number[x] for x in scope.inputs],
            [number[x] for x in scope.outputs],
            inside,
        )
        for child in scope.children:
            if isinstance(child, Scope):
                yield from scopes(child)

    nodes = [
        (node.path, repr(node.layer), [number[x] for x in node.inputs], node.output.shape, node.shared, node.overwrites)
        for node in graph.nodes
    ]
    held = sorted((number[x], place.get(node, -1)) for x, node in graph.held.items() if x in number)
    return [nodes, [number[x] for x in graph.outputs], graph.unused, held, list(scopes(graph.root))]


def same_both_ways(module: nn.Module, shape: tuple[int, ...]) -> Graph:
    graph = cn.read(module, shape)
    assert nn.Module.__call__ is CALL
    assert everything(graph) == everything(by_hooks(module, shape))
    return graph


def ran(module: nn.Module, shape: tuple[int, ...] = MAP) -> list[str]:
    """The classes of which a forward ran while a module was read: those that were not known by their attributes."""
    seen: list[str] = []
    forwards = {kind: kind.forward for kind in torch_calls.MODULES}
    with pytest.MonkeyPatch.context() as patch:
        for kind, forward in forwards.items():

            def noted(self: Any, *args: Any, forward: Any = forward) -> Any:
                seen.append(type(self).__name__)
                return forward(self, *args)

            patch.setattr(kind, "forward", noted)
            patch.setitem(torch_calls.MODULES, kind, replace(torch_calls.MODULES[kind], forward=noted))
        cn.read(module, shape)
    return seen


KNOWN: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolution": (lambda: nn.Conv2d(4, 8, (3, 2), (2, 1), (1, 0), (1, 2), 2), MAP),
    "convolution, same": (lambda: nn.Conv2d(4, 8, 4, padding="same", bias=False), MAP),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4), MAP),
    "fully connected": (lambda: nn.Linear(12, 5), MAP),
    "batch norm": (lambda: nn.BatchNorm2d(4), MAP),
    "batch norm without weights": (lambda: nn.BatchNorm2d(4, affine=False, momentum=None), MAP),
    "batch norm of vectors": (lambda: nn.BatchNorm1d(12), (12,)),
    "layer norm": (lambda: nn.LayerNorm((10, 12)), MAP),
    "layer norm without offset": (lambda: nn.LayerNorm(12, bias=False), MAP),
    "group norm": (lambda: nn.GroupNorm(2, 4), MAP),
    "max pool": (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), MAP),
    "average pool": (lambda: nn.AvgPool2d((2, 3), padding=1, count_include_pad=False), MAP),
    "average over the map": (lambda: nn.AdaptiveAvgPool2d(1), MAP),
    "average to a size": (lambda: nn.AdaptiveAvgPool2d((5, None)), MAP),
    "dropout": (lambda: nn.Dropout(0.3), MAP),
    "identity": (lambda: nn.Sequential(nn.Identity(), nn.Identity(), nn.ReLU()), MAP),
    "ReLU": (nn.ReLU, MAP),
    "ReLU in place": (lambda: nn.ReLU(True), MAP),
    "ReLU6": (lambda: nn.ReLU6(True), MAP),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.2), MAP),
    "SiLU": (lambda: nn.SiLU(True), MAP),
    "Hardswish": (nn.Hardswish, MAP),
    "Hardsigmoid": (nn.Hardsigmoid, MAP),
    "Sigmoid": (nn.Sigmoid, MAP),
    "Tanh": (nn.Tanh, MAP),
    "GELU": (lambda: nn.GELU("tanh"), MAP),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_module_of_torch_is_known_by_its_attributes(name: str) -> None:
    make, shape = KNOWN[name]
    module = nn.Sequential(make(), nn.Tanh()).eval()
    graph = same_both_ways(module, shape)
    assert graph.outputs[0].shape == tuple(module(torch.rand(1, *shape)).shape[1:])
    assert ran(module, shape) == []
    same_both_ways(make().eval(), shape)  # by itself it is the whole


def test_every_known_class_is_tried() -> None:
    assert {type(part) for make, _ in KNOWN.values() for part in make().modules()} >= set(torch_calls.MODULES)


UNKNOWN: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "padding with what is there": (lambda: nn.Conv2d(4, 8, 3, padding=1, padding_mode="reflect"), MAP),
    "indices": (lambda: nn.Sequential(nn.MaxPool2d(2, return_indices=True), Each(lambda pair: pair[0])), MAP),
    "windows that overlap": (lambda: nn.AdaptiveAvgPool2d(7), MAP),
    "a divisor": (lambda: nn.AvgPool2d(2, divisor_override=3), MAP),
}


class Each(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Any], Any], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Any) -> Any:
        return self.function(x)


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_attributes_do_not_tell_is_run(name: str) -> None:
    make, shape = UNKNOWN[name]
    assert ran(make().eval(), shape) != []
    same_both_ways(make().eval(), shape)


def test_in_training_a_batch_norm_is_run_and_counts_batches() -> None:
    module = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3)).train()
    assert ran(module) == ["BatchNorm2d"]
    same_both_ways(module, MAP)


PARTS: list[Callable[[], nn.Module]] = [
    lambda: nn.Conv2d(4, 4, 3, padding=1),
    lambda: nn.Conv2d(4, 4, 1, bias=False),
    lambda: nn.BatchNorm2d(4),
    lambda: nn.ReLU(True),
    lambda: nn.SiLU(),
    lambda: nn.MaxPool2d(3, 1, 1),
    lambda: nn.Identity(),
    lambda: nn.Dropout(),
    lambda: nn.Linear(12, 12),
    lambda: nn.Softmax(1),
    lambda: Each(lambda x: x + x.relu()),
    lambda: Each(lambda x: x[:, :].relu_()),
]


@given(st.recursive(st.sampled_from(PARTS), lambda inside: st.lists(inside, min_size=1, max_size=4), max_leaves=8))
def test_chains_of_chains_are_the_same_both_ways(parts: Any) -> None:
    def module(parts: Any) -> nn.Module:
        return nn.Sequential(*map(module, parts)) if isinstance(parts, list) else parts()

    try:
        same_both_ways(module([parts, [nn.Tanh]]).eval(), MAP)
    finally:
        assert nn.Module.__call__ is CALL


class Shifted(nn.ReLU):
    """A subclass with a forward of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + 1)


def test_a_subclass_runs_its_own_forward() -> None:
    graph = same_both_ways(nn.Sequential(Shifted(), nn.ReLU()), MAP)
    assert [node.path for node in graph] == ["0.add", "0.relu", "1"]


def test_a_forward_that_was_replaced_on_the_instance_is_run() -> None:
    module = nn.Sequential(nn.ReLU(), nn.ReLU())
    module[0].forward = torch.sigmoid  # type: ignore[method-assign]
    assert [repr(node.layer) for node in same_both_ways(module, MAP)] == ["Sigmoid()", "ReLU()"]


def test_a_forward_that_was_replaced_in_the_class_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: torch.sigmoid(x))
    assert [repr(node.layer) for node in same_both_ways(nn.Sequential(nn.ReLU()), MAP)] == ["Sigmoid()"]


def test_a_convolution_that_pads_by_somebody_elses_function_is_run() -> None:
    def wrapped(self: nn.Conv2d, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.pad(x, (1, 1, 0, 0), mode="circular"), weight, bias)

    conv = nn.Conv2d(4, 2, 3)
    conv._conv_forward = types.MethodType(wrapped, conv)  # type: ignore[method-assign]
    assert same_both_ways(nn.Sequential(conv), MAP).outputs[0].shape == (2, 8, 12)


def test_hooks_of_a_module_are_heeded() -> None:
    module = nn.Sequential(nn.ReLU(), nn.ReLU(), nn.ReLU())
    module[0].register_forward_hook(lambda module, args, output: output[:, :2])
    module[2].register_forward_pre_hook(lambda module, args: (args[0][:, :1],))
    graph = same_both_ways(module, MAP)
    assert [node.output.shape[0] for node in graph] == [4, 2, 2, 1, 1]


def test_a_global_hook_sees_every_module() -> None:
    seen: SimpleQueue[str] = SimpleQueue()  # a list would be put back
    module = nn.Sequential(nn.Conv2d(4, 2, 1), nn.ReLU())
    before = register_module_forward_pre_hook(lambda module, args: seen.put(type(module).__name__))
    after = register_module_forward_hook(lambda module, args, output: output + 1)
    try:
        graph = same_both_ways(module, MAP)
    finally:
        before.remove()
        after.remove()
    assert [seen.get_nowait() for _ in range(seen.qsize())] == ["Sequential", "Conv2d", "ReLU"] * 2
    assert sum(node.path.rpartition(".")[2].startswith("add") for node in graph) == 3


def test_another_threads_modules_run_as_ever() -> None:
    other = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    outputs: SimpleQueue[torch.Tensor] = SimpleQueue()  # a list would be put back

    def meanwhile(x: torch.Tensor) -> torch.Tensor:
        thread = threading.Thread(target=lambda: outputs.put(other(torch.ones(2, 3))))
        thread.start()
        thread.join()
        return x.relu()

    graph = cn.read(nn.Sequential(nn.Conv2d(4, 2, 1), Each(meanwhile)), MAP)
    assert [node.path for node in graph] == ["0", "1"]
    torch.testing.assert_close(outputs.get_nowait(), other(torch.ones(2, 3)))


def test_after_an_error_modules_are_called_as_before() -> None:
    module = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Conv2d(5, 2, 1)))
    with pytest.raises(cn.UserError, match=r"1.0 \(Conv2d\) failed for the input 4x10x12: RuntimeError"):
        cn.read(module, MAP)
    assert nn.Module.__call__ is CALL
    assert module[0](torch.ones(1)) == 1


def test_an_error_that_the_module_catches_leaves_no_trace() -> None:
    wrong, right = nn.Conv2d(5, 2, 1), nn.Conv2d(4, 2, 1)

    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wrong, self.right = wrong, right

        def forward(self, x: torch.Tensor) -> Any:
            try:
                return self.wrong(x)
            except RuntimeError:
                return self.right(x)

    assert len(same_both_ways(nn.Sequential(Careful(), nn.ReLU()), MAP).nodes) == 2


def test_reading_while_reading() -> None:
    inner = nn.Sequential(nn.Conv2d(4, 2, 1), nn.ReLU())
    found: SimpleQueue[int] = SimpleQueue()  # a list would be put back

    def reads(x: torch.Tensor) -> torch.Tensor:
        found.put(account(cn.read(inner, MAP)).totals.macs)
        return x.relu()

    graph = same_both_ways(nn.Sequential(nn.ReLU(), Each(reads), nn.Tanh()), MAP)
    assert [repr(node.layer) for node in graph] == ["ReLU()", "ReLU()", "Tanh()"]
    assert [found.get_nowait() for _ in range(found.qsize())] == [4 * 2 * 120] * 2


def test_a_mode_of_the_module_sees_the_functions_that_its_parts_call() -> None:
    class Doubles(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            return out * 2 if func is F.relu else out

    relu = nn.ReLU()

    def forward(x: torch.Tensor) -> torch.Tensor:
        with Doubles():
            return relu(x)  # type: ignore[no-any-return]

    assert len(same_both_ways(Each(forward, relu=relu), MAP).nodes) == 2


def test_numbers_that_are_no_stand_ins_are_computed() -> None:
    conv = nn.Conv2d(1, 1, 1)
    module = Each(lambda x: x * nn.ReLU()(torch.full((1,), 3.0)).item(), conv=conv)
    assert [repr(node.layer) for node in same_both_ways(module, MAP)] == ["Constant(3.0)"]


SAMPLE = (
    "alexnet vgg11_bn googlenet inception_v3 resnet18 resnext50_32x4d densenet121 squeezenet1_0 mobilenet_v2"
    " mobilenet_v3_small shufflenet_v2_x0_5 efficientnet_b0 regnet_y_400mf convnext_tiny vit_b_16 swin_t maxvit_t"
)
OTHERS = (
    "seresnet50 resnetv2_50 hrnet_w18_small nfnet_l0 mobilevit_xxs ghostnet_100 repvgg_a0 mixnet_s dpn68 levit_128s"
    " poolformer_s12 cspresnet50"
)


NETWORKS = [*(f"torchvision:{name}" for name in SAMPLE.split()), *(f"timm:{name}" for name in OTHERS.split())]
IN_TRAINING = ("torchvision:googlenet", "torchvision:inception_v3", "timm:dpn68")


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_the_peers_are_the_same_both_ways(name: str) -> None:
    module, _ = on_meta(name)
    same_both_ways(module.eval(), (3, 224, 224))


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", others_in_full(IN_TRAINING, NETWORKS))
def test_also_in_training(name: str) -> None:
    """Where batch norms are run, whoever calls them, and auxiliary heads as well."""
    module, _ = on_meta(name)
    size = 299 if name.endswith("inception_v3") else 224
    same_both_ways(module.train(), (3, size, size))
