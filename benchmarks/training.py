"""Images per second of `cnnatomy.training.fitting` against a plain hand-written torch loop, on LeNet-5.

Same network, same images in memory, same batch size, optimiser and loss, in one process; the two take turns, and the
best of each counts, because whatever else the machine does can only make a run slower. Exits 1 below the target.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace

import torch
from torch.nn import functional as F

import cnnatomy as cn
from _machine import describe
from cnnatomy.data import Data, load
from cnnatomy.data.dataset import DEBIAN
from cnnatomy.training import Recipe, fit, initialise

TARGET = 0.9
EPOCHS = 3
"""In each turn; the first is a warm-up and is not counted."""
PICTURES = 12_800
"""Of the training split at most: short turns, so that both meet the same disturbances."""


def plain(network: cn.Network, data: Data, recipe: Recipe) -> list[float]:
    """A hand-written loop: images per second of each epoch, training alone."""
    torch.manual_seed(recipe.seed)
    module = network.build(data.shape)
    initialise(module)
    optimiser = torch.optim.SGD(
        module.parameters(), recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    pairs = list(data.train.batches(1024))
    pixels, labels = torch.cat([images for images, _ in pairs]).float() / 255, torch.cat([part for _, part in pairs])
    pixels = (pixels - data.normalisation.mean[0]) / data.normalisation.std[0]
    rates = []
    for _ in range(recipe.epochs):
        started = time.perf_counter()
        for indices in torch.randperm(len(labels)).split(recipe.batch_size):
            loss = F.cross_entropy(module(pixels[indices]), labels[indices])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        rates.append(len(labels) / (time.perf_counter() - started))
    return rates


def shortened(data: Data) -> Data:
    """At most `PICTURES` to train on, and few to validate and test, which is not what is measured."""
    train, val, test = (
        replace(split, indices=split.indices[:most])
        for split, most in ((data.train, PICTURES), (data.val, 256), (data.test, 256))
    )
    return replace(data, train=train, val=val, test=test)


def main() -> int:
    """Prints both rates, their ratio and the machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    installed = "fashion-mnist" if DEBIAN["fashion-mnist"].is_dir() else "digits"
    parser.add_argument("--data", default=installed, help=f"digits, fashion-mnist or a folder (default: {installed})")
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--batch-size", type=int, nargs="*", default=[64, 128])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(describe())
    network = cn.network("lenet-5", classes=10)
    data = shortened(load(options.data, (1, 32, 32)))
    print(f"LeNet-5, {len(data.train):,} images of {options.data} in memory, {torch.get_num_threads()} threads")
    worst = 1.0
    for size in options.batch_size:
        recipe = Recipe(batch_size=size, epochs=EPOCHS, patience=EPOCHS)
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(options.turns):
            theirs += plain(network, data, recipe)[1:]
            ours += [row.images_per_second for row in fit(network, data, recipe).rows][1:]
        ratio, middle = max(ours) / max(theirs), statistics.median(ours) / statistics.median(theirs)
        print(
            f"batches of {size}: fit {max(ours):,.0f} images/s, plain loop {max(theirs):,.0f} images/s,"
            f" ratio {ratio:.2f} (of the medians {middle:.2f}; target {TARGET})"
        )
        worst = min(worst, ratio)
    return 0 if worst >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
