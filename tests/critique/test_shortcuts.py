"""Long chains without shortcuts."""

from __future__ import annotations

import pytest

from cnnatomy import Chain, Network
from cnnatomy.critique.shortcuts import no_shortcuts
from cnnatomy.design import LinearHead
from cnnatomy.layers import (
    BatchNorm,
    Conv,
    ReLU,
)
from findings import found, only


def plain(layers: int, kernel: int = 3) -> Network:
    body = [part for _ in range(layers - 1) for part in (Conv(8, kernel, padding=kernel // 2), BatchNorm(), ReLU())]
    return Network(Conv(8, 3, padding=1), Chain(*body), LinearHead(10), input=(3, 32, 32))


def test_a_chain_of_26_convolutions_wants_shortcuts_and_one_of_25_does_not() -> None:
    assert found(no_shortcuts, plain(25)) == []
    finding = only(no_shortcuts, plain(26))
    assert (finding.severity, finding.evidence["layers"], len(finding.where)) == ("warning", 26, 26)
    assert finding.remedy is not None
    assert finding.remedy.text == "put a shortcut around each two of these convolutions"


@pytest.mark.parametrize("name", ["vgg-19", "mobilenet-v1-1.0", "plain-20-cifar", "resnet-110-cifar", "densenet-121"])
def test_short_chains_separable_convolutions_and_other_ways_are_left_out(name: str) -> None:
    assert found(no_shortcuts, name) == []


def test_plain_56_needs_two_projections() -> None:
    """From 16 to 32 channels and from 32 to 64."""
    finding = only(no_shortcuts, "plain-56-cifar")
    assert finding.remedy is not None
    assert f"2 projections take {16 * 32 + 32 * 64:,} weights more" in finding.remedy.text


def test_a_file_for_inference_may_have_merged_its_shortcuts() -> None:
    graph = plain(40).graph()
    graph.deployed = True
    assert found(no_shortcuts, graph) == []
