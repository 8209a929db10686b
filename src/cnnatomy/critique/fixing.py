"""Applying remedies: those that a program may apply, one after the other, each proven to fit and to do no harm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from cnnatomy.analysis import Account, account
from cnnatomy.critique.causes import flat, judged, rank
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


class _State(NamedTuple):
    """A design after some steps, and what is found in it.

    Attributes:
        design: the design.
        account: its account.
        found: what the rules find that were asked, without what is suppressed.
        watched: what all rules find for whose findings a step may be refused.
    """

    design: Design
    account: Account
    found: list[Finding]
    watched: list[Finding]


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
    layers = len(network.graph().nodes)
    if layers > MAX_FIXED_LAYERS:
        got = f"{network.name or 'this'} has {layers:,}"
        raise UserError(f"--fix is for networks of at most {MAX_FIXED_LAYERS:,} layers, {got}")
    everything = list(dict.fromkeys([*rules, *watched]))

    def criticised(design: Design) -> _State:
        study = Study(account(design.graph(), design.name), purpose)
        asked = judged(study, rules, pedantic)
        every = asked if everything == list(rules) else judged(study, everything, pedantic)
        return _State(design, study.account, suppressed(asked, suppressions).left, every)

    states = [criticised(network)]
    steps: list[FixStep] = []
    refused: list[tuple[Finding, str]] = []  # since the last step
    while len(steps) < MAX_STEPS:
        now = states[-1]
        tried = {_subject(finding) for finding in [*(step.finding for step in steps), *(one for one, _ in refused)]}
        waiting = [one for one in applicable(now.found, unsafe) if _subject(one[0]) not in tried]
        if not waiting:
            break
        finding, remedy = waiting[0]
        change = remedy.change or Change()
        try:
            changed = redesign(now.design, now.account.graph, change)
        except UserError as error:
            refused.append((finding, str(error)))
            continue
        after = criticised(changed)
        introduced = _introduced(now.watched, after.watched)
        refusal = _refusal(after, states, introduced)
        if refusal is not None:
            refused.append((finding, refusal))
            continue
        gone = _gone(now.account, change)
        steps.append(FixStep(finding, remedy, gone, now.account, after.account, tuple(introduced)))
        states.append(after)
        refused = []
    return Fixed(states[-1].design, steps, refused, states[-1].found)


def _subject(finding: Finding) -> tuple[str, tuple[str, ...]]:
    """What a finding is about, by which it is known again after a step."""
    return finding.rule.code, finding.where


def _refusal(after: _State, states: Sequence[_State], introduced: Sequence[Finding]) -> str | None:
    """Why a step is not taken that leads to this state and brings these findings in, the worst first."""
    if any(after.design == state.design for state in states):
        return "it would undo what another remedy did"
    if introduced and introduced[0].severity != "note":
        harm = introduced[0]
        return f"it would bring in {harm.severity} {harm.rule}: {harm.text}"
    return None


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
        worse = SEVERITIES[rank(finding) :]
        key = next((key for s in worse if counts[key := (finding.rule.code, s)]), None)
        if key is None:
            found.append(finding)
        else:
            counts[key] -= 1
    return sorted(found, key=rank, reverse=True)


def _gone(account: Account, change: Change) -> tuple[str, ...]:
    """The layers that a change leaves out, or replaces by others of another kind."""
    return tuple(
        node.path
        for node in account.graph.nodes
        if node in change.dropped
        or (node in change.layers and not any(type(one) is type(node.layer) for one in change.layers[node]))
    )
