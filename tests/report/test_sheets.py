"""Sheets of images as PNG and HTML."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnatomy.data.inspection.samples import SampledClass, SampledImage, ShownImage
from cnnatomy.errors import UserError
from cnnatomy.report.sheets import drawing, png
from cnnatomy.report.sheets.drawing import colour, rows_of, tile_of
from cnnatomy.report.sheets.html import html_page
from cnnatomy.report.sheets.png import png_bytes
from cnnatomy.report.sheets.sheet import Sheet, Tile, TileRow, factor_of, image_of
from cnnatomy.report.sheets.writing import check_sheet, write_sheet
from cnnatomy.tasks.label import Label
from cnnatomy.tasks.maps import Keypoints, Mask, PixelNumbers
from cnnatomy.tasks.numbers import Labels, Numbers
from cnnatomy.tasks.objects import Objects
from cnnatomy.tasks.several import SeveralHeads
from cnnatomy.tasks.task import Task

GREY = np.full((1, 64, 64), 100, np.uint8)


def shown(target: torch.Tensor, pixels: np.ndarray = GREY) -> ShownImage:
    return ShownImage(pixels, {"": target})


def drawn(target: torch.Tensor, task: Task) -> tuple[np.ndarray, str]:
    """Pixels `(rows, columns, 3)` at twice the size, and the caption."""
    tile = tile_of(shown(target), task)
    return np.asarray(tile.image), tile.caption


def sheet(*rows: TileRow) -> Sheet:
    return Sheet("photos", ("3 images",), rows)


def row(title: str = "cat", count: int = 2, side: int = 20) -> TileRow:
    return TileRow(title, tuple((Tile(Image.new("RGB", (side, side), "red"), "caption"),) for _ in range(count)))


def test_small_images_are_enlarged_by_a_whole_factor_without_blur() -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    image = np.asarray(image_of(pixels, factor_of(8, 8)))[..., 0]
    assert image.shape == (96, 96)
    assert np.array_equal(image, np.kron(pixels[0], np.ones((12, 12), np.uint8)))


def test_large_images_are_reduced() -> None:
    assert image_of(np.zeros((3, 320, 640), np.uint8), factor_of(320, 640)).size == (160, 80)


def test_a_mask_is_laid_over_its_image_and_a_background_is_not() -> None:
    target = torch.zeros(64, 64, dtype=torch.uint8)
    target[:32] = 1
    target[0, 0] = 255
    pixels, _ = drawn(target, Mask(("background", "tree")))
    expected = (100 + np.array(colour(1))) / 2
    assert np.abs(pixels[10, 10] - expected).max() <= 1
    assert np.array_equal(pixels[100, 10], [100, 100, 100])
    assert np.array_equal(pixels[0, 0], [100, 100, 100])


def test_boxes_are_drawn_where_they_are() -> None:
    boxes = torch.tensor([[10.0, 20.0, 30.0, 40.0, 1.0], [1.0, 1.0, 9.0, 9.0, -2.0], [-1.0] * 5])
    pixels, caption = drawn(boxes, Objects(("cat", "dog"), size=(64, 64)))
    rows, columns = np.nonzero((pixels == colour(1)).all(-1))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (40, 80, 20, 60)
    assert (pixels == 160).all(-1).any()  # the crowd
    assert caption == "dog"


def test_points_that_are_seen_are_drawn() -> None:
    points = torch.tensor([[10.0, 20.0, 1.0], [50.0, 50.0, 0.0]])
    pixels, _ = drawn(points, Keypoints(("nose", "tail"), size=(64, 64)))
    assert tuple(pixels[40, 20]) == colour(0)
    assert not (pixels == colour(1)).all(-1).any()


def test_labels_and_numbers_are_captions() -> None:
    assert drawn(torch.tensor([1.0, 0.0, 1.0]), Labels(("sun", "sea", "sand")))[1] == "sun, sand"
    assert drawn(torch.tensor([1.5, float("nan")]), Numbers(("age", "height")))[1] == "1.5, nan"
    assert drawn(torch.tensor(1), Label(("cat", "dog")))[1] == ""


def test_a_map_of_numbers_goes_from_blue_to_red() -> None:
    values = torch.zeros(1, 64, 64)
    values[0, :32] = 3
    pixels, caption = drawn(values, PixelNumbers(("depth",)))
    assert pixels[10, 10, 0] > pixels[10, 10, 2]
    assert pixels[100, 10, 2] > pixels[100, 10, 0]
    assert caption == "depth 0 to 3"


def test_of_several_heads_everything_is_shown() -> None:
    task = SeveralHeads(("labels", "mask"), {"labels": Labels(("sun",)), "mask": Mask(("sky",))})
    target = {"labels": torch.ones(1), "mask": torch.zeros(64, 64, dtype=torch.uint8)}
    tile = tile_of(ShownImage(GREY, target), task)
    assert tile.caption == "sun"
    assert np.abs(np.asarray(tile.image)[5, 5] - (100 + np.array(colour(0))) / 2).max() <= 1


def test_every_kind_of_target_has_its_way() -> None:
    from cnnatomy.data.inspection.learned import KINDS

    assert set(drawing.WAYS) == set(KINDS)


def test_an_image_stands_beside_what_becomes_of_it() -> None:
    image = shown(torch.tensor(0))
    rows = rows_of([SampledClass("cat", 1, (SampledImage("a.png", image, (image, image)),))], Label(("cat",)))
    assert rows[0].title == "cat (1 image)"
    assert [[tile.caption for tile in group] for group in rows[0].groups] == [["as it is", "epoch 1", "epoch 2"]]


def test_a_png_has_every_row() -> None:
    content, count = png_bytes(sheet(row("cat"), row("dog", count=80)))
    image = np.asarray(Image.open(io.BytesIO(content)))
    assert count == 2
    assert int((image == [255, 0, 0]).all(-1).sum()) == 82 * 20 * 20
    assert image.shape[1] <= png.WIDTH + 20


def test_a_line_of_groups_is_no_wider_than_a_png_may_be() -> None:
    group = (Tile(Image.new("RGB", (52, 52), "red")),) * 6
    image = Image.open(io.BytesIO(png_bytes(sheet(TileRow("cat", (group,) * 9)))[0]))
    assert image.width <= png.WIDTH + 2 * png.GAP


def test_rows_that_do_not_fit_into_a_png_are_left_out_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(png, "MAX_ROWS_HIGH", 200)
    said = write_sheet(sheet(*(row(str(number)) for number in range(9))), tmp_path / "sheet.png")
    assert "the first 2 rows; 7 more do not fit" in said
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.height <= 220


def test_a_page_is_one_file_with_its_images_and_names_escaped(tmp_path: Path) -> None:
    write_sheet(sheet(row("<script>alert('x')</script> & more")), tmp_path / "sheet.html")
    page = (tmp_path / "sheet.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(images) == 2
    with Image.open(io.BytesIO(base64.b64decode(images[0]))) as image:
        assert image.size == (20, 20)


def test_a_page_is_for_phones_and_for_the_dark() -> None:
    page = html_page(sheet(row()))
    assert "width=device-width" in page
    assert "prefers-color-scheme: dark" in page


def test_large_images_of_a_page_are_jpeg() -> None:
    assert "data:image/jpeg" in html_page(sheet(row(side=150)))


def test_nothing_is_overwritten_and_no_other_kind_of_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "sheet.png").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        write_sheet(sheet(row()), tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_text() == "mine"
    with pytest.raises(UserError, match="a png or an html file"):
        check_sheet(tmp_path / "sheet.gif")
    with pytest.raises(UserError, match="there is no folder"):
        check_sheet(tmp_path / "no" / "sheet.png")


def test_names_that_no_font_has_are_drawn_too() -> None:
    png_bytes(sheet(row("猫 кошка \udce9 \U0001f408")))
