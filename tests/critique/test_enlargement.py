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


@pytest.mark.parametrize(("stages", "last", "severities"), [(6, 16, ["warning"]), (6, 8, []), (5, 16, [])])
def test_steps_before_do_not_help_a_map_of_stride_64_that_is_enlarged_16_times(
    stages: int, last: int, severities: list[str]
) -> None:
    steps = [part for _ in range(2) for part in (Interpolate(2), Conv(8, 3, padding=1), ReLU())]
    findings = found(enlarged_at_once, coarse(stages, *steps, Interpolate(last), Conv(5, 1)))
    assert [finding.severity for finding in findings] == severities
    if findings:
        assert "4x8, a position to 64x64 pixels, is enlarged 4 times in steps and then 16 times" in findings[0].text


def test_a_finer_map_that_joins_ends_what_is_coarse() -> None:
    class Skip(Block):
        def __call__(self, x: FeatureMap) -> FeatureMap:
            x = fine = Conv(8, 3, 16, 1)(x)
            x = Interpolate(2)(Conv(8, 3, padding=1)(Interpolate(2)(Conv(8, 3, 4, 1)(x))))
            return Interpolate(16)(Concat()(fine, x))

    assert found(enlarged_at_once, Graph.trace(Skip(), (3, 256, 512))) == []
