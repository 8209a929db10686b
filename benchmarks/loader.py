"""Images per second of cnnatomy's loader beside torchvision's and timm's: decoding, augmenting, to batches of floats.

    python benchmarks/loader.py [CASE ...] [--rounds 5] [--threads N]

The same folder, batch size and number of worker processes (2). Each gives batches of normalised float32 images, in
training order, each image a random part of 8 to 100 % of the area scaled to 224 x 224 and mirrored half of the time;
of CIFAR-10, which is in memory, moved by up to 4 pixels and mirrored. torchvision: ImageFolder, DataLoader and
transforms.v2 on uint8 tensors with antialiased bilinear scaling, which its documentation recommends; timm:
create_dataset and create_loader with the transform of its default training, of the same augmentations. Where peers have
images in memory, torch's TensorDataset stands for the folder.

The three take turns, after an epoch each to warm up; what counts is the median of the rounds, and cnnatomy's share of
the better peer. Exits 1 where that is below 1. Results are kept in `benchmarks/results/loader.json`. `--threads` are
those of the process that trains, by default one for each core, which the two workers need, too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import _datasets
from _machine import describe
from cnnatomy.data import Frame, Normalisation, open_source
from cnnatomy.data.augmentation import augmented
from cnnatomy.data.image_set import TEST, ImageSet
from cnnatomy.data.parts import Split
from cnnatomy.data.stores import InMemory, OnDemand
from cnnatomy.runs.model import Model
from cnnatomy.tasks.label import Label
from cnnatomy.training import Recipe

sys.path.append(str(Path(__file__).parent.parent / "tests"))
import peers

RESULTS = Path(__file__).parent / "results" / "loader.json"
WORKERS = 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PHONE = (4000, 3000)
"""Columns and rows of a photograph of 12 megapixels."""

Epoch = Callable[[], Iterator[Tensor]]
"""Batches of float images of one epoch."""


def fruit() -> Path:
    """1,393 photographs of 348 x 348 to 348 x 464 pixels, in folders of classes, all of them as the training split."""

    def link(folder: Path, scratch: Path) -> None:
        for file in _datasets.fruit().glob("*/*/*.jpg"):
            place = folder / "train" / file.parent.name / f"{file.parent.parent.name}-{file.name}"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.hardlink_to(file)

    return _datasets.kept("loader-fruit", link)


def phone() -> Path:
    """Photographs of 12 megapixels: five of scikit-image enlarged, 40 files in all."""

    def enlarge(folder: Path, scratch: Path) -> None:
        sources = sorted(_datasets.photographs().iterdir())
        for number in range(40):
            file = folder / "train" / f"class-{number % 2}" / f"{number}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            image = Image.open(sources[number % 5]).convert("RGB").resize(PHONE, Image.Resampling.BICUBIC)
            grain = np.random.default_rng(number).normal(0, 4, (*PHONE[::-1], 1))  # as sensors have; costs bits
            Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8)).save(file, quality=90)

    return _datasets.kept("loader-phone", enlarge)


@dataclass(frozen=True)
class Case:
    """What is loaded: a folder of folders of JPEG files, or None for CIFAR-10 in memory; so many epochs a round."""

    title: str
    folder: Callable[[], Path] | None
    batch: int = 64
    epochs: int = 1

    @property
    def side(self) -> int:
        """Of the batches' images."""
        return 224 if self.folder is not None else 32


CASES = {
    "fruit": Case("1,393 JPEG files of 348 x 348 and more", fruit),
    "phone": Case("40 JPEG files of 12 megapixels", phone, batch=8),
    "cifar10": Case("10,000 images of 32 x 32 in memory", None, epochs=3),
}


def cifar10() -> Tensor:
    """The 10,000 test images, uint8."""
    source, frame = open_source(_datasets.cifar10()), Frame((3, 32, 32))
    assert isinstance(source, ImageSet)
    places = np.flatnonzero(source.splits == TEST)
    return torch.from_numpy(np.stack([source.fetch(index, frame).pixels for index in places]))


def ours(case: Case) -> Epoch:
    """As `fit` does it: batches of bytes, augmented, normalised by what comes before the network."""
    shape = (3, case.side, case.side)
    if case.folder is None:
        images = cifar10()
        everything = torch.arange(len(images))
        recipe = Recipe(flip=0.5, crop=4)
        batches = Split(InMemory(images), everything, everything).batches(case.batch, seed=0)
    else:
        source, recipe = open_source(case.folder() / "train"), Recipe(flip=0.5, resized_crop=0.08)
        assert isinstance(source, ImageSet)
        everything = torch.arange(len(source))
        store = OnDemand(source, Frame(shape), WORKERS)
        batches = Split(store, everything, everything).batches(case.batch, seed=0, cut=recipe.resized_crop)
        recipe = replace(recipe, resized_crop=0.0)  # it is cut while it is decoded
    model, task = Model(torch.nn.Identity(), Normalisation(MEAN, STD)), Label(("a", "b"))
    count = 0

    def epoch() -> Iterator[Tensor]:
        nonlocal count
        batches.order.set_epoch(count)
        count += 1
        for some, target, seeds in batches.drawn():
            yield model.normalised(augmented(some, target, seeds, recipe, task)[0])

    return epoch


class Transformed(Dataset[Tensor]):
    """Images in memory, each through a transform."""

    def __init__(self, images: Tensor, transform: Callable[[Tensor], Tensor]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(self.images[index])


def with_torchvision(case: Case) -> Epoch:
    """ImageFolder (else a dataset of tensors), DataLoader and transforms.v2."""
    peers.torchvision()
    from torchvision import datasets
    from torchvision.transforms import v2

    ending = [v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    if case.folder is None:
        dataset: Any = Transformed(cifar10(), v2.Compose([v2.RandomCrop(32, padding=4), *ending]))
    else:
        cut = v2.RandomResizedCrop(case.side, antialias=True)
        dataset = datasets.ImageFolder(str(case.folder() / "train"), v2.Compose([v2.PILToTensor(), cut, *ending]))
    loader = DataLoader(dataset, case.batch, shuffle=True, num_workers=WORKERS, persistent_workers=True)

    def epoch() -> Iterator[Tensor]:
        for batch in loader:
            yield batch if isinstance(batch, Tensor) else batch[0]

    return epoch


def with_timm(case: Case) -> Epoch:
    """`create_dataset` and `create_loader`, without the changes of colour that it makes by default."""
    peers.timm()
    from timm.data import create_dataset, create_loader

    assert case.folder is not None
    loader = create_loader(
        create_dataset("", root=str(case.folder() / "train"), is_training=True),
        input_size=(3, case.side, case.side),
        batch_size=case.batch,
        is_training=True,
        color_jitter=0.0,
        interpolation="bilinear",
        mean=MEAN,
        std=STD,
        num_workers=WORKERS,
        use_prefetcher=False,
        device=torch.device("cpu"),
    )

    def epoch() -> Iterator[Tensor]:
        for images, _ in loader:
            yield images

    return epoch


def rate(epoch: Epoch, times: int, side: int) -> float:
    """Images per second of some epochs."""
    begun, seen = time.perf_counter(), 0
    for _ in range(times):
        for batch in epoch():
            assert batch.shape[1:] == (3, side, side)
            assert batch.dtype == torch.float32
            seen += len(batch)
    return seen / (time.perf_counter() - begun)


def compare(case: Case, rounds: int) -> dict[str, Any]:
    """Medians, and the share of the better peer."""
    loaders = {"cnnatomy": ours(case), "torchvision": with_torchvision(case)}
    if case.folder is not None:  # timm has no transform that moves an image
        loaders["timm"] = with_timm(case)
    measured: dict[str, list[float]] = {name: [] for name in loaders}
    for number in range(rounds + 1):
        for name, epoch in loaders.items():
            found = rate(epoch, case.epochs, case.side)
            if number:  # the first warms up
                measured[name].append(found)
    medians = {name: statistics.median(rates) for name, rates in measured.items()}
    share = medians["cnnatomy"] / max(rate for name, rate in medians.items() if name != "cnnatomy")
    return {"title": case.title, "images_per_second": medians, "of_the_better_peer": share, "rounds": measured}


def main() -> int:
    """Prints the machine, and for each case the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", help=f"of {', '.join(CASES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if unknown := set(options.case) - set(CASES):
        parser.error(f"no case {', '.join(unknown)}: one of {', '.join(CASES)}")
    warnings.simplefilter("ignore")
    print(f"{describe()}; {WORKERS} workers, {options.threads} threads", flush=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    shares = []
    for name in options.case or CASES:
        found = compare(CASES[name], options.rounds)
        setting = {"workers": WORKERS, "threads": options.threads, "batch_size": CASES[name].batch}
        results[f"{name}, {options.threads} threads"] = found | {"machine": describe()} | setting
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
        rates = ", ".join(f"{peer} {rate:,.0f}" for peer, rate in found["images_per_second"].items())
        print(f"{found['title']}: {rates} images/s; {found['of_the_better_peer']:.2f} of the better peer", flush=True)
        shares.append(found["of_the_better_peer"])
    return 0 if min(shares) >= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
