"""Rules about strides, kernels, and what belongs to training or inference alone: with torch as the judge."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cnnatomy as cn
import peers
from cnnatomy.analysis import account
from cnnatomy.critique import Finding, Purpose, Rule, Study
from cnnatomy.critique.wiring import (
    auxiliary_heads,
    softmax_before_loss,
    stride_skips_pixels,
    uneven_transposed_convolution,
    unfolded_batch_norm,
)
from cnnatomy.design import KeypointHead, LinearHead
from cnnatomy.design.build import build
from cnnatomy.design.graph import Graph
from cnnatomy.edits.change import changed
from cnnatomy.layers import (
    AvgPool,
    Concat,
    Conv,
    Crop,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    MaxPool,
    ReLU,
    Sigmoid,
    Softmax,
    Subsample,
    TransposedConv,
    ZeroPad,
)
from cnnatomy.readers import read_graph
from helpers import trace

RULES = (
    stride_skips_pixels,
    uneven_transposed_convolution,
    softmax_before_loss,
    auxiliary_heads,
    unfolded_batch_norm,
)
FEW = settings(max_examples=60, deadline=None)


def findings(rule: Rule, design: cn.Network | Graph | str, purpose: Purpose | None = None) -> list[Finding]:
    if isinstance(design, str):
        design = cn.network(design)
    graph = design if isinstance(design, Graph) else design.graph()
    return list(rule(Study(account(graph), purpose or Purpose())))


def one(rule: Rule, design: cn.Network | Graph | str, purpose: Purpose | None = None) -> Finding:
    (finding,) = findings(rule, design, purpose)
    return finding


@pytest.mark.parametrize("name", ["resnet-50", "mobilenet-v2", "densenet-121", "resnext-50-32x4d", "vgg-16"])
def test_good_wiring_gets_no_warning(name):
    assert [f for rule in RULES for f in findings(rule, name) if f.severity != "note"] == []


# strides


def test_resnet_as_published_throws_three_quarters_of_three_maps_away():
    finding = one(stride_skips_pixels, "resnet-50-v1")
    assert finding.severity == "warning"
    assert finding.evidence == {"maps": 3, "layers": 6, "share_read": 0.25}  # 1x1 convolutions: branch and shortcut
    after = cn.network("resnet-50").account().totals  # v1.5
    assert finding.remedy.after == (after.parameters, after.macs, after.feature_map_elements)
    assert after.macs / cn.network("resnet-50-v1").account().totals.macs == pytest.approx(1.06, abs=0.001)


def test_the_shortcuts_of_v1_5_are_a_note_and_become_those_of_resnet_d():
    finding = one(stride_skips_pixels, "resnet-50")
    assert (finding.severity, finding.evidence) == ("note", {"layers": 3})
    graph = cn.network("resnet-50").graph()
    after = changed(graph, one(stride_skips_pixels, graph).remedy.change)
    assert findings(stride_skips_pixels, after) == []
    pools = [node for node in after if isinstance(node.layer, AvgPool)]
    assert [node.layer.kernel for node in pools] == [2, 2, 2]


@pytest.mark.parametrize("name", ["mobilenet-v2", "densenet-121", "vgg-16", "alexnet", "googlenet", "squeezenet-1.0"])
def test_windows_that_touch_leave_nothing_out(name):
    assert findings(stride_skips_pixels, name) == []


def test_half_of_the_pixels_is_what_two_shifted_subsamplings_read():
    def factorized(x):
        x = ReLU()(x)
        odd = Crop((1, 0, 1, 0))(ZeroPad((0, 1, 0, 1))(x))
        return Concat()(Conv(4, 1)(Subsample(2)(x)), Conv(4, 1)(Subsample(2)(odd)))

    finding = one(stride_skips_pixels, trace(factorized, (3, 8, 8)))
    assert finding.evidence == {"maps": 1, "layers": 2, "share_read": 0.5}


def test_a_dilated_kernel_can_read_every_second_pixel_only():
    graph = trace(lambda x: Conv(4, 3, 2, padding=2, dilation=2)(ReLU()(x)), (3, 16, 16))
    finding = one(stride_skips_pixels, graph)
    assert finding.evidence["share_read"] == 0.25
    assert finding.remedy.change is None


readers = st.one_of(
    st.builds(
        lambda k, s, p, d: (Conv(2, k, s, min(p, k // 2), d, bias=False),),
        st.integers(1, 3),
        st.integers(2, 4),
        st.integers(0, 1),
        st.integers(1, 3),
    ),
    st.builds(lambda s: (ReLU(), Subsample(s)), st.integers(2, 3)),
    st.builds(lambda t, s: (Crop((t, 0, t, 1)), Conv(1, 1, s, bias=False)), st.integers(0, 2), st.integers(2, 3)),
    st.builds(lambda t: (ZeroPad((t, 1, 0, 2)), ReLU(), MaxPool(1, 2)), st.integers(0, 2)),
)


@FEW
@given(chains=st.lists(readers, min_size=1, max_size=3), rows=st.integers(14, 17), columns=st.integers(14, 17))
def test_the_share_that_is_read_is_the_share_that_has_a_gradient(chains, rows, columns):
    def describe(x):
        ends = []
        for chain in chains:
            y = x
            for layer in chain:
                y = layer(y)
            ends.append(Flatten()(y))
        return Concat()(*ends)

    graph = trace(describe, (1, rows, columns))
    gaps = [f for f in findings(stride_skips_pixels, graph) if f.severity == "warning"]
    module = build(graph)
    for parameter in module.parameters():
        torch.nn.init.ones_(parameter)
    x = torch.rand(1, 1, rows, columns).add(0.1).requires_grad_()
    module(x).sum().backward()
    read = (x.grad != 0).float().mean().item()
    if gaps:
        assert gaps[0].evidence["share_read"] == pytest.approx(read, abs=1e-6)
    else:  # all are read, but for rows and columns at the end that no window reaches: another rule's concern
        first = [chain[0] for chain in chains if isinstance(chain[0], Conv)]
        touching = [c for c in first if len({i * c.dilation % c.stride for i in range(c.kernel)}) == c.stride]
        assert read == 1 or touching


# transposed convolutions


def test_a_3x3_transposed_convolution_of_stride_2_is_uneven_by_four_to_one():
    graph = trace(TransposedConv(8, 3, 2, padding=1, output_padding=1, bias=False), (16, 7, 7))
    finding = one(uneven_transposed_convolution, graph)
    assert finding.evidence == {"layers": 1, "most": 4, "least": 1}
    (layer,) = finding.remedy.change.layers[graph.nodes[0]]
    assert layer == TransposedConv(8, 4, 2, padding=1, bias=False)  # the usual one
    assert finding.remedy.after.macs == 16 * 8 * 16 * 7 * 7
    assert findings(uneven_transposed_convolution, trace(layer, (16, 7, 7))) == []


sizes = st.integers(1, 5)


@FEW
@given(k=sizes, s=st.integers(2, 4), p=st.integers(0, 2), o=st.integers(0, 1), d=st.integers(1, 2))
def test_as_many_weights_meet_in_a_pixel_as_torch_adds_up(k, s, p, o, d):
    assume((7 - 1) * s - 2 * p + d * (k - 1) + o + 1 >= 1)
    layer = TransposedConv(1, k, s, p, o, d, bias=False)
    graph = trace(layer, (1, 7, 7))

    def sums(layer):
        ones = torch.ones(1, 1, 15, 15)
        weight = torch.ones(1, 1, layer.kernel, layer.kernel)
        y = torch.nn.functional.conv_transpose2d(ones, weight, None, layer.stride, dilation=layer.dilation)
        middle = y[0, 0, 5 * s : -5 * s, 5 * s : -5 * s]  # where the border plays no part
        return int(middle.max()), int(middle.min())

    got = findings(uneven_transposed_convolution, graph)
    most, least = sums(layer)
    assert bool(got) == (most != least)
    if got:
        assert (got[0].evidence["most"], got[0].evidence["least"]) == (most, least)
        change = got[0].remedy.change
        if change is not None and change.layers[graph.nodes[0]] != (layer,):
            (evened,) = change.layers[graph.nodes[0]]
            assert evened.output_shape((1, 7, 7)) == graph.outputs[0].shape
            if math.gcd(s, d) == 1:
                assert len(set(sums(evened))) == 1


def test_the_head_of_keypoints_is_even():
    network = cn.network("resnet-18").replace(head=KeypointHead(17))
    assert findings(uneven_transposed_convolution, network) == []


# training or inference


def test_cross_entropy_of_a_softmax_cannot_fall_below_what_the_rule_says():
    network = cn.network("lenet-5")
    assert findings(softmax_before_loss, network) == []
    network = network.replace(head=cn.Chain(network.head, Softmax()))
    finding = one(softmax_before_loss, network)
    assert finding.severity == "error"
    assert finding.text == "after it the cross-entropy of 10 classes cannot fall below 1.46; knowing nothing is 2.30"
    assert finding.evidence["classes"] == 10
    sure = torch.nn.functional.one_hot(torch.tensor([3]), 10).float()
    least = torch.nn.functional.cross_entropy(sure, torch.tensor([3])).item()
    assert finding.evidence["least_loss"] == pytest.approx(least)
    assert finding.evidence["untrained_loss"] == pytest.approx(math.log(10))
    assert finding.remedy.fix


def test_softmax_in_what_was_read_and_sigmoids_are_notes():
    graph = trace(lambda x: Softmax()(FullyConnected(10)(x)), (20,))
    assert one(softmax_before_loss, graph).severity == "note"
    head = cn.Chain(LinearHead(10), Sigmoid())
    finding = one(softmax_before_loss, cn.network("resnet-18").replace(head=head))
    assert finding.severity == "note"
    least = torch.nn.functional.binary_cross_entropy_with_logits(torch.zeros(1), torch.zeros(1)).item()
    assert finding.evidence["least_loss"] == pytest.approx(least)  # a sigmoid is never below 0
    gate = trace(lambda x: FullyConnected(10)(Softmax()(x)), (20,))
    assert findings(softmax_before_loss, gate) == []


def test_a_softmax_of_one_value_says_nothing():
    finding = one(
        softmax_before_loss,
        cn.network("lenet-5", classes=1).replace(head=cn.Chain(cn.network("lenet-5", classes=1).head, Softmax())),
    )
    assert (finding.severity, finding.text) == ("error", "a softmax of one value is 1, whatever the value")


def test_googlenets_auxiliary_heads_are_half_of_its_parameters():
    finding = one(auxiliary_heads, "googlenet-aux")
    assert finding.severity == "note"  # the description says that they are for training
    assert finding.where == ("head.auxiliary4a.fc2", "head.auxiliary4d.fc2")
    whole, without = (cn.network(name).account().totals for name in ("googlenet-aux", "googlenet"))
    assert finding.evidence["parameters"] == whole.parameters - without.parameters
    assert finding.remedy.after == (without.parameters, without.macs, without.feature_map_elements)
    assert not finding.remedy.fix
    for name in ("googlenet", "msdnet"):
        assert findings(auxiliary_heads, name) == []


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
    finding = one(auxiliary_heads, two_heads(early_first))
    assert finding.severity == "warning"
    assert finding.evidence == {"heads": 1, "parameters": 36 + 50, "macs": 32 * 14 * 14 + 40}
    assert finding.remedy.fix


def test_heads_for_other_things_or_on_the_same_features_are_no_auxiliary_heads():
    assert findings(auxiliary_heads, two_heads(True, classes=4)) == []

    def distilled(x):
        x = Flatten()(GlobalAvgPool()(ReLU()(Conv(8, 3)(x))))
        return FullyConnected(10)(x), FullyConnected(10)(ReLU()(FullyConnected(8)(x)))

    assert findings(auxiliary_heads, trace(distilled, (3, 16, 16))) == []


@pytest.mark.peers
def test_torchvisions_googlenet_in_training_has_two_auxiliary_heads():
    model = peers.torchvision().models.googlenet(init_weights=False, aux_logits=True).train()
    finding = one(auxiliary_heads, cn.read(model, (3, 224, 224)))
    assert sorted(finding.where) == ["aux1.fc2", "aux2.fc2"]
    assert finding.evidence["parameters"] == 13_004_888 - 6_624_904  # torchvision's with and without them


def test_batch_norm_is_to_be_folded_only_where_the_network_is_to_be_run():
    assert findings(unfolded_batch_norm, "resnet-50") == []
    finding = one(unfolded_batch_norm, "resnet-50", Purpose(device="h100-sxm"))
    before = cn.network("resnet-50").account().totals
    assert (finding.severity, finding.evidence["layers"], finding.evidence["of"]) == ("note", 53, 53)
    assert finding.evidence["buffers"] == before.buffers == 53_120
    # scale and offset of each channel become one offset of the convolution
    assert finding.remedy.after.parameters == before.parameters - 53_120 // 2
    assert finding.remedy.after.macs == before.macs
    assert not finding.remedy.fix


def test_batch_norm_before_a_convolution_stays():
    finding = one(unfolded_batch_norm, "densenet-121", Purpose(device="h100-sxm"))
    assert (finding.evidence["layers"], finding.evidence["of"]) == (1 + 58, 121)  # the tail, and each bottleneck


def test_an_onnx_file_is_to_be_run(tmp_path: Path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    def tensor(name, *shape):
        return helper.make_tensor(name, TensorProto.FLOAT, shape, [1.0] * math.prod(shape))

    names = ["scale", "offset", "mean", "var"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "weight"], ["y"]),
            helper.make_node("BatchNormalization", ["y", *names], ["z"]),
        ],
        "",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [tensor("weight", 4, 3, 3, 3), *(tensor(name, 4) for name in names)],
    )
    onnx.save(helper.make_model(graph), tmp_path / "net.onnx")
    finding = one(unfolded_batch_norm, read_graph(str(tmp_path / "net.onnx"))[0])
    assert finding.evidence["elements"] == 4 * 6 * 6
    assert finding.remedy.after.parameters == 4 * 27 + 4
