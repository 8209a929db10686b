"""The pages: one for each table, and the index with all errata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from compute import chain, imagenet, parallel, residual, text
from compute.cells import CONVENTION, EQUAL, ERRATA, ERRATUM, PRINTED, PrintedCell, Table
from compute.errata import facts

TABLES: tuple[Table, ...] = (
    *chain.TABLES,
    *parallel.TABLES,
    *residual.TABLES,
    *imagenet.TABLES,
    *text.TABLES,
)

GENERATED = "<!-- Written by docs/tables/generate.py; edit that, or compute/, and run it again. -->"

HOW_TO_READ = """\
Every number is recomputed by `cnnatomy` from the description of a network, and compared with what is printed to the
digits that are printed. What becomes of a cell is found, never given:

- **equal**: what we count, by [our own conventions](../counting.md), is what is printed;
- **by convention**: it is equal under another way to count, which is named: weights only, with statistics,
  truncated, ...;
- **erratum**: no way of counting explains it. It is one of the errata below, with evidence.

A cell that is none of the three stops the generator, and a test. Cells that count nothing (names of layers,
densities that the authors chose) are not judged."""

CORRECTIONS = """\
What we found beyond the list of errata and of conventions that we started from, or against it:

- **GoogLeNet, params.** The column does not count weights alone: 2.7K (2,712 weights) would then need K = 1000
  where all other rows need K = 1024. With biases and K = 1024 the first row is 2,800 / 1024 = 2.73, and 112K
  (112.3), 159K (159.9, truncated), 1000K (1001.0, truncated) and 380K (379.6, rounded) follow as well. Weights
  alone miss 380K (379.0).
- **GoogLeNet, 4b.** 437K counted as right before, within a tolerance of one; it is 438.0 (weights) or 438.6: an
  erratum, as E24 says.
- **SENet.** That the table lost "C=32" (E44) makes four cells wrong as printed, which no list of checks had.
- **AlexNet, local response norm.** 9 operations for each element are 2 F - 1 with F = 5: five squares and four
  additions.
- **ResNet, accuracy.** 76.15, 77.37 / 93.56 and 78.31 / 94.06 are not misprints of the metadata of torchvision's
  weights, but 100 minus the errors in its documentation of that time (23.85; 22.63 / 6.44; 21.69 / 5.94), and so
  are VGG 16's 71.59 / 90.38.
- **Inception V4, accuracy.** 80.00 / 95.00 is 100 minus the errors of the paper's own table 2 (recalled), rather
  than of a port.
- **ResNeXt 101, top 5.** Cadene's README has 94.4 for the authors' network; the source of 94.05 is not found.
- **ImageNet beside MNIST** stands at 003:141-144; at 003:115-125, where an extraction had put it, is a listing."""


def page(table: Table) -> str:
    """The page of one table."""
    cells = table.cells()
    letters = _letters(cells)
    parts = [GENERATED, f"# {table.title}", _where(table.printed), table.about, _counts(cells)]
    if table.name == "imagenet":
        parts += ["## Filled in", imagenet.filled(), _MEMORY, imagenet.feature_memory(), "## Whose accuracy"]
        parts += [imagenet.sources()]
    parts += ["## As printed", _LEGEND, _as_printed(table, cells, letters)]
    if letters:
        parts.append("\n".join(f"- ({letter}) {name}" for name, letter in letters.items()))
    listed = [cell for cell in cells if cell.status != EQUAL or not _in_so_many_digits(cell)]
    if listed:
        parts += ["## In full", _in_full(table, listed)]
    named = sorted({*table.errata, *(cell.erratum for cell in cells if cell.erratum)})
    if named:
        links = [f"- [{name}](README.md#{name.lower()}): {ERRATA[name]['title']}" for name in named]
        parts += ["## Errata", "\n".join(links)]
    return "\n\n".join(parts) + "\n"


_LEGEND = "✓ equal; a letter in brackets: equal by that convention; a number with an E: an erratum."
_MEMORY = """\
Parameters and feature maps are float32 for one image; MiB = 2^20 bytes; MACs for one image. The networks are those
whose accuracy is printed: ResNets with the stride in the 3x3 convolution. Feature memory counts ReLU as done in
place, as the [convnet-burden](https://github.com/albanie/convnet-burden) tables do, which print such columns:
theirs are 58 and 63 MB for VGG 16 and 19, 132 and 197 MB for ResNeXt 50 and 101, 26 MB for GoogLeNet. Under every
convention, in MiB:"""


def _where(printed: dict[str, Any]) -> str:
    places = [f"lecture {lecture}, lines {first} to {last}" for lecture, (first, last) in printed["where"].items()]
    return f"Printed in {' and '.join(places)}." if places else "Printed here and there; the last column says where."


def _counts(cells: Sequence[PrintedCell]) -> str:
    counts = Counter(cell.status for cell in cells)
    return (
        f"{len(cells)} cells: {counts[EQUAL]} equal, {counts[CONVENTION]} equal by a named convention, "
        f"{counts[ERRATUM]} {'erratum' if counts[ERRATUM] == 1 else 'errata'}."
    )


def _in_so_many_digits(cell: PrintedCell) -> bool:
    """Whether the printed cell is the count itself, not a rounded one, or a text."""
    return isinstance(cell.way.got, str) or str(cell.way.got) == cell.printed.replace(",", "")


def _letters(cells: Sequence[PrintedCell]) -> dict[str, str]:
    """A letter for each convention, in order of appearance."""
    names = dict.fromkeys(cell.way.name for cell in cells if cell.status == CONVENTION)
    return {name: chr(ord("a") + i) for i, name in enumerate(names)}


def _mark(cell: PrintedCell, letters: dict[str, str]) -> str:
    if cell.status == ERRATUM:
        return f"**{cell.printed}** ({cell.erratum})"
    return f"{cell.printed} ✓" if cell.status == EQUAL else f"{cell.printed} ({letters[cell.way.name]})"


def _as_printed(table: Table, cells: Sequence[PrintedCell], letters: dict[str, str]) -> str:
    columns = table.printed["columns"]
    marks = {(cell.row, cell.column): _mark(cell, letters) for cell in cells if not cell.lecture}
    lines = [_line(columns), _line(["---"] * len(columns))]
    for number, row in enumerate(table.printed["rows"]):
        lines.append(_line([marks.get((number, column), got) for column, got in zip(columns, row, strict=True)]))
    for cell in cells:
        if cell.lecture:
            place = f"Lecture {cell.lecture} differs in row {cell.row + 1}, {cell.column}"
            lines += ["", f"{place}: {_mark(cell, letters)}"]
    return "\n".join(lines)


def _in_full(table: Table, cells: Sequence[PrintedCell]) -> str:
    lines = [_line(["row", "column", "printed", "our count", "by convention", "which"]), _line(["---"] * 6)]
    for cell in cells:
        by_convention = str(cell.way) if cell.status == CONVENTION else ""
        which = cell.erratum or cell.way.name
        row = [table.label(cell.row), cell.column, cell.printed, str(cell.ours), by_convention, which]
        lines.append(_line(row))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"


def index() -> str:
    """The index: every table with its counts, what we correct, every erratum with its evidence."""
    judged = {table: table.cells() for table in TABLES}
    heads = ["table", "printed at", "cells", "equal", "by convention", "errata"]
    lines = [_line(heads), _line(["---"] * 2 + ["---:"] * 4)]
    for table, cells in judged.items():
        lines.append(_line([f"[{table.title}]({table.name}.md)", _places(table.printed), *_numbers(cells)]))
    everything = [cell for cells in judged.values() for cell in cells]
    lines.append(_line(["**all**", "", *_numbers(everything)]))
    parts = [GENERATED, "# The tables of the lectures, recomputed", HOW_TO_READ, "\n".join(lines)]
    parts += ["## Corrections", CORRECTIONS, "## Errata", _ERRATA_HEAD]
    parts += [_erratum(erratum, judged) for erratum in PRINTED["errata"]]
    return "\n\n".join(parts) + "\n"


_ERRATA_HEAD = """\
Places are lecture:line. What an erratum says in numbers is computed by us where a description of a network
determines it; ✓ means that we find the number it names."""


def _places(printed: dict[str, Any]) -> str:
    return ", ".join(f"{lecture}:{first}" for lecture, (first, _) in printed["where"].items())


def _numbers(cells: Sequence[PrintedCell]) -> list[str]:
    counts = Counter(cell.status for cell in cells)
    return [str(len(cells)), *(str(counts[status]) for status in (EQUAL, CONVENTION, ERRATUM))]


def _erratum(erratum: dict[str, Any], judged: dict[Table, list[PrintedCell]]) -> str:
    name = erratum["id"]
    places = ", ".join(erratum["where"]) or "nowhere"
    lines = [f"### {name}", "", f"**{erratum['title']}** ({erratum['kind']}; {places})", ""]
    lines += [f"- printed: {erratum['printed']}", f"- truth: {erratum['truth']}", f"- evidence: {erratum['evidence']}"]
    computed = [f"{fact.what} {_exact(fact.named)} {'✓' if fact.holds else '✗'}" for fact in facts(name)]
    if computed:
        lines.append(f"- computed: {'; '.join(computed)}")
    tables = [table for table, cells in judged.items() if name in table.errata or any(c.erratum == name for c in cells)]
    if tables:
        lines.append(f"- tables: {', '.join(f'[{table.title}]({table.name}.md)' for table in tables)}")
    return "\n".join(lines)


def _exact(number: int | float | str) -> str:
    return f"{number:,}" if isinstance(number, int) else str(number)


def pages() -> dict[str, str]:
    """File name -> text of every page."""
    return {f"{table.name}.md": page(table) for table in TABLES} | {"README.md": index()}
