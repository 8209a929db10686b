"""COCO's annotations with images beside them, read as a data set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from cnnatomy import Chain, Network
from cnnatomy.commands.trained import _with_threshold
from cnnatomy.data import Frame, load, load_labelled, open_source
from cnnatomy.design.heads import detection_heads
from cnnatomy.errors import UserError
from cnnatomy.layers import Conv, ReLU
from cnnatomy.runs import Trained
from cnnatomy.runs.model import Model
from cnnatomy.runs.run import Run
from cnnatomy.tasks.several import Localised
from cnnatomy.training import Recipe, fit


def annotated(folder: Path, count: int, file: str = "boxes.json", images: str = "images", first: int = 0) -> Path:
    """Images of 40 x 60 pixels with one bright rectangle each among dark squares, and COCO's annotations of them."""
    (folder / images).mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(first)
    record: dict[str, list[dict[str, object]]] = {"images": [], "annotations": [], "categories": []}
    record["categories"] = [{"id": 7, "name": "lamp"}, {"id": 3, "name": "sun"}]
    for number in range(first, first + count):
        pixels = generator.integers(0, 200, (4, 6), np.uint8).repeat(10, 0).repeat(10, 1)
        pixels[10:20, 15:40] = 250
        Image.fromarray(pixels).save(folder / images / f"{number}.png")
        record["images"].append({"id": number, "file_name": f"{number}.png", "width": 60, "height": 40})
        record["annotations"].append({"id": number, "image_id": number, "category_id": 7, "bbox": [15, 10, 25, 10]})
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def test_a_file_of_annotations_is_a_data_set_whose_boxes_fit_the_fitted_images(tmp_path: Path) -> None:
    data = load(annotated(tmp_path, 20), (1, 40, 40))
    assert data.task.kind == "objects"
    assert data.classes == ("sun", "lamp")
    assert sorted(len(getattr(data, name)) for name in ("train", "val", "test")) == [2, 4, 14]
    images, target = next(iter(data.train.batches(14)))
    assert isinstance(target, torch.Tensor)
    # of 60 columns the middle 40 are kept: from column 10 on
    assert target[:, 0].tolist() == [[5, 10, 30, 20, 1]] * 14
    assert images[:, 0, 10:20, 5:30].min() > 200


def test_coco_as_it_lies_has_its_own_splits(tmp_path: Path) -> None:
    annotated(tmp_path, 6, "annotations/instances_train2017.json", "train2017")
    annotated(tmp_path, 3, "annotations/instances_val2017.json", "val2017", first=100)
    data = load(tmp_path, (1, 40, 40))
    assert len(data.val) == 3
    assert len(data.train) + len(data.test) == 6


def test_a_broken_image_is_left_out_and_a_missing_one_is_named(tmp_path: Path) -> None:
    path = annotated(tmp_path, 20)
    broken = tmp_path / "images" / "4.png"
    broken.write_bytes(broken.read_bytes()[:40])
    (tmp_path / "images" / "5.png").unlink()
    data = load(path, (1, 40, 40))
    assert {Path(name).name for name, _ in data.report.skipped} == {"4.png", "5.png"}
    assert sum(len(getattr(data, name)) for name in ("train", "val", "test")) == 18


def test_splits_of_other_categories_are_refused(tmp_path: Path) -> None:
    annotated(tmp_path, 6, "annotations/instances_train.json", "train")
    path = annotated(tmp_path, 3, "annotations/instances_val.json", "val", first=100)
    record = json.loads(path.read_text())
    record["categories"][0]["name"] = "moon"
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="tells of other categories than"):
        open_source(tmp_path)


def test_boxes_of_a_photograph_that_is_stored_sideways_fit_it_upright(tmp_path: Path) -> None:
    """Both as pycocotools and torchvision read it, in stored pixels, and as it is seen."""
    path = annotated(tmp_path, 20)
    record = json.loads(path.read_text())
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # a quarter to the right, so that stored (x, y) comes to (40 - y, x)
    for number in range(20):
        file = tmp_path / "images" / f"{number}.png"
        Image.open(file).save(file, exif=exif)
        if number % 2:
            record["images"][number] |= {"width": 40, "height": 60}
            record["annotations"][number]["bbox"] = [20, 15, 10, 25]
    path.write_text(json.dumps(record))
    images, target = next(iter(load(path, (1, 60, 40)).train.batches(14)))
    assert isinstance(target, torch.Tensor)
    assert target[:, 0].tolist() == [[20, 15, 30, 40, 1]] * 14
    assert images[:, 0, 15:40, 20:30].min() > 200


def test_an_image_of_another_size_than_its_annotations_say_is_skipped(tmp_path: Path) -> None:
    path = annotated(tmp_path, 20)
    record = json.loads(path.read_text())
    record["images"][4] |= {"width": 600, "height": 400}
    path.write_text(json.dumps(record))
    data = load(path, (1, 40, 40))
    ((name, reason),) = data.report.skipped
    assert Path(name).name == "4.png"
    assert reason == "it has 60 x 40 pixels (width x height), its annotations are for 600 x 400"


def test_a_file_name_of_several_lines_is_told_on_one(tmp_path: Path) -> None:
    path = annotated(tmp_path, 20)
    record = json.loads(path.read_text())
    record["images"][4]["file_name"] = "a\x1b[31m\n.png"
    path.write_text(json.dumps(record))
    ((name, reason),) = load(path, (1, 40, 40)).report.skipped
    assert (Path(name).name, reason) == (r"a\x1b[31m\n.png", "no such file")


def test_skipped_annotations_and_categories_without_an_object_are_told(tmp_path: Path) -> None:
    path = annotated(tmp_path, 20)
    record = json.loads(path.read_text())
    record["annotations"].append({"id": 90, "image_id": 3, "category_id": 3, "bbox": [1, 1, 0, 5]})
    path.write_text(json.dumps(record))
    report = load(path, (1, 40, 40)).report
    assert report.skipped_annotations == (
        ("annotation 90 of boxes.json", "its box [1, 1, 0, 5] has no width or no height"),
    )
    assert report.counts["train"] == {"sun": 0, "lamp": 14}
    assert report.lines() == [
        "1 annotation skipped:",
        "  annotation 90 of boxes.json: its box [1, 1, 0, 5] has no width or no height",
        "no training image has anything of sun",
    ]


def test_other_annotations_are_matched_by_the_names_of_their_categories(tmp_path: Path) -> None:
    path = annotated(tmp_path, 6)
    split, what = load_labelled(path, Frame((1, 40, 40)), ("lamp", "moon", "sun"))
    assert isinstance(split.targets, torch.Tensor)
    assert split.targets[:, 0].tolist() == [[5, 10, 30, 20, 0]] * 6
    assert what == f"all of {path}"
    with pytest.raises(UserError, match="has classes that the network does not know: sun"):
        load_labelled(path, Frame((1, 40, 40)), ("lamp", "moon"))


def test_other_data_than_a_detector_was_trained_for_are_refused(tmp_path: Path) -> None:
    path = annotated(tmp_path, 20)
    trained = untrained(path)
    match = r"digits has targets of the task label \(0, 1, 2, .*trained for objects \(sun, lamp\)"
    with pytest.raises(UserError, match=match):
        trained.test_split("digits")
    localised = replace(trained, run=replace(trained.run, task=Localised(tuple("0123456789"))))
    with pytest.raises(UserError, match=r"digits has targets of the task label .*trained for localised"):
        localised.test_split("digits")


def test_the_threshold_of_objects_is_the_least_score_that_is_told(tmp_path: Path) -> None:
    """An untrained network is sure of nothing; the boxes of all that it says lie in the photograph."""
    trained = untrained(annotated(tmp_path, 20))
    photo = tmp_path / "images" / "0.png"
    Image.open(photo).resize((120, 80)).save(photo)
    told = {}
    for least in (0.0, 0.99):
        chosen, _ = _with_threshold(trained, least)
        (said,) = chosen.predict([photo])
        assert said.answer is not None
        told[least] = said.answer.record["objects"]
    assert told[0.99] == []
    boxes = torch.tensor([each["box"] for each in told[0.0]])  # of 120 columns the middle 80 are seen
    assert boxes.view(-1, 2, 2).amin((0, 1)).tolist() == pytest.approx([20, 0], abs=4)
    assert boxes.view(-1, 2, 2).amax((0, 1)).tolist() == pytest.approx([100, 80], abs=4)


def untrained(path: Path) -> Trained:
    """A detector for these annotations, with its first weights."""
    torch.manual_seed(0)
    network = detector()
    data = load(path, (1, 40, 40))
    run = Run.of(network, data, {})
    return Trained(run, Model(network.build(), run.normalisation).eval())


def detector() -> Network:
    """Two convolutions, and the heads of detection."""
    tail = Chain(Conv(8, 3, 2, padding=1), ReLU(), Conv(8, 3, 2, padding=1), ReLU())
    return Network(tail=tail, body=Chain(), head=detection_heads(2, 1, 8), input=(1, 40, 40))


@pytest.mark.slow
def test_a_detector_is_evaluated_on_other_annotations_of_the_same_objects(tmp_path: Path) -> None:
    data = load(annotated(tmp_path / "one", 20), (1, 40, 40))
    trained = fit(detector(), data, Recipe(epochs=1))
    result, what = trained.evaluate(annotated(tmp_path / "other", 10, first=50))
    assert (result.images, what[:6]) == (10, "all of")


@pytest.mark.parametrize("name", ["Valid", "validation2017", "VAL"])
def test_annotations_of_a_split_are_found_by_any_of_its_names(tmp_path: Path, name: str) -> None:
    annotated(tmp_path, 6, "annotations/instances_training.json", "training")
    annotated(tmp_path, 3, f"annotations/instances_{name}.json", name, first=100)
    assert sorted(open_source(tmp_path).splits.tolist()) == [0] * 6 + [1] * 3
