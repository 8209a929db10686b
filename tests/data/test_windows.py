"""Parts that are cut out while images are decoded: where they lie, how sharp they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import cnnatomy as cn
from cnnatomy.data import Frame, load, read_image
from cnnatomy.data.augmentation.moves import windows
from cnnatomy.data.frames import Placement
from cnnatomy.data.loading import FITS
from cnnatomy.training import Recipe, augmenting, fit
from cnnatomy.training.loop import Training
from cnnatomy.training.watching import Watcher

ALL = (0.0, 0.0, 1.0, 1.0)
SIDES = st.integers(1, 90)


def photograph(side: int = 400, detail: int = 4, seed: int = 0) -> Image.Image:
    """Smooth, with detail of so many pixels."""
    random = np.random.default_rng(seed).integers(0, 256, (side // detail, side // detail, 3), np.uint8)
    return Image.fromarray(random).resize((side, side), Image.Resampling.BICUBIC)


def test_a_window_is_cut_out_of_the_image_itself() -> None:
    image = photograph()
    cut = Frame((3, 50, 50), window=(0.5, 0.25, 0.75, 0.5)).fitted(image)
    expected = image.crop((200, 100, 300, 200)).resize((50, 50), Image.Resampling.BILINEAR)
    assert np.abs(cut.transpose(1, 2, 0).astype(int) - np.asarray(expected)).max() <= 1
    blurred = Frame((3, 50, 50)).fitted(image)[:, 12:25, 25:37]  # what a cut out of the fitted image has to work with
    assert blurred.shape[1] * 3 < cut.shape[1]


def test_where_a_window_lies() -> None:
    frame = Frame((3, 10, 20), "crop", (0.5, 0.0, 1.0, 0.5))
    assert frame.placement((100, 400)) == Placement((200, 0, 300, 50), (10, 20))  # of columns 100 to 300
    assert frame.placement((100, 400)).scale == (0.2, 0.2)
    margins = Frame((3, 10, 10), "whole", (0.0, 0.0, 0.5, 0.5))  # the image has rows 3 to 7 of the frame
    assert margins.placement((40, 100)) == Placement((0, 0, 50, 20), (4, 10), (6, 0))


def test_a_window_of_margin_alone_is_black() -> None:
    image = Image.new("RGB", (100, 10), "white")
    assert (Frame((3, 20, 20), "whole", (0.1, 0.0, 0.9, 0.4)).fitted(image) == 0).all()


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(tuple(FITS)), st.integers(0, 2**62))
def test_any_window_of_any_image_fills_the_frame(
    rows: int, columns: int, new_rows: int, new_columns: int, fit: str, seed: int
) -> None:
    window = windows(torch.tensor([seed]), 0.08)[0].tolist()
    frame = Frame((3, new_rows, new_columns), fit, (window[0], window[1], window[2], window[3]))
    assert frame.fitted(Image.new("L", (columns, rows), 255)).shape == (3, new_rows, new_columns)
    place = frame.placement((rows, columns))
    left, top, right, bottom = place.box
    assert 0 <= left <= right <= columns + 1e-6
    assert 0 <= top <= bottom <= rows + 1e-6


def test_a_jpeg_is_decoded_as_small_as_the_window_stays_sharp(tmp_path: Path) -> None:
    whole, half = Frame((3, 100, 100), window=ALL), Frame((3, 100, 100), window=(0.0, 0.0, 0.5, 0.5))
    assert (whole.decoded((1600, 2000)), half.decoded((1600, 2000))) == (100, 200)
    assert Frame((3, 100, 100), window=(0.0, 0.0, 0.5, 0.5)).decoded((150, 150)) == 200  # more than it has: at its own
    path = tmp_path / "image.jpg"
    image = photograph(1600, detail=40)
    image.save(path, quality=95)
    sharp = np.asarray(image.crop((0, 0, 800, 800)).resize((100, 100), Image.Resampling.BILINEAR))
    assert np.abs(read_image(path, half).transpose(1, 2, 0).astype(int) - sharp).mean() < 4


def test_an_image_lying_on_its_side_is_cut_upright(tmp_path: Path) -> None:
    image, exif = photograph().crop((0, 0, 400, 200)), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "lying.jpg", exif=exif, quality=95)
    image.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright.jpg", quality=95)
    frame = Frame((3, 40, 40), window=(0.1, 0.2, 0.6, 0.9))
    lying, upright = (read_image(tmp_path / f"{name}.jpg", frame).astype(int) for name in ("lying", "upright"))
    assert np.abs(lying - upright).mean() < 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    for name in ("a", "b"):
        (root / name).mkdir()
        for index in range(10):
            photograph(100, 10, seed=index + 20 * (name == "a")).crop((0, index, 60 + index, 70)).save(
                root / name / f"{index}.jpg"
            )
    return root


def test_cut_images_do_not_depend_on_batches_or_workers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnatomy.data.stores.WORTH_WORKERS", 4)
    found = []
    for workers, size in ((0, 5), (2, 3)):
        data = load(folder, (3, 24, 24), memory=0, workers=workers)
        order = data.train.batches(size, 3, cut=0.2)
        images = {}
        for batch, draw in zip(order, order.order.batches(), strict=True):
            images.update(zip(draw.indices.tolist(), batch[0], strict=True))
        found.append(images)
        data.close()
    shared = found[0].keys() & found[1].keys()
    assert len(shared) >= 10
    assert all(torch.equal(found[0][index], found[1][index]) for index in shared)


def test_validation_is_never_cut(folder: Path) -> None:
    held, lazy = load(folder, (3, 24, 24)), load(folder, (3, 24, 24), memory=0, workers=0)
    ((images, _),), ((others, _),) = held.val.batches(64), lazy.val.batches(64)
    assert torch.equal(images, others)


def test_a_part_is_cut_once_and_early_where_it_can_be(folder: Path) -> None:
    class Look(Watcher):
        def begin(self, training: Training) -> None:
            found.append((training.train.order.cut, training.changes.resized_crop))

    found: list[tuple[float, float]] = []
    recipe = Recipe(epochs=1, batch_size=4, resized_crop=0.3, patience=0)
    network = cn.network("lenet-5", classes=2, input=(3, 32, 32))
    for memory in (0, 10**9):
        fit(network, load(folder, (3, 32, 32), memory=memory, workers=0), recipe, watch=[Look()])
    assert found == [(0.3, 0.0), (0.3, 0.0)]
    larger = load(folder, (3, 96, 96))  # in which no part of a photograph would be sharper
    assert augmenting.batches(larger, recipe, None).order.cut == 0
    before = replace(recipe, perspective=0.1)  # comes before, in the order of augmentations
    assert augmenting.batches(load(folder, (3, 32, 32), memory=0, workers=0), before, None).order.cut == 0
