"""Findings that somebody has looked at and accepts: one rule at one part, with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from cnnatomy.analysis import account
from cnnatomy.critique.rule import Finding
from cnnatomy.design.graph import Node
from cnnatomy.edits.change import Change, Remedy, cost_after
from cnnatomy.errors import UserError

EVERYWHERE = "*"


@dataclass(frozen=True)
class Suppression:
    """One rule, or all of a letter, at one part.

    Attributes:
        rule: as it was written: a name, a code or a letter.
        codes: of the rules that it is about.
        where: a path, that of a part that it is in, or a pattern such as `body.stage2.*`.
        reason: why the finding is accepted.
        source: the file that says it.
        in_design: whether that is the design itself.
    """

    rule: str
    codes: tuple[str, ...]
    where: str
    reason: str
    source: str
    in_design: bool = False

    def covers(self, path: str) -> bool:
        """Whether a path is meant; the empty one is that of the whole network."""
        return path == self.where or path.startswith(f"{self.where}.") or fnmatchcase(path, self.where)


class Suppressed(NamedTuple):
    """What is left of findings.

    Attributes:
        left: the findings that nobody has accepted, of some perhaps a part of the places.
        accepted: those that somebody has, each with the suppression that says why.
        idle: suppressions that suppress nothing.
    """

    left: list[Finding]
    accepted: list[tuple[Finding, Suppression]]
    idle: list[Suppression]


def suppressed(findings: Sequence[Finding], suppressions: Iterable[Suppression]) -> Suppressed:
    """What is left of findings where these suppressions hold.

    With a cause its consequences are accepted. Where a finding is accepted at some of its places, it stays at the
    others. A remedy that does the same thing at each place is then one for the others alone, counted again; all others
    are advice, which no program applies.
    """
    every = list(suppressions)
    accepted: list[tuple[Finding, Suppression]] = []
    left = [rest for finding in findings for rest in _rest(finding, every, accepted)]
    used = {one for _, one in accepted}
    return Suppressed(left, accepted, [one for one in every if one not in used])


def _rest(
    finding: Finding, suppressions: Sequence[Suppression], accepted: list[tuple[Finding, Suppression]]
) -> Iterator[Finding]:
    """The finding at the places where it is not accepted, if there are any."""
    consequences = tuple(rest for one in finding.consequences for rest in _rest(one, suppressions, accepted))
    mine = [one for one in suppressions if finding.rule.code in one.codes]
    places = finding.where or ("",)
    by_place = {path: next((one for one in mine if one.covers(path)), None) for path in places}
    for suppression in dict.fromkeys(one for one in by_place.values() if one is not None):
        covered = tuple(path for path, by in by_place.items() if path and by == suppression)
        accepted.append((finding._replace(where=covered, consequences=()), suppression))
    open_places = tuple(path for path, by in by_place.items() if by is None)
    if len(open_places) == len(by_place):
        yield finding._replace(consequences=consequences)
    elif open_places:
        text = f"{finding.text} (accepted at {len(by_place) - len(open_places)} of {len(by_place)} places)"
        remedies = tuple(_at(remedy, finding.where, open_places) for remedy in finding.remedies)
        yield finding._replace(where=open_places, text=text, remedies=remedies, consequences=consequences)


def _at(remedy: Remedy, where: Sequence[str], open_places: Sequence[str]) -> Remedy:
    """A remedy for all these places as one for some of them; as advice where it cannot be divided."""
    if remedy.change is None:
        return remedy
    places = _by_place(remedy.change, where)
    if places is None:
        return Remedy(remedy.text + (" (no fix: it is one for all places together)" if remedy.fix else ""))
    change = Change({node: layers for node, layers in remedy.change.layers.items() if places[node] in open_places})
    try:
        after = cost_after(account(next(iter(change.layers)).output.graph), change)
    except UserError:  # what is left would not fit
        return Remedy(remedy.text + (" (no fix: it does not fit at the other places alone)" if remedy.fix else ""))
    text = f"{remedy.text} (said of {len(where)} places; it is done, and costs that, at {len(open_places)})"
    return remedy._replace(text=text, change=change, after=after)


def _by_place(change: Change, where: Sequence[str]) -> dict[Node, str] | None:
    """Of which place each node of a change is; None where that is not the same thing at each place, or it does more.

    What is dropped goes with all that reads it, and so as a whole.
    """

    def place(path: str) -> str:
        return max((one for one in where if path == one or path.startswith(f"{one}.")), default="", key=len)

    places = {node: place(node.path) for node in change.layers}
    alike = len({tuple(map(type, layers)) for layers in change.layers.values()}) == 1
    each = set(places.values()) == set(where)
    return places if alike and each and not change.dropped and change.input is None else None
