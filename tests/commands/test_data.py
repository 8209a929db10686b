"""`cnnatomy data`, as a user types it."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnatomy.data import Loading, load, open_source
from cnnatomy.data.augmentation import augmented
from cnnatomy.data.inspection.gathering import gather
from cnnatomy.data.inspection.samples import sample_rows
from cnnatomy.data.inspection.size import suitable_size
from cnnatomy.data.loading import FITS
from cnnatomy.data.sources.table import table
from cnnatomy.training import Recipe
from cnnatomy.training.preview import preview
from helpers import run_command

ROOT = Path(__file__).parents[2]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name, count in {"cat": 25, "d&g": 21, "owl": 2}.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number:02}.png")
    (tmp_path / "photos" / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return tmp_path / "photos"


def test_help_teaches_every_source_and_every_fit() -> None:
    said = "".join(run_command("data", "--help").output.split())
    for name, about in [*table(), *FITS.items()]:
        assert "".join(name.split()) in said
        assert "".join(about.split()) in said


@pytest.mark.slow
def test_help_does_without_torch() -> None:
    program = """
import sys
from cnnatomy.cli import main
try:
    main(["data", "--help"])
finally:
    print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.endswith("False\n"), done.stderr


def test_what_cannot_be_trained_is_looked_at_and_the_reason_told(photos: Path) -> None:
    output = " ".join(run_command("data", photos).output.split())
    assert "3 classes, 49 images" in output
    assert "it cannot be trained on as it is: class owl has 2 usable images that differ; 3 are needed" in output
    assert "cat/broken.jpg: " in output
    assert "next: put right what the error says" in output


def test_the_command_that_trains_is_told(photos: Path) -> None:
    for number in range(2, 9):
        Image.new("RGB", (12, 12), (20 * number, 9, 9)).save(photos / "owl" / f"{number}.png")
    output = run_command("data", photos, "--fit", "whole").output
    assert f"cnnatomy train resnet-20-cifar --data {photos} --fit whole" in output
    assert "7 images without contrast" in output


def test_json_has_every_key_that_the_page_documents(photos: Path) -> None:
    record = json.loads(run_command("data", photos, "--format", "json", "--view", "pca").output)
    page = (ROOT / "docs" / "json.md").read_text()
    section = page[page.index("`cnnatomy data DATA --format json`") :]
    assert [key for key in record if f"`{key}`" not in section] == []
    assert record["refusal"].startswith("class owl has 2")
    assert record["broken"][0]["image"] == "cat/broken.jpg"
    assert {row["name"]: row["total"] for row in record["targets"][0]["rows"]} == {"cat": 25, "d&g": 21, "owl": 2}
    assert record["view"]["cumulative"][-1] == pytest.approx(1)


def test_what_the_data_set_does_not_divide_is_told_as_not_divided(photos: Path) -> None:
    assert "splits: not divided\n" in run_command("data", photos).output
    assert json.loads(run_command("data", photos, "--format", "json").output)["given_splits"] == []
    (photos / "train").mkdir()
    for name in ("cat", "d&g"):
        shutil.copytree(photos / name, photos / "test" / name)
        (photos / name).rename(photos / "train" / name)
    shutil.move(photos / "owl", photos / "train" / "owl")
    (photos / "test" / "owl").mkdir()
    assert "splits: 48 train, 46 test (as the data set has them)\n" in run_command("data", photos).output
    assert json.loads(run_command("data", photos, "--format", "json").output)["given_splits"] == ["train", "test"]


def test_csv_is_the_counts() -> None:
    rows = list(csv.DictReader(io.StringIO(run_command("data", "digits", "--format", "csv").output)))
    assert len(rows) == 10
    assert rows[0] == {"name": "0", "train": "124", "val": "18", "test": "36", "total": "178"}


def test_a_sheet_is_written(photos: Path, tmp_path: Path) -> None:
    output = run_command("data", photos, "--sheet", tmp_path / "sheet.html", "--images", "2").output
    assert f"Sheet: {tmp_path / 'sheet.html'}" in output
    page = (tmp_path / "sheet.html").read_text()
    assert page.count("<img") == 6
    assert "d&amp;g" in page


def test_a_sheet_is_proposed_only_where_none_is_written(tmp_path: Path) -> None:
    assert "--sheet sheet.html" in run_command("data", "digits").output
    output = run_command("data", "digits", "--sheet", tmp_path / "s.html", "--images", "1").output
    assert "--sheet" not in output
    assert "next:\n  cnnatomy train lenet-5 --data digits\n" in output


def test_with_augmentation_each_image_is_shown_before_and_in_five_epochs(photos: Path, tmp_path: Path) -> None:
    place = tmp_path / "sheet.html"
    run_command("data", photos, "--sheet", place, "--set", "flip=true", "--set", "rotation=20", "--images", "1")
    assert (tmp_path / "sheet.html").read_text().count("<img") == 3 * 6


def test_an_image_is_shown_exactly_as_training_sees_it() -> None:
    recipe = Recipe(flip=0.5, rotation=15, noise=0.1, erasing=0.5, seed=7)
    source = open_source("digits")
    data = gather(source, suitable_size(source), Loading())
    rows = sample_rows(data, 1, recipe.seed, preview(recipe, data.task, data.shape), epochs=2)
    batches = load("digits", (1, 8, 8)).train.batches(64, recipe.seed)
    places = {name: index for index, name in enumerate(data.names)}
    wanted = {places[image.name]: image for row in rows for image in row.samples}
    found = 0
    for epoch in range(2):
        batches.order.set_epoch(epoch)
        orders = batches.order.batches()
        for draw, (images, target, seeds) in zip(orders, batches.drawn(), strict=True):
            seen, _ = augmented(images, target, seeds, recipe, data.task)
            for place, index in enumerate(draw.indices.tolist()):
                if index in wanted:
                    expected = seen[place].float().round().clamp(0, 255).byte()
                    assert torch.equal(torch.from_numpy(wanted[index].after[epoch].pixels), expected)
                    found += 1
    assert found == 20


@pytest.mark.parametrize("view", ["pca", "whitening", "dft"])
def test_every_view_has_figures_and_a_sheet(view: str, tmp_path: Path) -> None:
    output = run_command("data", "digits", "--view", view, "--sheet", tmp_path / "view.png").output
    words = {"pca": "share of the variance", "whitening": "the identity but for", "dft": "Parseval"}
    assert words[view] in output
    with Image.open(tmp_path / "view.png") as image:
        assert image.width > 100


@pytest.mark.parametrize(
    "options",
    [
        ("--view", "dft", "--set", "flip=true"),
        ("--view", "pca", "--augment", "default"),
        ("--transform", "python:mine:noisy"),
        ("--images", "3"),
    ],
)
def test_options_that_exclude_each_other_are_refused_before_anything_is_imported(
    options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnatomy.commands.data.needs_training", lambda: pytest.fail("training is asked for"))
    assert run_command("data", "digits", *options, code=2).output.startswith("cnnatomy: --")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digits", "--sheet", "sheet.gif"), "a sheet is a png or an html file"),
        (("digits", "--set", "flip=true"), "name one, such as --sheet"),
        (("digits", "--images", "3"), "name one, such as --sheet"),
        (("digits", "--sheet", "s.png", "--set", "flip=true", "--view", "pca"), "choose one"),
        (("digits", "--sheet", "s.png", "--augment", "default"), "nothing in it changes an image"),
        (("digits", "--sheet", "s.png", "--augment", "nosuch"), "no recipe 'nosuch'"),
        (("digits", "--sheet", "s.png", "--set", "crop=20"), "crop=20 can leave nothing"),
        (("nosuch",), "no data set nosuch"),
        (("digits", "--input", "2x8x8"), "images give 1 (grey) or 3 (RGB)"),
        (("scenes:mask", "--input", "1x8x8"), "choose a larger --input"),
    ],
)
def test_mistakes_are_told_in_a_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in run_command("data", *arguments, code=2).output
    assert list(tmp_path.iterdir()) == []


def test_spectra_of_a_row_of_pixels_are_told(tmp_path: Path) -> None:
    output = run_command("data", "digits", "--view", "dft", "--input", "3x1x9", "--sheet", tmp_path / "dft.png").output
    assert "spectra of" in output
