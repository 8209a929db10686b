"""The roofline, against figures worked out by hand, and the data sheets."""

from __future__ import annotations

import dataclasses

import pytest

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.analysis.time.roofline import Device, device, devices, roofline
from cnnatomy.design.graph import Graph
from cnnatomy.errors import UserError
from cnnatomy.layers import Conv, Flatten, FullyConnected, ReLU

DEVICE = Device(name="a board", flops={"float32": 1e9, "float16": 4e9}, bandwidth=1e8, source="made up for this test")


def bound(layer, *shapes, batch=1, dtype="float32"):
    (line,) = roofline(account(Graph.trace(layer, *shapes)), DEVICE, batch, dtype)
    return line


def test_a_3x3_convolution_by_hand():
    line = bound(Conv(8, 3, padding=1, bias=False), (4, 10, 10))
    assert line.flops == 2 * (8 * 10 * 10) * (4 * 3 * 3)
    assert line.bytes == 4 * (4 * 100 + 8 * 100 + 8 * 4 * 9)
    assert line.intensity == pytest.approx(57_600 / 5_952)
    assert (line.compute, line.memory) == (pytest.approx(57.6e-6), pytest.approx(59.52e-6))
    assert (line.bound, line.seconds) == ("memory", pytest.approx(59.52e-6))


def test_a_fully_connected_layer_by_hand_with_batch_and_half_precision():
    line = bound(FullyConnected(10), (100,), batch=64, dtype="float16")
    assert line.flops == 2 * 64 * 1000
    assert line.bytes == 2 * (64 * (100 + 10) + 1000 + 10)
    assert (line.compute, line.memory) == (pytest.approx(32e-6), pytest.approx(161e-6))


def test_batch_moves_weights_once_and_so_raises_the_intensity_of_a_fully_connected_layer():
    one, many = bound(FullyConnected(4096), (9216,)), bound(FullyConnected(4096), (9216,), batch=64)
    assert one.intensity == pytest.approx(0.5, rel=0.01)
    assert many.intensity > 30
    assert (one.bound, many.bound) == ("memory", "compute")


def test_a_relu_is_memory_bound_and_a_flatten_costs_nothing():
    relu, flatten = bound(ReLU(), (8, 4, 4)), bound(Flatten(), (8, 4, 4))
    assert (relu.flops, relu.bytes, relu.bound) == (0, 4 * 256, "memory")
    assert (flatten.bytes, flatten.seconds, flatten.bound) == (0, 0, "nothing")


def test_the_work_is_twice_the_macs():
    network = cn.network("resnet-50").account()
    assert sum(line.flops for line in roofline(network, device("a100-40gb"))) == 2 * 4_089_184_256


def test_every_device_says_where_its_figures_are_printed():
    for name, entry in devices().items():
        assert "http" in entry.source, name
        assert entry.flops["float32"] > 0


def test_the_h100_is_its_data_sheet():
    h100 = device("H100-SXM")
    assert (h100.flops["float32"], h100.bandwidth) == (67e12, 3.35e12)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: device("h100"), "Did you mean h100-sxm"),
        (
            lambda: roofline(cn.network("lenet-5").account(), device("t4"), dtype="tf32"),
            "it has float32, float16, int8",
        ),
    ],
)
def test_a_mistake_names_what_there_is(ask, message):
    with pytest.raises(UserError, match=message):
        ask()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"flops": {}}, "a board: needs the FLOP/s of at least one number format"),
        ({"flops": {"float23": 1e9}}, "'float23' is no number format; those known are float64, float32"),
        ({"flops": {"float32": 1e18}}, r"float32 must be above 0 and below 1e\+18 FLOP/s, got 1e\+18"),
        ({"bandwidth": 0.0}, "bandwidth must be above 0 and below"),
    ],
)
def test_a_device_without_sensible_figures_is_refused(changed, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(DEVICE, **changed)
