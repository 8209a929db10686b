from __future__ import annotations

import io
import pickle
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cnnatomy.data import Frame, Loading, load, open_source
from cnnatomy.data.image_set import TEST, TRAIN, VAL
from cnnatomy.data.sources.detection import AnnotatedObjects
from cnnatomy.data.stores import InMemory
from cnnatomy.data.streaming import Streamed
from cnnatomy.data.truth import Classes, KnownNumbers, Masks, SeveralLabels
from cnnatomy.errors import UserError
from cnnatomy.training import Recipe, fit
from cnnatomy.training.watching import Watcher
from helpers import run_command

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def pixels(number: int, size: tuple[int, int] = (8, 8)) -> np.ndarray:
    return np.random.default_rng([number, *size]).integers(0, 256, (*size, 3)).astype(np.uint8)


def png(array: np.ndarray, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, "PNG", **options)
    return content.getvalue()


def rows(count: int, first: int = 0, **columns: Sequence[Any]) -> dict[str, list[Any]]:
    """Columns: an image for each number, and what is given, repeated."""
    images = [{"bytes": png(pixels(number)), "path": f"photo-{number}.png"} for number in range(first, first + count)]
    return {"image": images} | {
        name: [values[n % len(values)] for n in range(count)] for name, values in columns.items()
    }


def write_parquet(path: Path, columns: dict[str, list[Any]], features: dict[str, Any] | None = None) -> Path:
    """As the Hub has it; without features, as pandas writes it."""
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    if features is None:
        parquet.write_table(pyarrow.table(columns), path)
    else:
        kinds = datasets.Features({"image": datasets.Image(), **features})
        datasets.Dataset.from_dict(columns, features=kinds).to_parquet(path)
    return path


def labelled(folder: Path, count: int = 30, **splits: int) -> Path:
    kind = {"label": datasets.ClassLabel(names=["cat", "dog", "eel"])}
    for position, (split, images) in enumerate((splits or {"train": count}).items()):
        write_parquet(folder / f"{split}-00000-of-00001.parquet", rows(images, position * 1000, label=[0, 1, 2]), kind)
    return folder


PREFIXES = pytest.mark.parametrize("prefix", ["hf:", "hf-stream:"])


@PREFIXES
def test_parquet_files_are_splits_by_their_names(tmp_path: Path, prefix: str) -> None:
    images = open_source(f"{prefix}{labelled(tmp_path / 'data', train=30, validation=6, test=9)}")
    assert images.truth.names == ("cat", "dog", "eel")
    assert [(images.splits == split).sum() for split in (TRAIN, VAL, TEST)] == [30, 6, 9]
    assert images.has == {TRAIN, VAL, TEST}
    assert images.source == f"{prefix}{tmp_path / 'data'}"
    frame = Frame((3, 8, 8))
    firsts = {TRAIN: 0, VAL: 1000 - 30, TEST: 2000 - 36}
    for number, (decode, split) in enumerate(zip(images.decoders(), images.splits.tolist(), strict=True)):
        assert (decode(frame).pixels == pixels(firsts[split] + number).transpose(2, 0, 1)).all()
    assert (images.fetch(7, frame).pixels == pixels(7).transpose(2, 0, 1)).all()


@PREFIXES
def test_a_single_file_as_pandas_writes_it_is_read(tmp_path: Path, prefix: str) -> None:
    path = write_parquet(tmp_path / "photos.parquet", rows(20, label=["dog", "cat"], person=["Ada", "Ben"]))
    images = open_source(f"{prefix}{path}")
    assert images.truth.names == ("cat", "dog")
    assert images.truth.labels[:3].tolist() == [1, 0, 1]
    assert images.columns == {"person": ["Ada", "Ben"] * 10}
    assert images.has == {TRAIN}
    assert images.names[3] == ("photo-3.png" if prefix == "hf:" else "train 3")


@PREFIXES
def test_image_folders_are_read_through_the_library(tmp_path: Path, prefix: str) -> None:
    for begin, split in ((0, "train"), (100, "test")):
        for place, name in enumerate(("cat", "dog")):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for number in range(5):
                Image.fromarray(pixels(begin + number + 10 * place)).save(
                    tmp_path / f"data/{split}/{name}/{number}.png"
                )
    images = open_source(f"{prefix}{tmp_path / 'data'}")
    assert images.truth.names == ("cat", "dog")
    assert (images.splits == TEST).sum() == 10
    assert len(load(images, (3, 8, 8)).train) > 5
    assert prefix == "hf-stream:" or images.names[0] == "train/cat/0.png"


def cached(tmp_path: Path, *configs: str) -> None:
    """What loading `somebody/thing` leaves in the cache: that of a folder differs by its name alone."""
    datasets.load_dataset(str(labelled(tmp_path / "thing", train=30, test=6)))
    found = tmp_path / "cache" / "somebody___thing"
    shutil.move(tmp_path / "cache" / "thing", found)
    for config in configs:
        shutil.copytree(found / "default", found / config)
        (information,) = (found / config).rglob("dataset_info.json")
        information.write_text(
            information.read_text().replace('"config_name": "default"', f'"config_name": "{config}"')
        )
    if configs:
        shutil.rmtree(found / "default")
    shutil.rmtree(tmp_path / "thing")


def test_a_data_set_of_the_hub_is_found_in_its_cache_without_a_network(tmp_path: Path, no_network: None) -> None:
    cached(tmp_path)
    images = open_source("hf:somebody/thing")
    assert (len(images), images.truth.names, images.source) == (36, ("cat", "dog", "eel"), "hf:somebody/thing")
    assert (images.fetch(4, Frame((3, 8, 8))).pixels == pixels(4).transpose(2, 0, 1)).all()
    assert len(open_source("hf-stream:somebody/thing")) == 36


def test_a_configuration_is_named_after_a_colon(tmp_path: Path, no_network: None) -> None:
    cached(tmp_path, "small", "large")
    assert open_source("hf:somebody/thing:small").source == "hf:somebody/thing:small"
    with pytest.raises(
        UserError, match=r"configurations in the cache: .*large.*; one is named after a colon"
    ) as raised:
        open_source("hf:somebody/thing")
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="hf:somebody/thing:huge"):
        open_source("hf:somebody/thing:huge")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@PREFIXES
def test_what_is_neither_here_nor_to_be_had_is_one_message_at_once(
    tmp_path: Path, prefix: str, no_network: None
) -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=r"somebody/other is not in the cache \(.*\), and the Hub cannot be reached"):
        open_source(f"{prefix}somebody/other")
    with pytest.raises(UserError, match="there is no folder or file /nowhere/at/all"):
        open_source(f"{prefix}/nowhere/at/all")
    assert time.monotonic() - start < 5


def test_without_the_library_it_is_said_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnatomy.data.sources.hub_opening.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'cnnatomy\[hub\]'"):
        open_source("hf:ylecun/mnist")


def test_lists_of_classes_are_several_labels(tmp_path: Path) -> None:
    kinds = {"tags": datasets.List(datasets.ClassLabel(names=["red", "round", "ripe"]))}
    write_parquet(tmp_path / "data" / "train.parquet", rows(9, tags=[[0], [], [2, 1]]), kinds)
    truth = open_source(f"hf:{tmp_path / 'data'}").truth
    assert isinstance(truth, SeveralLabels)
    assert truth.names == ("red", "round", "ripe")
    assert truth.values[:3].tolist() == [[True, False, False], [False] * 3, [False, True, True]]
    texts = write_parquet(tmp_path / "texts.parquet", rows(6, labels=[["b"], ["a", "b"], None]))
    truth = open_source(f"hf:{texts}").truth
    assert (truth.names, truth.values[:3].tolist()) == (("a", "b"), [[False, True], [True, True], [False, False]])


def test_columns_of_floats_are_numbers(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", rows(6, x=[0.5, None, 2.0], y=[1.0], place=["here"]))
    truth = open_source(f"hf:{path}?numbers=x,y").truth
    assert isinstance(truth, KnownNumbers)
    assert truth.names == ("x", "y")
    assert np.array_equal(truth.values[:3], np.array([[0.5, 1], [np.nan, 1], [2, 1]], np.float32), equal_nan=True)
    assert open_source(f"hf:{path}").truth.names == ("x", "y")
    assert open_source(f"hf:{path}?numbers=y").columns.keys() == {"x", "place"}


@PREFIXES
def test_a_second_column_of_images_is_the_masks(tmp_path: Path, prefix: str) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 3:6], mask[7, 7] = 2, 255
    path = tmp_path / "data" / "train.parquet"
    masks = [{"bytes": png(mask), "path": None}]
    write_parquet(path, rows(12, annotation=masks), {"annotation": datasets.Image()})
    images = open_source(f"{prefix}{path.parent}")
    assert isinstance(images.truth, Masks)
    assert images.truth.names == ("0", "2")
    found = images.fetch(5, Frame((3, 8, 8))).map
    assert (found == np.where(mask == 2, 1, mask)).all()  # numbers with a gap are classes without
    named = open_source(f"{prefix}{path.parent}?names=sky,sea,boat")
    assert named.truth.names == ("sky", "sea", "boat")
    assert load(named, (3, 8, 8)).report.counts["train"]["boat"] > 5


@PREFIXES
@pytest.mark.parametrize("listed", [False, True])
def test_boxes_are_those_of_coco(tmp_path: Path, prefix: str, listed: bool) -> None:
    kind = datasets.ClassLabel(names=["cat", "dog"])
    number = datasets.Value("float32")
    if listed:
        features: Any = datasets.List({"bbox": datasets.List(number), "category": kind})
        cells: Any = [[{"bbox": [1, 2, 3, 4], "category": 1}, {"bbox": [0, 0, 0, 2], "category": 0}], []]
    else:
        features = {"bbox": datasets.List(datasets.List(number, length=4)), "category": datasets.List(kind)}
        cells = [{"bbox": [[1, 2, 3, 4], [0, 0, 0, 2]], "category": [1, 0]}, {"bbox": [], "category": []}]
    path = write_parquet(tmp_path / "data" / "train.parquet", rows(20, objects=cells), {"objects": features})
    images = open_source(f"{prefix}{path.parent}")
    assert isinstance(images.truth, AnnotatedObjects)
    data = load(images, (3, 16, 16))
    assert data.task.kind == "objects"
    assert data.classes == ("cat", "dog")
    targets = data.train.targets
    assert targets[0, 0].tolist() == [2, 4, 8, 12, 1]  # twice as large
    assert images.skipped_annotations[0][1] == "its box [0.0, 0.0, 0.0, 2.0] has no width or no height"


def test_boxes_without_sense_are_named(tmp_path: Path) -> None:
    for cell, message in (
        ([{"bbox": [1.0, 2.0, 3.0], "category": 1}], "row 0: bbox: expected x, y, width and height"),
        ([{"bbox": [1.0, 2.0, 3.0, 4.0], "category": None}], "row 0 has no class"),
    ):
        path = write_parquet(tmp_path / "a.parquet", rows(6, objects=[cell, [{"bbox": [1.0] * 4, "category": 7}]]))
        with pytest.raises(UserError, match=message):
            open_source(f"hf:{path}")


@PREFIXES
def test_an_image_whose_group_is_not_known_is_alone(tmp_path: Path, prefix: str) -> None:
    columns = rows(30, label=["a", "b"], patient=["ann", "bea", None, "cid", "dot"])
    images = open_source(f"{prefix}{write_parquet(tmp_path / 'a.parquet', columns)}?label=label")
    assert images.columns["patient"][:4] == ["ann", "bea", "", "cid"]
    assert load(images, (3, 8, 8), Loading(group="patient")).report.ungrouped == 6


def test_a_stream_that_breaks_off_is_one_message(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "data", train=30)
    images = open_source(f"hf-stream:{folder}")
    (folder / "train-00000-of-00001.parquet").write_bytes(b"PAR1 something else PAR1")
    with pytest.raises(UserError, match=r"hf-stream:.*data: the stream has ended: ") as raised:
        load(images, (3, 8, 8))
    assert "\n" not in str(raised.value)


def test_the_exif_of_an_image_turns_it_and_a_broken_one_is_skipped(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    columns = rows(30, label=["a", "b"])
    columns["image"][0]["bytes"] = png(pixels(0, (4, 8)), exif=turned)
    columns["image"][1]["bytes"] = b"no image"
    columns["image"][2] = None
    columns["image"][3] = {"bytes": None, "path": "/nowhere.png"}
    images = open_source(f"hf:{write_parquet(tmp_path / 'a.parquet', columns)}")
    assert images.fetch(0, Frame((3, 8, 4))).stored.upright == (8, 4)
    reasons = dict(load(images, (3, 8, 8)).report.skipped)
    assert reasons["photo-1.png"].startswith("not an image")
    assert reasons["train 2"] == "there is no image in this row"
    assert reasons["/nowhere.png"] == "no such file"


def test_a_column_may_say_the_split(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", rows(8, label=["a", "b"], part=["train", "train", "valid", "test"]))
    images = open_source(f"hf:{path}?split=part")
    assert images.splits.tolist() == [TRAIN, TRAIN, VAL, TEST] * 2
    assert "part" not in images.columns
    with pytest.raises(UserError, match="column label says 'a', 'b'; expected train, val, test"):
        open_source(f"hf:{path}?split=label&label=part")


def test_other_splits_are_ignored_and_said(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "data", train=30, test=9)
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n"
    card += "".join(
        f"  - split: {name}\n    path: {file}*.parquet\n" for name, file in (("train", "train"), ("extra", "test"))
    )
    (folder / "README.md").write_text(card + "---\n")
    images = open_source(f"hf:{folder}")
    assert (len(images), images.has) == (30, {TRAIN})
    assert "  split extra: none of train, val and test" in load(images, (3, 8, 8)).report.lines()


@pytest.mark.parametrize(
    ("columns", "choice", "message"),
    [
        ({"kind": ["a"], "place": ["b"]}, "", r"does not say which column .*: one of \?label=kind, \?label=place"),
        ({"label": ["a", "b"]}, "?label=labl", r"has no column 'labl', only image, label. Did you mean label\?"),
        ({"label": ["a", "b"]}, "?lable=label", r"there is no 'lable'. Did you mean label\?"),
        ({"label": ["a", "b"]}, "?label", "expected such as label=COLUMN|names no column"),
        ({"label": ["a", "b"]}, "?image=label", r"column label holds no images \(string\); images: image"),
        ({"label": ["a", "b"]}, "?numbers=label", r"column label \(string\) cannot be those of numbers"),
        ({"label": ["a", None]}, "", "column label: row 1 has no class"),
        ({}, "", "has images, but no column of classes"),
        ({"label": ["a"], "image": ["b"]}, "", "has no column of images, only image .string., label .string."),
        ({"label": ["a"], "photo": [{"bytes": b"", "path": ""}]}, "?label=label&mask=photo", "one of label, mask"),
    ],
)
def test_what_is_not_clear_is_one_message(tmp_path: Path, columns: Any, choice: str, message: str) -> None:
    path = write_parquet(
        tmp_path / "a.parquet", rows(6) | rows(6, **columns) | {k: v * 6 for k, v in columns.items() if k == "image"}
    )
    with pytest.raises(UserError, match=message) as raised:
        open_source(f"hf:{path}{choice}")
    assert "\n" not in str(raised.value)


def test_a_class_that_there_is_not_is_named_with_its_row(tmp_path: Path) -> None:
    kind = {"label": datasets.ClassLabel(names=["cat", "dog"])}
    write_parquet(tmp_path / "data" / "train.parquet", rows(6, label=[0, 1, -1]), kind)
    with pytest.raises(UserError, match=r"column label: row 2 has the class -1; there are 2, from 0 on"):
        open_source(f"hf:{tmp_path / 'data'}")


@PREFIXES
def test_broken_files_are_one_message(tmp_path: Path, prefix: str) -> None:
    path = labelled(tmp_path / "data") / "train-00000-of-00001.parquet"
    content = path.read_bytes()
    for broken in (content[:-100], b"", b"PAR1 something else PAR1"):
        path.write_bytes(broken)
        for name in (path, path.parent):
            with pytest.raises(UserError, match=r"cannot be read|has no") as raised:
                open_source(f"{prefix}{name}")
            assert "\n" not in str(raised.value)
    write_parquet(path, rows(0, label=[0]), {"label": datasets.ClassLabel(names=["a", "b"])})
    with pytest.raises(UserError, match="has no row"):
        open_source(f"{prefix}{path}")
    path.write_bytes(content)
    assert len(open_source(f"{prefix}{path.parent}")) == 30
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty.* cannot be read"):
        open_source(f"{prefix}{tmp_path / 'empty'}")


def test_other_formats_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="is a data set of csv; expected parquet files or folders of images"):
        open_source(f"hf:{tmp_path / 'data'}")
    (tmp_path / "data" / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: a.csv\n---\n")
    with pytest.raises(UserError, match="is a data set of csv"):
        open_source(f"hf:{tmp_path / 'data'}")


def test_a_file_that_was_changed_is_read_again(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "data", 30)
    assert len(open_source(f"hf:{folder}")) == 30
    labelled(folder, 21)
    assert len(open_source(f"hf:{folder}")) == 21


def test_what_fetches_can_be_sent_to_another_process(tmp_path: Path) -> None:
    images = open_source(f"hf:{labelled(tmp_path / 'data')}")
    fetch, frame = pickle.loads(pickle.dumps(images.fetch)), Frame((3, 8, 8))
    assert (fetch(11, frame).pixels == images.fetch(11, frame).pixels).all()


def test_no_name_is_too_strange(no_network: None) -> None:
    for name in ("x" * 5000, "a\0b", "a b", "?", ":", "../..", "a/b/c", "%", "-"):
        for prefix in ("hf:", "hf-stream:"):
            with pytest.raises(UserError):
                open_source(prefix + name)


def test_workers_fetch_from_parquet(tmp_path: Path) -> None:
    images = open_source(f"hf:{labelled(tmp_path / 'data', 600)}")
    kept, decoded = load(images, (3, 8, 8)), load(images, (3, 8, 8), memory=0, workers=2)
    assert isinstance(kept.train.store, InMemory)
    assert not isinstance(decoded.train.store, InMemory)
    for mine, other in zip(kept.train.batches(64, seed=1), decoded.train.batches(64, seed=1), strict=True):
        assert torch.equal(mine[0], other[0])


class Interrupted(Watcher):
    """Presses Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, training: Any, loss: torch.Tensor) -> None:
        if training.steps == self.at:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_training_on_a_stream_is_the_same_again_and_after_a_resume(tmp_path: Path) -> None:
    import cnnatomy as cn
    from cnnatomy import Chain
    from cnnatomy.layers import Conv, Dropout, Flatten, FullyConnected, GlobalAvgPool, ReLU

    name = f"hf-stream:{labelled(tmp_path / 'data', train=150, test=30)}"
    network = cn.Network(
        tail=Chain(conv=Conv(8, 3)),
        body=Chain(relu=ReLU()),
        head=Chain(pool=GlobalAvgPool(), flatten=Flatten(), drop=Dropout(0.3), output=FullyConnected(3)),
        input=(3, 8, 8),
        name="small",
    )
    recipe = replace(Recipe(), epochs=3, batch_size=8)
    found = []
    for run in range(2):
        data = load(name, (3, 8, 8), memory=3 * 64 * 40)
        assert isinstance(data.train.store, Streamed)
        found.append(fit(network, data, recipe, tmp_path / f"run-{run}", device="cpu"))
    with pytest.raises(KeyboardInterrupt):
        fit(network, data, recipe, tmp_path / "parts", device="cpu", watch=[Interrupted(21)])
    data = load(name, (3, 8, 8), memory=3 * 64 * 40)
    found.append(fit(network, data, recipe, tmp_path / "parts", device="cpu", resume=True))
    first, *others = ((tmp_path / run / "model.safetensors").read_bytes() for run in ("run-0", "run-1", "parts"))
    assert others == [first, first]


@pytest.mark.slow
def test_a_user_trains_and_evaluates_on_it(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "data", train=120, test=30)
    said = run_command("train", "lenet-5", "--data", f"hf:{folder}", "--epochs", "1", "--out", tmp_path / "run").output
    assert f"hf:{folder}: 3 classes, 108 train, 12 val, 30 test" in said
    assert f"test split of hf:{folder}: 30 images" in run_command("evaluate", tmp_path / "run").output
    path = labelled(tmp_path / "other") / "train-00000-of-00001.parquet"
    said = run_command("evaluate", tmp_path / "run", "--data", f"hf-stream:{path}").output
    assert f"all of hf-stream:{path}: 30 images" in said


def test_the_truth_of_both_ways_is_the_same(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "data", train=40, test=10)
    one, other = (load(f"{prefix}{folder}", (3, 8, 8)) for prefix in ("hf:", "hf-stream:"))
    assert one.fingerprint == other.fingerprint
    assert isinstance(open_source(f"hf:{folder}").truth, Classes)


def test_files_of_different_columns_are_told_from_broken_ones(tmp_path: Path) -> None:
    for name, column in (("a", "label"), ("b", "sort")):
        write_parquet(tmp_path / "data" / f"{name}.parquet", rows(6, **{column: ["x", "y"]}))
    with pytest.raises(
        UserError, match=r"data: its files have different columns.*: name one of the files, such as hf:/"
    ):
        open_source(f"hf:{tmp_path / 'data'}")
    assert len(open_source(f"hf:{tmp_path / 'data' / 'a.parquet'}")) == 6


@PREFIXES
def test_masks_of_0_and_255_are_background_and_foreground(tmp_path: Path, prefix: str) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5] = 255
    path = tmp_path / "data" / "train.parquet"
    write_parquet(path, rows(12, annotation=[{"bytes": png(mask), "path": None}]), {"annotation": datasets.Image()})
    for choice, names in (("", ("background", "foreground")), ("?names=sky,sea", ("sky", "sea"))):
        images = open_source(f"{prefix}{path.parent}{choice}")
        assert images.truth.names == names
        found = images.fetch(5, Frame((3, 8, 8))).map
        assert (found == mask // 255).all()


@PREFIXES
def test_a_file_that_becomes_gigabytes_is_refused_by_its_footer(tmp_path: Path, prefix: str) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "train.parquet"
    part = pyarrow.table({"image": [b""] * 50, "more": pyarrow.array([b"\0" * 2**21] * 50)})
    with parquet.ParquetWriter(path, part.schema, compression="zstd", use_dictionary=False) as file:
        for _ in range(11):
            file.write_table(part)
    with pytest.raises(
        UserError, match=r"train.parquet: [\d,]+ bytes that say to be 1,15\d,[\d,]+ in 550 rows; at most"
    ):
        open_source(f"{prefix}{path}")


def test_columns_that_are_not_used_are_not_decoded(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", rows(6, label=["a", "b"], vector=[[0.5] * 200_000]))
    images = open_source(f"hf:{path}")
    assert images.truth.names == ("a", "b")
    assert sum(each.stat().st_size for each in (tmp_path / "cache").rglob("*.arrow")) < 100_000


@PREFIXES
def test_a_file_without_a_row_is_named(tmp_path: Path, prefix: str) -> None:
    import pyarrow

    path = tmp_path / "a.parquet"
    schema = pyarrow.schema([("image", pyarrow.binary()), ("label", pyarrow.int64())])
    pyarrow.parquet.write_table(schema.empty_table(), path)
    with pytest.raises(UserError, match="has no row"):
        open_source(f"{prefix}{path}")


def test_a_number_that_does_not_fit_is_named_with_its_row(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", rows(6, age=[1.0, 1e39]))
    with pytest.raises(UserError, match=r"column age: row 1 has 1e\+39, which does not fit 32 bits"):
        open_source(f"hf:{path}")
