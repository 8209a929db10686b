"""What tests of rules need: what one rule finds in a design, and the graph that its remedy gives."""

from __future__ import annotations

from typing import Any

import cnnatomy as cn
from cnnatomy import Network
from cnnatomy.analysis import account
from cnnatomy.critique import Finding, Purpose, Study
from cnnatomy.critique.rule import Rule
from cnnatomy.design import Block, Chain, Design, Graph, LinearHead
from cnnatomy.design.graph import FeatureMap
from cnnatomy.edits.change import Cost, changed
from cnnatomy.layers import Conv, ReLU
from cnnatomy.layers.layer import Layer, Shape
from cnnatomy.readers.yaml import listed

RELU = ReLU()
WELL_DESIGNED = (
    *("resnet-50", "preact-resnet-50", "resnext-50-32x4d", "se-resnet-50", "densenet-121", "mobilenet-v2"),
    *("inception-v3", "xception", "personal-notes"),
)

PLAIN = """
input: [1, 28, 28]
tail: [{Conv: {channels: 32, kernel: 3, padding: 1}}, ReLU]
body:
  - Chain: {parts: [{Conv: {channels: 32, kernel: 3, padding: 1}}, ReLU]}
    times: TIMES
head: {LinearHead: {classes: 10}}
"""
"""A chain of TIMES + 2 layers with weights."""


def chain_on(shape: Shape, *layers: Layer) -> Graph:
    """Layers one after the other, with the paths of a network without blocks."""

    def describe(x: FeatureMap) -> FeatureMap:
        for layer in layers:
            x = layer(x)
        return x

    return Graph.trace(describe, shape)


def conv(channels: int, kernel: int = 3, stride: int = 1, **options: Any) -> Conv:
    """A convolution that makes a map as large as the stride lets it."""
    return Conv(channels, kernel, stride, padding=kernel // 2, **options)


def body(*layers: Layer | Block, nonlinearity: Layer = RELU) -> Chain:
    """Layers between a first convolution and a head, with a nonlinearity before and after them."""
    return Chain(conv(32), nonlinearity, *layers, nonlinearity, LinearHead(10))


def found(rule: Rule, design: Design | Graph | str, input: Shape | None = None, **purpose: Any) -> list[Finding]:
    """What a rule finds, quiet or not, at an input of this shape, for a network of this purpose.

    The design is a name of the catalogue, a text in YAML, a design or a graph.
    """
    if isinstance(design, str):
        design = listed.read(design) if "\n" in design else cn.network(design)
    graph = design if isinstance(design, Graph) else design.graph(input)
    return list(rule(Study(account(graph), Purpose(**purpose))))


def only(rule: Rule, design: Design | Graph | str, input: Shape | None = None, **purpose: Any) -> Finding:
    """The only one of them."""
    (finding,) = found(rule, design, input, **purpose)
    return finding


def said(rule: Rule, design: Design | Graph | str, **purpose: Any) -> list[str]:
    """The severities of what is said by default."""
    return [finding.severity for finding in found(rule, design, **purpose) if not finding.quiet]


def after(finding: Finding, design: Network | str, input: Shape | None = None) -> Graph:
    """The graph that the remedy gives; what was announced is what it costs."""
    before = (cn.network(design) if isinstance(design, str) else design).graph(input)
    (again,) = [f for f in found(finding.rule, before) if f.where == finding.where]
    assert again.remedy is not None
    assert again.remedy.change is not None
    graph = changed(before, again.remedy.change)
    assert Cost.of(account(graph)) == again.remedy.after
    return graph
