from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from cnnatomy.data import Data, Frame, Loading, Split, load, load_labelled, read_image
from cnnatomy.data import stores as module
from cnnatomy.data.batches import Batches
from cnnatomy.data.image_set import LEFT_OUT, TEST, TRAIN, VAL
from cnnatomy.data.seeds import mix
from cnnatomy.data.sources import fashion
from cnnatomy.data.splits import Divisible, split_images
from cnnatomy.data.stores import InMemory, OnDemand
from cnnatomy.errors import UserError


def class_folders(folder: Path, counts: dict[str, int], seed: int = 0, side: int = 10) -> Path:
    generator = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03}.png")
    return folder


def images_of(split: Split) -> torch.Tensor:
    return torch.cat([images for images, _ in split.batches(7)])


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits", (1, 8, 8))


def test_digits_are_split_70_10_20_in_every_class(digits: Data) -> None:
    assert (len(digits.train), len(digits.val), len(digits.test)) == (1259, 179, 359)
    counts = digits.report.counts
    for name in digits.classes:
        total = sum(counts[split][name] for split in counts)
        assert counts["test"][name] == round(0.2 * total)
        assert counts["val"][name] == round(0.1 * total)


def test_the_splits_share_no_image(digits: Data) -> None:
    sets = [
        {image.numpy().tobytes() for image in images_of(split)} for split in (digits.train, digits.val, digits.test)
    ]
    assert not sets[0] & sets[1]
    assert not sets[0] & sets[2]
    assert not sets[1] & sets[2]


def test_splits_follow_from_their_seed(digits: Data) -> None:
    assert load("digits", (1, 8, 8)).fingerprint == digits.fingerprint
    assert load("digits", (1, 8, 8), Loading(split_seed=1)).fingerprint != digits.fingerprint


def test_the_normalisation_is_that_of_the_training_split_alone(digits: Data) -> None:
    pixels = images_of(digits.train).double() / 255
    assert digits.normalisation.mean[0] == pytest.approx(float(pixels.mean()))
    assert digits.normalisation.std[0] == pytest.approx(float(pixels.std(correction=0)))


def test_each_channel_has_its_own_normalisation(tmp_path: Path) -> None:
    data = load(class_folders(tmp_path, {"a": 9, "b": 9}), (3, 10, 10))
    pixels = images_of(data.train).double() / 255
    assert data.normalisation.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert data.normalisation.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())


def test_a_constant_channel_is_not_divided_by_zero(tmp_path: Path) -> None:
    for name, shades in (("a", range(5)), ("b", range(5, 10))):
        (tmp_path / name).mkdir()
        for shade in shades:
            Image.new("RGB", (4, 4), (7, 7, shade)).save(tmp_path / name / f"{shade}.png")
    assert load(tmp_path, (3, 4, 4)).normalisation.std[0] == 1.0


def test_equal_images_stay_in_one_split(tmp_path: Path) -> None:
    folder = class_folders(tmp_path, {"a": 20, "b": 20})
    for number in range(20):  # every image of a twice, the second time as BMP
        Image.open(folder / "a" / f"{number:03}.png").save(folder / "a" / f"{number:03}.bmp")
    for seed in range(5):
        data = load(folder, (3, 10, 10), Loading(split_seed=seed))
        seen = [{image.numpy().tobytes() for image in images_of(split)} for split in (data.train, data.val, data.test)]
        assert sum(map(len, seen)) == len(set.union(*seen)) == 40
        assert data.report.duplicates == 20


def test_a_image_of_the_test_folder_is_left_out_of_training(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"a": 10, "b": 10})
    class_folders(tmp_path / "test", {"a": 3, "b": 3}, seed=1)
    shutil.copy(tmp_path / "test" / "a" / "000.png", tmp_path / "train" / "a" / "copy.png")
    data = load(tmp_path, (3, 10, 10))
    assert data.report.left_out == 1
    assert len(data.train) + len(data.val) == 20
    assert "left out, as a later split has the same: 1 image" in "\n".join(data.report.lines())


def test_a_image_in_two_classes_is_reported(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 5, "b": 5})
    shutil.copy(tmp_path / "a" / "000.png", tmp_path / "b" / "copy.png")
    assert load(tmp_path, (3, 10, 10)).report.conflicts == 1


def test_broken_images_are_skipped_and_named(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 6, "b": 6})
    (tmp_path / "a" / "text.png").write_text("no pixels")
    whole = (tmp_path / "b" / "000.png").read_bytes()
    (tmp_path / "b" / "cut.png").write_bytes(whole[: len(whole) // 2])
    data = load(tmp_path, (3, 10, 10))
    assert [name for name, _ in data.report.skipped] == ["a/text.png", "b/cut.png"]
    assert len(data.train) + len(data.val) + len(data.test) == 12
    lines = data.report.lines(most=1)
    assert lines[0] == "2 broken images skipped:"
    assert lines[1].startswith("  a/text.png: not an image")
    assert lines[2] == "  and 1 more"


def test_a_class_with_one_image_cannot_be_split(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 6, "b": 1})
    with pytest.raises(UserError, match="class b has 1 usable image; 3 are needed at least"):
        load(tmp_path, (3, 10, 10))


def test_a_class_of_broken_images_says_what_is_wrong_with_them(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 6})
    (tmp_path / "b").mkdir()
    for number in range(3):
        (tmp_path / "b" / f"{number}.png").write_text("no pixels")
    with pytest.raises(UserError, match=r"class b has no usable image(.|\n)*b/0.png: not an image"):
        load(tmp_path, (3, 10, 10))


def test_three_images_a_class_are_enough(tmp_path: Path) -> None:
    data = load(class_folders(tmp_path, {"a": 3, "b": 3}), (3, 10, 10))
    assert (len(data.train), len(data.val), len(data.test)) == (2, 2, 2)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), min_size=30, max_size=90),
    st.integers(0, 100),
    st.sets(st.sampled_from([VAL, TEST])),
)
def test_splitting_keeps_its_promises(drawn: list[tuple[int, int]], seed: int, brought: set[int]) -> None:
    labels = np.array([label for label, _ in drawn])
    digests = [b"%d" % number for _, number in drawn]
    given_splits = np.full(len(drawn), TRAIN, np.int8)
    for position, split in enumerate(sorted(brought)):
        given_splits[position::10] = split
    try:
        splits = split_images(Divisible(labels, digests, given_splits), {TRAIN, *brought}, seed)
    except UserError:
        return
    places: dict[bytes, set[int]] = {}
    for digest, split in zip(digests, splits.tolist(), strict=True):
        if split != LEFT_OUT:
            places.setdefault(digest, set()).add(split)
    assert all(len(found) == 1 for found in places.values())
    assert {TRAIN, VAL, TEST} <= set(splits.tolist())
    for split in brought:
        assert set(np.flatnonzero(splits == split)) <= set(np.flatnonzero(given_splits == split))


def test_images_that_do_not_fit_into_memory_are_decoded_on_demand(tmp_path: Path) -> None:
    folder = class_folders(tmp_path, {"a": 12, "b": 12})
    held, lazy = load(folder, (3, 10, 10)), load(folder, (3, 10, 10), memory=1000)
    assert isinstance(held.train.store, InMemory)
    assert isinstance(lazy.train.store, OnDemand)
    assert held.fingerprint == lazy.fingerprint
    assert held.normalisation == lazy.normalisation
    for (images, labels), (others, other_labels) in zip(
        held.train.batches(5, 3), lazy.train.batches(5, 3), strict=True
    ):
        assert torch.equal(images, others)
        assert torch.equal(labels, other_labels)


@pytest.mark.parametrize("workers", [False, True])
def test_on_demand_a_image_that_vanishes_is_named(
    tmp_path: Path, workers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORTH_WORKERS", 0 if workers else 256)
    folder = class_folders(tmp_path, {"a": 5, "b": 5})
    data = load(folder, (3, 10, 10), memory=0)
    assert sum(len(labels) for _, labels in data.train.batches(4)) == len(data.train)
    shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"^[ab]/00\d.png could be read at the start, but no more: no such file$"):
        list(data.train.batches(4))


def test_a_network_of_five_channels_takes_no_images() -> None:
    with pytest.raises(UserError, match="takes 5 channels"):
        load("digits", (5, 8, 8))


def test_other_data_is_matched_by_the_names_of_its_classes(tmp_path: Path) -> None:
    folder = class_folders(tmp_path, {"dog": 3, "ant": 2})
    (folder / "ant" / "broken.png").write_text("")
    split, what = load_labelled(folder, Frame((3, 10, 10)), ("ant", "cat", "dog"))
    assert split.targets[split.indices].tolist() == [0, 0, 2, 2, 2]
    assert what.startswith("all of ")
    assert what.endswith("without 1 broken image")
    with pytest.raises(UserError, match="does not know: dog"):
        load_labelled(folder, Frame((3, 10, 10)), ("ant", "cat"))


def batches(count: int, size: int, seed: int | None) -> Batches:
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1)
    return Split(InMemory(images), torch.arange(count), torch.arange(count)).batches(size, seed)


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own() -> None:
    shuffled = batches(10, 3, seed=5)
    orders = []
    for epoch in (0, 1, 0):
        shuffled.order.set_epoch(epoch)
        found = list(shuffled)
        assert all(torch.equal(images.flatten().long(), labels) for images, labels in found)
        assert [len(labels) for _, labels in found] == [3, 3, 3]  # 10 = 3 * 3 + 1: see the next test
        orders.append(torch.cat([labels for _, labels in found]).tolist())
    assert orders[0] == orders[2] != orders[1]
    assert sorted(torch.cat([labels for _, labels in batches(11, 3, seed=5)]).tolist()) == list(range(11))


def test_only_training_leaves_out_a_last_batch_of_one() -> None:
    assert [len(labels) for _, labels in batches(7, 3, seed=1)] == [3, 3]
    assert [len(labels) for _, labels in batches(7, 3, seed=None)] == [3, 3, 1]
    assert [len(labels) for _, labels in batches(1, 3, seed=1)] == [1]
    assert [len(batches(count, 3, 1)) for count in (1, 2, 3, 4, 5, 6)] == [1, 1, 1, 1, 2, 2]


def test_seeds_of_neighbouring_epochs_and_seeds_all_differ() -> None:
    seeds = {mix(seed, epoch) for seed in range(50) for epoch in range(50)}
    assert len(seeds) == 2500
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.slow
@pytest.mark.skipif(not fashion.FOLDER.is_dir(), reason="apt-get install dataset-fashion-mnist")
def test_fashion_mnist_is_read_whole() -> None:
    data = load("fashion-mnist", (1, 28, 28))
    assert (len(data.train), len(data.val), len(data.test)) == (54_000, 6_000, 10_000)
    assert data.classes[9] == "ankle boot"
    training = torch.cat([images_of(data.train), images_of(data.val)]).double() / 255
    assert float(training.mean()) == pytest.approx(0.28604060, abs=1e-7)  # shared/DATA.md
    assert float(training.std()) == pytest.approx(0.35302424, abs=1e-7)


def test_a_photograph_that_was_made_smaller_than_the_input_is_a_near_duplicate(tmp_path: Path) -> None:
    """In the frame it has a margin that the large one has not."""
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(10):
            rough = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            image = Image.fromarray(rough).resize((96, 96), Image.Resampling.BICUBIC)
            image.save(tmp_path / name / f"{number}.png")
            if number < 3:
                image.resize((56, 56)).save(tmp_path / name / f"{number}_small.jpg", quality=90)
    data = load(tmp_path, (3, 64, 64))
    assert data.report.lines() == ["6 pairs of near duplicates, each kept in one split"]
    (tmp_path / "a" / "0_small.jpg").rename(tmp_path / "b" / "0_small_of_a.jpg")
    assert "near duplicates that have different targets: 1 pair" in load(tmp_path, (3, 64, 64)).report.lines()


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 64, 64), (3, 48, 96)])
def test_reduced_photographs_are_cropped_as_before_there_were_fits(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    """By Pillow's own function, of the JPEG as it decodes it at 1/2, 1/4 or 1/8: runs of that time are evaluated so."""
    pixels = np.random.default_rng(0).integers(0, 256, (523, 701, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    mode = "L" if shape[0] == 1 else "RGB"
    with Image.open(tmp_path / "a.jpg") as image:
        image.draft(mode, (max(shape[1:]), max(shape[1:])))
        assert image.size != (701, 523)
        wanted = ImageOps.fit(image.convert(mode), (shape[2], shape[1]), Image.Resampling.BILINEAR)
    for fit in ("crop", "auto"):
        found = read_image(tmp_path / "a.jpg", Frame(shape, fit))
        assert np.array_equal(found.transpose(1, 2, 0).squeeze(), np.asarray(wanted))
