"""What many tests need: tensors for shapes, torch's own count of operations, one layer or block as a built module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from click.testing import CliRunner, Result
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cnnatomy.cli import main
from cnnatomy.design import Block, Graph
from cnnatomy.design.build import build
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


def flops(module: nn.Module, *inputs: torch.Tensor) -> int:
    """torch's own count: 2 for each multiply-accumulate of a matrix product or convolution.

    oneDNN is switched off, because torch does not look into its fused recurrent layers.
    """
    was_training = module.training
    module.eval()
    fused = torch.backends.mkldnn.enabled
    torch._C._set_mkldnn_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(*inputs)
    finally:
        torch._C._set_mkldnn_enabled(fused)
        module.train(was_training)
    return counter.get_total_flops()


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


def shapes_by_path(module: nn.Module, *inputs: torch.Tensor) -> dict[str, Shape]:
    """Runs a module and returns what each submodule put out, by its name; torch says so, through hooks."""
    seen: dict[str, Shape] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                seen[name] = tuple(output.shape[1:])

        return hook

    handles = [part.register_forward_hook(watch(name)) for name, part in module.named_modules() if name]
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return seen
