"""Chains: what the goldens do not say of LeNet, ZFNet and MobileNet V1."""

from __future__ import annotations

import pytest

import cnnatomy as cn


def test_the_lectures_lenet_takes_32_pixels_and_refuses_the_28_of_mnist():
    network = cn.network("lenet-kainz-code")
    assert network.graph((1, 32, 32)).outputs[0].shape == (10,)
    with pytest.raises(cn.ShapeError, match=r"head\.features: .* got 16x5x5, needs an input of 576 elements"):
        network.graph((1, 28, 28))


@pytest.mark.parametrize(
    ("width", "millions_of_parameters", "millions_of_macs"),
    [("1.0", 4.2, 569), ("0.75", 2.6, 325), ("0.5", 1.3, 149), ("0.25", 0.5, 41)],
)
def test_mobilenet_costs_what_table_6_of_its_paper_prints(width, millions_of_parameters, millions_of_macs):
    totals = cn.network(f"mobilenet-v1-{width}").account().totals
    assert round(totals.parameters / 1e6, 1) == millions_of_parameters
    assert round(totals.macs / 1e6) == millions_of_macs


@pytest.mark.parametrize(("resolution", "millions_of_macs"), [(224, 569), (192, 418), (160, 290), (128, 186)])
def test_mobilenet_costs_what_table_7_of_its_paper_prints(resolution, millions_of_macs):
    totals = cn.network("mobilenet-v1", input=(3, resolution, resolution)).account().totals
    assert abs(totals.macs / 1e6 - millions_of_macs) < 1  # 290.7 is printed as 290, 568.7 as 569
