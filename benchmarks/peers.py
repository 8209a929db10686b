"""Reading a torch module and accounting for all of it: how long, and how right, beside other people's tools.

    python benchmarks/peers.py [MODEL ...] [--path FOLDER ...] [--write docs/peers.md]

Every tool gets each of 20 models of torchvision and timm, in evaluation mode, batch 1; making the module is not timed.
Seconds are medians of 5 after a warm-up. "meta" runs a tool on torch's meta device, where nothing is computed. The
judge of MACs is torch's FlopCounterMode (half of its FLOPs), of parameters `sum(p.numel() for p in parameters())`.
`--path` adds folders to the import path: `pip install --target FOLDER --no-deps torchinfo fvcore iopath yacs tabulate
termcolor portalocker tqdm ptflops thop calflops torchview graphviz` is enough for most. A missing tool is left
out. `thop` is whichever of thop and ultralytics-thop is found first; onnx-tool needs an exported file and is not run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import torch
from torch.utils.flop_counter import FlopCounterMode

import cnnatomy as cn
from _machine import describe
from cnnatomy.analysis import account
from peers import timm, torchvision

MODELS = (
    "torchvision:alexnet torchvision:vgg16 torchvision:googlenet torchvision:inception_v3 torchvision:resnet18"
    " torchvision:resnet50 torchvision:resnet152 torchvision:resnext50_32x4d torchvision:densenet121"
    " torchvision:squeezenet1_0 torchvision:mobilenet_v2 torchvision:mobilenet_v3_large torchvision:shufflenet_v2_x1_0"
    " torchvision:efficientnet_b0 torchvision:regnet_y_400mf torchvision:convnext_tiny torchvision:vit_b_16"
    " timm:seresnet50 timm:resnetv2_50 timm:hrnet_w18_small"
)

Counts = tuple[int | None, int | None]
"""MACs and parameters."""
Tool = Callable[[Any, Any], Counts]


class Result(NamedTuple):
    """One tool on one model: seconds, MACs and parameters; or what went wrong."""

    seconds: float | None = None
    macs: int | None = None
    parameters: int | None = None
    error: str = ""


def ours(module: Any, x: Any) -> Counts:
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
    return counter.get_total_flops() // 2, None


def torchinfo(module: Any, x: Any) -> Counts:
    from torchinfo import summary

    found = summary(module, input_data=x, verbose=0, device=x.device)
    return found.total_mult_adds, found.total_params


def fvcore(module: Any, x: Any) -> Counts:
    from fvcore.nn import FlopCountAnalysis, parameter_count

    analysis = FlopCountAnalysis(module, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return int(analysis.total()), parameter_count(module)[""]


def ptflops(module: Any, x: Any) -> Counts:
    from ptflops import get_model_complexity_info

    macs, parameters = get_model_complexity_info(
        module, tuple(x.shape[1:]), as_strings=False, print_per_layer_stat=False, backend="pytorch"
    )
    return int(macs), int(parameters)


def thop(module: Any, x: Any) -> Counts:
    from thop import profile

    macs, parameters = profile(module, inputs=(x,), verbose=False)
    return int(macs), int(parameters)


def calflops(module: Any, x: Any) -> Counts:
    from calflops import calculate_flops

    _, macs, parameters = calculate_flops(
        module, tuple(x.shape), output_as_string=False, print_results=False, print_detailed=False
    )
    return int(macs), int(parameters)


def deepspeed(module: Any, x: Any) -> Counts:
    from deepspeed.profiling.flops_profiler import get_model_profile

    _, macs, parameters = get_model_profile(
        module, args=[x], print_profile=False, detailed=False, warm_up=0, as_string=False
    )
    return int(macs), int(parameters)


def torchview(module: Any, x: Any) -> Counts:
    from torchview import draw_graph

    draw_graph(module, input_data=x, device=x.device)
    return None, None


TOOLS: dict[str, tuple[Tool, str]] = {
    "cnnatomy": (ours, "meta"),
    "eager forward alone": (eager_forward, "cpu"),
    "FlopCounterMode": (flop_counter, "cpu"),
    "FlopCounterMode, meta": (flop_counter, "meta"),
    "torchinfo": (torchinfo, "cpu"),
    "torchinfo, meta": (torchinfo, "meta"),
    "fvcore": (fvcore, "cpu"),
    "fvcore, meta": (fvcore, "meta"),
    "ptflops": (ptflops, "cpu"),
    "ptflops, meta": (ptflops, "meta"),
    "thop": (thop, "cpu"),
    "thop, meta": (thop, "meta"),
    "calflops": (calflops, "cpu"),
    "calflops, meta": (calflops, "meta"),
    "deepspeed": (deepspeed, "cpu"),
    "deepspeed, meta": (deepspeed, "meta"),
    "torchview": (torchview, "cpu"),
    "torchview, meta": (torchview, "meta"),
}
NO_PEER = ("cnnatomy", "eager forward alone")


def made(name: str, device: str) -> tuple[Any, Any]:
    """A fresh model and its input."""
    peer, _, own = name.partition(":")
    make: Any = timm().create_model if peer == "timm" else torchvision().models.get_model
    module = make(own).to(device).eval()
    shape = tuple(module.default_cfg["input_size"]) if peer == "timm" else (3, 224, 224)
    return module, torch.empty(1, *shape, device="meta") if device == "meta" else torch.rand(1, *shape)


def run(tool: Tool, name: str, device: str) -> Result:
    """Medians of 5 runs after one to warm up; whatever a tool prints is swallowed."""
    seconds = []
    counts: Counts = (None, None)
    try:
        module, x = made(name, device)
        for _ in range(6):
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                start = time.perf_counter()
                counts = tool(module, x)
                seconds.append(time.perf_counter() - start)
    except Exception as error:
        return Result(error=f"{type(error).__name__}: {error}".split("\n")[0][:100])
    return Result(statistics.median(seconds[1:]), *counts)


def percent(got: int | None, truth: int) -> str:
    if got is None:
        return ""
    return "exact" if got == truth else f"{100 * (got - truth) / truth:+.2g} %"


def report(models: list[str], results: dict[str, dict[str, Result]]) -> list[str]:
    """Markdown: a table of times, one of MACs, one of parameters."""
    lines = ["# Beside other people's tools", "", "Written by `benchmarks/peers.py`, on " + describe() + ".", ""]
    present = [tool for tool in TOOLS if any(r.seconds is not None for r in results[tool].values())]
    lines += ["Not here, or failed on every model: " + (", ".join(set(TOOLS) - set(present)) or "none") + ".", ""]
    header = ["| model | " + " | ".join(present) + " |", "| --- |" + " ---: |" * len(present)]
    lines += ["## Milliseconds", "", *header]
    for model in models:
        cells = [results[tool][model] for tool in present]
        lines.append(
            f"| {model} | " + " | ".join(f"{1e3 * r.seconds:.1f}" if r.seconds else "failed" for r in cells) + " |"
        )
    ratios = []
    for model in models:
        peers = [s for tool in present if tool not in NO_PEER and (s := results[tool][model].seconds)]
        mine = results["cnnatomy"][model].seconds
        if peers and mine:
            ratios.append(min(peers) / mine)
    if ratios:
        lines += ["", f"The fastest peer takes {statistics.median(ratios):.1f} times as long at the median over models"]
        lines[-1] += f" (from {min(ratios):.1f} to {max(ratios):.1f})."
    for heading, field, judge in (("MACs", "macs", 0), ("Parameters", "parameters", 1)):
        lines += ["", f"## {heading}, beside the truth", "", *header]
        for model in models:
            module, x = made(model, "meta")
            truth = (flop_counter(module, x)[0] or 1, sum(p.numel() for p in module.parameters()))[judge]
            cells = [percent(getattr(results[tool][model], field), truth) for tool in present]
            lines.append(f"| {model} | " + " | ".join(cells) + " |")
    failures = [f"- {tool} on {m}: {r.error}" for tool in TOOLS for m, r in results[tool].items() if r.error]
    return [*lines, "", "## Failures", "", *(failures or ["none"])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS.split())
    parser.add_argument("--path", action="append", default=[])
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    sys.path += options.path
    warnings.simplefilter("ignore")
    results: dict[str, dict[str, Result]] = {
        name: {model: run(tool, model, device) for model in options.models} for name, (tool, device) in TOOLS.items()
    }
    text = "\n".join(report(list(options.models), results))
    print(text)
    if options.write:
        options.write.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
