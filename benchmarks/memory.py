"""Memory: predicted by us and by torchinfo, beside what torch's allocator really handed out.

    python benchmarks/memory.py [--size 128] [--batch 1 --batch 16] [--markdown] [NETWORK ...]

NETWORK is a name of the catalogue, `torchvision:NAME` or `timm:NAME`; the default is a list of 32. On a CPU, every
allocation and release is followed (torch's profiler); on a GPU, it is `torch.cuda.max_memory_allocated`. All figures
are the most that is held at once, with weights, statistics, input and, in training (SGD with momentum, the second
step), the optimiser's state. "kernels" is what convolutions take for themselves besides, and is not predicted.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cnnatomy as cn
from _machine import describe

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # for peers

CATALOGUE = (
    *("lenet-5", "alexnet", "alexnet-torchvision", "zfnet", "vgg-11", "vgg-16-bn", "googlenet", "bn-inception"),
    *("inception-v3", "squeezenet-1.0", "squeezenet-1.1", "mobilenet-v1-1.0", "mobilenet-v2", "densenet-121"),
    *("resnet-18", "resnet-50", "preact-resnet-50", "resnext-50-32x4d", "se-resnet-50", "resnet-56-cifar", "xception"),
    *("shufflenet-g3", "dpn-92", "nasnet-a-mobile"),
)
PEERS = (
    *("torchvision:resnet50", "torchvision:densenet121", "torchvision:mobilenet_v3_large"),
    *("torchvision:shufflenet_v2_x1_0", "timm:efficientnet_b0", "timm:regnety_008", "timm:ghostnet_100"),
    *("timm:res2net50_26w_4s",),
)


class Line(NamedTuple):
    name: str
    batch: int
    training: bool
    ours: int
    torchinfo: int
    measured: int
    kernels: int
    ours_run: int  # without what was there before the run
    measured_run: int

    @property
    def error(self) -> float:
        return self.ours / self.measured - 1

    @property
    def error_run(self) -> float:
        return self.ours_run / self.measured_run - 1

    @property
    def error_with_kernels(self) -> float:
        return self.ours / (self.measured + self.kernels) - 1

    @property
    def error_torchinfo(self) -> float:
        return self.torchinfo / (self.measured + self.kernels) - 1


def module_of(name: str, size: int) -> tuple[Any, tuple[int, ...]]:
    """The torch module of a name, and the shape of its input."""
    source, _, model = name.partition(":")
    if not model:
        network = cn.network(name)
        own = network.input
        shape = own if own[1] <= 64 else (own[0], size, size)
        return network.build(shape), shape
    import peers

    if source == "torchvision":
        return getattr(peers.torchvision().models, model)(weights=None), (3, size, size)
    return peers.timm().create_model(model), (3, size, size)


def lines_of(name: str, batch: int, size: int, device: str) -> Iterator[Line]:
    """Inference and training of one network."""
    import torch
    import torchinfo

    from _allocations import measure_cuda, measure_inference, measure_training
    from cnnatomy.analysis.memory import footprint as memory
    from cnnatomy.analysis.memory.setting import Setting

    module, shape = module_of(name, size)
    x = torch.randn(batch, *shape, device=device)
    module.to(device)
    setting = Setting(batch=batch, device=device)
    for training in (False, True):
        module.train(training)
        graph = cn.read(module, shape) if ":" in name else cn.network(name).graph(shape)
        predicted = (memory.training if training else memory.inference)(graph, setting)
        summary = torchinfo.summary(
            module, input_data=x, verbose=0, mode="train" if training else "eval", device=device, batch_dim=None
        )
        theirs = summary.total_input + summary.total_output_bytes + summary.total_param_bytes
        weights = sum(tensor.nbytes for tensor in module.parameters())
        before = weights * (2 if training else 1) + sum(tensor.nbytes for tensor in module.buffers()) + x.nbytes
        if device == "cuda":
            measured = measure_cuda(module, x, training)
        else:
            measured = (measure_training if training else measure_inference)(module, x)
        kernels = measured.everything - measured.tensors
        run = (predicted.peak, measured.tensors)
        yield Line(name, batch, training, predicted.total, theirs, before + measured.tensors, kernels, *run)
        module.zero_grad(set_to_none=True)
    gc.collect()


SIZES, ERRORS = ("ours", "torchinfo", "measured", "kernels"), ("ours", "beside weights", "torchinfo")
HEADINGS = ("network", "batch", "run", *SIZES, *ERRORS)


def cells(line: Line) -> list[str]:
    sizes = [f"{size / 2**20:,.1f}" for size in (line.ours, line.torchinfo, line.measured, line.kernels)]
    errors = [f"{error:+.1%}" for error in (line.error, line.error_run, line.error_torchinfo)]
    return [line.name, str(line.batch), "training" if line.training else "inference", *sizes, *errors]


def show(row: list[str] | tuple[str, ...], markdown: bool) -> None:
    if markdown:
        print("| " + " | ".join(row) + " |", flush=True)
        return
    widths = (31, -5, 9, -9, -9, -9, -8, -7, -14, -9)  # negative: to the right
    pairs = zip(row, widths, strict=True)
    aligned = [cell.ljust(width) if width > 0 else cell.rjust(-width) for cell, width in pairs]
    print("  ".join(aligned), flush=True)


def conclude(lines: list[Line]) -> None:
    """Median and worst error of each kind."""
    kinds = {
        "ours": "error",
        "ours, beside what was there before the run": "error_run",
        "ours, against everything, kernels' workspace included": "error_with_kernels",
        "torchinfo, against everything": "error_torchinfo",
    }
    for training in (False, True):
        chosen = [line for line in lines if line.training is training]
        for heading, kind in kinds.items():
            errors = [abs(getattr(line, kind)) for line in chosen]
            worst = max(chosen, key=lambda line: abs(getattr(line, kind)))
            print(
                f"- {'training' if training else 'inference'}, {heading}: median error {statistics.median(errors):.2%},"
                f" worst {max(errors):.1%} ({worst.name}, batch {worst.batch})"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=(*CATALOGUE, *PEERS))
    parser.add_argument("--size", type=int, default=128, help="rows and columns of the images")
    parser.add_argument("--batch", type=int, action="append", help="1 and 16 unless given")
    parser.add_argument("--markdown", action="store_true", help="a table for docs/memory.md")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    print(describe() + "\n")
    print("Sizes in MiB; the last three columns are errors.\n")
    show(HEADINGS, options.markdown)
    if options.markdown:
        show(["---"] + ["---:"] * (len(HEADINGS) - 1), True)
    lines: list[Line] = []
    for name in options.networks:
        for batch in options.batch or (1, 16):
            for line in lines_of(name, batch, options.size, options.device):
                lines.append(line)
                show(cells(line), options.markdown)
    print()
    conclude(lines)


if __name__ == "__main__":
    main()
