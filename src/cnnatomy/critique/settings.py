"""How designs are criticised: which rules are asked, what the networks are for, and what is accepted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from cnnatomy.critique import RULES, Purpose, Rule
from cnnatomy.critique.study import PurposeTask
from cnnatomy.critique.suppression import Suppression
from cnnatomy.errors import UserError, nearest, quoted

FAMILIES = tuple(dict.fromkeys(rule.code[0] for rule in RULES))
"""The letters of the codes."""


@dataclass(frozen=True)
class Settings:
    """What a command line, a design or a project says of the critique; None or nothing where it says nothing.

    Attributes:
        select: rules to ask, by name, code or letter; all where none is given.
        ignore: rules not to ask, likewise.
        pedantic: whether what seldom matters is said, too.
        task: see `Purpose`, as for classes, objects, device, memory (bytes) and latency (seconds).
        suppress: findings that are accepted, each with its reason.
        baseline: the file of findings that are known.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    pedantic: bool | None = None
    task: PurposeTask | None = None
    classes: int | None = None
    objects: tuple[int, int] | None = None
    device: str | None = None
    memory: int | None = None
    latency: float | None = None
    suppress: tuple[Suppression, ...] = ()
    baseline: Path | None = None

    def over(self, base: Settings) -> Self:
        """These settings, and those of `base` where these say nothing.

        A selection does away with what `base` ignores; what is ignored or suppressed otherwise adds to it.
        """
        values: dict[str, Any] = {
            field.name: getattr(base if getattr(self, field.name) in (None, ()) else self, field.name)
            for field in fields(self)
        }
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
            UserError: as `Purpose` does.
        """
        named = {field.name for field in fields(Purpose)} - {"trained"}
        return Purpose(trained=trained, **{name: getattr(self, name) for name in named})


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
    ranks = {rule.name: 2, rule.code.lower(): 2, rule.code[0].lower(): 1}
    return max((ranks.get(name.lower(), 0) for name in names), default=0)


def find(name: str) -> list[Rule]:
    """The rule of this name or code, in any case, or all rules of a letter.

    Raises:
        UserError: naming the nearest, if there is none.
    """
    found = [rule for rule in RULES if _rank(rule, [name])]
    if not found:
        hint = nearest(name, [*(rule.name for rule in RULES), *(rule.code for rule in RULES)])
        letters = ", ".join(FAMILIES)
        raise UserError(f"there is no rule {quoted(name)}.{hint} `cnnatomy rules` lists all; {letters} are families")
    return found
