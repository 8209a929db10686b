"""What is a consequence of what: of findings about layers that are computed for nothing."""

from __future__ import annotations

from collections.abc import Callable

from cnnatomy.critique import Finding, critique
from cnnatomy.design.graph import FeatureMap
from cnnatomy.layers import Add, BatchNorm, Concat, Conv, Flatten, FullyConnected, GlobalAvgPool, ReLU, Slice
from helpers import trace


def branch(x: FeatureMap, kernel: int) -> FeatureMap:
    return ReLU()(BatchNorm()(Conv(64, kernel, padding=kernel // 2, bias=False)(x)))


def classify(x: FeatureMap) -> FeatureMap:
    return FullyConnected(20)(Flatten()(GlobalAvgPool()(x)))


def about_large_kernels(design: Callable[[FeatureMap], FeatureMap]) -> tuple[list[str], list[str]]:
    """Under which rules a large kernel is said, and all rules that say something by themselves."""
    found: list[Finding] = critique(trace(lambda x: classify(design(branch(x, 3))), (3, 32, 32)))
    under = [top.rule.code for top in found for one in (top, *top.consequences) if one.rule.code == "C2"]
    return under, [top.rule.code for top in found]


def test_what_is_said_of_a_branch_that_is_sliced_away_follows_from_that():
    under, told = about_large_kernels(lambda x: Slice(0, 64)(Concat()(branch(x, 3), branch(x, 5))))
    assert under == ["W4"]
    assert "C2" not in told


def test_what_is_said_of_layers_that_nobody_reads_follows_from_that():
    def design(x: FeatureMap) -> FeatureMap:
        y = branch(x, 3)
        branch(x, 5)
        total: FeatureMap = Add()(y, y)
        return total

    under, told = about_large_kernels(design)
    assert under == ["W3"]
    assert "C2" not in told


def test_what_is_read_in_part_is_there_and_has_objections_of_its_own():
    under, _ = about_large_kernels(lambda x: Slice(0, 32)(branch(x, 5)))
    assert under == ["C2"]


def test_living_layers_beside_dead_ones_have_objections_of_their_own():
    under, _ = about_large_kernels(lambda x: Slice(0, 64)(Concat()(branch(x, 5), branch(x, 5))))
    assert under == ["C2"]
