"""The critique: what a good designer would object to, with the evidence computed from the graph, never from a name."""

from collections.abc import Sequence

from cnnatomy.analysis import Account, account
from cnnatomy.critique.fix import Fixed, Step, fix
from cnnatomy.critique.normalisation import response_normalisation
from cnnatomy.critique.rule import SEVERITIES, Case, Finding, Remedy, Rule
from cnnatomy.critique.study import Purpose, Study
from cnnatomy.network import Graph, Network

RULES: tuple[Rule, ...] = (response_normalisation,)
"""Every rule, in the order of reports."""


def critique(
    design: Network | Graph | Account,
    purpose: Purpose = Purpose(),  # noqa: B008 - a value
    rules: Sequence[Rule] = RULES,
) -> list[Finding]:
    """What the rules find in a design, in their order.

    >>> from cnnatomy.catalogue import network
    >>> [finding.rule.name for finding in critique(network("alexnet"))][:1]
    """
    graph = design.graph() if isinstance(design, Network) else design
    study = Study(account(graph) if isinstance(graph, Graph) else graph, purpose)
    return [finding for rule in rules for finding in rule(study)]


__all__ = [
    "RULES",
    "SEVERITIES",
    "Case",
    "Finding",
    "Fixed",
    "Purpose",
    "Remedy",
    "Rule",
    "Step",
    "Study",
    "critique",
    "fix",
]
