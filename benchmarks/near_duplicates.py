"""Near duplicates: how many true copies are found, what is taken for one in real data sets, and how long it takes.

    python benchmarks/near_duplicates.py            every data set, about five minutes on two cores
    python benchmarks/near_duplicates.py fruit      some of them

To some images of each data set an altered copy is added, and both are looked for among 20,000 images of it. Images are
fitted as training fits them. `pairs` are those found in the untouched data set; `labels differ` those of them with two
labels, which are wrong as a rule. The table goes to benchmarks/results/near_duplicates.json too.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cnnatomy.data.folders import read_class_folders
from cnnatomy.data.idx import read_idx_folder
from PIL import Image, ImageEnhance

from _datasets import cifar10, fashion_mnist, fruit, mnist
from _machine import describe
from cnnatomy.data.duplicates import near_duplicates, thumbnail
from cnnatomy.data.images import fit_image
from cnnatomy.data.sources import FromFiles, ImageSet, digits

RESULTS = Path(__file__).parent / "results" / "near_duplicates.json"


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


def cut(image: Image.Image, left: float, right: float) -> Image.Image:
    """Without these shares at the left and the top, and at the right and the bottom. The size stays, since 2 % of a
    small image are less than a pixel."""
    box = (left * image.width, left * image.height, (1 - right) * image.width, (1 - right) * image.height)
    return image.resize(image.size, Image.Resampling.BICUBIC, box)


def brighter(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.1)


ALTERED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 90": lambda image: jpeg(image, 90),
    "JPEG 75": lambda image: jpeg(image, 75),
    "JPEG 50": lambda image: jpeg(image, 50),
    "x 0.8": lambda image: scaled(image, 0.8),
    "brightness x 1.1": brighter,
    "middle 98 %": lambda image: cut(image, 0.01, 0.01),
    "corner 98 %": lambda image: cut(image, 0, 0.02),
    "all of these": lambda image: jpeg(brighter(scaled(cut(image, 0, 0.02), 0.8)), 50),
}


@dataclass(frozen=True)
class Case:
    """A data set, the side that its images are fitted to, how many get a copy, and whether they are photographs."""

    title: str
    find: Callable[[], ImageSet]
    shape: tuple[int, int, int]
    copies: int
    photographs: bool = False


CASES = {
    "digits": Case("digits, 8x8", digits, (1, 8, 8), 500),
    "mnist": Case("MNIST", lambda: read_idx_folder(mnist()), (1, 28, 28), 1000),
    "fashion": Case("Fashion-MNIST", lambda: read_idx_folder(fashion_mnist()), (1, 28, 28), 1000),
    "cifar10": Case("CIFAR-10", lambda: read_class_folders(cifar10()), (3, 32, 32), 2000, True),
    "fruit": Case("fruit", lambda: read_class_folders(fruit()), (3, 224, 224), 1393, True),
}
AMONG = 20_000
"""Images among which copies are looked for at most."""
TIMED = 100_000
"""Images of the measurement of time: CIFAR-10, and the first of its images mirrored."""


def original(images: ImageSet, index: int) -> Image.Image:
    """As it is stored."""
    if isinstance(images.fetch, FromFiles):
        return Image.open(images.fetch.paths[index]).convert("RGB")
    return Image.fromarray(images.fetch.images[index])


def found(thumbnails: np.ndarray) -> tuple[np.ndarray, float]:
    started = time.perf_counter()
    pairs = near_duplicates(thumbnails)
    return pairs, time.perf_counter() - started


def measured(case: Case) -> tuple[dict[str, Any], np.ndarray]:
    images = case.find()
    thumbnails = np.stack([thumbnail(images.fetch(index, case.shape)[0]) for index in range(len(images))])
    pairs, seconds = found(thumbnails)
    among = np.random.default_rng(0).permutation(len(images))[:AMONG]
    chosen = among[: case.copies]
    originals = [original(images, index) for index in chosen]
    copies = {}
    for name, alter in ALTERED.items():
        altered = np.stack([thumbnail(fit_image(alter(image), case.shape)) for image in originals])
        with_copies, _ = found(np.concatenate([thumbnails[among], altered]))
        copies[name] = int((with_copies[:, 1] - with_copies[:, 0] == len(among)).sum()) / case.copies
        print(f"  {case.title}: of {case.copies:,} copies, {name}: {copies[name]:.1%} found", flush=True)
    return {
        "title": case.title,
        "photographs": case.photographs,
        "images": len(images),
        "pairs": len(pairs),
        "labels_differ": int((images.labels[pairs[:, 0]] != images.labels[pairs[:, 1]]).sum()),
        "seconds": round(seconds, 1),
        "copies": case.copies,
        "found": copies,
        "machine": describe(),
    }, thumbnails


def timed(thumbnails: np.ndarray) -> dict[str, Any]:
    many = np.concatenate([thumbnails, thumbnails[:, :, ::-1]])[:TIMED]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pairs, seconds = found(many)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    return {
        "title": "CIFAR-10, partly mirrored",
        "images": len(many),
        "pairs": len(pairs),
        "seconds": round(seconds, 1),
        "mib_more_than_before": memory,
        "machine": describe(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], default=[], help="which of them; by default all")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in parser.parse_args().cases or CASES:
        results[name], thumbnails = measured(CASES[name])
        if name == "cifar10":
            results["time"] = timed(thumbnails)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(
        f"\n{'data set':<26}{'images':>9}{'pairs':>7}{'labels differ':>15}{'seconds':>9}   least share of copies found"
    )
    for row in results.values():
        least = min(row["found"].items(), key=lambda item: item[1]) if "found" in row else None
        print(
            f"{row['title']:<26}{row['images']:>9,}{row['pairs']:>7,}{row.get('labels_differ', ''):>15}"
            f"{row['seconds']:>9}   {f'{least[1]:.1%} ({least[0]})' if least else ''}"
        )


if __name__ == "__main__":
    main()
