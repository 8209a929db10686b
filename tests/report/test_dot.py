"""The drawing in Graphviz's language: well formed, every box and every arrow of the graph in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.analysis.edges import Edges
from cnnatomy.cli import main
from cnnatomy.design import Graph
from cnnatomy.layers import Conv, ReLU
from cnnatomy.report.dot import dot

STRING = r'"(?:[^"\\]|\\.)*"'
READERS = Path(__file__).parents[1] / "readers" / "data"


def parsed(text: str) -> tuple[list[str], list[tuple[str, str]], list[str]]:
    """Boxes, arrows and clusters; every line must be one of the few statements that there are."""
    boxes, arrows, clusters, open_braces = [], [], [], 0
    for line in text.splitlines():
        line = line.strip()
        attributes = rf"\[(?:\w+=(?:{STRING}|\w+)(?:, )?)+\]"
        if match := re.fullmatch(rf"(?:digraph|subgraph) ({STRING}) \{{", line):
            clusters.append(match[1])
            open_braces += 1
        elif line == "}":
            open_braces -= 1
        elif match := re.fullmatch(rf"({STRING}) -> ({STRING})", line):
            arrows.append((match[1], match[2]))
        elif match := re.fullmatch(rf"({STRING}) {attributes}", line):
            boxes.append(match[1])
        else:
            assert re.fullmatch(rf"(?:node|graph) {attributes}|label={STRING}", line), line
        assert open_braces >= 0
    assert open_braces == 0
    return boxes, arrows, clusters[1:]


@pytest.mark.parametrize("depth", [None, 1, 2, 3])
@pytest.mark.parametrize("name", ["resnet-18", "inception-v3", "googlenet-aux", "msdnet"])
def test_every_layer_is_a_box_and_every_edge_an_arrow(name, depth):
    counted = cn.network(name).account()
    boxes, arrows, clusters = parsed(dot(counted, depth))
    lines = counted.rows if depth is None else counted.at_depth(depth)
    assert sorted(boxes) == sorted(['"input"', *(f'"{line.path}"' for line in lines)])
    assert len(arrows) == sum(map(len, Edges(counted.graph, lines).reads))
    assert {end for arrow in arrows for end in arrow} <= set(boxes)
    assert len(clusters) == len(set(clusters))


def test_a_box_says_what_the_layer_is_and_costs():
    text = dot(cn.network("resnet-50").account())
    layer = "Conv(64, 7, stride=2, padding=3, bias=False)"
    assert rf'"tail.conv" [label="conv\n{layer}\n64x112x112\n9,408 parameters, 118,013,952 MACs"' in text
    assert r'"tail.relu" [label="relu\nReLU()\n64x112x112",' in text


def test_blocks_are_clusters_within_clusters():
    _, _, clusters = parsed(dot(cn.network("resnet-18").account()))
    assert '"cluster body.stage1.block2"' in clusters
    _, _, clusters = parsed(dot(cn.network("resnet-18").account(), 2))
    assert clusters == ['"cluster tail"', '"cluster body"', '"cluster head"']


def test_quotes_and_backslashes_are_escaped():
    def describe(x):
        x.graph.ask('say "a\\b"\nand c')
        return ReLU()(Conv(4, 1)(x))

    text = dot(account(Graph.trace(describe, (1, 8, 8)), 'my "net"'))
    boxes, arrows, _ = parsed(text)
    assert r'"say \"a\\b\"\nand c"' in boxes
    assert len(arrows) == 2
    assert text.startswith(r'digraph "my \"net\"" {')


@pytest.mark.parametrize("network", [str(READERS / "residual.prototxt"), "lenet-5"])
def test_the_command_draws(network):
    result = CliRunner().invoke(main, ["show", network, "--format", "dot"])
    assert result.exit_code == 0
    boxes, arrows, _ = parsed(result.output.rstrip())
    assert arrows[0][0] == boxes[0] == '"input"'
