"""One tool on some models, in a process of its own, so that tools of one name and tools that patch torch do not meet.

    python benchmarks/_tools.py TOOL cpu|meta RESULTS.json MODEL ... [--path FOLDER ...]

A model is `torchvision:NAME`, `timm:NAME`, or one of the `PROBES`: something small whose operations are known.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from peers import timm, torchvision

Counts = tuple[float | None, int | None]
"""MACs and parameters."""
Tool = Callable[[Any, Any], Counts]

RUNS, FEWER, SLOW = 5, 2, 2.0
"""How often a tool runs on a model after a warm-up; how often where a run takes more than so many seconds."""


def cnnatomy(module: Any, x: Any) -> Counts:
    import cnnatomy as cn
    from cnnatomy.analysis import account

    graph = cn.read(module, tuple(x.shape[1:]))
    totals = account(graph).totals
    return totals.macs, totals.parameters + sum(torch.Size(shape).numel() for _, shape in graph.unused)


def eager_forward(module: Any, x: Any) -> Counts:
    with torch.no_grad():
        module(x)
    return None, None


def flop_counter(module: Any, x: Any) -> Counts:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(x)
    return counter.get_total_flops() / 2, None


def torchinfo(module: Any, x: Any) -> Counts:
    from torchinfo import summary

    found = summary(module, input_data=x, verbose=0, device=x.device)
    return found.total_mult_adds, found.total_params


def fvcore(module: Any, x: Any) -> Counts:
    from fvcore.nn import FlopCountAnalysis, parameter_count

    analysis = FlopCountAnalysis(module, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return analysis.total(), parameter_count(module)[""]


def ptflops(module: Any, x: Any) -> Counts:
    from ptflops import get_model_complexity_info

    return get_model_complexity_info(  # type: ignore[no-any-return]
        module, tuple(x.shape[1:]), as_strings=False, print_per_layer_stat=False, backend="pytorch"
    )


def thop(module: Any, x: Any) -> Counts:
    from thop import profile

    return profile(module, inputs=(x,), verbose=False)  # type: ignore[no-any-return]


def calflops(module: Any, x: Any) -> Counts:
    from calflops import calculate_flops

    _, macs, parameters = calculate_flops(
        module, tuple(x.shape), output_as_string=False, print_results=False, print_detailed=False
    )
    return macs, parameters


def deepspeed(module: Any, x: Any) -> Counts:
    from deepspeed.profiling.flops_profiler import get_model_profile

    _, macs, parameters = get_model_profile(
        module, args=[x], print_profile=False, detailed=False, warm_up=0, as_string=False
    )
    return macs, parameters


def torchview(module: Any, x: Any) -> Counts:
    from torchview import draw_graph

    draw_graph(module, input_data=x, device=x.device)
    return None, None


def onnx_tool(file: Any, x: Any) -> Counts:
    import onnx_tool as tool

    graph = tool.loadmodel(file, {"verbose": False}).graph  # what its `model_profile` does
    graph.graph_reorder_nodes()
    graph.shape_infer()
    graph.profile(exclude_ops=tool.NoMacsOps)
    return graph.macs[0], graph.params


TOOLS: dict[str, tuple[Tool, str]] = {
    "cnnatomy": (cnnatomy, "cnnatomy"),
    "eager forward alone": (eager_forward, "torch"),
    "FlopCounterMode": (flop_counter, "torch"),
    "torchinfo": (torchinfo, "torchinfo"),
    "fvcore": (fvcore, "fvcore"),
    "ptflops": (ptflops, "ptflops"),
    "thop": (thop, "thop"),
    "ultralytics-thop": (thop, "ultralytics-thop"),
    "calflops": (calflops, "calflops"),
    "deepspeed": (deepspeed, "deepspeed"),
    "torchview": (torchview, "torchview"),
    "onnx-tool": (onnx_tool, "onnx-tool"),
}
"""Name -> what runs it, and the distribution that it is from."""


class ToolRun(nn.Module):
    """A convolution without bias, and a function after it: tools that look for modules find one."""

    def __init__(self, after: Callable[[torch.Tensor], torch.Tensor] | nn.Module, channels: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, channels, 1, bias=False)
        self.after = after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.conv(x))


class Product(nn.Module):
    """A fully connected layer of which only the weights are a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight)


def attention(x: torch.Tensor) -> torch.Tensor:
    x = x.flatten(2)
    return F.scaled_dot_product_attention(x, x, x)


PROBES: dict[str, tuple[Callable[[], Any], int]] = {
    "bias of a convolution": (lambda: nn.Conv2d(8, 8, 1), 2048),
    "batch norm": (lambda: nn.BatchNorm2d(8), 2048),
    "layer norm": (lambda: nn.LayerNorm(16), 2048),
    "ReLU": (nn.ReLU, 2048),
    "SiLU": (nn.SiLU, 2048),
    "max pool": (lambda: nn.MaxPool2d(2), 2048),
    "average over the map": (lambda: nn.AdaptiveAvgPool2d(1), 2048),
    "x + x": (lambda: lambda x: x + x, 2048),
    "sigmoid(x) * x": (lambda: lambda x: torch.sigmoid(x) * x, 2048),
    "F.linear": (Product, 2048 * 16),
    "matrix product": (lambda: lambda x: torch.matmul(x, x), 2048 * 16),
    "attention": (lambda: attention, 2 * 8 * 8 * 256),
}
"""What -> the module or function, and its elements (of the input), or for products its MACs. The map is 8x16x16."""
PROBE_CONV = 8 * 8 * 16 * 16
EXTRA = {"bias of a convolution": PROBE_CONV}
"""MACs of a probe that are no question."""


def made(name: str, device: str) -> tuple[Any, Any]:
    """A fresh model with made-up weights, on which no time depends, and its input."""
    peer, _, own = name.partition(":")
    if peer == "probe":
        module, shape = ToolRun(PROBES[own][0]()).eval(), (8, 16, 16)
        return module.to(device), torch.ones(1, *shape, device=device)
    make: Any = timm().create_model if peer == "timm" else torchvision().models.get_model
    try:
        with torch.device("meta"):
            module = make(own).eval()
    except (NotImplementedError, RuntimeError):  # it reads values while it is made
        module = make(own).to("meta").eval()
    shape = tuple(module.default_cfg["input_size"]) if peer == "timm" else (3, 224, 224)
    if device != "meta":
        module.to_empty(device=device)
        with torch.no_grad():  # neither too small nor too large for floats, nor equal, which exporters would notice
            for i, tensor in enumerate([*module.parameters(), *module.buffers()]):
                tensor.fill_(1e-3 * (1 + 1e-4 * i))
    return module, torch.ones(1, *shape, device=device)


def exported(module: Any, x: Any, folder: str) -> str:
    """The file that torch's older exporter, which needs nothing but onnx, makes of a module."""
    file = str(Path(folder) / "model.onnx")
    torch.onnx.export(module, (x,), file, dynamo=False)
    return file


def measured(tool: Tool, name: str, device: str, export: bool) -> dict[str, Any]:
    """The median of some runs after one to warm up, and the counts; whatever a tool prints is swallowed."""
    seconds: list[float] = []
    counts: Counts = (None, None)
    quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    try:
        with quiet[0], quiet[1], tempfile.TemporaryDirectory() as folder:
            subject, x = made(name, device)
            if export:
                subject = exported(subject, x, folder)
            runs = 0 if name.startswith("probe:") else RUNS
            while len(seconds) <= runs:
                start = time.perf_counter()
                counts = tool(subject, x)
                seconds.append(time.perf_counter() - start)
                if len(seconds) == 2 and seconds[1] > SLOW:
                    runs = FEWER
            if counts == (None, None) and tool is ptflops:
                raise RuntimeError("says that it was not finished")
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}".split("\n")[0][:160]}
    return {
        "seconds": statistics.median(seconds[1:] or seconds),
        "macs": None if counts[0] is None else float(counts[0]),
        "parameters": None if counts[1] is None else int(counts[1]),
        "runs": runs,
    }


def place(distribution: str, folders: list[str]) -> str:
    """Makes the folder that a distribution is in the first to import from; its version."""
    for folder in folders:
        for found in importlib.metadata.distributions(name=distribution, path=[folder]):
            sys.path.insert(1, folder)
            return found.version
    return importlib.metadata.version(distribution)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("device", choices=("cpu", "meta"))
    parser.add_argument("results", type=Path)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--path", action="append", default=[])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    tool, distribution = TOOLS[options.tool]
    version = place(distribution, options.path)
    sys.path += options.path
    export = tool is onnx_tool
    results = {name: measured(tool, name, options.device, export) for name in options.models}
    options.results.write_text(json.dumps({"version": version, "results": results}), encoding="utf-8")


if __name__ == "__main__":
    main()
