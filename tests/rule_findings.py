"""What one rule finds in a design: the quiet too, as when it is asked by name."""

from __future__ import annotations

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.critique import Finding, Purpose, Rule, Study
from cnnatomy.design.graph import Graph
from cnnatomy.readers.yaml import listed

ANY = Purpose()


def findings(rule: Rule, design: cn.Network | Graph | str, purpose: Purpose = ANY) -> list[Finding]:
    """Of a design: a name of the catalogue, a text in YAML, a network or a graph."""
    if isinstance(design, str):
        design = listed.read(design) if "\n" in design else cn.network(design)
    graph = design if isinstance(design, Graph) else design.graph()
    return list(rule(Study(account(graph), purpose)))


def one(rule: Rule, design: cn.Network | Graph | str, purpose: Purpose = ANY) -> Finding:
    """The only finding."""
    (finding,) = findings(rule, design, purpose)
    return finding


def said(rule: Rule, design: cn.Network | Graph | str, purpose: Purpose = ANY) -> list[str]:
    """The severities of what is said by default."""
    return [finding.severity for finding in findings(rule, design, purpose) if not finding.quiet]
