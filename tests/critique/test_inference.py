"""Rules about what belongs to training or to inference alone, with torch as the judge."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import cnnatomy as cn
import peers
from cnnatomy.critique.inference import auxiliary_heads, softmax_before_loss, unfolded_batch_norm
from cnnatomy.design import LinearHead
from cnnatomy.layers import (
    Conv,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    ReLU,
    Sigmoid,
    Softmax,
)
from cnnatomy.readers import read_graph
from findings import found, only
from helpers import trace


def test_cross_entropy_of_a_softmax_cannot_fall_below_what_the_rule_says():
    network = cn.network("lenet-5")
    assert found(softmax_before_loss, network) == []
    network = network.replace(head=cn.Chain(network.head, Softmax()))
    finding = only(softmax_before_loss, network)
    assert finding.severity == "error"
    assert finding.text == "after it the cross-entropy of 10 classes cannot fall below 1.46; knowing nothing is 2.30"
    assert finding.evidence["classes"] == 10
    sure = torch.nn.functional.one_hot(torch.tensor([3]), 10).float()
    least = torch.nn.functional.cross_entropy(sure, torch.tensor([3])).item()
    assert finding.evidence["least_loss"] == pytest.approx(least)
    assert finding.evidence["untrained_loss"] == pytest.approx(math.log(10))
    assert finding.remedy.fix


def test_softmax_in_what_was_read_and_sigmoids_are_notes():
    module = torch.nn.Sequential(torch.nn.Linear(20, 10), torch.nn.Softmax(dim=1))
    assert only(softmax_before_loss, cn.read(module, (20,))).severity == "note"
    graph = trace(lambda x: Softmax()(FullyConnected(10)(x)), (20,))
    assert only(softmax_before_loss, graph).severity == "warning"  # a list of nodes may be trained or run
    graph.deployed = True
    assert only(softmax_before_loss, graph).quiet
    head = cn.Chain(LinearHead(10), Sigmoid())
    finding = only(softmax_before_loss, cn.network("resnet-18").replace(head=head))
    assert finding.severity == "note"
    least = torch.nn.functional.binary_cross_entropy_with_logits(torch.zeros(1), torch.zeros(1)).item()
    assert finding.evidence["least_loss"] == pytest.approx(least)  # a sigmoid is never below 0
    gate = trace(lambda x: FullyConnected(10)(Softmax()(x)), (20,))
    assert found(softmax_before_loss, gate) == []


def test_a_softmax_of_one_value_says_nothing():
    finding = only(
        softmax_before_loss,
        cn.network("lenet-5", classes=1).replace(head=cn.Chain(cn.network("lenet-5", classes=1).head, Softmax())),
    )
    assert (finding.severity, finding.text) == ("error", "a softmax of one value is 1, whatever the value")


def test_googlenets_auxiliary_heads_are_half_of_its_parameters():
    finding = only(auxiliary_heads, "googlenet-aux")
    assert (finding.severity, finding.quiet) == ("note", True)  # the description says that they are for training
    assert finding.where == ("head.auxiliary4a.fc2", "head.auxiliary4d.fc2")
    whole, without = (cn.network(name).account().totals for name in ("googlenet-aux", "googlenet"))
    assert finding.evidence["parameters"] == whole.parameters - without.parameters
    assert finding.remedy.after == (without.parameters, without.macs, without.feature_map_elements)
    assert not finding.remedy.fix
    for name in ("googlenet", "msdnet"):
        assert found(auxiliary_heads, name) == []


def two_heads(early_first: bool, classes: int = 10):
    def head(x, classes):
        return FullyConnected(classes)(Flatten()(GlobalAvgPool()(x)))

    def describe(x):
        x = ReLU()(Conv(8, 3)(x))
        early = head(ReLU()(Conv(4, 1)(x)), classes)
        late = head(ReLU()(Conv(16, 3)(ReLU()(Conv(16, 3)(x)))), 10)
        return (early, late) if early_first else (late, early)

    return trace(describe, (3, 16, 16))


@pytest.mark.parametrize("early_first", [True, False])
def test_a_head_of_the_same_classes_on_shallower_features_is_auxiliary(early_first):
    finding = only(auxiliary_heads, two_heads(early_first))
    assert finding.severity == "warning"
    assert finding.evidence == {"heads": 1, "parameters": 36 + 50, "macs": 32 * 14 * 14 + 40}
    assert finding.remedy.fix


def test_heads_for_other_things_or_on_the_same_features_are_no_auxiliary_heads():
    assert found(auxiliary_heads, two_heads(True, classes=4)) == []

    def distilled(x):
        x = Flatten()(GlobalAvgPool()(ReLU()(Conv(8, 3)(x))))
        return FullyConnected(10)(x), FullyConnected(10)(ReLU()(FullyConnected(8)(x)))

    assert found(auxiliary_heads, trace(distilled, (3, 16, 16))) == []


@pytest.mark.peers
def test_torchvisions_googlenet_in_training_has_two_auxiliary_heads():
    model = peers.torchvision().models.googlenet(init_weights=False, aux_logits=True).train()
    finding = only(auxiliary_heads, cn.read(model, (3, 224, 224)))
    assert sorted(finding.where) == ["aux1.fc2", "aux2.fc2"]
    assert finding.evidence["parameters"] == 13_004_888 - 6_624_904  # torchvision's with and without them


def test_batch_norm_is_to_be_folded_only_where_the_network_is_trained():
    assert found(unfolded_batch_norm, "resnet-50") == []
    assert found(unfolded_batch_norm, "resnet-50", device="h100-sxm") == []  # still to be trained
    finding = only(unfolded_batch_norm, "resnet-50", trained=True)
    before = cn.network("resnet-50").account().totals
    assert (finding.severity, finding.evidence["layers"], finding.evidence["of"]) == ("note", 53, 53)
    assert finding.evidence["buffers"] == before.buffers == 53_120
    # scale and offset of each channel become one offset of the convolution
    assert finding.remedy.after.parameters == before.parameters - 53_120 // 2
    assert finding.remedy.after.macs == before.macs
    assert not finding.remedy.fix
    assert hasattr(torch.nn.utils.fusion, "fuse_conv_bn_eval")  # what the remedy names


def test_batch_norm_before_a_convolution_stays():
    finding = only(unfolded_batch_norm, "densenet-121", trained=True)
    assert (finding.evidence["layers"], finding.evidence["of"]) == (1 + 58, 121)  # the tail, and each bottleneck


@pytest.mark.parametrize("training", [False, True])
def test_an_onnx_file_is_to_be_run_unless_it_was_exported_in_training_mode(training, tmp_path: Path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    def tensor(name, *shape):
        return helper.make_tensor(name, TensorProto.FLOAT, shape, [1.0] * math.prod(shape))

    names = ["scale", "offset", "mean", "var"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "weight"], ["y"]),
            helper.make_node("BatchNormalization", ["y", *names], ["z"], training_mode=int(training)),
        ],
        "",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [tensor("weight", 4, 3, 3, 3), *(tensor(name, 4) for name in names)],
    )
    onnx.save(helper.make_model(graph), tmp_path / "net.onnx")
    read, _ = read_graph(str(tmp_path / "net.onnx"))
    if training:
        assert found(unfolded_batch_norm, read) == []
        return
    finding = only(unfolded_batch_norm, read)
    assert finding.evidence["elements"] == 4 * 6 * 6
    assert finding.remedy.after.parameters == 4 * 27 + 4
