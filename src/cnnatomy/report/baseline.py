"""Findings that are known: kept in a file, so that only what is new is said."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from cnnatomy import catalogue
from cnnatomy.critique import SEVERITIES, Finding, flat
from cnnatomy.critique.rule import Severity
from cnnatomy.errors import UserError
from cnnatomy.files import read_text, write_json, writing_to
from cnnatomy.limits import MAX_RECORD_BYTES
from cnnatomy.plain import checked
from cnnatomy.readers import file_of

FORMAT = 1
_WHAT = "the baseline"


class KnownFinding(NamedTuple):
    """A finding as a baseline keeps it.

    Attributes:
        network: a name of the catalogue, or the file from the folder of the baseline.
        rule: its code.
        where: the first of its places; nothing for the whole network.
        places: how many it has.
        severity: as that of the finding.
    """

    network: str
    rule: str
    where: str
    places: int
    severity: Severity

    def holds(self, other: KnownFinding) -> bool:
        """Whether a finding of the same rule is no worse, and has no more places."""
        ranks = [SEVERITIES.index(one.severity) for one in (self, other)]
        return self.rule == other.rule and ranks[0] >= ranks[1] and self.places >= other.places


class Compared(NamedTuple):
    """The findings of a network that a baseline has not, how many it has, and how many of its own are gone."""

    new: list[Finding]
    known: int
    gone: int


def network_key(name: str, baseline: Path) -> str:
    """What a network is called in a baseline: alike from whichever folder the command runs in, in every spelling."""
    file = file_of(name)
    if file is None:
        return _catalogued(name)
    return Path(os.path.relpath(os.path.realpath(file), os.path.realpath(baseline.parent))).as_posix()


def _catalogued(name: str) -> str:
    """The name that the catalogue itself has for a network of it; others stay as they are."""
    return catalogue.find(name).name if catalogue.knows(name) else name


def compared(findings: Sequence[Finding], known: Iterable[KnownFinding], asked: Iterable[str]) -> Compared:
    """Findings of one network beside those that are known of it; `asked` are the codes of the rules that were asked.

    A finding is known where its rule, its first place and its number of places are; and where only the place is another
    one, because layers were put in before it, if one of the known ones is not there any more. Of a known cause the
    consequences that are new are told by themselves.
    """
    codes = set(asked)
    waiting = [one for one in known if one.rule in codes]
    familiar: set[int] = set()
    every = flat(findings)
    for same_place in (True, False):
        for i, finding in enumerate(every):
            one = _known(finding, "")
            match = next((w for w in waiting if w.holds(one) and (w.where == one.where or not same_place)), None)
            if i not in familiar and match is not None:
                waiting.remove(match)
                familiar.add(i)
    numbers = iter(range(len(every)))
    new: list[Finding] = []
    for finding in findings:
        own, *others = [next(numbers) in familiar for _ in flat([finding])]
        if own:
            new += [one for one, old in zip(finding.consequences, others, strict=True) if not old]
        else:
            new.append(finding)
    return Compared(new, len(every) - len(flat(new)), len(waiting))


def _known(finding: Finding, network: str) -> KnownFinding:
    return KnownFinding(network, finding.rule.code, finding.place, len(finding.where), finding.severity)


def read(path: Path) -> dict[str, list[KnownFinding]]:
    """The findings of a baseline by network.

    Raises:
        UserError: if it cannot be read, or is no baseline.
    """
    text = read_text(path, MAX_RECORD_BYTES, _WHAT)
    try:
        record = checked(json.loads(text), dict[str, Any], "it")
        if record.get("baseline") != FORMAT:
            raise UserError(f"expected `baseline: {FORMAT}`")
        rows = checked(record.get("findings"), list[dict[str, Any]], "findings")
        found = [
            KnownFinding(**{key: checked(row.get(key), kind, key) for key, kind in _FIELDS.items()}) for row in rows
        ]
    except (ValueError, RecursionError, UserError) as error:
        reason = error if isinstance(error, UserError) else "not valid JSON"
        raise UserError(f"{path} is no baseline, which `--write-baseline` writes: {reason}") from None
    by_network: dict[str, list[KnownFinding]] = {}
    for one in found:
        by_network.setdefault(_catalogued(one.network), []).append(one)
    return by_network


_FIELDS = get_type_hints(KnownFinding)


def check_place(path: Path) -> None:
    """Raises `UserError` where something lies there that is no baseline, which is not overwritten."""
    if os.path.lexists(path):
        read(path)


def write(path: Path, findings: Iterable[tuple[str, Sequence[Finding]]]) -> int:
    """Writes the findings of networks by name, whole or not at all, and says how many there are.

    Raises:
        UserError: if it cannot be written.
    """
    known = sorted(_known(one, network_key(name, path)) for name, found in findings for one in flat(found))
    with writing_to(path):
        write_json(path, {"baseline": FORMAT, "findings": [one._asdict() for one in known]})
    return len(known)
