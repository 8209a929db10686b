"""How designs are criticised: which rules are asked, what the networks are for, and what is accepted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from cnnatomy.critique import RULES, Purpose, Rule
from cnnatomy.critique.study import Aims
from cnnatomy.critique.suppression import Suppression
from cnnatomy.errors import UserError, nearest, quoted

FAMILIES = tuple(dict.fromkeys(rule.code[0] for rule in RULES))
"""The letters of the codes."""


@dataclass(frozen=True)
class Settings(Aims):
    """What a command line, a design or a project says of the critique; None or nothing where it says nothing.

    Attributes:
        select: rules to ask, by name, code or letter; all where none is given.
        ignore: rules not to ask, likewise.
        pedantic: whether what seldom matters is said, too.
        suppress: findings that are accepted, each with its reason.
        baseline: the file of findings that are known.
        sources: file and key of what a file says, by field, for messages.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    pedantic: bool | None = None
    suppress: tuple[Suppression, ...] = ()
    baseline: Path | None = None
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def over(self, base: Settings) -> Self:
        """These settings, and those of `base` where these say nothing.

        A selection does away with what `base` ignores; what is ignored or suppressed otherwise adds to it.
        """
        names = [one.name for one in fields(self) if one.name != "sources"]
        saying = {name: base if getattr(self, name) in (None, ()) else self for name in names}
        values: dict[str, Any] = {name: getattr(one, name) for name, one in saying.items()}
        values["sources"] = {name: one.sources[name] for name, one in saying.items() if name in one.sources}
        values["ignore"] = self.ignore if self.select else base.ignore + self.ignore
        values["suppress"] = base.suppress + self.suppress
        return type(self)(**values)

    def rules(self) -> list[Rule]:
        """The rules to ask."""
        return chosen(self.select, self.ignore)

    def loud(self) -> list[Rule]:
        """The rules of which what seldom matters is said, too: those selected by name or code, or all if pedantic."""
        return list(RULES) if self.pedantic else [rule for rule in RULES if _rank(rule, self.select) > 1]

    def purpose(self, trained: bool = False) -> Purpose:
        """What the networks are for, whether they are to be trained or have been.

        Raises:
            UserError: as `Purpose` does; with file and key, if a file gives a latency and nothing a device.
        """
        if self.latency is not None and self.device is None and "latency" in self.sources:
            source = self.sources["latency"]
            raise UserError(f"{source} is one on a device: set `device` there, too, or give --device")
        return Purpose(**{one.name: getattr(self, one.name) for one in fields(Aims)}, trained=trained)


def chosen(selected: Iterable[str], ignored: Iterable[str]) -> list[Rule]:
    """The rules selected by name, code or letter, all if none is, without those ignored.

    What is said of a rule alone counts more than what is said of its letter.

    Raises:
        UserError: naming the nearest, if there is no such rule.
    """
    select, ignore = list(selected), list(ignored)
    for name in (*select, *ignore):
        find(name)
    asked = [rule for rule in RULES if not select or _rank(rule, select)]
    return [rule for rule in asked if not _rank(rule, ignore) or _rank(rule, select) > _rank(rule, ignore)]


def _rank(rule: Rule, names: Iterable[str]) -> int:
    """2 where a rule is named, 1 where its letter is, else 0."""
    ranks = {_key(rule.name): 2, _key(rule.code): 2, _key(rule.code[0]): 1}
    return max((ranks.get(_key(name), 0) for name in names), default=0)


def _key(name: str) -> str:
    """Case and separators do not matter, as in names of networks: `SOFTMAX_BEFORE_LOSS` is softmax-before-loss."""
    return re.sub(r"[-_. ]", "", name.lower())


def find(name: str) -> list[Rule]:
    """The rule of this name or code, in any spelling of `_key`, or all rules of a letter.

    Raises:
        UserError: naming the nearest, if there is none.
    """
    found = [rule for rule in RULES if _rank(rule, [name])]
    if not found:
        hint = nearest(name, [*(rule.name for rule in RULES), *(rule.code for rule in RULES)])
        letters = ", ".join(FAMILIES)
        raise UserError(f"there is no rule {quoted(name)}.{hint} `cnnatomy rules` lists all; {letters} are families")
    return found
