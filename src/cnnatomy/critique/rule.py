"""What a rule is, and what it finds: an objection to a design, with evidence, source and remedy."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from cnnatomy.critique.examples import RuleExample, example
from cnnatomy.edits.change import Remedy
from cnnatomy.errors import LimitError

if TYPE_CHECKING:
    from cnnatomy.critique.study import Study

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")
"""From the mildest; the levels of SARIF. A note is a question of taste or device, a warning costs accuracy, time or
memory for nothing, an error is a mistake."""

Origin = Literal["notes", "lectures", "papers"]

Evidence: TypeAlias = "bool | int | float | str | Sequence[Evidence] | Mapping[str, Evidence] | None"
"""What JSON can hold."""


class Case(NamedTuple):
    """What a rule's check yields: one objection.

    Attributes:
        where: paths of the layers concerned; like cases belong together in one.
        text: the evidence in a sentence, with its numbers.
        evidence: the same numbers by name.
        remedy: what to do about it; where there are several ways, all, the best first.
        severity: unless it is the rule's.
        quiet: whether it matters so seldom that it is said only with `--pedantic`, or where its rule is asked by name.
        under: codes of the rules of whose findings this is a consequence, the likeliest first: it is then told there.
    """

    where: tuple[str, ...]
    text: str
    evidence: Mapping[str, Evidence]
    remedy: Remedy | Sequence[Remedy] | None = None
    severity: Severity | None = None
    quiet: bool = False
    under: Sequence[str] = ()


class Finding(NamedTuple):
    """A case with the rule that found it.

    Attributes:
        remedies: what to do about it, those that cost at most `DEAR` times as much first.
        consequences: findings that go with this one, of which it is the cause.
    """

    rule: Rule
    severity: Severity
    where: tuple[str, ...]
    text: str
    evidence: Mapping[str, Evidence]
    remedies: tuple[Remedy, ...] = ()
    quiet: bool = False
    under: tuple[str, ...] = ()
    consequences: tuple[Finding, ...] = ()

    @property
    def place(self) -> str:
        """The first of the places; nothing where it is the whole network."""
        return self.where[0] if self.where else ""

    @property
    def remedy(self) -> Remedy | None:
        """What to do first."""
        return self.remedies[0] if self.remedies else None


Check = Callable[["Study"], Iterable[Case]]


@dataclasses.dataclass(frozen=True)
class Rule:
    """One objection that a good designer could have.

    Attributes:
        code: a letter for the subject and a number, for tables; never given to another rule.
        name: what people call it, in kebab case.
        severity: of what it finds, unless a case says otherwise.
        source: who says so: a lecture and slide, or a paper.
        check: the predicate. Its docstring is the rule: a title of one line, then why it matters.
    """

    code: str
    name: str
    severity: Severity
    source: str
    check: Check

    def __str__(self) -> str:
        """What messages call it."""
        return f"{self.code} {self.name}"

    @property
    def title(self) -> str:
        """The rule in one line."""
        return self._text.partition("\n")[0]

    @property
    def why(self) -> str:
        """Why it matters, and when it does not."""
        return self._text.partition("\n")[2].strip()

    @property
    def origin(self) -> Origin:
        """Where it comes from: the lectures' personal notes on design, their other slides, or papers and manuals."""
        if "Personal Notes" in self.source:
            return "notes"
        return "lectures" if "lecture" in self.source else "papers"

    @property
    def example(self) -> RuleExample:
        """A design that it objects to, and one that it is content with.

        Raises:
            UserError: if it has none.
        """
        return example(self.name)

    @property
    def _text(self) -> str:
        return inspect.getdoc(self.check) or ""

    def __call__(self, study: Study) -> Iterator[Finding]:
        with suppress(LimitError):  # a layer that it would propose is larger than layers are
            for where, text, evidence, remedy, severity, quiet, under in self.check(study):
                given = () if remedy is None else (remedy,) if isinstance(remedy, Remedy) else remedy
                remedies = tuple(sorted(given, key=lambda one: one.is_dear(study.cost)))
                yield Finding(self, severity or self.severity, where, text, evidence, remedies, quiet, tuple(under))


def rule(code: str, name: str, severity: Severity, source: str) -> Callable[[Check], Rule]:
    """Makes a rule of its check."""
    return lambda check: Rule(code, name, severity, source, check)


def in_bytes(size: float) -> str:
    """Bytes in MiB, or in KiB if there are fewer."""
    return f"{size / 2**20:,.2f} MiB" if size >= 2**20 else f"{size / 2**10:,.1f} KiB"


def several(number: int, thing: str) -> str:
    """`1 layer`, `1,000 layers`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
