"""The charts of a comparison: files that hold every name, and balls where they belong."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from click.testing import CliRunner

import cnnatomy as cn
from cnnatomy.analysis.memory.footprint import inference
from cnnatomy.cli import main
from cnnatomy.errors import UserError
from cnnatomy.report import comparison
from cnnatomy.report.plot import Plotted, figure, memory_by_depth, plot

pytest.importorskip("matplotlib")

NAMES = ("alexnet", "vgg-16", "googlenet", "resnet-50", "densenet-121", "mobilenet-v2", "squeezenet-1.1", "lenet-5")


@pytest.fixture(scope="module")
def networks() -> list[Plotted]:
    return [Plotted(name, cn.network(name).account(), comparison.accuracy(name).top1) for name in NAMES]


def texts(svg: str) -> set[str]:
    return {"".join(text.itertext()).strip() for text in ElementTree.fromstring(svg).iter() if "text" in text.tag}


@pytest.mark.slow
def test_an_svg_holds_every_name_as_text(networks, tmp_path):
    assert plot(networks, tmp_path / "chart.svg") == ["lenet-5"]
    svg = (tmp_path / "chart.svg").read_text()
    assert set(NAMES) <= texts(svg)
    assert [file.name for file in tmp_path.iterdir()] == ["chart.svg"]


@pytest.mark.slow
def test_the_same_comparison_gives_the_same_bytes(networks, tmp_path):
    plot(networks[:3], tmp_path / "a.svg")
    plot(networks[:3], tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_png_is_a_image(networks, tmp_path):
    plot(networks[:3], tmp_path / "chart.PNG")
    assert (tmp_path / "chart.PNG").read_bytes().startswith(b"\x89PNG\r\n")


def test_a_page_holds_the_drawing_and_no_markup_of_a_name(networks, tmp_path):
    strange = networks[0]._replace(name="<b>$x_1$</b>")
    plot([strange, *networks[1:3]], tmp_path / "chart.html")
    page = (tmp_path / "chart.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "&lt;b&gt;$x_1$&lt;/b&gt;" in page
    assert "<b>" not in page


def test_balls_stand_at_their_macs_and_accuracy_with_areas_as_parameters(networks):
    chart = figure(networks).axes[0]
    areas = {
        round(ball.get_offsets()[0][1], 3): ball.get_sizes()[0] for ball in chart.collections if len(ball.get_offsets())
    }
    places = {
        round(ball.get_offsets()[0][1], 3): ball.get_offsets()[0][0]
        for ball in chart.collections
        if len(ball.get_offsets())
    }
    assert places[76.13] == pytest.approx(4.089184256)
    resnet, vgg = areas[76.13], areas[71.592]
    assert resnet / vgg == pytest.approx(25_557_032 / 138_357_544)


def test_no_name_covers_another(networks):
    chart = figure(networks).axes[0]
    boxes = [note.get_window_extent() for note in chart.texts]
    names = [note.get_text() for note in chart.texts]
    assert sorted(names) == sorted(set(NAMES) - {"lenet-5"})
    assert not [(i, j) for i in range(len(boxes)) for j in range(i) if boxes[i].overlaps(boxes[j])]


def test_without_accuracies_there_is_the_chart_of_memory_alone(networks):
    drawing = figure([networks[-1]])
    assert [axes.get_title() for axes in drawing.axes] == ["Memory against depth"]


def test_memory_against_depth_peaks_where_the_memory_of_inference_does():
    account = cn.network("resnet-50").account()
    by_depth = memory_by_depth(account)
    assert list(by_depth) == sorted(by_depth)
    assert max(by_depth) == account.depth == 50
    footprint = inference(account.graph)
    # the footprint has the scratch of kernels besides
    assert max(by_depth.values()) * 2**20 == pytest.approx(footprint.input + footprint.peak, rel=1e-3)


@pytest.mark.parametrize(
    ("file", "message"),
    [("chart.pdf", "a plot is an svg, png, html file"), ("none/chart.svg", "there is no folder")],
)
def test_a_file_that_cannot_be_is_refused(networks, tmp_path, file, message):
    with pytest.raises(UserError, match=message):
        plot(networks[:1], tmp_path / file)


def test_what_is_in_the_place_of_the_file_stays(networks, tmp_path):
    (tmp_path / "chart.svg").mkdir()
    with pytest.raises(UserError, match="is there already"):
        plot(networks[:1], tmp_path / "chart.svg")
    assert [file.name for file in Path(tmp_path).iterdir()] == ["chart.svg"]


def test_accuracies_are_of_the_catalogues_own_networks_unchanged():
    assert comparison.accuracy("ResNet50").top1 == 76.13
    assert comparison.accuracy("resnet-50", classes=1000, input=(3, 224, 224)).top1 == 76.13
    for changed in ({"classes": 10}, {"input": (3, 256, 256)}):
        assert comparison.accuracy("resnet-50", **changed).top1 is None
    assert comparison.accuracy("resnet-50.yaml").top1 is None


def test_compare_draws_and_names_what_it_leaves_out(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "chart.svg"
    asked = ["compare", "resnet-18", "lenet-5", "--plot", str(file), "--format", "json"]
    result = CliRunner().invoke(main, asked)
    assert result.exit_code == 0, result.output
    assert "without lenet-5: no published accuracy is known" in result.stderr
    assert {"resnet-18", "lenet-5"} <= texts(file.read_text())
    resnet, lenet = json.loads(result.stdout)["networks"]
    assert (resnet["top1"], resnet["top5"], lenet["top1"]) == (69.758, 89.078, None)
    assert resnet["predicted_seconds"] is None  # this machine has no calibration here
    assert lenet["ratio"]["top1"] is None


def test_a_plot_that_cannot_be_is_refused_before_anything_is_printed():
    result = CliRunner().invoke(main, ["compare", "lenet-5", "--plot", "chart.pdf"])
    assert (result.exit_code, result.stdout) == (2, "")
