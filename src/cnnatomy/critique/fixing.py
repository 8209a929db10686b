"""Applying remedies: those that a program may apply without asking, one after the other, each proven to fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cnnatomy.analysis import Account, account
from cnnatomy.critique.rule import Finding, Rule
from cnnatomy.critique.study import Purpose, Study
from cnnatomy.design.network import Design
from cnnatomy.edits.change import Change
from cnnatomy.edits.redesign import redesign
from cnnatomy.errors import UserError
from cnnatomy.limits import MAX_FIXED_LAYERS

MAX_STEPS = 100
"""A design that still asks for more after so many changes is left at that."""


class FixStep(NamedTuple):
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

    network: Design
    steps: list[FixStep]
    refused: list[tuple[Finding, str]]
    left: list[Finding]


def fix(network: Design, purpose: Purpose, rules: Sequence[Rule]) -> Fixed:
    """Applies the mechanical remedies of what the rules find, and criticises again after each.

    A remedy is left out where the change does not fit, or cannot be said in a design; each place is changed once by
    each rule, so that two rules that contradict each other come to an end.

    Raises:
        UserError: if the network has more than `MAX_FIXED_LAYERS`.
    """
    steps: list[FixStep] = []
    refused: list[tuple[Finding, str]] = []
    tried: set[tuple[str, tuple[str, ...]]] = set()
    counted = account(network.graph(), network.name)
    if len(counted.rows) > MAX_FIXED_LAYERS:
        got = f"{network.name or 'this'} has {len(counted.rows):,}"
        raise UserError(f"--fix is for networks of at most {MAX_FIXED_LAYERS:,} layers, {got}")
    while True:
        findings = [finding for rule in rules for finding in rule(Study(counted, purpose))]
        waiting = ((f, _mechanical(f)) for f in findings if (f.rule.code, f.where) not in tried)
        finding, change = next(((f, change) for f, change in waiting if change), (None, None))
        if finding is None or change is None or len(steps) == MAX_STEPS:
            return Fixed(network, steps, refused, findings)
        tried.add((finding.rule.code, finding.where))
        try:
            network = redesign(network, counted.graph, change)
        except UserError as error:
            refused.append((finding, str(error)))
            continue
        before, counted = counted, account(network.graph(), network.name)
        steps.append(FixStep(finding, before, counted))


def _mechanical(finding: Finding) -> Change | None:
    """The change that a program may make without asking, if there is one."""
    return finding.remedy.change if finding.remedy and finding.remedy.fix else None
