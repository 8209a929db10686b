"""`cnnatomy fit`, and what `show` and `compare` say of memory."""

from __future__ import annotations

import csv
import io
import json

import pytest
from click.testing import CliRunner

import cnnatomy as cn
from cnnatomy.cli import main
from cnnatomy.report.memory import parse_size


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, list(arguments), env={"COLUMNS": "120"})
    assert result.exit_code == code, result.output
    return result.output


def test_the_largest_batch_fits_and_says_what_it_takes() -> None:
    shown = json.loads(run("fit", "resnet-50", "--memory", "8GiB", "--format", "json"))
    footprint = shown["footprint"]
    assert shown["memory"] == 8 * 2**30 >= footprint["total"]
    assert footprint["parameters"] == 4 * 25_557_032
    assert sum(footprint["at_peak"].values()) == footprint["peak"]
    before = footprint["parameters"] + footprint["buffers"] + footprint["input"]
    assert footprint["total"] == before + footprint["peak"]
    one_more = footprint["total"] + (footprint["peak"] + footprint["input"]) // footprint["batch"]
    assert one_more > shown["memory"]


def test_training_takes_more_and_16_bits_take_less() -> None:
    def largest(*options: str) -> int:
        batch: int = json.loads(run("fit", "resnet-18", "--memory", "4GiB", "--format", "json", *options))[
            "largest_batch"
        ]
        return batch

    inference, training = largest(), largest("--train")
    assert inference > 3 * training > 0
    assert largest("--dtype", "bf16") > 1.8 * inference
    assert largest("--train", "--dtype", "fp16") > 1.5 * training
    assert largest("--train", "--checkpoint", "2") > training
    assert largest("--train", "--optimizer", "sgd") >= training >= largest("--train", "--optimizer", "adam")
    assert largest("--in-place") >= inference


def test_the_table_names_the_layer_of_the_peak() -> None:
    shown = run("fit", "vgg-16", "--memory", "2GB", "--train")
    assert "The largest batch that fits into 1,907.35 MiB is" in shown
    assert "body.block3.relu3_3" in shown
    rows = list(csv.DictReader(io.StringIO(run("fit", "vgg-16", "--memory", "2GB", "--format", "csv"))))
    assert rows[0] == {"what": "parameters", "bytes": str(4 * 138_357_544), "where": ""}


def test_what_does_not_fit_is_said() -> None:
    assert "Not one image fits into 100.00 MiB" in run("fit", "vgg-16", "--memory", "100MiB")


@pytest.mark.parametrize(
    ("text", "size"), [("8GiB", 8 * 2**30), ("8 gb", 8 * 10**9), ("1.5MiB", 3 * 2**19), ("12kB", 12000), ("7B", 7)]
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["8", "8G", "GiB", "-1GiB", "0MiB", "8GiB extra", "nanGiB"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(cn.UserError, match="such as 8GiB"):
        parse_size(text)


def test_a_wrong_option_is_one_message() -> None:
    assert "dtype is one of" in run("fit", "resnet-18", "--memory", "8GiB", "--dtype", "fp8", code=2)
    assert "optimizer is one of" in run("fit", "resnet-18", "--memory", "8GiB", "--optimizer", "adma", code=2)


def test_show_and_compare_say_what_is_needed() -> None:
    totals = json.loads(run("show", "vgg-16", "--format", "json"))["totals"]
    assert totals["peak_feature_map_bytes"] == (2 * 64 + 3) * 224 * 224 * 4
    assert totals["peak_feature_map_at"] == "tail.relu1_1"
    compared = json.loads(run("compare", "vgg-16", "alexnet", "--format", "json"))["networks"][0]
    assert compared["parameter_bytes"] == 4 * 138_357_544
    assert compared["peak_feature_map_bytes"] == totals["peak_feature_map_bytes"]
    assert compared["training_bytes"] > 3 * compared["parameter_bytes"]  # weights, their gradients, the velocity
