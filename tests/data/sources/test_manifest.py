from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnatomy.data import Loading, load, open_source
from cnnatomy.data.frames import Frame
from cnnatomy.data.image_set import TEST, TRAIN, VAL, ImageSet
from cnnatomy.data.sources import manifest
from cnnatomy.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """12 images `0.png` to `11.png`."""
    generator = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(generator.integers(0, 256, (6, 8), np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


def read(folder: Path, text: str, name: str = "list.csv") -> ImageSet:
    (folder / name).write_text(text, encoding="utf-8", newline="")
    found = open_source(folder / name)
    assert isinstance(found, ImageSet)
    return found


def refused(folder: Path, text: str, name: str = "list.csv") -> str:
    with pytest.raises(UserError) as error:
        read(folder, text, name)
    return str(error.value)


def test_a_label_for_each_image_is_one_class(folder: Path) -> None:
    found = read(folder, "image,label\n0.png,cat\n1.png,dog\n2.png,cat\n")
    assert found.truth.names == ("cat", "dog")
    assert found.truth.strata().tolist() == [0, 1, 0]
    assert found.fetch(1, Frame((1, 6, 8))).pixels.tolist() == [np.asarray(Image.open(folder / "1.png")).tolist()]


def test_classes_that_are_numbers_are_in_the_order_of_numbers(folder: Path) -> None:
    assert read(folder, "image,label\n0.png,10\n1.png,9\n2.png,-1\n").truth.names == ("-1", "9", "10")
    records = [{"image": "0.png", "label": 10}, {"image": "1.png", "label": 9}]
    assert read(folder, json.dumps(records), "list.json").truth.names == ("9", "10")


def test_several_labels_are_separated_or_a_list_and_may_be_none(folder: Path) -> None:
    rows = [["day", "rain"], [], ["night"], ["night", "rain"]]
    text = "image,labels\n" + "".join(f"{i}.png,{';'.join(words)}\n" for i, words in enumerate(rows))
    records = [{"image": f"{i}.png", "labels": words} for i, words in enumerate(rows)]
    sets = [
        read(folder, text),
        read(folder, text.replace(";", " | ")),
        read(folder, text.replace(",", "\t"), "list.tsv"),
        read(folder, json.dumps(records), "list.json"),
        read(folder, "\n".join(map(json.dumps, records)), "list.jsonl"),
    ]
    for found in sets:
        assert found.truth.names == ("day", "night", "rain")
        targets = found.truth.targets(Frame((1, 6, 8)), {}, np.zeros((4, 0), np.bool_))
        assert targets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_labels_that_come_together_and_rare_ones_are_no_hindrance(folder: Path) -> None:
    """Splits are balanced by the rarest label of an image, which a common label may never be."""
    rows = [f"{i}.png,common;{'odd' if i % 2 else 'even'}{';rare' if i == 7 else ''}\n" for i in range(12)]
    for number in range(12, 40):
        Image.fromarray(np.full((6, 8), number, np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,common{';third' if number % 2 else ''}\n")
    rows.append("0.png,\n")
    read(folder, "image,labels\n" + "".join(rows))
    data = load(folder / "list.csv", (1, 6, 8))
    counts = data.report.counts
    assert sum(len(part) for part in (data.train, data.val, data.test)) == 41
    assert all(counts[split]["third"] >= 1 and counts[split]["common"] >= 4 for split in ("train", "val", "test"))


def test_without_a_column_of_labels_every_column_of_numbers_is_learned(folder: Path) -> None:
    found = read(folder, "image,age,weight,patient\n0.png,1.5,,p1\n1.png,-2e3,7,p2\n")
    assert found.truth.names == ("age", "weight")
    targets = found.truth.targets(Frame((1, 6, 8)), {}, np.zeros((2, 0), np.bool_))
    np.testing.assert_array_equal(targets, [[1.5, np.nan], [-2000, 7]])
    assert found.columns["patient"] == ["p1", "p2"]
    assert any("patient" in note for note in found.notes)


def test_a_split_is_taken_by_any_of_its_names(folder: Path) -> None:
    found = read(
        folder, "image,label,split\n0.png,a,train\n1.png,b,Training\n2.png,a,valid\n3.png,b,validation\n4.png,b,test\n"
    )
    assert found.splits.tolist() == [TRAIN, TRAIN, VAL, VAL, TEST]
    assert found.has == {TRAIN, VAL, TEST}
    assert "line 3: split: expected train, val or test, got 'dev'" in refused(
        folder, "image,label,split\n0.png,a,train\n1.png,b,dev\n"
    )
    assert "no image is of the split train" in refused(folder, "image,label,split\n0.png,a,val\n1.png,b,test\n")


def test_what_spreadsheets_write_is_read(folder: Path) -> None:
    expected = ("a, b", "c")
    for text in (
        '\ufeffImage,Label\r\n0.png,"a, b"\r\n1.png,c\r\n\r\n',
        '"image";"label"\n"0.png";"a, b"\n"1.png";c',
        'label,file_name\n"a, b",0.png\nc,1.png\n',
    ):
        assert read(folder, text).truth.names == expected


def test_absolute_names_and_names_of_folders_are_taken(folder: Path) -> None:
    (folder / "lists").mkdir()
    found = read(folder / "lists", f"image,label\n../0.png,a\n{folder / '1.png'},b\n")
    frame = Frame((1, 6, 8))
    assert [found.fetch(index, frame).stored.size for index in range(2)] == [(6, 8), (6, 8)]


def test_masks_are_files_whose_classes_are_found_or_named(folder: Path) -> None:
    for number in range(3):
        mask = np.full((6, 8), number, np.uint8)
        mask[0] = 255
        Image.fromarray(mask).save(folder / f"mask{number}.png")
    text = "image,mask\n" + "".join(f"{i}.png,mask{i}.png\n" for i in range(3))
    found = read(folder, text)
    assert found.truth.names == ("0", "1", "2")
    assert found.truth.has_maps
    fetched = found.fetch(2, Frame((1, 6, 8)))
    assert fetched.map is not None
    assert Counter(fetched.map.reshape(-1).tolist()) == {2: 40, 255: 8}
    (folder / "classes.txt").write_text("sky\nroad\ncar\ntree\n")
    assert read(folder, text).truth.names == ("sky", "road", "car", "tree")


def test_a_file_that_is_there_twice_with_other_labels_is_told(folder: Path) -> None:
    found = read(folder, "image,label\n0.png,cat\n1.png,dog\n0.png,dog\n1.png,dog\n")
    assert [note for note in found.notes if "contradict" in note] == [
        "1 row contradicts an earlier one of the same image, such as 0.png in line 2 and 4"
    ]


def test_what_is_not_learned_is_said_before_training(folder: Path) -> None:
    text = "image,label,patient\n" + "".join(f"{i}.png,{'ab'[i % 2]},p{i}\n" for i in range(12))
    read(folder, text)
    assert (
        "not learned: patient, by which images may be kept together (--group)"
        in load(folder / "list.csv", (1, 6, 8)).report.lines()
    )


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "x.csv", "line 1: expected the names of the columns"),
        ("image,label\n", "x.csv", "x.csv has no rows"),
        ("[]", "x.json", "x.json has no rows"),
        ("image,label,label\n", "x.csv", "line 1: column 3 'label' is there twice"),
        ("image,label\n0.png,a\n1.png\n", "x.csv", "line 3: expected 2 cells, as many as columns, got 1"),
        ('image,label\n0.png,"a\n', "x.csv", "cannot be read as CSV"),
        ("img,label\n0.png,a\n", "x.csv", "Did you mean image"),
        ("image,label\n0.png,a\n,b\n", "x.csv", "line 3: image: expected the name of a file, it is empty"),
        ("image,label\n0.png,a\n1\0.png,b\n", "x.csv", r"line 3: image: expected the name of a file, got '1\x00.png'"),
        ("image,label\nno.png,a\n9.jpg,b\n", "x.csv", "there is no"),
        ("image,label\n0.png,a\n1.png,\n", "x.csv", "line 3: label: expected the name of a class on one line, it is"),
        ("image,label\n0.png,a\n1.png,a\n", "x.csv", "every image is of the class a"),
        ("image,label\n0.png,0.5\n1.png,0.75\n", "x.csv", "numbers with fractions (0.5, 0.75)"),
        ("image,labels\n0.png,\n", "x.csv", "no image has a label"),
        ("image,label,mask\n0.png,a,0.png\n", "x.csv", "has columns label and mask, of which one can be learned"),
        ("image,age\n0.png,3\n1.png,old\n", "x.csv", "line 3: age: expected a number as in other rows"),
        ("image,age\n0.png,3\n1.png,1e39\n", "x.csv", "line 3: age: expected a number"),
        ("image,who\n0.png,ann\n", "x.csv", "nothing to learn"),
        ("image,mask\n0.png,0.jpg\n", "x.csv", "mask: there is no"),
        ('[{"image": "0.png", "label": "a"}, 3]', "x.json", "record 2: expected a record such as"),
        (
            '[{"image": "0.png", "label": "a"}, {"label": "b"}]',
            "x.json",
            "record 2: image: expected the name of a file",
        ),
        ('[{"image": "0.png",\n "label" "a"}]', "x.json", "line 2: not JSON"),
        ('{"image": "0.png", "label": "a"}\n{"image"\n', "x.jsonl", "line 2: not JSON"),
        ('{"image": "0.png", "labels": [["a"]]}\n', "x.jsonl", "line 1: labels: expected names of classes"),
        ("[" * 100_000, "x.json", "cannot be read"),
    ],
)
def test_a_mistake_is_named_with_its_line(folder: Path, text: str, name: str, message: str) -> None:
    error = refused(folder, text, name)
    assert message in error
    assert str(folder / name) in error
    assert "\n" not in error


def test_bytes_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "list.csv").write_bytes(b"image,label\n0.png,caf\xe9\n1.png,b\n")
    with pytest.raises(UserError, match=r"list.csv: cannot read the manifest: not a text file"):
        open_source(folder / "list.csv")


def test_annotations_that_are_a_mapping_are_no_manifest(folder: Path) -> None:
    for text, expected in (("\ufeff \n[1]", True), ('{"images": []}', False), ("", False)):
        (folder / "x.json").write_text(text, encoding="utf-8")
        assert manifest.recognises(str(folder / "x.json")) is expected
    assert not manifest.recognises(str(folder / "missing.csv"))


def test_a_hundred_thousand_rows_take_seconds(folder: Path) -> None:
    text = "image,label,patient\n" + "".join(f"{i % 12}.png,class {i % 7},{i}\n" for i in range(100_000))
    started = time.process_time()
    assert len(read(folder, text)) == 100_000
    assert time.process_time() - started < 3


words = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=5)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(words, min_size=2, max_size=12).filter(lambda labels: len(set(labels)) > 1))
def test_the_same_table_says_the_same_in_csv_and_json(folder: Path, labels: list[str]) -> None:
    labels = [f"x{label}" for label in labels]  # no number with a point
    quoted = [f'"{label.replace(chr(34), chr(34) * 2)}"' for label in labels]
    separated = read(folder, "image,label\n" + "".join(f"{i}.png,{label}\n" for i, label in enumerate(quoted)))
    records = read(folder, json.dumps([{"image": f"{i}.png", "label": w} for i, w in enumerate(labels)]), "list.json")
    for found in (separated, records):
        assert [found.truth.names[number] for number in found.truth.strata()] == labels


def test_a_column_of_numbers_by_which_images_are_grouped_is_not_learned(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = ["image,age,patient"]
    for number in range(40):
        Image.fromarray(generator.integers(0, 256, (12, 12), np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{number % 7},{number // 4}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    data = load(tmp_path / "list.csv", (1, 12, 12), Loading(group="patient"))
    assert data.task.names == ("age",)
    patients = [{index // 4 for index in part.indices.tolist()} for part in (data.train, data.val, data.test)]
    assert sum(map(len, patients)) == 10
    assert load(tmp_path / "list.csv", (1, 12, 12)).task.names == ("age", "patient")


def test_decimal_commas_are_read_between_semicolons_and_told_elsewhere(folder: Path) -> None:
    found = read(folder, "image;x;y\n0.png;0,5;3\n1.png;-1,25e1;,5\n2.png;;2.5\n")
    targets = found.truth.targets(Frame((1, 6, 8)), {}, np.zeros((3, 0), np.bool_))
    np.testing.assert_array_equal(targets, [[0.5, 3], [-12.5, 0.5], [np.nan, 2.5]])
    message = "line 3: x: expected a number with a decimal point, such as 0.5, got '0,5'"
    assert message in refused(folder, 'image,x\n0.png,1\n1.png,"0,5"\n')
    assert message in refused(folder, "image\tx\n0.png\t1\n1.png\t0,5\n", "list.tsv")
    assert "label has numbers with fractions" in refused(folder, "image;label\n0.png;0,5\n1.png;1,5\n")
    assert read(folder, 'image,x,place\n0.png,1,"1,5"\n1.png,2,here\n').truth.names == ("x",)


def test_a_name_that_is_too_long_is_one_broken_image(folder: Path) -> None:
    lines = "".join(f"{number}.png,{number % 2}\n" for number in range(12))
    (folder / "list.csv").write_text(f"image,label\n{'x' * 5000}.png,0\n{lines}")
    data = load(folder / "list.csv", (1, 6, 8))
    assert [reason for _, reason in data.report.skipped] == ["File name too long"]


def test_a_quote_that_is_not_closed_is_named_with_its_line(folder: Path) -> None:
    text = 'image,label\n0.png,a\n"1.png,b\n' + "2.png,a\n" * 20_000
    assert "line 3: a cell of more than 131,072 characters: is a quote not closed?" in refused(folder, text)


def test_a_header_of_a_hundred_thousand_columns_is_refused_at_once(folder: Path) -> None:
    started = time.process_time()
    assert "100,000 columns; at most 1,000 are read" in refused(folder, ",".join(map(str, range(100_000))) + "\n")
    assert time.process_time() - started < 3
