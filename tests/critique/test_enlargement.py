"""Coarse maps that are enlarged to the size of the image at once."""

from __future__ import annotations

import pytest

from cnnatomy import Chain
from cnnatomy.critique.enlargement import enlarged_at_once
from cnnatomy.design import Block, FeatureMap, Graph, MapHead
from cnnatomy.layers import (
    Concat,
    Conv,
    Interpolate,
    ReLU,
    TransposedConv,
)
from cnnatomy.layers.layer import Layer
from findings import found, only


def coarse(stages: int, *after: Layer | Block) -> Graph:
    body = [part for _ in range(stages) for part in (Conv(8, 3, 2, 1), ReLU())]
    return Graph.trace(Chain(*body, *after), (3, 256, 512))


@pytest.mark.parametrize(
    "enlarge",
    [
        (MapHead(5, scale=64),),
        (Conv(5, 1), Interpolate(8), Interpolate(8)),
        (Conv(5, 1), TransposedConv(5, 128, 64, 32)),
        (Interpolate(64), Conv(5, 1)),
    ],
)
def test_64_times_at_once_is_a_warning(enlarge: tuple[Layer, ...]) -> None:
    finding = only(enlarged_at_once, coarse(6, *enlarge))
    assert (finding.severity, finding.evidence) == ("warning", {"stride": 64, "times": 64})


def test_32_times_is_a_note_and_16_times_nothing() -> None:
    assert only(enlarged_at_once, coarse(5, MapHead(5, scale=32))).severity == "note"
    assert found(enlarged_at_once, coarse(4, MapHead(5, scale=16))) == []


def test_the_finer_map_that_a_skip_can_start_from_is_named() -> None:
    finding = only(enlarged_at_once, coarse(6, MapHead(5, scale=64)))
    assert finding.remedy is not None
    assert "chain.relu3, of 32x64" in finding.remedy.text


def test_steps_with_layers_between_skips_and_what_stays_coarse_are_left_out() -> None:
    steps = [part for _ in range(6) for part in (Interpolate(2), Conv(8, 3, padding=1), ReLU())]

    class Skip(Block):
        def __call__(self, x: FeatureMap) -> FeatureMap:
            fine = Conv(8, 3, 2, 1)(x)
            for _ in range(5):
                x = Conv(8, 3, 2, 1)(x if x is not fine else fine)
            return Interpolate(2)(Concat()(fine, Interpolate(16)(x)))

    assert found(enlarged_at_once, coarse(6, *steps)) == []
    assert found(enlarged_at_once, Graph.trace(Skip(), (3, 256, 512))) == []
    assert found(enlarged_at_once, coarse(6, Conv(85, 1))) == []
    assert found(enlarged_at_once, "resnet-50") == []
