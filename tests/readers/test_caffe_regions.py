"""Detectors of Caffe: what follows region pooling is counted once for each region, which is an assumption and said."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.cli import main
from cnnatomy.readers import read_graph
from cnnatomy.readers.caffe import prototxt

PROPOSE = """
input: "data" input_shape { dim: 1 dim: 8 dim: 16 dim: 16 }
input: "im_info" input_shape { dim: 1 dim: 3 }
layer { name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 6 kernel_size: 1 } }
layer { name: "boxes" type: "Convolution" bottom: "data" top: "boxes"
  convolution_param { num_output: 12 kernel_size: 1 } }
layer { name: "reshaped" type: "Reshape" bottom: "score" top: "reshaped"
  reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 0 } } }
layer { name: "prob" type: "Softmax" bottom: "reshaped" top: "prob" }
layer { name: "back" type: "Reshape" bottom: "prob" top: "back"
  reshape_param { shape { dim: 0 dim: 6 dim: -1 dim: 0 } } }
"""
PYTHON = """layer { name: "proposal" type: "Python" bottom: "back" bottom: "boxes" bottom: "im_info"
  top: "rois" top: "scores"
  python_param { module: "rpn.proposal_layer" layer: "ProposalLayer" param_str: "'feat_stride': 16" } }
"""
COMPILED = """layer { name: "proposal" type: "Proposal" bottom: "back" bottom: "boxes" bottom: "im_info" top: "rois"
  proposal_param { feat_stride: 16 } }
"""
POOL = """layer { name: "pool" type: "ROIPooling" bottom: "data" bottom: "rois" top: "pool"
  roi_pooling_param { pooled_h: 3 pooled_w: 4 spatial_scale: 0.0625 } }
"""
HEAD = """layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 10 } }
layer { name: "relu" type: "ReLU" bottom: "fc" top: "fc" }
layer { name: "cls" type: "InnerProduct" bottom: "fc" top: "cls" inner_product_param { num_output: 5 } }
layer { name: "out" type: "Softmax" bottom: "cls" top: "out" }
"""


def shapes(text: str, regions: int | None = None) -> dict[str, tuple[int, ...]]:
    return {node.path: node.output.shape for node in prototxt.read(text, regions=regions)}


@pytest.mark.parametrize("proposals", [PYTHON, COMPILED, PYTHON.replace("ProposalLayer", "Mine")])
def test_what_follows_region_pooling_counts_once_for_each_region(proposals):
    got = account(prototxt.read(PROPOSE + proposals + POOL + HEAD))
    before, head = 18 * 8, (8 * 12 * 10 + 10) + (10 * 5 + 5)
    assert got.totals.parameters == before + 18 + head
    assert got.totals.macs == before * 16 * 16 + 300 * (8 * 12 * 10 + 10 * 5)
    again = account(prototxt.read(PROPOSE + proposals + POOL + HEAD, regions=7))
    assert again.totals.macs == before * 16 * 16 + 7 * (8 * 12 * 10 + 10 * 5)
    assert again.totals.parameters == got.totals.parameters


def test_regions_are_the_first_axis_of_all_that_is_made_of_them():
    got = shapes(PROPOSE + PYTHON + POOL + HEAD, 50)
    assert got["prob"] == (2, 48, 16)
    assert (got["proposal"], got["proposal_top1"]) == ((50, 5), (50, 1))
    assert got["pool"] == (50, 8, 3, 4)
    assert (got["fc"], got["out"]) == ((50, 10), (50, 5))


def test_every_number_that_rests_on_the_regions_is_marked():
    graph = prototxt.read(PROPOSE + PYTHON + POOL + HEAD, regions=1)
    resting = {node.path: what for node, what in graph.resting().items()}
    assert set(resting) == {"proposal", "proposal_top1", "pool", "fc_flatten", "fc", "relu", "cls", "out"}
    assert set(resting.values()) == {("1 region (--regions)",)}


POOLINGS = {
    "ROIPooling": ("roi_pooling_param { pooled_h: 3 pooled_w: 4 }", (9, 8, 3, 4)),
    "ROIWarping": ("roi_warping_param { pooled_h: 2 pooled_w: 2 }", (9, 8, 2, 2)),
    "ROIAlign": ("roi_align_param { pooled_h: 2 pooled_w: 2 sampling_ratio: 2 }", (9, 8, 2, 2)),
    "PSROIPooling": ("psroi_pooling_param { output_dim: 2 group_size: 2 spatial_scale: 1 }", (9, 2, 2, 2)),
    "PSROIAlign": ("psroi_align_param { output_dim: 2 group_size: 2 spatial_scale: 1 }", (9, 2, 2, 2)),
}


@pytest.mark.parametrize("kind", POOLINGS)
def test_each_kind_of_region_pooling_gives_bins_of_each_region(kind):
    options, shape = POOLINGS[kind]
    text = f'layer {{ name: "pool" type: "{kind}" bottom: "data" bottom: "rois" top: "pool" {options} }}'
    assert shapes(PROPOSE + PYTHON + text, 9)["pool"] == shape


def test_bilinear_samples_of_each_bin_are_counted():
    """2 x 2 samples of 4 pixels each: 16 products and as many sums, divided by 4."""
    text = POOL.replace("ROIPooling", "ROIAlign").replace("spatial_scale: 0.0625", "sampling_ratio: 2")
    (row,) = [row for row in account(prototxt.read(PROPOSE + PYTHON + text, regions=2)) if row.path == "pool"]
    bins = 2 * 8 * 3 * 4
    assert (row.operations.multiply, row.operations.add, row.operations.divide) == (16 * bins, 16 * bins, bins)


def test_regions_that_are_an_input_are_as_many_as_is_said():
    """Fast R-CNN, whose file has one region, to be changed at run time."""
    text = 'input: "data" input_dim: 1 input_dim: 8 input_dim: 16 input_dim: 16\n'
    text += 'input: "rois" input_dim: 1 input_dim: 5 input_dim: 1 input_dim: 1\n'
    assert shapes(text + POOL + HEAD)["out"] == (300, 5)


def test_a_layer_in_python_whose_output_is_pooled_as_regions_makes_regions():
    text = PYTHON.replace("rpn.proposal_layer", "mine").replace("ProposalLayer", "Mine").replace('top: "scores"', "")
    assert shapes(PROPOSE + text + POOL + HEAD)["proposal"] == (300, 5)


def test_another_layer_in_python_is_refused_where_it_stands():
    text = PYTHON.replace("rpn.proposal_layer", "mine").replace("ProposalLayer", "Mine").replace('top: "scores"', "")
    relu = 'layer { name: "r" type: "ReLU" bottom: "rois" top: "r" }'
    with pytest.raises(cn.UserError) as caught:
        prototxt.read(PROPOSE + text + relu, "x.prototxt")
    assert "x.prototxt, line 13: layer 'proposal': mine.Mine is written in Python" in str(caught.value)


def test_a_layer_in_python_that_only_losses_read_is_left_out():
    text = (
        PYTHON.replace("rpn.proposal_layer", "mine")
        .replace("ProposalLayer", "AnchorTarget")
        .replace('top: "rois" top: "scores"', 'top: "labels"')
    )
    loss = 'layer { name: "loss" type: "SmoothL1Loss" bottom: "boxes" bottom: "labels" top: "loss" }'
    assert "proposal" not in shapes(PROPOSE + text + loss)


def test_position_sensitive_pooling_needs_as_many_channels_as_it_has_bins():
    text = POOL.replace("ROIPooling", "PSROIPooling").replace("roi_pooling_param", "psroi_pooling_param")
    text = text.replace("pooled_h: 3 pooled_w: 4", "output_dim: 2 group_size: 3")
    with pytest.raises(cn.UserError, match="it reads 8 channels, needs 2 x 3 x 3 = 18"):
        prototxt.read(PROPOSE + PYTHON + text)


def test_regions_mean_something_for_detectors_only(tmp_path):
    with pytest.raises(cn.UserError, match="--regions is for networks that propose and pool regions"):
        prototxt.read(PROPOSE, regions=5)
    with pytest.raises(cn.UserError, match="resnet-18: --regions is for detectors of Caffe"):
        read_graph("resnet-18", regions=5)
    with pytest.raises(cn.UserError, match="regions must be from 1 to 1,000,000, got 0"):
        prototxt.read(PROPOSE + PYTHON + POOL, regions=0)
    file = tmp_path / "detector.prototxt"
    file.write_text(PROPOSE + PYTHON + POOL)
    assert read_graph(str(file), regions=5)[0].assumed.popitem()[1] == ("5 regions (--regions)",)


def test_show_and_compare_take_the_regions_and_say_them(tmp_path):
    file = tmp_path / "detector.prototxt"
    file.write_text(PROPOSE + PYTHON + POOL + HEAD)
    shown = CliRunner().invoke(main, ["show", str(file), "--regions", "20"])
    assert shown.exit_code == 0
    assert "RESTS ON          20 regions (--regions)" in shown.output
    assert "~20x8x3x4" in shown.output
    compared = CliRunner().invoke(main, ["compare", "lenet-5", str(file), "--regions", "20", "--format", "json"])
    macs = [network["macs"] for network in json.loads(compared.output)["networks"]]
    assert macs[1] == 18 * 8 * 256 + 20 * (8 * 12 * 10 + 10 * 5)


SSD = """input: "data" input_dim: 1 input_dim: 4 input_dim: 4 input_dim: 4
layer { name: "loc" type: "Convolution" bottom: "data" top: "loc" convolution_param { num_output: 12 kernel_size: 1 } }
layer { name: "loc_perm" type: "Permute" bottom: "loc" top: "loc_perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "loc_flat" type: "Flatten" bottom: "loc_perm" top: "loc_flat" flatten_param { axis: 1 } }
layer { name: "conf" type: "Convolution" bottom: "data" top: "conf" convolution_param { num_output: 9 kernel_size: 1 } }
layer { name: "conf_flat" type: "Flatten" bottom: "conf" top: "conf_flat" }
layer { name: "prior" type: "PriorBox" bottom: "loc" bottom: "data" top: "prior"
  prior_box_param { min_size: 2 aspect_ratio: 2 } }
layer { name: "out" type: "DetectionOutput" bottom: "loc_flat" bottom: "conf_flat" bottom: "prior" top: "out"
  detection_output_param { num_classes: 3 OPTIONS } }
"""


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ("keep_top_k: 20", 20),
        ("nms_param { top_k: 10 }", 2 * 10),  # of each class but the background
        ("", 2 * 4 * 4 * 3),
        ("background_label_id: -1", 3 * 4 * 4 * 3),
    ],
)
def test_the_detections_of_ssd_are_at_most_as_many_as_it_keeps(options, kept):
    graph = prototxt.read(SSD.replace("OPTIONS", options))
    assert {node.path: node.output.shape for node in graph}["prior"] == (2, 4 * 4 * 3 * 4)
    assert graph.nodes[-1].output.shape == (1, kept, 7)
    assert list(graph.assumed.values()) == [(f"at most {kept} detections",)]


TRAINING = """layer { name: "data" type: "Python" top: "data" top: "rois" top: "labels"
  python_param { module: "roi_data_layer.layer" layer: "RoIDataLayer" } }
"""


def test_regions_that_the_network_reads_are_as_many_as_are_assumed():
    """Fast R-CNN's training: its regions come with the data, and only their number is not known."""
    got = account(prototxt.read(TRAINING + POOL + HEAD, input=(8, 16, 16), regions=20))
    assert got.totals.macs == 20 * (8 * 12 * 10 + 10 * 5)
    assert got.rests_on == ("20 regions (--regions)",)


def test_clustered_prior_boxes():
    text = """input: "data" input_shape { dim: 1 dim: 8 dim: 5 dim: 4 }
layer { name: "boxes" type: "PriorBoxClustered" bottom: "data" bottom: "data" top: "boxes"
  prior_box_param { width: 9.4 width: 25.1 width: 14.7 height: 15 height: 39.6 height: 25.5 step: 16 } }"""
    assert shapes(text) == {"boxes": (2, 5 * 4 * 3 * 4)}
    with pytest.raises(cn.UserError, match="width, height: expected as many of both, got 2 and 3"):
        prototxt.read(text.replace("width: 9.4", ""))
