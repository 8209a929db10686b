"""Images per second that are augmented, beside torchvision's transforms v2, image by image, and kornia's on batches.

    python benchmarks/augmentation.py [--images 256 --side 224 --device cuda]

Images in memory, bytes in, `(images, 3, side, side)`; each way gives what the next step of training takes: ours and
torchvision's bytes where nothing is interpolated, float32 elsewhere. The best of five turns counts, in one thread on a
CPU. torchvision and kornia draw other numbers, of the same ranges.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from _machine import describe
from cnnatomy.data.augmentation import Augmentation, augmented
from cnnatomy.machine import choose_device
from cnnatomy.tasks.label import Label

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from image_seeds import image_seeds
from peers import torchvision

TURNS = 5
Way = Callable[[Tensor], Tensor]


def ours(recipe: Augmentation, count: int) -> Way:
    """By the seed of each image."""
    seeds, labels = image_seeds(count), torch.zeros(count, dtype=torch.int64)
    return lambda images: augmented(images, labels, seeds, recipe, Label(("0",)))[0]


def one_by_one(*transforms: Callable[[Tensor], Tensor]) -> Way:
    """As in a data set of torchvision's, without the cost of its worker processes."""

    def run(images: Tensor) -> Tensor:
        done = []
        for image in images:
            changed = image
            for transform in transforms:
                changed = transform(changed)
            done.append(changed)
        return torch.stack(done)

    return run


def of_kornia(*transforms: Callable[[Tensor], Tensor]) -> Way:
    """On float images of 0 .. 1, as it takes them."""

    def run(images: Tensor) -> Tensor:
        changed = images.float() / 255
        for transform in transforms:
            changed = transform(changed)
        return changed

    return run


def cases(count: int, side: int) -> Mapping[str, Mapping[str, Way]]:
    """The same augmentation, each way."""
    torchvision()
    from kornia import augmentation as k
    from torchvision.transforms import v2

    margin, size = side // 8, (side, side)
    colours = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4}
    return {
        "flip": {
            "cnnatomy": ours(Augmentation(flip=0.5), count),
            "torchvision": one_by_one(v2.RandomHorizontalFlip()),
            "kornia": of_kornia(k.RandomHorizontalFlip()),
        },
        "flip, crop, erasing": {
            "cnnatomy": ours(Augmentation(flip=0.5, crop=margin, erasing=0.25), count),
            "torchvision": one_by_one(v2.RandomHorizontalFlip(), v2.RandomCrop(size, margin), v2.RandomErasing(0.25)),
            "kornia": of_kornia(k.RandomHorizontalFlip(), k.RandomCrop(size, margin), k.RandomErasing(p=0.25)),
        },
        "flip, resized crop": {
            "cnnatomy": ours(Augmentation(flip=0.5, resized_crop=0.08), count),
            "torchvision": one_by_one(v2.RandomResizedCrop(size, antialias=False), v2.RandomHorizontalFlip()),
            "kornia": of_kornia(k.RandomResizedCrop(size), k.RandomHorizontalFlip()),
        },
        "rotation, scale, shift": {
            "cnnatomy": ours(Augmentation(rotation=10, scale=0.1, shift=0.1), count),
            "torchvision": one_by_one(v2.RandomAffine(10, (0.1, 0.1), (0.9, 1.1), interpolation=2)),
            "kornia": of_kornia(k.RandomAffine(10, (0.1, 0.1), (0.9, 1.1), p=1)),
        },
        "colours": {
            "cnnatomy": ours(Augmentation(brightness=0.4, contrast=0.4, colour=0.4), count),
            "torchvision": one_by_one(v2.ColorJitter(**colours)),
            "kornia": of_kornia(k.ColorJitter(**colours, p=1)),
        },
        "trivial": {
            "cnnatomy": ours(Augmentation(trivial=True), count),
            "torchvision": one_by_one(v2.TrivialAugmentWide()),
        },
    }


def speed(way: Way, images: Tensor) -> float:
    """Images per second, of the best turn after a warm-up."""
    best = float("inf")
    for _ in range(1 + TURNS):
        began = time.perf_counter()
        way(images)
        if images.device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return len(images) / best


def main() -> None:
    """A line for each augmentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(describe())
    images = torch.randint(0, 256, (asked.images, 3, asked.side, asked.side), dtype=torch.uint8)
    images = images.to(choose_device(asked.device))
    print(f"{asked.images} images of 3 x {asked.side} x {asked.side}, images/s:")
    for name, ways in cases(asked.images, asked.side).items():
        print(f"{name:24}" + "  ".join(f"{who} {speed(way, images):10,.0f}" for who, way in ways.items()), flush=True)


if __name__ == "__main__":
    main()
