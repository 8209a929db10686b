"""Near duplicates: how many true copies are found, what is taken for one in real data sets, and how long it takes.

    python benchmarks/near_duplicates.py            every data set, about fifteen minutes on two cores
    python benchmarks/near_duplicates.py fruit      some of them
    python benchmarks/near_duplicates.py time       what 100,000 images take

To some images of each data set an altered copy is added, and both are looked for among 20,000 images of it. Images are
fitted as `--fit crop` does. `pairs` are those found in the untouched data set; `labels differ` those of them with two
labels, which are wrong as a rule. The table goes to benchmarks/results/near_duplicates.json too.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from _datasets import cifar10, fashion_mnist, fruit, mnist
from _machine import describe
from cnnatomy.data import open_source
from cnnatomy.data.duplicates import near_duplicates, thumbnail
from cnnatomy.data.image_set import FromArray, FromFiles, ImageSet
from cnnatomy.data.truth import Classes

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
    source: Callable[[], Path | str]
    side: int
    copies: int
    photographs: bool = False

    def find(self) -> tuple[Sequence[Image.Image | Path], np.ndarray]:
        """The images of the data set, or their files, and their labels."""
        images = open_source(self.source())
        assert isinstance(images, ImageSet)
        assert isinstance(images.truth, Classes)
        if isinstance(images.fetch, FromFiles):
            return images.fetch.paths, images.truth.labels
        assert isinstance(images.fetch, FromArray)
        return [Image.fromarray(pixels) for pixels in images.fetch.images], images.truth.labels


CASES = {
    "digits": Case("digits, 8x8", lambda: "digits", 8, 500),
    "mnist": Case("MNIST", mnist, 28, 1000),
    "fashion": Case("Fashion-MNIST", fashion_mnist, 28, 1000),
    "cifar10": Case("CIFAR-10", cifar10, 32, 2000, True),
    "fruit": Case("fruit", fruit, 224, 1393, True),
}
AMONG = 20_000
"""Images among which copies are looked for at most."""
TIMED = 100_000
"""Images of the measurement of time: CIFAR-10, and the first of its images mirrored."""


def opened(image: Image.Image | Path) -> Image.Image:
    return Image.open(image).convert("RGB") if isinstance(image, Path) else image


def fitted(image: Image.Image, side: int) -> np.ndarray:
    """The thumbnail of an image as a network is given it."""
    pixels = np.asarray(ImageOps.fit(image, (side, side), Image.Resampling.BILINEAR))
    return thumbnail(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def thumbnails_of(images: Sequence[Image.Image | Path], side: int) -> np.ndarray:
    return np.stack([fitted(opened(image), side) for image in images])


def found(thumbnails: np.ndarray) -> tuple[np.ndarray, float]:
    started = time.perf_counter()
    pairs = near_duplicates(thumbnails)
    return pairs, time.perf_counter() - started


def measured(case: Case) -> dict[str, Any]:
    images, labels = case.find()
    thumbnails = thumbnails_of(images, case.side)
    pairs, seconds = found(thumbnails)
    among = np.random.default_rng(0).permutation(len(images))[:AMONG]
    chosen = among[: case.copies]
    originals = [opened(images[index]) for index in chosen]
    copies = {}
    for name, alter in ALTERED.items():
        altered = np.stack([fitted(alter(image), case.side) for image in originals])
        with_copies, _ = found(np.concatenate([thumbnails[among], altered]))
        copies[name] = int((with_copies[:, 1] - with_copies[:, 0] == len(among)).sum()) / case.copies
        print(f"  {case.title}: of {case.copies:,} copies, {name}: {copies[name]:.1%} found", flush=True)
    return {
        "title": case.title,
        "photographs": case.photographs,
        "images": len(images),
        "pairs": len(pairs),
        "labels_differ": int((labels[pairs[:, 0]] != labels[pairs[:, 1]]).sum()),
        "seconds": round(seconds, 1),
        "copies": case.copies,
        "found": copies,
        "machine": describe(),
    }


def timed() -> dict[str, Any]:
    thumbnails = thumbnails_of(CASES["cifar10"].find()[0], CASES["cifar10"].side)
    many = np.concatenate([thumbnails, thumbnails[:, :, ::-1]])[:TIMED]
    before, used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    pairs, seconds = found(many)
    return {
        "title": "CIFAR-10, partly mirrored",
        "images": len(many),
        "pairs": len(pairs),
        "seconds": round(seconds, 1),
        "processor_seconds": round(time.process_time() - used, 1),
        "mib_more_than_before": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024,
        "machine": describe(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "cases", nargs="*", choices=[*CASES, "time", []], default=[], help="which of them; by default all"
    )
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in parser.parse_args().cases or [*CASES, "time"]:
        results[name] = measured(CASES[name]) if name in CASES else timed()
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
