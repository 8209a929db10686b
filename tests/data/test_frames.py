"""How images become those of a network's input: whole factors, margins, crops; the ImageNet protocol as torchvision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from cnnatomy.data import Frame, ImageError, Loading
from cnnatomy.data.images import Stored, read_map, read_stored
from cnnatomy.data.loading import FITS
from cnnatomy.errors import UserError

SIDES = st.integers(1, 90)


def noise(rows: int, columns: int, channels: int = 1, seed: int = 0) -> Image.Image:
    shape = (rows, columns) if channels == 1 else (rows, columns, channels)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize(
    ("side", "input", "factor", "margin"),
    [(8, 32, 4, 0), (28, 32, 1, 2), (32, 32, 1, 0), (28, 224, 8, 0), (9, 32, 3, 2)],
)
def test_a_small_image_is_enlarged_by_a_whole_factor_within_a_black_margin(
    side: int, input: int, factor: int, margin: int
) -> None:
    image = noise(side, side)
    pixels = Frame((1, input, input)).fitted(image)[0]
    inside = pixels[margin : margin + side * factor, margin : margin + side * factor]
    assert np.array_equal(inside, np.asarray(image).repeat(factor, 0).repeat(factor, 1))
    assert int(pixels.sum()) == int(inside.sum())


def test_mnist_gets_the_margin_of_lenet_5() -> None:
    """28 x 28 in 32 x 32: two rows and columns of background on each side, as in LeCun et al. 1998."""
    pixels = Frame((1, 32, 32)).fitted(noise(28, 28))[0]
    assert np.array_equal(pixels[2:30, 2:30], np.asarray(noise(28, 28)))
    assert pixels[:2].max() == pixels[30:].max() == pixels[:, :2].max() == pixels[:, 30:].max() == 0


@given(SIDES, SIDES, SIDES, SIDES)
def test_no_pixel_of_a_small_image_is_mixed_with_another(rows: int, columns: int, more: int, wider: int) -> None:
    image = noise(rows, columns, seed=rows * 100 + columns)
    pixels = Frame((1, rows + more, columns + wider)).fitted(image)[0]
    factor = min((rows + more) // rows, (columns + wider) // columns)
    values = np.bincount(np.asarray(image).ravel(), minlength=256) * factor**2
    values[0] += pixels.size - rows * columns * factor**2
    assert np.array_equal(np.bincount(pixels.ravel(), minlength=256), values)


def test_a_larger_image_is_cropped_to_its_centre() -> None:
    image = Image.new("L", (40, 20), 0)
    image.paste(200, (10, 0, 30, 20))
    assert set(Frame((1, 10, 10)).fitted(image)[0, :, 1:9].flat) == {200}  # the outermost are mixed with what is beside


def test_whole_keeps_everything_and_its_proportions() -> None:
    pixels = Frame((1, 16, 16), "whole").fitted(Image.new("L", (40, 20), 100))[0]
    assert pixels[4:12].min() == 100
    assert pixels[:4].max() == pixels[12:].max() == 0


def test_stretch_fills_the_input_with_all_of_the_image() -> None:
    image = Image.new("L", (40, 20), 0)
    image.paste(200, (20, 0, 40, 20))
    pixels = Frame((1, 10, 10), "stretch").fitted(image)[0]
    assert pixels[:, :4].max() == 0
    assert pixels[:, 6:].min() == 200


@pytest.mark.peers
@pytest.mark.parametrize("size", [(300, 400), (400, 300), (256, 256), (224, 224), (100, 90), (513, 767), (1000, 231)])
def test_the_imagenet_protocol_is_torchvisions(size: tuple[int, int]) -> None:
    from peers import torchvision

    transforms = torchvision().transforms
    image = noise(*size, 3)
    theirs = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])(image)
    ours = Frame((3, 224, 224), "imagenet").fitted(image)
    difference = np.abs(np.asarray(theirs).transpose(2, 0, 1).astype(int) - ours)
    assert (
        difference.max() <= 1
    )  # two roundings to bytes there, the columns first, and one cut of the coefficients here


@given(st.sampled_from(sorted(FITS)), SIDES, SIDES, SIDES, SIDES, st.floats(0, 1), st.floats(0, 1))
def test_a_place_comes_back_from_the_frame_to_the_image(
    fit: str, rows: int, columns: int, new_rows: int, new_columns: int, across: float, down: float
) -> None:
    place = Frame((1, new_rows, new_columns), fit).placement((rows, columns))
    x, y = across * columns, down * rows
    assert place.to_image(*place.to_frame(x, y)) == pytest.approx((x, y), abs=1e-6)


@given(st.sampled_from(sorted(FITS)), st.integers(30, 90), st.integers(30, 90), st.integers(0, 400))
def test_a_spot_lies_where_the_placement_says(fit: str, rows: int, columns: int, seed: int) -> None:
    """A square in the middle of a dark image is found again by its centre of mass."""
    generator = np.random.default_rng(seed)
    x, y = columns // 2 - 4 + int(generator.integers(8)), rows // 2 - 4 + int(generator.integers(8))
    pixels = np.zeros((rows, columns), np.uint8)
    pixels[y - 3 : y + 3, x - 3 : x + 3] = 255
    frame = Frame((1, 64, 64), fit)
    fitted = frame.fitted(Image.fromarray(pixels))[0].astype(float)
    across, down = np.arange(64) + 0.5, np.arange(64) + 0.5
    found = (fitted.sum(0) @ across / fitted.sum(), fitted.sum(1) @ down / fitted.sum())
    assert found == pytest.approx(frame.placement((rows, columns)).to_frame(x, y), abs=0.6)


def test_a_mask_lies_as_its_image_and_its_margin_is_no_class(tmp_path: Path) -> None:
    image, mask = np.zeros((20, 12), np.uint8), np.zeros((20, 12), np.uint8)
    image[:10, :6], mask[:10, :6] = 200, 3
    Image.fromarray(image).save(tmp_path / "image.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    for fit in FITS:
        frame = Frame((1, 24, 24), fit)
        pixels, stored = read_stored(tmp_path / "image.png", frame)
        classes = read_map(tmp_path / "mask.png", stored, frame)
        inside = classes != 255
        assert inside.any()
        agree = (pixels[0] > 100) == (classes == 3)
        assert agree[inside].mean() > 0.9
        assert (fit in ("auto", "whole")) == (not inside.all())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("upright", [False, True])
def test_a_mask_turns_with_its_photograph(tmp_path: Path, orientation: int, upright: bool) -> None:
    """An annotation tool has shown the photograph upright, or as it is stored.

    Where both have one size a mask cannot tell, and is taken to be upright.
    """
    pixels = np.zeros((24, 16), np.uint8)
    pixels[:8, :5] = 200
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "image.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "image.jpg") as file:
        seen = np.asarray(ImageOps.exif_transpose(file) if upright or orientation < 5 else file)
    Image.fromarray((seen > 100).astype(np.uint8)).save(tmp_path / "mask.png")
    frame = Frame((1, 24, 16), "stretch")
    image, stored = read_stored(tmp_path / "image.jpg", frame)
    classes = read_map(tmp_path / "mask.png", stored, frame)
    assert ((image[0] > 100) == (classes == 1)).mean() > 0.95


def test_a_mask_of_another_size_or_with_colours_is_refused(tmp_path: Path) -> None:
    frame, stored = Frame((1, 8, 8)), Stored((8, 8))
    Image.new("L", (9, 8)).save(tmp_path / "wide.png")
    with pytest.raises(ImageError, match=r"the mask has 9 x 8 pixels .* its image 8 x 8"):
        read_map(tmp_path / "wide.png", stored, frame)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "colours.png")
    with pytest.raises(ImageError, match="this one has colours"):
        read_map(tmp_path / "colours.png", stored, frame)
    Image.fromarray(np.full((8, 8), 300, np.uint16)).save(tmp_path / "many.png")
    with pytest.raises(ImageError, match="classes from 0 to 255, this one 300 to 300"):
        read_map(tmp_path / "many.png", stored, frame)


def test_an_unknown_fit_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no fit strech: one of auto, crop, .*Did you mean stretch"):
        Loading(fit="strech")


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 32, 32), (3, 64, 60), (3, 9, 9)])
@pytest.mark.parametrize("colours", [(), (3,)])
def test_pixels_in_memory_are_fitted_as_an_image_is(shape: tuple[int, int, int], colours: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 20, *colours), np.uint8)
    frame = Frame(shape)
    assert (frame.fitted_array(pixels) == frame.fitted(Image.fromarray(pixels))).all()
