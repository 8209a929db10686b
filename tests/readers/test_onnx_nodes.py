"""ONNX's own tests of its operators: none is read with wrong sizes that are not said to be assumed."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnx")

from onnx_nodes import OUTCOMES, cases_of, groups, known_but_the_first, outcome, row

PAGE = (Path(__file__).parents[2] / "docs/onnx-nodes.md").read_text(encoding="utf-8").splitlines()
CHUNKS = 12


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_sizes_of_onnx_node_tests_are_right_or_marked_or_refused_as_the_table_says(chunk):
    mine = [group for group in groups()[chunk::CHUNKS] if cases_of(group)]
    wrong = {
        case.name: said
        for group in mine
        for case in cases_of(group)
        for said in (outcome(case.model, case.outputs), outcome(known_but_the_first(case), case.outputs))
        if said not in OUTCOMES
    }
    assert not wrong
    assert {row(group) for group in mine} <= set(PAGE), "`make tables` writes docs/onnx-nodes.md"


def test_the_table_has_every_operator_that_onnx_tests():
    named = {line.split("|")[1].strip() for line in PAGE if line.startswith("| ")}
    assert len(named) > 150
    assert named - {"operator", "---", "**all**"} <= set(groups())
