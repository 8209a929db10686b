"""What tests of rules need: what one rule finds in a design, and the graph that its remedy gives."""

from __future__ import annotations

from typing import Any

import cnnatomy as cn
from cnnatomy import Network
from cnnatomy.analysis import account
from cnnatomy.critique import Finding, Purpose, Study
from cnnatomy.critique.rule import Rule
from cnnatomy.design import Graph
from cnnatomy.design.graph import FeatureMap
from cnnatomy.edits.change import Cost, changed
from cnnatomy.layers.layer import Layer, Shape
from cnnatomy.readers.yaml import listed

WELL_DESIGNED = (
    *("resnet-50", "preact-resnet-50", "resnext-50-32x4d", "se-resnet-50", "densenet-121", "mobilenet-v2"),
    *("inception-v3", "xception", "personal-notes"),
)


def chain_on(shape: Shape, *layers: Layer) -> Graph:
    """Layers one after the other, with the paths of a network without blocks."""

    def describe(x: FeatureMap) -> FeatureMap:
        for layer in layers:
            x = layer(x)
        return x

    return Graph.trace(describe, shape)


def findings(rule: Rule, design: Network | Graph | str, purpose: Purpose | None = None) -> list[Finding]:
    """Of a design: a name of the catalogue, a text in YAML, a network or a graph; the quiet ones, too."""
    if isinstance(design, str):
        design = listed.read(design) if "\n" in design else cn.network(design)
    graph = design if isinstance(design, Graph) else design.graph()
    return list(rule(Study(account(graph), purpose or Purpose())))


def one(rule: Rule, design: Network | Graph | str, purpose: Purpose | None = None) -> Finding:
    """The only finding."""
    (finding,) = findings(rule, design, purpose)
    return finding


def said(rule: Rule, design: Network | Graph | str, purpose: Purpose | None = None) -> list[str]:
    """The severities of what is said by default."""
    return [finding.severity for finding in findings(rule, design, purpose) if not finding.quiet]


def found(rule: Rule, design: Network | Graph | str, input: Shape | None = None, **purpose: Any) -> list[Finding]:
    """The findings at an input of this shape, for a network of this purpose."""
    if isinstance(design, str):
        design = cn.network(design)
    graph = design.graph(input) if isinstance(design, Network) else design
    return findings(rule, graph, Purpose(**purpose))


def only(rule: Rule, design: Network | Graph | str, input: Shape | None = None, **purpose: Any) -> Finding:
    """The only one of them."""
    (finding,) = found(rule, design, input, **purpose)
    return finding


def after(finding: Finding, design: Network | str, input: Shape | None = None) -> Graph:
    """The graph that the remedy gives; what was announced is what it costs."""
    design = cn.network(design) if isinstance(design, str) else design
    study = Study(account(design.graph(input)), Purpose())
    (again,) = [f for f in finding.rule(study) if f.where == finding.where]
    assert again.remedy is not None
    assert again.remedy.change is not None
    graph = changed(study.graph, again.remedy.change)
    assert Cost.of(account(graph)) == again.remedy.after
    return graph
