"""Applying remedies: those that a program may apply without asking, one after the other, each proven to fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cnnatomy.analysis import Account
from cnnatomy.critique.redesign import redesign
from cnnatomy.critique.rule import Finding, Rule
from cnnatomy.critique.study import Purpose, Study
from cnnatomy.errors import UserError
from cnnatomy.network import Network

MOST_STEPS = 100
"""A design that still asks for more after so many changes is left at that."""


class Step(NamedTuple):
    """One remedy applied, with the accounts of the network before and after it."""

    finding: Finding
    before: Account
    after: Account


class Fixed(NamedTuple):
    """What became of a design.

    Attributes:
        network: the design after all steps.
        steps: what was done, in order.
        refused: remedies that a program might apply, and why this one could not.
        left: what the rules find in the network after all steps.
    """

    network: Network
    steps: list[Step]
    refused: list[tuple[Finding, str]]
    left: list[Finding]


def fix(network: Network, purpose: Purpose, rules: Sequence[Rule]) -> Fixed:
    """Applies the mechanical remedies of what the rules find, and criticises anew after each.

    A remedy is left out where the change does not fit, or cannot be said in a design; each place is mended once by
    each rule, so that two rules that contradict each other come to an end.
    """
    steps: list[Step] = []
    refused: list[tuple[Finding, str]] = []
    tried: set[tuple[str, tuple[str, ...]]] = set()
    account = network.account()
    while True:
        findings = [finding for rule in rules for finding in rule(Study(account, purpose))]
        finding = next((f for f in findings if _mechanical(f) and (f.rule.code, f.where) not in tried), None)
        if finding is None or len(steps) == MOST_STEPS:
            return Fixed(network, steps, refused, findings)
        tried.add((finding.rule.code, finding.where))
        try:
            network = redesign(network, account.graph, finding.remedy.change)  # type: ignore[union-attr, arg-type]
        except UserError as error:
            refused.append((finding, str(error)))
            continue
        before, account = account, network.account()
        steps.append(Step(finding, before, account))


def _mechanical(finding: Finding) -> bool:
    return finding.remedy is not None and finding.remedy.mechanical and finding.remedy.change is not None
