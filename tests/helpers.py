"""What many tests need: tensors for shapes, torch's own count of operations, one layer or block as a built module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import cnnatomy as cn
from _allocations import outputs_of
from cnnatomy.cli import main
from cnnatomy.design import Block, Graph
from cnnatomy.design.build import build
from cnnatomy.errors import ShapeError
from cnnatomy.layers import Layer, MaxUnpool
from cnnatomy.layers.layer import Shape


def run_command(*arguments: str | Path, code: int = 0) -> Result:
    """A command of the command line, which ends with this code; no mistake may end in a traceback."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def tensors(shapes: tuple[Shape, ...], batch: int = 2, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """A random tensor for each shape."""
    return tuple(torch.randn(batch, *shape, dtype=dtype) for shape in shapes)


def inputs_of(layer: Layer, shapes: tuple[Shape, ...], batch: int = 2) -> tuple[torch.Tensor, ...]:
    """Random tensors that a layer can read: all normal, but for the positions that a max unpool reads."""
    got = tensors(shapes, batch)
    if not isinstance(layer, MaxUnpool):
        return got
    pixels = _pixels(layer.output_shape(*shapes))
    some = _pixels(shapes[1])
    where = torch.stack([torch.randperm(pixels)[:some] for _ in range(batch * shapes[1][0])])
    return got[0], where.view(batch, *shapes[1])


def _pixels(shape: Shape) -> int:
    return shape[1] * shape[2]


class Watched(NamedTuple):
    """What torch says of one run of a module: the shapes that submodules put out, by their names, and the FLOPs."""

    shapes: dict[str, Shape]
    outputs: list[Shape]
    flops: int


class _BatchNormOnMeta(TorchFunctionMode):
    """Takes three quarters off a run on the meta device, where torch makes a dozen operations of each batch norm.

    That a batch norm puts out the shape it reads is told by the tests of layers, and by those of its parameters.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.batch_norm and args[0].is_meta:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


class _CountFlops(TorchDispatchMode):
    """Adds up torch's own formulas, as FlopCounterMode does, which also takes apart all that has none and is slower."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func.overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def watch(module: nn.Module, *inputs: torch.Tensor) -> Watched:
    """Runs a module once, as it is, and returns what torch says of it; hooks tell the shapes.

    FLOPs are torch's own count: 2 for each multiply-accumulate of a matrix product or convolution. oneDNN is switched
    off, because torch does not look into its fused recurrent layers.
    """
    shapes: dict[str, Shape] = {}

    def watcher(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                shapes[name] = tuple(output.shape[1:])

        return hook

    handles = [part.register_forward_hook(watcher(name)) for name, part in module.named_modules() if name]
    fused = torch.backends.mkldnn.enabled
    torch._C._set_mkldnn_enabled(False)
    try:
        with _CountFlops() as counter, _BatchNormOnMeta(), torch.no_grad():
            outputs = outputs_of(module(*inputs))
    finally:
        torch._C._set_mkldnn_enabled(fused)
        for handle in handles:
            handle.remove()
    return Watched(shapes, [tuple(y.shape[1:]) for y in outputs], counter.total)


def flops(module: nn.Module, *inputs: torch.Tensor) -> int:
    """torch's own count for a module in evaluation: see `watch`."""
    was_training = module.training
    try:
        return watch(module.eval(), *inputs).flops
    finally:
        module.train(was_training)


def shapes_by_path(module: nn.Module, *inputs: torch.Tensor) -> dict[str, Shape]:
    """What each submodule puts out, by its name: see `watch`."""
    return watch(module, *inputs).shapes


def on_meta(network: cn.Network) -> tuple[nn.Module, torch.Tensor]:
    """The module without numbers, which torch runs on shapes alone, and two images for it: batch norm needs two."""
    with torch.device("meta"):
        return network.build(), torch.empty(2, *network.input)


def described(graph: Graph) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Name -> shape of all parameters and of all buffers, as the layers of a graph say."""
    parameters: dict[str, Shape] = {}
    buffers: dict[str, Shape] = {}
    for node in graph:
        inputs = [x.shape for x in node.inputs]
        parameters |= {f"{node.path}.{name}": shape for name, shape in node.layer.parameters(*inputs).items()}
        buffers |= {f"{node.path}.{name}": shape for name, shape in node.layer.buffers(*inputs).items()}
    return parameters, buffers


def assert_refused(layer: Layer, shapes: tuple[Shape, ...], words: Iterable[str]) -> None:
    """A layer refuses these shapes in one line, which begins with its name and says all of these words."""
    with pytest.raises(ShapeError) as caught:
        layer.output_shape(*shapes)
    message = str(caught.value)
    assert message.startswith(type(layer).__name__)
    assert "\n" not in message
    assert all(word in message for word in words), message


def trace(describe: Callable[..., Any], *shapes: Shape) -> Graph:
    """The graph of a layer, a block or a function of feature maps."""
    return Graph.trace(describe, *shapes)


def built(describe: Layer | Block | Callable[..., Any], *shapes: Shape) -> nn.Module:
    """The module of a layer, a block or a function of feature maps."""
    return build(Graph.trace(describe, *shapes))


def run(
    describe: Layer | Block | Callable[..., Any], *inputs: torch.Tensor, weights: Mapping[str, Any] | None = None
) -> Any:
    """The output of a layer or block for these tensors, after setting the given weights by name."""
    module = built(describe, *[tuple(x.shape[1:]) for x in inputs]).to(inputs[0].dtype).eval()
    for name, weight in (weights or {}).items():
        with torch.no_grad():
            module.get_parameter(name).copy_(torch.as_tensor(weight))
    return module(*inputs)


def layer_module(layer: Layer, *shapes: Shape, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The module of one layer, in double precision unless told otherwise."""
    return layer.module(*shapes).to(dtype)


def learned(module: nn.Module) -> dict[str, Shape]:
    """Name -> shape of the parameters of a module."""
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}


def stored(module: nn.Module) -> dict[str, Shape]:
    """Name -> shape of the buffers of a module; batch norm's count of batches is no data and left out."""
    return {
        name: tuple(buffer.shape) for name, buffer in module.named_buffers() if not name.endswith("num_batches_tracked")
    }


def mutations(content: bytes, count: int) -> Iterator[bytes]:
    """The content of a file with one byte changed, or cut off somewhere; the same ones each time."""
    draw = Random(0)
    for _ in range(count):
        at = draw.randrange(len(content))
        yield content[:at] if draw.random() < 0.2 else content[:at] + bytes([draw.randrange(256)]) + content[at + 1 :]
