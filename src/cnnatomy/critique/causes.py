"""What is said of what the rules find, and in which order: causes with their consequences, the worst first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from cnnatomy.critique.rule import SEVERITIES, Finding, Rule
from cnnatomy.critique.study import Study

DEAD = ("W3", "W4")
"""Rules of what is computed for nothing: what else could be said of these layers goes with them."""


def judged(study: Study, rules: Sequence[Rule], pedantic: Collection[Rule] = ()) -> list[Finding]:
    """What the rules find, one finding for each cause: the worst first, then what concerns most of the network.

    Quiet findings are left out, but for those of the rules in `pedantic`, and for consequences of what is not.
    """
    found = [finding for rule in rules for finding in rule(study)]
    said = [not finding.quiet or finding.rule in pedantic for finding in found]
    return ordered(study, folded(found, said))


def rank(finding: Finding) -> int:
    """How severe it is: a larger number is worse."""
    return SEVERITIES.index(finding.severity)


def folded(findings: Sequence[Finding], said: Sequence[bool]) -> list[Finding]:
    """The findings that are said, each with those that it causes, said or not, and that are no more severe."""
    causes = list(range(len(findings)))  # finding -> its cause; itself where it has none

    def root(i: int) -> int:
        while causes[i] != i:
            i = causes[i]
        return i

    for i, finding in enumerate(findings):
        cause = _cause(finding, findings, said)
        if cause is not None and root(cause) != i:
            causes[i] = cause
    told: list[list[Finding]] = [[] for _ in findings]
    for i, finding in enumerate(findings):
        if root(i) != i:
            told[root(i)].append(finding)
    return [f._replace(consequences=tuple(told[i])) for i, f in enumerate(findings) if causes[i] == i and said[i]]


def _cause(finding: Finding, findings: Sequence[Finding], said: Sequence[bool]) -> int | None:
    """Of the findings that it may be a consequence of, the first at the same place, or else the first.

    What lies wholly in layers that are computed for nothing is a consequence of that, whatever its rule.
    """
    places = set(finding.where)
    for i, one in enumerate(findings):
        is_worse = said[i] and rank(one) >= rank(finding)
        if is_worse and one is not finding and places and places <= _dead(one):
            return i
    for code in finding.under:
        of_rule = [i for i, one in enumerate(findings) if one.rule.code == code]
        likely = [i for i in of_rule if said[i] and rank(findings[i]) >= rank(finding)]
        if likely:
            return min(likely, key=lambda i: places.isdisjoint(findings[i].where))
    return None


def _dead(finding: Finding) -> set[str]:
    """The layers that are computed for nothing by this finding, and which its remedy leaves out."""
    if finding.rule.code not in DEAD or finding.remedy is None or finding.remedy.change is None:
        return set()
    return {node.path for node in finding.remedy.change.dropped}


def ordered(study: Study, findings: Iterable[Finding]) -> list[Finding]:
    """The worst first, of equals what concerns the largest part of the network with all that comes of it.

    Findings of one rule and severity stand together.
    """
    found = [(finding, _share(study, flat([finding]))) for finding in findings]
    largest: dict[tuple[str, str], float] = {}
    for finding, share in found:
        key = (finding.rule.code, finding.severity)
        largest[key] = max(share, largest.get(key, 0.0))

    def place(entry: tuple[Finding, float]) -> tuple[float | str, ...]:
        finding, share = entry
        code = finding.rule.code
        return (-rank(finding), -largest[code, finding.severity], code, -share)

    return [finding for finding, _ in sorted(found, key=place)]


def _share(study: Study, findings: Iterable[Finding]) -> float:
    """The part of the parameters, of the MACs or of the feature maps that these findings concern, the largest."""
    paths = {path for finding in findings for path in finding.where}
    rows, totals = [row for row in study.account.rows if row.path in paths], study.account.totals
    return max(
        sum(row.parameters for row in rows) / max(1, totals.parameters),
        sum(row.macs for row in rows) / max(1, totals.macs),
        sum(row.feature_map_elements for row in rows) / max(1, totals.feature_map_elements),
    )


def flat(findings: Iterable[Finding]) -> list[Finding]:
    """Findings and their consequences in a row."""
    return [one for finding in findings for one in (finding, *finding.consequences)]
