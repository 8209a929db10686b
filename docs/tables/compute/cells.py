"""What a printed cell is, when a count agrees with it, and what it is called if none does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

PRINTED: dict[str, Any] = json.loads((Path(__file__).parents[1] / "printed.json").read_text(encoding="utf-8"))
ERRATA: dict[str, dict[str, Any]] = {erratum["id"]: erratum for erratum in PRINTED["errata"]}

Got = int | float | Fraction | str


class Way(NamedTuple):
    """One way to count what a cell prints.

    Attributes:
        got: what comes out, from an account.
        convention: the name of this way to count; ours has none.
        kilo: what K and M stand for powers of.
        truncated: printed without the digits that did not fit, rather than rounded.
    """

    got: Got
    convention: str = ""
    kilo: int = 1000
    truncated: bool = False

    def agrees(self, printed: str) -> bool:
        """Whether this is what is printed, to the digits that are printed."""
        if isinstance(self.got, str):
            return _bare(self.got) == _bare(printed)
        number = _number(printed, self.kilo)
        if number is None:
            return False
        mantissa, unit = number
        exact = Fraction(self.got) / unit
        ours = Decimal(exact.numerator) / Decimal(exact.denominator)
        return ours.quantize(mantissa, ROUND_DOWN if self.truncated else ROUND_HALF_UP) == mantissa

    @property
    def name(self) -> str:
        """The convention in words; nothing where the count is ours and rounded."""
        parts = [self.convention, f"K = {self.kilo}" if self.kilo != 1000 else "", "truncated" * self.truncated]
        return ", ".join(part for part in parts if part)

    def __str__(self) -> str:
        """The count in full; a ratio to four digits."""
        if isinstance(self.got, (int, str)):
            return f"{self.got:,}" if isinstance(self.got, int) else self.got
        return f"{float(self.got):.4g}"


def also_truncated(*ways: Way) -> tuple[Way, ...]:
    """Each way rounded, and then, if that does not agree, each truncated."""
    return (*ways, *(way._replace(truncated=True) for way in ways))


def _bare(text: str) -> str:
    """Without blanks and case; × and commas in numbers do not matter."""
    return re.sub(r"\s+|(?<=\d),(?=\d{3})", "", text).lower()


_NUMBER = re.compile(r"~?(?P<digits>\d+(\.\d+)?)(x10\^(?P<power>\d+))?(?P<unit>k|m|g|million|x|%)?")
_UNITS = {"k": 1, "m": 2, "million": 2, "g": 3}


def _number(printed: str, kilo: int) -> tuple[Decimal, int] | None:
    """`25.5 x 10^6` as 25.5 and 10^6."""
    found = _NUMBER.fullmatch(_bare(printed))
    if not found:
        return None
    # M and G are powers of ten even where K = 1024: the operations of such tables are counted in tens
    unit = kilo if found["unit"] == "k" else 1000 ** _UNITS.get(found["unit"] or "", 0)
    return Decimal(found["digits"]), unit * 10 ** int(found["power"] or 0)


class Claim(NamedTuple):
    """What should stand in a cell: the ways to count it, ours first, or else the erratum that explains it."""

    row: int
    column: str
    ways: Sequence[Way]
    erratum: str = ""


EQUAL, CONVENTION, ERRATUM = "equal", "by convention", "erratum"


class PrintedCell(NamedTuple):
    """A printed cell and what came of it."""

    row: int
    column: str
    printed: str
    ours: Way
    way: Way  # the one that agrees; ours where none does
    status: str
    erratum: str = ""
    lecture: str = ""  # of a copy of the table that differs here


class UnexplainedError(Exception):
    """A cell that no way of counting and no erratum explains, or an erratum that is none."""


@dataclass(frozen=True)
class Table:
    """A printed table and how it is recomputed.

    Attributes:
        name: its key in `printed.json`, and of its page.
        title: the heading of the page.
        about: what is to be known about it: which network it counts, in what way.
        claims: what should stand in its cells.
        labels: columns that say what a row is, or what no description of a network determines.
        words: cells that name something and count nothing.
        errata: those that concern it, besides those that cells name.
    """

    name: str
    title: str
    about: str
    claims: Callable[[], Iterable[Claim]]
    labels: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    errata: tuple[str, ...] = ()

    @property
    def printed(self) -> dict[str, Any]:
        """Columns, rows and where they are."""
        table: dict[str, Any] = PRINTED["tables"][self.name]
        return table

    def cells(self) -> list[PrintedCell]:
        """Every cell that is claimed, in the order of the table, and the copies of it that differ.

        Raises:
            UnexplainedError: naming the cells that nothing explains.
        """
        columns = self.printed["columns"]
        cells, wrong, seen = [], [], set()
        for claim in sorted(self.claims(), key=lambda claim: (claim.row, columns.index(claim.column))):
            if (claim.row, claim.column) in seen:
                wrong.append(f"{claim.row} {claim.column}: claimed twice")
            seen.add((claim.row, claim.column))
            copies = [("", self.printed["rows"][claim.row][columns.index(claim.column)])]
            copies += [
                (copy["lecture"], copy["printed"])
                for copy in self.printed.get("differs", [])
                if (copy["row"], copy["column"]) == (claim.row, claim.column)
            ]
            found = [_judged(claim, printed, lecture) for lecture, printed in copies]
            cells += [cell for cell in found if cell.status]
            wrong += [f"{claim.row} {cell.column}: {cell.printed!r}" for cell in found if not cell.status]
            if claim.erratum and not any(cell.status == ERRATUM for cell in found):
                wrong.append(f"{claim.row} {claim.column}: {claim.erratum} is none")
        if wrong:
            raise UnexplainedError(f"{self.name}: nothing explains " + "; ".join(wrong))
        return cells

    def unclaimed(self) -> list[tuple[int, str]]:
        """Cells with something in them that are neither claimed nor labels."""
        claimed = {(claim.row, claim.column) for claim in self.claims()}
        return [
            (row, column)
            for row, line in enumerate(self.printed["rows"])
            for column, cell in zip(self.printed["columns"], line, strict=True)
            if cell not in ("", "-", *self.words) and column not in self.labels and (row, column) not in claimed
        ]

    def label(self, row: int) -> str:
        """What a row is called: its labels."""
        columns, line = self.printed["columns"], self.printed["rows"][row]
        labels = [line[columns.index(column)] for column in self.labels if column in columns]
        return " ".join(label for label in labels if label) or f"row {row + 1}"


def _judged(claim: Claim, printed: str, lecture: str) -> PrintedCell:
    """A status is never given, only found; none means that nothing explains the cell."""
    for way in claim.ways:
        if printed and way.agrees(printed):
            status = CONVENTION if way.name else EQUAL
            return PrintedCell(claim.row, claim.column, printed, claim.ways[0], way, status, lecture=lecture)
    status = ERRATUM if printed and claim.erratum in ERRATA else ""
    return PrintedCell(claim.row, claim.column, printed, claim.ways[0], claim.ways[0], status, claim.erratum, lecture)
