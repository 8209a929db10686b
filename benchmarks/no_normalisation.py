"""How deep a plain chain trains without batch norm, by learning rate and start: what the rule no-normalisation says.

    python benchmarks/no_normalisation.py

Chains of 3x3 convolutions of 32 channels with ReLU, global average pooling and a fully connected layer, on
Fashion-MNIST: 300 steps of 64 images, SGD with momentum 0.9 at a constant learning rate, one thread. The starts are
torch's own (Kaiming uniform with a = sqrt(5): a third of the variance, by which a chain of ReLU keeps its size) and He
et al. 2015's, with biases of 0. Runs are kept in benchmarks/results/no_normalisation.json as they come; those that are
there are not run again.
"""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from _datasets import fashion_mnist
from _machine import describe
from cnnatomy.data.sources.idx import read_idx

RESULTS = Path(__file__).parent / "results" / "no_normalisation.json"
DEPTHS = (5, 7, 11, 19)
RATES = (0.01, 0.03, 0.1)
WAYS = ("torch's start", "He's start", "batch norm")
WIDTH, STEPS, BATCH, TESTED = 32, 300, 64, 2_000


def images(split: str) -> tuple[Tensor, Tensor]:
    """Standardised images and their classes."""
    folder = fashion_mnist()
    x = torch.from_numpy(read_idx(folder / f"{split}-images-idx3-ubyte.gz", 3))[:, None] / 255
    return (x - 0.286) / 0.353, torch.from_numpy(read_idx(folder / f"{split}-labels-idx1-ubyte.gz", 1)).long()


def chain(depth: int, way: str) -> nn.Sequential:
    """That many layers with weights: convolutions on 14x14 pixels, from the middle on 7x7, and the classifier."""
    layers: list[nn.Module] = []
    for i in range(depth - 1):
        stride = 2 if i in (0, depth // 2) else 1
        conv = nn.Conv2d(WIDTH if i else 1, WIDTH, 3, stride, 1, bias=way != "batch norm")
        if way == "He's start":
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)
        layers += [conv, *([nn.BatchNorm2d(WIDTH)] if way == "batch norm" else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 10))


def trained(net: nn.Module, rate: float, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """The share of test images that a network is right about after a few hundred steps."""
    optimizer = torch.optim.SGD(net.parameters(), rate, momentum=0.9)
    for _ in range(STEPS):
        picked = torch.randint(len(train[1]), (BATCH,))
        loss = nn.functional.cross_entropy(net(train[0][picked]), train[1][picked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return (net.eval()(test[0]).argmax(1) == test[1]).float().mean().item()


def run(depth: int, way: str, rate: float, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """One network's accuracy and time."""
    torch.manual_seed(0)
    start = time.perf_counter()
    right = trained(chain(depth, way), rate, train, (test[0][:TESTED], test[1][:TESTED]))
    seconds = time.perf_counter() - start
    return {"depth": depth, "way": way, "rate": rate, "accuracy": round(right, 4), "seconds": round(seconds, 1)}


def table(runs: list[dict[str, Any]]) -> str:
    """Accuracy in per cent, a row for each depth and way."""
    found = {(one["depth"], one["way"], one["rate"]): one["accuracy"] for one in runs}
    lines = [f"| layers | | {' | '.join(f'{rate:g}' for rate in RATES)} |", f"| --- | --- |{' ---: |' * len(RATES)}"]
    for depth, way in itertools.product(DEPTHS, WAYS):
        values = [found.get((depth, way, rate)) for rate in RATES]
        cells = " | ".join("" if value is None else f"{value:.0%}" for value in values)
        lines.append(f"| {depth} | {way} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    print(describe())
    torch.set_num_threads(1)
    runs = json.loads(RESULTS.read_text(encoding="utf-8"))["runs"] if RESULTS.exists() else []
    done = {(one["depth"], one["way"], one["rate"]) for one in runs}
    train, test = images("train"), images("t10k")
    for key in itertools.product(DEPTHS, WAYS, RATES):
        if key not in done:
            runs.append(run(*key, train, test))
            RESULTS.write_text(json.dumps({"machine": describe(), "runs": runs}, indent=1) + "\n", encoding="utf-8")
            print(runs[-1], flush=True)
    print(table(runs))


if __name__ == "__main__":
    main()
