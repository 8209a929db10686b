"""Applying remedies: those that a program may apply, one after the other, each proven to fit and to do no harm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from cnnatomy.analysis import Account, account
from cnnatomy.critique.causes import flat, judged
from cnnatomy.critique.rule import SEVERITIES, Finding, Rule
from cnnatomy.critique.study import Purpose, Study
from cnnatomy.critique.suppression import Suppression, suppressed
from cnnatomy.design.network import Design
from cnnatomy.edits.change import Change, Remedy
from cnnatomy.edits.redesign import redesign
from cnnatomy.errors import UserError
from cnnatomy.limits import MAX_FIXED_LAYERS

MAX_STEPS = 100
"""A design that still asks for more after so many changes is left at that."""


class FixStep(NamedTuple):
    """One remedy applied.

    Attributes:
        finding: what it was applied for.
        remedy: which of its remedies.
        gone: paths of the layers that are not there any more, in order.
        before: the account of the network before it.
        after: and after it.
        introduced: notes that the rules have now and had not before; a step that brings in anything worse is refused.
    """

    finding: Finding
    remedy: Remedy
    gone: tuple[str, ...]
    before: Account
    after: Account
    introduced: tuple[Finding, ...]


class Fixed(NamedTuple):
    """What became of a design.

    Attributes:
        network: the design after all steps.
        steps: what was done, in order.
        refused: findings whose remedy a program might apply, and why this one could not or would not.
        left: what the rules find in the network after all steps.
    """

    network: Design
    steps: list[FixStep]
    refused: list[tuple[Finding, str]]
    left: list[Finding]


def fix(
    network: Design,
    purpose: Purpose,
    rules: Sequence[Rule],
    pedantic: Collection[Rule] = (),
    unsafe: bool = False,
    suppressions: Sequence[Suppression] = (),
    watched: Sequence[Rule] = (),
) -> Fixed:
    """Applies the safe remedies of what the rules find, `unsafe` ones too if asked, and criticises again after each.

    What is suppressed stays as it is. A remedy is refused where the change does not fit, cannot be said in a design,
    brings in a warning or an error of these rules or of the `watched` that was not there, or leads back to a design
    that there was; and it is tried again after the next step.

    Raises:
        UserError: if the network has more than `MAX_FIXED_LAYERS`.
    """
    steps: list[FixStep] = []
    refused: list[tuple[Finding, str]] = []
    tried: set[tuple[str, tuple[str, ...]]] = set()
    seen = [network]
    counted = account(network.graph(), network.name)
    if len(counted.rows) > MAX_FIXED_LAYERS:
        got = f"{network.name or 'this'} has {len(counted.rows):,}"
        raise UserError(f"--fix is for networks of at most {MAX_FIXED_LAYERS:,} layers, {got}")
    everything = list(dict.fromkeys([*rules, *watched]))

    def said(of: Account) -> tuple[list[Finding], list[Finding]]:
        """What the rules find that were asked, and what all do."""
        study = Study(of, purpose)
        asked, more = judged(study, rules, pedantic), judged(study, everything, pedantic)
        return suppressed(asked, suppressions).left, more

    findings, before = said(counted)
    while len(steps) < MAX_STEPS:
        waiting = [
            (finding, remedy)
            for finding, remedy in applicable(findings, unsafe)
            if (finding.rule.code, finding.where) not in tried
        ]
        if not waiting:
            break
        finding, remedy = waiting[0]
        change = remedy.change or Change()
        tried.add((finding.rule.code, finding.where))
        try:
            changed = redesign(network, counted.graph, change)
        except UserError as error:
            refused.append((finding, str(error)))
            continue
        after = account(changed.graph(), changed.name)
        found, now = said(after)
        introduced = _introduced(before, now)
        harm = next((one for one in introduced if one.severity != "note"), None)
        if changed in seen:
            refused.append((finding, "it would undo what another remedy did"))
        elif harm is not None:
            named = f"{harm.severity} {harm.rule}"
            refused.append((finding, f"it would bring in {named}: {harm.text}"))
        else:
            steps.append(FixStep(finding, remedy, _gone(counted, change), counted, after, tuple(introduced)))
            seen.append(changed)
            network, counted, findings, before = changed, after, found, now
            tried.difference_update((one.rule.code, one.where) for one, _ in refused)
            refused.clear()
    return Fixed(network, steps, refused, findings)


def applicable(findings: Sequence[Finding], unsafe: bool) -> list[tuple[Finding, Remedy]]:
    """The findings that a program may remedy, with the remedy; unsafe ones of causes alone, not of consequences.

    A safe remedy goes before an unsafe one that stands before it, unless it leaves the network dearer.
    """
    found = []
    for finding in flat(findings):
        allowed = ("safe", "unsafe") if unsafe and any(finding is top for top in findings) else ("safe",)
        ready = [one for one in finding.remedies if one.change and one.fix in allowed]
        if not ready:
            continue
        first = ready[0]
        safe = next((one for one in ready if one.fix == "safe"), first)
        dearer = safe.after and first.after and any(a > b for a, b in zip(safe.after, first.after, strict=True))
        found.append((finding, first if dearer else safe))
    return found


def _introduced(before: Sequence[Finding], after: Sequence[Finding]) -> list[Finding]:
    """Findings of a severity of which their rule has more now; the worst first."""
    counts = Counter((finding.rule.code, finding.severity) for finding in flat(before))
    found: list[Finding] = []
    for finding in flat(after):
        worse = SEVERITIES[SEVERITIES.index(finding.severity) :]
        key = next((key for s in worse if counts[key := (finding.rule.code, s)]), None)
        if key is None:
            found.append(finding)
        else:
            counts[key] -= 1
    return sorted(found, key=lambda finding: -SEVERITIES.index(finding.severity))


def _gone(account: Account, change: Change) -> tuple[str, ...]:
    """The layers that a change leaves out, or replaces by others of another kind."""
    return tuple(
        node.path
        for node in account.graph.nodes
        if node in change.dropped
        or (node in change.layers and not any(type(one) is type(node.layer) for one in change.layers[node]))
    )
