"""Rules about normalisation, dropout and the range of values: what they find, in which networks, and what fixes it."""

from __future__ import annotations

import pytest
import torch

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.critique import Finding, Purpose, Rule, Study
from cnnatomy.critique.normalisation import (
    bias_before_batch_norm,
    dropout_before_batch_norm,
    no_normalisation,
    response_normalisation,
    vector_head_without_dropout,
)
from cnnatomy.critique.ranges import idle_nonlinearity, rectified_bottleneck, relu_before_addition, unlike_ranges
from cnnatomy.design.build import build
from cnnatomy.design.graph import Graph
from cnnatomy.edits.change import changed
from cnnatomy.layers import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    FullyConnected,
    GroupNorm,
    Hardtanh,
    LayerNorm,
    LeakyReLU,
    LocalResponseNorm,
    MaxPool,
    Multiply,
    Permute,
    ReLU,
    ReLU6,
    Sigmoid,
    TransposedConv,
)
from helpers import trace

MODERN = ("resnet-50", "mobilenet-v2", "densenet-121", "resnext-50-32x4d", "se-resnet-50-v1-5", "preact-resnet-50")
WARNINGS = (
    no_normalisation,
    bias_before_batch_norm,
    response_normalisation,
    rectified_bottleneck,
    dropout_before_batch_norm,
    relu_before_addition,
    idle_nonlinearity,
)


def findings(rule: Rule, design: cn.Network | Graph | str) -> list[Finding]:
    if isinstance(design, str):
        design = cn.network(design)
    graph = design if isinstance(design, Graph) else design.graph()
    return list(rule(Study(account(graph), Purpose())))


def one(rule: Rule, design: cn.Network | Graph | str) -> Finding:
    (finding,) = findings(rule, design)
    return finding


@pytest.mark.parametrize("name", MODERN)
def test_modern_designs_normalise_and_rectify_where_they_should(name):
    assert [finding for rule in WARNINGS for finding in findings(rule, name)] == []


# no normalisation


def test_vgg_16_has_thirteen_convolutions_without_normalisation():
    finding = one(no_normalisation, "vgg-16")
    assert finding.severity == "warning"
    assert finding.evidence == {"convolutions": 13, "without": 13, "depth": 16}
    # with batch norm in place of each bias it is the network that has batch norm, which has 4,224 offsets more
    assert finding.remedy.after.parameters == 138_365_992 - 4_224  # torchvision's vgg16_bn
    assert findings(no_normalisation, "vgg-16-bn") == []


@pytest.mark.parametrize("name", ["alexnet", "lenet-5", "vgg-11"])
def test_without_normalisation_is_a_note_up_to_eleven_layers(name):
    assert one(no_normalisation, name).severity == "note"


@pytest.mark.parametrize("name", ["googlenet", "squeezenet-1.0", "vgg-13"])
def test_without_normalisation_is_a_warning_from_twelve_layers_on(name):
    assert one(no_normalisation, name).severity == "warning"


def test_one_forgotten_batch_norm_is_a_note():
    def describe(x):
        for i in range(4):
            x = Conv(8, 3, padding=1)(x)
            x = ReLU()(x if i == 2 else BatchNorm()(x))
        return x

    finding = one(no_normalisation, trace(describe, (3, 16, 16)))
    assert (finding.where, finding.severity) == (("conv3",), "note")
    assert finding.evidence["without"] == 1
    assert not finding.remedy.fix


@pytest.mark.parametrize("norm", [BatchNorm(), GroupNorm(2)])
def test_the_order_of_normalisation_and_activation_does_not_matter(norm):
    def after(x):
        return Conv(8, 3)(norm(ReLU()(Conv(8, 3)(x))))

    def pooled(x):
        return Conv(8, 3)(ReLU()(norm(MaxPool(2)(Conv(8, 3)(x)))))

    for describe in (after, pooled):
        assert findings(no_normalisation, trace(describe, (3, 16, 16))) == []


def test_gates_attention_and_layers_on_one_pixel_need_no_normalisation():
    for name in ("se-resnet-50-v1-5", "se-vgg-16-bn", "se-densenet-121"):
        assert findings(no_normalisation, name) == []

    def spatial_attention(x):
        x = ReLU()(BatchNorm()(Conv(8, 3, padding=1)(x)))
        gate = Sigmoid()(Conv(1, 7, padding=3)(ReLU()(Conv(4, 3, padding=1)(x))))
        return Conv(4, 3)(BatchNorm()(Conv(8, 3)(Multiply()(x, gate))))

    assert findings(no_normalisation, trace(spatial_attention, (3, 16, 16))) == []


def test_separable_convolutions_are_normalised_as_one():
    def describe(x):
        y = BatchNorm()(Conv(16, 1)(DepthwiseConv(3)(x)))
        return Conv(4, 1)(ReLU()(y))

    assert findings(no_normalisation, trace(describe, (8, 16, 16))) == []


def test_blocks_with_one_normalisation_for_three_layers_end_as_they_may():
    def convnext(x):
        x = GroupNorm(1)(Conv(8, 4, stride=4)(x))
        for _ in range(2):
            y = LayerNorm(1)(Permute((1, 2, 0))(DepthwiseConv(7, padding=3)(x)))
            y = Conv(8, 1)(ReLU()(Conv(32, 1)(Permute((2, 0, 1))(y))))
            x = Add()(x, y)
        return x

    finding = one(no_normalisation, trace(convnext, (3, 64, 64)))
    assert (finding.where, finding.severity) == (
        ("conv3", "conv6"),
        "note",
    )  # the expanding ones, not what ends a block


def test_files_for_inference_may_have_lost_their_batch_norm():
    graph = cn.network("vgg-16").graph()
    graph.deployed = True
    assert findings(no_normalisation, graph) == []


# biases before batch norm


def test_biases_before_batch_norm_are_dead():
    graph = trace(lambda x: BatchNorm()(Conv(8, 3)(x)), (3, 9, 9))
    finding = one(bias_before_batch_norm, graph)
    assert (finding.where, finding.evidence) == (("conv",), {"layers": 1, "offsets": 8})
    module = build(graph).train()
    x = torch.randn(4, 3, 9, 9)
    before = module(x)
    with torch.no_grad():
        module.conv.bias += torch.arange(8)
    torch.testing.assert_close(module(x), before, atol=1e-5, rtol=1e-5)


def test_vgg_16_with_batch_norm_has_4_224_dead_biases():
    finding = one(bias_before_batch_norm, "vgg-16-bn")
    assert finding.evidence == {"layers": 13, "offsets": 4_224}
    assert finding.remedy.after.parameters == 138_365_992 - 4_224
    assert finding.remedy.fix


@pytest.mark.parametrize("norm", [GroupNorm(2), LayerNorm(3)])
def test_biases_before_a_mean_over_several_channels_are_alive(norm):
    assert findings(bias_before_batch_norm, trace(lambda x: norm(Conv(8, 3)(x)), (3, 9, 9))) == []
    assert findings(bias_before_batch_norm, trace(lambda x: GroupNorm(8)(Conv(8, 3)(x)), (3, 9, 9))) != []


def test_biases_that_another_layer_reads_are_alive():
    def describe(x):
        x = Conv(8, 3)(x)
        return Add()(BatchNorm()(x), x)

    assert findings(bias_before_batch_norm, trace(describe, (3, 9, 9))) == []


def test_biases_of_a_layer_that_is_used_twice_are_counted_once_and_left_to_its_author():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.BatchNorm2d(4)

        def forward(self, x):
            return self.bn(self.conv(torch.relu(self.bn(self.conv(x)))))

    finding = one(bias_before_batch_norm, cn.read(Twice(), (4, 8, 8)))
    assert finding.evidence == {"layers": 2, "offsets": 4}
    assert finding.remedy.change is None


# local response normalisation


def test_response_normalisation_gives_way_to_batch_norm_unless_there_is_one():
    finding = one(response_normalisation, "alexnet")
    assert finding.evidence["layers"] == 2
    assert finding.evidence["elements"] == 96 * 55 * 55 + 256 * 27 * 27
    assert finding.remedy.after.parameters == 60_965_224 + 2 * 96 + 2 * 256
    graph = trace(lambda x: LocalResponseNorm()(ReLU()(BatchNorm()(Conv(8, 3)(x)))), (3, 9, 9))
    after = changed(graph, one(response_normalisation, graph).remedy.change)
    assert [type(node.layer) for node in after] == [Conv, BatchNorm, ReLU]
    assert findings(response_normalisation, "vgg-16") == []


# dropout


def test_dropout_before_batch_norm_shifts_its_variance():
    def describe(x):
        x = Dropout(0.2)(ReLU()(BatchNorm()(Conv(8, 3)(x))))
        x = ReLU()(BatchNorm()(Conv(8, 3)(x)))
        return Dropout(0.5)(x)

    finding = one(dropout_before_batch_norm, trace(describe, (3, 16, 16)))
    assert (finding.where, finding.evidence["rate"]) == (("dropout1",), 0.2)
    kept = torch.nn.functional.dropout(torch.randn(1_000_000), 0.2)
    assert kept.var().item() == pytest.approx(finding.evidence["variance_ratio"], rel=0.02)


def test_dropout_after_the_last_batch_norm_is_welcome():
    for name in ("vgg-16-bn", "mobilenet-v2", "inception-v4", "alexnet"):
        assert findings(dropout_before_batch_norm, name) == []
    graph = trace(lambda x: BatchNorm()(Dropout(0.0)(x)), (3, 9, 9))
    assert findings(dropout_before_batch_norm, graph) == []


def test_lenet_has_a_vectorised_head_without_dropout():
    finding = one(vector_head_without_dropout, "lenet-5")
    assert finding.severity == "note"
    assert finding.evidence == {"layers": 3, "weights": 400 * 120 + 120 * 84 + 84 * 10, "pixels": 25}
    graph = cn.network("lenet-5").graph()
    after = changed(graph, one(vector_head_without_dropout, graph).remedy.change)
    read = {node.inputs[0].node.path: node.path for node in after if node.inputs[0].node}
    assert [read[node.path] for node in after if isinstance(node.layer, Dropout)] == ["head.f6", "head.output"]


@pytest.mark.parametrize("name", ["alexnet", "vgg-16", "resnet-50", "squeezenet-1.0"])
def test_heads_with_dropout_or_a_global_average_are_silent(name):
    assert findings(vector_head_without_dropout, name) == []


def test_a_batch_norm_in_a_vectorised_head_is_capacity_control_too():
    def describe(x):
        x = Flatten()(ReLU()(Conv(8, 3)(x)))
        return FullyConnected(10)(ReLU()(BatchNorm()(FullyConnected(64)(x))))

    assert findings(vector_head_without_dropout, trace(describe, (3, 9, 9))) == []


# ranges


def test_resnet_adds_signed_maps_to_rectified_ones_twelve_times_of_sixteen():
    finding = one(unlike_ranges, "resnet-50")  # the four others have a projection, which is signed too
    assert (finding.severity, finding.evidence) == ("note", {"additions": 16, "unlike": 12})
    assert finding.where[0] == "body.stage1.block2.add"


@pytest.mark.parametrize("name", ["preact-resnet-50", "preact-resnet-18", "mobilenet-v2", "densenet-121", "googlenet"])
def test_pre_activation_linear_bottlenecks_and_dense_blocks_have_like_ranges(name):
    assert findings(unlike_ranges, name) == []


def test_a_decoder_that_concatenates_a_rectified_skip_to_a_bare_transposed_convolution_mixes_ranges():
    def unet(x, rectify):
        skip = ReLU()(Conv(8, 3, padding=1)(x))
        y = ReLU()(Conv(16, 3, padding=1)(MaxPool(2)(skip)))
        y = TransposedConv(8, 2, 2)(y)
        return Conv(2, 1)(Concat()(skip, ReLU()(y) if rectify else y))

    finding = one(unlike_ranges, trace(lambda x: unet(x, False), (3, 16, 16)))
    assert (finding.where, finding.evidence) == (("concat",), {"concatenations": 1, "unlike": 1})
    assert findings(unlike_ranges, trace(lambda x: unet(x, True), (3, 16, 16))) == []


@pytest.mark.parametrize("after", [BatchNorm(), ReLU()])
def test_what_reads_a_concatenation_can_make_the_ranges_alike(after):
    def describe(x):
        return Conv(4, 1)(after(Concat()(Conv(4, 1)(x), ReLU()(Conv(4, 1)(x)))))

    assert findings(unlike_ranges, trace(describe, (3, 8, 8))) == []


def test_squeezenet_rectifies_all_eight_of_its_bottlenecks():
    finding = one(rectified_bottleneck, "squeezenet-1.0")
    assert finding.evidence == {"layers": 8, "before": 128, "channels": 16, "after": 128}  # fire 3
    before = cn.network("squeezenet-1.0").account()
    relus = [row for row in before if row.path in finding.where]
    assert finding.remedy.after.maps == before.totals.feature_map_elements - sum(r.feature_map_elements for r in relus)


def test_a_rectified_stream_of_inverted_residuals_is_found():
    def describe(x, relu):
        x = BatchNorm()(Conv(16, 3, padding=1)(x))
        for _ in range(2):
            y = ReLU6()(BatchNorm()(Conv(96, 1)(x)))
            y = ReLU6()(BatchNorm()(DepthwiseConv(3, padding=1)(y)))
            x = Add()(x, BatchNorm()(Conv(16, 1)(y)))
            x = ReLU6()(x) if relu else x
        return ReLU()(Conv(128, 1)(x))

    finding = one(rectified_bottleneck, trace(lambda x: describe(x, True), (3, 16, 16)))
    assert finding.evidence == {"layers": 2, "before": 96, "channels": 16, "after": 96}
    assert findings(rectified_bottleneck, trace(lambda x: describe(x, False), (3, 16, 16))) == []


def test_bottlenecks_with_a_way_around_may_be_rectified():
    for name in ("resnet-50", "googlenet", "inception-v3", "shufflenet-g3", "vgg-16", "mobilenet-v1-1.0"):
        assert findings(rectified_bottleneck, name) == []


def test_resnet_110_with_relu_before_the_addition_only_ever_adds():
    finding = one(relu_before_addition, "resnet-110-cifar-relu-before-addition")
    assert finding.evidence["additions"] == finding.evidence["layers"] == 52  # of 54; two have a projection
    graph = cn.network("resnet-110-cifar-relu-before-addition").graph()
    after = changed(graph, one(relu_before_addition, graph).remedy.change)
    assert findings(relu_before_addition, after) == []
    assert findings(relu_before_addition, "resnet-110-cifar") == []


def test_a_gate_after_the_relu_does_not_hide_it():
    def describe(x):
        x = ReLU()(Conv(8, 1)(x))
        y = ReLU()(Conv(8, 3, padding=1)(x))
        gate = Sigmoid()(Conv(8, 1)(AvgPool(8)(y)))
        return Add()(x, Multiply()(gate, y))

    with pytest.raises(Exception, match="equal or 1"):
        trace(lambda x: Multiply()(x, AvgPool(4)(x)), (8, 8, 8))
    assert one(relu_before_addition, trace(describe, (3, 8, 8))).where == ("relu2",)


def test_idle_nonlinearities_change_no_value():
    def describe(x):
        x = ReLU()(x)
        x = LeakyReLU()(AvgPool(2)(x))  # idle
        x = ReLU6()(x)  # cuts off what is above 6
        x = Concat()(x, MaxPool(3, 1, padding=1)(x))
        x = Hardtanh(0.0, 6.0)(ReLU()(x))  # both idle
        return ReLU()(Conv(4, 1)(x))

    graph = trace(describe, (3, 8, 8))
    finding = one(idle_nonlinearity, graph)
    assert set(finding.where) == {"leakyrelu", "hardtanh", "relu2"}
    assert finding.evidence["elements"] == 3 * 16 + 2 * 6 * 16
    module, x = build(graph), 20 * torch.randn(2, 3, 8, 8)
    without = build(changed(graph, finding.remedy.change))
    without.load_state_dict(module.state_dict())
    assert torch.equal(module(x), without(x))


def test_relu_only_pre_activation_rectifies_what_its_tail_rectified():
    finding = one(idle_nonlinearity, "resnet-110-cifar-relu-only-pre-activation")
    assert finding.where == ("body.stage1.block1.relu1",)
    assert finding.evidence["elements"] == 16 * 32 * 32
