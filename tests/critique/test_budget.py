"""Memory, time, and the balance of the two along the network."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.analysis.memory.footprint import inference
from cnnatomy.analysis.memory.setting import Setting
from cnnatomy.analysis.time import latency, roofline
from cnnatomy.critique import Purpose, Study
from cnnatomy.critique.budget import balance, over_latency, over_memory, single_peak
from cnnatomy.design import Graph
from cnnatomy.edits.change import Change, Cost, changed
from cnnatomy.errors import UserError
from cnnatomy.layers import (
    AvgPool,
    Conv,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    LocalResponseNorm,
    Multiply,
    ReLU,
    Sigmoid,
)
from findings import chain_on, found
from peers import torchvision

MIB = 2**20


def chain(*layers, shape=(3, 64, 64)) -> Graph:
    return chain_on(shape, *layers)


# balance


@pytest.mark.parametrize("name", ["resnet-50", "mobilenet-v2", "densenet-121", "inception-v3", "resnet-20-cifar"])
def test_networks_with_stages_of_like_cost_are_balanced(name):
    assert not found(balance, name)
    assert not found(balance, name, device="h100-sxm")


def test_vgg_spends_three_fifths_of_its_macs_before_28_pixels():
    (finding,) = found(balance, "vgg-16")
    macs = finding.evidence["levels"]
    # 3x3 convolutions by table 1 of Simonyan and Zisserman, column D
    assert macs["224x224"]["macs"] == 224**2 * 9 * (3 * 64 + 64 * 64)
    assert macs["112x112"]["macs"] == 112**2 * 9 * (64 * 128 + 128 * 128)
    assert macs["56x56"]["macs"] == 56**2 * 9 * (128 * 256 + 2 * 256 * 256)
    early = sum(macs[size]["macs"] for size in ("224x224", "112x112", "56x56"))
    assert finding.evidence["share_of_macs_early"] == early / 15_470_264_320
    assert finding.text.startswith("60% of the MACs")
    assert len(finding.where) == 7


def test_96_percent_of_alexnets_weights_are_at_the_end_and_take_most_of_the_time_of_a_gpu():
    assert not found(balance, "alexnet")  # the vectorised head has a rule of its own
    (finding,) = found(balance, "alexnet", device="h100-sxm")
    fully_connected = 9216 * 4096 + 4096 * 4096 + 4096 * 1000
    total = account(cn.network("alexnet").graph()).totals.weights
    assert finding.evidence["share_of_weights_late"] == fully_connected / total
    assert finding.evidence["levels"]["vectors"] == {"macs": fully_connected, "weights": fully_connected}
    assert finding.evidence["share_of_time_late"] > 0.75
    assert finding.evidence["flops_per_byte_late"] == pytest.approx(0.5, rel=0.01)
    assert finding.evidence["flops_per_byte_late"] < finding.evidence["ridge"] == pytest.approx(67e12 / 3350e9)
    assert finding.remedy.after.parameters < 4_000_000


def test_a_network_made_narrow_but_for_its_end_has_nearly_all_weights_there():
    (finding,) = found(balance, "mobilenet-v2-0.35")
    assert finding.evidence["share_of_weights_late"] > 0.9
    assert finding.where[-1] == "head.fc"
    assert not found(balance, "mobilenet-v2")


def test_the_weights_of_gates_of_larger_maps_are_not_at_the_end():
    def describe(x):
        x = Conv(16, 3, stride=2, padding=1)(x)
        gate = Conv(16, 1)(Conv(64, 1)(GlobalAvgPool()(x)))
        x = Multiply()(x, Sigmoid()(gate))
        x = Conv(128, 3, stride=8, padding=1)(x)
        return FullyConnected(256)(Flatten()(GlobalAvgPool()(x)))

    (_, finding) = found(balance, Graph.trace(describe, (3, 128, 128)))  # the first is about the MACs of conv1
    end = 9 * 16 * 128 + 128 * 256
    assert finding.evidence["share_of_weights_late"] == end / (9 * 3 * 16 + 2 * 16 * 64 + end)
    assert finding.where == ("conv4", "fc")
    assert "no larger than the last, 8x8" in finding.text


def test_the_last_map_of_several_pixels_is_called_so_where_one_of_a_pixel_comes_after_it():
    graph = cn.network("resnet-18").graph((3, 32, 32))  # 2x2 after the fourth stride, 1x1 after the fifth
    late = next(f for f in found(balance, graph) if "weights" in f.text)
    assert "no larger than the last of more than one pixel, 2x2" in late.text


def test_a_network_of_two_scales_is_not_out_of_balance():
    def describe(x):
        x = Conv(64, 3, stride=2, padding=1)(Conv(8, 3, padding=1)(x))
        return FullyConnected(256)(Flatten()(GlobalAvgPool()(x)))

    assert not found(balance, Graph.trace(describe, (3, 32, 32)))


def test_whether_vgg_is_out_of_balance_depends_on_the_device():
    assert not found(balance, "vgg-16", device="h100-sxm")
    (finding,) = found(balance, "vgg-16", device="raspberry-pi-5")
    device = roofline.device("raspberry-pi-5")
    bounds = {b.row.node: b for b in roofline.roofline(cn.network("vgg-16").account(), device)}
    weighted = [b for b in bounds.values() if b.row.weights]
    early = sum(b.seconds for b in weighted if b.row.output[1:] in ((224, 224), (112, 112), (56, 56)))
    assert finding.evidence["share_of_time_early"] == pytest.approx(early / sum(b.seconds for b in weighted))
    assert finding.evidence["ridge"] == pytest.approx(153.6 / 17.068)
    assert f"{finding.evidence['share_of_time_early']:.0%} of the time" in finding.text


def test_halving_the_channels_of_early_layers_gives_the_cost_that_is_announced():
    graph = cn.network("vgg-16").graph()
    (finding,) = found(balance, graph)
    assert len(finding.remedies) == 4
    halved = finding.remedies[-1]
    assert Cost.of(account(changed(graph, halved.change))) == halved.after


# one layer sets the peak


def test_the_first_expansion_of_mobilenet_v2_sets_its_peak():
    (finding,) = found(single_peak, "mobilenet-v2")
    memory = cn.network("mobilenet-v2").account().inference_memory
    assert finding.where[0] == "body.stage2.block1.conv1"
    assert memory.at in finding.where
    assert finding.evidence["peak"] == memory.peak
    assert finding.evidence["bytes"] == 4 * 2 * 96 * 112 * 112  # before and after batch norm
    assert finding.evidence["next_bytes"] == 4 * (96 * 112 * 112 + 96 * 56 * 56)


@pytest.mark.parametrize("name", ["resnet-50", "vgg-16", "densenet-121", "mobilenet-v1-1.0", "resnet-20-cifar"])
def test_where_neighbours_hold_as_much_no_layer_sets_the_peak_alone(name):
    assert not found(single_peak, name)


def test_a_layer_must_hold_half_as_much_again_as_the_next():
    def peak_of(channels: int) -> Graph:
        return chain(Conv(8, 1), Conv(channels, 1), Conv(8, 1), shape=(8, 16, 16))

    assert not found(single_peak, peak_of(8))
    # the wide layer and the one that reads it hold the same
    assert not found(single_peak, peak_of(64))
    tall = chain(Conv(8, 1), Conv(64, 1), ReLU(), AvgPool(8), Conv(8, 1), shape=(8, 16, 16))
    (finding,) = found(single_peak, tall)
    assert finding.where == ("conv2", "relu")
    assert finding.evidence["bytes"] == 4 * 256 * 128
    assert finding.evidence["next_bytes"] == 4 * (256 * 64 + 4 * 64)
    assert finding.remedies[-1].after.maps == account(tall).totals.feature_map_elements - 32 * (2 * 256 + 4)


def test_a_layer_without_channels_of_its_own_is_to_be_left_out():
    graph = chain(Conv(64, 3, padding=1), LocalResponseNorm(), AvgPool(4), Conv(8, 1))
    (finding,) = found(single_peak, graph)
    assert finding.where == ("norm",)
    assert finding.remedies[-1].text == "leave norm out, or make what it reads smaller"


# memory


def test_a_budget_is_kept_or_not_to_the_byte():
    total = cn.network("resnet-50").account().inference_memory.total
    assert not found(over_memory, "resnet-50", memory=total)
    (finding,) = found(over_memory, "resnet-50", memory=total - 1)
    assert finding.severity == "error"
    assert finding.evidence["bytes"] == total
    assert not found(over_memory, "resnet-50")


def test_the_layers_to_cut_first_hold_the_most():
    (finding,) = found(over_memory, "vgg-16", memory=300 * MIB)
    pieces = finding.evidence["cut_first"]
    assert [piece["path"] for piece in pieces[:3]] == ["head.fc6", "head.fc7", "head.fc8"]
    assert pieces[0]["bytes"] == 4 * (25088 * 4096 + 4096)
    assert pieces[3] == {"path": "tail.conv1_1", "what": "feature map", "bytes": 4 * 64 * 224 * 224}


def test_16_bits_and_half_of_the_channels_take_what_their_own_account_says():
    (finding,) = found(over_memory, "vgg-16", memory=300 * MIB)
    graph, text = cn.network("vgg-16").graph(), finding.remedies[-1].text
    assert f"in 16 bits it takes {inference(graph, Setting(dtype='float16')).total / MIB:.2f} MiB" in text
    # every convolution and hidden layer with half of its channels, by hand
    widths = [3, 32, 32, 64, 64, *3 * [128], *6 * [256]]
    weights = sum(9 * a * b + b for a, b in itertools.pairwise(widths))
    weights += 256 * 49 * 2048 + 2048 + 2048 * 2048 + 2048 + 2048 * 1000 + 1000
    half = 4 * (weights + 3 * 224**2 + 2 * 32 * 224**2)
    assert f"with half of all channels it takes {half / MIB:.2f} MiB" in text


@pytest.mark.parametrize(("name", "mib"), [("mobilenet-v2", 20), ("resnet-50", 103), ("squeezenet-1.1", 6)])
def test_the_largest_smaller_input_that_fits_is_what_trying_all_finds(name, mib):
    (finding,) = found(over_memory, name, memory=mib * MIB)
    sizes = [(3, n, n) for n in range(32, cn.network(name).input[1], 32)]
    fitting = [s for s in sizes if fits(name, s, mib * MIB)]
    assert finding.remedy.change.input == fitting[-1]
    assert finding.remedy.after == Cost.of(cn.network(name).account(fitting[-1]))


def fits(name: str, shape: tuple[int, int, int], budget: int) -> bool:
    try:
        return cn.network(name).account(shape).inference_memory.total <= budget
    except UserError:
        return False


@pytest.mark.peers
@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v2", "googlenet"])
def test_a_torch_module_at_a_smaller_input_takes_what_reading_it_at_that_size_says(name):
    with torch.device("meta"):
        module = torchvision().models.get_model(name, weights=None).eval()
    graph = cn.read(module, (3, 224, 224))
    assert inference(changed(graph, Change())) == inference(graph)
    (finding,) = found(over_memory, graph, memory=int(0.95 * inference(graph).total))
    shape = finding.remedy.change.input
    again = inference(cn.read(module, shape))
    assert inference(changed(graph, Change(input=shape))) == again
    assert f"3x{shape[1]}x{shape[2]}, with which it takes {again.total / MIB:.2f} MiB" in finding.remedy.text


def test_where_nothing_fits_the_remedy_says_so():
    (finding,) = found(over_memory, "resnet-50", memory=MIB)
    assert "no smaller input fits" in finding.remedy.text
    assert finding.remedy.change is None


# time


def test_a_named_device_takes_at_least_the_time_of_its_roofline():
    device = roofline.device("raspberry-pi-5")
    seconds = sum(b.seconds for b in roofline.roofline(cn.network("resnet-50").account(), device))
    assert not found(over_latency, "resnet-50", device="raspberry-pi-5", latency=seconds)
    (finding,) = found(over_latency, "resnet-50", device="Raspberry-Pi-5", latency=0.99 * seconds)
    assert finding.evidence["seconds"] == pytest.approx(seconds)
    assert finding.text.startswith(f"at least {seconds * 1e3:.3f} ms")
    assert sum(finding.evidence["seconds_by_part"].values()) == pytest.approx(seconds)
    first = finding.evidence["cut_first"][0]
    assert (first["path"], first["seconds"]) == ("tail.conv", pytest.approx(2 * 118_013_952 / 153.6e9))


def test_the_input_that_is_advised_is_fast_enough_and_the_next_is_not():
    device = roofline.device("t4")
    (finding,) = found(over_latency, "resnet-50", device="t4", latency=0.8e-3)

    def seconds(side: int) -> float:
        return sum(b.seconds for b in roofline.roofline(cn.network("resnet-50").account((3, side, side)), device))

    side = finding.remedy.change.input[1]
    assert seconds(side) <= 0.8e-3 < seconds(side + 32)
    assert f"3x{side}x{side}, with which it takes {seconds(side) * 1e3:.3f} ms" in finding.remedy.text


def test_here_is_this_machine_as_it_was_measured(monkeypatch):
    def predict(of):  # 10 GMACs a second, and a millisecond between the layers
        rows = tuple(row.macs / 1e10 or None for row in of.rows)
        return SimpleNamespace(rows=rows, seconds=of.totals.macs / 1e10 + 1e-3)

    here = SimpleNamespace(predict=predict, device=lambda: roofline.device("t4"))
    monkeypatch.setattr(latency, "required", lambda: here)
    predicted = 1e-3 + cn.network("squeezenet-1.1").account().totals.macs / 1e10
    assert not found(over_latency, "squeezenet-1.1", device="here", latency=1.01 * predicted)
    (finding,) = found(over_latency, "squeezenet-1.1", device="HERE", latency=0.5 * predicted)
    assert finding.evidence["seconds"] == pytest.approx(predicted)
    assert finding.text.startswith("predicted")
    side = finding.remedy.change.input[1]
    assert 1e-3 + finding.remedy.after.macs / 1e10 <= 0.5 * predicted
    assert 1e-3 + cn.network("squeezenet-1.1").account((3, side + 32, side + 32)).totals.macs / 1e10 > 0.5 * predicted


# purposes that make no sense


@pytest.mark.parametrize(
    ("purpose", "says"),
    [
        ({"device": "h1000-sxm"}, "h100-sxm"),
        ({"latency": 0.02}, "device"),
        ({"latency": -1.0, "device": "t4"}, "latency"),
        ({"latency": float("nan"), "device": "t4"}, "latency"),
        ({"memory": 0}, "memory"),
        ({"classes": 0}, "classes"),
    ],
    ids=str,
)
def test_a_purpose_that_makes_no_sense_is_refused_before_any_rule_runs(purpose, says):
    with pytest.raises(UserError, match=says):
        Purpose(**purpose)


def test_a_machine_that_was_not_measured_is_no_device(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match="cnnatomy calibrate"):
        Purpose(device="here")


# any graph

ODD = {
    "nothing": Graph.trace(lambda x: x, (3, 8, 8)),
    "one pixel": chain(Conv(8, 1), ReLU(), Conv(8, 1), Flatten(), shape=(3, 1, 1)),
    "vectors": chain(FullyConnected(8), ReLU(), FullyConnected(2), shape=(4,)),
    "no weights": chain(ReLU(), GlobalAvgPool(), Flatten()),
    "two outputs": Graph.trace(lambda x, y: [Conv(4, 3)(x), Conv(4, 3)(y)], (3, 8, 8), (1, 9, 9)),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("purpose", [{}, {"device": "t4", "latency": 1e-12, "memory": 1}], ids=["open", "tight"])
def test_odd_graphs_are_no_trouble(name, purpose):
    study = Study(account(ODD[name]), Purpose(**purpose))
    for rule in (balance, single_peak, over_memory, over_latency):
        for finding in rule(study):
            assert finding.text
            assert finding.remedy is None or finding.remedy.change is None or finding.remedy.after is not None


def test_a_change_of_the_input_keeps_the_ratio_of_the_sides():
    (finding,) = found(over_memory, "personal-notes-512x1024", memory=150 * MIB)
    channels, rows, columns = finding.remedy.change.input
    assert (channels, columns) == (3, 2 * rows)
    graph = changed(cn.network("personal-notes-512x1024").graph(), Change(input=(3, rows, columns)))
    assert inference(graph).total <= 150 * MIB


def test_a_vectorised_head_that_holds_most_of_the_memory_goes_before_the_input_shrinks():
    (finding,) = found(over_memory, "vgg-16", memory=300 * MIB)
    first, second = finding.remedies
    assert first.text.startswith("replace head.fc6 and head.fc7 by global average pooling")
    left = 4 * (first.after.parameters + 3 * 224**2 + 2 * 64 * 224**2)  # the input, and the first two maps
    assert first.text.endswith(f"it takes {left / MIB:.2f} MiB then")
    assert "use an input of" in second.text
    (other,) = found(over_memory, "resnet-50", memory=100 * MIB)
    assert not any("average" in remedy.text for remedy in other.remedies)


def test_a_peak_of_less_than_a_mebibyte_is_told_with_no_cause():
    """Two maps of 64x112x112 have 6.1 MiB, two of 64x16x16 128 KiB."""
    layers = Conv(64, 7, 2, 3), ReLU(), LocalResponseNorm(), AvgPool(4), Conv(8, 1)
    (large,), (small,) = (found(single_peak, chain(*layers, shape=(3, side, side))) for side in (224, 32))
    assert (large.under, small.under) == (("C6", "I3"), ())
    (asked,) = found(single_peak, chain(*layers, shape=(3, 32, 32)), memory=MIB)
    assert asked.under == ("C6", "I3")
