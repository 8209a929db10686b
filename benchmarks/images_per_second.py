"""Images per second of `cnnatomy.training.fit` beside plain hand-written torch loops.

    python benchmarks/images_per_second.py [NETWORK ...] [--device cuda --more 20]

Same network, images in memory, batch size, optimiser, loss and device, in one process, without augmentation. Two plain
loops: one as most people write it, with a DataLoader over a TensorDataset, and the shortest there is, which keeps all
images on the device and indexes them. The three take turns, and the best epoch of each counts, because whatever else
the machine does can only make one slower; the first epoch of a turn is a warm-up. The images are random numbers, on
which a network is as fast as on others. Exits 1 where `fit` is below `TARGET` of the faster plain loop.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import cnnatomy as cn
from _machine import describe
from cnnatomy.data import Data, load
from cnnatomy.data.image_set import TEST, TRAIN, VAL, Fetched, ImageSet
from cnnatomy.data.images import Stored
from cnnatomy.data.truth import Classes
from cnnatomy.machine import choose_device
from cnnatomy.training import Recipe, fit

TARGET = 0.9
EPOCHS = 3
"""In each turn; the first is a warm-up and is not counted."""
CLASSES = 10
HELD_BACK = 32
"""Images to validate and to test on each, which is not what is measured."""


@dataclass(frozen=True)
class Case:
    """What is trained: a network on so many images of a shape, in batches."""

    network: str
    shape: tuple[int, int, int]
    batch_size: int
    images: int


CASES = (
    Case("lenet-5", (1, 32, 32), 64, 6_400),
    Case("resnet-20-cifar", (3, 32, 32), 128, 1_280),
    Case("mobilenet-v2", (3, 96, 96), 32, 192),
)

Loop = Callable[[cn.Network, Case, Tensor, Tensor, torch.device], list[float]]
"""Images per second of each epoch, for images uint8 and labels."""


def with_data_loader(
    network: cn.Network, case: Case, images: Tensor, labels: Tensor, device: torch.device
) -> list[float]:
    """As most people write it."""
    batches = DataLoader(TensorDataset(images, labels), case.batch_size, shuffle=True)
    return _train(network, case, lambda: batches, device)


def with_indices(network: cn.Network, case: Case, images: Tensor, labels: Tensor, device: torch.device) -> list[float]:
    """The shortest there is: everything is on the device already."""
    images, labels = images.to(device), labels.to(device)

    def batches() -> Iterable[tuple[Tensor, Tensor]]:
        for indices in torch.randperm(len(labels), device=device).split(case.batch_size):
            yield images[indices], labels[indices]

    return _train(network, case, batches, device)


def _train(
    network: cn.Network, case: Case, batches: Callable[[], Iterable[tuple[Tensor, Tensor]]], device: torch.device
) -> list[float]:
    torch.manual_seed(0)
    module = network.build(case.shape).to(device).train()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    rates = []
    for _ in range(EPOCHS):
        started, trained = time.perf_counter(), 0
        for images, labels in batches():
            images, labels = images.to(device), labels.to(device)
            optimiser.zero_grad()
            loss = F.cross_entropy(module((images.float() / 255 - 0.5) / 0.29), labels)
            loss.backward()
            optimiser.step()
            trained += len(labels)
        loss.item()  # waits for the device
        rates.append(trained / (time.perf_counter() - started))
    return rates


def as_data(case: Case, images: Tensor, labels: Tensor) -> Data:
    """The same images for `fit`, with a few more to validate and test on."""
    more = random_images(case, 2 * HELD_BACK, seed=1)
    pixels, targets = torch.cat([images, more[0]]).numpy(), torch.cat([labels, more[1]]).numpy()
    splits = np.repeat(np.array([TRAIN, VAL, TEST], np.int8), [len(labels), HELD_BACK, HELD_BACK])
    return load(
        ImageSet(
            source="random numbers",
            truth=Classes(tuple(map(str, range(CLASSES))), targets),
            splits=splits,
            has=frozenset({TRAIN, VAL, TEST}),
            fetch=lambda index, frame: Fetched(pixels[index], Stored(case.shape[1:])),
            names=tuple(map(str, range(len(targets)))),
        ),
        case.shape,
    )


def random_images(case: Case, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images uint8 and labels; every class is among them."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randint(0, 256, (count, *case.shape), dtype=torch.uint8, generator=generator),
        torch.arange(count) % CLASSES,
    )


def compare(case: Case, device: torch.device, turns: int) -> float:
    """Prints a line; how fast `fit` is, as a part of the faster plain loop."""
    network = cn.network(case.network, classes=CLASSES, input=case.shape)
    images, labels = random_images(case, case.images, seed=0)
    data = as_data(case, images, labels)
    recipe = Recipe(learning_rate=0.01, batch_size=case.batch_size, epochs=EPOCHS)
    loops: dict[str, Loop] = {"DataLoader": with_data_loader, "indices": with_indices}
    best = dict.fromkeys(("fit", *loops), 0.0)
    for _ in range(turns):
        for name, loop in loops.items():
            best[name] = max(best[name], *loop(network, case, images, labels, device)[1:])
        outcome = fit(network, data, recipe, device=device.type).outcome
        assert outcome is not None
        best["fit"] = max(best["fit"], *(epoch.images_per_second for epoch in outcome.epochs[1:]))
    shape = "x".join(map(str, case.shape))
    rates = "".join(f"{best[name]:>12,.0f} {best['fit'] / best[name]:>6.2f}" for name in loops)
    print(f"{case.network:<16} {shape:>8} {case.batch_size:>5} {best['fit']:>10,.0f}{rates}", flush=True)
    return best["fit"] / max(best[name] for name in loops)


def main() -> int:
    """Prints the machine, and for each network the rates and the ratios of `fit` to the plain loops."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [case.network for case in CASES]
    parser.add_argument("network", nargs="*", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--more", type=int, default=1, help="so many times the images, for a fast device (default: 1)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    if unknown := set(options.network) - set(names):
        parser.error(f"no case {', '.join(unknown)}: one of {', '.join(names)}")
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{describe()}; {device.type}, {where}. Images per second, and fit as a part of each plain loop:")
    print(f"{'network':<16} {'input':>8} {'batch':>5} {'fit':>10}{'DataLoader':>12} {'':>6}{'indices':>12}")
    cases = [case for case in CASES if case.network in (options.network or names)]
    ratios = [compare(replace(case, images=case.images * options.more), device, options.turns) for case in cases]
    return 0 if min(ratios) >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
