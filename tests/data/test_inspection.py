"""What `cnnatomy data` finds in a data set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnatomy.data import Loading, load, open_source
from cnnatomy.data.image_set import LEFT_OUT, TRAIN
from cnnatomy.data.inspection.gathering import Gathered, gather
from cnnatomy.data.inspection.inspection import Groups, Inspection, inspect
from cnnatomy.data.inspection.learned import ToLearn, to_learn
from cnnatomy.data.inspection.samples import sample_rows
from cnnatomy.data.inspection.size import suitable_size
from cnnatomy.report.data_findings import remarks
from cnnatomy.tasks.maps import Keypoints, Mask, PixelNumbers
from cnnatomy.tasks.numbers import Labels, Numbers
from cnnatomy.tasks.objects import Objects

ORIENTATION = 274


def draw(folder: Path, count: int, seed: int = 0, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Path:
    """So many images of noise, as 000.png, 001.png, ...; `size` is rows and columns."""
    generator = np.random.default_rng([seed, *folder.name.encode()])
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{number:03}.png")
    return folder


def gathered(source: object, **options: object) -> Gathered:
    found = open_source(str(source))
    return gather(found, suitable_size(found), Loading(**options))  # type: ignore[arg-type]


def inspected(source: object, **options: object) -> Inspection:
    return inspect(gathered(source, **options))


def names_of(found: Inspection) -> dict[str, str]:
    return {remark.name: remark.severity for remark in remarks(found)}


def test_small_images_of_one_size_are_looked_at_as_they_are(tmp_path: Path) -> None:
    draw(tmp_path / "a", 4)
    draw(tmp_path / "b", 4)
    assert suitable_size(open_source(tmp_path)).shape == (3, 12, 10)


def test_grey_images_are_looked_at_in_grey_and_colour_asks_for_three_channels(tmp_path: Path) -> None:
    draw(tmp_path / "a", 4, mode="L")
    draw(tmp_path / "b", 4, mode="L")
    assert suitable_size(open_source(tmp_path)).shape == (1, 12, 10)
    draw(tmp_path / "b", 1)
    assert suitable_size(open_source(tmp_path)).shape == (3, 12, 10)


@pytest.mark.parametrize("other", [(12, 11), (12, 300)])
def test_images_of_several_sizes_are_looked_at_as_224_by_224(tmp_path: Path, other: tuple[int, int]) -> None:
    draw(tmp_path / "a", 4)
    draw(tmp_path / "b", 4, size=other)
    assert suitable_size(open_source(tmp_path)).shape == (3, 224, 224)


def test_what_can_be_trained_has_the_splits_and_the_normalisation_of_training() -> None:
    found, data = inspected("digits"), load("digits", (1, 8, 8))
    assert found.counts == {"train": len(data.train), "val": len(data.val), "test": len(data.test)}
    assert {row.name: row.counts["train"] for row in found.to_learn[0].rows} == data.report.counts["train"]
    assert found.moments is not None
    assert (found.moments.mean, found.moments.std) == (data.normalisation.mean, data.normalisation.std)
    assert remarks(found) == []


def test_the_mean_of_a_class_is_that_of_its_training_images() -> None:
    found = inspected("digits")
    data = load("digits", (1, 8, 8))
    pixels = torch.cat([images[target == 3] for images, target in data.train.batches(300)]).double() / 255
    assert found.by_class["3"].mean[0] == pytest.approx(float(pixels.mean()))
    assert found.by_class["3"].std[0] == pytest.approx(float(pixels.std(correction=0)))


def test_the_deviation_of_a_constant_channel_is_told_as_0_and_trained_with_as_1(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for file in draw(tmp_path / name, 6).iterdir():
            pixels = np.asarray(Image.open(file)).copy()
            pixels[..., 2] = 77
            Image.fromarray(pixels).save(file)
    found, data = inspected(tmp_path), load(tmp_path, (3, 12, 10))
    assert found.moments is not None
    assert (found.moments.std[2], found.by_class["a"].std[2], data.normalisation.std[2]) == (0, 0, 1)
    assert found.moments.std[:2] == data.normalisation.std[:2]
    assert found.moments.mean[2] == pytest.approx(77 / 255)


def test_a_class_too_small_to_split_is_told_and_everything_else_is_too(tmp_path: Path) -> None:
    draw(tmp_path / "cat", 25)
    draw(tmp_path / "dog", 2)
    (tmp_path / "cat" / "broken.png").write_bytes(b"\x89PNG and no more")
    found = inspected(tmp_path)
    assert "class dog has 2 usable images" in found.gathered.refusal
    assert found.counts == {"train": 27, "val": 0, "test": 0}
    assert [name for name, _ in found.broken] == ["cat/broken.png"]
    said = names_of(found)
    assert (said["refused"], said["broken"], said["few"], said["rare"]) == ("error", "warning", "warning", "warning")


def test_a_single_class_is_told_and_so_is_an_empty_one(tmp_path: Path) -> None:
    draw(tmp_path / "cat", 5)
    assert "only one class, cat" in inspected(tmp_path).gathered.refusal
    (tmp_path / "dog").mkdir()
    found = inspected(tmp_path)
    assert "no training image is of dog" in found.gathered.refusal
    assert [row.total for row in found.to_learn[0].rows] == [5, 0]


def test_equal_images_are_told_within_a_split_across_splits_and_across_classes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            draw(tmp_path / split / name, 6, seed=len(split))
    shutil.copy(tmp_path / "train/cat/000.png", tmp_path / "train/cat/again.png")
    shutil.copy(tmp_path / "train/cat/001.png", tmp_path / "test/cat/again.png")
    shutil.copy(tmp_path / "train/dog/002.png", tmp_path / "train/cat/which.png")
    found = inspected(tmp_path)
    names = found.gathered.names
    told = {tuple(sorted(names[index] for index in each.images)): (each.across, each.conflict) for each in found.equal}
    assert told == {
        ("train/cat/000.png", "train/cat/again.png"): (False, False),
        ("test/cat/again.png", "train/cat/001.png"): (True, False),
        ("train/cat/which.png", "train/dog/002.png"): (False, True),
    }
    assert {"duplicates", "across_splits", "conflicts"} <= set(names_of(found))
    assert found.left_out == 1


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """Of an image of each class a copy that was saved again: one of `a` lies in the folder of `b`."""
    for name in "ab":
        draw(tmp_path / name, 8, size=(32, 32))
    with Image.open(tmp_path / "a/000.png") as image:
        image.save(tmp_path / "b/copy.jpg", quality=85)
    with Image.open(tmp_path / "b/001.png") as image:
        image.save(tmp_path / "b/again.jpg", quality=85)
    return tmp_path


def test_near_duplicates_of_different_targets_are_told_with_their_classes(copies: Path) -> None:
    told = {remark.name: remark for remark in remarks(inspected(copies))}
    assert told["near_conflicts"].severity == "warning"
    assert told["near_conflicts"].text == "1 pair of near duplicates has different targets: which is right?"
    assert told["near_conflicts"].examples == ("a/000.png (a), b/copy.jpg (b)",)
    assert told["near_duplicates"].examples == ("b/001.png ~ b/again.jpg",)


def test_near_duplicates_are_told_also_where_the_data_are_refused(copies: Path) -> None:
    found = inspected(copies, group="^[ab]")
    assert "class a has 8 images, all of them in the group" in found.gathered.refusal
    assert {"refused", "near_conflicts", "near_duplicates"} <= set(names_of(found))


def test_labels_and_numbers_that_near_duplicates_differ_in_are_told(copies: Path) -> None:
    files = sorted(copies.rglob("*.*"))
    for title, one, other, said in [
        ("labels", "sun;sea", "sea", ("sea, sun", "sea")),
        ("age", "31", "32.5", ("age 31", "age 32.5")),
    ]:
        lines = [f"{file.relative_to(copies)},{other if file.name == 'copy.jpg' else one}" for file in files]
        (copies / f"{title}.csv").write_text("\n".join([f"image,{title}", *lines]))
        found = inspected(copies / f"{title}.csv")
        assert [set(near.targets) for near in found.near if near.targets] == [set(said)]


def test_sizes_are_those_of_the_files_turned_upright(tmp_path: Path) -> None:
    draw(tmp_path / "a", 4, size=(20, 10))
    draw(tmp_path / "b", 4, size=(30, 40), mode="L")
    with Image.open(tmp_path / "a/000.png") as image:
        exif = image.getexif()
        exif[ORIENTATION] = 6
        image.copy().save(tmp_path / "a/turned.jpg", exif=exif)
    sizes = inspected(tmp_path).sizes
    assert sizes is not None
    assert (sizes.smallest, sizes.largest, sizes.distinct) == ((10, 20), (30, 40), 3)
    assert (sizes.turned, sizes.colour, sizes.grey) == (1, 5, 4)


def test_an_image_without_contrast_is_told_also_where_a_margin_is_around_it(tmp_path: Path) -> None:
    draw(tmp_path / "a", 4)
    draw(tmp_path / "b", 4, size=(12, 11))
    Image.new("RGB", (10, 12), (7, 90, 200)).save(tmp_path / "a/blank.png")
    found = inspected(tmp_path)
    assert [found.gathered.names[index] for index in found.flat] == ["a/blank.png"]


def test_grey_images_that_are_stored_in_colour_are_told(tmp_path: Path) -> None:
    draw(tmp_path / "a", 3)
    draw(tmp_path / "b", 3)
    for file in (tmp_path / "b").iterdir():
        Image.open(file).convert("L").convert("RGB").save(file)
    found = inspected(tmp_path)
    assert found.sizes is not None
    assert found.sizes.grey_in_colour == 3


def test_a_class_ten_times_rarer_than_the_most_frequent_is_told(tmp_path: Path) -> None:
    draw(tmp_path / "cat", 300, size=(4, 4))
    draw(tmp_path / "dog", 40, size=(4, 4))
    draw(tmp_path / "owl", 28, size=(4, 4))
    assert [row.name for row in inspected(tmp_path).rare] == ["owl"]


def test_a_label_that_no_training_image_has_is_told(tmp_path: Path) -> None:
    draw(tmp_path / "images", 12)
    lines = [f"images/{n:03}.png,sun{';rare' if n > 9 else ''},{'test' if n > 8 else 'train'}" for n in range(12)]
    (tmp_path / "list.csv").write_text("\n".join(["image,labels,split", *lines]))
    found = inspected(tmp_path / "list.csv")
    assert found.gathered.refusal == ""
    told = next(remark for remark in remarks(found) if remark.name == "unseen")
    assert (told.severity, told.examples) == ("warning", ("rare: 2",))
    assert "no training image has anything of rare" in told.text


def test_names_and_looks_that_agree_suggest_a_group(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for subject in range(6):
            base = generator.integers(0, 200, (16, 16, 3))
            for number in range(4):
                pixels = (base + generator.integers(0, 50, base.shape)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / name / f"{name}{subject}_{number}.png")
    found = inspected(tmp_path).subjects
    assert found is not None
    assert found.groups == 12
    assert found.within > 0.9 > found.between
    for folder in ("cat", "dog"):  # the same names, of images that have nothing in common
        for file in (tmp_path / folder).iterdir():
            Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)
    assert inspected(tmp_path).subjects is None


SPLITS = np.array([TRAIN, TRAIN, LEFT_OUT], np.int8)
NOTHING = np.zeros((3, 0), np.int32)


def rows_of(found: tuple[ToLearn, ...]) -> dict[str, tuple[int, dict[str, float | None]]]:
    return {row.name: (row.total, row.figures) for row in found[0].rows}


def test_of_numbers_the_quartiles_are_told_and_how_many_are_missing() -> None:
    values = torch.tensor([[1.0, float("nan")], [3.0, float("inf")], [99.0, 99.0]])
    found = to_learn(Numbers(("age", "height")), values, SPLITS, NOTHING)
    age, height = rows_of(found)["age"], rows_of(found)["height"]
    assert age[0] == 2
    assert (age[1]["least"], age[1]["median"], age[1]["largest"], age[1]["missing"]) == (1, 2, 3, 0)
    assert height == (0, dict.fromkeys(height[1], None) | {"missing": 1, "infinite": 1})
    assert found[0].missing == 2


def test_of_labels_images_are_counted_and_those_without_any() -> None:
    found = to_learn(Labels(("sun", "sea")), torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]), SPLITS, NOTHING)
    assert {name: total for name, (total, _) in rows_of(found).items()} == {"sun": 1, "sea": 1}
    assert found[0].without == 1


def test_of_masks_the_share_of_pixels_is_told_from_files_and_from_maps() -> None:
    areas = np.array([[3, 1], [4, 0], [0, 4]], np.int32)
    from_files = to_learn(Mask(("ground", "tree")), torch.from_numpy(areas > 0), SPLITS, areas)
    maps = torch.tensor([[[0, 0], [0, 1]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]], dtype=torch.uint8)
    assert to_learn(Mask(("ground", "tree")), maps, SPLITS, NOTHING) == from_files
    assert rows_of(from_files) == {"ground": (2, {"share_of_pixels": 7 / 8}), "tree": (1, {"share_of_pixels": 1 / 8})}


def test_of_boxes_objects_and_their_sides_are_told() -> None:
    boxes = torch.full((3, 3, 5), -1.0)
    boxes[0, 0] = torch.tensor([0.0, 0.0, 4.0, 9.0, 0.0])
    boxes[0, 1] = torch.tensor([0.0, 0.0, 2.0, 2.0, 0.0])
    boxes[1, 0] = torch.tensor([0.0, 0.0, 2.0, 2.0, -3.0])  # a crowd of the class 1
    boxes[2, 0] = torch.tensor([0.0, 0.0, 8.0, 8.0, 0.0])  # left out
    cat, dog = rows_of(to_learn(Objects(("cat", "dog"), size=(9, 9)), boxes, SPLITS, NOTHING)).values()
    assert cat == (
        2,
        {"images": 1, "smallest_side": 2, "median_side": 4, "largest_side": 6, "crowds": 0},
    )
    assert (dog[0], dog[1]["crowds"], dog[1]["largest_side"]) == (0, 1, None)


def test_of_points_those_that_are_seen_are_counted() -> None:
    points = torch.tensor([[[1.0, 1.0, 1.0], [2.0, 2.0, 0.0]]] * 3)
    found = to_learn(Keypoints(("nose", "tail"), size=(4, 4)), points, SPLITS, NOTHING)
    assert {name: total for name, (total, _) in rows_of(found).items()} == {"nose": 2, "tail": 0}


def test_of_maps_of_numbers_the_distribution_over_pixels_is_told() -> None:
    maps = torch.arange(12.0).reshape(3, 1, 2, 2)
    depth = rows_of(to_learn(PixelNumbers(("depth",)), maps, SPLITS, NOTHING))["depth"]
    assert (depth[1]["least"], depth[1]["median"], depth[1]["largest"]) == (0, 3.5, 7)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mask", "objects", "labels", "numbers", "keypoints", "depth", "motion", "heads"])
def test_drawn_scenes_of_every_kind_are_looked_at(kind: str) -> None:
    found = inspected(f"scenes:{kind}")
    assert found.counts == {"train": 2000, "val": 400, "test": 400}
    assert sample_rows(found.gathered, 1)


def test_annotations_are_looked_at_with_their_boxes(tmp_path: Path) -> None:
    draw(tmp_path / "images", 9, size=(20, 20))
    content = {
        "images": [{"id": n, "file_name": f"{n:03}.png", "width": 20, "height": 20} for n in range(9)],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "bbox": [2, 2, 8, 8]} for n in range(8)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    found = inspected(tmp_path / "boxes.json")
    cat, dog = found.to_learn[0].rows
    assert (cat.total, cat.figures["median_side"], dog.total, found.to_learn[0].without) == (8, 8, 0, 1)
    assert names_of(found)["empty"] == "warning"


def test_samples_are_of_their_class_and_the_same_for_a_seed() -> None:
    data = gathered("digits")
    rows, again = sample_rows(data, 3, seed=1), sample_rows(data, 3, seed=1)
    assert [row.name for row in rows] == list("0123456789")
    for row, other in zip(rows, again, strict=True):
        assert [sample.name for sample in row.samples] == [sample.name for sample in other.samples]
        assert [int(sample.before.target[""]) for sample in row.samples] == [int(row.name)] * 3
    assert [sample.name for sample in sample_rows(data, 3, seed=2)[0].samples] != [s.name for s in rows[0].samples]


def test_only_training_images_are_augmented() -> None:
    data = gathered("digits")
    rows = sample_rows(data, 1000, augment=lambda images, target, seeds: (images.flip(3), target), epochs=2)
    places = {name: index for index, name in enumerate(data.names)}
    for row in rows:
        for sample in row.samples:
            assert data.splits[places[sample.name]] == TRAIN
            for after in sample.after:
                assert np.array_equal(after.pixels, sample.before.pixels[:, :, ::-1])


def test_a_sheet_of_many_classes_has_the_first_that_fit() -> None:
    assert [row.name for row in sample_rows(gathered("digits"), 4, most=13)] == ["0", "1", "2"]


def test_columns_that_tell_no_target_are_offered_as_groups(tmp_path: Path) -> None:
    draw(tmp_path / "images", 12)
    lines = [f"images/{number:03}.png,{number % 3 + 0.5},p{number // 3},row{number}" for number in range(12)]
    (tmp_path / "list.csv").write_text("\n".join(["image,age,patient,name", *lines]))
    found = inspected(tmp_path / "list.csv")
    assert [(column.name, column.values, column.largest) for column in found.columns] == [("patient", 4, 3)]


def test_the_groups_of_a_column_are_counted_and_it_is_not_offered_again(tmp_path: Path) -> None:
    draw(tmp_path / "images", 24)
    patients = ["" if n < 2 else "anna" if n < 8 else f"p{n // 2}" for n in range(24)]
    lines = [f"images/{n:03}.png,{'ab'[n % 2]},{patient}" for n, patient in enumerate(patients)]
    (tmp_path / "list.csv").write_text("\n".join(["image,label,patient", *lines]))
    found = inspected(tmp_path / "list.csv", group="patient")
    assert found.columns == ()
    assert found.groups == Groups(groups=9, largest="anna", images=6, without=2)
    told = [remark.text for remark in remarks(found) if remark.name == "groups"]
    assert told == [
        "--group patient makes 9 groups; the largest, anna, has 6 images; 2 images without a group, each one of its own"
    ]


def test_images_in_whose_names_a_pattern_finds_no_group_are_counted(tmp_path: Path) -> None:
    draw(tmp_path / "a", 14)
    draw(tmp_path / "b", 12)
    found = inspected(tmp_path, group=r"a/0[01][0-3]")
    assert found.groups == Groups(groups=8, largest="a/000", images=1, without=18)
    assert inspected(tmp_path, group="nowhere").groups is None
    assert inspected(tmp_path).groups is None
