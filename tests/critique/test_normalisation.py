"""Rules about normalisation: what they find, in which networks, and what fixes it."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import torch

import cnnatomy as cn
from cnnatomy.critique import critique
from cnnatomy.critique.dropout import dropout_before_batch_norm
from cnnatomy.critique.normalisation import bias_before_batch_norm, no_normalisation, response_normalisation
from cnnatomy.critique.ranges import idle_nonlinearity, rectified_bottleneck
from cnnatomy.critique.trunk import batch_norm_after_addition, relu_before_addition
from cnnatomy.design.build import build
from cnnatomy.edits.change import changed
from cnnatomy.layers import (
    Add,
    BatchNorm,
    Constant,
    Conv,
    DepthwiseConv,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    GroupNorm,
    LayerNorm,
    LeakyReLU,
    LocalResponseNorm,
    MaxPool,
    Multiply,
    Permute,
    PixelScale,
    ReLU,
    Scale,
    Sigmoid,
)
from findings import PLAIN, found, only, said
from helpers import trace
from peers import on_meta

MODERN = ("resnet-50", "mobilenet-v2", "densenet-121", "resnext-50-32x4d", "se-resnet-50-v1-5", "preact-resnet-50")
WARNINGS = (
    no_normalisation,
    bias_before_batch_norm,
    response_normalisation,
    rectified_bottleneck,
    dropout_before_batch_norm,
    relu_before_addition,
    batch_norm_after_addition,
    idle_nonlinearity,
)


@pytest.mark.parametrize("name", MODERN)
def test_modern_designs_normalise_and_rectify_where_they_should(name):
    assert [finding for rule in WARNINGS for finding in found(rule, name)] == []


# no normalisation


def test_vgg_16_has_thirteen_convolutions_without_normalisation():
    finding = only(no_normalisation, "vgg-16")
    assert (finding.severity, finding.quiet) == ("note", False)
    assert finding.evidence == {"convolutions": 13, "without": 13, "depth": 16}
    assert "16 layers in a row: a chain of 11 learned nothing at 0.01 to 0.1 from torch's own start" in finding.text
    # with batch norm in place of each bias it is the network that has batch norm, which has 4,224 offsets more
    assert finding.remedy.after.parameters == 138_365_992 - 4_224  # torchvision's vgg16_bn
    assert finding.remedy.fix == "unsafe"
    assert found(no_normalisation, "vgg-16-bn") == []


@pytest.mark.parametrize(("times", "expected"), [(3, []), (4, []), (5, ["note"]), (9, ["note"]), (17, ["note"])])
def test_plain_chains_without_normalisation_are_worth_a_word_from_seven_layers_on(times, expected):
    assert said(no_normalisation, PLAIN.replace("TIMES", str(times))) == expected
    assert len(found(no_normalisation, PLAIN.replace("TIMES", str(times)))) == 1


def test_what_was_measured_of_chains_without_normalisation_is_what_the_rule_says():
    runs = json.loads((Path(__file__).parents[2] / "benchmarks/results/no_normalisation.json").read_text())["runs"]
    accuracy = {(run["depth"], run["way"], run["rate"]): run["accuracy"] for run in runs}
    learned = {key: value > 0.2 for key, value in accuracy.items()}
    assert not learned[7, "torch's start", 0.01]
    assert learned[5, "torch's start", 0.01]
    assert learned[7, "He's start", 0.01]
    assert not any(learned[depth, "torch's start", rate] for depth in (11, 19) for rate in (0.01, 0.03, 0.1))
    assert accuracy[11, "He's start", 0.1] < accuracy[11, "He's start", 0.03] - 0.2
    assert [learned[19, "He's start", rate] for rate in (0.01, 0.03, 0.1)] == [True, False, False]
    assert all(learned[depth, "batch norm", rate] for depth in (5, 7, 11, 19) for rate in (0.01, 0.03, 0.1))
    page = inspect.getdoc(no_normalisation.check)
    for depth in (5, 7, 11, 19):
        cells = [
            ", ".join(f"{accuracy[depth, way, rate]:.0%}"[:-1] for rate in (0.01, 0.03, 0.1)) + " %"
            for way in ("torch's start", "He's start", "batch norm")
        ]
        assert f"| {depth} | {' | '.join(cells)} |" in page


@pytest.mark.parametrize("name", ["lenet-5", "lenet-kainz-code", "squeezenet-1.0", "squeezenet-1.1"])
def test_shallow_networks_and_fire_modules_are_meant_to_be_without_normalisation(name):
    assert found(no_normalisation, name)
    assert said(no_normalisation, name) == []


@pytest.mark.parametrize("name", ["alexnet", "vgg-a-lrn", "googlenet"])
def test_where_responses_are_normalised_batch_norm_in_place_of_that_comes_first(name):
    found = {finding.rule.code: finding for finding in critique(cn.network(name))}
    assert "N1" not in found
    assert "N1" in [finding.rule.code for finding in found["N4"].consequences]


def residual(branch, blocks=8):
    def describe(x):
        x = ReLU()(Conv(8, 3, padding=1)(x))
        for _ in range(blocks):
            x = ReLU()(Add()(x, branch(Conv(8, 3, padding=1)(ReLU()(Conv(8, 3, padding=1)(x))))))
        return FullyConnected(10)(Flatten()(GlobalAvgPool()(x)))

    return trace(describe, (3, 16, 16))


def test_residual_networks_need_normalisation_unless_their_branches_are_scaled():
    (finding,) = found(no_normalisation, residual(lambda y: y))
    assert (finding.quiet, finding.severity) == (False, "note")
    assert "what 8 additions sum up grows with each" in finding.text
    for scaled in (Scale(), Constant(0.1), PixelScale()):
        assert said(no_normalisation, residual(scaled)) == []


def test_selu_normalises_itself():
    text = PLAIN.replace("TIMES", "9")
    assert said(no_normalisation, text.replace("ReLU", "ELU")) == ["note"]
    assert said(no_normalisation, text.replace("ReLU", "SELU")) == []


def test_networks_that_make_images_of_images_do_without_normalisation():
    def vdsr(x):
        y = x
        for _ in range(9):
            y = ReLU()(Conv(8, 3, padding=1)(y))
        return Add()(x, Conv(3, 3, padding=1)(y))

    assert said(no_normalisation, trace(vdsr, (3, 16, 16))) == []


@pytest.mark.peers
@pytest.mark.parametrize("name", ["nf_resnet50", "eca_nfnet_l0"])
def test_standardised_weights_are_a_normalisation(name):
    module, shape = on_meta(f"timm:{name}")
    assert said(no_normalisation, cn.read(module, shape)) == []


def test_one_forgotten_batch_norm_is_a_note():
    def describe(x):
        for i in range(4):
            x = Conv(8, 3, padding=1)(x)
            x = ReLU()(x if i == 2 else BatchNorm()(x))
        return x

    finding = only(no_normalisation, trace(describe, (3, 16, 16)))
    assert (finding.where, finding.severity, finding.quiet) == (("conv3",), "note", False)
    assert finding.evidence["without"] == 1
    assert finding.remedy.fix == "unsafe"


@pytest.mark.parametrize("bare", [{0}, {9}, {0, 9}, {5}, {0, 5}])
def test_the_first_layer_or_the_last_without_batch_norm_is_a_habit(bare):
    def describe(x):
        for i in range(10):
            x = Conv(8, 3, padding=1)(x)
            x = LeakyReLU(0.2)(x if i in bare else BatchNorm()(x))
        return FullyConnected(1)(Flatten()(GlobalAvgPool()(x)))

    assert only(no_normalisation, trace(describe, (3, 16, 16))).quiet == (5 not in bare)


def test_a_last_stage_without_batch_norm_is_a_note():
    def describe(x):
        for i in range(13):
            x = Conv(8, 3, padding=1)(x)
            x = ReLU()(x if i > 9 else BatchNorm()(x))
        return FullyConnected(10)(Flatten()(GlobalAvgPool()(x)))

    finding = only(no_normalisation, trace(describe, (3, 16, 16)))
    assert (finding.quiet, finding.evidence["without"]) == (False, 3)


@pytest.mark.parametrize("norm", [BatchNorm(), GroupNorm(2)])
def test_the_order_of_normalisation_and_activation_does_not_matter(norm):
    def after(x):
        return Conv(8, 3)(norm(ReLU()(Conv(8, 3)(x))))

    def pooled(x):
        return Conv(8, 3)(ReLU()(norm(MaxPool(2)(Conv(8, 3)(x)))))

    for describe in (after, pooled):
        assert found(no_normalisation, trace(describe, (3, 16, 16))) == []


def test_gates_attention_and_layers_on_one_pixel_need_no_normalisation():
    for name in ("se-resnet-50-v1-5", "se-vgg-16-bn", "se-densenet-121"):
        assert found(no_normalisation, name) == []

    def spatial_attention(x):
        x = ReLU()(BatchNorm()(Conv(8, 3, padding=1)(x)))
        gate = Sigmoid()(Conv(1, 7, padding=3)(ReLU()(Conv(4, 3, padding=1)(x))))
        return Conv(4, 3)(BatchNorm()(Conv(8, 3)(Multiply()(x, gate))))

    assert found(no_normalisation, trace(spatial_attention, (3, 16, 16))) == []


def test_separable_convolutions_are_normalised_as_one():
    def describe(x):
        y = BatchNorm()(Conv(16, 1)(DepthwiseConv(3)(x)))
        return Conv(4, 1)(ReLU()(y))

    assert found(no_normalisation, trace(describe, (8, 16, 16))) == []


def test_blocks_with_one_normalisation_for_three_layers_end_as_they_may():
    def convnext(x):
        x = GroupNorm(1)(Conv(8, 4, stride=4)(x))
        for _ in range(2):
            y = LayerNorm(1)(Permute((1, 2, 0))(DepthwiseConv(7, padding=3)(x)))
            y = Conv(8, 1)(ReLU()(Conv(32, 1)(Permute((2, 0, 1))(y))))
            x = Add()(x, y)
        return x

    finding = only(no_normalisation, trace(convnext, (3, 64, 64)))
    assert (finding.where, finding.quiet) == (("conv3", "conv6"), True)  # the expanding ones, not what ends a block


def test_files_for_inference_may_have_lost_their_batch_norm():
    graph = cn.network("vgg-16").graph()
    graph.deployed = True
    assert found(no_normalisation, graph) == []


# biases before batch norm


def test_biases_before_batch_norm_are_dead():
    graph = trace(lambda x: BatchNorm()(Conv(8, 3)(x)), (3, 9, 9))
    finding = only(bias_before_batch_norm, graph)
    assert (finding.where, finding.evidence) == (("conv",), {"layers": 1, "offsets": 8})
    assert finding.severity == "note"  # measured: 0.4 and 1.2 points, within the noise
    module = build(graph).train()
    x = torch.randn(4, 3, 9, 9)
    before = module(x)
    with torch.no_grad():
        module.conv.bias += torch.arange(8)
    torch.testing.assert_close(module(x), before, atol=1e-5, rtol=1e-5)


def test_vgg_16_with_batch_norm_has_4_224_dead_biases():
    finding = only(bias_before_batch_norm, "vgg-16-bn")
    assert finding.evidence == {"layers": 13, "offsets": 4_224}
    assert finding.remedy.after.parameters == 138_365_992 - 4_224
    assert finding.remedy.fix == "safe"


@pytest.mark.parametrize("norm", [GroupNorm(2), LayerNorm(3)])
def test_biases_before_a_mean_over_several_channels_are_alive(norm):
    assert found(bias_before_batch_norm, trace(lambda x: norm(Conv(8, 3)(x)), (3, 9, 9))) == []
    assert found(bias_before_batch_norm, trace(lambda x: GroupNorm(8)(Conv(8, 3)(x)), (3, 9, 9))) != []


def test_biases_that_another_layer_reads_are_alive():
    def describe(x):
        x = Conv(8, 3)(x)
        return Add()(BatchNorm()(x), x)

    assert found(bias_before_batch_norm, trace(describe, (3, 9, 9))) == []


def test_biases_of_a_layer_that_is_used_twice_are_counted_once_and_left_to_its_author():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.BatchNorm2d(4)

        def forward(self, x):
            return self.bn(self.conv(torch.relu(self.bn(self.conv(x)))))

    finding = only(bias_before_batch_norm, cn.read(Twice(), (4, 8, 8)))
    assert finding.evidence == {"layers": 2, "offsets": 4}
    assert finding.remedy.change is None


# local response normalisation


def test_response_normalisation_gives_way_to_batch_norm_unless_there_is_one():
    finding = only(response_normalisation, "alexnet")
    assert finding.evidence["layers"] == 2
    assert finding.evidence["elements"] == 96 * 55 * 55 + 256 * 27 * 27
    assert finding.remedy.after.parameters == 60_965_224 + 2 * 96 + 2 * 256
    graph = trace(lambda x: LocalResponseNorm()(ReLU()(BatchNorm()(Conv(8, 3)(x)))), (3, 9, 9))
    after = changed(graph, only(response_normalisation, graph).remedy.change)
    assert [type(node.layer) for node in after] == [Conv, BatchNorm, ReLU]
    assert found(response_normalisation, "vgg-16") == []
